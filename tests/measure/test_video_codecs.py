from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aehub.errors import InputError
from aehub.measure import SourceClip, parse_codecs
from aehub.measure.benchmark import load
from aehub.measure.model_codec import write_lossless
from aehub.measure.video_codecs import VideoCodec, x264
from aehub.media.metrics import Distortion
from aehub.media.picture import Picture

VIDEO = "x264-veryfast,x264-veryfast-bf0,x265-ultrafast,svtav1-12,vp9"


def distortion(source: SourceClip, decoded: list[Picture]) -> Distortion:
    result = Distortion()
    for reference, planes in zip(source.frames, decoded, strict=True):
        result.add(reference, planes)
    return result


@pytest.fixture(params=parse_codecs(VIDEO), ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> VideoCodec:
    return request.param


def test_frames_come_back_in_order_and_in_their_odd_size(
    source: Callable[..., SourceClip], codec: VideoCodec
) -> None:
    clip = source(65, 51, 9)
    decoded = list(codec.encode(clip.frames, clip.info, codec.qualities[0]).decoded)
    # The frames differ by 20 dB from adjacent ones: a wrong order could not pass.
    assert min(distortion(clip, decoded).frame_psnrs) > 34


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux has such policies")
@pytest.mark.parametrize("name", ["svtav1-12", "avif"])
def test_no_thread_gets_real_time_priority(source: Callable[..., SourceClip], name: str) -> None:
    # SVT-AV1 asks for it when run as root, for the caller's thread too.
    clip = source(64, 64, 2)
    (codec,) = parse_codecs(name)
    policies: set[int] = set()
    if isinstance(codec, VideoCodec):
        for _ in codec.packets(clip.frames, clip.info, codec.qualities[0]):
            threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
            policies |= {os.sched_getscheduler(thread) for thread in threads}
        assert len(threads) > 8
    else:
        codec.encode(clip.frames, clip.info, codec.qualities[0])
    assert policies | {os.sched_getscheduler(0)} == {os.SCHED_OTHER}


def test_a_single_frame_is_a_clip_too(source: Callable[..., SourceClip], codec: VideoCodec) -> None:
    clip = source(64, 64, 1)
    encoded = codec.encode(clip.frames, clip.info, codec.qualities[0])
    assert distortion(clip, list(encoded.decoded)).psnr > 34


def test_qualities_rise_or_fall_in_bytes_and_in_psnr_together(
    source: Callable[..., SourceClip], codec: VideoCodec
) -> None:
    clip = source(96, 80, 3)
    curve = []
    for quality in (codec.qualities[0], codec.qualities[-1]):
        encoded = codec.encode(clip.frames, clip.info, quality)
        curve.append((encoded.n_bytes, distortion(clip, list(encoded.decoded)).psnr))
    best, worst = curve
    assert best[0] > 1.5 * worst[0]
    assert best[1] > worst[1] + 3


def test_the_path_of_the_planes_loses_nothing(source: Callable[..., SourceClip]) -> None:
    clip = source(64, 48, 4)
    (codec,) = parse_codecs("x264-veryfast")
    decoded = list(codec.encode(clip.frames, clip.info, 0).decoded)
    # Rate factor 0 is lossless in x264; any conversion of colour would show.
    assert distortion(clip, decoded).psnr == 100


def test_frames_of_an_intra_only_file_force_no_key_frames(
    source: Callable[..., SourceClip], tmp_path: Path
) -> None:
    clip = source(64, 48, 8)
    path = tmp_path / "clip.mkv"
    write_lossless(path, clip.frames, clip.info)
    with av.open(path) as container:
        assert all(frame.pict_type == 1 for frame in container.decode(video=0))
    (codec,) = parse_codecs("x264-veryfast")
    read = load(path)
    from_file = codec.encode(read.frames, clip.info, 30).n_bytes
    assert from_file == codec.encode(clip.frames, clip.info, 30).n_bytes
    alone = sum(codec.encode([planes], clip.info, 30).n_bytes for planes in clip.frames)
    assert from_file < alone / 2


def test_unusual_frame_rates_are_coded(
    source: Callable[..., SourceClip], codec: VideoCodec
) -> None:
    for fps in (Fraction(1000), Fraction(30000, 1001)):
        clip = source(64, 64, 2)
        info = replace(clip.info, fps=fps, time_base=1 / fps)
        assert len(list(codec.encode(clip.frames, info, codec.qualities[0]).decoded)) == 2


def test_a_refused_clip_is_one_sentence(source: Callable[..., SourceClip]) -> None:
    clip = source(64, 64, 1)
    broken = VideoCodec("x264-x", "libx264", "h264", (20,), "null", {"preset": "no such preset"})
    with pytest.raises(InputError, match=r"x264-x cannot code this 64x64 clip at 25 fps"):
        broken.encode(clip.frames, clip.info, 20)


def test_a_missing_encoder_is_named(source: Callable[..., SourceClip]) -> None:
    clip = source(64, 64, 1)
    missing = VideoCodec("h266", "libvvenc-absent", "h266", (20,), "null")
    with pytest.raises(InputError, match="no libvvenc-absent; leave h266 out"):
        missing.encode(clip.frames, clip.info, 20)


def test_x264_codes_every_picture_as_one_slice(source: Callable[..., SourceClip]) -> None:
    # Slice threads, PyAV's default, cut each picture in two and cost 5 % of rate.
    clip = source(256, 256, 4)
    packets = x264("veryfast").packets(clip.frames, clip.info, 30)
    access_units = [bytes(packet) for packet in packets]
    begins = re.compile(rb"\x00\x00\x01[\x01\x21\x41\x61\x65]")
    assert [len(begins.findall(unit)) for unit in access_units] == [1, 1, 1, 1]


def test_planes_are_not_touched(source: Callable[..., SourceClip], codec: VideoCodec) -> None:
    clip = source(65, 51, 2)
    before = [np.concatenate([plane.ravel() for plane in planes]) for planes in clip.frames]
    list(codec.encode(clip.frames, clip.info, codec.qualities[-1]).decoded)
    for old, planes in zip(before, clip.frames, strict=True):
        assert np.array_equal(old, np.concatenate([plane.ravel() for plane in planes]))
