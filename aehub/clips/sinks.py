"""What writers share: the sink protocol, frames for PyAV, and outputs without libavcodec."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import imageio.v3 as iio
import numpy as np

from aehub.clips import colour as colours
from aehub.clips.frames import ClipInfo, Planes

# Deflate level: 3 is a third of the time of 6 and 5 % more bytes.
_PNG_LEVEL = 3


class Sink(Protocol):
    """Takes frames in order.

    Attributes:
        notes: sentences about what the format cannot hold; may grow.
    """

    notes: list[str]

    def put(self, picture: Any, time: int, duration: int) -> None:
        """Write a picture shown at `time` for `duration`, both in ticks of the clip.

        It is `Planes`, or in what is no video uint8 [H, W, 3 or 4].
        """

    def finish(self) -> None:
        """Write what is held back."""

    def close(self) -> None:
        """Release encoder and file, finished or not."""


class FolderSink:
    """Writes 000000.png, 000001.png and so on, 8-bit RGB or RGBA."""

    def __init__(self, path: Path, info: ClipInfo) -> None:
        self.notes: list[str] = []
        self._folder, self._info, self._n_frames = path, info, 0
        path.mkdir()

    def put(self, picture: Planes | np.ndarray, time: int, duration: int) -> None:
        """Write one picture."""
        if not self.notes and is_uneven(self._info, self._n_frames, time, duration):
            self.notes.append("Pictures have no times; those of this clip vary and are lost.")
        write_png(self._folder / f"{self._n_frames:06d}.png", rgb_of(picture, self._info))
        self._n_frames += 1

    def finish(self) -> None:
        """All is written."""

    def close(self) -> None:
        """Nothing is open."""


class Y4mSink:
    """Writes YUV4MPEG2: raw planes, for pipes and other programs.

    The format carries size, rate, pixel aspect and range; neither matrix nor single times.
    """

    def __init__(self, file: BinaryIO, info: ClipInfo, *, is_own: bool = False) -> None:
        """Write the header; `is_own`: close the file at the end."""
        self.notes: list[str] = []
        self._file, self._info, self._n_frames = file, info, 0
        self._is_own = is_own
        if not colours.is_plain(info.colour, info.width, info.height):
            self.notes.append(
                "y4m cannot say which colour matrix the planes have; programs that read it will "
                f"guess another than that of this clip, number {info.colour.matrix} of H.273."
            )
        fps, aspect = info.fps, info.pixel_aspect
        shown_range = "FULL" if info.colour.full_range else "LIMITED"
        header = (
            f"YUV4MPEG2 W{info.width} H{info.height} F{fps.numerator}:{fps.denominator} Ip "
            f"A{aspect.numerator}:{aspect.denominator} C420jpeg XCOLORRANGE={shown_range}\n"
        )
        file.write(header.encode())

    def put(self, planes: Planes, time: int, duration: int) -> None:
        """Write one picture."""
        if not self.notes and is_uneven(self._info, self._n_frames, time, duration):
            note = "Frames follow evenly in y4m; the times of this clip vary and are lost."
            self.notes.append(note)
        self._file.write(b"FRAME\n")
        for plane in planes:
            self._file.write(np.ascontiguousarray(plane).data)
        self._n_frames += 1

    def finish(self) -> None:
        """Push the bytes on."""
        self._file.flush()

    def close(self) -> None:
        """A file object of the caller's stays open."""
        if self._is_own:
            self._file.close()


def write_png(target: Path | BinaryIO | str, picture: np.ndarray) -> Any:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4]; return the bytes for the target "<bytes>"."""
    return iio.imwrite(target, picture, plugin="pillow", extension=".png",
                       compress_level=_PNG_LEVEL)


def rgb_of(picture: Planes | np.ndarray, info: ClipInfo) -> np.ndarray:
    """A picture as RGB, or as RGBA where it was given so."""
    return picture if isinstance(picture, np.ndarray) else colours.to_rgb(picture, info.colour)


def is_uneven(info: ClipInfo, number: int, time: int, duration: int) -> bool:
    """Whether frame `number` begins or ends half a frame or more off the steady rate."""
    places = ((number, time), (number + 1, time + duration))
    return any(abs(at * info.time_base * info.fps - even) > Fraction(1, 2) for even, at in places)


def frame_of_planes(planes: Planes) -> av.VideoFrame:
    """A PyAV frame with copies of the planes."""
    frame = av.VideoFrame(*planes.size, "yuv420p")
    for plane, samples in zip(frame.planes, planes, strict=True):
        _fill(plane, samples)
    return frame


def frame_of_palette(places: np.ndarray, argb: np.ndarray) -> av.VideoFrame:
    """A PyAV frame of places, uint8 [H, W], in a palette, uint32 [256], 0xAARRGGBB."""
    frame = av.VideoFrame(places.shape[1], places.shape[0], "pal8")
    _fill(frame.planes[0], places)
    np.frombuffer(memoryview(frame.planes[1]), np.uint32)[:256] = argb
    return frame


def _fill(plane: Any, samples: np.ndarray) -> None:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    rows[: samples.shape[0], : samples.shape[1]] = samples
