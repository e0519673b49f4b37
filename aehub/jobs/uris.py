"""Inputs by address, read by fsspec: s3://bucket/clip.mp4, hf://datasets/org/name/clip.mp4, http://...

The program that plans asks a file system for names and sizes alone. A worker fetches an input into
a temporary file, works on that and deletes it, so that many machines need no file system in common.
Results are never written to an address: only a folder can be locked, and its manifest appended.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from aehub.errors import AEHubError, InputError
from aehub.inputs import Kinds
from aehub.media.file_type import PICTURE_SUFFIXES, VIDEO_SUFFIXES, is_hidden

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_CREDENTIALS = re.compile(r"[^/]*:[^/]*@")
"""After the slashes of an address: a name and a password."""
_CLIPS = VIDEO_SUFFIXES | {".gif"}
"""Nothing is read to tell a clip from a picture, so that a listing is one request: names decide."""
_PICTURES = PICTURE_SUFFIXES - _CLIPS
_VERSIONS = ("ETag", "etag", "e_tag", "LastModified", "Last-Modified", "last_modified", "mtime",
             "updated", "created", "blob_id", "Content-MD5", "Digest", "md5Hash")
"""Facts about a file that change with its content, as different file systems call them."""
_MAX_REASON = 200
"""Characters of another library's message in a sentence of ours."""


class RemoteFile(NamedTuple):
    """A file at an address, or an address that cannot be read as it is.

    Attributes:
        uri: of the file.
        name: path below the operand.
        stamp: size in bytes, and a hash of what changes with its content.
        error: sentence about what is wrong with it, or empty.
    """

    uri: str
    name: PurePosixPath
    stamp: tuple[int, int] = (0, 0)
    error: str = ""


def is_uri(operand: str) -> bool:
    """Return whether an operand is an address, `file://` ones excepted, which are paths."""
    match = _URI.match(operand)
    return match is not None and match[1].lower() != "file"


def without_scheme(operand: str) -> str:
    """The path of a `file://` address; any other operand as it is."""
    match = _URI.match(operand)
    if match is None or match[1].lower() != "file":
        return operand
    return unquote(urlsplit(operand).path)


def refuse_uri_output(folder: str) -> None:
    """Refuse a folder of results that is an address.

    Raises:
        InputError: it is one.
    """
    if is_uri(folder):
        raise InputError(f"{folder} is an address, and results are written into a folder, which "
                         "can be locked and resumed; give a folder, and copy it there afterwards.")


def find_remote(uri: str, kinds: Kinds, *, each: bool = False) -> Iterator[RemoteFile]:
    """Files at an address: itself, those below a folder, or those of a pattern with * in it.

    Args:
        uri: a file is yielded as it is, whatever it holds.
        kinds: of files to find in folders, by their names.
        each: take every picture of a folder for itself.
    """
    try:
        system, root = _open(uri, anew=True)
        with _naming_errors(uri):
            found = _list(system, root)
    except InputError as error:
        yield RemoteFile(uri, _name_of(uri), error=error.message)
        return
    if not isinstance(found, list):
        yield _remote(system.unstrip_protocol(root), _name_of(uri), found)
        return
    listed = [(system.unstrip_protocol(path), path, info) for path, info in found
              if _is_pattern(root) or _kind(path, kinds)]
    of_pictures = set[str]() if each else _picture_folders([full for full, _, _ in listed])
    yield from (RemoteFile(folder, _name_of(folder), error=f"{folder} holds pictures, which are "
                           "one clip only in a folder of this machine; fetch it, or take each "
                           "picture for itself with --each.") for folder in sorted(of_pictures))
    below = len(_base(root))
    for full, path, info in listed:
        if _folder_of(full) not in of_pictures:
            yield _remote(full, PurePosixPath(path[below:].lstrip("/")), info)
    if not listed:
        yield RemoteFile(uri, _name_of(uri), error=f"{uri} holds nothing to work on; give another "
                                                   "address.")


def _list(system: Any, root: str) -> Any:
    """Facts of a file, or paths and facts of the files of a folder or pattern, by path."""
    if _is_pattern(root):
        found = dict(system.glob(root, detail=True))
    else:
        info = system.info(root)
        if info.get("type") != "directory":
            return info
        found = system.find(root, detail=True)
    return sorted((path, info) for path, info in found.items() if info.get("type") != "directory")


def _is_pattern(root: str) -> bool:
    # A question mark begins the query of an http address.
    return "*" in root or "[" in root


def _base(root: str) -> str:
    """The folder that names begin below."""
    parts = root.split("/")
    fixed = next((at for at, part in enumerate(parts) if _is_pattern(part)), len(parts))
    return "/".join(parts[:fixed]).rstrip("/")


def _folder_of(uri: str) -> str:
    return uri.rpartition("/")[0]


def _kind(path: str, kinds: Kinds) -> str:
    """The kind of a file by its name; empty if it is not asked for."""
    name = PurePosixPath(path)
    suffix = name.suffix.lower()
    if is_hidden(Path(name.name)):
        return ""
    if suffix == ".aev":
        return "compressed" if kinds.compressed else ""
    if not kinds.media:
        return ""
    return "clip" if suffix in _CLIPS else "picture" if suffix in _PICTURES else ""


def _picture_folders(uris: list[str]) -> set[str]:
    """Folders that hold several pictures, which may be one clip or many."""
    counts = Counter(_folder_of(uri) for uri in uris if _kind(uri, Kinds()) == "picture")
    return {folder for folder, count in counts.items() if count > 1}


def _remote(uri: str, name: PurePosixPath, info: Mapping[str, Any]) -> RemoteFile:
    facts = [(key, str(info[key])) for key in _VERSIONS if info.get(key) is not None]
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return RemoteFile(uri, name, (int(info.get("size") or 0), int.from_bytes(digest[:7], "big")))


def _name_of(uri: str) -> PurePosixPath:
    return PurePosixPath(unquote(PurePosixPath(urlsplit(uri).path).name) or "input")


@contextmanager
def fetched(uri: str, beside: str | None = None) -> Iterator[str]:
    """The path of a temporary copy of the file at an address, of its name, within the block.

    Args:
        uri: of the file.
        beside: a path in the folder to fetch into; by default the folder of temporary files.

    Raises:
        InputError: it cannot be read.
    """
    folder = None if beside is None else Path(beside).parent
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder) as place:
        path = str(Path(place) / _name_of(uri).name)
        system, root = _open(uri)
        with _naming_errors(uri):
            system.get_file(root, path)
        yield path


def _open(uri: str, *, anew: bool = False) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Args:
        uri: the address.
        anew: forget what the file system remembers of earlier listings.

    Raises:
        InputError: there is no library for it, or it holds a password.
    """
    match = _URI.match(uri)
    assert match is not None
    if _CREDENTIALS.match(match[2]):
        raise InputError(f"{match[1]}:// is followed by a name and a password, which manifests and "
                         "messages would repeat; put them where its library looks for them.")
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError:
        raise InputError(f"{uri} needs fsspec, which is not installed; run: "
                         "pip install 'aehub[uri]'") from None
    with _naming_errors(uri):
        try:
            system, root = url_to_fs(uri)
        except ImportError as error:
            raise InputError(f"{match[1]}:// needs a library that is not installed: "
                             f"{_short(error)}") from error
        if anew:
            system.invalidate_cache()
    return system, str(root)


@contextmanager
def _naming_errors(uri: str) -> Iterator[None]:
    """Turn whatever a file system raises into an `InputError` that names the address."""
    try:
        yield
    except AEHubError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{uri} is not found; check the address.") from error
    except PermissionError as error:
        raise InputError(f"{uri} may not be read: {_short(error)}") from error
    # Libraries of other people, each with errors of its own.
    except Exception as error:
        raise InputError(f"{uri} cannot be read: {_short(error)}") from error


def _short(error: Exception) -> str:
    """The message of an error of another library, on one line that ends in a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= _MAX_REASON else text[:_MAX_REASON].rstrip() + "..."
    return text if text.endswith(".") else f"{text}."
