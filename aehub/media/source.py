"""Byte sources of clips: paths, file objects and pipes, spooled where they must be read again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.files import is_lfs_pointer, spool
from aehub.media import file_type
from aehub.media.file_type import HEAD_BYTES

READABLE = "mp4, mov, webm, mkv, avi, gif, webp, avif, heic, png, jpg, bmp, tiff or y4m"


class Source:
    """An open input.

    Attributes:
        file: the bytes, at their start; seekable unless it is y4m on a pipe.
        name: its name in messages.
        original: the bytes as given, where `file` was replaced by a copy without metadata.
        kind: the file format, see `file_type.kind_of`.
        n_bytes: its size, `None` for a pipe.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        """Open a path, or take a file object (which stays the caller's to close).

        Raises:
            InputError: it is missing, is not a file, may not be read, or is empty.
        """
        self._owned: list[BinaryIO] = []
        self.n_bytes: int | None = None
        if isinstance(source, Path):
            self.name = source.name
            self.file = _open_file(source)
            self._owned.append(self.file)
        else:
            self.name = _name_of(source)
            self.file = source
        if _is_seekable(self.file):
            self._measure()
        else:
            self._take_pipe()
        self.original = self.file
        if self.kind is None and not self._head:
            self.close()
            raise InputError(f"{self.name} is empty (0 bytes); give a clip or a picture.")
        if is_lfs_pointer(self._head):
            self.close()
            raise InputError(f"{self.name} is only a pointer of Git LFS; run git lfs pull to fetch "
                             "the file itself.")

    @property
    def is_seekable(self) -> bool:
        """True if the bytes can be read more than once."""
        return _is_seekable(self.file)

    @property
    def missing_bytes(self) -> int:
        """Bytes missing from the size that the file declares; 0 if it declares none."""
        if not self.is_seekable:
            return 0
        with self.rewound() as file:
            size = file.seek(0, 2)
            declared = file_type.declared_bytes(file, self.kind, size)
        return 0 if declared is None else max(0, declared - size)

    @contextmanager
    def rewound(self) -> Iterator[BinaryIO]:
        """Give the file rewound to its start, and restore its position afterwards."""
        position = self.file.tell()
        self.file.seek(0)
        try:
            yield self.file
        finally:
            self.file.seek(position)

    def close(self) -> None:
        """Close the files opened here."""
        for file in self._owned:
            file.close()

    def _measure(self) -> None:
        self.n_bytes = self.file.seek(0, 2)
        self.file.seek(0)
        self._head = self.file.read(HEAD_BYTES)
        self.file.seek(0)
        self.kind = file_type.kind_of(self._head)

    def _take_pipe(self) -> None:
        """Stream y4m; spool anything else to a temporary file, for other readers must seek."""
        self._head = _read_fully(self.file, HEAD_BYTES)
        self.kind = file_type.kind_of(self._head)
        if self.kind == "yuv4mpegpipe":
            self.file = cast(BinaryIO, _PrefixedPipe(self._head, self.file))
            return
        spooled = spool()
        self._owned.append(spooled)
        spooled.write(self._head)
        shutil.copyfileobj(self.file, spooled, 1 << 20)
        spooled.seek(0)
        self.file = spooled


def check_pixels(name: str, width: int, height: int, limits: Limits) -> None:
    """Refuse pictures of more than `limits.max_pixels`.

    Raises:
        LimitError: names size and limit.
    """
    if width * height > limits.max_pixels:
        raise LimitError(
            f"{name} is {width}x{height}, {width * height} pixels; at most {limits.max_pixels} are "
            "allowed. Make it smaller.", "AEHUB_MAX_PIXELS raises the limit."
        )


@contextmanager
def rewindable(source: Any) -> Iterator[Any]:
    """Give a source that can be read again, for each encode of a target-size search."""
    if hasattr(source, "read"):
        with seekable_file(source) as file:
            yield file
    elif isinstance(source, (str, os.PathLike, Sequence, np.ndarray)):
        yield source
    else:
        yield list(source)


@contextmanager
def seekable_file(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Give the stream if it can seek, or else a temporary file with its bytes."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file)
        file.seek(0)
        yield cast(BinaryIO, file)


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as err:
        raise InputError(f"{path.name} does not exist; check the path.") from err
    except OSError as err:
        reason = (err.strerror or "it cannot be opened").lower()
        raise InputError(f"{path.name} cannot be read: {reason}.") from err


def _name_of(file: Any) -> str:
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) and name else "the input"


def _is_seekable(file: Any) -> bool:
    return hasattr(file, "seekable") and bool(file.seekable())


def _read_fully(file: BinaryIO, n_bytes: int) -> bytes:
    """Read `n_bytes`, fewer only at the end; a single read of a pipe may give fewer."""
    head = b""
    while len(head) < n_bytes and (more := file.read(n_bytes - len(head))):
        head += more
    return head


class _PrefixedPipe:
    """A pipe with the bytes already read for its format put back in front."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, n_bytes: int) -> bytes:
        if self._head:
            data, self._head = self._head[:n_bytes], self._head[n_bytes:]
            return data
        return self._rest.read(n_bytes)
