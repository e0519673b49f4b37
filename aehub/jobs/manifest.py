"""The folder that results are written into, and the manifest in it: what is done is not done again.

    DIR/sub/clip.aev             a result: complete, or not there
    DIR/.aehub/manifest.jsonl    a line of JSON for every result, appended
    DIR/.aehub/work/5d0c/7/clip.aev  a result that is being written
    DIR/.aehub/lock.sqlite       held by the run that writes

A result is noted first and then renamed to its place. Whatever a killed run leaves is either noted
and in place, with the size and the checksum that the manifest has, or lies in `work`, which the
next run empties. Each run has a folder of its own there, so that a worker of another machine that
has not noticed yet that its run is over cannot write into the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO

from aehub.errors import AEHubError, BusyError, ExistsError, InputError
from aehub.files import hold_lock
from aehub.inputs import digest_of

HIDDEN = ".aehub"
"""Folder of the manifest in a folder of results."""
_MANIFEST, _WORK, _LOCK = "manifest.jsonl", "work", "lock.sqlite"


@dataclass(frozen=True)
class Entry:
    """A result of an earlier run.

    Attributes:
        source: path of the input, from the folder of results.
        size: of the input, in bytes.
        mtime_ns: last change of the input, in nanoseconds; of a folder, a hash.
        settings: digest of command, options and model.
        output: name of the result below the folder, with slashes.
        bytes: of the result.
        sha256: of the result.
        values: the result as it was reported.
        error: sentence on what of the input was lost, or empty.
    """

    source: str
    size: int
    mtime_ns: int
    settings: str
    output: str
    bytes: int
    sha256: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class Manifest:
    """Results of earlier runs, of which the last one of an input and its settings counts."""

    def __init__(self, entries: Iterator[Entry] | None = None) -> None:
        self._entries = dict[tuple[str, str], Entry]()
        self._names = dict[tuple[str, str], str]()
        for entry in entries or ():
            self.add(entry)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder; an empty one where there is none.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with (folder / HIDDEN / _MANIFEST).open("rb") as file:
                return cls(filter(None, map(_entry, file)))
        except (FileNotFoundError, NotADirectoryError):
            return cls()
        except OSError as error:
            raise _unusable(folder, error) from error

    def add(self, entry: Entry) -> None:
        """Add a result."""
        self._entries[entry.source, entry.settings] = entry
        self._names[entry.source, PurePosixPath(entry.output).suffix] = entry.output

    def find(self, source: str, settings: str) -> Entry | None:
        """The last result of an input with these settings."""
        return self._entries.get((source, settings))

    def name(self, source: str, suffix: str) -> str | None:
        """The name that the result of an input got before, of this suffix."""
        return self._names.get((source, suffix))


def _entry(line: bytes) -> Entry | None:
    """An entry; None for a line that a killed run did not finish, or that is no entry."""
    try:
        entry = Entry(**json.loads(line))
        parts = PurePosixPath(entry.output).parts
        is_inside = bool(parts) and ".." not in parts and not Path(entry.output).is_absolute()
        return entry if is_inside and isinstance(entry.settings, str) else None
    except (ValueError, TypeError):
        return None


def path_from(folder: Path, path: Path) -> str:
    """The path of an input from the folder of results: it stays the same if both move."""
    with suppress(ValueError):
        return Path(os.path.relpath(path, folder)).as_posix()
    # On another drive of Windows.
    return path.as_posix()


class ResultFolder:
    """A folder of results, as it is; nothing is written.

    Args:
        path: need not exist.
        force: other files that have the name of a result may be overwritten.

    Attributes:
        manifest: results of earlier runs.

    Raises:
        InputError: the manifest cannot be read.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path, self.force = path, force
        self.manifest = Manifest.read(path)

    def check(self, output: str) -> None:
        """Refuse to overwrite a file.

        Raises:
            ExistsError: there is one of this name, and `force` is not set.
        """
        if not self.force and os.path.lexists(self.path / output):
            raise ExistsError(f"{self.path / output} already exists, and not as this command wrote "
                              "it from this input; choose another folder.", "Or add --force.")

    def find_done(self, source: str, settings: str, stamp: tuple[int, int], output: str
                  ) -> Entry | None:
        """The result of an input, if both are as they were.

        Args:
            source: path of the input, from this folder.
            settings: digest of command, options and model.
            stamp: of the input, as `aehub.inputs.stamp_of`.
            output: name that the result is to have.
        """
        entry = self.manifest.find(source, settings)
        if entry is None or (entry.size, entry.mtime_ns, entry.output) != (*stamp, output):
            return None
        path = self.path / output
        with suppress(OSError):
            if _size_of(path) == entry.bytes and _digest_of(path) == entry.sha256:
                return entry
        return None


class OutputFolder(ResultFolder):
    """A folder of results, opened for writing by one run at a time; a context manager.

    Args:
        path: created if it does not exist.
        force: overwrite other files that have the name of a result.

    Raises:
        InputError: it cannot be written, or is no folder.
        BusyError: another run writes it.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self._hidden = path / HIDDEN
        self._work = self._hidden / _WORK / secrets.token_hex(8)
        with ExitStack() as undo:
            try:
                self._hidden.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(path)
                undo.callback(self._lock.close)
                self._clear()
                super().__init__(path, force=force)
                self._file = _opened_for_lines(self._hidden / _MANIFEST)
            except OSError as error:
                raise _unusable(path, error) from error
            undo.pop_all()

    def stage(self, number: int, output: str) -> Path:
        """The path that a task writes its result to: in a place of its own, with the final name.

        Raises:
            InputError: the folder cannot be written.
        """
        place = self._work / str(number)
        try:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return place / PurePosixPath(output).name

    def commit(self, number: int, entry: Entry) -> Entry:
        """Note a result that was written where `stage` said, and rename it to its place.

        Args:
            number: as given to `stage`.
            entry: without `bytes` and `sha256`; its `values` have the final path.

        Raises:
            InputError: the place cannot be written.
        """
        place, target = self._work / str(number), self.path / entry.output
        staged = place / target.name
        try:
            entry = replace(entry, bytes=_size_of(staged), sha256=_digest_of(staged))
            target.parent.mkdir(parents=True, exist_ok=True)
            self.check(entry.output)
            # What is noted is on the disk, and what is in its place is noted: also after the power
            # went out.
            for part in _files_of(staged):
                with part.open("r+b") as file:
                    os.fsync(file.fileno())
            self._file.write(json.dumps(asdict(entry)).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            if staged.is_dir() and target.is_dir():
                shutil.rmtree(target)
            os.replace(staged, target)
        except OSError as error:
            if isinstance(error, AEHubError):
                raise
            raise InputError(f"{target} cannot be written: {error.strerror or error}.") from error
        finally:
            self.discard(number)
        self.manifest.add(entry)
        return entry

    def discard(self, number: int) -> None:
        """Delete what a task wrote."""
        shutil.rmtree(self._work / str(number), ignore_errors=True)

    def _clear(self) -> None:
        shutil.rmtree(self._hidden / _WORK, ignore_errors=True)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._file.close()
        self._clear()
        self._lock.close()


def _size_of(path: Path) -> int:
    """Bytes of a result, a file or a folder."""
    return sum(part.stat().st_size for part in _files_of(path))


def _digest_of(path: Path) -> str:
    """SHA-256 of a result; of a folder that of the names and digests of its files."""
    if not path.is_dir():
        return digest_of(path)
    facts = [(part.relative_to(path).as_posix(), digest_of(part)) for part in _files_of(path)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _files_of(path: Path) -> list[Path]:
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def _locked(folder: Path) -> sqlite3.Connection:
    try:
        return hold_lock(folder / HIDDEN / _LOCK)
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xff
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError(f"another run writes into {folder}; wait until it is done, or choose "
                            "another folder.") from None
        raise InputError(f"{folder} cannot be written: {error}; choose another folder, or change "
                         "its permissions.") from error


def _opened_for_lines(path: Path) -> BinaryIO:
    """Open a file for further lines; the last one may be the half of one."""
    file = path.open("a+b")
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _unusable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be written: {error.strerror or error}; choose another "
                      "folder, or change its permissions.")
