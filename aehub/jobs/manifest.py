"""The folder that results are written into, and the manifest in it: what is done is not done again.

    DIR/sub/clip.aev             a result: complete, or not there
    DIR/.aehub/manifest.jsonl    a line of JSON for every result, appended
    DIR/.aehub/work/5d0c/7/clip.aev  a result that is being written
    DIR/.aehub/lock.sqlite       held by the run that writes

A result is noted first and then renamed to its place; results that are done at the same time are
noted together. Whatever a killed run leaves is either noted and in place, with the size and the
checksum that the manifest has, or lies in `work`, which the next run empties. Each run has a folder
of its own there, so that a worker of another machine that has not noticed yet that its run is over
cannot write into the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from aehub.errors import AEHubError, BusyError, ExistsError, InputError
from aehub.files import hold_lock
from aehub.inputs import digest_of

HIDDEN = ".aehub"
"""Folder of the manifest in a folder of results."""
_MANIFEST, _WORK, _LOCK = "manifest.jsonl", "work", "lock.sqlite"
_SYNCED_AT_ONCE = 16
"""Results that a disk is asked for at once to have written: it takes hardly longer than for one."""


@dataclass(frozen=True)
class Entry:
    """A result of an earlier run.

    Attributes:
        source: path of the input, from the folder of results.
        size: of the input, in bytes.
        mtime_ns: last change of the input, in nanoseconds; of a folder, a hash.
        settings: digest of command, options, model and version of aehub.
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
        self._last = dict[tuple[str, str], Entry]()
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
        self._last[entry.source, PurePosixPath(entry.output).suffix] = entry

    def find(self, source: str, settings: str) -> Entry | None:
        """The last result of an input with these settings."""
        return self._entries.get((source, settings))

    def last(self, source: str, suffix: str) -> Entry | None:
        """The last result of an input whose name has this suffix, with any settings."""
        return self._last.get((source, suffix))


def _entry(line: bytes) -> Entry | None:
    """An entry; None for a line that a killed run did not finish, or that is no entry."""
    try:
        entry = Entry(**json.loads(line))
        parts = PurePosixPath(entry.output).parts
        is_inside = (bool(parts) and not {"..", HIDDEN} & {*parts} and "\0" not in entry.output
                     and not Path(entry.output).is_absolute())
        texts = (entry.source, entry.settings, entry.error)
        is_entry = all(isinstance(one, str) for one in texts) and isinstance(entry.values, dict)
        return entry if is_inside and is_entry else None
    except (ValueError, TypeError, RecursionError):
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

    def check(self, source: str, output: str) -> None:
        """Refuse to overwrite what is there.

        Args:
            source: path of the input, from this folder.
            output: name that the result is to have.

        Raises:
            ExistsError: there is something of this name, and `force` is not set; or it is a folder
                of files of somebody else.
        """
        path = self.path / output
        if not os.path.lexists(path) or self.force and not path.is_dir():
            return
        entry = self.manifest.last(source, PurePosixPath(output).suffix)
        is_ours = entry is not None and entry.output == output and self._is_there(entry)
        if not self.force:
            how = ("an earlier run wrote it before the input changed, or with other options, "
                   "another model or another version of aehub" if is_ours else
                   "and not as this command wrote it from this input")
            raise ExistsError(f"{path} already exists{':' if is_ours else ','} {how}; choose "
                              "another folder.", "Or add --force.")
        if not is_ours and _files_of(path):
            raise ExistsError(f"{path} is a folder of other files than this command wrote, and is "
                              "not replaced; delete it, or choose another folder.")

    def _is_there(self, entry: Entry) -> bool:
        """Return whether a result is in its place, and as it was."""
        path = self.path / entry.output
        with suppress(OSError):
            return _size_of(path) == entry.bytes and _digest_of(path) == entry.sha256
        return False

    def find_done(self, source: str, settings: str, stamp: tuple[int, int], output: str
                  ) -> Entry | None:
        """The result of an input, if both are as they were.

        Args:
            source: path of the input, from this folder.
            settings: digest of command, options, model and version of aehub.
            stamp: of the input, as `aehub.inputs.stamp_of`.
            output: name that the result is to have.
        """
        entry = self.manifest.find(source, settings)
        if entry is None or (entry.size, entry.mtime_ns, entry.output) != (*stamp, output):
            return None
        return entry if self._is_there(entry) else None


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
                self._syncing = ThreadPoolExecutor(_SYNCED_AT_ONCE, "aehub-sync")
            except OSError as error:
                raise _unusable(path, error) from error
            undo.pop_all()

    def stage(self, number: int, output: str) -> Path:
        """The path that a task writes its result to: in a place of its own, with the final name.
        Whatever an earlier attempt left there is deleted.

        Raises:
            InputError: the folder cannot be written.
        """
        staged = self._staged(number, output)
        try:
            self.discard(number)
            staged.parent.mkdir(parents=True)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return staged

    def commit(self, results: Mapping[int, Entry]) -> dict[int, Entry | AEHubError]:
        """Note results that were written where `stage` said, and rename them to their places; all
        together, as the disk takes hardly longer to have written many than one.

        Args:
            results: number, as given to `stage` -> entry without `bytes` and `sha256`; its `values`
                have the final path.

        Returns:
            For each number the entry that was noted, or what is wrong with it.
        """
        checked = self._syncing.map(self._checked, results.keys(), results.values())
        done = dict(zip(results, checked, strict=True))
        entries = {number: one for number, one in done.items() if isinstance(one, Entry)}
        try:
            self._note(entries.values())
            done |= {number: self._put(number, entry) for number, entry in entries.items()}
        except OSError as error:
            done |= dict.fromkeys(entries, _unwritable(self._hidden / _MANIFEST, error))
        for number in results:
            self.discard(number)
        return done

    def _checked(self, number: int, entry: Entry) -> Entry | AEHubError:
        """The whole entry of a result, of which everything is on the disk."""
        staged, target = self._staged(number, entry.output), self.path / entry.output
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.check(entry.source, entry.output)
            for part in _files_of(staged):
                with part.open("r+b") as file:
                    os.fsync(file.fileno())
            return replace(entry, bytes=_size_of(staged), sha256=_digest_of(staged))
        except OSError as error:
            return error if isinstance(error, AEHubError) else _unwritable(target, error)

    def _note(self, entries: Iterable[Entry]) -> None:
        """Append lines to the manifest, all or none: what is noted is on the disk, and what is in
        its place is noted, also after the power went out."""
        lines = b"".join(json.dumps(vars(entry)).encode() + b"\n" for entry in entries)
        if not lines:
            return
        end = self._file.seek(0, os.SEEK_END)
        try:
            while lines:
                # A full disk takes a part, and the rest is an error.
                lines = lines[self._file.write(lines):]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                self._file.truncate(end)
            raise

    def _put(self, number: int, entry: Entry) -> Entry | AEHubError:
        staged, target = self._staged(number, entry.output), self.path / entry.output
        try:
            if staged.is_dir() and target.is_dir():
                shutil.rmtree(target)
            os.replace(staged, target)
        except OSError as error:
            return _unwritable(target, error)
        self.manifest.add(entry)
        return entry

    def _staged(self, number: int, output: str) -> Path:
        return self._work / str(number) / PurePosixPath(output).name

    def discard(self, number: int) -> None:
        """Delete what a task wrote."""
        shutil.rmtree(self._work / str(number), ignore_errors=True)

    def _clear(self) -> None:
        shutil.rmtree(self._hidden / _WORK, ignore_errors=True)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._syncing.shutdown()
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
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xff
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError(f"another run writes into {folder}; wait until it is done, or choose "
                            "another folder.") from None
        raise InputError(f"{folder} cannot be written: {error}; choose another folder, or change "
                         "its permissions.") from error


def _opened_for_lines(path: Path) -> FileIO:
    """Open a file for further lines; the last one may be the half of one. Without a buffer, which
    would keep what a full disk refused."""
    file = path.open("a+b", buffering=0)
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {error.strerror or error}.")


def _unusable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be written: {error.strerror or error}; choose another "
                      "folder, or change its permissions.")
