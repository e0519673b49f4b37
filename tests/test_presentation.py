"""Presentation times from a clip through a compressed file and its edits to a clip again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.codecs.d4.codec import D4Codec
from editing.files import tiny_model
from material import moving_picture, shown_for, tones

DURATIONS = [100, 100, 100, 3000]
PICTURES = moving_picture(4, 64, 48, seed=5)


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return tiny_model()


def animation(path: Path, **options: Any) -> Path:
    images = [Image.fromarray(picture) for picture in PICTURES]
    images[0].save(path, save_all=True, append_images=images[1:], duration=DURATIONS, **options)
    return path


def test_a_held_last_frame_goes_through_a_file_and_its_edits(
    model: D4Codec, tmp_path: Path
) -> None:
    names = ("a", "back", "twice", "part", "turned")
    packed, back, twice, part, turned = (tmp_path / f"{name}.aev" for name in names)
    clip = animation(tmp_path / "c.gif", loop=0)
    assert aehub.compress(clip, packed, model=model, group=3, measure=False).seconds == 3.3
    aehub.edit(packed, back, [aehub.Reverse()])
    aehub.concat([packed, back], twice)
    aehub.edit(packed, part, [aehub.Trim("0.15:2.05")], model=model)
    aehub.edit(packed, turned, [aehub.Rotate(90)], model=model, via_pixels=True)
    wanted = {packed: DURATIONS, back: DURATIONS[::-1], twice: DURATIONS + DURATIONS[::-1],
              part: [50, 100, 1750], turned: DURATIONS}
    for path, durations in wanted.items():
        assert aehub.info(path)["seconds"] == pytest.approx(sum(durations) / 1000)
        for suffix in (".gif", ".webp", ".png"):
            result = aehub.decompress_to(path, path.with_suffix(suffix), model=model)
            assert result.seconds == pytest.approx(sum(durations) / 1000)
            found = list(map(round, shown_for(path.with_suffix(suffix))))
            # WebP merges repeated pictures.
            is_merged = (suffix, path, sum(found)) == (".webp", twice, sum(durations))
            assert found == durations or is_merged
        for suffix in (".mp4", ".mkv", ".webm"):
            aehub.decompress_to(path, path.with_suffix(suffix), model=model)
            with av.open(str(path.with_suffix(suffix))) as container:
                assert container.duration == pytest.approx(1000 * sum(durations), abs=1000)


def test_sound_keeps_its_length_with_a_held_last_frame(model: D4Codec, tmp_path: Path) -> None:
    clip, packed = tmp_path / "c.mp4", tmp_path / "c.aev"
    with av.open(str(clip), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="stereo")
        packets = [packet for picture in (*PICTURES, None) for packet in stream.encode(
            picture if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24"))]
        for packet in (packets[-1], max(packets, key=lambda packet: packet.pts)):
            packet.duration = int(2.7 / packet.time_base)
        for packet in packets:
            container.mux(packet)
        whole = av.AudioFrame.from_ndarray(tones(3), format="fltp", layout="stereo")
        whole.sample_rate, whole.pts = 48_000, 0
        resampler = av.AudioResampler(format=sound.format, layout="stereo", rate=48_000,
                                      frame_size=1024)
        for piece in (*resampler.resample(whole), None):
            container.mux(sound.encode(piece))
    aehub.compress(clip, packed, model=model, measure=False)
    assert aehub.info(packed)["seconds"] == pytest.approx(3.0, abs=0.001)
    aehub.edit(packed, tmp_path / "part.aev", [aehub.Trim("1:2")])
    for path, seconds in ((packed, 3.0), (tmp_path / "part.aev", 1.0)):
        aehub.decompress_to(path, path.with_suffix(".mkv"), model=model)
        with av.open(str(path.with_suffix(".mkv"))) as container:
            ends = [max(float((packet.pts + packet.duration) * packet.time_base)
                        for packet in container.demux(kind) if packet.size)
                    for kind in (container.streams.video[0],)]
        with av.open(str(path.with_suffix(".mkv"))) as container:
            ends += [max(float((packet.pts + packet.duration) * packet.time_base)
                         for packet in container.demux(container.streams.audio[0]) if packet.size)]
        assert np.allclose(ends, seconds, atol=0.045), path


@pytest.mark.parametrize("plays", [0, 1, 3])
def test_the_play_count_goes_through_a_file(
    model: D4Codec, tmp_path: Path, plays: int
) -> None:
    clip, packed = animation(tmp_path / "c.webp", loop=plays), tmp_path / "c.aev"
    aehub.compress(clip, packed, model=model, measure=False)
    aehub.edit(packed, tmp_path / "e.aev", [aehub.Reverse()])
    aehub.decompress_to(tmp_path / "e.aev", tmp_path / "o.gif", model=model)
    with Image.open(tmp_path / "o.gif") as image:
        assert image.info.get("loop") == {0: 0, 1: None, 3: 2}[plays]
