"""Reading what is no video: arrays, single pictures, folders of pictures, animated WebP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from aehub.clips import colour as colours
from aehub.clips import orientation, samples, sniff
from aehub.clips.frames import ClipInfo, Frame, Planes
from aehub.clips.probe import packet_times, reopened
from aehub.clips.source import READABLE, Source
from aehub.clips.timeline import DEFAULT_FPS, clean_rate
from aehub.clips.video import check_pixels
from aehub.config import Limits
from aehub.errors import InputError

_MILLISECOND = Fraction(1, 1000)
# What browsers take for WebP frames that state no duration.
_DEFAULT_MS = 100


class SilentReader:
    """What all readers without sound share."""

    info: ClipInfo

    def __init__(self) -> None:
        self.notes: list[str] = []

    def skip_to(self, seconds: Fraction) -> None:
        """Nothing to be saved here."""

    def audio(self, start: Fraction, stop: Fraction | None) -> None:
        """There is no sound."""

    def time_of_frame(self, index: int) -> Fraction | None:
        """Only asked where there is sound."""

    def close(self) -> None:
        """Nothing to release."""


class ArrayReader(SilentReader):
    """Reads RGB arrays: one picture, a stack, or any iterable of pictures."""

    def __init__(self, given: Any, limits: Limits, fps: Fraction | None) -> None:
        """Look at the first picture.

        Raises:
            InputError: there is none, or it is not uint8 [H, W, 3].
        """
        super().__init__()
        n_frames = None
        if isinstance(given, np.ndarray):
            given = given[None] if given.ndim == 3 else given
            n_frames = len(given) if given.ndim else None
        self._arrays = iter(given) if n_frames != 0 else iter(())
        first = next(self._arrays, None)
        if first is None:
            raise InputError("The clip has no frames; give at least one.")
        self._limits = limits
        self._first = first = _checked(first)
        check_pixels("The clip", first.shape[1], first.shape[0], limits)
        rate = fps or DEFAULT_FPS
        height, width = first.shape[:2]
        self.info = ClipInfo(
            width, height, rate, 1 / rate, colours.rgb_colour(height), n_frames=n_frames
        )

    def frames(self) -> Iterator[Frame]:
        """Convert one array after another.

        Raises:
            InputError: an array differs in size or type.
        """
        index = 0
        array: np.ndarray | None = self._first
        while array is not None:
            if _checked(array).shape != self._first.shape:
                raise InputError(
                    f"Frame {index} has shape {array.shape}, the first one {self._first.shape}; "
                    "give frames of one size."
                )
            yield Frame(colours.from_rgb(array, self.info.colour), index)
            array, index = next(self._arrays, None), index + 1


class PictureReader(SilentReader):
    """Reads a still picture, an animated WebP or an AVIF of several layers with Pillow."""

    def __init__(self, source: Source, limits: Limits, fps: Fraction | None) -> None:
        """Read the header.

        Raises:
            InputError: the picture is damaged or of a kind that cannot be read.
            LimitError: it is too large.
        """
        super().__init__()
        self._source = source
        durations = _durations(source)
        self._image = image = _opened(source)
        check_pixels(source.name, *image.size, limits)
        self._orientation = orientation.from_exif(image.getexif().get(0x112, 1))
        width, height = self._orientation.size(*image.size)
        rate = fps or DEFAULT_FPS
        self._times = list(range(max(1, len(durations)) + 1))
        if durations and not fps:
            rate = clean_rate(Fraction(1000 * len(durations), sum(durations)))
            self._times = [0, *np.cumsum(durations).tolist()]
        self.info = ClipInfo(
            width=width,
            height=height,
            fps=rate,
            time_base=_MILLISECOND if durations and not fps else 1 / rate,
            colour=colours.rgb_colour(height),
            n_frames=len(self._times) - 1,
            source_bytes=source.n_bytes,
            plays=int(image.info.get("loop") or 0) if len(durations) > 1 else 0,
        )

    def frames(self) -> Iterator[Frame]:
        """Decode one page after another.

        Raises:
            InputError: a page is damaged.
        """
        for index, (time, end) in enumerate(pairwise(self._times)):
            try:
                self._image.seek(index)
                rgb = self._rgb()
            except (OSError, SyntaxError, ValueError, EOFError) as err:
                if isinstance(err, InputError):
                    raise
                raise InputError(f"{self._source.name} is damaged: it cannot be decoded.") from err
            upright = np.ascontiguousarray(self._orientation.turn_array(rgb))
            yield Frame(colours.from_rgb(upright, self.info.colour), time, end - time)

    def close(self) -> None:
        """Release the picture."""
        self._image.close()

    def _rgb(self) -> np.ndarray:
        """The page as uint8 [H, W, 3]."""
        image = self._image
        if image.mode.startswith("I;16"):
            self._note("16-bit samples were rounded to 8 bits.")
            grey = samples.to_8_bits(np.asarray(image).astype(np.uint16), 16, full_range=True)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise InputError(
                f"{self._source.name} has samples of 32 bits; save it as an 8-bit picture."
            )
        if image.has_transparency_data:
            rgb, was_clear = samples.over_white(np.asarray(image.convert("RGBA")))
            if was_clear:
                self._note("Transparent parts were laid over white.")
            return rgb
        return np.asarray(image.convert("RGB"))

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


class FolderReader(SilentReader):
    """Reads the pictures of a folder in natural order, one open at a time."""

    def __init__(
        self,
        folder: Path,
        fps: Fraction | None,
        read_still: Callable[[Path], tuple[ClipInfo, Planes]],
    ) -> None:
        """Look at the first picture, with `read_still` as with all others.

        Raises:
            InputError: the folder has no pictures, or the first is damaged.
        """
        super().__init__()
        self._paths = sniff.pictures_in(folder)
        if not self._paths:
            raise InputError(f"The folder {folder.name} holds no pictures; give png or jpg files.")
        self._read_still = read_still
        rate = fps or DEFAULT_FPS
        first, _ = self._still(self._paths[0])
        self.info = ClipInfo(
            width=first.width,
            height=first.height,
            fps=rate,
            time_base=1 / rate,
            colour=first.colour,
            pixel_aspect=first.pixel_aspect,
            n_frames=len(self._paths),
            source_bytes=sum(path.stat().st_size for path in self._paths),
        )

    def frames(self) -> Iterator[Frame]:
        """Open one picture after another.

        Raises:
            InputError: a picture is damaged or differs in size.
        """
        size = self.info.width, self.info.height
        for index, path in enumerate(self._paths):
            still, planes = self._still(path)
            if (still.width, still.height) != size:
                raise InputError(
                    f"{path.name} is {still.width}x{still.height}, the first picture "
                    f"{size[0]}x{size[1]}; give pictures of one size."
                )
            if still.colour != self.info.colour:
                rgb = colours.to_rgb(planes, still.colour)
                planes = colours.from_rgb(rgb, self.info.colour)
            yield Frame(planes, index)

    def _still(self, path: Path) -> tuple[ClipInfo, Planes]:
        info, planes = self._read_still(path)
        self.notes.extend(note for note in info.notes if note not in self.notes)
        return info, planes


def _checked(array: Any) -> np.ndarray:
    """The array, if it is a picture."""
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"A frame is of type {type(array).__name__}; give uint8 arrays [height, width, 3], RGB."
        )
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"A frame is {array.dtype} of shape {array.shape}; give uint8 [height, width, 3], RGB."
        )
    return array


def _opened(source: Source) -> Image.Image:
    try:
        return Image.open(source.file)
    except Image.DecompressionBombError as err:
        raise InputError(f"{source.name} is larger than Pillow opens; make it smaller.") from err
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as err:
        raise InputError(
            f"{source.name} is not a clip or picture that can be read; give an intact {READABLE}."
        ) from err


def _durations(source: Source) -> list[int]:
    """Milliseconds of each frame of an animation; nothing is decoded."""
    if source.kind == "webp":
        return _webp_durations(source)
    if source.kind != "avif":
        return []
    with reopened(source, "mov") as container:
        tracks = [stream.index for stream in container.streams.video if stream.frames > 1]
    if not tracks:
        return []
    times, seconds = packet_times(source, "mov", tracks[0])
    ends = [time - times[0] for time in times[1:]] + [seconds]
    return np.diff([0, *(round(1000 * end) for end in ends)]).tolist()


def _webp_durations(source: Source) -> list[int]:
    """Milliseconds of each frame of an animated WebP, from its chunk heads."""
    durations = []
    with source.from_start() as file:
        for name, payload in sniff.webp_chunks(file):
            if name == b"ANMF":
                file.seek(payload + 12)
                durations.append(int.from_bytes(file.read(3), "little") or _DEFAULT_MS)
    return durations
