"""Elementary video streams through PyAV: encoders, decoders and their frames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np

from aehub.media.picture import Picture
from aehub.media.sinks import frame_from_planes
from aehub.threads import limit_codec_threads

_TASK_FOLDER = Path("/proc/self/task")


def open_svt_av1(context: av.VideoCodecContext) -> None:
    """Open an encoder of SVT-AV1 without its banner and without real-time priority.

    As root, SVT-AV1 sets real-time priority (FIFO, 99) for the calling thread and its own ones, and
    keeps it: later busy-waiting in that process would starve the machine.
    """
    # The banner bypasses all log handlers; only this variable suppresses it.
    os.environ.setdefault("SVT_LOG", "1")
    if not hasattr(os, "sched_getscheduler") or not _TASK_FOLDER.exists():
        context.open()
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = _thread_ids()
    context.open()
    for thread in _thread_ids() - before | {0}:
        try:
            os.sched_setscheduler(thread, policy, parameters)
        except ProcessLookupError:
            continue  # The thread has ended.


def _thread_ids() -> set[int]:
    return {int(path.name) for path in _TASK_FOLDER.iterdir()}


def to_video_frame(planes: Picture, index: int) -> av.VideoFrame:
    """Make a yuv420p frame with pts `index`.

    Decoded frames are not passed on: those of an intra-only file have picture type I, which forces
    key frames in x264 and can deadlock SVT-AV1.
    """
    frame = frame_from_planes(planes)
    frame.pts = index
    return frame


def from_video_frame(frame: av.VideoFrame) -> Picture:
    """Copy the planes of a 4:2:0 frame of 8 bits, of limited or full range."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        raise ValueError(f"expected 8-bit 4:2:0, the decoder gave {frame.format.name}")
    half = (-(-frame.height // 2), -(-frame.width // 2))
    shapes = ((frame.height, frame.width), half, half)
    # Lines of a plane are padded.
    return Picture((
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            :height, :width].copy()
        for plane, (height, width) in zip(frame.planes, shapes, strict=True)
    ))


def video_context(name: str, mode: Literal["r", "w"]) -> av.VideoCodecContext:
    """Create the named decoder ("r") or encoder ("w")."""
    context = av.CodecContext.create(name, mode)
    assert isinstance(context, av.VideoCodecContext)
    limit_codec_threads(context)
    return context


def to_packet(data: bytes) -> av.Packet:
    """Copy bytes into a packet.

    One that is made of them, as `av.Packet(data)`, waits for Python's lock where a thread of dav1d
    frees it; whoever closes the decoder holds that lock and waits for the thread, for ever.
    """
    packet = av.Packet(len(data))
    packet.update(data)
    return packet


def decode_packet(decoder: str, data: bytes) -> Picture:
    """Decode the only picture in `data` with the named FFmpeg decoder."""
    context = video_context(decoder, "r")
    frames = context.decode(to_packet(data)) + context.decode(None)
    return from_video_frame(frames[0])


def pad_to_even(planes: Picture) -> Picture:
    """Repeat the last row and column of luma if a side is odd; chroma covers them already."""
    height, width = planes[0].shape
    y = np.pad(planes[0], ((0, height % 2), (0, width % 2)), mode="edge")
    return Picture([y, *planes[1:]])


def crop(frames: Iterator[Picture], size: tuple[int, int]) -> Iterator[Picture]:
    """Undo `pad_to_even`: cut luma to `size` = (width, height)."""
    width, height = size
    for y, u, v in frames:
        yield Picture((y[:height, :width], u, v))
