"""Reading video: planes bit for bit, upright, with true timestamps."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aehub.media.clip import open_clip
from aehub.media.colour import from_rgb, to_rgb
from aehub.media.picture import Colour, Picture
from aehub.media.timestamps import MonotonicTimestamps, clean_rate
from material import moving_picture, psnr, write_clip

PICTURES = moving_picture(12, 96, 64, seed=1)


def raw_planes(path: Path) -> list[Picture]:
    """The decoder's own planes without their padding."""
    pictures = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            planes = []
            for plane in frame.planes:
                rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
                planes.append(rows[: plane.height, : plane.width])
            pictures.append(Picture(planes))
    return pictures


def read(source: object, **options: object) -> tuple[list[Picture], list[Fraction], object]:
    with open_clip(source, **options) as clip:
        frames = list(clip)
        info = clip.info
    return [f.picture for f in frames], [f.time * info.time_base for f in frames], info


def same(first: Picture, second: Picture) -> bool:
    return all(map(np.array_equal, first, second))


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [
        ("a.mp4", "libx264", (96, 64)),
        ("a.mov", "libx264", (90, 62)),
        ("a.mkv", "ffv1", (96, 64)),
        ("odd.mkv", "ffv1", (95, 63)),
        ("odd.webm", "libvpx-vp9", (95, 63)),
        ("a.avi", "mpeg4", (96, 64)),
        ("a.ts", "libx264", (96, 64)),
    ],
)
def test_420_planes_are_read_bit_for_bit(
    tmp_path: Path, name: str, codec: str, size: tuple[int, int]
) -> None:
    width, height = size
    cropped = [p[:height, :width].copy() for p in PICTURES]
    path = write_clip(tmp_path / name, cropped, codec=codec)
    planes, times, info = read(path)
    raw = raw_planes(path)
    assert len(planes) == len(raw) == 12
    assert all(map(same, planes, raw))
    assert (info.width, info.height) == size
    assert planes[0][1].shape == ((height + 1) // 2, (width + 1) // 2)
    assert all(plane.flags.owndata and plane.flags.c_contiguous for plane in planes[0])
    assert info.fps == 25 and info.n_frames in (12, 0, None)
    assert [round(float(t), 3) for t in times] == [round(i / 25, 3) for i in range(12)]
    assert info.notes == ()


def test_colour_tags_are_kept_as_numbers(tmp_path: Path) -> None:
    tagged = write_clip(tmp_path / "t.mp4", PICTURES[:2], colour=(1, 2, 9, 13))
    assert read(tagged)[2].colour == Colour(1, True, 9, 13)
    plain = write_clip(tmp_path / "p.mp4", PICTURES[:2])
    assert read(plain)[2].colour == Colour(2, False, 2, 2)


def test_full_range_420_passes_unchanged(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "j.mp4", PICTURES[:3], pix_fmt="yuvj420p")
    planes, _, info = read(path)
    assert info.colour.full_range
    assert all(map(same, planes, raw_planes(path)))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_clips_are_upright(tmp_path: Path, rotation: int) -> None:
    path = write_clip(
        tmp_path / "r.mp4", PICTURES[:3], rotation=rotation, pixel_aspect=Fraction(4, 3)
    )
    planes, _, info = read(path)
    with av.open(str(path)) as container:
        quarters = next(container.decode(video=0)).rotation // 90
    expected = [Picture(np.rot90(c, quarters) for c in p) for p in raw_planes(path)]
    assert all(map(same, planes, expected))
    assert (info.width, info.height) == ((96, 64) if rotation == 180 else (64, 96))
    assert info.pixel_aspect == (Fraction(4, 3) if rotation == 180 else Fraction(3, 4))


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((-1, 0, 0, 1), lambda a: a[:, ::-1]),
        ((1, 0, 0, -1), lambda a: a[::-1]),
        ((0, 1, 1, 0), lambda a: a.T),
        ((0, -1, -1, 0), lambda a: a[::-1, ::-1].T),
    ],
)
def test_mirrored_clips_are_upright(tmp_path: Path, matrix: tuple, turn: object) -> None:
    a, b, c, d = (value << 16 for value in matrix)
    whole = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    path = write_clip(tmp_path / "m.mp4", PICTURES[:2], display_matrix=whole)
    planes, _, _ = read(path)
    for got, raw in zip(planes, raw_planes(path), strict=True):
        assert same(got, Picture(map(turn, raw)))


def test_frame_times_are_those_of_the_file(tmp_path: Path) -> None:
    pts = [500, 540, 633, 640, 900, 1500, 1501, 1600, 1700, 1999, 2000, 2500]
    path = write_clip(tmp_path / "v.mkv", PICTURES, vfr_pts=pts)
    _, times, info = read(path)
    assert [t * 1000 for t in times] == [t - 500 for t in pts]
    # The header says 25.
    assert 5 < info.fps < 6.1
    assert info.n_frames == 12


def test_doubled_and_backward_times_are_repaired() -> None:
    clock = MonotonicTimestamps(frame_ticks=40)
    stated = [0, 40, 40, 80, None, 160, 10, 50, 90]
    assert [clock.next_time(pts) for pts in stated] == [0, 40, 41, 80, 120, 160, 200, 240, 280]


def test_measured_rates_snap_to_the_usual_ones() -> None:
    assert clean_rate(Fraction(29970, 1000)) == Fraction(30000, 1001)
    assert clean_rate(Fraction(29970029, 1000000)) == Fraction(30000, 1001)
    assert clean_rate(Fraction(25001, 1000)) == 25
    assert clean_rate(Fraction(50, 3)) == Fraction(50, 3)


def test_ntsc_rate_is_a_fraction(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "n.mp4", PICTURES, fps=Fraction(30000, 1001))
    _, times, info = read(path)
    assert info.fps == Fraction(30000, 1001)
    assert times[5] == 5 / info.fps


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("chroma", ["420", "422", "444"])
def test_deep_samples_are_rounded_to_8_bits(tmp_path: Path, bits: int, chroma: str) -> None:
    name = f"yuv{chroma}p{bits}le"
    path = write_clip(tmp_path / "d.mkv", PICTURES[:1], pix_fmt=name)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == name
        luma = np.frombuffer(bytes(frame.planes[0]), "<u2").reshape(64, -1)[:, :96]
    planes, _, info = read(path)
    assert np.abs(planes[0][0] - luma / 2.0 ** (bits - 8)).max() <= 0.5
    assert psnr(to_rgb(planes[0], info.colour), PICTURES[0]) > 25
    assert f"{bits}-bit samples were rounded to 8 bits." in info.notes


@pytest.mark.parametrize("name", ["yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p"])
def test_other_chroma_grids_become_420(tmp_path: Path, name: str) -> None:
    y, x = np.mgrid[:50, :67] / 12
    smooth = 128 + 80 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=2)
    path = write_clip(tmp_path / "c.mkv", [smooth.astype(np.uint8)], pix_fmt=name)
    planes, _, info = read(path)
    assert planes[0][1].shape == (25, 34)
    assert info.colour.matrix == 2
    assert "Chroma was brought to 4:2:0." in info.notes
    assert same(
        Picture([planes[0][0]] * 3), Picture([raw_planes(path)[0][0]] * 3)
    )
    assert psnr(to_rgb(planes[0], info.colour), smooth.astype(np.uint8)) > 27


def test_444_chroma_is_the_mean_of_four(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "m.mkv", PICTURES[:1], pix_fmt="yuv444p")
    u = raw_planes(path)[0][1].astype(float)
    mean = (u[::2, ::2] + u[1::2, ::2] + u[::2, 1::2] + u[1::2, 1::2]) / 4
    assert np.abs(read(path)[0][0][1] - mean).max() <= 0.5


def test_grey_video_gets_neutral_chroma(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "g.mkv", PICTURES[:1], pix_fmt="gray")
    planes, _, _ = read(path)
    assert np.ptp(planes[0][1]) == 0 and planes[0][1][0, 0] == 128
    assert planes[0][1].shape == (32, 48)


def test_rgb_video_is_converted_like_arrays(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "rgb.mkv", PICTURES[:2], pix_fmt="bgr0")
    planes, _, info = read(path)
    assert info.colour.matrix == 6 and not info.colour.full_range
    assert same(planes[1], from_rgb(PICTURES[1], info.colour))


@pytest.mark.parametrize("name", ["bgra", "yuva420p", "yuva444p10le"])
def test_transparent_parts_lie_over_white(tmp_path: Path, name: str) -> None:
    rgba = np.dstack([PICTURES[0], np.full((64, 96), 255, np.uint8)])
    rgba[:32, :48, 3] = 0
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, name
        frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=name)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    planes, _, info = read(path)
    assert "Transparent parts were laid over white." in info.notes
    shown = to_rgb(planes[0], info.colour)
    assert shown[:30, :46].min() >= 253
    assert psnr(shown[32:], PICTURES[0][32:]) > 20


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_is_mapped_to_bt709(tmp_path: Path, transfer: int) -> None:
    ramp = np.repeat(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], 64, axis=0)
    path = write_clip(
        tmp_path / "h.mkv",
        [np.repeat(ramp, 3, axis=2)],
        pix_fmt="yuv420p10le",
        colour=(9, 1, 9, transfer),
    )
    planes, _, info = read(path)
    assert info.colour == Colour(1, False, 1, 1)
    assert "High dynamic range was mapped to standard range, BT.709." in info.notes
    row = to_rgb(planes[0], info.colour)[32].astype(int)
    assert np.ptp(row, axis=1).max() <= 3, "grey stays grey"
    assert (np.diff(row[:, 1]) >= 0).all(), "brighter stays brighter"
    assert row[0, 1] <= 2 and row[-1, 1] >= 250


def test_pq_reference_levels_follow_bt2390(tmp_path: Path) -> None:
    # 10-bit limited PQ codes of 10 and 1000 cd/m2 (signals 0.30 and 0.7518).
    from aehub.media import colour

    def shown(code: int) -> int:
        planes = [np.full((4, 4), code, np.uint16), *[np.full((2, 2), 512, np.uint16)] * 2]
        mapped = colour.to_sdr(planes, 10, Colour(9, False, 9, 16))
        return int(to_rgb(mapped, colour.SDR_COLOUR)[0, 0, 0])

    assert abs(shown(64 + round(876 * 0.30)) - round(255 * (10.0 / 203) ** (1 / 2.4))) <= 2
    assert shown(64 + round(876 * 0.7518)) >= 253


def test_interlaced_clips_are_kept_with_a_note(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "i.mp4", PICTURES[:3], options={"x264-params": "tff=1"})
    planes, _, info = read(path)
    assert any("interlaced" in note for note in info.notes)
    assert all(map(same, planes, raw_planes(path)))


def test_the_pixel_aspect_is_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", PICTURES[:2], pixel_aspect=Fraction(16, 11))
    assert read(path)[2].pixel_aspect == Fraction(16, 11)


def test_file_objects_are_read_and_stay_open(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "o.mp4", PICTURES, audio=True)
    file = io.BytesIO(path.read_bytes())
    with open_clip(file) as clip:
        first = next(iter(clip))
        assert clip.audio is not None, "taking the sound must not disturb the pictures"
        rest = list(clip)
        assert clip.info.source_bytes == path.stat().st_size
    assert not file.closed
    planes = [first.picture, *(frame.picture for frame in rest)]
    assert all(map(same, planes, raw_planes(path))) and len(planes) == 12


def test_an_mp4_on_a_pipe_is_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "p.mp4", PICTURES)
    planes, _, _ = read(pipe_of(path.read_bytes()))
    assert all(map(same, planes, raw_planes(path)))


def test_y4m_on_a_pipe_streams_without_end() -> None:
    # The writer never stops: a reader that wanted the whole input would hang.
    out, into = os.pipe()
    stop = threading.Event()

    def feed() -> None:
        with suppress(BrokenPipeError), os.fdopen(into, "wb") as sink:
            sink.write(b"YUV4MPEG2 W32 H16 F30000:1001 Ip A1:1 C420jpeg\n")
            while not stop.is_set():
                sink.write(b"FRAME\n" + bytes(range(256)) * 3)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(out, "rb") as source, open_clip(source) as clip:
        frames = [frame for frame, _ in zip(clip, range(50), strict=False)]
        assert clip.info.fps == Fraction(30000, 1001) and clip.info.source_bytes is None
        stop.set()
    thread.join(5)
    assert [frame.time for frame in frames] == list(range(50))
    assert frames[49].picture[0].tobytes() == bytes(range(256)) * 2


def test_a_forced_rate_replaces_the_times_and_the_sound(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "f.mp4", PICTURES, audio=True)
    with open_clip(path, fps="50") as clip:
        assert clip.audio is None
        assert [frame.time * clip.info.time_base for frame in clip][3] == Fraction(3, 50)
        assert any("Sound was left out" in note for note in clip.info.notes)


def test_a_clip_that_changes_size_keeps_its_first_size(tmp_path: Path) -> None:
    first, second = (
        write_clip(tmp_path / f"{n}.ts", [p[: 64 // n, : 96 // n].copy() for p in PICTURES[:4]])
        for n in (1, 2)
    )
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    planes, times, info = read(both)
    assert {p.size for p in planes} == {(96, 64)} and len(planes) == 8
    assert any("changes midway" in note for note in info.notes)
    assert times == sorted(set(times))


def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    header = b"YUV4MPEG2 W640 H360 F25:1 Ip A1:1 C420jpeg\n"
    path = tmp_path / "long.y4m"
    with path.open("wb") as file:
        file.write(header)
        for i in range(600):
            file.write(b"FRAME\n" + bytes([i % 256]) * (640 * 360 * 3 // 2))
    script = (
        "import resource, sys\n"
        "from aehub.media.clip import open_clip\n"
        "with open_clip(sys.argv[1]) as clip:\n"
        "    next(iter(clip))\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    n = 1 + sum(1 for _ in clip)\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    n_frames, grown_kb = map(int, done.stdout.split())
    assert n_frames == 600
    assert grown_kb < 30_000, "the planes of the clip would be 207 000 kB"


def test_importing_clips_loads_neither_pyav_nor_torch() -> None:
    script = "import sys, aehub.media.picture; print({'av', 'PIL', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def pipe_of(content: bytes) -> io.BufferedReader:
    """A file object that cannot seek."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = memoryview(content)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            taken = self.rest[: min(len(buffer), 1000)]
            buffer[: len(taken)] = taken
            self.rest = self.rest[len(taken) :]
            return len(taken)

    return io.BufferedReader(Pipe())
