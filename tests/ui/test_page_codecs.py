"""The page of a machine on which a codec of another package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from gradio_client import Client, handle_file

import aehub
from deep_pictures import FORMATS, deep_pictures
from packages import ZLIB, install_zlib, zlib_installed
from pageserver import ROOT, PageServer, page_server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("packages") / "site"
    install_zlib(site)
    return site


@pytest.fixture(scope="module")
def foreign_page(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("page"), PYTHONPATH=f"{ROOT}:{site}") as running:
        yield running


@pytest.fixture
def foreign_client(foreign_page: PageServer, tmp_path: Path) -> Client:
    return Client(foreign_page.url, verbose=False, download_files=str(tmp_path))


def choices(client: Client, element: str) -> list[str]:
    """Names that a component of the page offers."""
    (props,) = [component["props"] for component in client.config["components"]
                if component["props"].get("elem_id") == element]
    return [value for _, value in props["choices"]]


def test_the_compress_panel_offers_it_after_the_default(foreign_client: Client) -> None:
    assert choices(foreign_client, "model")[:3] == ["d4-codec", "sandwich-av1", ZLIB]
    described = foreign_client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    (model,) = [parameter for parameter in described["/compress"]["parameters"]
                if parameter["parameter_name"] == "model"]
    assert model["parameter_default"] == "d4-codec"


def test_an_upload_is_compressed_played_edited_and_compared(
    foreign_client: Client, foreign_page: PageServer, clip: Path
) -> None:
    packed, facts, decoded, *_ = foreign_client.predict(
        handle_file(clip), model=ZLIB, quality=100, neighbours=False, api_name="/compress")
    assert (facts["model"], facts["frames"], facts["psnr"]) == (ZLIB, 16, 100)
    assert aehub.info(packed)["coder"] == 100 and aehub.verify(packed).ok
    with av.open(decoded) as film:
        assert sum(1 for _ in film.decode(video=0)) == 16
    _, said, *_ = foreign_client.predict(handle_file(packed), "mp4", api_name="/decompress")
    assert said["model"] == ZLIB and said["frames"] == 16
    edited, said, *_ = foreign_client.predict(handle_file(packed), "trim 2f:6f, reverse",
                                              api_name="/edit")
    assert said["frames"] == 4 and aehub.info(edited)["model"] == ZLIB
    with pytest.raises(Exception, match=f"{ZLIB} cannot turn"):
        foreign_client.predict(handle_file(packed), "rotate 90", api_name="/edit")
    facts, *_ = foreign_client.predict(handle_file(clip), [ZLIB, "x264-medium"], 2,
                                       api_name="/compare")
    assert [codec["name"] for codec in facts["codecs"]] == [ZLIB, "x264-medium"]
    assert "Traceback" not in foreign_page.log.read_text()


def test_the_models_panel_lists_it(foreign_client: Client, foreign_page: PageServer) -> None:
    (entry,) = [model for model in foreign_client.predict(api_name="/models")
                if model["name"] == ZLIB]
    assert (entry["task"], entry["state"]) == ("video-compression", "bundled")
    assert all(foreign_page.get(address)[0] == 200 for address in entry["files"])


@pytest.mark.parametrize("name", ["422", "bands"])
def test_a_file_of_deep_pictures_is_shown_in_8_bits(
    foreign_client: Client, site: Path, name: str, tmp_path: Path
) -> None:
    with zlib_installed(tmp_path / "here") as folder:
        aehub.compress(deep_pictures(FORMATS[name], size=(64, 48)), tmp_path / "deep.aev",
                       model=folder)
    packed = handle_file(tmp_path / "deep.aev")
    clip, said, *_ = foreign_client.predict(packed, "mp4", api_name="/decompress")
    assert said["frames"] == 5
    edited, said, *_ = foreign_client.predict(packed, "trim 1f:4f, reverse", api_name="/edit")
    assert said["frames"] == 3 and said["levels"] == 0
