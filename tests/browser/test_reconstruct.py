"""The arena in Chromium: four codecs side by side, wiped, zoomed, sorted, stopped, limited."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from hub.standin import StandIn, stand_in
from material import moving_picture, write_clip
from packages import install_models
from pageserver import ROOT, PageServer, page_server

from .conftest import SCREENS, Visit

pytestmark = pytest.mark.browser
# A stripe of what the canvas shows: numbers 0 to 255 of R, G and B.
PIXELS = """() => {
  const player = document.querySelector('#arena aehub-wipe');
  const pixels = player.context.getImageData(0, 40, player.W, 12).data;
  return [...pixels].filter((value, i) => i % 4 < 3);
}"""
NAMES = ["d4-codec", "zlib-planes", "zlib-again", "tiny-d4"]


@pytest.fixture(scope="module")
def hub() -> Iterator[StandIn]:
    with stand_in() as running:
        running.put("lab/tiny-d4", ROOT / "tests/golden/tiny-d4")
        yield running


@pytest.fixture(scope="module")
def server(hub: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("page")
    install_models(folder / "site")
    with page_server(folder, AEHUB_MODELS="lab/tiny-d4", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="",
                     HF_HUB_DISABLE_XET="1", HF_HOME=str(folder / "home"), AEHUB_MAX_SECONDS="4",
                     PYTHONPATH=f"{ROOT}:{folder / 'site'}") as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    return write_clip(path, moving_picture(6, 128, 96), fps=6)


def opened(page: Page) -> None:
    page.get_by_role("tab", name="Arena", exact=True).first.click()
    expect(page.locator("#reconstruct")).to_be_visible()


def tick(page: Page, names: list[str]) -> None:
    """Tick these models and no others."""
    # What is drawn later would be left out of the list of labels.
    for name in names:
        expect(page.get_by_label(name, exact=True)).to_be_visible()
    for label in page.locator("#arena-models label").all():
        label.locator("input").set_checked(label.inner_text().strip() in names)


def ticked(page: Page) -> list[str]:
    return [label.inner_text().strip() for label in page.locator("#arena-models label").all()
            if label.locator("input").is_checked()]


def reconstructed(visit: Visit, clip: Path) -> Any:
    """Send a clip through four models; return the player."""
    opened(visit.page)
    tick(visit.page, NAMES)
    visit.upload(clip, "#arena-clip")
    visit.page.locator("#arena-kilobytes input").fill("12")
    expect(visit.page.locator("#arena-forecast")).to_contain_text("on this machine",
                                                                  timeout=60_000)
    assert sorted(ticked(visit.page)) == sorted(NAMES)
    visit.page.locator("#reconstruct").click()
    player = visit.page.locator("#arena aehub-wipe")
    player.wait_for(timeout=90_000)
    visit.page.wait_for_function(
        "document.querySelector('#arena aehub-wipe video').readyState >= 2")
    player.get_by_role("button", name="Pause").click()
    visit.page.wait_for_timeout(300)
    return player


@pytest.mark.slow
def test_a_model_on_a_hub_is_fetched_with_one_click_and_ticked(visit: Visit) -> None:
    page = visit.page
    opened(page)
    page.get_by_role("button", name="More on a hub").click()
    field = page.locator("#arena-hub input")
    field.click()
    page.get_by_role("option", name="lab/tiny-d4").click()
    page.locator("#arena-get").click()
    expect(page.get_by_label("lab/tiny-d4", exact=True)).to_be_checked(timeout=20_000)
    field.click()
    expect(page.get_by_role("option").first).to_be_visible()
    expect(page.get_by_role("option", name="lab/tiny-d4")).to_have_count(0)
    page.reload()
    opened(page)
    expect(page.get_by_label("lab/tiny-d4", exact=True)).to_be_visible()
    visit.check()


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_four_codecs_are_wiped_zoomed_and_sorted(
    visit: Visit, small: Path, tmp_path: Path
) -> None:
    page = visit.page
    player = reconstructed(visit, small)
    expect(player).to_be_in_viewport(ratio=0.9)
    left, right = (player.locator(f"select.aw-{side}") for side in ("left", "right"))
    labels = left.locator("option").all_inner_texts()
    assert sorted(label.split(",")[0] for label in labels) == sorted(["original", *NAMES])

    divider = player.get_by_role("slider", name="Divider")
    shown = {}
    for key, select in (("End", left), ("Home", right)):
        divider.press(key)
        for number in range(5):
            select.select_option(str(number))
            shown[key, number] = page.evaluate(PIXELS)
    assert all(shown["End", number] == shown["Home", number] for number in range(5))
    kept = {label.split(",")[0]: distance(shown["End", 0], shown["End", number])
            for number, label in enumerate(labels)}
    assert 0 < kept["d4-codec"] < kept["zlib-planes"], "a small file of zlib keeps less"

    left.select_option("0")
    compare_streams(page, player, right)
    sort_table(page, right)
    with page.expect_download() as got:
        page.locator("#get-csv").click()
    got.value.save_as(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        assert sorted(row["model"] for row in csv.DictReader(file)) == sorted(NAMES)
    with page.expect_download() as got:
        page.locator("#get-picture").click()
    got.value.save_as(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.width > 5 * 256
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]  # type: ignore[index]
    visit.check()


def distance(one: list[int], two: list[int]) -> float:
    return sum(abs(a - b) for a, b in zip(one, two, strict=True)) / len(one)


def compare_streams(page: Page, player: Any, right: Any) -> None:
    """Show the difference of the original to itself and to a codec, and zoom."""
    right.select_option("0")
    player.get_by_role("button", name="Difference").click()
    assert max(page.evaluate(PIXELS)) == 0
    right.select_option(label=right.locator("option", has_text="zlib-planes").inner_text())
    assert max(page.evaluate(PIXELS)) > 20
    player.get_by_role("button", name="Difference").click()
    before = page.evaluate(PIXELS)
    player.locator(".aw-zoom").click()
    expect(player.locator(".aw-zoom")).to_contain_text("2×")
    zoomed = page.evaluate(PIXELS)
    assert zoomed != before
    box = player.locator("canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.8)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6, steps=3)
    page.mouse.up()
    assert page.evaluate(PIXELS) != zoomed, "the picture is dragged"
    player.get_by_role("slider", name="Divider").press("-")
    expect(player.locator(".aw-zoom")).to_contain_text("1×")
    assert page.evaluate(PIXELS) == before


def sort_table(page: Page, right: Any) -> None:
    """Sort by pointer and by keyboard, and choose a stream by its row."""
    table = page.locator("#arena-figures table")
    heading = table.get_by_role("columnheader", name="PSNR")
    psnr = [cell.split(",")[0].strip() for cell in table.locator("thead th").all_inner_texts()
            ].index("PSNR")

    def column() -> list[float]:
        return [float(row.locator("td").nth(psnr - 1).inner_text())
                for row in table.locator("tbody tr").all()]

    heading.get_by_role("button").click()
    assert column() == sorted(column(), reverse=True)
    expect(heading).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("Enter")
    assert column() == sorted(column())
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert table.locator(f"tbody tr td:nth-child({psnr + 1}) strong").count() >= 1
    table.get_by_role("button", name="tiny-d4", exact=True).click()
    expect(right.locator("option:checked")).to_contain_text("tiny-d4")


def test_stop_leaves_the_processor_idle(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    opened(page)
    visit.upload(write_clip(tmp_path / "busy.mp4", moving_picture(48, 448, 320), fps=24),
                 "#arena-clip")
    expect(page.locator("#arena-forecast")).to_contain_text("on this machine", timeout=60_000)
    page.locator("#reconstruct").click()
    expect(page.locator("#arena")).to_contain_text("Compressing: d4-codec", timeout=30_000)
    page.locator("#arena-stop").click()
    assert any(visit.is_idle() for _ in range(8))
    expect(page.locator("#arena")).to_contain_text("Stopped")
    expect(page.locator("#arena-figures")).to_be_hidden()
    visit.check()


def test_limits_are_said_before_the_work(visit: Visit, small: Path) -> None:
    page = visit.page
    opened(page)
    visit.upload(small, "#arena-clip")
    tick(page, [])
    expect(page.locator("#arena-forecast")).to_contain_text("tick one or more")
    page.locator("#reconstruct").click()
    expect(page.get_by_text("No autoencoder is ticked").nth(1)).to_be_visible()
    assert "Traceback" not in visit.server.log.read_text()
