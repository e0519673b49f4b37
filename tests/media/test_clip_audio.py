"""Sound: packets are copied unchanged where the container can hold their codec."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from aehub.media.clip import open_clip
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import open_writer
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
        ("a.mkv", "alac"),
        ("a.mkv", "flac"),
        ("a.mkv", "ac3"),
        ("a.avi", "pcm_s16le"),
    ],
)
def test_the_track_holds_the_unchanged_packets(tmp_path: Path, name: str, codec: str) -> None:
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
def test_sound_a_container_cannot_hold_is_transcoded_with_a_note(
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
def test_sound_stays_synchronous_with_the_pictures(tmp_path: Path, target: str) -> None:
    source = write_clip(tmp_path / "a.mp4", PICTURES, audio=True)
    rewritten(source, tmp_path / target)
    first, second = sound(source), sound(tmp_path / target)
    middle = slice(12_000, 30_000)
    lags = range(-240, 241, 4)
    errors = [np.abs(np.roll(second, lag, 1)[:, middle] - first[:, middle]).mean() for lag in lags]
    assert abs(lags[int(np.argmin(errors))]) <= 48, "more than a millisecond off"


def test_mp4_sound_has_evenly_spaced_packets(tmp_path: Path) -> None:
    # Matroska rounds times to milliseconds; packets of 1024 samples would become 1008 or 1056.
    source = write_clip(tmp_path / "a.mp4", PICTURES, audio=True)
    rewritten(source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.audio[0]
        times = [p.pts for p in container.demux(stream) if p.size]
        assert stream.time_base == Fraction(1, 48_000)
    assert set(np.diff(times)) == {1024}


@pytest.mark.parametrize("target", ["b.gif", "b.webp", "b.png", "b.y4m", "frames"])
def test_formats_without_sound_give_a_note(tmp_path: Path, target: str) -> None:
    source = write_clip(tmp_path / "a.mp4", PICTURES[:3], audio=True)
    assert any("Sound was left out" in note for note in rewritten(source, tmp_path / target))


def test_a_silent_clip_has_no_track(tmp_path: Path) -> None:
    with open_clip(write_clip(tmp_path / "a.mp4", PICTURES[:2])) as clip:
        assert clip.audio is None


def spoken(path: Path, codec: str, rate: int, layout: str = "mono", seconds: int = 1) -> Path:
    """A clip whose sound, a rising tone, is in a codec that few containers hold."""
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    video = {".3gp": "h263", ".avi": "mpeg4"}.get(path.suffix, "libx264")
    size = (176, 144) if video == "h263" else (64, 48)
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream(video, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
        coded: Any = container.add_stream(codec, rate=rate, layout=layout)
        coded.codec_context.open()
        resampler = av.AudioResampler(
            coded.format, layout, rate, frame_size=coded.codec_context.frame_size or 1000
        )
        for index in range(25 * seconds):
            picture = av.VideoFrame.from_ndarray(PICTURES[index % 25], format="rgb24")
            container.mux(pictures.encode(picture.reformat(*size, "yuv420p")))
        container.mux(pictures.encode(None))
        samples = np.tile(rising_tone(seconds, rate), (channels, 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(coded.encode(piece))
        container.mux(coded.encode(None))
    return path


def rising_tone(seconds: float, rate: int) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * t * (300 + 200 * t))).astype(np.float32)


def lag_ms(heard: np.ndarray, start: float) -> float:
    """Delay in ms of the rising tone from `start` seconds on."""
    meant = rising_tone(1, 48_000)[round(start * 48_000) :]
    part = slice(6_000, 20_000)
    scores = {
        lag: float(np.corrcoef(meant[part], np.roll(heard[0], -lag)[part])[0, 1])
        for lag in range(-960, 961, 12)
    }
    best = max(scores, key=lambda lag: scores[lag])
    assert scores[best] > 0.9
    return best / 48


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.3gp", "libopencore_amrnb", 8000),
        ("a.avi", "adpcm_ms", 44_100),
        ("a.avi", "adpcm_ima_wav", 22_050),
        # libavformat gives its packets times that are far too large.
        ("a.avi", "g722", 16_000),
        ("a.mov", "pcm_mulaw", 8000),
        ("a.mov", "pcm_alaw", 8000),
        ("a.mov", "adpcm_ima_qt", 44_100),
        ("a.mkv", "tta", 44_100),
    ],
)
def test_sound_that_matroska_cannot_hold_is_transcoded_in_synchrony(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    source = spoken(tmp_path / name, codec, rate)
    for start in (Fraction(0), Fraction(1, 5)):
        with open_clip(source, trim=TimeSpan(start)) as clip:
            assert clip.audio is not None and clip.audio.codec == "aac"
            assert any("sound was coded anew as AAC" in note for note in clip.info.notes)
            with (
                clip.audio.open() as track,
                open_writer(tmp_path / "b.mkv", info=clip.info, audio=track) as writer,
            ):
                for frame in clip:
                    writer.write(frame)
        assert abs(lag_ms(sound(tmp_path / "b.mkv"), float(start))) < 2
        (tmp_path / "b.mkv").unlink()


def test_trimmed_sound_of_long_packets_stays_synchronous(tmp_path: Path) -> None:
    # Packets of 4096 samples; Matroska cannot say when one begins that begins before the trim.
    source = spoken(tmp_path / "a.mp4", "alac", 44_100)
    with open_clip(source, trim=TimeSpan(Fraction(1, 5))) as clip:
        assert clip.audio is not None
        with (
            clip.audio.open() as track,
            open_writer(tmp_path / "b.webm", info=clip.info, audio=track) as writer,
        ):
            for frame in clip:
                writer.write(frame)
    assert abs(lag_ms(sound(tmp_path / "b.webm"), 0.2)) < 2


@pytest.mark.parametrize("target", ["o.mkv", "o.mp4", "o.webm"])
def test_trimmed_sound_begins_at_once_where_packets_have_no_duration(
    tmp_path: Path, target: str
) -> None:
    path = write_clip(tmp_path / "c.mkv", PICTURES, audio="alac")
    with open_clip(path, trim=TimeSpan.parse("0.52:")) as clip:
        assert clip.audio is not None
        with (
            clip.audio.open() as track,
            open_writer(tmp_path / target, info=clip.info, audio=track) as writer,
        ):
            for frame in clip:
                writer.write(frame)
    # A packet is of 85 ms, and the one that the trim falls into begins before 0.
    with av.open(str(tmp_path / target)) as container:
        zero = min(p.pts * p.time_base for p in container.demux(video=0) if p.size)
    with av.open(str(tmp_path / target)) as container:
        first = min(p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None)
    assert first - zero < Fraction(1, 100)


def test_six_channels_are_mixed_to_two_with_a_note(tmp_path: Path) -> None:
    source = spoken(tmp_path / "a.mkv", "ac3", 48_000, "5.1")
    notes = rewritten(source, tmp_path / "b.webm")
    assert notes == ["ac3 sound was coded anew for webm, mixed down to stereo."]


def test_a_second_sound_track_and_sound_before_the_pictures_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        tracks: list[Any] = [
            container.add_stream(codec, rate=48_000, layout="mono") for codec in ("flac", "aac")
        ]
        tracks[1].disposition = Disposition.default
        container.start_encoding()
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(PICTURES[index], format="rgb24")
            frame.pts, frame.time_base = index + 10, Fraction(1, 25)
            container.mux(pictures.encode(frame.reformat(format="yuv420p")))
        container.mux(pictures.encode(None))
        for track in tracks:
            samples = rising_tone(0.6, 48_000)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            resampler = av.AudioResampler(
                track.format, "mono", 48_000, frame_size=track.codec_context.frame_size
            )
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    with open_clip(path) as clip:
        assert clip.audio is not None and clip.audio.codec == "aac"
        assert clip.info.notes == (
            "0.4 s of sound before the first picture were left out.",
            "A second sound track (flac) was left out.",
        )


def test_damaged_sound_is_noted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", PICTURES, audio="flac")
    content = path.read_bytes()
    with open_clip(path) as clip:
        assert clip.audio is not None and clip.info.notes == ()
    # The codec is called by a name that nobody knows.
    path.write_bytes(content.replace(b"A_FLAC", b"A_QQQQ"))
    with open_clip(path) as clip:
        assert clip.audio is None
        assert any("The sound was left out" in note for note in clip.info.notes)


def test_sound_that_lost_its_header_costs_no_picture(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mkv", PICTURES, audio="vorbis", container_options={"strict": "experimental"}
    )
    content = path.read_bytes()
    # The element that holds the header, by another name.
    at = content.rindex(b"\x63\xa2", 0, content.index(b"\1vorbis"))
    path.write_bytes(content[:at] + b"\x46\xa2" + content[at + 2 :])
    with open_clip(path) as clip:
        assert clip.audio is None and sum(1 for _ in clip) == len(PICTURES)
        assert any("The sound was left out" in note for note in clip.info.notes)


def test_only_the_damaged_packets_of_sound_are_lost(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", PICTURES, audio="flac")
    broken = packets(str(path))[4]
    noise = np.random.default_rng(0).bytes(len(broken))
    path.write_bytes(path.read_bytes().replace(broken, noise))
    notes = rewritten(path, tmp_path / "b.webm")
    assert "Damaged parts of the sound were left out." in notes
    heard, meant = sound(tmp_path / "b.webm"), tones(1)
    after = slice(30_000, 40_000)
    assert np.abs(heard[:, after] - meant[:, after]).std() < 0.05


def test_packets_of_one_timestamp_stay_in_order(tmp_path: Path) -> None:
    whole, path = write_clip(tmp_path / "a.mkv", PICTURES, audio="ac3"), tmp_path / "b.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        copies = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                if packet.stream.type == "audio":
                    packet.pts = packet.dts = packet.pts // 64 * 64
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    assert rewritten(path, tmp_path / "c.mp4") == []
    assert packets(str(tmp_path / "c.mp4")) == packets(str(whole))


def test_sound_may_change_from_mono_to_stereo(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        track: Any = container.add_stream("ac3", rate=48_000, layout="stereo")
        container.start_encoding()
        for picture in PICTURES:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(pictures.encode(frame.reformat(format="yuv420p")))
        container.mux(pictures.encode(None))
        for begin, layout in ((0, "stereo"), (15_360, "mono")):
            encoder: Any = av.CodecContext.create("ac3", "w")
            encoder.sample_rate, encoder.layout, encoder.format = 48_000, layout, "fltp"
            encoder.time_base = Fraction(1, 48_000)
            encoder.open()
            samples = tones(1)[: 1 + (layout == "stereo"), begin : begin + 15_360]
            for at in range(0, 15_360, 1536):
                piece = np.ascontiguousarray(samples[:, at : at + 1536])
                sound_frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
                sound_frame.sample_rate, sound_frame.pts = 48_000, begin + at
                for packet in encoder.encode(sound_frame):
                    packet.stream, packet.time_base = track, Fraction(1, 48_000)
                    container.mux(packet)
    assert rewritten(path, tmp_path / "b.webm") == ["ac3 sound was coded anew for webm."]
    assert sound(tmp_path / "b.webm").shape[1] > 28_000
