"""The Models panel: a remote model is downloaded with one click."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from hub.standin import StandIn, stand_in
from pageserver import ROOT, PageServer, page_server

from .conftest import Visit

pytestmark = pytest.mark.browser
TINY = ROOT / "tests/golden/tiny-d4"
CARD = b"---\nlibrary_name: aehub\nlicense: mit\n---\n\n# tiny\n\nA very small one.\n"


@pytest.fixture(scope="module")
def hub() -> Iterator[StandIn]:
    with stand_in() as running:
        running.put("lab/tiny-d4", TINY, **{"README.md": CARD})
        yield running


@pytest.fixture(scope="module")
def server(hub: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("page")
    with page_server(folder, AEHUB_MODELS="lab/tiny-d4", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="",
                     HF_HUB_DISABLE_XET="1", HF_HOME=str(folder / "home")) as running:
        yield running


def test_a_model_on_a_hub_is_fetched_with_one_click(visit: Visit, hub: StandIn) -> None:
    page = visit.page
    page.get_by_role("tab", name="Models").click()
    card = page.locator(".ae-card", has_text="lab/tiny-d4")
    expect(card).to_contain_text("remote")
    assert hub.asked == [], "showing the list asks nobody"

    hub.corrupt.add("model.safetensors")
    page.locator("#get-lab-tiny-d4").click()
    expect(page.get_by_text("is not what it should be")).to_be_visible(timeout=20_000)
    expect(card).to_contain_text("remote")

    hub.corrupt.clear()
    expect(page.locator("#get-lab-tiny-d4")).to_be_enabled()
    page.locator("#get-lab-tiny-d4").click()
    expect(card).to_contain_text("cached", timeout=20_000)
    expect(card).to_contain_text("A very small one.")
    expect(card).to_contain_text("MIT")
    expect(page.locator("#get-lab-tiny-d4")).to_be_hidden()

    page.get_by_role("tab", name="Animate", exact=True).first.click()
    # A reload would break off what is still on its way, and Gradio complains about that.
    expect(page.locator("#candidates :is(button, p[role=note])").first).to_be_visible(
        timeout=60_000)
    page.locator("#walk-model input").click()
    expect(page.get_by_role("option", name="lab/tiny-d4")).to_be_visible(timeout=20_000)

    page.reload()
    page.get_by_role("tab", name="Models").click()
    expect(card).to_contain_text("cached")
    expect(page.locator("#get-lab-tiny-d4")).to_be_hidden()
    visit.check()
