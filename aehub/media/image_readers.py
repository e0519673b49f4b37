"""Reading what is no video: arrays, single pictures, folders of pictures, animated WebP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from aehub.config import Limits
from aehub.errors import InputError, LimitError, count_text
from aehub.media import colour as colours
from aehub.media import conversion, file_type, still_images
from aehub.media.file_type import names_text
from aehub.media.picture import ClipInfo, Frame, Planes
from aehub.media.source import Source, check_pixels
from aehub.media.still_images import StillImage
from aehub.media.streams import packet_times, reopened
from aehub.media.timestamps import DEFAULT_FPS, clean_rate

_MILLISECOND = Fraction(1, 1000)
# What browsers take for WebP frames that state no duration.
_DEFAULT_MS = 100


class ImageReader:
    """What all readers without sound share."""

    info: ClipInfo

    def __init__(self) -> None:
        self.notes: list[str] = []

    def skip_to(self, seconds: Fraction) -> None:
        """Nothing to be saved here."""

    def allow_downscale(self, width: int, height: int) -> None:
        """Pictures keep their size."""

    def audio(self, start: Fraction, stop: Fraction | None) -> None:
        """There is no sound."""

    def time_of_frame(self, index: int) -> Fraction | None:
        """Only asked where there is sound."""

    def close(self) -> None:
        """Nothing to release."""


class ArrayReader(ImageReader):
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
        try:
            self._arrays = iter(given) if n_frames != 0 else iter(())
        except TypeError as err:
            raise InputError(f"The clip is a {type(given).__name__}; give a path, a stream, or "
                             "frames as uint8 [T, H, W, 3].") from err
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


class PictureReader(ImageReader):
    """Reads a still picture, an animated WebP or an AVIF of several layers with Pillow."""

    def __init__(self, source: Source, limits: Limits, fps: Fraction | None) -> None:
        """Read the header.

        Raises:
            InputError: the picture is damaged or of a kind that cannot be read.
            LimitError: it is too large.
        """
        super().__init__()
        durations = _durations(source)
        self._still = StillImage(source.file, source.name, limits)
        self.notes = self._still.notes
        width, height = self._still.size
        with source.rewound() as file:
            plays = still_images.play_count(file, "webp") if len(durations) > 1 else 0
        rate = fps or DEFAULT_FPS
        self._times = list(range(max(self._still.n_pages, len(durations)) + 1))
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
            plays=plays,
        )

    def frames(self) -> Iterator[Frame]:
        """Decode one page after another.

        Raises:
            InputError: a page is damaged.
        """
        for index, (time, end) in enumerate(pairwise(self._times)):
            page = self._still.page(index)
            if page.shape[2] == 4:
                page, was_clear = conversion.over_white(page)
                if was_clear:
                    self._note("Transparent parts were laid over white.")
            yield Frame(colours.from_rgb(page, self.info.colour), time, end - time)

    def close(self) -> None:
        """Release the picture."""
        self._still.close()

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


class FolderReader(ImageReader):
    """Reads the pictures of a folder in natural order, one open at a time."""

    def __init__(
        self,
        folder: Path,
        fps: Fraction | None,
        read_still: Callable[[Path], tuple[ClipInfo, Planes]],
    ) -> None:
        """Look at the first picture, with `read_still` as with all others.

        Raises:
            InputError: the folder has no pictures, none can be read, or it holds clips.
        """
        super().__init__()
        self._read_still = read_still
        self._unread: list[str] = []
        self._paths = self._pictures_in(folder)
        self._stills = self._opened()
        self._first = next(self._stills, None)
        if self._first is None:
            raise InputError(f"No picture in the folder {folder.name} can be read: "
                             f"{self._unread[0]}")
        rate = fps or DEFAULT_FPS
        first = self._first[1]
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
        """Open one picture after another; what cannot be read is left out with a note.

        Raises:
            InputError: a picture differs in size.
        """
        size = self.info.width, self.info.height
        first = self._first
        assert first is not None
        for index, (path, read, planes) in enumerate(chain([first], self._stills)):
            if (read.width, read.height) != size:
                raise InputError(
                    f"{path.name} is {read.width}x{read.height}, the first picture "
                    f"{size[0]}x{size[1]}; give pictures of one size."
                )
            if read.colour != self.info.colour:
                rgb = colours.to_rgb(planes, read.colour)
                planes = colours.from_rgb(rgb, self.info.colour)
            yield Frame(planes, index)

    def _pictures_in(self, folder: Path) -> list[Path]:
        pictures, clips, others = file_type.list_folder(folder)
        if clips:
            also = f"{count_text(len(pictures), 'picture')} and " if pictures else ""
            raise InputError(
                f"The folder {folder.name} holds {also}{count_text(len(clips), 'clip')} "
                f"({names_text(clips)}); give one clip at a time, or a folder of pictures only."
            )
        if not pictures:
            raise InputError(f"The folder {folder.name} holds no pictures; give png or jpg files.")
        if others:
            self.notes.append(f"Left out, for they are no pictures: {names_text(others)}.")
        return pictures

    def _opened(self) -> Iterator[tuple[Path, ClipInfo, Planes]]:
        """The pictures that can be read."""
        for path in self._paths:
            try:
                info, planes = self._read_still(path)
            except LimitError:
                raise
            except InputError as error:
                self._unread.append(str(error))
                self.notes.append(f"{path.name} was left out: {error}")
                continue
            if info.n_frames and info.n_frames > 1:
                held = count_text(info.n_frames, "picture")
                self.notes.append(f"{path.name} holds {held}; the first was taken.")
            self.notes.extend(note for note in info.notes if note not in self.notes)
            yield path, info, planes


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
    with source.rewound() as file:
        for name, payload in file_type.webp_chunks(file):
            if name == b"ANMF":
                file.seek(payload + 12)
                durations.append(int.from_bytes(file.read(3), "little") or _DEFAULT_MS)
    return durations
