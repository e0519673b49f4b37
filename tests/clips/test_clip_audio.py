"""Sound: packets out, packets in, untouched where the container can hold them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aehub.clips import open_clip, open_writer
from material import moving_picture, tones, write_clip

PICTURES = moving_picture(25, 64, 48, seed=6)


def packets(source: object) -> list[bytes]:
    with av.open(source, "r") as container:
        stream = container.streams.audio[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def rewritten(source: Path, target: Path) -> list[str]:
    with open_clip(source) as clip:
        assert clip.audio is not None
        with (
            clip.audio.open() as track,
            open_writer(target, info=clip.info, audio=track) as writer,
        ):
            for frame in clip:
                writer.write(frame)
    return writer.notes


def sound(path: Path) -> np.ndarray:
    """The samples from the time of the first picture on."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
    pieces, start = [], None
    with av.open(str(path)) as container:
        zero = float(min(p.pts * p.time_base for p in container.demux(video=0) if p.size))
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = frame.time - zero if start is None else start
            pieces += [piece.to_ndarray() for piece in resampler.resample(frame)]
    samples = np.concatenate(pieces, axis=1)
    offset = round(start * 48_000)
    return samples[:, -offset:] if offset < 0 else np.pad(samples, ((0, 0), (offset, 0)))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.webm", "libopus"),
        ("a.mkv", "libmp3lame"),
        ("a.mkv", "flac"),
        ("a.mkv", "ac3"),
        ("a.avi", "pcm_s16le"),
    ],
)
def test_the_track_holds_the_packets_untouched(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, PICTURES, audio=codec)
    with open_clip(path) as clip:
        track = clip.audio
        assert track is not None
        assert track.codec == {"libopus": "opus", "libmp3lame": "mp3"}.get(codec, codec)
        with track.open() as first, track.open() as second:
            assert len(first.read(10)) == 10, "readers have places of their own"
            content = second.read()
            assert len(content) == track.n_bytes
            second.seek(0)
            assert packets(second) == packets(str(path))


@pytest.mark.parametrize(
    ("codec", "target"),
    [
        ("aac", "b.mp4"),
        ("libmp3lame", "b.mp4"),
        ("libopus", "b.mp4"),
        ("ac3", "b.mp4"),
        ("libopus", "b.webm"),
        ("aac", "b.mkv"),
        ("pcm_s16le", "b.mkv"),
    ],
)
def test_packets_are_identical_after_a_round_trip(tmp_path: Path, codec: str, target: str) -> None:
    source = write_clip(tmp_path / "a.mkv", PICTURES, audio=codec)
    assert rewritten(source, tmp_path / target) == []
    assert packets(str(tmp_path / target)) == packets(str(source))


@pytest.mark.parametrize(
    ("codec", "target", "becomes"),
    [("aac", "b.webm", "opus"), ("pcm_s16le", "b.mp4", "aac"), ("flac", "b.webm", "opus")],
)
def test_sound_a_container_cannot_hold_is_coded_anew_and_said(
    tmp_path: Path, codec: str, target: str, becomes: str
) -> None:
    source = write_clip(tmp_path / "a.mkv", PICTURES, audio=codec)
    notes = rewritten(source, tmp_path / target)
    assert notes == [f"{codec} sound was coded anew for {tmp_path.joinpath(target).suffix[1:]}."]
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == becomes
    heard, meant = sound(tmp_path / target), tones(1)
    assert abs(heard.shape[1] - meant.shape[1]) < 3000
    middle = slice(10_000, 30_000)
    assert np.abs(heard[:, middle] - meant[:, middle]).std() < 0.05


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_sound_stays_in_step_with_the_pictures(tmp_path: Path, target: str) -> None:
    source = write_clip(tmp_path / "a.mp4", PICTURES, audio=True)
    rewritten(source, tmp_path / target)
    first, second = sound(source), sound(tmp_path / target)
    middle = slice(12_000, 30_000)
    lags = range(-240, 241, 4)
    errors = [np.abs(np.roll(second, lag, 1)[:, middle] - first[:, middle]).mean() for lag in lags]
    assert abs(lags[int(np.argmin(errors))]) <= 48, "more than a millisecond off"


def test_mp4_sound_has_even_packets_again(tmp_path: Path) -> None:
    # Matroska rounds times to milliseconds; packets of 1024 samples would become 1008 or 1056.
    source = write_clip(tmp_path / "a.mp4", PICTURES, audio=True)
    rewritten(source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.audio[0]
        times = [p.pts for p in container.demux(stream) if p.size]
        assert stream.time_base == Fraction(1, 48_000)
    assert set(np.diff(times)) == {1024}


@pytest.mark.parametrize("target", ["b.gif", "b.webp", "b.png", "b.y4m", "frames"])
def test_formats_without_sound_say_so(tmp_path: Path, target: str) -> None:
    source = write_clip(tmp_path / "a.mp4", PICTURES[:3], audio=True)
    assert any("Sound was left out" in note for note in rewritten(source, tmp_path / target))


def test_a_silent_clip_has_no_track(tmp_path: Path) -> None:
    with open_clip(write_clip(tmp_path / "a.mp4", PICTURES[:2])) as clip:
        assert clip.audio is None
