"""Compress, Decode, Compare and Models in Chromium."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Error, Page, expect

from material import moving_picture, write_clip
from pageserver import ROOT

from .conftest import PHONE, SCREENS, Visit

pytestmark = pytest.mark.browser
FRAMES, BITS, BLOCK = 24, 5, 16

READ = """() => {
  const player = document.querySelector('aehub-wipe');
  const pixels = player.context.getImageData(0, 0, player.W, player.H).data;
  const bit = (x, y) => pixels[4 * (y * player.W + x)] > 128 ? 1 : 0;
  const read = (x) => [0, 1, 2, 3, 4].reduce((sum, k) => sum + (bit(x, 16 * k + 8) << k), 0);
  return [read(8), read(player.W - 8), player.frame];
}"""


# Mean distance of the canvas to the server's own lossless picture of the frame.
DISTANCE = """async (kind) => {
  const player = document.querySelector('aehub-wipe');
  const answer = await fetch(`${player.getAttribute('stills')}/${kind}/${player.frame}.png`);
  const image = await createImageBitmap(await answer.blob());
  const other = new OffscreenCanvas(player.W, player.H).getContext('2d');
  other.drawImage(image, 0, 0);
  const a = player.context.getImageData(0, 0, player.W, player.H).data;
  const b = other.getImageData(0, 0, player.W, player.H).data;
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / (3 * player.W * player.H);
}"""


@pytest.fixture(scope="session")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose frames show their number in blocks along both sides, with sound."""
    frames = moving_picture(FRAMES, 128, 96)
    for number, frame in enumerate(frames):
        for bit in range(BITS):
            rows = slice(BLOCK * bit, BLOCK * (bit + 1))
            frame[rows, :BLOCK] = frame[rows, -BLOCK:] = 255 * (number >> bit & 1)
    path = tmp_path_factory.mktemp("clips") / "counter.mp4"
    return write_clip(path, frames, fps=12, audio=True, options={"crf": "4"})


def quick(page: Page) -> None:
    """Switch the other codecs off, which most tests do not need."""
    box = page.get_by_label("Also encode with x264 and AV1")
    if not box.is_visible():
        page.get_by_role("button", name="Model, size, effort, other codecs").click()
    # The answer to an upload may draw the box anew at the moment of the click.
    with suppress(Error):
        box.uncheck()
    box.uncheck()


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_an_example_becomes_a_file_that_the_command_line_verifies(
    visit: Visit, tmp_path: Path
) -> None:
    page = visit.page
    began = time.monotonic()
    page.locator("#example-marbles").click()
    player = visit.player()
    assert time.monotonic() - began < 120
    expect(player).to_be_in_viewport(ratio=1)
    expect(player.locator(".aw-tag").first).to_have_text("original")
    expect(page.locator("#figures")).to_contain_text("H.264")
    expect(page.locator("#figures")).to_contain_text("AV1")
    for tile in ("Original", ".aev file", "Ratio", "Rate", "PSNR", "MS-SSIM", "Time"):
        expect(page.locator("#stage")).to_contain_text(tile)

    page.get_by_role("button", name="Difference").click()
    error = player.locator(".aw-error")
    expect(error).to_be_visible()
    expect(error).to_have_attribute("alt", re.compile(r"Error of frame \d+"))
    page.wait_for_function("document.querySelector('.aw-error').naturalWidth === 256")
    before = error.get_attribute("src")
    player.locator(".aw-forward").click()
    page.wait_for_function("s => document.querySelector('.aw-error').src.slice(-9) !== s.slice(-9)",
                           arg=before)

    with page.expect_download() as got:
        page.get_by_role("button", name="Compressed .aev").click()
    packed = tmp_path / got.value.suggested_filename
    got.value.save_as(packed)
    assert packed.suffix == ".aev"
    done = subprocess.run([sys.executable, "-m", "aehub", "verify", str(packed)], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "intact" in done.stdout
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]  # type: ignore[index]
    visit.check()


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_both_sides_of_the_divider_show_the_same_frame(visit: Visit, counter: Path) -> None:
    page = visit.page
    visit.upload(counter)
    quick(page)
    expect(page.locator("#seen")).to_contain_text("with sound")
    page.locator("#go").click()
    visit.player()
    seen = set()
    for _ in range(25):
        left, right, frame = page.evaluate(READ)
        assert left == right == frame
        seen.add(frame)
        page.wait_for_timeout(70)
    assert len(seen) > 6, "the player did not play"

    player = page.locator("aehub-wipe")
    player.get_by_role("button", name="Pause").click()
    for wanted in (0, 17, 3, FRAMES - 1, 8):
        player.locator(".aw-seek").evaluate(
            "(range, n) => { range.value = n; range.dispatchEvent(new Event('input')); }", wanted)
        page.wait_for_function(f"({READ})()[0] === {wanted}", timeout=5000)
        assert page.evaluate(READ) == [wanted, wanted, wanted]
    expect(player.get_by_role("button", name="Sound on")).to_be_visible()
    visit.check()


def test_left_of_the_divider_is_the_original_and_right_of_it_what_came_back(
    visit: Visit, counter: Path
) -> None:
    page = visit.page
    visit.upload(counter)
    quick(page)
    page.locator("#quality input[type=number]").fill("0")
    page.locator("#go").click()
    player = visit.player()
    player.get_by_role("button", name="Pause").click()
    player.locator(".aw-forward").click()
    page.wait_for_timeout(500)
    player.get_by_role("slider", name="Divider").focus()
    for key, near, far in (("End", "original", "reconstruction"),
                           ("Home", "reconstruction", "original")):
        page.keyboard.press(key)
        assert page.evaluate(DISTANCE, near) < 2.5
        assert page.evaluate(DISTANCE, far) > page.evaluate(DISTANCE, near) + 2
    visit.check()


def test_the_player_obeys_keyboard_and_pointer(visit: Visit, counter: Path) -> None:
    page = visit.page
    visit.upload(counter)
    quick(page)
    page.locator("#go").click()
    player = visit.player()
    divider = player.get_by_role("slider", name="Divider")
    divider.focus()
    page.keyboard.press("End")
    expect(divider).to_have_attribute("aria-valuenow", "100")
    page.keyboard.press("ArrowLeft")
    expect(divider).to_have_attribute("aria-valuenow", "98")
    box = player.locator("canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30, steps=4)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")

    playing = "!document.querySelector('aehub-wipe video').paused"
    page.keyboard.press("Space")
    page.wait_for_function(f"!({playing})")
    page.wait_for_function("!document.querySelector('aehub-wipe video').seeking")
    frame = int(player.locator(".aw-seek").input_value())
    player.locator(".aw-forward").focus()
    page.keyboard.press("ArrowLeft")
    expect(player.locator(".aw-seek")).to_have_value(str(max(0, frame - 1)))
    divider.focus()
    page.keyboard.press("Space")
    page.wait_for_function(playing)
    visit.check()


def test_a_rotated_mov_is_shown_upright(visit: Visit, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "phone.mov", moving_picture(8, 96, 64), rotation=90)
    visit.upload(path)
    quick(visit.page)
    expect(visit.page.locator("#seen")).to_contain_text("64×96")
    visit.page.locator("#go").click()
    player = visit.player()
    assert (player.get_attribute("width"), player.get_attribute("height")) == ("64", "96")
    visit.check()


def test_a_long_clip_is_offered_a_trim(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.upload(write_clip(tmp_path / "long.mp4", moving_picture(60, 64, 48), fps=10))
    quick(page)
    expect(page.locator("#seen")).to_contain_text("this page takes 4 s")
    length = page.locator("#length input[type=number]")
    expect(length).to_be_visible()
    expect(length).to_have_value("4")
    page.locator("#go").click()
    player = visit.player()
    assert player.locator(".aw-count").inner_text().endswith("/ 40")
    visit.check()


def test_a_corrupt_file_is_answered_in_a_sentence(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    path = tmp_path / "holiday.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    visit.upload(path)
    expect(page.locator("#seen")).to_contain_text("holiday.mp4 is not a clip")
    page.locator("#go").click()
    expect(page.get_by_text("holiday.mp4 is not a clip").nth(1)).to_be_visible()
    assert "Traceback" not in page.content()
    assert "Traceback" not in visit.server.log.read_text()


def test_stop_leaves_the_processor_idle_and_the_next_job_works(
    visit: Visit, counter: Path, tmp_path: Path
) -> None:
    page = visit.page
    visit.upload(write_clip(tmp_path / "busy.mp4", moving_picture(90, 448, 320), fps=24))
    # The forecast measures the machine, which is work of its own.
    expect(page.locator("#forecast")).to_contain_text("on this machine", timeout=30_000)
    page.locator("#go").click()
    expect(page.locator("#stage")).to_contain_text("Compressing: frame", timeout=30_000)
    page.locator("#stop").click()
    # The frame at work is finished first.
    assert any(visit.is_idle() for _ in range(6))
    expect(page.locator("#stage")).to_contain_text("Stopped")
    page.get_by_label("Remove").or_(page.locator("#clip button[aria-label='Clear']")).first.click()
    visit.upload(counter)
    quick(page)
    page.locator("#go").click()
    visit.player()
    visit.check()


def test_a_file_is_described_decoded_and_given_back(visit: Visit, tmp_path: Path) -> None:
    import aehub

    packed = tmp_path / "small.aev"
    aehub.compress(np.stack(moving_picture(8, 64, 48)), packed)
    page = visit.page
    page.get_by_role("tab", name="Decode").click()
    visit.upload(packed, "#packed")
    expect(page.locator("#head")).to_contain_text("64×48")
    expect(page.locator("#head")).to_contain_text("intact")
    page.locator("#decode").click()
    page.wait_for_function("document.querySelector('.ae-player')?.readyState >= 2", timeout=60_000)
    with page.expect_download() as got:
        page.locator("#get-clip").click()
    assert got.value.suggested_filename == "small.mp4"
    visit.check()


@pytest.mark.slow
def test_codecs_are_drawn_side_by_side(visit: Visit, counter: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Compare").click()
    visit.upload(counter, "#compared")
    page.get_by_label("svtav1-6").uncheck()
    page.locator("#compare").click()
    curves = page.locator("#curves .ae-curves")
    curves.wait_for(timeout=60_000)
    assert curves.locator("g.model").count() == 1 and curves.locator("g.baseline").count() == 1
    expect(page.locator("#curves table")).to_contain_text("x264-medium")
    visit.check()


@pytest.mark.parametrize("visit", [PHONE], indirect=True, ids=["phone"])
def test_no_panel_is_wider_than_a_phone(visit: Visit) -> None:
    page = visit.page
    for name in page.get_by_role("tablist").first.get_by_role("tab").all_inner_texts():
        page.get_by_role("tab", name=name, exact=True).first.click()
        if name == "Models":
            expect(page.locator("#snippet-d4-codec .cm-content")).to_be_visible()
            page.get_by_role("button", name="Full model card").first.click()
            expect(page.get_by_text("Limits").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], name
    visit.check()


def test_models_show_numbers_files_and_a_snippet_that_runs(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    page.get_by_role("tab", name="Models").click()
    expect(page.locator(".ae-card").first).to_contain_text("d4-codec")
    with page.expect_download() as got:
        page.get_by_role("link", name="config.json").first.click()
    assert got.value.suggested_filename == "config.json"
    code = page.locator("#snippet-d4-codec .cm-content").inner_text().replace("\u00a0", " ")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0, done.stderr
    assert "dB" in done.stdout
    visit.check()
