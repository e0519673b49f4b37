"""Bad input: one sentence each, before anything large is allocated."""

from __future__ import annotations

import io
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.media.clip import open_clip
from material import moving_picture, tones, write_clip

PICTURES = moving_picture(30, 96, 64, seed=2)


def count(source: object, **options: object) -> int:
    with open_clip(source, **options) as clip:
        return sum(1 for _ in clip)


def refusal(source: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        count(source, **options)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "gone.mp4 does not exist" in refusal(tmp_path / "gone.mp4")


@pytest.mark.parametrize("name", ["z.mp4", "z.png", "z.y4m"])
def test_a_file_of_zero_bytes_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / name)
    assert "is empty (0 bytes)" in refusal(io.BytesIO())


@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary, today I renamed a letter to clip.mp4.\n" * 40,
        b"#EXTM3U\n#EXTINF:1,\nother.ts\n",
        b"ffconcat version 1.0\nfile other.mp4\n",
        bytes(range(256)) * 50,
        b"\x00\x00\x00\x18ftypmp42",
        b"\x1aE\xdf\xa3",
        b"GIF89a",
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"YUV4MPEG2 W0 H0\n",
        b"BM",
        b"II*\x00",
    ],
)
def test_files_that_are_no_clips_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert refusal(path).startswith("clip.mp4 ")


def test_sound_alone_is_no_clip(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "s.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="stereo")
        samples = np.ascontiguousarray(tones(1)[:, :1024])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "holds no pictures" in refusal(tmp_path / "s.mp4")


def test_a_clip_without_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
    assert "no frame" in refusal(tmp_path / "e.y4m")


def test_a_wrong_suffix_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "picture.mp4"
    Image.fromarray(PICTURES[0]).save(path, format="PNG")
    assert count(path) == 1


def animation(path: Path) -> Path:
    images = [Image.fromarray(p) for p in PICTURES[:12]]
    images[0].save(path, save_all=True, append_images=images[1:], duration=40)
    return path


@pytest.mark.parametrize(
    "name", ["c.mp4", "c.mkv", "c.webm", "c.avi", "c.gif", "c.webp", "c.png", "c.jpg", "c.bmp"]
)
def test_a_truncated_file_is_an_error_and_can_be_salvaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in ("c.gif", "c.webp", "c.png"):
        animation(path)
    elif name in ("c.jpg", "c.bmp"):
        Image.fromarray(PICTURES[0]).save(path)
    else:
        write_clip(path, PICTURES, container_options={"movflags": "+faststart"})
    whole = count(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    sentence = refusal(path)
    assert name in sentence
    if name in ("c.mp4", "c.mkv", "c.webm", "c.gif"):
        assert "--salvage" in sentence
        with open_clip(path, salvage=True) as clip:
            assert 0 < sum(1 for _ in clip) < whole


TRAILERS = {
    "text": b"SSH script, added by the server that kept this file.\n",
    "zeros": bytes(1000),
    "ones": b"\xff" * 500,
    "tags": b"TAG" + b"a title".ljust(125, b"\0"),
    "free": b"\0\0\2\x80free" + bytes(56),
    "another film": b"\0\0\0\x18ftypmp42" + bytes(12),
}


@pytest.mark.parametrize(
    "name", ["c.mp4", "c.mov", "c.mkv", "c.webm", "c.avi", "c.ts", "c.gif", "c.webp", "s.webp"]
)
def test_data_appended_to_an_intact_file_does_no_harm(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in ("c.gif", "c.webp"):
        animation(path)
    elif name == "s.webp":
        Image.fromarray(PICTURES[0]).save(path)
    else:
        write_clip(path, PICTURES[:8])
    content = path.read_bytes()
    whole = count(path)
    for trailer in TRAILERS.values():
        path.write_bytes(content + trailer)
        assert count(path) == whole, trailer


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_a_truncated_video_is_refused_at_any_length(
    tmp_path: Path, options: dict[str, str]
) -> None:
    path = write_clip(
        tmp_path / "c.mp4", PICTURES, options={"g": "10"}, container_options=options
    )
    content = path.read_bytes()
    for tenths in (2, 4, 5, 7, 9):
        path.write_bytes(content[: len(content) * tenths // 10])
        assert "c.mp4 is cut off" in refusal(path)


def test_damage_in_the_middle_is_an_error_and_can_be_salvaged(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "d.mkv", PICTURES)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    assert "breaks off after" in refusal(path)
    with open_clip(path, salvage=True) as clip:
        assert 5 < sum(1 for _ in clip) < 20
        assert any("broke off" in note for note in clip.info.notes)


def test_all_frames_before_the_damage_are_salvaged(tmp_path: Path) -> None:
    options = {"bf": "0", "g": "1"}
    path = write_clip(tmp_path / "s.mp4", PICTURES, options=options,
                      container_options={"movflags": "+faststart"})
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: places[9]])
    with open_clip(path, salvage=True) as clip:
        frames = list(clip)
        assert len(frames) == 9 and frames[-1].duration * clip.info.time_base == Fraction(1, 25)


def test_a_track_without_packets_is_one_sentence(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "d.webm", PICTURES[:5])
    content = path.read_bytes()
    # The packets are of track 1, and no track is.
    assert content.count(b"\xd7\x81\x01") == 1
    path.write_bytes(content.replace(b"\xd7\x81\x01", b"\xd7\x81\x05"))
    assert "d.webm holds no frame" in refusal(path)


def test_a_damaged_webm_does_not_pass_for_a_short_one(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "d.webm", PICTURES)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(content)
    assert "d.webm" in refusal(path)


def test_the_file_is_closed_after_an_error(tmp_path: Path) -> None:
    # Unclosed files are warnings, and warnings are errors in these tests.
    path = tmp_path / "t.mp4"
    path.write_bytes(b"x" * 2000)
    refusal(path)
    path.rename(tmp_path / "u.mp4")


def test_pictures_above_the_limit_are_refused_from_the_header(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "l.mp4", PICTURES[:2])
    with pytest.raises(LimitError, match="96x64, 6144 pixels; at most 6000") as caught:
        open_clip(path, limits=Limits(max_pixels=6000))
    assert "AEHUB_MAX_PIXELS" in str(caught.value)
    assert count(path, limits=Limits(max_pixels=6144)) == 2


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        )

    side = (12_000).to_bytes(4, "big")
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side * 2 + b"\x08\x02\0\0\0")
    path = tmp_path / "bomb.png"
    path.write_bytes(png + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    with pytest.raises(LimitError, match="12000x12000"):
        open_clip(path)
    huge = tmp_path / "bomb.y4m"
    huge.write_bytes(b"YUV4MPEG2 W30000 H30000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + b"\0" * 1000)
    assert "bomb.y4m" in refusal(huge)


def test_a_stream_that_grows_past_the_limit_is_stopped(tmp_path: Path) -> None:
    small, large = (
        write_clip(tmp_path / f"{n}.ts", [p[: 64 // n, : 96 // n].copy() for p in PICTURES[:4]])
        for n in (2, 1)
    )
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(InputError):
        count(both, limits=Limits(max_pixels=48 * 32))


@pytest.mark.parametrize(
    ("limits", "name"),
    [(Limits(max_frames=29), "AEHUB_MAX_FRAMES"), (Limits(max_seconds=1.0), "AEHUB_MAX_SECONDS")],
)
def test_long_clips_are_refused_from_the_header(tmp_path: Path, limits: Limits, name: str) -> None:
    path = write_clip(tmp_path / "l.mp4", PICTURES)
    with pytest.raises(LimitError, match=name):
        open_clip(path, limits=limits)


@pytest.mark.parametrize("limits", [Limits(max_frames=10), Limits(max_seconds=0.4)])
def test_long_clips_are_stopped_while_they_are_read(limits: Limits) -> None:
    frames = iter(PICTURES)
    with open_clip(frames, limits=limits) as clip:
        read = []
        with pytest.raises(LimitError):
            read.extend(iter(clip))
        assert len(read) == 10 and len(list(frames)) == 19, "no further frame was taken"


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Limits.from_env({}) == Limits()
    stated = {"AEHUB_MAX_PIXELS": "100", "AEHUB_MAX_FRAMES": "7", "AEHUB_MAX_SECONDS": "2.5"}
    assert Limits.from_env(stated) == Limits(100, 7, 2.5)
    monkeypatch.setenv("AEHUB_MAX_PIXELS", "100")
    with pytest.raises(LimitError):
        open_clip(PICTURES[0])
    for wrong in ("many", "0", "-3", "nan"):
        with pytest.raises(InputError, match="AEHUB_MAX_SECONDS"):
            Limits.from_env({"AEHUB_MAX_SECONDS": wrong})


@pytest.mark.parametrize("fps", [0, -1, "fast", 5000, "1/0"])
def test_impossible_rates_are_refused(fps: object) -> None:
    assert str(fps) in refusal(PICTURES[:2], fps=fps)
