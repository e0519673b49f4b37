"""Where results go: a path, whole or not at all, or a stream.

An output is written beside its place under a short hidden name and renamed when it is complete.
A link is followed: what it leads to is written. Pipes and devices are written as they are.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from aehub.errors import ExistsError, InputError

_SPOOL = 32 << 20
_FRAME_NAME = re.compile(r"\d{6,}\.png")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_SLASHES = tuple(filter(None, (os.sep, os.altsep)))


def check_path(given: Any, what: str = "input") -> Path:
    """Return the path that was given, if a file of this machine can have it.

    Args:
        given: what was given.
        what: it shall be, for messages.

    Raises:
        InputError: it is no path, is empty, holds a zero byte, or is an address.
    """
    if not isinstance(given, (str, os.PathLike)):
        raise InputError(f"the {what} is a {type(given).__name__}; give a path.")
    name = os.fspath(given)
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"the {what} {name!r} is no name of a file; give one.")
    refuse_address(name)
    return Path(name)


def check_output(output: Any, *, may_be_folder: bool = False) -> Path | BinaryIO:
    """Return the path or the stream that was given as an output.

    Args:
        output: what was given.
        may_be_folder: a name without a suffix stands for a folder of pictures.

    Raises:
        InputError: it is neither, or a name that no file can have.
    """
    if isinstance(output, (str, os.PathLike)):
        path = check_path(output, "output")
        if os.fspath(output).endswith(_SLASHES) and (path.suffix or not may_be_folder):
            raise InputError(f"{output} ends in a slash as a folder does; give the name of a file.")
        return path
    return _stream(output, "output", "write")


def check_source(source: Any) -> Path | BinaryIO:
    """Return the path or the stream that was given as an input file.

    Raises:
        InputError: it is neither, or a name that no file can have.
    """
    if isinstance(source, (str, os.PathLike)):
        return check_path(source)
    return _stream(source, "input", "read")


def _stream(given: Any, what: str, method: str) -> BinaryIO:
    """Return what was given if it is an open stream of bytes with this method."""
    if not callable(getattr(given, method, None)) or isinstance(given, io.TextIOBase):
        raise InputError(f"the {what} is a {type(given).__name__}; give a path, or a stream of "
                         "bytes.")
    if getattr(given, "closed", False):
        raise InputError(f"the {what} is a stream that is closed; open it again.")
    return cast(BinaryIO, given)


def refuse_address(name: str | os.PathLike[str]) -> None:
    """Refuse an address: only files of this machine are read and written.

    Raises:
        InputError: `name` is an address such as https://host/clip.mp4.
    """
    found = _ADDRESS.fullmatch(os.fspath(name))
    if found is None or os.path.lexists(name):
        return
    if found[1].lower() == "file":
        raise InputError(f"{name} is an address; give the path alone: {found[2]}")
    raise InputError(f"{name} is an address, and AEHub reads and writes only files; download it "
                     "first, or use a pipe: curl -L ADDRESS | aehub compress - OUT.aev")


def output_beside(source: str | os.PathLike[str], suffix: str) -> Path:
    """The place of a result whose name was not given: clip.mp4 and .aev make clip.aev.

    Raises:
        InputError: the source has no name to build on.
    """
    refuse_address(source)
    path = Path(source)
    if path.name in ("", ".."):
        raise InputError(f"an input of {str(source)!r} has no name to build on; give an output as "
                         "well.")
    return path.with_suffix(suffix)


def is_lfs_pointer(data: bytes) -> bool:
    """Whether a file begins as those that Git LFS leaves where the file itself should be."""
    return data.startswith(b"version https://git-lfs.github.com/spec/")


def is_special(path: Path) -> bool:
    """Whether `path` is a pipe or a device: nothing is lost when it is written to."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_overwriting(path: Path, force: bool = False, *, is_folder: bool = False) -> None:
    """Check before the work that the result may be written, and that it can be.

    Args:
        path: where it shall be.
        force: overwrite what is there.
        is_folder: the result is a folder of pictures.

    Raises:
        ExistsError: `path` exists and `force` is not set, or holds something else than frames.
        InputError: `path` is a folder or no name at all, or its folder cannot be written to.
    """
    if is_special(path):
        return
    with _named(path):
        # `exists` tells a name that is too long from one that is free.
        is_there = path.exists()
    if is_there and path.is_dir() and not is_folder:
        raise InputError(f"{path} is a folder; give the name of a file.")
    if is_there and not force:
        raise ExistsError(f"{path.name} already exists; choose another name.",
                          "Or add --force.")
    if is_folder:
        check_folder(path)
    probe = PendingOutput(path)
    try:
        probe.open().close()
    finally:
        probe.discard()


def check_folder(folder: Path) -> None:
    """Allow a new folder, or one that holds nothing but frames written earlier.

    Raises:
        ExistsError: something else lies there and would be lost.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _FRAME_NAME.fullmatch(p.name) for p in folder.iterdir()):
        raise ExistsError(
            f"{folder.name} is there and holds something else than frames; choose another name.")


def spool() -> BinaryIO:
    """A temporary file for bytes of any number, in memory up to `_SPOOL` of them."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(_SPOOL))


@contextmanager
def written(target: Path | BinaryIO, *, force: bool) -> Iterator[BinaryIO]:
    """A stream that becomes `target` when the block ends well, and leaves nothing otherwise."""
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
    """A place to write until the output is complete; as a context manager, until the block ends.

    Attributes:
        name: what to call the output in messages.
        path: where to write; not there yet.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        """Pick a name beside `target`, or in the temporary folder for what is no plain file.

        Raises:
            InputError: the folder to write into does not exist.
        """
        self._target = target
        # Short, for the target's own name may be as long as a name can be.
        part = f".{secrets.token_hex(6)}.part"
        self.name = target.name if isinstance(target, Path) else "the output"
        if not isinstance(target, Path) or is_special(target):
            self.path = Path(tempfile.gettempdir()) / f"aehub{part}"
            return
        self._target = target = Path(os.path.realpath(target))
        if not target.parent.is_dir():
            if target.parent.exists():
                raise InputError(f"{target.parent} is no folder; choose another place.")
            raise InputError(f"the folder {target.parent} does not exist; create it first.")
        self.path = target.with_name(part)

    def open(self) -> BinaryIO:
        """The new file itself, to write and to read, with the access that the user's files have.

        Raises:
            InputError: none can be made there.
        """
        with _named(self._target):
            return self.path.open("x+b")

    def commit(self) -> None:
        """Put the finished output in its place.

        Raises:
            InputError: it cannot be there.
        """
        with _named(self._target):
            if isinstance(self._target, Path) and not is_special(self._target):
                if self.path.is_dir() and self._target.is_dir():
                    shutil.rmtree(self._target)
                os.replace(self.path, self._target)
                return
        with self.path.open("rb") as finished:
            if isinstance(self._target, Path):
                with self._target.open("wb") as stream:
                    shutil.copyfileobj(finished, stream, 1 << 20)
            else:
                shutil.copyfileobj(finished, self._target, 1 << 20)
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
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
def _named(target: Path | BinaryIO) -> Iterator[None]:
    """Name the output in errors of the system, not the hidden file that is written."""
    try:
        yield
    except OSError as err:
        name = target if isinstance(target, Path) else "the output"
        raise InputError(f"{name} cannot be written: {err.strerror or err}.") from err
