"""Choice of the video stream, encrypted clips, and transparent video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from aehub.errors import InputError
from aehub.media.clip import Clip, open_clip
from aehub.media.colour import to_rgb
from material import moving_picture, psnr, write_clip

PICTURES = moving_picture(6, 96, 64, seed=3)
SMALL = [np.ascontiguousarray(picture[:48, :64]) for picture in PICTURES]


class Track:
    """A video track to be written: its pictures, encoder and disposition."""

    def __init__(self, pictures: list[np.ndarray], codec: str, disposition: int = 0) -> None:
        self.pictures, self.codec, self.disposition = pictures, codec, disposition


def write_tracks(path: Path, *tracks: Track) -> Path:
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for track in tracks:
            stream: Any = container.add_stream(track.codec, rate=25)
            stream.height, stream.width = track.pictures[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            stream.disposition = Disposition(track.disposition)
            streams.append(stream)
        for track, stream in zip(tracks, streams):
            for index, picture in enumerate(track.pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
    return path


def shown(path: Path) -> tuple[list[np.ndarray], Clip]:
    with open_clip(path) as clip:
        return [to_rgb(frame.picture, clip.info.colour) for frame in clip], clip


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught, open_clip(path) as clip:
        list(clip)
    return str(caught.value)


DEFAULT, COVER = int(Disposition.default), int(Disposition.attached_pic)


@pytest.mark.parametrize(
    ("name", "tracks", "note"),
    [
        # A cover whose muxer did not call it one, before the film, and larger.
        (
            "default.mp4",
            (Track(PICTURES, "libx264"), Track(SMALL, "libx264", DEFAULT)),
            "Another video track (96x64) was left out.",
        ),
        (
            "cover.mkv",
            (Track(PICTURES[:1], "mjpeg"), Track(SMALL, "libx264")),
            "Another video track (96x64) was left out.",
        ),
        # The default one, though another comes first or is larger.
        (
            "default.mkv",
            (Track(PICTURES, "libx264"), Track(SMALL, "libx264", DEFAULT)),
            "Another video track (96x64) was left out.",
        ),
        # Where all are default or none is, the largest.
        (
            "large.mkv",
            (Track([p[:32, :32].copy() for p in PICTURES], "libx264"), Track(SMALL, "libx264")),
            "Another video track (32x32) was left out.",
        ),
        (
            "large.ts",
            (Track([p[:32, :32].copy() for p in PICTURES], "libx264"), Track(SMALL, "libx264")),
            "Another video track (32x32) was left out.",
        ),
        (
            "attached.mp4",
            (Track(PICTURES[:1], "mjpeg", COVER), Track(SMALL, "libx264")),
            "A cover picture (96x64) was left out.",
        ),
    ],
)
def test_the_video_is_chosen_and_other_streams_are_noted(
    tmp_path: Path, name: str, tracks: tuple[Track, ...], note: str
) -> None:
    path = write_tracks(tmp_path / name, *tracks)
    pictures, clip = shown(path)
    assert len(pictures) == len(SMALL)
    assert min(psnr(a, b) for a, b in zip(pictures, SMALL)) > 25
    assert clip.info.notes == (note,)


def test_times_and_trims_are_those_of_the_chosen_stream(tmp_path: Path) -> None:
    tracks = Track(PICTURES[:1], "mjpeg"), Track(SMALL, "libx264")
    path = write_tracks(tmp_path / "c.mkv", *tracks)
    with open_clip(path) as clip:
        assert (clip.info.fps, clip.info.n_frames) == (25, 6)
        assert clip.last_frame_time() == pytest.approx(0.2, abs=0.001)


def test_sound_with_a_cover_is_refused_as_such(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "film.mp4", PICTURES[:1], audio=True)
    song = tmp_path / "song.m4a"
    with av.open(str(path)) as film, av.open(str(song), "w", format="mp4") as target:
        cover: Any = target.add_stream("mjpeg", rate=1)
        cover.height, cover.width = PICTURES[0].shape[:2]
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        sound = target.add_stream_from_template(film.streams.audio[0])
        frame = av.VideoFrame.from_ndarray(PICTURES[0], format="rgb24")
        target.mux(cover.encode(frame.reformat(format="yuvj420p")) + cover.encode(None))
        for packet in film.demux(audio=0):
            if packet.size:
                packet.stream = sound
                target.mux(packet)
    assert "sound with a cover picture" in refusal(song)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("s.mp3", "libmp3lame"), ("s.flac", "flac"), ("s.wav", "pcm_s16le"), ("s.aac", "aac")],
)
def test_a_sound_file_is_refused_as_such(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        coded: Any = container.add_stream(codec, rate=48_000, layout="mono")
        container.start_encoding()
        resampler = av.AudioResampler(
            coded.format, "mono", 48_000, frame_size=coded.codec_context.frame_size or 1000
        )
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), "fltp", "mono")
        silence.sample_rate, silence.pts = 48_000, 0
        for piece in (*resampler.resample(silence), *resampler.resample(None)):
            container.mux(coded.encode(piece))
        container.mux(coded.encode(None))
    assert f"{name} is sound and holds no video" in refusal(path)


@pytest.mark.parametrize("scheme", ["encv", "drmi", "mkv", "ts"])
def test_an_encrypted_clip_is_refused_as_such(tmp_path: Path, scheme: str) -> None:
    if scheme == "ts":
        path = write_clip(tmp_path / "c.ts", SMALL)
        content = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 188).copy()
        is_video = (content[:, 1] & 0x1F == 1) & (content[:, 2] == 0)
        content[is_video, 3] |= 0x80
        content[is_video, 12:] = 0x5A
        path.write_bytes(content.tobytes())
    elif scheme != "mkv":
        key = "00112233445566778899aabbccddeeff"
        options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key}
        path = write_clip(
            tmp_path / "c.mp4", SMALL, container_options=options | {"encryption_kid": key}
        )
        # The sample entry of the scheme of a shop, whose codec is not even named.
        path.write_bytes(path.read_bytes().replace(b"encv", scheme.encode()))
    else:
        path = write_clip(
            tmp_path / "c.mkv", SMALL, codec="libvpx-vp9", container_options={"live": "1"}
        )
        content = with_content_encryption(path.read_bytes())
        # The first packet is no picture without the key.
        at = content.index(b"\xa3", content.index(bytes.fromhex("1f43b675"))) + 20
        path.write_bytes(content[:at] + bytes(200) + content[at + 200 :])
    assert "is encrypted" in refusal(path)


def with_content_encryption(data: bytes) -> bytes:
    """Mark the packets of the first track of a live Matroska file as encrypted (AES)."""

    def element(name: str, body: bytes) -> bytes:
        return bytes.fromhex(name) + (0x10000000 | len(body)).to_bytes(4, "big") + body

    encryption = element("5035", element("47e1", b"\x05") + element("47e2", bytes(16)))
    encoding = element("6240", element("5031", b"\0") + element("5033", b"\1") + encryption)
    added = element("6d80", encoding)
    # The table of contents at the start names the list of tracks, too.
    at = data.rindex(bytes.fromhex("1654ae6b"))
    # The sizes of the list of tracks and of its first entry grow, then the entry itself.
    for name in ("1654ae6b", "ae"):
        at = data.index(bytes.fromhex(name), at) + len(name) // 2
        width = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
        # A size may always take eight bytes; that of the list grows by those of its entry, too.
        grown = (1 << 56 | size + len(added)).to_bytes(8, "big")
        data, at = data[:at] + grown + data[at + width :], at + 8
    return data[: at + size] + added + data[at + size :]


def clear_around(picture: np.ndarray) -> np.ndarray:
    """The picture as RGBA: red and solid in the middle, clear and black around."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[np.hypot(x - width // 2, y - height // 2) < 14] = (220, 30, 30, 255)
    return rgba


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libvpx-vp9")]
)
def test_transparent_webm_lies_over_white(tmp_path: Path, name: str, codec: str) -> None:
    path, rgba = tmp_path / name, clear_around(SMALL[0])
    with av.open(str(path), "w") as container:
        options = {"auto-alt-ref": "0", "deadline": "realtime"}
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert_red_over_white(path, 3)


def assert_red_over_white(path: Path, n_frames: int) -> None:
    pictures, clip = shown(path)
    assert len(pictures) == n_frames
    for picture in pictures:
        height, width = picture.shape[:2]
        assert np.abs(picture[height // 2, width // 2] - np.array([220.0, 30, 30])).max() < 12
        assert picture[0, 0].min() > 240 and picture[-1, -1].min() > 240
    assert "Transparent parts were laid over white." in clip.info.notes


def test_transparent_avif_lies_over_white_still_or_moving(tmp_path: Path) -> None:
    first = Image.fromarray(clear_around(SMALL[0]))
    first.save(tmp_path / "still.avif", speed=10)
    assert_red_over_white(tmp_path / "still.avif", 1)
    frames = [first.transpose(Image.Transpose.FLIP_TOP_BOTTOM), first]
    delays = [200, 100, 300]
    first.save(
        tmp_path / "a.avif", speed=10, save_all=True, append_images=frames, duration=delays
    )
    assert_red_over_white(tmp_path / "a.avif", 3)
    with open_clip(tmp_path / "a.avif") as clip:
        assert [frame.time * clip.info.time_base * 1000 for frame in clip] == [0, 200, 300]


def test_an_animated_avif_keeps_all_its_frames(tmp_path: Path) -> None:
    images = [Image.fromarray(picture) for picture in SMALL]
    path = tmp_path / "a.avif"
    images[0].save(
        path, speed=10, quality=90, save_all=True, append_images=images[1:], duration=100
    )
    pictures, clip = shown(path)
    assert len(pictures) == len(SMALL) and clip.info.fps == 10
    assert min(psnr(a, b) for a, b in zip(pictures, SMALL)) > 25
