from __future__ import annotations

from collections.abc import Callable

import av
import pytest

from aehub.measure import SourceClip
from aehub.measure.video_codecs import VideoCodec, svtav1, x264, x265
from aehub.media.elementary_streams import to_video_frame


def raw_stream(source: SourceClip, encoder: str, **options: str) -> list[bytes]:
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = source.frames[0].size
    context.pix_fmt, context.framerate = "yuv420p", source.info.fps
    context.time_base = 1 / source.info.fps
    context.options = options
    frames = [to_video_frame(planes, i) for i, planes in enumerate(source.frames)]
    return [bytes(packet) for frame in [*frames, None] for packet in context.encode(frame)]


def stripped(codec: VideoCodec, data: bytes) -> bytes:
    bare = codec.open_bitstream_filter()
    return b"".join(bytes(left) for packet in (av.Packet(data), None)
                    for left in bare.filter(packet))


def test_sei_units_of_h264_go_and_all_others_stay() -> None:
    parameters, slice_ = b"\0\0\0\1\x67abc", b"\0\0\1\x65\x88slice"
    sei = b"\0\0\1\x06\x05banner"
    assert stripped(x264("medium"), parameters + sei + slice_ + sei) == parameters + slice_


def test_prefix_and_suffix_sei_units_of_hevc_go() -> None:
    parameters, slice_ = b"\0\0\0\1\x40\1abc", b"\0\0\1\x26\1slice"
    prefix, suffix = b"\0\0\1\x4e\1banner", b"\0\0\1\x50\1hash"
    assert stripped(x265("medium"), parameters + prefix + slice_ + suffix) == parameters + slice_


def test_delimiters_metadata_and_padding_of_av1_go_whatever_their_length() -> None:
    delimiter, metadata = b"\x12\x00", b"\x2a\xc8\x01" + bytes(200)
    sequence, frame = b"\x0a\x03abc", b"\x36\x40\x05hello"
    padding = b"\x7a\x01\x80"
    unit = delimiter + sequence + metadata + frame + padding
    assert stripped(svtav1(8), unit) == sequence + frame


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_the_banner_of_the_encoder_is_not_counted(
    source: Callable[..., SourceClip], encoder: str
) -> None:
    clip = source(n_frames=2)
    codec = x264("ultrafast") if encoder == "libx264" else x265("ultrafast")
    raw = b"".join(raw_stream(clip, encoder, **codec.options, crf="30"))
    assert b"x264 - core" in raw or b"x265 (build" in raw
    bare = stripped(codec, raw)
    assert b"x264 - core" not in bare and b"x265 (build" not in bare
    assert 0 < codec.encode(clip.frames, clip.info, 30).n_bytes < len(raw) - 300
