"""The Animate panel in Chromium: candidates, a timeline, a walk that plays, a sprite that walks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import aehub
from material import moving_picture

from .conftest import SCREENS, Visit

pytestmark = pytest.mark.browser
HERE = {entry.name for entry in aehub.list_models(states=["bundled"])}
PLAYS = "(document.querySelector('#walked video') || {}).readyState >= 2"


def opened(visit: Visit) -> None:
    # On a phone the tab may lie in the menu of those that do not fit.
    tab = visit.page.get_by_role("tab", name="Animate", exact=True)
    tab.first.click()


def fits(visit: Visit) -> bool:
    wide: int = visit.page.evaluate("document.documentElement.scrollWidth")
    size = visit.page.viewport_size
    return size is not None and wide <= size["width"]


@pytest.mark.skipif("emoji-vae" not in HERE, reason="emoji-vae is not bundled")
@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_two_candidates_become_a_walk_that_plays(visit: Visit) -> None:
    page = visit.page
    opened(visit)
    candidates, chosen = page.locator("#candidates button"), page.locator("#timeline li")
    expect(candidates).to_have_count(18, timeout=60_000)
    candidates.nth(1).click()
    expect(chosen).to_have_count(1, timeout=60_000)
    candidates.nth(4).click()
    expect(chosen).to_have_count(2, timeout=60_000)

    live = page.locator("#live img")
    before = live.get_attribute("src")
    page.locator("#slide-1 input[type=range]").fill("1.5")
    expect(live).not_to_have_attribute("src", before or "", timeout=60_000)
    page.locator("#add-shaped").click()
    expect(chosen).to_have_count(3, timeout=60_000)
    second = chosen.nth(1).locator("span").inner_text()
    chosen.nth(1).get_by_role("button", name="Move keyframe 2 one earlier").click()
    expect(chosen.nth(0).locator("span")).to_have_text(second, timeout=60_000)
    chosen.nth(0).get_by_role("button", name="Remove keyframe 1").click()
    expect(chosen).to_have_count(2, timeout=60_000)

    page.locator("#preview").click()
    page.wait_for_function(PLAYS, timeout=120_000)
    assert page.locator("#walked video").evaluate("video => video.videoWidth") == 128
    with page.expect_download() as got:
        page.locator("#get-recipe").click()
    assert got.value.suggested_filename.endswith(".json")
    assert fits(visit)
    visit.check()


def two_pictures_for_the_codec(visit: Visit, folder: Path, side: int) -> None:
    paths = [folder / "one.png", folder / "two.png"]
    for path, picture in zip(paths, moving_picture(2, side, side), strict=True):
        Image.fromarray(picture).save(path)
    page = visit.page
    opened(visit)
    page.locator("#walk-model input").click()
    page.get_by_role("option", name="d4-codec").click()
    expect(page.locator("#candidates")).to_contain_text("generates no pictures", timeout=60_000)
    page.locator("#own input[type=file]").set_input_files(paths)
    expect(page.locator("#timeline li")).to_have_count(2, timeout=60_000)


def test_own_pictures_become_keyframes_of_a_codec(visit: Visit, tmp_path: Path) -> None:
    two_pictures_for_the_codec(visit, tmp_path, 64)
    page = visit.page
    page.locator("#preview").click()
    page.wait_for_function(PLAYS, timeout=120_000)
    assert page.locator("#walked video").evaluate("video => video.videoWidth") == 64
    assert fits(visit)
    visit.check()


@pytest.mark.slow
def test_stop_leaves_the_processor_idle_and_the_next_walk_is_made(visit: Visit, tmp_path: Path
                                                                  ) -> None:
    two_pictures_for_the_codec(visit, tmp_path, 512)
    page = visit.page
    page.locator("#make").click()
    page.locator("#walked .ae-running").wait_for(timeout=30_000)
    assert not visit.is_idle()
    page.locator("#stop-walk").click()
    assert any(visit.is_idle() for _ in range(6))
    expect(page.locator("#walked")).to_contain_text("Stopped")
    page.locator("#preview").click()
    page.wait_for_function(PLAYS, timeout=120_000)
    visit.check()


@pytest.mark.skipif("sprite-motion" not in HERE, reason="sprite-motion is not bundled")
@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_a_dropped_sprite_walks_in_four_directions(visit: Visit, tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[20:60, 24:40] = (200, 60, 40, 255)
    picture[24:34, 26:38] = (240, 200, 160, 255)
    Image.fromarray(picture).save(tmp_path / "hero.png")
    page = visit.page
    opened(visit)
    page.get_by_role("tab", name="Animate my sprite").click()
    page.locator("#still input[type=file]").set_input_files(tmp_path / "hero.png")
    walkers = page.locator(".ae-walker")
    expect(walkers).to_have_count(4, timeout=120_000)
    style = walkers.first.evaluate(
        "e => [getComputedStyle(e).imageRendering, getComputedStyle(e).animationName]")
    assert style == ["pixelated", "ae-walk"]
    assert page.locator(".ae-sheet img").evaluate("image => image.naturalWidth") == 9 * 64
    with page.expect_download() as got:
        page.locator("#get-sprites").click()
    with Image.open(got.value.path()) as sheet:
        assert sheet.size == (9 * 64, 4 * 64)
    aside = np.full((150, 120, 3), (0, 200, 0), np.uint8)
    aside[7:47, 100:116] = picture[20:60, 24:40, :3]
    Image.fromarray(aside).save(tmp_path / "aside.png")
    page.locator("#still").get_by_label("Clear").click()
    page.locator("#still input[type=file]").set_input_files(tmp_path / "aside.png")
    expect(page.locator("#walkers .ae-notes")).to_contain_text("background of aside.png",
                                                               timeout=120_000)
    assert fits(visit)
    visit.check()
