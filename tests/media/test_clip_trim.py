"""Trimming: by seconds and by frames, pictures and sound alike."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.media.timestamps import TimeSpan
from material import moving_picture, write_clip

PICTURES = moving_picture(50, 64, 48, seed=3)


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("trim") / "c.mp4", PICTURES, audio=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5:4", TimeSpan(Fraction(3, 2), Fraction(4))),
        (":2", TimeSpan(stop=Fraction(2))),
        ("30f:", TimeSpan(Fraction(30), None, True, False)),
        ("30f:90f", TimeSpan(Fraction(30), Fraction(90), True, True)),
        (".1:45f", TimeSpan(Fraction(1, 10), Fraction(45), False, True)),
        (":", TimeSpan()),
        (" 1 : 2 ", TimeSpan(Fraction(1), Fraction(2))),
    ],
)
def test_trims_are_read(text: str, expected: TimeSpan) -> None:
    assert TimeSpan.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "a:b", "1:2:3", "-1:2", "1.5f:3f", "f:2", "1e3:", "1s:2s"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not A:B"):
        TimeSpan.parse(text)


@pytest.mark.parametrize("text", ["2:1", "2:2", "9f:3f", ":0", ":0f"])
def test_trims_that_keep_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="keeps no frame"):
        TimeSpan.parse(text)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("", 0, 49),
        ("0.4:1.2", 10, 29),
        ("10f:30f", 10, 29),
        ("0.41:1.19", 10, 29),
        (":5f", 0, 4),
        ("45f:", 45, 49),
        ("1.9:", 48, 49),
        ("1:30f", 25, 29),
        ("0:100", 0, 49),
    ],
)
def test_a_trim_gives_the_frames_inside(clip_path: Path, text: str, first: int, last: int) -> None:
    with open_clip(clip_path) as clip:
        whole = list(clip)
    with open_clip(clip_path, trim=TimeSpan.parse(text) if text else None) as clip:
        assert clip.info.n_frames == last - first + 1
        kept = list(clip)
    assert len(kept) == last - first + 1
    for frame, original in zip(kept, whole[first:], strict=False):
        assert frame.time == original.time - whole[first].time
        assert np.array_equal(frame.picture[0], original.picture[0])


def test_a_trim_past_the_end_is_refused(clip_path: Path) -> None:
    with pytest.raises(InputError, match="the clip is shorter"):
        open_clip(clip_path, trim=TimeSpan.parse("7:9"))


@pytest.mark.parametrize("text", ["0.4:1.2", "10f:30f"])
def test_sound_is_trimmed_likewise(clip_path: Path, text: str) -> None:
    def packets(source: object) -> list[tuple[bytes, float]]:
        with av.open(source) as container:
            stream = container.streams.audio[0]
            return [
                (bytes(p), float(p.pts * p.time_base)) for p in container.demux(stream) if p.size
            ]

    with open_clip(clip_path, trim=TimeSpan.parse(text)) as clip:
        list(clip)
        assert clip.audio is not None
        with clip.audio.open() as track:
            kept = packets(track)
    whole = {content: time for content, time in packets(str(clip_path))}
    assert all(abs(whole[content] - 0.4 - time) < 0.0015 for content, time in kept)
    # A packet lasts 21 ms; one more stands before the first for the decoder to warm up on.
    assert -0.05 < kept[0][1] <= 0 and 0.77 < kept[-1][1] < 0.8


def test_sound_follows_real_frame_times_in_frame_trims(tmp_path: Path) -> None:
    pts = [100 * i for i in range(10)] + [1000 + 20 * i for i in range(40)]
    path = write_clip(tmp_path / "v.mkv", PICTURES, vfr_pts=pts, audio="libopus")
    with open_clip(path, trim=TimeSpan.parse("5f:10f")) as clip:
        assert clip.audio is not None
        with clip.audio.open() as track, av.open(track, "r") as container:
            times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    assert 0.45 < times[-1] < 0.5


def test_a_late_start_seeks_and_still_gives_the_exact_frames(tmp_path: Path) -> None:
    small = [p[:32, :32].copy() for p in PICTURES]
    path = write_clip(
        tmp_path / "s.mp4", small * 8, options={"g": "50", "bf": "2", "preset": "veryfast"}
    )
    with open_clip(path) as clip:
        whole = list(clip)
    with open_clip(path, trim=TimeSpan.parse("13.3:13.9")) as clip:
        kept = list(clip)
    assert len(kept) == 15
    for frame, original in zip(kept, whole[333:], strict=False):
        assert np.array_equal(frame.picture[0], original.picture[0])
        assert frame.time == original.time - whole[333].time
