"""The arena through the API of a page that has four codecs, and its pieces without a server."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from aehub.report.arena_records import ArenaReport, Reconstruction
from aehub.ui.arena_results import figures, overview
from aehub.ui.reconstruct import MAX_MODELS
from material import moving_picture, write_clip
from packages import install_models
from pageserver import ROOT, PageServer, page_server


@pytest.fixture(scope="module")
def names() -> list[str]:
    return ["zlib-planes", "zlib-again", "tiny-d4"]


@pytest.fixture(scope="module")
def arena_page(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> Iterator[PageServer]:
    site = tmp_path_factory.mktemp("packages") / "site"
    assert install_models(site) == names
    with page_server(tmp_path_factory.mktemp("page"), AEHUB_MAX_SECONDS="4",
                     AEHUB_MAX_PIXELS="300000", PYTHONPATH=f"{ROOT}:{site}") as running:
        yield running


@pytest.fixture
def client(arena_page: PageServer, tmp_path: Path) -> Client:
    return Client(arena_page.url, verbose=False, download_files=str(tmp_path))


def refusal(client: Client, *arguments: Any, **options: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        client.predict(*arguments, api_name="/reconstruct", **options)
    return str(caught.value)


def test_a_clip_goes_through_models_and_every_file_is_there(
    client: Client, arena_page: PageServer, clip: Path, names: list[str]
) -> None:
    facts, table, numbers, picture, player, shown, *_ = client.predict(
        handle_file(clip), models=["d4-codec", *names[:2]], kilobytes=20, frames=4, passes=2,
        api_name="/reconstruct")
    found = {one["model"]: one for one in facts["models"]}
    assert list(found) == ["d4-codec", *names[:2]] and facts["target_size"] == 20_000
    assert all(one["bytes"] <= 20_000 and len(one["drift"]) == 2 for one in found.values())
    assert json.loads(Path(numbers).read_text()) == facts
    with Path(table).open() as file:
        assert [row["model"] for row in csv.DictReader(file)] == list(found)
    with Image.open(picture) as image:
        assert image.format == "PNG"
    found_in_player = re.search(r'src="ae/jobs/(\w+)/.* streams="(.*?)"', player)
    assert found_in_player is not None
    token, streams = found_in_player[1], json.loads(unescape(found_in_player[2]))
    assert [label.split(",")[0] for label, _ in streams] == ["original", *found]
    for one in found.values():
        status, packed = arena_page.get(f"/ae/jobs/{token}/{one['file']}")
        assert status == 200 and len(packed) == one["bytes"]
    assert "After 2 passes" in shown["value"]
    assert "Traceback" not in arena_page.log.read_text()


def test_limits_are_said_in_a_sentence(
    client: Client, arena_page: PageServer, clip: Path, tmp_path: Path
) -> None:
    assert "no autoencoder is ticked" in refusal(client, handle_file(clip), models=[]).lower()
    many = refusal(client, handle_file(clip), models=["tiny-d4"] * (MAX_MODELS + 1))
    assert f"takes at most {MAX_MODELS}" in many
    twice = refusal(client, handle_file(clip), models=["tiny-d4"] * 2)
    assert "tiny-d4 is given twice" in twice
    for wrong, words in (({"models": ["vp8"]}, "'vp8' is not offered; choose among d4-codec"),
                         ({"frames": 97}, "Frames '97' is not possible; give 1 to 96.")):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            client.predict(handle_file(clip), api_name="/reconstruct", **wrong)
        assert words in caught.value.response.json()["detail"]
    large = write_clip(tmp_path / "large.mp4", moving_picture(1, 800, 600))
    assert "300000" in refusal(client, handle_file(large))
    slow = write_clip(tmp_path / "slow.mp4", moving_picture(6, 64, 48), fps=1)
    assert "longer than 4 s" in refusal(client, handle_file(slow))
    assert "Traceback" not in arena_page.log.read_text()


@pytest.mark.slow
def test_cancelling_stops_the_work_and_leaves_no_folder(
    client: Client, arena_page: PageServer, tmp_path: Path
) -> None:
    folders = arena_page.log.parent / "tmp/gradio"
    before = set(folders.glob("*/*/*.original.mkv"))
    busy = write_clip(tmp_path / "busy.mp4", moving_picture(80, 448, 320), fps=24)
    job = client.submit(handle_file(busy), models=["d4-codec", "tiny-d4"], frames=80,
                        api_name="/reconstruct")
    until(lambda: bool(job.outputs()))
    job.cancel()

    def is_idle() -> bool:
        used = arena_page.cpu_seconds()
        time.sleep(1)
        return arena_page.cpu_seconds() - used < 0.2

    until(is_idle)
    # The clip that the page measures its speed with may have gone meanwhile.
    assert set(folders.rglob("*.original.mkv")) <= before


def until(true: Any, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def reconstruction(model: str, psnr: float, **options: Any) -> Reconstruction:
    return Reconstruction(**{
        "model": model, "path": Path(f"{model}.aev"), "quality": 50.0, "bytes": 1000,
        "bits_per_pixel": 0.5, "latent_ratio": 48.0, "psnr": psnr, "ms_ssim": None,
        "flicker_psnr": psnr - 1, "first_psnr": psnr, "colour_errors": (0.5, -1.5, 1.0),
        "encode_seconds": 0.1, "decode_seconds": 0.05, "memory_bytes": None, **options})


def report(*results: Reconstruction) -> ArenaReport:
    return ArenaReport("clip", 64, 48, "25", (0.0,), 1000, results, {"<b>": "it <i>failed</i>"},
                       Path("clip.mkv"), Path("cl#ip.mp4"), 64, Path("clip.png"), ())


def test_the_best_of_every_column_is_marked_and_what_is_unknown_is_last() -> None:
    page = ElementTree.fromstring(figures(report(
        reconstruction("a", 30.004, ms_ssim=0.9), reconstruction("b", 30.001, encode_seconds=0.2),
        reconstruction("c", 20))))
    rows = page.findall(".//tbody/tr")
    head = ["".join(cell.itertext()) for cell in page.findall(".//thead//th")]
    best = {name: [bool(row[number].findall("strong")) for row in rows]
            for number, name in enumerate(head)}
    assert best["PSNR, dB"] == [True, True, False], "they read the same"
    assert best["MS-SSIM"] == [True, False, False]
    assert best["Encodes, s/frame"] == [True, False, True]
    assert not any(best["File"]) and not any(best["Memory"])
    assert rows[1][head.index("MS-SSIM")].get("data-ae-value") is None
    assert "−1.50 G" in "".join(rows[0].itertext())


def test_a_model_that_fails_is_named_and_no_text_becomes_markup() -> None:
    page = overview(report(reconstruction("<script>", 30)), "ae/jobs/x")
    page += figures(report(reconstruction("<script>", 30)))
    assert "&lt;b&gt; is missing: it &lt;i&gt;failed" in page
    assert "<script>" not in page and "<i>" not in page and "cl%23ip.mp4" in page


def test_drift_is_drawn_pass_by_pass() -> None:
    drifting = [reconstruction(name, 30, drift=(30.0, 29.5, low))
                for name, low in (("org/one", 29.0), ("two", 21.0))]
    page = ElementTree.fromstring(figures(report(*drifting)))
    chart = page.find(".//figure")
    assert chart is not None and len(list(chart.iter("circle"))) == 6
    assert "org/one 30.0 to 29.0 dB; two 30.0 to 21.0 dB" in chart.attrib["aria-label"]


def test_one_model_alone_is_not_marked_as_the_best() -> None:
    assert "<strong>" not in figures(report(reconstruction("a", 30)))
