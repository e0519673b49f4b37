"""Clips decoded once: everything that a reader gives comes back, any number of times."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from openings import temporary_files

import aehub
from aehub.errors import InputError, LimitError
from aehub.media import decoded_clip
from aehub.media.clip import open_clip
from aehub.media.decoded_clip import DecodedClip
from aehub.media.picture import ClipInfo, Frame, Picture, PictureFormat, PlaneFormat
from aehub.media.timestamps import TimeSpan
from material import moving_picture, write_clip

TIMES = [0, 40, 55, 90, 200, 201, 500, 533, 566, 600, 640, 1200]


def decoded(path: Path, trim: str = ":") -> DecodedClip:
    with open_clip(path, trim=TimeSpan.parse(trim)) as clip:
        stored = DecodedClip(clip.name, clip.info)
        for frame in clip:
            stored.add(frame)
        stored.finish(clip.info, clip.audio)
    return stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A clip of variable frame rate with sound."""
    return write_clip(tmp_path / "vfr.mp4", moving_picture(12, 96, 64), vfr_pts=TIMES, audio=True)


@pytest.fixture
def clip(path: Path) -> Iterator[DecodedClip]:
    stored = decoded(path)
    yield stored
    stored.close()


@pytest.mark.parametrize("trim", [":", "3f:7f", "0.05:0.6", "0.3:", ":0.21"])
def test_a_decoded_clip_is_read_like_its_file(path: Path, clip: DecodedClip, trim: str) -> None:
    part = TimeSpan.parse(trim)
    for _ in range(2):
        with open_clip(path, trim=part) as a, open_clip(clip, trim=part) as b:
            assert (a.info.fps, a.info.time_base, a.info.n_frames) == (
                b.info.fps, b.info.time_base, b.info.n_frames)
            for one, two in zip(a, b, strict=True):
                assert one[1:] == two[1:]
                assert all(np.array_equal(p, q) for p, q in zip(one[0], two[0], strict=True))
            assert a.audio is not None and b.audio is not None
            with a.audio.open() as first, b.audio.open() as second:
                if trim == ":":
                    assert first.read() == second.read()
                else:
                    assert len(second.read()) == pytest.approx(len(first.read()), rel=0.1)


def test_a_decoded_clip_compresses_to_the_bytes_of_its_file(path: Path, clip: DecodedClip) -> None:
    direct, again = io.BytesIO(), io.BytesIO()
    aehub.compress(path, direct, measure=False)
    aehub.compress(clip, again, measure=False)
    assert direct.getvalue() == again.getvalue()


def test_a_rate_replaces_the_times_and_the_sound(clip: DecodedClip) -> None:
    with open_clip(clip, fps=10) as slow:
        assert [frame[1:] for frame in slow] == [(number, 1) for number in range(12)]
        assert slow.audio is None and slow.info.fps == 10
        assert "Sound was left out" in slow.info.notes[-1]


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_any_format_comes_back_exactly(bits: int, signed: bool) -> None:
    kind = PictureFormat((PlaneFormat("R"), PlaneFormat("B", 3, 1), PlaneFormat("C", 2, 5)),
                         bits, signed)
    rng = np.random.default_rng(bits)
    pictures = [Picture((rng.integers(kind.lowest, kind.lowest + kind.peak, shape, kind.dtype,
                                      endpoint=True) for shape in kind.shapes((33, 17))), kind)
                for _ in range(3)]
    clip = DecodedClip("deep", ClipInfo(33, 17, Fraction(5), Fraction(1, 5), pictures=kind))
    for time, picture in enumerate(pictures):
        clip.add(Frame(picture, time))
    clip.finish(clip.info)
    assert clip.nbytes == sum(picture.nbytes for picture in pictures)
    for picture, wanted in zip([*clip, clip[-1], *clip[1:]], [*pictures, *pictures[2:],
                                                            *pictures[1:]], strict=True):
        assert picture.format == kind
        for plane, samples in zip(picture, wanted, strict=True):
            assert plane.dtype == kind.dtype and np.array_equal(plane, samples)
    with pytest.raises(IndexError):
        clip[3]


def test_pictures_outlive_their_clip_and_its_file_does_not(path: Path) -> None:
    before = temporary_files()
    clip = decoded(path)
    assert len(temporary_files()) > len(before)
    picture, copy = clip[5], clip[5][0].copy()
    clip.close()
    assert np.array_equal(picture[0], copy)
    del picture
    assert temporary_files() == before
    forgotten = decoded(path)
    del forgotten
    assert temporary_files() == before


def test_a_full_temporary_folder_is_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_clip, "RESERVED_BYTES", 1 << 60)
    with pytest.raises(LimitError, match=r"vfr.mp4 take 0 MB after 0 frames.* Trim it") as refused:
        decoded(path)
    assert "TMPDIR" in refused.value.option and "TMPDIR" not in refused.value.message


def test_a_write_that_fails_is_the_same_sentence(path: Path) -> None:
    """The system's own limit of a file's size, which a full disk resembles."""
    pytest.importorskip("resource")
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from aehub.errors import LimitError; from aehub.media.clip import open_clip\n"
        "from aehub.media.decoded_clip import DecodedClip\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "with open_clip(Path(sys.argv[1])) as clip:\n"
        "    stored = DecodedClip(clip.name, clip.info)\n"
        "    try:\n"
        "        for frame in clip: stored.add(frame)\n"
        "    except LimitError as error: print(error)\n"
        "    stored.close()\n")
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True,
                          text=True, check=True)
    assert "vfr.mp4 take 0 MB after 4 frames" in done.stdout


def test_an_empty_clip_is_refused() -> None:
    clip = DecodedClip("nothing", ClipInfo(8, 8, Fraction(5), Fraction(1, 5)))
    with pytest.raises(InputError, match="nothing has no frames"):
        clip.finish(clip.info)
