"""The index of a library: fingerprints of many files in one folder.

    vectors-N.f16      float16 [n, D]: a memory map
    signatures-N.i8    int8 [n, 8, K]: a memory map
    files.sqlite       files, their contents, the rows of these and the times of their segments
    lock.sqlite        held by the process that writes

Rows are appended first and count once the database names them: an interrupted run leaves rows that
nothing names, and the next run writes over them. N grows when the rows of removed files are left
out. Files of equal content share their rows. Names that are no UTF-8 are stored as bytes.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aehub.errors import AEHubError, BusyError, FormatError, InputError, WeightsError
from aehub.media.orientation import ORDER
from aehub.retrieval.fingerprint import FingerprintModel, Fingerprints

REPAIR = "index the same folders again, which repairs it"
"""Remedy for lost fingerprints."""
_OF_THE_SYSTEM = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
                  sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
"""Errors of SQLite that are not of the database itself."""
VERSION = 1
"""Of the arrangement of the folder."""
DATABASE, LOCK = "files.sqlite", "lock.sqlite"
_UNIT = 2048
"""Vectors are multiples of 1 / _UNIT: their products are exact in float32, in whichever order they
are summed. Cosines change by less than 0.001."""
_PATIENCE = 10.0
"""Seconds that a reader waits while a row of the database is written."""


class StoredContent(NamedTuple):
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
        mtime_ns: time of its last change then, in nanoseconds; of a folder, a hash.
        content: number of its content; None if the index lost it by damage.
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
    contents: list[StoredContent]
    files: list[StoredFile]
    generation: int = 0

    def fingerprints(self, content: StoredContent) -> Fingerprints:
        """Fingerprints of one content.

        Raises:
            FormatError: they are not as they were written.
        """
        vectors, signatures = (np.asarray(rows[content.rows])
                               for rows in (self.vectors, self.signatures))
        if checksum(vectors, signatures) != content.crc:
            raise damaged(self.folder, "some fingerprints are not as they were written", REPAIR)
        return Fingerprints(content.times, vectors, signatures)

    def paths(self) -> dict[int, list[StoredFile]]:
        """Number of a content -> the files that hold it."""
        found: dict[int, list[StoredFile]] = {}
        for file in self.files:
            if file.content is not None:
                found.setdefault(file.content, []).append(file)
        return found


def default_folder() -> Path:
    """Folder of the index where none is named: `AEHUB_INDEX`, or one in the user's data folder."""
    named = os.environ.get("AEHUB_INDEX", "").strip()
    if named:
        return Path(named).expanduser()
    data = os.environ.get("XDG_DATA_HOME", "").strip()
    if not data and sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA", "")
    if not data:
        data = ("~/Library/Application Support" if sys.platform == "darwin" else
                "~/.local/share")
    return Path(data).expanduser() / "aehub" / "index"


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
        with naming_errors(folder), closing(connect(folder, create=False)) as database:
            try:
                return _read(folder, database, model)
            except FileNotFoundError:
                # Another process put the rows into new files in between.
                if last:
                    raise damaged(folder, "a file of it is missing", REPAIR) from None
    raise AssertionError


def _read(folder: Path, database: sqlite3.Connection, model: FingerprintModel) -> Library:
    database.execute("begin")
    if not database.execute("select name from sqlite_master").fetchall():
        raise _missing(folder)
    generation = check_description(folder, database, model)
    contents = [StoredContent(number, sha256, seconds, first, _times(folder, times, n), crc)
                for number, sha256, seconds, first, n, times, crc in database.execute(
                    "select id, sha256, seconds, first, n, times, crc from contents order by first"
                )]
    files = read_files(database)
    database.rollback()
    n = max((content.rows.stop for content in contents), default=0)
    vector, signature = model.shape
    vectors, signatures = row_files(folder, generation)
    return Library(folder, _mapped(vectors, np.float16, (n, vector)),
                   _mapped(signatures, np.int8, (n, ORDER, signature)), contents, files,
                   generation)


def read_files(database: sqlite3.Connection) -> list[StoredFile]:
    """All files of an index by path."""
    return [StoredFile(os.fsdecode(path), size, mtime_ns, content, os.fsdecode(error))
            for path, size, mtime_ns, content, error in database.execute(
                "select path, size, mtime_ns, content, error from files order by path")]


def as_stored(text: str) -> str | bytes:
    """A path, or a sentence that names one, as the database can hold it; undone by fsdecode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text)
    return text


def _times(folder: Path, stored: bytes, n: int) -> np.ndarray:
    if not isinstance(stored, bytes) or len(stored) != 8 * n or not n:
        raise damaged(folder, "the times of a file are incomplete", REPAIR)
    return np.frombuffer(stored, np.float64)


def _mapped(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Memory map of the rows in a file."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if path.stat().st_size < size:
        raise damaged(path.parent, f"{path.name} has {path.stat().st_size} bytes of {size}", REPAIR)
    if not size:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape)


def row_files(folder: Path, generation: int) -> tuple[Path, Path]:
    """Files of the vectors and of the signatures."""
    return folder / f"vectors-{generation}.f16", folder / f"signatures-{generation}.i8"


def connect(folder: Path, *, create: bool) -> sqlite3.Connection:
    """Open the database.

    Raises:
        InputError: there is none, and it is not to be created.
        FormatError: there are only other files of an index.
    """
    path = folder / DATABASE
    if not create and not path.is_file():
        if any(next(folder.glob(name), None) for name in ("vectors-*.f16", "signatures-*.i8")):
            raise damaged(folder, f"{DATABASE} is missing")
        raise _missing(folder)
    # Transactions of more than one change are begun where they are made.
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)


def check_description(folder: Path, database: sqlite3.Connection, model: FingerprintModel) -> int:
    """Check version and model of an index; return the number of its row files."""
    description = dict(database.execute("select key, value from about"))
    try:
        version, generation = int(description["version"]), int(description["generation"])
        shape = int(description["vector"]), int(description["signature"])
        name, sha256 = description["model"], description["sha256"]
    except (KeyError, ValueError):
        raise damaged(folder, "its description is incomplete") from None
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
def naming_errors(folder: Path) -> Iterator[None]:
    """Name the index in errors of its database and of its files."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The lower byte tells the kind.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xff
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError(f"another process writes the index {folder}; wait until it is done, "
                             "or choose another folder.") from None
        if code in _OF_THE_SYSTEM:
            raise _unusable(folder, str(error)) from error
        raise damaged(folder, f"{DATABASE}: {error}") from error
    except AEHubError:
        raise
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error


def _unusable(folder: Path, reason: str) -> InputError:
    return InputError(f"the index {folder} cannot be read or written: {reason}; choose "
                      "another folder, or change its permissions.")


def _missing(folder: Path) -> InputError:
    return InputError(f"there is no index in {folder}; index some clips first.",
                      "Run: aehub index FOLDER")


def damaged(folder: Path, reason: str, remedy: str = "delete it and index again") -> FormatError:
    """The error for a damaged index."""
    return FormatError(f"the index {folder} is damaged ({reason}); {remedy}.")
