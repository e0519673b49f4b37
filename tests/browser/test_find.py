"""The Find panel in Chromium: a search, both parts in step, another match, labels, on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from material import moving_picture, write_clip
from pageserver import PageServer, page_server

from .conftest import SCREENS, Visit

pytestmark = pytest.mark.browser
SIZE = 160, 96
FILMS = "[...document.querySelectorAll('#found video')]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A page with a library of two copies of a clip, and another clip."""
    library = tmp_path_factory.mktemp("library")
    frames = moving_picture(40, *SIZE, seed=1)
    write_clip(library / "first.mp4", frames)
    write_clip(library / "second.mkv", [frame[:, ::-1].copy() for frame in frames])
    write_clip(library / "other.mp4", moving_picture(20, *SIZE, seed=5))
    with page_server(tmp_path_factory.mktemp("page"), AEHUB_LIBRARY=str(library),
                     AEHUB_MAX_SECONDS="4") as running:
        yield running


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the first clip, turned clockwise."""
    return write_clip(tmp_path_factory.mktemp("query") / "part.mp4", [
        np.rot90(frame, -1).copy() for frame in moving_picture(40, *SIZE, seed=1)[10:30]])


def opened(page: Page, section: str) -> None:
    page.get_by_role("tab", name="Find", exact=True).first.click()
    page.get_by_role("tab", name=section).click()


def films_play(page: Page) -> None:
    """Both clips are as large as the query, of one length, and move in step."""
    page.wait_for_function(f"""size => {{
        const films = {FILMS};
        return films.length === 2 && films[0].duration === films[1].duration
            && films.every(film => film.readyState >= 2 && !film.paused && film.currentTime > 0
                && film.videoWidth === size[0] && film.videoHeight === size[1]);
    }}""", arg=SIZE[::-1], timeout=90_000)
    # A busy machine drops frames of one of them; the page then brings them together again.
    page.wait_for_function(f"""() => {{
        const [one, two] = {FILMS};
        const distance = Math.abs(one.currentTime - two.currentTime);
        return Math.min(distance, one.duration - distance) < 0.3;
    }}""", timeout=10_000)


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_matches_are_listed_and_the_chosen_one_plays_beside_the_query(
    visit: Visit, query: Path
) -> None:
    page = visit.page
    opened(page, "Find a clip")
    expect(page.locator("#find-status")).to_contain_text("3 clips", timeout=30_000)
    visit.upload(query, "#find-query")
    page.locator("#find").click()
    matches = page.locator("#matches button")
    expect(matches).to_have_count(2, timeout=60_000)
    films_play(page)
    shown = page.locator("#found")
    names = ["first.mp4" if "first.mp4" in text else "second.mkv"
             for text in matches.all_inner_texts()]
    words = {"first.mp4": "turned clockwise", "second.mkv": "mirrored and turned"}
    # The first one is shown already.
    for number, name in reversed(list(enumerate(names))):
        matches.nth(number).click()
        expect(shown).to_contain_text(f"Your clip shows {name} {words[name]}", timeout=30_000)
        expect(matches.nth(number)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#matches [aria-pressed=true]")).to_have_count(1)
        films_play(page)
    pictures = page.locator("#matches img").evaluate_all(
        "pictures => pictures.map(picture => picture.naturalWidth)")
    assert pictures == [160, 160]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    boxes = [film.bounding_box() for film in page.locator("#found video").all()]
    assert abs(boxes[0]["y"] - boxes[1]["y"]) < 2 and boxes[0]["x"] < boxes[1]["x"]
    visit.check()


@pytest.mark.slow
def test_an_example_of_the_page_is_a_turned_part_and_no_match_here(visit: Visit) -> None:
    page = visit.page
    opened(page, "Find a clip")
    page.locator("#find-example-marbles").click()
    expect(page.locator("#found")).to_contain_text("No match", timeout=60_000)
    expect(page.locator("#find-query")).to_contain_text("turned-marbles")
    expect(page.locator("#matches")).to_be_hidden()
    visit.check()


def test_a_picture_is_found_as_a_picture(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    Image.fromarray(moving_picture(20, *SIZE, seed=5)[8]).save(tmp_path / "still.png")
    opened(page, "Find a clip")
    visit.upload(tmp_path / "still.png", "#find-query")
    page.locator("#find").click()
    expect(page.locator("#found img")).to_have_count(2, timeout=60_000)
    expect(page.locator("#found")).to_contain_text("Your clip has the orientation of other.mp4")
    visit.check()


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_a_clip_is_labelled_by_examples_of_three_labels(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    opened(page, "Label by example")
    visit.upload(write_clip(tmp_path / "clip.mp4", moving_picture(20, *SIZE, seed=9)),
                 "#label-query")
    page.locator("#label-more").click()
    for number, (name, level) in enumerate((("discs", 0), ("dark", 20), ("bright", 220)), 1):
        files = []
        for seed in range(2):
            picture = np.full((96, 160, 3), level, np.uint8)
            if not level:
                picture = moving_picture(4, *SIZE, seed=seed)[3]
            picture[seed:40, :20] += 9
            files.append(tmp_path / f"{name}-{seed}.png")
            Image.fromarray(picture).save(files[-1])
        page.locator(f"#label-name-{number} :is(input, textarea)").fill(name)
        page.locator(f"#label-files-{number} input[type=file]").set_input_files(files)
        expect(page.locator(f"#label-files-{number} .file-preview tr")).to_have_count(2)
    page.locator("#classify").click()
    expect(page.locator("#labelled h3")).to_have_text("discs", timeout=60_000)
    expect(page.locator("#labelled dt")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    visit.check()


def test_what_is_missing_is_said_in_one_sentence(visit: Visit) -> None:
    page = visit.page
    opened(page, "Find a clip")
    page.locator("#find").click()
    expect(page.locator(".toast-body")).to_contain_text("There is no clip yet; drop one.")
    visit.check()
