"""AV1 streams of a group: SVT-AV1 writes them, dav1d reads them, both through PyAV.

Decoding is exact in integers (AV1 specification, 7), so a stream gives the same samples everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Literal

import av
import numpy as np

from aehub.codecs.sandwich import obu
from aehub.errors import InputError
from aehub.media.elementary_streams import (
    from_video_frame,
    open_svt_av1,
    to_packet,
    to_video_frame,
    video_context,
)
from aehub.media.picture import Picture
from aehub.threads import capped

_MAX_FPS = Fraction(240)
"""Most frames per second that SVT-AV1 takes; rate control by CRF does not depend on it."""
_MAX_THREADS = 2
"""Threads of an encoder or decoder; `lp` of SVT-AV1 does not change the stream."""


_LEAST_SIDE = 64
"""Samples along a side that SVT-AV1 takes at least."""


def coded_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that AV1 codes pictures of `size` with: even, and at least 64."""
    width, height = (max(n + n % 2, _LEAST_SIDE) for n in size)
    return width, height


def padded(picture: Picture, size: tuple[int, int]) -> Picture:
    """Repeat the last row and column of each plane up to `size` in luma."""
    return Picture([
        np.pad(plane, [(0, n // part - present) for n, present in
                       zip(size[::-1], plane.shape, strict=True)], "edge")
        for plane, part in zip(picture, (1, 2, 2), strict=True)])


def _cropped(picture: Picture, size: tuple[int, int]) -> Picture:
    """Undo `padded`."""
    shapes = picture.format.shapes(size)
    return Picture([plane[:rows, :columns]
                    for plane, (rows, columns) in zip(picture, shapes, strict=True)])


class Av1Encoder:
    """Encoder of the pictures of one group.

    Args:
        size: (width, height) of the pictures.
        fps: frames per second.
        crf: constant rate factor, 1 to 63.
        preset: of SVT-AV1, 0 to 13.
        grain: level at which film grain is taken out and described, for decoders to synthesise, 1
            to 50 (`grain`); 0 leaves it in.
        full_range: of the samples, which players go by the stream for.

    Raises:
        InputError: SVT-AV1 is missing from PyAV, or refuses the size.
    """

    def __init__(self, size: tuple[int, int], fps: Fraction, crf: float, preset: int, *,
                 grain: int = 0, full_range: bool = False) -> None:
        context = _context("libsvtav1", "SVT-AV1", "w")
        self._size = coded_size(size)
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.color_range = 2 if full_range else 1
        rate = min(fps, _MAX_FPS)
        context.framerate, context.time_base = rate, 1 / rate
        parameters = f"lp={capped(_MAX_THREADS)}"
        if grain:
            # By itself the level describes the grain and codes it all the same.
            parameters += f":film-grain={grain}:film-grain-denoise=1"
        context.options = {"preset": str(preset), "crf": f"{crf:g}", "svtav1-params": parameters}
        try:
            open_svt_av1(context)
        except av.FFmpegError as error:
            raise InputError(f"SVT-AV1 cannot code {size[0]}x{size[1]} pictures at {fps} fps "
                             f"({error.strerror}); name another model for them.") from error
        self._context, self._count = context, 0

    def add(self, picture: Picture) -> bytes:
        """Encode a 4:2:0 picture of 8 bits; returns what is written by now, in coding order."""
        frame = to_video_frame(padded(picture, self._size), self._count)
        self._count += 1
        return self._written(self._context.encode(frame))

    def finish(self) -> bytes:
        """Return the rest of the stream."""
        return self._written(self._context.encode(None))

    @staticmethod
    def _written(packets: Iterable[av.Packet]) -> bytes:
        return b"".join(obu.stripped(bytes(packet)) for packet in packets)


def decode(units: Iterable[obu.TemporalUnit], size: tuple[int, int], *, grain: bool = False
           ) -> Iterator[Picture]:
    """Decode a stream, in the order of times.

    Args:
        units: of the stream (`obu.temporal_units`).
        size: (width, height) of the pictures.
        grain: synthesise the film grain that the stream describes.

    Raises:
        DamagedError: it is no stream of AV1 of pictures of this size, one for each unit.
        InputError: dav1d is missing from PyAV.
    """
    context = _context("libdav1d", "dav1d", "r")
    context.thread_count, context.thread_type = capped(_MAX_THREADS), "FRAME"
    width, height = coded_size(size)
    context.options = {"filmgrain": str(int(grain)), "max_pixels": str(width * height)}
    missing = 0
    for unit in chain(units, (None,)):
        missing += unit is not None
        for frame in _decoded(context, None if unit is None else to_packet(unit.data)):
            if (frame.width, frame.height) != (width, height):
                raise obu.damaged(f"its AV1 stream has pictures of {frame.width}x{frame.height}")
            if frame.format.name not in ("yuv420p", "yuvj420p"):
                raise obu.damaged(f"its AV1 stream has pictures of {frame.format.name}")
            missing -= 1
            yield _cropped(from_video_frame(frame), size)
    if missing:
        raise obu.damaged(f"dav1d shows {missing} frames less than its AV1 stream announces")


def _context(name: str, title: str, mode: Literal["r", "w"]) -> av.VideoCodecContext:
    try:
        return video_context(name, mode)
    except av.codec.codec.UnknownCodecError as error:
        raise InputError(f"this build of PyAV has no {title}; install the wheel of PyPI, or use "
                         "another model.") from error


def _decoded(context: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return context.decode(packet)
    except av.FFmpegError as error:
        raise obu.damaged(f"dav1d refuses its AV1 stream ({error.strerror})") from error
