"""Files that a user names: which ones a path stands for, and whether they were read before.

A folder that holds only pictures is one clip, as everywhere; one of clips is many; one that holds
both is an error. A path with * or ? that is no file is a pattern.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from aehub.bitstream import is_aev_file
from aehub.files import is_special
from aehub.media.file_type import is_hidden, list_folder


class Input(NamedTuple):
    """A clip, picture or compressed file, or a folder that cannot be read as it is.

    Attributes:
        path: absolute.
        error: sentence about what is wrong with it, or empty.
    """

    path: Path
    error: str = ""


class Kinds(NamedTuple):
    """Kinds of files that are looked for in folders.

    Attributes:
        media: clips and pictures.
        compressed: `.aev` files; where no others are looked for, damaged ones are found too.
    """

    media: bool = True
    compressed: bool = True


ALL_KINDS = Kinds()


def expand(path: Path) -> list[Path]:
    """The paths that a pattern stands for, by name; any other path as it is.

    A pattern has *, ? or [...] in it, and ** for any folders; one that matches nothing is left as
    it is. Pipes and devices match none: they would be waited for.
    """
    text = str(expanded(path))
    if not has_magic(text) or os.path.lexists(text):
        return [path]
    found = map(Path, sorted(glob(text, recursive=True)))
    return [one for one in found if not is_special(one)] or [path]


def expand_all(paths: Iterable[Path]) -> list[Path]:
    """`expand` of each path, in order."""
    return [found for path in paths for found in expand(path)]


def find_inputs(path: Path, *, each: bool = False, skip: Path | None = None,
                kinds: Kinds = ALL_KINDS) -> Iterator[Input]:
    """Clips, pictures and compressed files at a path and in the folders below it.

    Links to folders are followed, each folder is read once: by its own name if that is below too.

    Args:
        path: a file, which is yielded as it is, or a folder.
        each: take every picture of a folder for itself.
        skip: a folder to leave out.
        kinds: of files to find in folders.
    """
    path = absolute(path)
    if not os.path.isdir(path):
        yield Input(path)
        return
    seen: set[tuple[int, int]] = set()
    if skip is not None:
        with suppress(OSError):
            seen.add(file_number(skip))
    # The next one last; links after all other folders.
    folders, links = [path], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            number = file_number(folder)
            if number in seen:
                continue
            seen.add(number)
            below = [child for child in sorted(folder.iterdir(), reverse=True)
                     if not is_hidden(child) and os.path.isdir(child)]
            found = list(_in_folder(folder, each, kinds))
        except OSError as error:
            yield Input(folder, f"{folder} cannot be read: {error.strerror or error}.")
            continue
        yield from found
        folders += [child for child in below if not child.is_symlink()]
        links += [child for child in reversed(below) if child.is_symlink()]


def _in_folder(folder: Path, each: bool, kinds: Kinds) -> Iterator[Input]:
    listing = list_folder(folder)
    clips, pictures = (listing.clips, listing.pictures) if kinds.media else ([], [])
    if kinds.compressed:
        clips = clips + [path for path in listing.others if is_aev_file(path) or (
            not kinds.media and path.suffix.lower() == ".aev" and path.is_file())]
    if pictures and not each and clips:
        yield Input(folder, f"{folder} holds pictures and clips, of which the pictures may be one "
                    "clip or many; move them apart, or take each for itself with --each.")
    elif len(pictures) > 1 and not each:
        yield Input(folder)
    else:
        yield from map(Input, sorted([*pictures, *clips]))


def file_number(path: Path) -> tuple[int, int]:
    """Numbers of device and file: those of links are equal.

    Raises:
        OSError: there is no such file.
    """
    found = path.stat()
    return found.st_dev, found.st_ino


def has_vanished(path: Path) -> bool:
    """Return whether a path certainly leads nowhere, and not only where nobody may look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def absolute(path: Path) -> Path:
    """The path from the root, links left as they are."""
    return Path(os.path.abspath(expanded(path)))


def expanded(path: Path) -> Path:
    """The path with the user's folder for a leading ~; a name such as ~old.mp4 stays."""
    return Path(os.path.expanduser(path))


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; of a folder the size of its
    pictures, and a hash of their names, sizes and times.

    Raises:
        OSError: there is no such file.
    """
    if not path.is_dir():
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    pictures = [(os.fsencode(one.name), one.stat()) for one in list_folder(path).pictures]
    if not pictures:
        raise FileNotFoundError(2, "No such file or directory", str(path))
    facts = [(name, one.st_size, one.st_mtime_ns) for name, one in pictures]
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return sum(size for _, size, _ in facts), int.from_bytes(digest[:7], "big")


def digest_of(path: Path) -> str:
    """SHA-256 of the content of a file, or of the pictures of a folder."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256(b"folder")
    for picture in list_folder(path).pictures:
        found.update(digest_of(picture).encode())
    return found.hexdigest()


def named(path: str, message: str) -> str:
    """A message about a file that begins with its path."""
    name = Path(path).name
    if path in message:
        return message
    return path + message[len(name):] if message.startswith(f"{name} ") else f"{path}: {message}"
