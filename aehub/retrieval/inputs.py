"""Files of a library: which ones a folder holds, and whether they are those that were read before.

A folder that holds only pictures is one clip, as everywhere; one of clips is many.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aehub.bitstream import is_aev
from aehub.errors import InputError
from aehub.media.file_type import is_hidden, list_folder


class Input(NamedTuple):
    """A clip, picture or compressed file to index, or a folder that cannot be read as it is.

    Attributes:
        path: absolute.
        error: sentence about what is wrong with it, or None.
    """

    path: Path
    error: InputError | None = None


def find_inputs(path: Path, *, each: bool = False, skip: Path | None = None) -> Iterator[Input]:
    """Clips, pictures and compressed files at a path and in the folders below it.

    Args:
        path: a file, which is yielded as it is, or a folder.
        each: take every picture of a folder for itself.
        skip: a folder to leave out.
    """
    path = absolute(path)
    if not path.is_dir():
        yield Input(path)
        return
    for name, folders, _ in os.walk(path):
        folder = Path(name)
        folders[:] = sorted(child for child in folders if not is_hidden(Path(child))
                            and folder / child != skip)
        try:
            yield from _in_folder(folder, each)
        except OSError as error:
            yield Input(folder, InputError(f"{folder} cannot be read: {error.strerror}."))


def _in_folder(folder: Path, each: bool) -> Iterator[Input]:
    listing = list_folder(folder)
    clips = listing.clips + [path for path in listing.others if is_compressed(path)]
    pictures = listing.pictures
    if pictures and not each and clips:
        yield Input(folder, InputError(
            f"{folder} holds pictures and clips, of which the pictures may be one clip or many; "
            "move them apart.", "Or take each for itself with --each."))
    elif len(pictures) > 1 and not each:
        yield Input(folder)
    else:
        yield from map(Input, sorted([*pictures, *clips]))


def is_compressed(path: Path) -> bool:
    """Return whether there is a compressed file of ours at a path."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return is_aev(file.read(16))
    except OSError:
        return False


def absolute(path: Path) -> Path:
    """The path from the root, links left as they are."""
    return Path(os.path.abspath(path.expanduser()))


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; of a folder, of its pictures.

    Raises:
        OSError: there is no such file.
    """
    found = [one.stat() for one in (list_folder(path).pictures if path.is_dir() else [path])]
    if not found:
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return sum(one.st_size for one in found), max(one.st_mtime_ns for one in found)


def digest_of(path: Path) -> str:
    """SHA-256 of the content of a file, or of the pictures of a folder."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256(b"folder")
    for picture in list_folder(path).pictures:
        found.update(digest_of(picture).encode())
    return found.hexdigest()


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
