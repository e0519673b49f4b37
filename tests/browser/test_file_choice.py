"""The choice between the smallest and the editable file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import expect

import aehub
from aehub.config import DEFAULT_CODEC, SMALLEST_CODEC
from aehub.ui.compress import _file_choice
from material import moving_picture, write_clip
from pageserver import PageServer, page_server
from sandwich_files import random_sandwich

from .conftest import SCREENS, Visit
from .test_page import quick

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A page that has the model of the smallest files."""
    folder = tmp_path_factory.mktemp("page")
    model = random_sandwich(folder / SMALLEST_CODEC, SMALLEST_CODEC)
    with page_server(folder, AEHUB_MAX_SECONDS="4", AEHUB_WEIGHTS=str(model)) as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", moving_picture(8, 96, 64))


@pytest.mark.parametrize("visit", SCREENS, indirect=True)
def test_a_newcomer_chooses_the_smallest_file_and_gets_it(
    visit: Visit, clip: Path, tmp_path: Path
) -> None:
    page = visit.page
    expect(page.get_by_label("Editable file")).to_be_checked()
    for words in ("AV1 with a learned restorer", "searched without decoding"):
        expect(page.locator("#kind")).to_contain_text(words)
    visit.upload(clip)
    quick(page)
    page.get_by_label("Smallest file").check()
    page.locator("#go").click()
    visit.player()
    expect(page.locator("#stage")).not_to_contain_text("walked through")
    with page.expect_download() as got:
        page.get_by_role("button", name="Compressed .aev").click()
    got.value.save_as(tmp_path / "clip.aev")
    assert aehub.info(tmp_path / "clip.aev")["model"] == SMALLEST_CODEC
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]  # type: ignore[index]
    visit.check()


def test_the_choice_and_the_list_of_models_follow_each_other(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Model, size, effort, other codecs").click()
    model = page.locator("#model input")
    expect(model).to_have_value(DEFAULT_CODEC)
    page.get_by_label("Smallest file").check()
    expect(model).to_have_value(SMALLEST_CODEC)
    model.click()
    page.get_by_role("option", name=DEFAULT_CODEC).click()
    expect(page.get_by_label("Editable file")).to_be_checked()


def test_programs_get_the_default_model(server: PageServer, clip: Path) -> None:
    client = Client(server.url, verbose=False, download_files=False)
    for options, name in (({}, DEFAULT_CODEC), ({"model": SMALLEST_CODEC}, SMALLEST_CODEC)):
        _, facts, *_ = client.predict(handle_file(clip), neighbours=False, api_name="/compress",
                                      **options)
        assert facts["model"] == name


def test_an_installation_without_the_model_offers_no_choice() -> None:
    assert _file_choice([DEFAULT_CODEC, "another"]) is None
