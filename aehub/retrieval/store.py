"""The index of a library: fingerprints of many files in one folder.

    vectors-N.f16      float16 [n, D]: a memory map
    signatures-N.i8    int8 [n, 8, K]: a memory map
    files.sqlite       files, their contents, the rows of these and the times of their segments
    lock.sqlite        held by the process that writes

Rows are appended first and count once the database names them: an interrupted run leaves rows that
nothing names, and the next run writes over them. N grows when the rows of removed files are left
out. Files of equal content share their rows.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aehub.errors import FormatError, InputError, WeightsError
from aehub.media.orientation import ORDER
from aehub.retrieval.fingerprint import FingerprintModel, Fingerprints

VERSION = 1
"""Of the arrangement of the folder."""
DATABASE, _LOCK = "files.sqlite", "lock.sqlite"
_UNIT = 2048
"""Vectors are multiples of 1 / _UNIT: their products are exact in float32, in whichever order they
are summed. Cosines change by less than 0.001."""
_WASTE = 0.25
"""Share of unused rows from which on the others are copied to new files."""
_PATIENCE = 10.0
"""Seconds that a reader waits while a row of the database is written."""
_TABLES = """
create table about (key text primary key, value text not null);
create table contents (id integer primary key, sha256 text unique not null, seconds real not null,
    first integer not null, n integer not null, times blob not null, crc integer not null);
create table files (path text primary key, size integer not null, mtime_ns integer not null,
    content integer references contents (id), error text not null);
"""


class Content(NamedTuple):
    """Segments of one content, which one or more files hold.

    Attributes:
        number: in the database.
        sha256: of the bytes.
        seconds: duration, 0 of a picture.
        first: row of its first segment.
        times: float64 [n], seconds from the first frame, of its segments.
        crc: CRC-32 of its rows.
    """

    number: int
    sha256: str
    seconds: float
    first: int
    times: np.ndarray
    crc: int

    @property
    def rows(self) -> slice:
        """Its rows in the arrays."""
        return slice(self.first, self.first + len(self.times))


class StoredFile(NamedTuple):
    """A file of the library.

    Attributes:
        path: absolute.
        size: in bytes, when it was read.
        mtime_ns: time of its last change then, in nanoseconds.
        content: number of its content; None if nothing of it could be read.
        error: sentence about what could not be read, or empty.
    """

    path: str
    size: int
    mtime_ns: int
    content: int | None
    error: str

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of its last change when it was read."""
        return self.size, self.mtime_ns


class Library(NamedTuple):
    """Contents of an index, as they were when it was opened.

    Attributes:
        folder: of the index.
        vectors: float16 [n, D].
        signatures: int8 [n, 8, K].
        contents: in the order of their rows.
        files: by path.
        generation: number of its row files.
    """

    folder: Path
    vectors: np.ndarray
    signatures: np.ndarray
    contents: list[Content]
    files: list[StoredFile]
    generation: int = 0

    def fingerprints(self, content: Content) -> Fingerprints:
        """Fingerprints of one content.

        Raises:
            FormatError: they are not as they were written.
        """
        vectors, signatures = (np.asarray(rows[content.rows])
                               for rows in (self.vectors, self.signatures))
        if checksum(vectors, signatures) != content.crc:
            raise _damaged(self.folder, "some fingerprints are not as they were written")
        return Fingerprints(content.times, vectors, signatures)

    def paths(self) -> dict[int, list[StoredFile]]:
        """Number of a content -> the files that hold it."""
        found: dict[int, list[StoredFile]] = {}
        for file in self.files:
            if file.content is not None:
                found.setdefault(file.content, []).append(file)
        return found


def in_units(vectors: np.ndarray) -> np.ndarray:
    """Round vectors [n, D] to the multiples that an index holds, as float16."""
    return (np.rint(vectors.astype(np.float32) * _UNIT) / _UNIT).astype(np.float16)


def checksum(vectors: np.ndarray, signatures: np.ndarray) -> int:
    """CRC-32 of rows."""
    first = zlib.crc32(np.ascontiguousarray(vectors).data)
    return zlib.crc32(np.ascontiguousarray(signatures).data, first)


def read(folder: Path, model: FingerprintModel) -> Library:
    """Open an index for searching; another process may write it meanwhile.

    Raises:
        InputError: there is none.
        FormatError: it is damaged, or of another version.
        WeightsError: it was made with another model.
    """
    for last in (False, True):
        try:
            with closing(_connect(folder, create=False)) as database, _naming_damage(folder):
                return _read(folder, database, model)
        except FileNotFoundError:
            # Another process put the rows into new files in between.
            if last:
                raise _damaged(folder, "a file of it is missing") from None
    raise AssertionError


def _read(folder: Path, database: sqlite3.Connection, model: FingerprintModel) -> Library:
    database.execute("begin")
    if not database.execute("select name from sqlite_master").fetchall():
        raise _missing(folder)
    generation = _check_about(folder, database, model)
    contents = [Content(number, sha256, seconds, first, _times(folder, times, n), crc)
                for number, sha256, seconds, first, n, times, crc in database.execute(
                    "select id, sha256, seconds, first, n, times, crc from contents order by first"
                )]
    files = [StoredFile(*row) for row in database.execute(
        "select path, size, mtime_ns, content, error from files order by path")]
    database.rollback()
    n = max((content.rows.stop for content in contents), default=0)
    vector, signature = model.shape
    vectors, signatures = _row_files(folder, generation)
    return Library(folder, _mapped(vectors, np.float16, (n, vector)),
                   _mapped(signatures, np.int8, (n, ORDER, signature)), contents, files,
                   generation)


def _times(folder: Path, stored: bytes, n: int) -> np.ndarray:
    if len(stored) != 8 * n or not n:
        raise _damaged(folder, "the times of a file are incomplete")
    return np.frombuffer(stored, np.float64)


def _mapped(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Memory map of the rows in a file."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if path.stat().st_size < size:
        raise _damaged(path.parent, f"{path.name} has {path.stat().st_size} bytes of {size}")
    if not size:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


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
        with _naming_failure(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
        try:
            self._database = _connect(folder, create=True)
            with _naming_damage(folder):
                self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Make the tables, or check them; forget rows that are not as they were written."""
        if not self._database.execute("select name from sqlite_master").fetchall():
            self._create()
        self._generation = _check_about(self.folder, self._database, self._model)
        for path in _row_files(self.folder, self._generation):
            path.touch()
        self._forget_damaged()
        self._n_rows = int(self._database.execute(
            "select value from about where key = 'rows'").fetchone()[0])
        current = _row_files(self.folder, self._generation)
        for path in (*self.folder.glob("vectors-*.f16"), *self.folder.glob("signatures-*.i8")):
            if path not in current:
                # Open in a process that still searches it, where files in use cannot be removed.
                with suppress(OSError):
                    path.unlink()

    def _create(self) -> None:
        about = {"version": VERSION, "model": self._model.name, "sha256": self._model.sha256,
                 "vector": self._model.shape[0], "signature": self._model.shape[1],
                 "generation": 0, "rows": 0}
        with self._transaction():
            for table in _TABLES.split(";")[:-1]:
                self._database.execute(table)
            self._database.executemany("insert into about values (?, ?)",
                                       [(key, str(value)) for key, value in about.items()])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All changes of a block, or none."""
        with self._database:
            self._database.execute("begin immediate")
            yield

    def _forget_damaged(self) -> None:
        widths = self._widths()
        files = _row_files(self.folder, self._generation)
        with files[0].open("rb") as vectors, files[1].open("rb") as signatures:
            for number, first, n, crc in self._database.execute(
                    "select id, first, n, crc from contents order by first").fetchall():
                found = 0
                for stream, width in zip((vectors, signatures), widths, strict=True):
                    stream.seek(first * width)
                    found = zlib.crc32(stream.read(n * width), found)
                if found != crc:
                    self._forget(number)

    def _forget(self, content: int) -> None:
        with self._transaction():
            self._database.execute("delete from files where content = ?", (content,))
            self._database.execute("delete from contents where id = ?", (content,))

    def _widths(self) -> tuple[int, int]:
        """Bytes of a row in both arrays."""
        return 2 * self._model.shape[0], ORDER * self._model.shape[1]

    def files(self) -> dict[str, StoredFile]:
        """All files of the index by path."""
        rows = self._database.execute("select path, size, mtime_ns, content, error from files")
        return {file.path: file for file in map(StoredFile._make, rows)}

    def reuse(self, path: str, stamp: tuple[int, int], sha256: str) -> int | None:
        """Note a file whose content is known, and return its number of segments; else None."""
        found = self._database.execute(
            "select contents.id, n, coalesce(max(error), '') from contents left join files on "
            "content = contents.id where sha256 = ? group by contents.id", (sha256,)).fetchone()
        if found is None:
            return None
        self._write_file(path, stamp, found[0], found[2])
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
                _row_files(self.folder, self._generation), self._widths(), rows, strict=True):
            with _naming_failure(self.folder), target.open("r+b") as stream:
                stream.truncate(self._n_rows * width)
                stream.seek(0, os.SEEK_END)
                stream.write(values.tobytes())
                stream.flush()
                os.fsync(stream.fileno())
        n, times = len(found.times), np.asarray(found.times, np.float64).tobytes()
        with _naming_failure(self.folder), self._transaction():
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
                "select content, error from files where path = ?", (path,)).fetchone()
            with self._transaction():
                self._database.execute("update contents set sha256 = ? where id = ?",
                                       (sha256, content))
                self._write_file(path, stamp, content, error)

    def remove(self, paths: Sequence[str]) -> None:
        """Forget files."""
        with self._transaction():
            self._database.executemany("delete from files where path = ?",
                                       [(path,) for path in paths])

    def _write_about(self, key: str, value: int) -> None:
        self._database.execute("update about set value = ? where key = ?", (str(value), key))

    def _write_file(self, path: str, stamp: tuple[int, int], content: int | None, error: str
                    ) -> None:
        self._database.execute("insert or replace into files values (?, ?, ?, ?, ?)",
                               (path, *stamp, content, error))

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
        before = _row_files(self.folder, self._generation)
        after = _row_files(self.folder, self._generation + 1)
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
        """Number of segments of a known file, and a sentence about what could not be read of it."""
        n, error = self._database.execute(
            "select coalesce(n, 0), error from files left join contents on content = contents.id "
            "where path = ?", (path,)).fetchone()
        return int(n), str(error) or None

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

    def __exit__(self, *error: object) -> None:
        self.close()


def _row_files(folder: Path, generation: int) -> tuple[Path, Path]:
    return folder / f"vectors-{generation}.f16", folder / f"signatures-{generation}.i8"


def _connect(folder: Path, *, create: bool) -> sqlite3.Connection:
    path = folder / DATABASE
    if not create and not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise _damaged(folder, f"{DATABASE} is missing")
        raise _missing(folder)
    # Transactions of more than one change are begun where they are made.
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)


def _locked(folder: Path) -> sqlite3.Connection:
    """Hold the lock, which ends with the connection or with the process."""
    lock = sqlite3.connect(folder / _LOCK, timeout=0, isolation_level=None,
                           check_same_thread=False)
    try:
        lock.execute("begin exclusive")
    except sqlite3.DatabaseError as error:
        lock.close()
        if "locked" in str(error):
            raise InputError(f"another process writes the index {folder}; wait until it is done, "
                             "or choose another folder.") from None
        raise
    return lock


def _check_about(folder: Path, database: sqlite3.Connection, model: FingerprintModel) -> int:
    """Check version and model of an index; return the number of its row files."""
    about = dict(database.execute("select key, value from about"))
    try:
        version, generation = int(about["version"]), int(about["generation"])
        shape = int(about["vector"]), int(about["signature"])
        name, sha256 = about["model"], about["sha256"]
    except (KeyError, ValueError):
        raise _damaged(folder, "its description is incomplete") from None
    if version != VERSION:
        raise FormatError(f"the index {folder} has version {version}, and this AEHub reads version "
                          f"{VERSION}; delete it and index again.")
    if sha256 != model.sha256 or shape != model.shape:
        raise WeightsError(
            f"the index {folder} was made with the model {name} of weights {sha256[:12]}, and "
            f"those of {model.name} are {model.sha256[:12]}; delete it and index again.",
            "Or name that model with --model.")
    return generation


@contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise InputError(f"another process writes the index {folder}; try again.") from None
        raise _damaged(folder, f"{DATABASE}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(folder, f"{DATABASE}: {error}") from error


@contextmanager
def _naming_failure(folder: Path) -> Iterator[None]:
    """Name the index in errors of the file system."""
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        raise InputError(f"the index {folder} cannot be written: "
                         f"{getattr(error, 'strerror', None) or error}; choose another folder."
                         ) from error


def _missing(folder: Path) -> InputError:
    return InputError(f"there is no index in {folder}; index some clips first.",
                      "Run: aehub index FOLDER")


def _damaged(folder: Path, reason: str) -> FormatError:
    return FormatError(f"the index {folder} is damaged ({reason}); delete it and index again.")
