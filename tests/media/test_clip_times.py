"""Presentation times read, trimmed and written, checked with other readers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.media.clip import open_clip
from aehub.media.colour import from_rgb
from aehub.media.picture import ClipInfo, Colour, Frame
from aehub.media.timestamps import PresentationTimes, TimeSpan
from aehub.media.writer import open_writer
from material import moving_picture, shown_for, write_clip

PICTURES = moving_picture(12, 64, 48, seed=5)
for number, picture in enumerate(PICTURES):
    picture[:16, :16] = 20 * number + 10
TIMES = [0, 40, 80, 120, 160]
HELD = 3000
STEADY = ClipInfo(64, 48, Fraction(25), Fraction(1, 1000), Colour(6))

FrameDurations = list[tuple[int, float]]


def shown(source: object, **options: Any) -> FrameDurations:
    """(number, seconds on screen) of every frame; the number is painted in a corner."""
    with open_clip(source, **options) as clip:
        frames = list(clip)
        base = clip.info.time_base
    assert frames[0].time == 0
    for frame, following in zip(frames, frames[1:], strict=False):
        assert frame.time + frame.duration == following.time
    return [(round((frame.picture[0][2:10, 2:10].mean() - 16) * 255 / 219 / 20 - 0.5),
             float(frame.duration * base)) for frame in frames]


def animation(path: Path, milliseconds: Sequence[int], **options: Any) -> Path:
    """A GIF, WebP or APNG by Pillow."""
    images = [Image.fromarray(picture) for picture in PICTURES[: len(milliseconds)]]
    images[0].save(path, save_all=True, append_images=images[1:], duration=list(milliseconds),
                   **options)
    return path


def video(path: Path, codec: str, options: dict[str, str], milliseconds: Sequence[int]) -> Path:
    """A video whose frames, also the last, have these durations."""
    ends = np.cumsum(milliseconds).tolist()
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        packets: list[av.Packet] = []
        for rgb, time in zip(PICTURES, [0, *ends[:-1]], strict=False):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        # Of the frames coded last and shown last: mp4 wants it of both.
        for packet in (packets[-1], max(packets, key=lambda packet: packet.pts)):
            packet.duration = int(milliseconds[-1] / 1000 / packet.time_base)
        for packet in packets:
            container.mux(packet)
    return path


MAKERS: dict[str, Callable[[Path, Sequence[int]], Path]] = {
    "c.gif": animation,
    "c.webp": animation,
    "c.png": animation,
    "c.mkv": lambda path, ms: video(path, "ffv1", {}, ms),
    "c.webm": lambda path, ms: video(path, "libvpx-vp9", {"deadline": "realtime"}, ms),
    "c.mp4": lambda path, ms: video(path, "libx264", {"bf": "0"}, ms),
    "b.mp4": lambda path, ms: video(path, "libx264", {"bf": "2", "b_strategy": "0"}, ms),
    "b.mkv": lambda path, ms: video(path, "libx264", {"bf": "0"}, ms),
}


def durations_in(path: Path) -> list[float]:
    """Milliseconds of each picture, by Pillow, or by the packets of PyAV and the stated length."""
    if path.suffix in (".gif", ".webp", ".png"):
        return shown_for(path)
    with av.open(str(path)) as container:
        times = sorted(float(1000 * packet.pts * packet.time_base)
                       for packet in container.demux(video=0) if packet.pts is not None)
        end = container.duration / 1000
    return np.diff([*times, end]).round(1).tolist()


@pytest.mark.parametrize("name", MAKERS)
def test_a_held_last_frame_keeps_its_time(tmp_path: Path, name: str) -> None:
    path = MAKERS[name](tmp_path / name, [40, 40, 40, 40, 40, HELD])
    assert shown(path) == [*((number, 0.04) for number in range(5)), (5, 3.0)]
    with open_clip(path) as clip:
        assert clip.info.n_frames in (6, None)
        assert abs(6 / clip.info.fps - Fraction(32, 10)) < Fraction(5, 100)
    with pytest.raises(LimitError, match="longer than 3 s"):
        shown(path, limits=Limits(max_seconds=3))
    assert len(shown(path, limits=Limits(max_seconds=3.2))) == 6


def test_a_matroska_duration_tag_ends_a_last_frame_without_duration(tmp_path: Path) -> None:
    path = video(tmp_path / "old.mkv", "ffv1", {}, [40] * 6)
    # As older writers leave it: blocks say when they begin, the file when it ends.
    data = path.read_bytes().replace(b"00:00:00.240000000", b"00:00:03.200000000")
    place = data.index(b"\x44\x89\x88") + 3
    data = data[:place] + struct.pack(">d", 3200.0) + data[place + 8 :]
    path.write_bytes(data)
    assert shown(path) == [*((number, 0.04) for number in range(5)), (5, 3.0)]
    path.write_bytes(data + b"appended")
    assert shown(path)[-1] == (5, 3.0)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(data[: places[3]] + bytes(places[5] - places[3]) + data[places[5] :])
    with pytest.raises(InputError, match="data is damaged"):
        shown(path)


def test_a_packet_without_data_repeats_the_picture_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mov", PICTURES[:6], codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    # The sizes of the six samples; those of the last two become 0.
    sizes = data.index(b"stsz") + 16
    data[sizes + 16 : sizes + 24] = bytes(8)
    path.write_bytes(data)
    assert [round(seconds, 6) for _, seconds in shown(path)] == [0.04, 0.04, 0.04, 0.12]
    with open_clip(path) as clip:
        assert clip.last_frame_time() == Fraction(12, 100)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.webm", "o.gif", "o.webp", "o.png"])
@pytest.mark.parametrize("n_frames", [1, 5])
def test_the_last_frame_is_written_as_long_as_it_lasts(
    tmp_path: Path, name: str, n_frames: int
) -> None:
    with open_writer(tmp_path / name, info=STEADY) as writer:
        for time, rgb in zip(TIMES[:n_frames], PICTURES, strict=False):
            writer.write(Frame(from_rgb(rgb, STEADY.colour), time, HELD))
    if n_frames == 1 and name in ("o.webp", "o.png"):
        assert "no duration" in writer.notes[-1]
        return
    assert durations_in(tmp_path / name) == [40] * (n_frames - 1) + [HELD]
    assert not [note for note in writer.notes if "lost" in note]


@pytest.mark.parametrize("name", ["o.webp", "o.png"])
def test_a_lost_duration_of_a_single_picture_is_noted(tmp_path: Path, name: str) -> None:
    # A clip of one frame has the rate that this frame makes.
    info = replace(STEADY, fps=Fraction(1000, HELD))
    for n_frames in (1, 3):
        # Of frames that are all alike WebP makes one picture; an APNG keeps them.
        with open_writer(tmp_path / f"{n_frames}{name}", info=info) as writer:
            for number in range(n_frames):
                frame = from_rgb(PICTURES[0], STEADY.colour)
                writer.write(Frame(frame, number * HELD, HELD))
        is_lost = n_frames == 1 or name == "o.webp"
        assert len([note for note in writer.notes if "no duration" in note]) == is_lost


def test_a_photograph_lasts_one_frame_in_every_format(tmp_path: Path) -> None:
    for name in ("c.avif", "c.jpg", "c.png", "c.webp"):
        Image.fromarray(PICTURES[0]).save(tmp_path / name)
        assert [seconds for _, seconds in shown(tmp_path / name)] == [0.04], name
        assert [seconds for _, seconds in shown(tmp_path / name, fps=10)] == [0.1], name


@pytest.mark.parametrize("name", ["o.y4m", "o"])
def test_formats_without_times_note_a_lost_duration(tmp_path: Path, name: str) -> None:
    for lasting, n_notes in ((40, 0), (HELD, 1)):
        with open_writer(tmp_path / f"{lasting}{name}", info=STEADY) as writer:
            for time, rgb in zip(TIMES, PICTURES, strict=False):
                writer.write(Frame(from_rgb(rgb, STEADY.colour), time, lasting))
        assert len([note for note in writer.notes if "lost" in note]) == n_notes


def test_delays_too_long_for_a_gif_become_several_frames(tmp_path: Path) -> None:
    with open_writer(tmp_path / "o.gif", info=STEADY) as writer:
        writer.write(Frame(from_rgb(PICTURES[0], STEADY.colour), 0))
        writer.write(Frame(from_rgb(PICTURES[1], STEADY.colour), 655_360, 2_000_000))
    assert durations_in(tmp_path / "o.gif") == [655_340, 20, *[655_350] * 3, 33_950]


SLOW = [
    ("1:2", [(0, 1)]),
    ("2:4", [(0, 1), (1, 1)]),
    ("2.9:3.1", [(0, 0.1), (1, 0.1)]),
    ("3:6", [(1, 3)]),
    ("10.5:", [(3, 1.5)]),
    (":0.25", [(0, 0.25)]),
    ("2f:4f", [(2, 3), (3, 3)]),
    ("1:2f", [(0, 2), (1, 3)]),
    ("1f:7", [(1, 3), (2, 1)]),
    # Nearer to the border of two frames than anyone sees.
    ("2.99:6.01", [(1, 3)]),
    # But what is left of a short part, or of the end, is kept.
    ("2.995:3.005", [(0, 0.005), (1, 0.005)]),
    ("11.99:", [(3, 0.01)]),
]


@pytest.mark.parametrize("name", ["array", "c.gif", "b.mp4", "c.mkv"])
def test_a_trim_keeps_what_is_on_screen(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {}
    source: Any = np.stack(PICTURES[:4])
    if name == "array":
        options["fps"] = Fraction(1, 3)
    else:
        source = MAKERS[name](tmp_path / name, [3000] * 4)
    for part, kept in SLOW:
        assert shown(source, trim=TimeSpan.parse(part), **options) == kept, part
    for part in ("12:", "12.001:13", "4f:"):
        with pytest.raises(InputError, match="the clip is shorter"):
            shown(source, trim=TimeSpan.parse(part), **options)


def test_a_trim_of_a_long_frame_is_limited_by_its_own_duration() -> None:
    options = {"fps": Fraction(1, 60), "limits": Limits(max_seconds=20)}
    frames = shown(np.stack(PICTURES[:2]), trim=TimeSpan.parse("50:70"), **options)
    assert frames == [(0, 10), (1, 10)]
    with pytest.raises(LimitError):
        shown(np.stack(PICTURES[:2]), trim=TimeSpan.parse("30:60"), **options)


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)])
def test_a_trim_as_long_as_the_limit_is_accepted(tmp_path: Path, fps: Fraction) -> None:
    path = write_clip(tmp_path / "c.mp4", PICTURES * 2, fps=fps)
    for start in range(10):
        part = TimeSpan(Fraction(start, 100), Fraction(start, 100) + Fraction(1, 2))
        kept = shown(path, trim=part, limits=Limits(max_seconds=0.5))
        assert sum(seconds for _, seconds in kept) == pytest.approx(0.5, abs=0.04)
        assert len({round(seconds, 3) for _, seconds in kept[:-1]}) == 1, "steady clips stay so"


@pytest.mark.parametrize(("codec", "options"), [
    ("libx264", {"bf": "3", "b_strategy": "0"}), ("mpeg4", {"bf": "2"}),
    ("mpeg2video", {"bf": "2"}),
])
def test_reordered_frames_of_avi_are_evenly_spaced_and_synchronous(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path = write_clip(tmp_path / "b.avi", PICTURES, codec=codec, options=options,
                      audio="libmp3lame")
    assert [seconds for _, seconds in shown(path)] == [0.04] * 12
    assert [number for number, _ in shown(path)] == sorted(number for number, _ in shown(path))
    with av.open(str(path)) as container:
        wanted = [float(packet.pts * packet.time_base)
                  for packet in container.demux(audio=0) if packet.size]
    with open_clip(path) as clip:
        assert clip.audio is not None
        with clip.audio.open() as track, av.open(track, "r") as container:
            found = [float(packet.pts * packet.time_base)
                     for packet in container.demux(audio=0) if packet.size]
    assert np.allclose(found, wanted, atol=0.002)


def test_decoding_times_become_presentation_times(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "b.mkv", PICTURES, codec="libx264",
                        options={"bf": "3", "b_strategy": "0"})
    with av.open(str(source)) as given, av.open(str(tmp_path / "d.mkv"), "w") as target:
        stream = given.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in given.demux(stream) if p.size):
            packet.time_base, packet.pts, packet.dts = Fraction(1, 25), number, number
            packet.stream, packet.duration = copied, 1
            target.mux(packet)
    assert shown(tmp_path / "d.mkv") == shown(source) == [(n, 0.04) for n in range(12)]


def test_packets_before_the_first_frame_take_no_time() -> None:
    times = PresentationTimes(reorders=True)
    for pts in (0, 40, 80):
        times.add_packet(pts)
    assert [times.next_frame(pts) for pts in (40, 80)] == [40, 80], "a stream joined in the middle"


@pytest.mark.parametrize("name", ["c.h264", "c.hevc"])
def test_a_raw_stream_has_the_rate_of_its_header(tmp_path: Path, name: str) -> None:
    codec = {"c.h264": "libx264", "c.hevc": "libx265"}[name]
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"bf": "2"}
    path = write_clip(tmp_path / name, PICTURES[:6], codec=codec, fps=10, options=options)
    assert shown(path) == [(number, 0.1) for number in range(6)]


@pytest.mark.parametrize("plays", [0, 1, 3])
@pytest.mark.parametrize("name", ["c.gif", "c.webp", "c.png"])
def test_the_play_count_of_an_animation_is_kept(tmp_path: Path, name: str, plays: int) -> None:
    # A GIF says how often it is played again, and nothing if it is not.
    loop = {0: 0, 1: None}.get(plays, plays - 1) if name == "c.gif" else plays
    path = animation(tmp_path / name, [40] * 3, **({} if loop is None else {"loop": loop}))
    with open_clip(path) as clip:
        assert clip.info.plays == plays
        with open_writer(tmp_path / f"o{path.suffix}", info=clip.info) as writer:
            for frame in clip:
                writer.write(frame)
    with Image.open(tmp_path / f"o{path.suffix}") as image:
        assert image.info.get("loop") == loop
