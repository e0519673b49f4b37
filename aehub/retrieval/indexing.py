"""Files on their way into the index of a library, and the one process that may write it.

Whatever is wrong with a file is a sentence about it, and does not stop the others. What is known of
a file is forgotten only once it certainly vanished or changed.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from aehub.bitstream import is_aev_file
from aehub.bitstream.validation import info
from aehub.codecs.base import CodecLoader
from aehub.errors import AEHubError, InputError
from aehub.files import hold_lock
from aehub.inputs import Input, digest_of, has_vanished, named, stamp_of
from aehub.media.clip import open_clip
from aehub.media.file_type import content_of
from aehub.media.orientation import ORDER
from aehub.results import IndexedFile, Progress, relayed
from aehub.retrieval.fingerprint import (
    FingerprintModel,
    Fingerprints,
    keep_in_file,
    read_carried,
    read_fingerprints,
)
from aehub.retrieval.sampling import STEP
from aehub.retrieval.store import (
    LOCK,
    VERSION,
    StoredFile,
    as_stored,
    check_description,
    checksum,
    connect,
    in_units,
    naming_errors,
    read,
    read_files,
    row_files,
)

_WASTE = 0.25
"""Share of unused rows from which on the others are copied to new files."""
_TABLES = """
create table about (key text primary key, value text not null);
create table contents (id integer primary key, sha256 text unique not null, seconds real not null,
    first integer not null, n integer not null, times blob not null, crc integer not null);
create table files (path text primary key, size integer not null, mtime_ns integer not null,
    content integer references contents (id), error text not null);
"""


class Writer:
    """An index opened for writing, by one process at a time; use it as a context manager.

    Args:
        folder: created if it does not exist.
        model: makes the fingerprints.

    Raises:
        InputError: another process writes it, or the folder cannot be written.
        FormatError: it is damaged, or of another version.
        WeightsError: it was made with another model.
    """

    def __init__(self, folder: Path, model: FingerprintModel) -> None:
        self.folder, self._model = folder, model
        with naming_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = hold_lock(folder / LOCK)
            try:
                self._database = connect(folder, create=True)
                self._prepare()
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        """Make the tables, or check them; forget rows that are not as they were written."""
        if not self._database.execute("select name from sqlite_master").fetchall():
            self._create()
        self._generation = check_description(self.folder, self._database, self._model)
        for path in row_files(self.folder, self._generation):
            path.touch()
        self._forget_damaged()
        self._n_rows = int(self._database.execute(
            "select value from about where key = 'rows'").fetchone()[0])
        current = row_files(self.folder, self._generation)
        for path in (*self.folder.glob("vectors-*.f16"), *self.folder.glob("signatures-*.i8")):
            if path not in current:
                # Open in a process that still searches it, where files in use cannot be removed.
                with suppress(OSError):
                    path.unlink()

    def _create(self) -> None:
        description = {"version": VERSION, "model": self._model.name, "sha256": self._model.sha256,
                       "vector": self._model.shape[0], "signature": self._model.shape[1],
                       "generation": 0, "rows": 0}
        with self._transaction():
            for table in _TABLES.split(";")[:-1]:
                self._database.execute(table)
            self._database.executemany("insert into about values (?, ?)",
                                       [(key, str(value)) for key, value in description.items()])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All changes of a block, or none."""
        with self._database:
            self._database.execute("begin immediate")
            yield

    def _forget_damaged(self) -> None:
        """Forget contents whose rows or times are damaged; their files count as lost."""
        with ExitStack() as stack:
            streams = [stack.enter_context(path.open("rb"))
                       for path in row_files(self.folder, self._generation)]
            for number, first, n, crc, size in self._database.execute(
                    "select id, first, n, crc, length(times) from contents order by first"
                    ).fetchall():
                found = 0
                for stream, width in zip(streams, self._widths(), strict=True):
                    stream.seek(first * width)
                    found = zlib.crc32(stream.read(n * width), found)
                if found != crc or size != 8 * n:
                    with self._transaction():
                        self._database.execute(
                            "update files set content = null where content = ?", (number,))
                        self._database.execute("delete from contents where id = ?", (number,))

    def lost(self) -> list[str]:
        """Files whose fingerprints were damaged, until they are indexed again."""
        return [file.path for file in read_files(self._database) if file.content is None]

    def _widths(self) -> tuple[int, int]:
        """Bytes of a row in both arrays."""
        return 2 * self._model.shape[0], ORDER * self._model.shape[1]

    def files(self) -> dict[str, StoredFile]:
        """All files of the index by path."""
        return {file.path: file for file in read_files(self._database)}

    def reuse(self, path: str, stamp: tuple[int, int], sha256: str) -> int | None:
        """Note a file whose content is known, and return its number of segments; else None."""
        found = self._database.execute(
            "select contents.id, n, coalesce(max(error), '') from contents left join files on "
            "content = contents.id where sha256 = ? group by contents.id", (sha256,)).fetchone()
        if found is None:
            return None
        self._write_file(path, stamp, found[0], os.fsdecode(found[2]))
        return int(found[1])

    def add(self, path: str, stamp: tuple[int, int], sha256: str, found: Fingerprints,
            seconds: float, error: str = "") -> None:
        """Append the segments of a file; they count from here on.

        Args:
            path: absolute.
            stamp: size in bytes and time of the last change in nanoseconds.
            sha256: of its content.
            found: fingerprints of at least one segment.
            seconds: duration.
            error: sentence about what could not be read, or empty.
        """
        rows = in_units(found.vectors), np.ascontiguousarray(found.signatures)
        for target, width, values in zip(
                row_files(self.folder, self._generation), self._widths(), rows, strict=True):
            with target.open("r+b") as stream:
                stream.truncate(self._n_rows * width)
                stream.seek(0, os.SEEK_END)
                stream.write(values.tobytes())
                stream.flush()
                os.fsync(stream.fileno())
        n, times = len(found.times), np.asarray(found.times, np.float64).tobytes()
        with self._transaction():
            content = self._database.execute(
                "insert into contents (sha256, seconds, first, n, times, crc) values "
                "(?, ?, ?, ?, ?, ?)",
                (sha256, seconds, self._n_rows, n, times, checksum(*rows))).lastrowid
            self._write_file(path, stamp, content, error)
            self._write_about("rows", self._n_rows + n)
        self._n_rows += n

    def rewritten(self, path: str, stamp: tuple[int, int], sha256: str) -> None:
        """Note that a file was written anew, and what is found in it did not change."""
        if self.reuse(path, stamp, sha256) is None:
            content, error = self._database.execute(
                "select content, error from files where path = ?", (as_stored(path),)).fetchone()
            with self._transaction():
                self._database.execute("update contents set sha256 = ? where id = ?",
                                       (sha256, content))
                self._write_file(path, stamp, content, os.fsdecode(error))

    def remove(self, paths: Sequence[str]) -> None:
        """Forget files."""
        with self._transaction():
            self._database.executemany("delete from files where path = ?",
                                       [(as_stored(path),) for path in paths])

    def _write_about(self, key: str, value: int) -> None:
        self._database.execute("update about set value = ? where key = ?", (str(value), key))

    def _write_file(self, path: str, stamp: tuple[int, int], content: int | None, error: str
                    ) -> None:
        self._database.execute("insert or replace into files values (?, ?, ?, ?, ?)",
                               (as_stored(path), *stamp, content, as_stored(error)))

    def compact(self) -> None:
        """Forget contents that no file holds; leave their rows out if they are many."""
        self._database.execute(
            "delete from contents where id not in (select content from files where content is not "
            "null)")
        rows = self._database.execute("select id, first, n from contents order by first").fetchall()
        used = sum(n for _, _, n in rows)
        if self._n_rows - used > _WASTE * self._n_rows:
            self._copy_rows(rows)

    def _copy_rows(self, rows: list[tuple[int, int, int]]) -> None:
        before = row_files(self.folder, self._generation)
        after = row_files(self.folder, self._generation + 1)
        for source, target, width in zip(before, after, self._widths(), strict=True):
            with source.open("rb") as old, target.open("wb") as new:
                for _, first, n in rows:
                    old.seek(first * width)
                    new.write(old.read(n * width))
                new.flush()
                os.fsync(new.fileno())
        moved, total = [], 0
        for number, _, n in rows:
            moved.append((total, number))
            total += n
        with self._transaction():
            self._database.executemany("update contents set first = ? where id = ?", moved)
            self._write_about("generation", self._generation + 1)
            self._write_about("rows", total)
        self._generation, self._n_rows = self._generation + 1, total
        for path in before:
            with suppress(OSError):
                path.unlink()

    def segments(self, path: str) -> tuple[int, str | None]:
        """Number of segments of a file, and a sentence about what could not be read of it."""
        found = self._database.execute(
            "select coalesce(n, 0), error from files left join contents on content = contents.id "
            "where path = ?", (as_stored(path),)).fetchone()
        if found is None:
            return 0, None
        return int(found[0]), named(path, os.fsdecode(found[1])) if found[1] else None

    def count(self) -> int:
        """Number of segments."""
        return int(self._database.execute("select coalesce(sum(n), 0) from contents").fetchone()[0])

    def close(self) -> None:
        """Close the files; let other processes write."""
        for connection in (getattr(self, "_database", None), self._lock):
            if connection is not None:
                connection.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
        if isinstance(error, (sqlite3.Error, OSError)):
            with naming_errors(self.folder):
                raise error


class _New(NamedTuple):
    """Content of a file that is new in an index; the arguments of `Writer.add`."""

    stamp: tuple[int, int]
    sha256: str
    found: Fingerprints
    seconds: float
    error: str


class Reading(NamedTuple):
    """A file as it was read for an index.

    Attributes:
        stamp: size in bytes and time of the last change in nanoseconds, before it was read.
        found: fingerprints.
        seconds: duration.
        error: sentence about what cannot be read, or empty.
    """

    stamp: tuple[int, int]
    found: Fingerprints
    seconds: float
    error: str


FileReader = Callable[[Iterator[Path]], Generator[tuple[Path, Reading | AEHubError], None, None]]
"""Reads files elsewhere, several at once; yields them in any order."""


def read_file(path: Path, model: FingerprintModel, load: CodecLoader
              ) -> Generator[None, None, Reading]:
    """Read a file for an index; yields after each picture.

    Args:
        path: clip, picture, folder of pictures or compressed file.
        model: makes the fingerprints.
        load: finds the model of a compressed file.

    Raises:
        Exception: whatever a decoder raises.
    """
    stamp = stamp_of(path)
    found, damage = read_carried(path, model), None
    if found is None:
        found, damage = yield from relayed(
            read_fingerprints(path, model, load), lambda _: None)
    error = damage.message if damage else ""
    if not len(found.times):
        raise InputError(error or f"{path} holds no picture; give a clip with some.")
    return Reading(stamp, found, seconds_of(path, found.times), error)


class Indexing:
    """Files on their way into an index."""

    def __init__(self, writer: Writer, model: FingerprintModel, load: CodecLoader) -> None:
        self._writer, self._model, self._load = writer, model, load
        self._known = writer.files()

    def outdated(self, given: list[Path], inputs: Mapping[Path, Input]) -> list[str]:
        """Known files that vanished, or that now are part of another input.

        None below a given path that is not there, as on a disk that is not mounted, and none of a
        folder that cannot be read as it is.

        Args:
            given: files and folders.
            inputs: found there.
        """
        below = tuple(str(path).rstrip(os.sep) + os.sep for path in given if not has_vanished(path))
        failed = {path for path, entry in inputs.items() if entry.error}
        found = []
        for path in map(Path, sorted(self._known)):
            is_part = path.parent in inputs or path not in inputs and os.path.isdir(path)
            if f"{path}{os.sep}".startswith(below) and (has_vanished(path) or (
                    is_part and failed.isdisjoint((path, *path.parents)))):
                found.append(str(path))
        return found

    def is_new(self, entry: Input) -> bool:
        """Return whether a file has to be read."""
        known = self._known.get(str(entry.path))
        if entry.error or known is None or known.content is None:
            return not entry.error
        return self._has_changed(entry.path)

    def add(self, entry: Input, reading: Reading | AEHubError | None = None
            ) -> Generator[None, None, IndexedFile]:
        """Add a file, or note why it cannot be; yields after each picture.

        Args:
            entry: the file.
            reading: of it, if it was read elsewhere.
        """
        path = str(entry.path)
        try:
            state = yield from self._read(entry, reading)
        except sqlite3.Error:
            raise
        except Exception as error:
            # Whatever a decoder raises: one file does not stop the others.
            if self._has_changed(entry.path):
                self._writer.remove([path])
            return IndexedFile(path, "failed", self._writer.segments(path)[0],
                               _sentence(path, error))
        if isinstance(state, _New):
            self._writer.add(path, *state)
            state = "added"
        return IndexedFile(path, state, *self._writer.segments(path))

    def _has_changed(self, path: Path) -> bool:
        try:
            return str(path) in self._known and self._known[str(path)].stamp != stamp_of(path)
        except OSError:
            return False

    def _read(self, entry: Input, reading: Reading | AEHubError | None
              ) -> Generator[None, None, _New | str]:
        """The new content of a file; or its state, if the index has its content."""
        path, name = entry.path, str(entry.path)
        if entry.error:
            raise InputError(entry.error)
        stamp, known = stamp_of(path), self._known.get(name)
        if known is not None and known.content is not None and known.stamp == stamp:
            return "unchanged"
        digest = digest_of(path)
        if self._writer.reuse(name, stamp, digest):
            return "added"
        if isinstance(reading, AEHubError):
            raise reading
        if reading is None:
            reading = yield from read_file(path, self._model, self._load)
        if not stamp_of(path) == stamp == reading.stamp:
            raise InputError(f"{path} changed while it was read; index it again.")
        return _New(stamp, digest, reading.found, reading.seconds, reading.error)

    def keep(self, files: list[IndexedFile]) -> Generator[Progress, None, None]:
        """Keep the fingerprints of compressed files in these themselves, after all were added.

        Args:
            files: those of the run; one that cannot be written gets a sentence.
        """
        library = read(self._writer.folder, self._model)
        contents = {content.number: content for content in library.contents}
        # Of a damaged file nothing is kept; it has its sentence.
        known = {file.path: (file.stamp, contents[file.content]) for file in library.files
                 if file.content is not None and not file.error}
        for place, file in enumerate(files):
            if file.path not in known or not is_aev_file(Path(file.path)):
                continue
            yield Progress(place, len(files))
            stamp, content = known[file.path]
            try:
                self._keep(Path(file.path), stamp, library.fingerprints(content))
            except sqlite3.Error:
                raise
            except Exception as error:
                files[place] = replace(file, error=(
                    f"{file.path} is in the index, but was not written anew: "
                    f"{_sentence(file.path, error)}"))

    def _keep(self, path: Path, stamp: tuple[int, int], found: Fingerprints) -> None:
        if keep_in_file(path, self._model, found, stamp):
            self._writer.rewritten(str(path), stamp_of(path), digest_of(path))
        elif stamp_of(path) != stamp:
            # Another name of a file that was written a moment ago.
            for _ in self.add(Input(path)):
                pass


def _sentence(path: str, error: Exception) -> str:
    if isinstance(error, AEHubError):
        # Options that a hint names are those of other commands.
        return named(path, error.message if "--" in error.option else str(error))
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the path."
    if isinstance(error, OSError):
        return f"{path} cannot be read: {error.strerror or error}."
    if isinstance(error, MemoryError):
        return f"{path} cannot be read: there is not enough memory for it."
    return f"{path} cannot be read: unexpected {type(error).__name__}: {error}."


def seconds_of(path: Path, times: np.ndarray) -> float:
    """Duration of a file in seconds, 0 of a picture.

    Args:
        path: of the file.
        times: float64 [n], of its segments, for files that do not tell.
    """
    last = float(times[-1]) if len(times) else 0.0
    if content_of(path) == "picture":
        return 0.0
    if is_aev_file(path):
        try:
            return max(float(info(path)["seconds"]), last)
        except AEHubError:
            return last + STEP
    with open_clip(path) as clip:
        at, properties = clip.last_frame_time(), clip.info
    if at is not None:
        return max(float(at + properties.frame_ticks * properties.time_base), last)
    if properties.n_frames:
        return max(float(properties.n_frames / properties.fps), last)
    return last + STEP
