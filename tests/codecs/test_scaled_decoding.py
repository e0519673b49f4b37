"""Decoding at other sizes: by codes where the codec can, by scaling whole pictures elsewhere."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import aehub
from aehub.bitstream import open_reader
from aehub.cli import main
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.decompress import decode_frames
from aehub.editing.operations import element, parse
from aehub.errors import InputError
from aehub.media.metrics import Distortion
from aehub.media.orientation import turn_picture
from aehub.media.picture import Picture
from aehub.media.scaling import downscale, scaled, scaled_size, upscale
from editing.files import tiny_model
from material import moving_picture, write_clip

N = 18
SMALL = [Fraction(1, 2), Fraction(1, 4), Fraction(1, 8)]
SCALES = [*SMALL, Fraction(2)]
TURNS = ["rotate 0", "rotate 90", "rotate 180", "rotate 270", "flip horizontal", "flip vertical",
         "transpose", "transpose, rotate 180"]


@pytest.fixture(scope="module")
def path(codec: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of an odd size: two groups, B-frames in the first."""
    path = tmp_path_factory.mktemp("scaled") / "clip.aev"
    aehub.compress(np.stack(moving_picture(N, 75, 61)), path, model=codec, group=17, measure=False)
    return path


def pictures(path: Path | io.BytesIO, codec: Any, scale: Fraction = Fraction(1)) -> list[Picture]:
    with open_reader(path) as reader:
        return [frame.picture for frame in decode_frames(reader, codec, scale)]


def psnr(wanted: list[Picture], found: list[Picture]) -> float:
    distortion = Distortion(with_ms_ssim=False)
    for one, two in zip(wanted, found, strict=True):
        distortion.add(one, two)
    return distortion.psnr


# Every codec.


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_pictures_of_every_scale_resemble_scaled_ones(
    path: Path, codec: Any, scale: Fraction
) -> None:
    found = pictures(path, codec, scale)
    for picture in found:
        picture.check()
        assert picture.size == scaled_size((75, 61), scale)
    assert psnr([scaled(p, scale) for p in pictures(path, codec)], found) > 32


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_any_frame_is_that_of_reading_through(path: Path, codec: Any, scale: Fraction) -> None:
    frames = np.stack(list(aehub.decompress(path, model=codec, scale=scale)))
    with aehub.open(path, model=codec, scale=str(scale)) as clip:
        assert (clip.info.width, clip.info.height) == scaled_size((75, 61), scale)
        assert clip[3:3].shape == (0, *frames.shape[1:])
        for number in (N - 1, 5, 12, 0):
            assert np.abs(clip[number].astype(int) - frames[number]).max() <= 1


def test_a_scaled_clip_is_written_and_its_way_told(
    path: Path, codec: Any, tmp_path: Path
) -> None:
    result = aehub.decompress_to(path, tmp_path / "small.mkv", model=codec, scale="1/4")
    assert (result.width, result.height, result.frames) == (19, 16, N)
    told = any("whole pictures were reduced" in note for note in result.notes)
    assert told == (Fraction(1, 4) not in codec.scales)


# `d4-codec`.


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return aehub.load("d4-codec")


@pytest.fixture(scope="module")
def moving(model: D4Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moving") / "clip.aev"
    aehub.compress(np.stack(moving_picture(34, 250, 138)), path, model=model, measure=False)
    return path


@pytest.mark.parametrize("scale", SMALL, ids=str)
def test_errors_do_not_add_up_along_a_group(
    model: D4Codec, moving: Path, scale: Fraction
) -> None:
    wanted = [downscale(p, scale.denominator) for p in pictures(moving, model)]
    found = pictures(moving, model, scale)
    values = [psnr([one], [two]) for one, two in zip(wanted, found, strict=True)]
    assert min(values) > 32
    # The second mini-GOP is as close as the first.
    assert np.mean(values[17:]) > np.mean(values[1:17]) - 1


@pytest.mark.parametrize("words", TURNS)
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_a_turned_file_scales_to_the_turned_pictures(
    model: D4Codec, moving: Path, scale: Fraction, words: str
) -> None:
    turned = io.BytesIO()
    aehub.edit(moving, turned, parse(f"trim :18f, {words}"), model=model)
    turned.seek(0)
    straight = pictures(moving, model, scale)[:18]
    g = element(parse(words))
    for one, other in zip(pictures(turned, model, scale), straight, strict=True):
        different = [np.abs(a.astype(int) - b)
                     for a, b in zip(one, turn_picture(other, g), strict=True)]
        assert max(part.max() for part in different) <= 1
        assert np.mean([(part > 0).mean() for part in different]) < 1e-3


def test_a_model_without_an_upscaler_interpolates(tmp_path: Path) -> None:
    codec, path = tiny_model(), tmp_path / "clip.aev"
    assert codec.stored.upscaler is None
    aehub.compress(np.stack(moving_picture(2, 40, 34)), path, model=codec, measure=False)
    result = aehub.decompress_to(path, tmp_path / "large.mkv", model=codec, scale=2)
    assert (result.width, result.height) == (80, 68)
    assert any("enlarged by Lanczos interpolation" in note for note in result.notes)
    for whole, large in zip(pictures(path, codec), pictures(path, codec, Fraction(2)), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(upscale(whole), large, strict=True))


# On the command line, and in edits.


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(part) for part in arguments])


def test_the_command_line_decodes_small(path: Path, codec: Any, tmp_path: Path) -> None:
    still, folder = tmp_path / "still.aev", tmp_path / "model"
    codec.save_pretrained(folder)
    source = tmp_path / "picture.png"
    Image.fromarray(moving_picture(1, 75, 61)[0]).save(source)
    aehub.compress(source, still, model=codec, measure=False)
    done = run("decompress", still, tmp_path / "small", "--scale", "1/8", "--model", folder)
    assert done.exit_code == 0, done.stderr
    assert "1 frame of 10x8" in done.stdout
    (found,) = (tmp_path / "small").iterdir()
    with Image.open(found) as picture:
        assert picture.size == (10, 8)


def test_another_scale_is_refused_in_one_sentence(path: Path, codec: Any) -> None:
    for call in (aehub.open, aehub.decompress):
        with pytest.raises(InputError, match="scale is '1/3'; give 1/8, 1/4, 1/2, 1 or 2"):
            call(path, model=codec, scale="1/3")
    assert "'1/3' is not one of" in run("decompress", path, "--scale", "1/3").stderr


@pytest.mark.parametrize(("words", "scale"), [
    ("scale 1/2", Fraction(1, 2)), ("scale 2", Fraction(2)),
    ("trim :5f, scale 1/2, rotate 90", Fraction(1, 2)),
    ("scale 2, scale 1/2, scale 1/2", Fraction(1, 2)),
])
def test_an_edit_scales_and_tells_the_loss(words: str, scale: Fraction, tmp_path: Path) -> None:
    model, source, output = aehub.load("d4-codec"), tmp_path / "clip.aev", tmp_path / "scaled.aev"
    aehub.compress(np.stack(moving_picture(6, 75, 61)), source, model=model, measure=False)
    result = aehub.edit(source, output, parse(words))
    wanted = [turn_picture(picture, element(parse(words)))
              for picture in pictures(source, model, scale)[:result.frames]]
    assert result.frames == (5 if "trim" in words else 6)
    assert (result.width, result.height) == wanted[0].size
    assert result.psnr == pytest.approx(psnr(wanted, pictures(output, model)), abs=0.1)
    options = [f"--{word}" if word.isalpha() else word for word in words.replace(",", "").split()]
    done = run("edit", source, tmp_path / "again.aev", *options)
    assert done.exit_code == 0, done.stderr
    assert f"compressed a second time: {result.psnr:.2f} dB" in done.stdout
    assert (tmp_path / "again.aev").read_bytes() == output.read_bytes()


@pytest.mark.parametrize(("words", "sentence"), [
    (["--scale", "2", "--scale", "2"], "scale is '4'; give 1/8, 1/4, 1/2, 1 or 2"),
    (["--scale", "1/4"], "'1/4' is not one of"),
])
def test_edits_to_other_scales_are_refused(
    path: Path, words: list[str], sentence: str, tmp_path: Path
) -> None:
    done = run("edit", path, tmp_path / "scaled.aev", *words)
    assert done.exit_code != 0 and sentence in done.stderr
    assert not (tmp_path / "scaled.aev").exists()


def test_a_scaled_edit_keeps_the_sound(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_picture(6, 64, 48), audio="flac")
    aehub.compress(clip, tmp_path / "clip.aev", measure=False)
    result = aehub.edit(tmp_path / "clip.aev", tmp_path / "small.aev", [aehub.Scale("1/2")])
    assert result.audio_bytes > 0 and result.psnr is not None
