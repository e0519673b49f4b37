"""The queue as a visitor sees it: a place that counts down, Stop while waiting, a closed window."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file
from playwright.sync_api import Browser, expect

from browser.conftest import Visit
from material import moving_picture, write_clip
from pageserver import PageServer

WAITS = re.compile(r"\d jobs? before yours")


def long_job(server: PageServer, clip: Path) -> Any:
    return Client(server.url, verbose=False).submit(
        handle_file(clip), neighbours=False, effort=9, api_name="/compress")


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_visitor_sees_a_place_that_counts_down_and_stop_gives_it_back(
    visit: Visit, tmp_path: Path
) -> None:
    busy = write_clip(tmp_path / "busy.mp4", moving_picture(90, 448, 320), fps=24)
    small = write_clip(tmp_path / "small.mp4", moving_picture(8, 96, 64), fps=24)
    page, stage = visit.page, visit.page.locator("#stage")
    visit.upload(small)
    expect(page.locator("#forecast")).to_contain_text("on this machine", timeout=60_000)
    before = []
    for number in (1, 2):
        before.append(long_job(visit.server, busy))
        until(lambda number=number: len(before[number - 1].outputs()) > 0)
    page.locator("#go").click()
    expect(stage).to_contain_text("2 jobs before yours", timeout=20_000)
    expect(stage).to_contain_text("about")
    # Waiting, one stops: the other one's place, and the processor, go to who comes next.
    page.locator("#stop").click()
    expect(stage).to_contain_text("Stopped", timeout=10_000)
    # At once, while Gradio still closes the connection of the stopped job.
    page.locator("#go").click()
    expect(stage).to_contain_text("2 jobs before yours", timeout=20_000)
    before[0].cancel()
    expect(stage).to_contain_text("1 job before yours", timeout=10_000)
    before[1].cancel()
    expect(stage).not_to_contain_text(WAITS, timeout=10_000)
    visit.player()
    visit.check()


def test_a_window_that_is_closed_stops_its_job_and_gives_its_place_away(
    browser: Browser, server: PageServer, tmp_path: Path
) -> None:
    busy = write_clip(tmp_path / "busy.mp4", moving_picture(90, 448, 320), fps=24)
    small = write_clip(tmp_path / "small.mp4", moving_picture(8, 96, 64), fps=24)
    context = browser.new_context()
    page = context.new_page()
    visit = Visit(page, server)
    page.goto(server.url)
    visit.upload(busy)
    expect(page.locator("#forecast")).to_contain_text("on this machine", timeout=60_000)
    page.locator("#go").click()
    expect(page.locator("#stage")).to_contain_text("Compressing: frame", timeout=30_000)
    waiting = Client(server.url, verbose=False, download_files=str(tmp_path)).submit(
        handle_file(small), neighbours=False, api_name="/compress")
    until(lambda: WAITS.search(str(waiting.outputs())))
    context.close()
    closed = time.monotonic()
    assert waiting.result(60)[1]["frames"] == 8
    assert time.monotonic() - closed < 15
    until(visit.is_idle, 15)
