"""The Edit panel in Chromium: buttons append steps, the clip follows, undo removes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

import aehub
from material import moving_picture, write_clip

from .conftest import PHONE, Visit

pytestmark = pytest.mark.browser


FILMS = "[...document.querySelectorAll('#edited video')]"


def films_play(visit: Visit, sizes: list[list[int]]) -> None:
    """Both clips have these sizes, and both have moved on, in step."""
    visit.page.wait_for_function(
        f"""sizes => {{
            const films = {FILMS};
            return films.length === 2 && films.every((film, which) =>
                film.readyState >= 2 && !film.paused && film.currentTime > 0 && !film.error
                && film.videoWidth === sizes[which][0] && film.videoHeight === sizes[which][1]);
        }}""", arg=sizes, timeout=90_000)
    apart = visit.page.evaluate(f"""() => {{
        const [one, two] = {FILMS};
        const distance = Math.abs(one.currentTime - two.currentTime);
        return Math.min(distance, one.duration - distance);
    }}""")
    assert apart < 0.3


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    clip = write_clip(folder / "clip.mp4", moving_picture(8, 96, 64), fps=8)
    aehub.compress(clip, folder / "clip.aev", measure=False)
    return folder / "clip.aev"


def test_buttons_turn_the_clip_and_undo_turns_it_back(visit: Visit, packed: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Edit").click()
    visit.upload(packed, "#edit-packed")
    stage = page.locator("#edited")
    expect(stage).to_contain_text("96×64", timeout=60_000)
    page.locator("#edit-rotate-90").click()
    expect(stage).to_contain_text("64×96", timeout=60_000)
    expect(stage).to_contain_text("Equivariance error")
    films_play(visit, [[96, 64], [64, 96]])
    posters = page.evaluate(f"{FILMS}.map(film => film.poster)")
    assert [poster.rsplit("/", 1)[1] for poster in posters] == ["before.png", "after.png"]
    page.locator("#edit-undo").click()
    expect(stage).to_contain_text("96×64", timeout=60_000)
    films_play(visit, [[96, 64], [96, 64]])
    with page.expect_download() as download:
        page.locator("#get-edited").click()
    assert Path(download.value.path()).read_bytes() == packed.read_bytes()
    visit.check()


def test_a_doubled_clip_is_shown_beside_lanczos_interpolation(visit: Visit, packed: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Edit").click()
    visit.upload(packed, "#edit-packed")
    stage = page.locator("#edited")
    expect(stage).to_contain_text("96×64", timeout=60_000)
    page.locator("#edit-scale-2").click()
    expect(stage).to_contain_text("192×128", timeout=60_000)
    expect(stage).to_contain_text("Compressed again")
    films_play(visit, [[96, 64], [192, 128]])
    sizes = page.locator("#edited img").evaluate_all(
        "pictures => pictures.map(picture => [picture.naturalWidth, picture.naturalHeight])")
    assert sizes == [[192, 128], [192, 128]]
    page.locator("#edit-scale-1-2").click()
    expect(page.locator("#edit-steps textarea, #edit-steps input")).to_have_value(
        "scale 2, scale 1/2")
    expect(stage).to_contain_text("96×64", timeout=60_000)
    visit.check()


def test_pausing_one_clip_pauses_the_other(visit: Visit, packed: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Edit").click()
    visit.upload(packed, "#edit-packed")
    films_play(visit, [[96, 64], [96, 64]])
    page.evaluate(f"{FILMS}[1].pause()")
    page.wait_for_function(f"{FILMS}.every(film => film.paused)")
    page.evaluate(f"{FILMS}[0].currentTime = 0.5")
    page.wait_for_function(f"{FILMS}.every(film => Math.abs(film.currentTime - 0.5) < 0.1)")
    page.evaluate(f"{FILMS}[0].play()")
    page.wait_for_function(f"{FILMS}.every(film => !film.paused)")
    visit.check()


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_on_a_phone_both_clips_fit_beside_each_other(visit: Visit, packed: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Edit").click()
    visit.upload(packed, "#edit-packed")
    films_play(visit, [[96, 64], [96, 64]])
    boxes = [film.bounding_box() for film in page.locator("#edited video").all()]
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE[0]
               for box in boxes)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
