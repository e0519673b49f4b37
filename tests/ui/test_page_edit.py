"""The Edit panel through the API, and the steps that its buttons append."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from PIL import Image

import aehub
from aehub.editing.operations import parse
from aehub.ui.edit import BUTTONS, append_operation
from material import moving_picture, write_clip
from pageserver import PageServer


@pytest.fixture
def client(page: PageServer, tmp_path: Path) -> Client:
    return Client(page.url, verbose=False, download_files=str(tmp_path))


@pytest.fixture(scope="module")
def packed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "small.aev"
    aehub.compress(clip, path, measure=False)
    return path


def test_a_program_edits_and_gets_the_numbers(
    client: Client, packed: Path, tmp_path: Path
) -> None:
    output, facts, *_ = client.predict(handle_file(packed), "rotate 90, trim 4f:12f",
                                       api_name="/edit")
    wanted = tmp_path / "wanted.aev"
    aehub.edit(packed, wanted, [aehub.Rotate(90), aehub.Trim("4f:12f")])
    assert Path(output).read_bytes() == wanted.read_bytes()
    assert (facts["width"], facts["height"], facts["frames"]) == (64, 96, 8)
    assert facts["bytes_before"] == packed.stat().st_size and facts["psnr"] is None
    assert facts["levels"] <= 1 and facts["share"] <= 1e-3
    assert facts["steps"] == "rotate 90, trim 4f:12f"


def test_pictures_before_and_after_are_served(
    client: Client, page: PageServer, packed: Path
) -> None:
    _, _, html, *_ = client.predict(handle_file(packed), "transpose", api_name="/edit")
    for name in ("before", "after", "difference"):
        start = html.index("ae/jobs/")
        token = html[start:].split("/")[2]
        status, body = page.get(f"/ae/jobs/{token}/{name}.png")
        assert status == 200 and body.startswith(b"\x89PNG")


def test_a_doubled_clip_comes_with_its_loss_and_an_interpolated_picture(
    client: Client, page: PageServer, packed: Path
) -> None:
    output, facts, html, *_ = client.predict(handle_file(packed), "trim :4f, scale 2",
                                             api_name="/edit")
    assert (facts["width"], facts["height"], facts["frames"]) == (192, 128, 4)
    assert facts["psnr"] > 30 and f"{facts['psnr']:.2f} dB" in html
    assert aehub.info(output)["width"] == 192
    assert "Enlarged by Lanczos interpolation" in html and "difference.png" not in html
    token = html[html.index("ae/jobs/"):].split("/")[2]
    status, body = page.get(f"/ae/jobs/{token}/interpolated.png")
    assert status == 200 and Image.open(BytesIO(body)).size == (192, 128)


def test_a_file_is_decoded_at_other_sizes(client: Client, packed: Path) -> None:
    for scale, size in (("1/8", (12, 8)), ("2", (192, 128))):
        output, facts, *_ = client.predict(handle_file(packed), "webp", scale,
                                           api_name="/decompress")
        assert (facts["width"], facts["height"]) == size
        with Image.open(output) as picture:
            assert picture.size == size


@pytest.mark.parametrize(("steps", "words"), [
    ("rotate 45", "45 degrees"), ("spin", "not known"), ("trim 9:", "keeps no frame"),
    ("scale 1/4", "give 1/2 or 2"),
])
def test_steps_that_cannot_be_done_are_one_sentence(
    client: Client, packed: Path, steps: str, words: str
) -> None:
    with pytest.raises(Exception, match=words):
        client.predict(handle_file(packed), steps, api_name="/edit")


def test_a_long_file_is_refused(client: Client, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", moving_picture(30, 64, 48), fps=5)
    aehub.compress(clip, tmp_path / "long.aev", measure=False)
    with pytest.raises(Exception, match="is 6.0 s long and this page edits at most 4 s"):
        client.predict(handle_file(tmp_path / "long.aev"), "reverse", api_name="/edit")


def test_every_button_writes_a_step_that_can_be_read() -> None:
    steps = ""
    for words in BUTTONS.values():
        steps = append_operation(steps, words)
    assert ", ".join(map(str, parse(steps))) == steps
    assert parse(append_operation("", "rotate 90")) == [aehub.Rotate(90)]
