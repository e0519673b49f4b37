"""Inputs and outputs: checks of paths and streams, atomic writes, spools.

An output is written under a short hidden name in its folder and renamed when it is complete.
Symbolic links are followed. Pipes and devices are written directly.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, cast

from aehub.errors import ExistsError, InputError

FilePath = str | os.PathLike[str]
"""Path of a local file or folder."""
FileLike = FilePath | IO[bytes]
"""Path, or open stream of bytes; a pipe too."""
_SPOOL_MEMORY = 32 << 20
"""Bytes of a spool that are held in memory; more go to disk."""
_FRAME_NAME = re.compile(r"\d{6,}\.png")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_SLASHES = tuple(filter(None, (os.sep, os.altsep)))


def check_path(given: Any, what: str = "input") -> Path:
    """Return an argument as a path if it can be one of a local file.

    Args:
        given: the argument.
        what: its role, for messages.

    Raises:
        InputError: it is not a path, is empty, contains a zero byte, or is an address.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(f"the {what} is a {type(given).__name__}; give a path.")
    name = os.fspath(given)
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"the {what} {name!r} is not a valid file name; give one.")
    refuse_address(name)
    return Path(name)


def check_output(output: Any, *, may_be_folder: bool = False) -> Path | BinaryIO:
    """Return an output argument as a path or stream.

    Args:
        output: the argument.
        may_be_folder: a name without a suffix means a folder of pictures.

    Raises:
        InputError: it is neither, or not a valid file name.
    """
    if isinstance(output, (str, os.PathLike)):
        path = check_path(output, "output")
        if os.fspath(output).endswith(_SLASHES) and (path.suffix or not may_be_folder):
            raise InputError(f"{output} ends in a slash as a folder does; give the name of a file.")
        return path
    return _check_stream(output, "output", "write")


def check_source(source: Any) -> Path | BinaryIO:
    """Return an input argument as a path or stream.

    Raises:
        InputError: it is neither, or not a valid file name.
    """
    if isinstance(source, (str, os.PathLike)):
        return check_path(source)
    return _check_stream(source, "input", "read")


def _check_stream(given: Any, what: str, method: str) -> BinaryIO:
    """Return the argument if it is an open binary stream with this method."""
    if not callable(getattr(given, method, None)) or isinstance(given, io.TextIOBase):
        raise InputError(f"the {what} is a {type(given).__name__}; give a path, or a stream of "
                         "bytes.")
    if getattr(given, "closed", False):
        raise InputError(f"the {what} is a closed stream; open it again.")
    return cast(BinaryIO, given)


def refuse_address(name: FilePath) -> None:
    """Refuse an address: only local files are read and written.

    Raises:
        InputError: `name` is an address such as https://host/clip.mp4.
    """
    match = _ADDRESS.fullmatch(os.fspath(name))
    if match is None or os.path.lexists(name):
        return
    if match[1].lower() == "file":
        raise InputError(f"{name} is an address; give the path alone: {match[2]}")
    raise InputError(f"{name} is an address, and AEHub reads and writes only files; download it "
                     "first, or use a pipe: curl -L ADDRESS | aehub compress - OUT.aev")


def output_beside(source: FilePath, suffix: str) -> Path:
    """Return the default output path of a source: clip.aev for clip.mp4 and .aev.

    Raises:
        InputError: the source has no file name.
    """
    refuse_address(source)
    path = Path(source)
    if path.name in ("", ".."):
        raise InputError(f"an input of {str(source)!r} has no name to build on; give an output as "
                         "well.")
    return path.with_suffix(suffix)


def is_lfs_pointer(data: bytes) -> bool:
    """Return whether a file begins like a Git LFS pointer."""
    return data.startswith(b"version https://git-lfs.github.com/spec/")


def is_special(path: Path) -> bool:
    """Return whether `path` is a pipe or a device, which writing does not overwrite."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_overwriting(path: Path, force: bool = False, *, is_folder: bool = False) -> None:
    """Check before the work that the output may be written, and that it can be.

    Args:
        path: of the output.
        force: overwrite an existing file.
        is_folder: the output is a folder of pictures.

    Raises:
        ExistsError: `path` exists and `force` is not set, or contains other files than frames.
        InputError: `path` is a folder or not a valid name, or its folder is not writable.
    """
    if is_special(path):
        return
    with _naming_errors(path):
        # `exists` raises OSError if the name is too long.
        exists = path.exists()
    if exists and path.is_dir() and not is_folder:
        raise InputError(f"{path} is a folder; give the name of a file.")
    if exists and not force:
        raise ExistsError(f"{path.name} already exists; choose another name.",
                          "Or add --force.")
    if is_folder:
        check_folder(path)
    pending = PendingOutput(path)
    try:
        pending.open().close()
    finally:
        pending.discard()


def check_folder(folder: Path) -> None:
    """Check that a folder is new or contains only frames written earlier.

    Raises:
        ExistsError: it contains other files, which would be lost.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _FRAME_NAME.fullmatch(p.name) for p in folder.iterdir()):
        raise ExistsError(
            f"{folder.name} exists and contains other files than frames; choose another name.")


def hold_lock(path: Path) -> sqlite3.Connection:
    """Hold the lock of a file that is nothing but a lock, until it is closed or the process ends.

    Raises:
        sqlite3.OperationalError: another process holds it, or the file cannot be made.
        sqlite3.DatabaseError: the file is something else.
    """
    lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("begin exclusive")
    except BaseException:
        lock.close()
        raise
    return lock


def spool() -> BinaryIO:
    """Return a temporary file of any size, in memory up to `_SPOOL_MEMORY` bytes."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(_SPOOL_MEMORY))


@contextmanager
def open_output(target: Path | BinaryIO, *, force: bool) -> Iterator[BinaryIO]:
    """Open a stream that becomes `target` if the block succeeds, and is deleted otherwise."""
    if not isinstance(target, Path):
        yield target
        if hasattr(target, "flush"):
            target.flush()
    elif is_special(target):
        with target.open("wb") as stream:
            yield stream
    else:
        refuse_overwriting(target, force)
        with PendingOutput(target) as stage, stage.open() as stream:
            yield stream


class PendingOutput:
    """A temporary file or folder that replaces the target once it is complete.

    As a context manager: at the end of the block.

    Attributes:
        name: of the output, for messages.
        path: where to write; does not exist yet.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        """Choose a name beside `target`, or in the temporary folder if that is no regular file.

        Raises:
            InputError: the folder to write into does not exist.
        """
        self._target = target
        # Short: the target's own name may have the maximal length.
        part = f".{secrets.token_hex(6)}.part"
        self.name = target.name if isinstance(target, Path) else "the output"
        if not isinstance(target, Path) or is_special(target):
            self.path = Path(tempfile.gettempdir()) / f"aehub{part}"
            return
        self._target = target = Path(os.path.realpath(target))
        if not target.parent.is_dir():
            if target.parent.exists():
                raise InputError(f"{target.parent} is not a folder; choose another path.")
            raise InputError(f"the folder {target.parent} does not exist; create it first.")
        self.path = target.with_name(part)

    def open(self) -> BinaryIO:
        """Create and open the file for reading and writing, with the user's default permissions.

        Raises:
            InputError: it cannot be created.
        """
        with _naming_errors(self._target):
            return self.path.open("x+b")

    def commit(self) -> None:
        """Move the complete output to the target.

        Raises:
            InputError: it cannot be moved there.
        """
        with _naming_errors(self._target):
            if isinstance(self._target, Path) and not is_special(self._target):
                if self.path.is_dir() and self._target.is_dir():
                    shutil.rmtree(self._target)
                os.replace(self.path, self._target)
                return
        with self.path.open("rb") as complete:
            if isinstance(self._target, Path):
                with self._target.open("wb") as stream:
                    shutil.copyfileobj(complete, stream, 1 << 20)
            else:
                shutil.copyfileobj(complete, self._target, 1 << 20)
        self.discard()

    def discard(self) -> None:
        """Delete what was written."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> PendingOutput:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.commit()
        finally:
            self.discard()


@contextmanager
def _naming_errors(target: Path | BinaryIO) -> Iterator[None]:
    """Turn an OSError into an `InputError` that names the output, not the temporary file."""
    try:
        yield
    except OSError as err:
        name = target if isinstance(target, Path) else "the output"
        raise InputError(f"{name} cannot be written: {err.strerror or err}.") from err
