"""Colour of clips without tags: BT.709 in high definition, by the size of the source."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.measure.image_codecs import avif
from aehub.media.clip import open_clip
from aehub.media.colour import to_rgb
from aehub.media.picture import Colour, Picture
from aehub.media.sinks import frame_from_planes
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import open_writer
from aehub.report.playback import with_explicit_colour
from aehub.report.prepare import iter_prepare

YUV = 90, 100, 190
BT709, BT601 = (0.2126, 0.0722), (0.299, 0.114)


def shown_as(kr: float, kb: float) -> np.ndarray:
    """`YUV` in RGB by the formula of H.273, limited range."""
    y, u, v = (YUV[0] - 16) / 219, (YUV[1] - 128) / 224, (YUV[2] - 128) / 224
    red, blue = y + (2 - 2 * kr) * v, y + (2 - 2 * kb) * u
    return np.array([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue]) * 255


def flat_clip(path: Path, width: int, height: int, turn: int = 0, n_frames: int = 2) -> Path:
    """A clip of one colour without any colour tag, H.264 or FFV1."""
    half = (height + 1) // 2, (width + 1) // 2
    planes = Picture((np.full(size, value, np.uint8)
                      for size, value in zip([(height, width), half, half], YUV, strict=True)))
    with av.open(str(path), "w") as container:
        codec = "ffv1" if path.suffix == ".mkv" else "libx264"
        exact = {} if codec == "ffv1" else {"qp": "0"}
        stream = container.add_stream(codec, rate=25, options=exact)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(n_frames):
            frame = frame_from_planes(planes)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if turn:
        turned = path.with_name("turned.mp4")
        with av.open(str(path)) as source, av.open(str(turned), "w") as out:
            copy = out.add_stream_from_template(source.streams.video[0])
            copy.set_display_rotation(turn)
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    out.mux(packet)
        return turned
    return path


def first_of(path: Path) -> tuple[np.ndarray, Colour]:
    """(mean RGB, colour) of the first frame of a clip."""
    with open_clip(path) as clip:
        return to_rgb(next(iter(clip)).picture, clip.info.colour).mean((0, 1)), clip.info.colour


@pytest.mark.parametrize(
    ("size", "standard"),
    [((1040, 32), BT709), ((32, 720), BT709), ((1024, 32), BT601), ((32, 718), BT601)],
)
def test_untagged_clips_are_bt709_from_720_rows_or_above_1024_columns(
    tmp_path: Path, size: tuple[int, int], standard: tuple[float, float]
) -> None:
    rgb, _ = first_of(flat_clip(tmp_path / "c.mkv", *size))
    assert np.abs(rgb - shown_as(*standard)).max() <= 0.6
    with io.BytesIO() as stream, open_clip(tmp_path / "c.mkv") as clip:
        with open_writer(stream, info=clip.info) as writer:
            for frame in clip:
                writer.write(frame)
        assert not writer.notes, "a plain y4m is read as its source was"
        stream.seek(0)
        with open_clip(stream) as again:
            assert again.info.colour.matrix == clip.info.colour.matrix


def test_the_size_before_turns_trims_and_resizing_decides(tmp_path: Path) -> None:
    wide = flat_clip(tmp_path / "wide.mp4", 1040, 32)
    for step in iter_prepare(wide, tmp_path / "small.mkv", longest=64,
                             trim=TimeSpan.parse("1f:2f")):
        assert step
    rgb, colour = first_of(tmp_path / "small.mkv")
    assert colour == Colour(1, False, 1, 1)
    assert np.abs(rgb - shown_as(*BT709)).max() <= 0.6
    # 960 rows after the turn, 32 before it: players convert before they turn.
    upright = flat_clip(tmp_path / "less.mp4", 960, 32, turn=90)
    rgb, _ = first_of(upright)
    assert np.abs(rgb - shown_as(*BT601)).max() <= 0.6
    with open_clip(upright) as clip:
        assert (clip.info.width, clip.info.height) == (32, 960)
        frame = next(iter(clip))
    for name in ("out.mp4", "out.mkv", "out.webm"):
        with open_writer(tmp_path / name, info=clip.info) as writer:
            writer.write(frame)
        assert first_of(tmp_path / name)[1].matrix == 6, name


def test_every_output_shows_an_untagged_clip_as_players_show_it(tmp_path: Path) -> None:
    source = flat_clip(tmp_path / "source.mp4", 1040, 32)
    right = shown_as(*BT709)
    with open_clip(source) as clip:
        info, frames = clip.info, list(clip)
    for name in ("o.mp4", "o.mkv", "o.webm", "o.gif", "o.webp", "o.png", "folder"):
        with open_writer(tmp_path / name, info=info) as writer:
            for frame in frames:
                writer.write(frame)
        path = tmp_path / name
        if name in ("o.mp4", "o.mkv", "o.webm"):
            with av.open(str(path)) as container:
                assert container.streams.video[0].codec_context.colorspace == 1, name
                planes = next(container.decode(video=0)).to_ndarray()
            assert abs(int(planes[0, 0]) - YUV[0]) <= 1
            continue
        with Image.open(path / "000000.png" if name == "folder" else path) as image:
            shown = np.asarray(image.convert("RGB")).astype(float)
        assert np.abs(shown.mean((0, 1)) - right).max() <= 2, name
    assert with_explicit_colour(info).colour == Colour(1, False, 1, 1)


def test_a_compressed_file_keeps_what_an_untagged_clip_was_taken_for(tmp_path: Path) -> None:
    model = aehub.load("d4-codec")
    wide = flat_clip(tmp_path / "wide.mkv", 1040, 32, n_frames=1)
    less = flat_clip(tmp_path / "less.mkv", 960, 32, n_frames=1)
    for source, matrix, rows in ((wide, 1, 1040), (less, 6, 960)):
        aehub.compress(source, tmp_path / "c.aev", model=model, force=True)
        aehub.edit(tmp_path / "c.aev", tmp_path / "t.aev", [aehub.Rotate(90)], force=True)
        with aehub.open(tmp_path / "t.aev") as archive:
            assert (archive.info.height, archive.info.colour.matrix) == (rows, matrix)
            planes = archive.picture(0)
            (streamed,) = aehub.decompress(tmp_path / "t.aev")
            assert np.array_equal(archive[0], streamed)
            assert np.array_equal(to_rgb(planes, Colour(matrix)), streamed)


def test_photographs_that_do_not_say_are_bt601_of_any_size(tmp_path: Path) -> None:
    planes = Picture((np.full(size, value, np.uint8)
                      for size, value in zip([(64, 1040), (32, 520), (32, 520)], YUV, strict=True)))
    (tmp_path / "still.avif").write_bytes(avif().write(planes, 10))
    Image.new("RGB", (1040, 64), (200, 60, 30)).save(tmp_path / "still.jpg", quality=95)
    Image.new("RGB", (1040, 64), (200, 60, 30)).save(tmp_path / "still.webp", quality=95)
    rgb, _ = first_of(tmp_path / "still.avif")
    assert np.abs(rgb - shown_as(*BT601)).max() <= 3
    for name in ("still.jpg", "still.webp"):
        assert np.abs(first_of(tmp_path / name)[0] - (200, 60, 30)).max() <= 3, name
