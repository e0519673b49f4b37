"""Pictures of 8 to 16 bits and any planes through files: bit by bit where the codec takes them."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.bitstream import open_reader
from aehub.codecs.compress import compress_clip
from aehub.codecs.decompress import decode_frames
from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.media.colour import to_rgb
from aehub.media.conversion import to_yuv420
from aehub.media.metrics import Distortion
from aehub.media.orientation import ELEMENTS, turn_picture
from aehub.media.picture import YUV420, Colour, Picture, PictureFormat, PlaneFormat
from deep_pictures import FORMATS, deep_pictures
from golden_files import MODEL
from packages import zlib_installed

every_format = pytest.mark.parametrize("name", FORMATS)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with zlib_installed(tmp_path_factory.mktemp("packages") / "site") as folder:
        yield aehub.load(folder)


def same(found: list[Picture], wanted: list[Picture]) -> bool:
    return len(found) == len(wanted) and all(
        one.format == two.format and all(
            a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        for one, two in zip(found, wanted, strict=True))


@every_format
@pytest.mark.parametrize("size", [(37, 23), (1, 1), (64, 48)])
def test_every_format_comes_back_bit_by_bit_at_quality_100(
    toy: Any, name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    form, path = FORMATS[name], tmp_path / "clip.aev"
    pictures = deep_pictures(form, size=size)
    result = aehub.compress(iter(pictures), path, model=toy, quality=100, group=2, fps=12)
    assert (result.psnr, result.fps, result.frames, result.notes) == (100, "12/1", 5, ())
    assert aehub.verify(path).ok and aehub.info(path)["pictures"] == str(form)
    with open_reader(path) as reader:
        assert reader.header.pictures == form
        assert same([frame.picture for frame in decode_frames(reader, toy)], pictures)
    with aehub.open(path, model=toy) as archive:
        assert archive.info.pictures == form
        assert same([archive.picture(number) for number in (4, 0, 3)],
                    [pictures[number] for number in (4, 0, 3)])
        assert archive[1].shape == (size[1], size[0], 3) and archive[1].dtype == np.uint8


@every_format
def test_the_quality_measured_is_that_of_a_plain_formula(
    toy: Any, name: str, tmp_path: Path
) -> None:
    form, path = FORMATS[name], tmp_path / "clip.aev"
    pictures = deep_pictures(form, size=(180, 177), n=2)
    result = aehub.compress(pictures, path, model=toy, quality=60)
    with open_reader(path) as reader:
        found = [frame.picture for frame in decode_frames(reader, toy)]
    planes = []
    for number in range(len(form.planes)):
        pairs = [(a[number].astype(float), b[number]) for a, b in zip(pictures, found, strict=True)]
        mse = np.mean([np.mean((a - b) ** 2) for a, b in pairs])
        planes.append(10 * math.log10((2**form.bits - 1) ** 2 / mse))
    weights = [6, 1, 1] if name in ("420", "422", "444") else [1] * len(planes)
    assert result.psnr == pytest.approx(np.average(planes, weights=weights), abs=6e-4)
    assert 25 < result.psnr < 60
    assert result.ms_ssim is not None and 0.8 < result.ms_ssim < 1


@pytest.mark.parametrize("full_range", [False, True])
def test_grey_levels_are_shown_as_they_are(full_range: bool) -> None:
    colour = Colour(6, full_range)
    levels = np.array([[0, 5000, 30000, 52000, 65535]], np.uint16).repeat(4, 0)
    deep = Picture([levels], PictureFormat((PlaneFormat("Y"),), 16))
    shown = to_rgb(to_yuv420(deep, colour), colour)
    assert np.abs(shown[..., 1] - levels / 257).max() < 1.5  # 219 levels in limited range


@every_format
def test_what_shows_pictures_shows_them_in_8_bits(toy: Any, name: str, tmp_path: Path) -> None:
    path, back = tmp_path / "clip.aev", tmp_path / "back.mkv"
    pictures = deep_pictures(FORMATS[name])
    aehub.compress(pictures, path, model=toy, quality=100)
    note = f"Pictures of {FORMATS[name]} were converted"
    assert note in " ".join(aehub.decompress_to(path, back, model=toy).notes)
    with aehub.open(path, model=toy) as archive:
        wanted = [to_yuv420(picture, archive.info.colour) for picture in pictures]
        rgb = list(archive)
    with open_clip(back) as clip:
        assert same([frame.picture for frame in clip], wanted)
    assert all(np.array_equal(a, b) for a, b in
               zip(aehub.decompress(path, model=toy), rgb, strict=True))
    if name not in ("420", "422", "444"):
        # The range of the samples is that from black to white.
        form = FORMATS[name]
        planes = pictures[0] if name == "rgb" else [pictures[0][0]] * 3
        levels = [(plane.astype(float) - form.lowest) * 255 / form.peak for plane in planes]
        assert np.abs(rgb[0] - np.stack(levels, -1))[..., 1].max() < 4


@every_format
def test_a_codec_of_8_bit_video_converts_them_and_says_so(name: str, tmp_path: Path) -> None:
    path, form = tmp_path / "clip.aev", FORMATS[name]
    pictures = deep_pictures(form, size=(64, 48), n=3)
    result = aehub.compress(pictures, path, model=MODEL, quality=90)
    assert result.notes == (
        f"Pictures of {form} were brought to {YUV420}, which tiny-d4 takes.",)
    with open_clip(pictures) as clip:
        wanted = [to_yuv420(picture, clip.info.colour) for picture in pictures]
    distortion = Distortion()
    with aehub.open(path, model=MODEL) as archive:
        for number, picture in enumerate(wanted):
            distortion.add(picture, archive.picture(number))
    assert result.psnr == round(distortion.psnr, 3) > 25


@every_format
def test_edits_keep_the_format(toy: Any, name: str, tmp_path: Path) -> None:
    path, edited, joined = (tmp_path / f"{part}.aev" for part in ("clip", "edited", "joined"))
    pictures = deep_pictures(FORMATS[name])
    aehub.compress(pictures, path, model=toy, quality=100, group=3, measure=False)
    aehub.edit(path, edited, [aehub.Trim("1f:4f"), aehub.Reverse()])
    aehub.concat([path, edited], joined)
    with open_reader(joined) as reader:
        found = [frame.picture for frame in decode_frames(reader, toy)]
    assert same(found, [*pictures, *pictures[3:0:-1]])
    result = aehub.edit(path, edited, [aehub.Rotate(90)], model=toy, via_pixels=True, force=True)
    assert result.psnr == 100
    with open_reader(edited) as reader:
        assert same([frame.picture for frame in decode_frames(reader, toy)],
                    [turn_picture(picture, ELEMENTS["rotate-90"]) for picture in pictures])


def test_the_longest_names_of_sixteen_planes_fit_a_file(toy: Any) -> None:
    form = PictureFormat(tuple(PlaneFormat(f"plane_{n:02}") for n in range(16)), 16)
    pictures, stream = deep_pictures(form, n=2), io.BytesIO()
    aehub.compress(pictures, stream, model=toy, quality=100, fps="30000/1001")
    with open_reader(io.BytesIO(stream.getvalue())) as reader:
        assert same([frame.picture for frame in decode_frames(reader, toy)], pictures)


def test_files_of_two_formats_are_not_joined(toy: Any, tmp_path: Path) -> None:
    paths = [tmp_path / "grey.aev", tmp_path / "signed.aev"]
    for path in paths:
        aehub.compress(deep_pictures(FORMATS[path.stem]), path, model=toy, measure=False)
    with pytest.raises(InputError, match="the picture format is"):
        aehub.concat(paths, tmp_path / "joined.aev")


def test_a_target_size_is_met_by_deep_pictures(toy: Any) -> None:
    pictures = deep_pictures(FORMATS["420"], n=24)
    whole = aehub.compress(pictures, io.BytesIO(), model=toy, quality=80).bytes
    result = aehub.compress(iter(pictures), io.BytesIO(), model=toy, target_size=whole)
    assert 0.97 * whole <= result.bytes <= whole


def test_a_clip_of_pictures_is_trimmed_and_timed_as_one_of_arrays(toy: Any) -> None:
    pictures, stream = deep_pictures(FORMATS["rgb"], n=10), io.BytesIO()
    with open_clip(pictures, fps=Fraction(5)) as clip:
        assert (clip.info.fps, clip.info.pictures) == (5, FORMATS["rgb"])
        *_, stats = compress_clip(clip, stream, toy, 100)
    assert (stats.frames, stats.seconds) == (10, 2)
    result = aehub.compress(pictures[0], io.BytesIO(), model=toy)
    assert result.frames == 1
    part = io.BytesIO()
    aehub.compress(iter(pictures), part, model=toy, trim="0.4:1", fps=5, quality=100)
    with open_reader(io.BytesIO(part.getvalue())) as reader:
        assert same([f.picture for f in decode_frames(reader, toy)], pictures[2:5])


GREY = PictureFormat(FORMATS["grey"].planes, 10)
FLAT = np.zeros((4, 6), np.uint16)


@pytest.mark.parametrize(("frames", "words"), [
    ([Picture([FLAT], GREY), Picture([FLAT[:3]], GREY)], "Frame 1 is .* of 6x3, the first .*6x4"),
    ([Picture([FLAT], GREY), Picture([FLAT], PictureFormat(GREY.planes, 12))],
     "Frame 1 is 12-bit Y of 6x4, the first one 10-bit Y of 6x4; give frames of one size and"),
    ([Picture([FLAT], GREY), np.zeros((4, 6, 3), np.uint8)], "Frame 1 is RGB of 6x4"),
    ([np.zeros((4, 6, 3), np.uint8), Picture([FLAT], GREY)], "Frame 1 is 10-bit Y of 6x4"),
    ([Picture([FLAT.astype(np.uint8)], GREY)], "plane Y of a picture of 10-bit Y is uint8; give"),
    ([Picture([FLAT + 1024], GREY)], "from 1024 to 1024; those of 10-bit Y go from 0 to 1023"),
    ([Picture([FLAT, FLAT], GREY)], "has planes of .*; give 1 of"),
    ([Picture([FLAT] * 3, FORMATS["420"])], "the others divided by their subsampling"),
    ([Picture([FLAT[0]], GREY)], "has planes of"), ([Picture([FLAT[:0]], GREY)], "has planes of"),
    ([Picture([], GREY)], "has planes of"),
    ([Picture([[[1, 2]]], GREY)], "no arrays"), ([], "no frames"), (["a picture"], "aehub.Picture"),
])
def test_pictures_that_do_not_fit_get_one_sentence(
    toy: Any, frames: list[Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        aehub.compress(frames, tmp_path / "clip.aev", model=toy)
    assert not list(tmp_path.glob("*.aev"))
