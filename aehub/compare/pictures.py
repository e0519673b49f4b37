"""Planes to PyAV frames and back, with nothing scaled, converted or carried over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import av
import numpy as np

from aehub.clips.frames import Planes
from aehub.clips.sinks import frame_of_planes
from aehub.threads import share


def to_video_frame(planes: Planes, index: int) -> av.VideoFrame:
    """A new yuv420p frame whose pts is `index`.

    New, not reused: frames decoded from an intra-only file carry picture type I, which forces
    key frames on x264 and can lock SVT-AV1 up.
    """
    frame = frame_of_planes(planes)
    frame.pts = index
    return frame


def from_video_frame(frame: av.VideoFrame) -> Planes:
    """Copies of the planes of a 4:2:0 frame of 8 bits, whatever its range is called."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        raise ValueError(f"expected 8-bit 4:2:0, the decoder gave {frame.format.name}")
    half = (-(-frame.height // 2), -(-frame.width // 2))
    shapes = ((frame.height, frame.width), half, half)
    # Lines of a plane are padded.
    return Planes(*(
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            :height, :width].copy()
        for plane, (height, width) in zip(frame.planes, shapes, strict=True)
    ))


def video_context(name: str, mode: Literal["r", "w"]) -> av.VideoCodecContext:
    """The named decoder ("r") or encoder ("w")."""
    context = av.CodecContext.create(name, mode)
    assert isinstance(context, av.VideoCodecContext)
    share(context)
    return context


def decode_packet(decoder: str, data: bytes) -> Planes:
    """The one picture in `data`, by the named FFmpeg decoder."""
    context = video_context(decoder, "r")
    frames = context.decode(av.Packet(data)) + context.decode(None)
    return from_video_frame(frames[0])


def pad_to_even(planes: Planes) -> Planes:
    """Repeat the last row and column where a side is odd; chroma covers them already."""
    height, width = planes.y.shape
    y = np.pad(planes.y, ((0, height % 2), (0, width % 2)), mode="edge")
    return Planes(y, planes.u, planes.v)


def crop(frames: Iterator[Planes], size: tuple[int, int]) -> Iterator[Planes]:
    """Undo `pad_to_even`: cut luma to `size` = (width, height)."""
    width, height = size
    for y, u, v in frames:
        yield Planes(y[:height, :width], u, v)
