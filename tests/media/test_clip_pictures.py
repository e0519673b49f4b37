"""Reading arrays, stills, folders and animations."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.media.colour import from_rgb, rgb_colour, to_rgb
from material import moving_picture, psnr

PICTURES = moving_picture(5, 62, 47, seed=4)
DURATIONS = [40, 80, 40, 20, 120]


def same(planes: object, array: np.ndarray) -> bool:
    return all(map(np.array_equal, planes, from_rgb(array, rgb_colour(array.shape[0]))))


@pytest.mark.parametrize("as_given", [np.stack, iter, list, lambda frames: (f for f in frames)])
def test_arrays_are_clips(as_given: object) -> None:
    with open_clip(as_given(PICTURES), fps=12.5) as clip:
        frames = list(clip)
        assert clip.info.fps == Fraction(25, 2) and clip.info.source_bytes is None
        assert clip.audio is None
    assert [f.time * clip.info.time_base for f in frames] == [Fraction(2 * i, 25) for i in range(5)]
    assert all(same(f.picture, p) for f, p in zip(frames, PICTURES, strict=True))


def test_one_array_is_a_clip_of_one_frame() -> None:
    with open_clip(PICTURES[0]) as clip:
        assert clip.info.n_frames == 1
        assert len(list(clip)) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((0, 4, 4, 3), np.uint8), "no frames"),
        ([], "no frames"),
        (np.zeros((2, 4, 4, 3), np.float32), "float32"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        ([1, 2], "int"),
    ],
)
def test_arrays_of_another_kind_are_refused(given: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_clip(given)


def test_arrays_of_two_sizes_are_refused_by_number() -> None:
    with (
        open_clip([PICTURES[0], PICTURES[1][:20]]) as clip,
        pytest.raises(InputError, match="Frame 1 is RGB of"),
    ):
        list(clip)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_stills_are_exact(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s{suffix}"
    Image.fromarray(PICTURES[0]).save(path)
    with open_clip(path) as clip:
        assert (clip.info.width, clip.info.height, clip.info.n_frames) == (62, 47, 1)
        assert clip.info.source_bytes == path.stat().st_size
        (frame,) = clip
    assert same(frame.picture, PICTURES[0]) and frame.time == 0


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_stills_keep_their_own_planes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s{suffix}"
    Image.fromarray(PICTURES[0]).save(path, quality=90)
    with open_clip(path) as clip, av.open(str(path)) as container:
        (frame,) = clip
        raw = next(container.decode(video=0))
        assert clip.info.colour.full_range is (suffix == ".jpg")
        for got, plane in zip(frame.picture, raw.planes, strict=True):
            rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
            assert np.array_equal(got, rows[: plane.height, : plane.width])
        assert psnr(to_rgb(frame.picture, clip.info.colour), PICTURES[0]) > 25


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", ".png"), ("L", ".jpg"), ("P", ".png"), ("1", ".png"), ("CMYK", ".jpg"), ("LA", ".png")],
)
def test_pictures_of_any_mode_look_as_pillow_shows_them(
    tmp_path: Path, mode: str, suffix: str
) -> None:
    path = tmp_path / f"m{suffix}"
    y, x = np.mgrid[:48, :64]
    smooth = np.stack([2 * x + y, 255 - 3 * x, x + 4 * y // 2], axis=2).clip(0, 255)
    Image.fromarray(smooth.astype(np.uint8)).convert(mode).save(path)
    with open_clip(path) as clip:
        shown = to_rgb(next(iter(clip)).picture, clip.info.colour)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    # Dithered pictures lose the colour of single pixels to 4:2:0, but not their mean.
    blocks = [p.mean(axis=2).reshape(6, 8, 8, 8).mean(axis=(1, 3)) for p in (shown, expected)]
    assert np.abs(blocks[0] - blocks[1]).max() <= 1.5


def test_16_bit_grey_is_rounded_not_clipped(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    with open_clip(tmp_path / "d.png") as clip:
        shown = to_rgb(next(iter(clip)).picture, clip.info.colour)[..., 0]
        assert any("16-bit" in note for note in clip.info.notes)
    assert np.abs(shown - deep / 257).max() <= 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_photographs_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"e{suffix}"
    even = np.zeros((48, 64, 3), np.uint8)
    even[:16, :32], even[40:, 8:24] = (250, 40, 20), (20, 60, 230)
    Image.fromarray(even).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(image))
    with open_clip(path) as clip:
        shown = to_rgb(next(iter(clip)).picture, clip.info.colour)
    assert shown.shape == expected.shape
    assert psnr(shown, expected) > 27


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_frames_and_times(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    images = [Image.fromarray(p) for p in PICTURES]
    lossless = {"lossless": True} if suffix == ".webp" else {}
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=DURATIONS, loop=0, **lossless
    )
    with open_clip(path) as clip:
        frames = list(clip)
        assert clip.info.fps == Fraction(50, 3)
        milliseconds = [f.time * clip.info.time_base * 1000 for f in frames]
        shown = [to_rgb(f.picture, clip.info.colour) for f in frames]
    assert milliseconds == [0, 40, 120, 160, 180]
    assert all(psnr(s, p) > 20 for s, p in zip(shown, PICTURES, strict=True))
    if suffix != ".gif":
        assert all(same(f.picture, p) for f, p in zip(frames, PICTURES, strict=True))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_transparent_animations_lie_over_white(tmp_path: Path, suffix: str) -> None:
    layers = []
    for shift in range(3):
        rgba = np.zeros((48, 64, 4), np.uint8)
        rgba[10:30, 10 + 8 * shift : 30 + 8 * shift] = (200, 30, 30, 255)
        # Without a transparent pixel inside its box, libwebp does not mark the file transparent.
        rgba[10, 10 + 8 * shift, 3] = 0
        layers.append(Image.fromarray(rgba))
    path = tmp_path / f"t{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {"disposal": 2}
    layers[0].save(path, save_all=True, append_images=layers[1:], duration=100, **options)
    with open_clip(path) as clip:
        shown = [to_rgb(f.picture, clip.info.colour) for f in clip]
        assert "Transparent parts were laid over white." in clip.info.notes
    assert len(shown) == 3
    for shift, picture in enumerate(shown):
        assert picture[40:, :].min() >= 250
        assert np.abs(picture[20, 20 + 8 * shift].astype(int) - (200, 30, 30)).max() <= 8


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number, picture in zip((1, 2, 9, 10, 11), PICTURES, strict=True):
        Image.fromarray(picture).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_clip(tmp_path, fps=10) as clip:
        frames = list(clip)
        assert clip.info.n_frames == 5 and clip.info.fps == 10
        assert clip.info.source_bytes == sum(p.stat().st_size for p in tmp_path.glob("*.png"))
    assert all(same(f.picture, p) for f, p in zip(frames, PICTURES, strict=True))


def test_a_folder_of_mixed_kinds_has_one_colour(tmp_path: Path) -> None:
    Image.fromarray(PICTURES[0]).save(tmp_path / "0.png")
    Image.fromarray(PICTURES[1]).save(tmp_path / "1.jpg", quality=98)
    with open_clip(tmp_path) as clip:
        shown = [to_rgb(f.picture, clip.info.colour) for f in clip]
    assert psnr(shown[1], PICTURES[1]) > 25


def test_folders_that_are_no_clip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        open_clip(tmp_path)
    Image.fromarray(PICTURES[0]).save(tmp_path / "0.png")
    Image.fromarray(PICTURES[0][:20]).save(tmp_path / "1.png")
    with open_clip(tmp_path) as clip, pytest.raises(InputError, match="1.png is 62x20"):
        list(clip)
