"""The pictures of README and docs, made from the page as it is.

    make pictures
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from aehub.ui import examples
from pageserver import ROOT
from pictures import PICTURES, is_stale, stamp

from .conftest import Visit

pytestmark = pytest.mark.browser
TABS = ["Compress", "Decode", "Edit", "Animate", "Find", "Compare", "Arena", "Models"]


@pytest.mark.parametrize(("visit", "name"), [(size, name) for name, size in PICTURES.items()],
                         indirect=["visit"], ids=list(PICTURES))
def test_the_page_has_a_picture_of_itself(visit: Visit, name: str, tmp_path: Path) -> None:
    """With AEHUB_REGENERATE=1 it replaces the one that is kept."""
    page = visit.page
    player = page.locator("#stage aehub-wipe")
    player.get_by_role("button", name="Pause").click()
    player.get_by_role("slider", name="Divider").press("Home")
    player.locator("canvas").click(position={"x": 374, "y": 20})
    player.locator(".aw-seek").evaluate(
        "range => { range.value = 40; range.dispatchEvent(new Event('input')); }")
    count = len(examples.opening_report().playback.times)
    expect(player.locator(".aw-count")).to_have_text(f"41 / {count}")
    for tab in TABS:
        expect(page.get_by_role("tab", name=tab, exact=True).first).to_be_in_viewport()
    expect(page.locator(".ae-verdict")).to_be_in_viewport(ratio=1)
    expect(page.locator("#stage .ae-tiles")).to_be_in_viewport(ratio=1)
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(600)
    page.screenshot(path=tmp_path / "shot.png")
    stamp(tmp_path / "shot.png", tmp_path / "page.png")
    assert not is_stale(tmp_path / "page.png")
    if os.environ.get("AEHUB_REGENERATE") == "1":
        stamp(tmp_path / "shot.png", ROOT / name)
    visit.check()
