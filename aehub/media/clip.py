"""Open clips of any format as 4:2:0 frames, and single pictures in full RGB."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from aehub.config import Limits, exceeds_duration
from aehub.errors import InputError, LimitError
from aehub.files import FileLike, check_source
from aehub.media import file_type, still_images, timestamps
from aehub.media.audio import AudioTrack
from aehub.media.conversion import to_rgb
from aehub.media.decoded_clip import DecodedClip, DecodedReader
from aehub.media.heif import PhotographReader, composite_photograph
from aehub.media.image_readers import ArrayReader, FolderReader, PictureReader
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.media.source import Source
from aehub.media.still_images import READABLE_KINDS, StillImage
from aehub.media.timestamps import TimeSpan
from aehub.media.video_reader import VideoReader

ClipLike = FileLike | np.ndarray | Iterable[np.ndarray] | Iterable[Picture] | DecodedClip
"""A clip, picture or folder of pictures as a path; a stream of bytes; pictures in RGB: uint8
[T, H, W, 3], [H, W, 3], or an iterable of [H, W, 3]; an iterable of `Picture`, all of one format;
or a clip decoded before."""

class FrameReader(Protocol):
    """Interface of the readers of all formats."""

    info: ClipInfo
    notes: list[str]

    def skip_to(self, seconds: Fraction) -> None: ...
    def allow_downscale(self, width: int, height: int) -> None: ...
    def frames(self) -> Iterator[Frame]: ...
    def audio(self, start: Fraction, stop: Fraction | None) -> AudioTrack | None: ...
    def time_of_frame(self, index: int) -> Fraction | None: ...
    def close(self) -> None: ...


class Clip:
    """An open clip: iterate over it once, frame by frame, in constant memory.

    Attributes:
        name: for messages.

    Example:
        >>> with open_clip("clip.mp4") as clip:
        ...     for frame in clip:
        ...         print(frame.time * clip.info.time_base, frame.picture.size)
    """

    def __init__(
        self, reader: FrameReader, trim: TimeSpan, limits: Limits, name: str,
        source: Source | None = None,
    ) -> None:
        """Read up to the first frame of the trim; `open_clip` does this."""
        self.name = name
        self._reader, self._trim, self._limits = reader, trim, limits
        self._source = source
        check_expected_length(name, reader.info, trim, limits)
        if not trim.start_in_frames and not trim.stop_in_frames:
            reader.skip_to(trim.start)
        self._time_base = reader.info.time_base / trim.tick_division(reader.info.time_base)
        self._start: Fraction | None = None
        self._trimmed_frames = self._trimmed()
        self._frames: Iterator[Frame] = self._trimmed_frames
        if trim.start:
            first = next(self._trimmed_frames, None)
            if first is None:
                raise InputError(f"The trim {trim} keeps no frame of {name}; the clip is shorter.")
            self._frames = chain([first], self._trimmed_frames)

    @property
    def info(self) -> ClipInfo:
        """Properties of the trimmed clip; the notes grow while frames are read."""
        notes = tuple(self._reader.notes)
        return replace(
            self._reader.info, time_base=self._time_base, n_frames=self._expected(), notes=notes
        )

    @cached_property
    def audio(self) -> AudioTrack | None:
        """The sound of the trimmed part, None for a silent clip; closed with the clip."""
        return self._reader.audio(self._start or Fraction(0), self._stop_seconds())

    @property
    def is_file(self) -> bool:
        """True if another thread may read frames early: of files, which let nobody wait, not of
        pipes, nor of what the caller makes frame by frame."""
        return isinstance(self._reader, DecodedReader) or (
            self._source is not None and self._source.is_seekable)

    def last_frame_time(self) -> Fraction | None:
        """Presentation time of the last frame of the whole source in seconds, from its packets;
        None if unknown."""
        is_seekable = self._source is not None and self._source.is_seekable
        return self._reader.time_of_frame(-1) if is_seekable else None

    def allow_downscale(self, width: int, height: int) -> None:
        """Allow later frames at this size, to which the caller will resize them anyway.

        High dynamic range is then mapped on small pictures; all other frames keep their size.
        """
        self._reader.allow_downscale(width, height)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release decoder and file; a file object given by the caller stays open."""
        self._trimmed_frames.close()
        self._reader.close()
        track = self.__dict__.get("audio")
        if track is not None:
            track.close()
        if self._source is not None:
            self._source.close()

    def _trimmed(self) -> Generator[Frame, None, None]:
        """Frames inside the trim, with times from its start and with durations clipped to it."""
        info, base = self._reader.info, self._reader.info.time_base
        n_kept = 0
        for index, (frame, following) in enumerate(timestamps.lookahead(self._reader.frames())):
            after = frame.time + (frame.duration or info.frame_ticks)
            end = (after if following is None else following.time) * base
            part = self._trim.frame_interval(
                index, frame.time * base, end, is_last=following is None
            )
            if part is not None:
                if self._start is None:
                    self._start = part[0]
                begin, stop = (moment - self._start for moment in part)
                n_kept += 1
                _check_length(self.name, n_kept, stop, self._limits)
                time = round(begin / self._time_base)
                yield Frame(frame.picture, time, max(1, round(stop / self._time_base) - time))
            if following is None:
                continue
            if self._trim.has_ended(index + 1, end):
                return
            if part is not None and self._start is not None:
                # Checked before another frame is read, which may never arrive.
                end += (following.duration or info.frame_ticks) * base
                shown = end - self._start
                _check_length(self.name, n_kept + 1, min(shown, self._trim.seconds or shown),
                              self._limits)

    def _expected(self) -> int | None:
        """Expected frames by the header and the trim; a hint."""
        return _expected_frames(self._reader.info, self._trim)

    def _stop_seconds(self) -> Fraction | None:
        trim = self._trim
        if trim.stop is None or not trim.stop_in_frames:
            return trim.stop
        return self._reader.time_of_frame(int(trim.stop))


def _expected_frames(info: ClipInfo, trim: TimeSpan) -> int | None:
    return None if info.n_frames is None else trim.expected_frames(info.n_frames, info.fps)


def check_expected_length(name: str, info: ClipInfo, trim: TimeSpan, limits: Limits) -> None:
    """Refuse a clip of which the header states that the trimmed part is too long.

    Raises:
        LimitError: names clip and limit.
    """
    expected = _expected_frames(info, trim)
    if expected:
        seconds = expected / info.fps
        _check_length(name, expected, min(seconds, trim.seconds or seconds), limits)


def _check_length(name: str, n_frames: int, seconds: Fraction, limits: Limits) -> None:
    if limits.max_frames is not None and n_frames > limits.max_frames:
        raise LimitError(f"{name} has more than {limits.max_frames} frames. Trim it.",
                         "AEHUB_MAX_FRAMES raises the limit.")
    if limits.max_seconds is not None and exceeds_duration(seconds, limits.max_seconds):
        raise LimitError(f"{name} is longer than {limits.max_seconds:g} s. Trim it.",
                         "AEHUB_MAX_SECONDS raises the limit.")


def open_clip(
    source: ClipLike,
    *,
    trim: TimeSpan | None = None,
    fps: Fraction | float | str | None = None,
    limits: Limits | None = None,
    salvage: bool = False,
) -> Clip:
    """Open a clip and decode its first frame.

    Frames come as 8-bit 4:2:0 planes, upright, in the source's own matrix and range, with their
    true times counted from the first. 8-bit 4:2:0 sources come through bit for bit, and so does
    every `Picture`, in its own format.

    Args:
        source: a path, a folder of pictures, a file object open for reading (pipes too), an array
            uint8 [T, H, W, 3] or [H, W, 3] in RGB, an iterable of such pictures or of `Picture`s,
            or a clip decoded before.
        trim: the part to read; times start at its first frame.
        fps: frames per second of arrays and folders (default 25); a clip with times of its own is
            shown at this rate instead, without its sound.
        limits: the largest clip to accept; default: from the environment.
        salvage: if decoding breaks off, stop with a note instead of an error.

    Returns:
        The clip; use it as a context manager.

    Raises:
        InputError: the input is missing, damaged, or of a kind that cannot be read.
        LimitError: it is larger than `limits`.
    """
    limits = Limits.from_env() if limits is None else limits
    rate = None if fps is None else timestamps.parse_rate(fps)
    trim = trim or TimeSpan()
    if isinstance(source, DecodedClip):
        return Clip(DecodedReader(source, rate), trim, limits, source.name)
    if isinstance(source, (str, os.PathLike)) or hasattr(source, "read"):
        source = check_source(source)
    else:
        return Clip(ArrayReader(source, limits, rate), trim, limits, "The clip")
    if isinstance(source, Path) and source.is_dir():
        folder = FolderReader(source, rate, partial(_read_still, limits=limits))
        return Clip(folder, trim, limits, source.name)
    with ExitStack() as undo:
        opened = Source(source)
        undo.callback(opened.close)
        if opened.missing_bytes and not salvage:
            raise InputError(
                f"{opened.name} is cut off: at least {opened.missing_bytes} bytes are missing. "
                "Fetch it again.", "Keep what is there with --salvage (salvage=True)."
            )
        reader = _reader(opened, limits, rate, salvage)
        undo.callback(reader.close)
        clip = Clip(reader, trim, limits, opened.name, opened)
        undo.pop_all()
    return clip


def read_picture(path: Path, limits: Limits | None = None) -> np.ndarray:
    """Read the picture of a file with all its detail and transparency.

    Args:
        path: a picture; of an animation, its first frame is taken.
        limits: the largest picture to accept; default: from the environment.

    Returns:
        uint8 [H, W, 3] in RGB, or [H, W, 4] with its opacity.

    Raises:
        InputError: it is missing, damaged, or no picture.
        LimitError: it is larger than `limits`.
    """
    limits = Limits.from_env() if limits is None else limits
    with closing(Source(path)) as source:
        if source.kind in READABLE_KINDS and not source.missing_bytes:
            try:
                with StillImage(source.file, source.name, limits) as picture:
                    return picture.page(0)
            except LimitError:
                raise
            except InputError:
                # libavcodec reads some photographs that Pillow does not.
                if source.kind not in ("jpeg_pipe", "avif"):
                    raise
    with open_clip(path, limits=limits) as clip:
        return to_rgb(next(iter(clip)).picture, clip.info.colour)


def _reader(source: Source, limits: Limits, fps: Fraction | None, salvage: bool) -> FrameReader:
    """The reader for one file."""
    kind = source.kind
    if kind == "sound":
        raise InputError(f"{source.name} is sound and holds no video; give a clip with a video.")
    if kind in ("png", "webp", "jpeg_pipe", "avif"):
        kind = _picture_kind(source, kind)
    if kind in still_images.CLIP_KINDS:
        return PictureReader(source, limits, fps)
    if kind == "heif":
        photograph = composite_photograph(source)
        if photograph is not None:
            return PhotographReader(source, photograph, limits, fps)
        kind = "mov"
    return VideoReader(source, kind, limits, fps, salvage)


def _picture_kind(source: Source, kind: str) -> str:
    """Separate pictures that Pillow must read from those whose planes PyAV reads unchanged."""
    if kind == "avif":
        return kind if composite_photograph(source) is not None else "mov"
    with source.rewound() as file:
        if kind == "png":
            if not file_type.is_animated(file, kind):
                return kind
            # libavcodec fails on broken metadata.
            source.file = still_images.without_metadata(file, keep_exif=False) or file
            return "apng"
        if kind == "webp":
            # PyAV takes data appended to a picture for a part of it.
            ends_early = (file_type.declared_bytes(file, kind, 0) or 0) < (source.n_bytes or 0)
            return kind if file_type.is_animated(file, kind) or ends_early else "webp_pipe"
        # PyAV takes the black of CMYK for transparency.
        return "tiff" if still_images.metadata(file).get("mode") == "CMYK" else kind


def _read_still(path: Path, limits: Limits) -> tuple[ClipInfo, Picture]:
    """The first picture of a file, with its properties."""
    with open_clip(path, limits=limits) as clip:
        planes = next(iter(clip)).picture
        return clip.info, planes
