"""Probe a clip; decode it once, trimmed and resized, and write it as a lossless working copy."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from aehub.config import Limits
from aehub.media.clip import open_clip
from aehub.media.conversion import Converter, to_rgb
from aehub.media.decoded_clip import DecodedClip
from aehub.media.picture import ClipInfo, Picture
from aehub.media.source import Source
from aehub.media.streams import open_container, packet_times
from aehub.media.timestamps import MonotonicTimestamps, TimeSpan
from aehub.media.writer import open_writer
from aehub.threads import limit_codec_threads

MIN_SIDE = 16
"""Least pixels of a side after resizing."""


def fit_size(
    width: int, height: int, longest: int | None, pixel_aspect: Fraction = Fraction(1)
) -> tuple[int, int]:
    """Return the size of the working copy: never enlarged, with square pixels.

    Args:
        width: display width in samples.
        height: display height in samples.
        longest: limit of the longer side in pixels; None keeps the size.
        pixel_aspect: width of a pixel over its height.

    Returns:
        (width, height); sides that change become even.

    Example:
        >>> fit_size(1920, 1080, 640)
        (640, 360)
    """
    wide, high = width * min(Fraction(1), pixel_aspect), height / max(Fraction(1), pixel_aspect)
    scale = Fraction(1) if longest is None else min(Fraction(1), longest / max(wide, high))
    if scale == 1 and pixel_aspect == 1:
        return width, height
    even = (max(MIN_SIDE, 2 * round(side * scale / 2)) for side in (wide, high))
    return next(even), next(even)


def iter_prepare(
    source: str | Path,
    output: Path,
    *,
    longest: int | None = None,
    trim: TimeSpan | None = None,
    limits: Limits | None = None,
) -> Generator[tuple[int, int], None, DecodedClip]:
    """Decode a clip and write its working copy; yields (frames done, frames expected).

    Matroska rounds times to milliseconds. The result has the times, the rate and the sound of the
    copy, so that both are compressed to the same file.

    Args:
        source: path of a clip.
        output: path of an `.mkv` to write; every sample is kept.
        longest: see `fit_size`.
        trim: the part to copy.
        limits: the largest clip to accept.

    Returns:
        The frames and the sound of the copy, to be closed; its notes list the changes, and
        `source_bytes` is the size of the source.

    Raises:
        InputError: the source cannot be read.
        LimitError: the clip is larger than `limits`, or than the room for its frames.
    """
    with ExitStack() as stack:
        clip = stack.enter_context(open_clip(source, trim=trim, limits=limits or Limits()))
        original = clip.info
        width, height = fit_size(original.width, original.height, longest, original.pixel_aspect)
        clip.allow_downscale(width, height)
        info = replace(original, width=width, height=height, pixel_aspect=Fraction(1))
        decoded = DecodedClip(clip.name, info)
        with ExitStack() as undo:
            undo.callback(decoded.close)
            with ExitStack() as writing:
                sound = writing.enter_context(clip.audio.open()) if clip.audio is not None else None
                writer = writing.enter_context(open_writer(output, info=info, audio=sound))
                for frame in clip:
                    frame = frame._replace(picture=_resized(frame.picture, (width, height)))
                    decoded.add(frame)
                    writer.write(frame)
                    yield len(decoded), max(len(decoded), original.n_frames or 0)
            notes = clip.info.notes
            if (width, height) != (original.width, original.height):
                notes += (f"The clip was resized from {original.width}x{original.height} to "
                          f"{width}x{height}.",)
            _take_times(decoded, output, notes)
            undo.pop_all()
    return decoded


def _take_times(decoded: DecodedClip, copy: Path, notes: tuple[str, ...]) -> None:
    """Finish a clip with the header, the times and the sound of its working copy."""
    with open_clip(copy, limits=Limits()) as clip, closing(Source(copy)) as source:
        base, clock = clip.info.time_base, MonotonicTimestamps(clip.info.frame_ticks)
        times, seconds = packet_times(source, source.kind, 0)
        ticks = [clock.next_time(round((time - times[0]) / base)) for time in times]
        last = round(seconds / base) - ticks[-1]
        decoded.times = [*((time, None) for time in ticks[:-1]), (ticks[-1], max(0, last) or None)]
        info = replace(clip.info, n_frames=len(ticks), source_bytes=decoded.info.source_bytes,
                       notes=notes)
        decoded.finish(info, clip.audio)


def read_frame(copy: Path, seconds: Fraction) -> Picture:
    """Decode the frame of a working copy that is nearest to a time, from the key frame before it.

    Args:
        copy: as `iter_prepare` writes it: FFV1, with a key frame at least every 12 frames.
        seconds: from the first frame on, within a millisecond.

    Raises:
        InputError: there is no such copy any more.
    """
    with closing(Source(copy)) as source, open_container(source, source.kind) as container:
        stream = container.streams.video[0]
        limit_codec_threads(stream.codec_context)
        ticks = next(container.demux(stream)).pts + round(seconds / stream.time_base)
        # The rounding of the copy may put the frame a tick before.
        container.seek(max(0, ticks - 1), stream=stream)
        frames = container.decode(stream)
        nearest = next(frames)
        while nearest.pts < ticks and (frame := next(frames, None)) is not None:
            if abs(frame.pts - ticks) >= abs(nearest.pts - ticks):
                break
            nearest = frame
        return Converter(nearest, stream.codec_context.name)(nearest)


def _resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize planes, each by itself: no colour is converted."""
    if picture.size == size:
        return picture
    shapes = picture.format.shapes(size)
    return Picture((_plane(plane, *shape) for plane, shape in zip(picture, shapes, strict=True)),
                   picture.format)


def _plane(samples: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize one plane, uint8 [h, w] -> [rows, columns]; swscale widens its filter to shrink."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format="gray")
    return frame.reformat(columns, rows, interpolation="BICUBIC").to_ndarray()


@dataclass(frozen=True)
class ClipProbe:
    """Properties of a clip and its first frame.

    Attributes:
        info: of its header; its notes list changes that decoding makes.
        has_sound: whether it carries a sound track.
        picture: its first frame, uint8 [H, W, 3] in RGB.
    """

    info: ClipInfo
    has_sound: bool
    picture: np.ndarray

    @property
    def seconds(self) -> float | None:
        """Duration; None if the header does not hold it."""
        return None if self.info.n_frames is None else float(self.info.n_frames / self.info.fps)


def probe_clip(source: str | Path, limits: Limits | None = None) -> ClipProbe:
    """Decode the first frame of a clip and read its header.

    Args:
        source: path of a clip.
        limits: the largest picture to accept; a limit of length holds if the header has the length.

    Raises:
        InputError: the source is no clip.
        LimitError: the clip is larger than `limits`.
    """
    with open_clip(source, limits=Limits() if limits is None else limits) as clip:
        picture, has_sound = next(iter(clip)).picture, clip.audio is not None
        return ClipProbe(clip.info, has_sound, to_rgb(picture, clip.info.colour))
