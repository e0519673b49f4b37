"""Probe a clip, and write the lossless working copy, trimmed and resized, that a model gets."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from aehub.config import Limits
from aehub.errors import AEHubError
from aehub.media.clip import open_clip
from aehub.media.colour import to_rgb
from aehub.media.picture import ClipInfo, Picture
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import open_writer

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
) -> Generator[tuple[int, int], None, ClipInfo]:
    """Write the working copy of a clip, sound included; yields (frames done, frames expected).

    Args:
        source: path of a clip.
        output: path of an `.mkv` to write; every sample is kept.
        longest: see `fit`.
        trim: the part to copy.
        limits: the largest clip to accept.

    Returns:
        Properties of the copy; its notes list the changes.

    Raises:
        InputError: the source cannot be read.
        LimitError: the clip is larger than `limits`.
    """
    with ExitStack() as stack:
        clip = stack.enter_context(open_clip(source, trim=trim, limits=limits or Limits()))
        original = clip.info
        width, height = fit_size(original.width, original.height, longest, original.pixel_aspect)
        clip.allow_downscale(width, height)
        resize = _resizer((width, height))
        info = replace(original, width=width, height=height, pixel_aspect=Fraction(1))
        sound = stack.enter_context(clip.audio.open()) if clip.audio is not None else None
        writer = stack.enter_context(open_writer(output, info=info, audio=sound))
        done = 0
        for frame in clip:
            writer.write(frame._replace(picture=resize(frame.picture)))
            done += 1
            yield done, max(done, original.n_frames or 0)
        notes = clip.info.notes
        if (width, height) != (original.width, original.height):
            notes += (f"The clip was resized from {original.width}x{original.height} to "
                      f"{width}x{height}.",)
    return replace(info, n_frames=done, notes=notes)


@contextmanager
def errors_about(source: Path, *copies: Path) -> Iterator[None]:
    """Name `source` in errors about its working copies, whose names the user does not know.

    Args:
        source: the input file.
        copies: files made of it.
    """
    try:
        yield
    except AEHubError as error:
        message = error.message
        for path in copies:
            message = message.replace(path.name, source.name)
        if message == error.message:
            raise
        raise type(error)(message, error.option) from error


def _resizer(size: tuple[int, int]) -> Callable[[Picture], Picture]:
    """Return a function that resizes planes, each by itself: no colour is converted."""
    half = -(-size[0] // 2), -(-size[1] // 2)

    def resize(planes: Picture) -> Picture:
        if planes.size == size:
            return planes
        return Picture((_plane(p, s) for p, s in zip(planes, (size, half, half))))

    return resize


def _plane(samples: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize one plane, uint8 [h, w] -> [size[1], size[0]]; swscale widens its filter to shrink."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format="gray")
    return frame.reformat(*size, interpolation="BICUBIC").to_ndarray()


@dataclass(frozen=True)
class ClipProbe:
    """Properties of a clip and its first frame.

    Attributes:
        width: display width in pixels, upright.
        height: display height in pixels, upright.
        fps: nominal frames per second.
        n_frames: frames in the probed part; None if the header does not hold it.
        seconds: duration of the part; None if the header does not hold it.
        bytes: size of the file.
        has_sound: whether it carries a sound track.
        picture: its first frame, uint8 [H, W, 3] in RGB.
        notes: changes that decoding makes, such as a conversion of colour.
    """

    width: int
    height: int
    fps: Fraction
    n_frames: int | None
    seconds: float | None
    bytes: int
    has_sound: bool
    picture: np.ndarray
    notes: tuple[str, ...]


def probe_clip(
    source: str | Path,
    *,
    trim: TimeSpan | None = None,
    limits: Limits | None = None,
    with_sound: bool = True,
) -> ClipProbe:
    """Decode the first frame of a clip and read its header.

    Args:
        source: path of a clip.
        trim: the part to probe.
        limits: the largest picture to accept; a limit of length holds if the header has the length.
        with_sound: also look for sound, which reads the packets of the track.

    Raises:
        InputError: the source is no clip.
        LimitError: the clip is larger than `limits`.
    """
    limits = Limits() if limits is None else limits
    with open_clip(source, trim=trim, limits=limits) as clip:
        picture = next(iter(clip))
        info = clip.info
        seconds = None if info.n_frames is None else float(info.n_frames / info.fps)
        return ClipProbe(
            width=info.width,
            height=info.height,
            fps=info.fps,
            n_frames=info.n_frames,
            seconds=seconds,
            bytes=Path(source).stat().st_size,
            has_sound=with_sound and clip.audio is not None,
            picture=to_rgb(picture.picture, info.colour),
            notes=info.notes,
        )
