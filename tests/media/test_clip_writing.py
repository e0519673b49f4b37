"""Writing: every format is read back with its frames, size, times and tags."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aehub.errors import ExistsError, InputError
from aehub.media.clip import open_clip
from aehub.media.colour import from_rgb, to_rgb
from aehub.media.picture import ClipInfo, Colour, Frame
from aehub.media.writer import SUFFIXES, open_writer
from material import moving_picture, psnr

BT601 = Colour(6)
NTSC = Fraction(30000, 1001)
PICTURES = moving_picture(12, 96, 64, seed=8)
NAMES = [f"out{suffix}" for suffix in SUFFIXES]
TIMED = [name for name in NAMES if Path(name).suffix not in ("", ".y4m")]


def clip_of(
    pictures: list[np.ndarray],
    colour: Colour = BT601,
    fps: Fraction = Fraction(25),
    **facts: object,
) -> tuple[ClipInfo, list[Frame]]:
    height, width = pictures[0].shape[:2]
    info = ClipInfo(width, height, fps, facts.pop("time_base", 1 / fps), colour, **facts)
    return info, [Frame(from_rgb(p, colour), i) for i, p in enumerate(pictures)]


def written(target: object, info: ClipInfo, frames: list[Frame], **options: object) -> list[str]:
    with open_writer(target, info=info, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.notes


def read(path: Path, **options: object) -> tuple[ClipInfo, list[Frame]]:
    with open_clip(path, **options) as clip:
        frames = list(clip)
        return clip.info, frames


def seconds(info: ClipInfo, frames: list[Frame]) -> list[float]:
    return [float(frame.time * info.time_base) for frame in frames]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(96, 64), (53, 37)])
def test_every_format_is_read_back(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    width, height = size
    pictures = [p[:height, :width].copy() for p in PICTURES]
    info, frames = clip_of(pictures)
    notes = written(tmp_path / name, info, frames)
    back, again = read(tmp_path / name)
    assert len(again) == 12
    assert [p.name for p in tmp_path.iterdir()] == [name]
    if name == "out.mp4" and width % 2:
        assert (back.width, back.height) == (54, 38)
        assert any("even sizes" in note for note in notes)
    else:
        assert (back.width, back.height) == size
    floor = {"out.gif": 22, "out.webm": 36, "out.mp4": 38, "out.webp": 36}.get(name, 45)
    for frame, original in zip(again, frames, strict=True):
        assert psnr(frame.picture[0][:height, :width], original.picture[0]) > floor
    assert back.fps == 25
    assert np.allclose(seconds(back, again), [i / 25 for i in range(12)], atol=0.0006)


@pytest.mark.parametrize("name", TIMED)
def test_uneven_times_are_kept(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES, time_base=Fraction(1, 1000))
    times = [0, 40, 80, 120, 500, 520, 560, 700, 900, 1400, 1440, 1500]
    moved = [Frame(f.picture, t) for f, t in zip(frames, times, strict=True)]
    written(tmp_path / name, info, moved)
    back, again = read(tmp_path / name)
    assert np.allclose(seconds(back, again), np.array(times) / 1000, atol=0.0011)


@pytest.mark.parametrize("name", ["out.gif", "out.webp", "out.png"])
@pytest.mark.parametrize("fps", [Fraction(10), NTSC, Fraction(24), Fraction(60)])
def test_animations_last_as_long_as_the_clip(tmp_path: Path, name: str, fps: Fraction) -> None:
    info, frames = clip_of(moving_picture(30, 40, 32, seed=1), fps=fps)
    notes = written(tmp_path / name, info, frames)
    with Image.open(tmp_path / name) as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
        assert image.info["loop"] == 0
    assert abs(sum(durations) / 1000 - 30 / fps) < 0.011
    if name == "out.gif":
        assert min(durations) >= 20
        assert (len(durations) < 30) is (fps == 60)
        assert any("left out" in note for note in notes) is (fps == 60)
    else:
        assert len(durations) == 30


def test_webp_merges_repeated_pictures(tmp_path: Path) -> None:
    info, frames = clip_of([PICTURES[0]] * 5 + PICTURES[:3])
    written(tmp_path / "out.webp", info, frames)
    back, again = read(tmp_path / "out.webp")
    assert len(again) < 8
    with Image.open(tmp_path / "out.webp") as image:
        total = 0
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            total += image.info["duration"]
    assert total == 8 * 40


@pytest.mark.parametrize("colour", [Colour(1, True, 1, 1), Colour(6, False, 6, 6), Colour(2)])
@pytest.mark.parametrize("size", [(96, 64), (95, 63), (17, 9)])
def test_mkv_keeps_every_sample_and_tag(
    tmp_path: Path, colour: Colour, size: tuple[int, int]
) -> None:
    info, frames = clip_of([p[: size[1], : size[0]].copy() for p in PICTURES], colour)
    assert written(tmp_path / "out.mkv", info, frames) == []
    back, again = read(tmp_path / "out.mkv")
    assert back.colour == colour and (back.width, back.height) == size
    for frame, original in zip(again, frames, strict=True):
        assert all(map(np.array_equal, frame.picture, original.picture))


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
@pytest.mark.parametrize("colour", [Colour(1, True, 1, 1), Colour(6, False, 6, 6), Colour(2)])
def test_video_keeps_its_colour_tags(tmp_path: Path, name: str, colour: Colour) -> None:
    info, frames = clip_of(PICTURES[:3], colour)
    written(tmp_path / name, info, frames)
    assert read(tmp_path / name)[0].colour == colour


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_lossless_video_is_lossless(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES, Colour(1, False, 1, 1))
    written(tmp_path / name, info, frames, lossless=True)
    for frame, original in zip(read(tmp_path / name)[1], frames, strict=True):
        assert all(map(np.array_equal, frame.picture, original.picture))


@pytest.mark.parametrize("name", ["out.png", "out", "out.webp"])
def test_rgb_formats_keep_every_rgb_value(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES[:4], Colour(1, True, 1, 13))
    written(tmp_path / name, info, frames, lossless=True)
    path = tmp_path / name
    for index, frame in enumerate(frames):
        with Image.open(path / f"{index:06d}.png" if path.is_dir() else path) as image:
            image.seek(0 if path.is_dir() else index)
            shown = np.asarray(image.convert("RGB"))
        assert np.array_equal(shown, to_rgb(frame.picture, info.colour))


@pytest.mark.parametrize("name", ["out.mp4", "out.png", "out.y4m"])
def test_the_pixel_aspect_is_kept(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES[:2], pixel_aspect=Fraction(4, 3))
    assert written(tmp_path / name, info, frames) == []
    assert read(tmp_path / name)[0].pixel_aspect == Fraction(4, 3)


@pytest.mark.parametrize("name", ["out.mkv", "out.webm"])
def test_a_lost_pixel_aspect_is_noted(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES[:2], pixel_aspect=Fraction(4, 3))
    assert any("pixel aspect 4/3" in note for note in written(tmp_path / name, info, frames))


def test_mp4_starts_with_its_index(tmp_path: Path) -> None:
    info, frames = clip_of(PICTURES)
    written(tmp_path / "out.mp4", info, frames)
    content = (tmp_path / "out.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_is_enough(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES[:1])
    written(tmp_path / name, info, frames)
    assert len(read(tmp_path / name)[1]) == 1


def test_a_file_object_gets_y4m() -> None:
    sink = io.BytesIO()
    info, frames = clip_of(PICTURES, Colour(6, True), fps=NTSC)
    assert written(sink, info, frames) == []
    assert sink.getvalue().startswith(b"YUV4MPEG2 W96 H64 F30000:1001 Ip A1:1 C420jpeg")
    sink.seek(0)
    with open_clip(sink) as clip:
        assert clip.info.fps == NTSC and clip.info.colour.full_range
        for frame, original in zip(clip, frames, strict=True):
            assert all(map(np.array_equal, frame.picture, original.picture))


def test_y4m_notes_lost_uneven_times() -> None:
    info, frames = clip_of(PICTURES[:3])
    late = [*frames[:2], frames[2]._replace(time=20)]
    assert any("times" in note for note in written(io.BytesIO(), info, late))


@pytest.mark.parametrize("format", ["mp4", "gif", "matroska"])
def test_a_file_object_takes_other_formats_too(format: str) -> None:
    class OneWay(io.BytesIO):
        def seekable(self) -> bool:
            return False

    sink = OneWay()
    info, frames = clip_of(PICTURES)
    written(sink, info, frames, format=format)
    with open_clip(io.BytesIO(sink.getvalue())) as clip:
        assert len(list(clip)) == 12


@pytest.mark.parametrize("name", NAMES)
def test_an_error_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES[:4])
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / name, info=info) as writer:
        for frame in frames:
            writer.write(frame)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_error_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    info, frames = clip_of(PICTURES[:4])
    written(tmp_path / name, info, frames)
    with pytest.raises(ZeroDivisionError), open_writer(tmp_path / name, info=info) as writer:
        writer.write(frames[0])
        raise ZeroDivisionError
    assert len(read(tmp_path / name)[1]) == 4


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_without_frames_is_refused(tmp_path: Path, name: str) -> None:
    info, _ = clip_of(PICTURES)
    with pytest.raises(InputError, match="No frame"):
        open_writer(tmp_path / name, info=info).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_written_before_is_replaced_whole(tmp_path: Path) -> None:
    info, frames = clip_of(PICTURES)
    written(tmp_path / "frames", info, frames)
    written(tmp_path / "frames", info, frames[:3])
    assert sorted(p.name for p in (tmp_path / "frames").iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.png").write_bytes(b"dear to me")
    info, _ = clip_of(PICTURES)
    with pytest.raises(ExistsError, match="holiday"):
        open_writer(tmp_path / "holiday", info=info)
    assert (tmp_path / "holiday" / "beach.png").read_bytes() == b"dear to me"


@pytest.mark.parametrize("name", ["out.wmv", "out.jpeg", "out.aev"])
def test_an_unknown_suffix_is_refused_with_the_possible_ones(tmp_path: Path, name: str) -> None:
    info, _ = clip_of(PICTURES)
    with pytest.raises(InputError) as caught:
        open_writer(tmp_path / name, info=info)
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)


def test_an_unknown_format_or_folder_is_refused(tmp_path: Path) -> None:
    info, _ = clip_of(PICTURES)
    with pytest.raises(InputError, match="wmv"):
        open_writer(io.BytesIO(), info=info, format="wmv")
    with pytest.raises(InputError, match="does not exist"):
        open_writer(tmp_path / "gone" / "out.mp4", info=info)


def test_frames_out_of_order_or_of_another_size_are_refused(tmp_path: Path) -> None:
    info, frames = clip_of(PICTURES[:3])
    small = Frame(from_rgb(PICTURES[0][:32], info.colour), 1)
    with (
        pytest.raises(InputError, match="96x32"),
        open_writer(tmp_path / "out.mp4", info=info) as writer,
    ):
        writer.write(small)
    with (
        pytest.raises(InputError, match="sort them"),
        open_writer(tmp_path / "out.mp4", info=info) as writer,
    ):
        writer.write(frames[1])
        writer.write(frames[1])
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_error_is_one_sentence(tmp_path: Path) -> None:
    wide = np.zeros((2, 17_000, 3), np.uint8)
    info, frames = clip_of([wide, wide])
    with (
        pytest.raises(InputError, match=r"out\.webp cannot be written"),
        open_writer(tmp_path / "out.webp", info=info) as writer,
    ):
        for frame in frames:
            writer.write(frame)
    assert list(tmp_path.iterdir()) == []
