"""Clip writer for all output formats; an output appears complete or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
import numpy as np

from aehub.errors import InputError
from aehub.files import FileLike, PendingOutput, check_folder, check_output, is_special
from aehub.media.animated_images import ApngSink, GifSink, WebpSink
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.media.sinks import (
    ENCODERS,
    CodedPicture,
    FolderSink,
    RemuxSink,
    Sink,
    VideoSink,
    Y4mSink,
)

# Suffix -> name of the format.
SUFFIXES = {
    ".mp4": "mp4",
    ".mkv": "matroska",
    ".webm": "webm",
    ".gif": "gif",
    ".webp": "webp",
    ".png": "apng",
    ".y4m": "y4m",
    "": "folder",
}
_ANIMATIONS = {"gif": GifSink, "webp": WebpSink, "apng": ApngSink}


class ClipWriter:
    """Writer of frames one by one; a context manager that leaves nothing behind after an error.

    Attributes:
        notes: what the format cannot hold, e.g. sound in a GIF; may grow until closed.
    """

    def __init__(self, sink: Sink, info: ClipInfo, name: str, output: PendingOutput | None) -> None:
        """Take an open sink; `open_writer` does this."""
        self.notes = sink.notes
        self._sink, self._info, self._name, self._output = sink, info, name, output
        self._pending_frame: tuple[Picture | np.ndarray | CodedPicture, int, int | None] | None
        self._pending_frame = None
        self._is_open = True

    def write(self, frame: Frame) -> None:
        """Write one frame; times must increase.

        Raises:
            InputError: its size is not that of the clip, its time is not after the last one's, or
                the output cannot be written.
        """
        self.put(*frame)

    def put(self, picture: Picture | np.ndarray | CodedPicture, time: int,
            duration: int | None = None) -> None:
        """Write one picture: planes, uint8 [H, W, channels], or a packet, as announced to
        `open_writer`.

        Raises:
            InputError: as `write`.
        """
        expected = width, height = self._info.width, self._info.height
        if not isinstance(picture, CodedPicture):
            width, height = picture.size if isinstance(picture, Picture) else picture.shape[1::-1]
        if (width, height) != expected:
            raise InputError(
                f"A frame is {width}x{height}, the clip {self._info.width}x{self._info.height}; "
                "frames must have one size."
            )
        previous, self._pending_frame = self._pending_frame, (picture, time, duration)
        if previous is None:
            return
        if time <= previous[1]:
            raise InputError(f"A frame at time {time} follows one at {previous[1]}; sort them.")
        self._attempt(lambda: self._sink.put(previous[0], previous[1], time - previous[1]))

    def close(self) -> None:
        """Write the last frame and move the output to its final place.

        Raises:
            InputError: no frame was written, or the output cannot be written.
        """
        if not self._is_open:
            return
        try:
            if self._pending_frame is None:
                raise InputError(f"No frame was written to {self._name}; give at least one.")
            picture, time, duration = self._pending_frame
            self._attempt(lambda: self._sink.put(picture, time, duration or self._info.frame_ticks))
            self._attempt(self._sink.finish)
            self._attempt(self._sink.close)
            if self._output is not None:
                self._attempt(self._output.commit)
            self._is_open = False
        finally:
            self.abort()

    def abort(self) -> None:
        """Discard the output; do nothing after `close`."""
        if not self._is_open:
            return
        self._is_open = False
        with ExitStack() as stack:
            if self._output is not None:
                stack.callback(self._output.discard)
            try:
                self._sink.close()
            except (av.FFmpegError, OSError, ValueError):
                # The encoder never opened, or the disk is full: the output is discarded anyway.
                return

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _attempt(self, action: Callable[[], None]) -> None:
        """Call `action`; its failures become one sentence."""
        try:
            action()
        except BrokenPipeError:
            raise
        except (av.FFmpegError, OSError) as err:
            reason = getattr(err, "strerror", None) or str(err)
            raise InputError(f"{self._name} cannot be written: {reason}.") from err


def open_writer(
    target: FileLike,
    *,
    info: ClipInfo,
    format: str | None = None,
    audio: BinaryIO | None = None,
    lossless: bool = False,
    channels: int = 0,
    demuxer: str = "",
) -> ClipWriter:
    """Open an output; its suffix chooses the format.

    `.mp4` (H.264) and `.webm` (VP9) are near-lossless for display; `.mkv` (FFV1) keeps every
    sample; `.gif`, `.webp` and `.png` (APNG) are animations in RGB; no suffix is a folder of PNGs;
    a file object gets y4m. Matrix, range, pixel aspect and the times of frames are kept where the
    format has fields for them; losses are listed in the writer's `notes`.

    Args:
        target: a path, or a file object open for writing (it is not closed).
        info: size, rate, time base and colour of the frames to come.
        format: a name from `SUFFIXES.values()`, instead of the suffix.
        audio: a Matroska file with one sound track, as `AudioTrack.open` gives; its packets are
            copied where the container can hold them.
        lossless: keep every sample also in mp4 (which few players can then decode), webm and webp.
        channels: 3 or 4 for drawings in animations and folders, uint8 [H, W, channels], kept
            exactly where the format can; 0 for planes.
        demuxer: FFmpeg's format of a bare video stream, whose packets are put instead of pictures
            and pass untouched into .mp4, .mkv or .webm.

    Returns:
        The writer; use it as a context manager.

    Raises:
        InputError: the suffix or format is unknown, holds no video stream, or the folder to write
            into does not exist.
        ExistsError: a folder of that name holds something else than frames.
    """
    output = check_output(target, may_be_folder=True)
    path = output if isinstance(output, Path) else None
    chosen = _format(path, format)
    if demuxer and chosen not in ENCODERS:
        raise InputError(f"{chosen} holds no video stream as it is; name an output that ends in "
                         ".mp4, .mkv or .webm.")
    if path is not None and chosen == "folder":
        check_folder(path)
    is_stream = path is None or is_special(path)
    pending = None if is_stream and chosen == "y4m" else PendingOutput(output)
    name = "the output" if pending is None else pending.name
    try:
        sink = _sink(chosen, output, pending, info, audio, lossless, channels, demuxer)
    except BaseException as err:
        if pending is not None:
            pending.discard()
        if isinstance(err, (av.FFmpegError, OSError, ValueError)):
            raise InputError(f"{name} cannot be written: {err}.") from err
        raise
    if audio is not None and chosen not in ENCODERS:
        sink.notes.append(f"Sound was left out, for {chosen} holds none.")
    return ClipWriter(sink, info, name, pending)


def _format(path: Path | None, requested: str | None) -> str:
    """Name of the output format."""
    known = sorted(set(SUFFIXES.values()))
    if requested is not None:
        if requested not in known or (path is None and requested == "folder"):
            names = ", ".join(known)
            raise InputError(f"The format {requested!r} is not known; give one of {names}.")
        return requested
    if path is None:
        return "y4m"
    suffix = path.suffix.lower()
    if not suffix and is_special(path):
        return "y4m"
    if suffix not in SUFFIXES:
        names = ", ".join(s for s in SUFFIXES if s)
        raise InputError(
            f"The suffix {suffix} of {path.name} cannot be written; use {names}, or no suffix for "
            "a folder of PNGs."
        )
    return SUFFIXES[suffix]


def _sink(
    chosen: str,
    target: Path | BinaryIO,
    pending: PendingOutput | None,
    info: ClipInfo,
    audio: BinaryIO | None,
    lossless: bool,
    channels: int,
    demuxer: str,
) -> Sink:
    """Open the sink of one format."""
    if pending is None:
        if isinstance(target, Path):
            return Y4mSink(target.open("wb"), info, owns_file=True)
        return Y4mSink(target, info)
    if chosen == "y4m":
        return Y4mSink(pending.open(), info, owns_file=True)
    if chosen == "folder":
        return FolderSink(pending.path, info)
    if chosen in _ANIMATIONS:
        return _ANIMATIONS[chosen](pending.path, info, lossless, channels)
    if demuxer:
        return RemuxSink(pending.path, chosen, info, audio, demuxer)
    return VideoSink(pending.path, chosen, info, audio, lossless)
