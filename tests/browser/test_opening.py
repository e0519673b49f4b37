"""The page as it opens: a finished example that plays, its numbers, and the upload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

import aehub
from aehub.ui import examples
from aehub.ui.formatting import bytes_text
from pageserver import PageServer

from .conftest import SCREENS, Visit

pytestmark = pytest.mark.browser
AT = "document.querySelector('aehub-wipe').at"
PLAYS = "document.querySelector('aehub-wipe video').currentTime > 0.1"
DRAWN = """(() => {
  const { context, W, H } = document.querySelector('aehub-wipe');
  return context.getImageData(0, 0, W, H).data.some((value, i) => i % 4 < 3 && value > 40);
})()"""


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_the_page_opens_on_a_result_that_moves(visit: Visit) -> None:
    page = visit.page
    player = page.locator("#stage aehub-wipe")
    expect(player).to_be_in_viewport(ratio=1)
    page.wait_for_function(PLAYS)
    page.wait_for_function(f"Math.abs({AT} - 0.5) > 0.15")
    expect(page.locator(".ae-verdict")).to_be_in_viewport(ratio=1)
    expect(page.locator(".ae-verdict b")).to_have_text(
        re.compile(r"^AEHub is \d\.\d dB better than x264 at these bytes\. "
                   r"AV1 is \d\.\d dB better at these bytes\.$"))
    made, seen = examples.opening_report().compressed, examples.opening_report().playback
    expect(page.locator("#stage .ae-tiles")).to_be_in_viewport()
    for shown in (bytes_text(made.bytes), f"{seen.psnr:.2f} dB", f"{seen.ms_ssim:.4f}"):
        expect(page.locator("#stage .ae-tiles")).to_contain_text(shown)
    expect(page.locator("#figures table")).to_contain_text("dB worse")
    expect(page.locator("#figures table")).to_contain_text("dB better")
    assert "Nothing compressed yet" not in page.content()

    # The divider is the visitor's as soon as it is touched.
    box = player.locator("canvas").bounding_box()
    assert box is not None
    player.locator("canvas").click(position={"x": box["width"] * 0.25, "y": 20})
    page.wait_for_timeout(200)
    assert page.evaluate(AT) == pytest.approx(0.25, abs=0.01)

    # One's own clip goes beside the result, or right below it.
    page.get_by_role("link", name="Drop your own clip").click()
    expect(page.locator("#clip")).to_be_in_viewport()
    tiles, clip = (page.locator(place).bounding_box() for place in ("#stage .ae-tiles", "#clip"))
    assert tiles is not None and clip is not None
    assert clip["x"] < tiles["x"] or clip["y"] < tiles["y"] + tiles["height"] + 40
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]
    # Nothing was computed for it.
    computed = ("queue/join", "/difference/")
    assert not [asked for asked in visit.requests if any(word in asked for word in computed)]
    visit.check()


@pytest.fixture
def still(browser: Browser, server: PageServer) -> Iterator[Visit]:
    """A visitor who prefers reduced motion."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(server.url)
    page.locator("#go").wait_for()
    yield Visit(page, server)
    context.close()


def test_nothing_moves_for_a_visitor_who_wants_no_motion(still: Visit) -> None:
    page = still.page
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(500)
    assert page.evaluate(AT) == 0.5
    assert page.evaluate("document.querySelector('aehub-wipe video').paused")
    page.locator("#stage aehub-wipe").get_by_role("button", name="Play").click()
    page.wait_for_function(PLAYS)


def test_a_poster_is_seen_until_the_video_arrives(browser: Browser, server: PageServer) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/stacked.mp4", lambda route: route.abort())
    page.goto(server.url)
    page.locator("#stage aehub-wipe").wait_for()
    page.wait_for_function(DRAWN)
    context.close()


def test_stop_leaves_alone_what_is_finished(visit: Visit) -> None:
    page = visit.page
    page.locator("#stop").click()
    page.wait_for_timeout(1000)
    assert page.locator("#stage aehub-wipe").count() == 1
    expect(page.locator("#figures table")).to_be_visible()
    visit.check()


def test_the_file_of_the_opening_can_be_had_and_edited(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    with page.expect_download() as got:
        page.locator(".ae-made a[download]").click()
    packed = tmp_path / got.value.suggested_filename
    got.value.save_as(packed)
    assert packed.name == "cat.aev" and aehub.verify(packed).ok

    page.get_by_role("tab", name="Edit").click()
    page.locator("#take-last").click()
    seen = examples.opening_report().playback
    expect(page.locator("#edited")).to_contain_text(f"{seen.width}×{seen.height}", timeout=60_000)
    with page.expect_download() as got:
        page.locator("#get-edited").click()
    assert Path(got.value.path()).read_bytes() == examples.opening_aev().read_bytes()
    visit.check()
