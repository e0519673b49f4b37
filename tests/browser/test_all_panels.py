"""A tour of all panels on one clip; and a picture in place of a clip."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import aehub
from material import moving_picture, write_clip

from .conftest import Visit
from .test_page import quick

pytestmark = pytest.mark.browser
HERE = {entry.name for entry in aehub.list_models(states=["bundled"])}
# Mean value of what the player shows; black is 0.
SHOWN = """() => {
  const player = document.querySelector('#stage aehub-wipe');
  const pixels = player.context.getImageData(0, 0, player.W, player.H).data;
  return pixels.reduce((sum, value, i) => i % 4 === 3 ? sum : sum + value, 0) / pixels.length;
}"""


def opened(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).first.click()


def finished(page: Page, n_frames: int) -> None:
    """Wait for a result of so many frames in the panel Compress."""
    page.locator("#downloads").wait_for(timeout=90_000)
    expect(page.locator("#stage aehub-wipe .aw-count")).to_contain_text(f"/ {n_frames}")


@pytest.mark.skipif(not {"emoji-vae", "sprite-motion"} <= HERE, reason="models are not bundled")
def compare(visit: Visit, path: Path) -> None:
    """Let the Compare panel draw the curves of a clip, without the slowest codec."""
    page = visit.page
    opened(page, "Compare")
    visit.upload(path, "#compared")
    page.get_by_label("svtav1-6").uncheck()
    page.locator("#compare").click()
    page.locator("#curves .ae-curves").wait_for(timeout=90_000)


def test_no_request_fails_on_the_way_through_all_panels(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(4, 64, 48), fps=8)
    quick(page)
    # Nobody waits for the example to be drawn.
    page.evaluate("""() => {
        document.querySelector('#example-marbles').click();
        document.querySelector('#go').click();
    }""")
    finished(page, 48)
    page.get_by_role("button", name="Difference").click()
    opened(page, "Decode")
    opened(page, "Edit")
    page.locator("#take-last").click()
    expect(page.locator("#edited")).to_contain_text("Equivariance error", timeout=60_000)
    opened(page, "Animate")
    for number in (1, 2):
        page.locator("#candidates button").nth(number).click(timeout=60_000)
        expect(page.locator("#timeline li")).to_have_count(number, timeout=60_000)
    page.locator("#preview").click()
    page.locator("#walked video").wait_for(timeout=90_000)
    page.get_by_role("tab", name="Animate my sprite").click()
    page.locator("#new-character").click()
    expect(page.locator(".ae-walker")).to_have_count(4, timeout=90_000)
    compare(visit, clip)
    opened(page, "Models")
    expect(page.locator(".ae-card").first).to_be_visible()
    visit.check()


def compressed_on_the_page(visit: Visit, path: Path, n_frames: int) -> Path:
    """Compress one file on the page, look at the result, and download it."""
    page = visit.page
    visit.upload(path)
    expect(page.locator("#seen img")).to_have_attribute("alt", f"First frame of {path.name}")
    expect(page.locator("#forecast")).to_contain_text("on this machine", timeout=60_000)
    page.locator("#go").click()
    finished(page, n_frames)
    page.wait_for_function(f"({SHOWN})() > 20", timeout=5000)
    with page.expect_download() as got:
        page.locator("#get-aev").click()
    packed = path.parent / got.value.suggested_filename
    got.value.save_as(packed)
    page.get_by_label("Remove").or_(
        page.locator("#clip button[aria-label='Clear']")).first.click()
    return packed


@pytest.mark.slow
def test_a_picture_is_a_clip_of_one_frame_in_every_panel(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    picture = tmp_path / "photo.jpg"
    Image.fromarray(moving_picture(1, 64, 48)[0]).save(picture, quality=95)
    clip = write_clip(tmp_path / "one.mp4", moving_picture(1, 64, 48))
    short = write_clip(tmp_path / "two.mp4", moving_picture(2, 64, 48), fps=50)
    quick(page)
    for path, n_frames in ((clip, 1), (short, 2), (picture, 1)):
        packed = compressed_on_the_page(visit, path, n_frames)

    opened(page, "Decode")
    visit.upload(packed, "#packed")
    page.locator("#decode").click()
    page.wait_for_function("document.querySelector('.ae-player')?.readyState >= 2", timeout=60_000)
    opened(page, "Edit")
    visit.upload(packed, "#edit-packed")
    expect(page.locator("#edited")).to_contain_text("1 frame, ", timeout=60_000)
    assert page.locator("#edited .ae-film img").count() == 2
    opened(page, "Animate")
    page.locator("#walk-model input").click()
    page.get_by_role("option", name="d4-codec").click()
    page.locator("#own input[type=file]").set_input_files([clip, picture])
    expect(page.locator("#timeline li")).to_have_count(2, timeout=60_000)
    compare(visit, picture)
    visit.check()
