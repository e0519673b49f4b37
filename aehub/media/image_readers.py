"""Readers of arrays, single pictures, folders of pictures and animated WebP."""

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
from aehub.media.audio import AudioTrack
from aehub.media.file_type import names_text
from aehub.media.picture import YUV420, ClipInfo, Colour, Frame, Picture, add_note
from aehub.media.source import Source, check_pixels
from aehub.media.still_images import StillImage
from aehub.media.streams import packet_times, reopened
from aehub.media.timestamps import DEFAULT_FPS, clean_rate

_MILLISECOND = Fraction(1, 1000)
# Duration that browsers use for WebP frames that state none.
_DEFAULT_MS = 100


class ImageReader:
    """Base of the readers without sound and without seeking."""

    info: ClipInfo

    def __init__(self) -> None:
        self.notes: list[str] = []

    def skip_to(self, seconds: Fraction) -> None:
        """Do nothing: pictures are decoded one by one anyway."""

    def allow_downscale(self, width: int, height: int) -> None:
        """Do nothing: pictures keep their size."""

    def audio(self, start: Fraction, stop: Fraction | None) -> AudioTrack | None:
        """Return None: there is no sound."""
        return None

    def time_of_frame(self, index: int) -> Fraction | None:
        """Return None: only needed for sound."""
        return None

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class ArrayReader(ImageReader):
    """Reader of RGB arrays: one picture, a stack, or any iterable of pictures; or of `Picture`s."""

    def __init__(self, pictures: Any, limits: Limits, fps: Fraction | None) -> None:
        """Read the first picture.

        Raises:
            InputError: there is none, or it is neither uint8 [H, W, 3] nor a `Picture`.
        """
        super().__init__()
        n_dimensions = pictures.ndim if isinstance(pictures, np.ndarray) else None
        if isinstance(pictures, Picture) or n_dimensions == 3:
            pictures = [pictures]
        n_frames = len(pictures) if hasattr(pictures, "__len__") and n_dimensions != 0 else None
        try:
            self._arrays = iter(pictures) if n_frames != 0 else iter(())
        except TypeError as err:
            raise InputError(f"The clip is a {type(pictures).__name__}; give a path, a stream, or "
                             "frames as uint8 [T, H, W, 3].") from err
        first = next(self._arrays, None)
        if first is None:
            raise InputError("The clip has no frames; give at least one.")
        self._first = first = _check_frame(first)
        rate, form = fps or DEFAULT_FPS, YUV420
        if isinstance(first, Picture):
            (width, height), form = first.size, first.format
        else:
            height, width = first.shape[:2]
        colour = colours.rgb_colour(height)
        if form.is_yuv and isinstance(first, Picture):
            colour = colours.resolve_unspecified(Colour(), width, height)
        check_pixels("The clip", width, height, limits)
        self.info = ClipInfo(width, height, rate, 1 / rate, colour, form, n_frames=n_frames)

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures, converted where they are arrays.

        Raises:
            InputError: one differs in size or type.
        """
        first = _kind_text(self._first)
        for index, item in enumerate(chain([self._first], self._arrays)):
            if (kind := _kind_text(_check_frame(item))) != first:
                raise InputError(f"Frame {index} is {kind}, the first one {first}; give frames of "
                                 "one size and one format.")
            is_picture = isinstance(item, Picture)
            yield Frame(item if is_picture else colours.from_rgb(item, self.info.colour), index)


class PictureReader(ImageReader):
    """Reader of a still picture, an animated WebP or an AVIF of several layers with Pillow."""

    def __init__(self, source: Source, limits: Limits, fps: Fraction | None) -> None:
        """Read the header.

        Raises:
            InputError: the picture is damaged or of a format that cannot be read.
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
        """Yield the decoded pages.

        Raises:
            InputError: a page is damaged.
        """
        for index, (time, end) in enumerate(pairwise(self._times)):
            page = self._still.page(index)
            if page.shape[2] == 4:
                page, was_transparent = conversion.over_white(page)
                if was_transparent:
                    add_note(self.notes, conversion.ALPHA_NOTE)
            yield Frame(colours.from_rgb(page, self.info.colour), time, end - time)

    def close(self) -> None:
        """Release the picture."""
        self._still.close()


class FolderReader(ImageReader):
    """Reader of the pictures of a folder in natural order, one open at a time."""

    def __init__(
        self,
        folder: Path,
        fps: Fraction | None,
        read_still: Callable[[Path], tuple[ClipInfo, Picture]],
    ) -> None:
        """Read the first picture with `read_still`, as all others.

        Raises:
            InputError: the folder has no pictures, none can be read, or it holds clips.
        """
        super().__init__()
        self._read_still = read_still
        self._errors: list[str] = []
        self._paths = self._pictures_in(folder)
        self._readable = self._readable_pictures()
        self._first = next(self._readable, None)
        if self._first is None:
            raise InputError(f"No picture in the folder {folder.name} can be read: "
                             f"{self._errors[0]}")
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
        """Yield one picture after another; unreadable ones are left out with a note.

        Raises:
            InputError: a picture differs in size.
        """
        size = self.info.width, self.info.height
        first = self._first
        assert first is not None
        for index, (path, read, planes) in enumerate(chain([first], self._readable)):
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
                f"({names_text(clips)}); give one clip at a time, or a folder of pictures only.",
                "Or make a file of each with -o DIR."
            )
        if not pictures:
            raise InputError(f"The folder {folder.name} holds no pictures; give png or jpg files.")
        if others:
            self.notes.append(f"Left out, for they are no pictures: {names_text(others)}.")
        return pictures

    def _readable_pictures(self) -> Iterator[tuple[Path, ClipInfo, Picture]]:
        """Yield (path, properties, planes) of the pictures that can be read."""
        for path in self._paths:
            try:
                info, planes = self._read_still(path)
            except LimitError:
                raise
            except InputError as error:
                self._errors.append(str(error))
                self.notes.append(f"{path.name} was left out: {error}")
                continue
            if info.n_frames and info.n_frames > 1:
                count = count_text(info.n_frames, "picture")
                self.notes.append(f"{path.name} holds {count}; the first was taken.")
            for sentence in info.notes:
                add_note(self.notes, sentence)
            yield path, info, planes


def _check_frame(frame: Any) -> Any:
    """Return the frame if it is a picture or an RGB array."""
    if isinstance(frame, Picture):
        frame.check()
    elif isinstance(frame, np.ndarray):
        colours.check_rgb(frame)
    else:
        raise InputError(f"A frame is of type {type(frame).__name__}; give uint8 arrays [height, "
                         "width, 3], RGB, or aehub.Picture.")
    return frame


def _kind_text(frame: np.ndarray | Picture) -> str:
    """Size and format in words."""
    if isinstance(frame, Picture):
        return f"{frame.format} of {frame.size[0]}x{frame.size[1]}"
    return f"RGB of {frame.shape[1]}x{frame.shape[0]}"


def _durations(source: Source) -> list[int]:
    """Durations in milliseconds of the frames of an animation, without decoding."""
    if source.kind == "webp":
        with source.rewound() as file:
            return [length or _DEFAULT_MS for _, length in file_type.webp_durations(file)]
    if source.kind != "avif":
        return []
    with reopened(source, "mov") as container:
        tracks = [stream.index for stream in container.streams.video if stream.frames > 1]
    if not tracks:
        return []
    times, seconds = packet_times(source, "mov", tracks[0])
    ends = [time - times[0] for time in times[1:]] + [seconds]
    return np.diff([0, *(round(1000 * end) for end in ends)]).tolist()
