"""A real browser on a real page; its requests and console errors are recorded."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from pageserver import PageServer, page_server

CHROMIUM = shutil.which("chromium")
# Chromium calls home by itself; only what the page asks for shall be seen.
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--no-first-run", "--disable-default-apps",
             "--autoplay-policy=no-user-gesture-required"]
DESKTOP, PHONE = (1280, 900), (390, 844)
SCREENS = [pytest.param(DESKTOP, id="desktop"),
           pytest.param(PHONE, id="phone", marks=pytest.mark.slow)]
"""Windows for `parametrize("visit", SCREENS, indirect=True)`; the phone is for slow tests."""


@dataclass
class Visit:
    """An open page with its requests and console errors."""

    page: Page
    server: PageServer
    requests: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)

    def upload(self, path: Path, selector: str = "#clip") -> None:
        self.page.locator(f"{selector} input[type=file]").set_input_files(path)

    def player(self, seconds: float = 90) -> Any:
        """The wipe player of a finished job, its first frame drawn."""
        # The page opens on a player of its own.
        player = self.page.locator('aehub-wipe[src^="ae/jobs/"]')
        player.wait_for(timeout=1000 * seconds)
        self.page.wait_for_function(
            "document.querySelector('aehub-wipe video').readyState >= 2")
        return player

    def is_idle(self) -> bool:
        """Tell if the server uses next to no processor time for a second."""
        before = self.server.cpu_seconds()
        time.sleep(1)
        return self.server.cpu_seconds() - before < 0.2

    def check(self) -> None:
        """Check that all requests went to the server itself, and that there were no errors."""
        foreign = [address for address in self.requests
                   if not address.startswith((self.server.url, "data:", "blob:"))]
        assert not foreign
        assert not self.console_errors


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("page"), AEHUB_MAX_SECONDS="4") as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert os.environ.get("AEHUB_BROWSER") != "required", "chromium is not installed"
        pytest.skip("no chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Browser, server: PageServer, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh visitor; `parametrize("visit", [PHONE], indirect=True)` chooses the window."""
    width, height = getattr(request, "param", DESKTOP)
    context = browser.new_context(viewport={"width": width, "height": height},
                                  accept_downloads=True, has_touch=width < 500)
    page = context.new_page()
    visit = Visit(page, server)
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("pageerror", lambda error: visit.console_errors.append(str(error)))
    page.on("console", lambda line: visit.console_errors.append(line.text)
            if line.type == "error" else None)
    page.on("response", lambda answer: visit.console_errors.append(f"{answer.status} {answer.url}")
            if answer.status >= 400 else None)
    page.goto(server.url)
    page.locator("#go").wait_for()
    yield visit
    context.close()
