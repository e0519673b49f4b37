"""The Edit panel in Chromium: buttons write steps, the preview follows, undo takes them back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

import aehub
from material import moving_picture, write_clip

from .conftest import Visit

pytestmark = pytest.mark.browser


def test_buttons_turn_the_picture_and_undo_turns_it_back(visit: Visit, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(8, 96, 64), fps=8)
    aehub.compress(clip, tmp_path / "clip.aev", measure=False)
    page = visit.page
    page.get_by_role("tab", name="Edit").click()
    visit.upload(tmp_path / "clip.aev", "#edit-packed")
    stage = page.locator("#edited")
    expect(stage).to_contain_text("96×64", timeout=60_000)
    page.locator("#edit-rotate-90").click()
    expect(stage).to_contain_text("64×96", timeout=60_000)
    expect(stage).to_contain_text("Equivariance error")
    after = stage.locator("img").nth(1)
    assert after.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [64, 96]
    page.locator("#edit-undo").click()
    expect(stage).to_contain_text("96×64", timeout=60_000)
    with page.expect_download() as download:
        page.locator("#get-edited").click()
    assert Path(download.value.path()).read_bytes() == (tmp_path / "clip.aev").read_bytes()
    visit.check()
