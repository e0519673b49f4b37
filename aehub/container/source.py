"""Where the bytes of a file come from: a path, a seekable stream or a pipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from aehub.container.audio import unpack_piece
from aehub.container.chunk import AUDIO, BLOCK, METADATA, Chunk, Window
from aehub.container.filehead import PREFIX, FileHead, unpack_file_head
from aehub.container.notes import unpack_notes
from aehub.errors import DamagedError, InputError
from aehub.files import source_of, spool


def open_source(source: str | os.PathLike[str] | BinaryIO) -> tuple[BinaryIO, str, bool]:
    """Return the stream, what messages call it, and whether it was opened here.

    Raises:
        InputError: there is no such file.
    """
    source = source_of(source)
    if isinstance(source, Path):
        try:
            return open(source, "rb"), source.name, True
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}.") from error
    name = getattr(source, "name", None)
    return source, Path(name).name if isinstance(name, str) else "the stream", False


def read_some(stream: BinaryIO) -> Callable[[int], bytes]:
    """Return a function that reads what is there, up to a size, without waiting for more."""
    # `read` of a buffered pipe waits for all it was asked for; `read1` gives groups as they come.
    return cast(Callable[[int], bytes], getattr(stream, "read1", stream.read))


def read_head(window: Window, name: str) -> FileHead:
    """Read the file head and move the window on to the first chunk.

    Raises:
        FormatError: it is not an `.aev` file, or a newer or damaged one.
    """
    prefix = window.peek(PREFIX)
    size = PREFIX + prefix[-1] + 4 if len(prefix) == PREFIX else PREFIX
    head, size = unpack_file_head(window.peek(size), name)
    window.skip(size)
    return head


class Aside:
    """What passes by on a pipe and may be wanted later: audio and metadata."""

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self._audio: BinaryIO | None = None
        self._n_pieces = 0
        self._loss: DamagedError | None = None

    def keep(self, chunk: Chunk) -> None:
        """Keep an audio or metadata chunk; others are of no use later."""
        if chunk.place.kind == METADATA:
            self.notes.update(unpack_notes(chunk.body))
        if chunk.place.kind != AUDIO or self._loss:
            return
        if self._audio is None:
            self._audio = spool()
        try:
            self._audio.write(unpack_piece(chunk.body, self._n_pieces))
            self._n_pieces += 1
        except DamagedError as loss:
            self._loss = loss

    def audio_pieces(self) -> Iterator[bytes]:
        """Yield the audio kept; raise `DamagedError` where a piece was lost."""
        if self._audio is not None:
            self._audio.seek(0)
            while piece := self._audio.read(BLOCK):
                yield piece
        if self._loss:
            raise self._loss

    def close(self) -> None:
        """Forget the audio."""
        if self._audio is not None:
            self._audio.close()
