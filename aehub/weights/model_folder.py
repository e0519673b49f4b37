"""Files of a model folder, read without trusting them: names, size limits, config, revision tag.

A new format version of config.json adds one function here, so that every model ever saved stays
loadable:

    MIGRATIONS = {1: from_1_to_2, 2: from_2_to_3}

The tag of a model on a hub names its numbers, so it never moves:

    f3675de7ee4a9b43-191b9cb466725daf          a codec: entropy hash, synthesis hash
    sha256-0123456789abcdef0123456789abcdef    any other model: first half of its weights' hash
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, deserialize

from aehub.errors import WeightsError
from aehub.files import is_lfs_pointer

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MAX_CONFIG = 100_000
"""Bytes of a config.json."""
MAX_WEIGHTS = 64 * 1024 * 1024
"""Bytes of a model.safetensors."""
MAX_HEADER = 1024 * 1024
"""Bytes of the header of a model.safetensors; one of 500 tensors takes 60 kB."""
_LIMITS = {CONFIG: MAX_CONFIG, WEIGHTS: MAX_WEIGHTS, CARD: 1_000_000}
# Pictures of a card.
_PICTURE, _PICTURE_BYTES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.png"), 4_000_000

# File headers have 40 bytes for it, and a name may become part of a path or a URL.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def is_model_name(text: object) -> bool:
    """Check that `text` is a model name: letters, digits, dot, hyphen, underscore, at most 40."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def max_bytes(name: str) -> int | None:
    """Size limit in bytes of a model folder's file of this name; None if none is called so."""
    return _LIMITS.get(name) or (_PICTURE_BYTES if _PICTURE.fullmatch(name) else None)


def safetensors_error(data: bytes) -> str | None:
    """Reason why `data` cannot be read as safetensors; None if it can.

    The library checks types, shapes and offsets of all tensors, but 500,000 empty tensors in a
    header of 33 MB take it 4 s and 440 MB: the header is bounded first.
    """
    length = int.from_bytes(data[:8], "little")
    if MAX_HEADER < length <= len(data):
        return f"its header of {length} bytes is longer than {MAX_HEADER}"
    try:
        deserialize(data)
    except SafetensorError as error:
        return str(error).partition("\n")[0][:200].removeprefix("Error while deserializing: ")
    return None


def read_file(folder: Path, name: str, limit: int) -> bytes:
    """Read one file of a model folder.

    Args:
        folder: the model folder.
        name: one of the names above.
        limit: of its size in bytes.

    Raises:
        WeightsError: it is missing, no plain file, larger, or a link out of the folder.
    """
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{folder} has no {name}; it is not a complete model folder. "
                           "Download the model again.")
    if not stays_inside(folder, path):
        raise WeightsError(f"{path} is a link to a file outside of its folder; put a copy of the "
                           "file there.")
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1) if path.stat().st_size <= limit else None
    except OSError as err:
        raise WeightsError(f"{path} cannot be read: {err.strerror}.") from err
    if data is not None and is_lfs_pointer(data):
        raise WeightsError(f"{path} is a Git LFS pointer instead of the file itself; run git lfs "
                           "pull in its folder, or download the model again.")
    if data is None or len(data) > limit:
        raise WeightsError(f"{path} is larger than {limit} bytes; it is not a model of AEHub.")
    return data


def stays_inside(folder: Path, path: Path) -> bool:
    """Check that `path`, links resolved, lies in `folder` or in the hub cache that holds it."""
    home = folder.resolve()
    # In the cache of huggingface_hub the files of a snapshot are links to blobs.
    for parent in home.parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            return path.resolve().is_relative_to(parent.parent)
    return path.resolve().is_relative_to(home)


def is_complete(folder: Path) -> bool:
    """Return whether config and weights of a model of AEHub are present."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def read_raw_config(folder: Path) -> dict[str, Any]:
    """Read config.json as an object, its contents unchecked.

    Raises:
        WeightsError: it is missing, too large or no JSON object.
    """
    raw = read_file(folder, CONFIG, MAX_CONFIG)
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError) as err:
        raise WeightsError(f"{folder / CONFIG} is not JSON; download the model again.") from err
    if not isinstance(config, dict):
        raise WeightsError(f"{folder / CONFIG} is not a JSON object; download the model again.")
    return config


Config = dict[str, Any]
Migration = Callable[[Config], Config]

MIGRATIONS: dict[int, Migration] = {}
"""Format version -> function that converts a config of it to the next version."""


def migrate(config: Mapping[str, Any], newest: int,
            migrations: Mapping[int, Migration] | None = None) -> Config:
    """Convert a config to format version `newest`, or as far as migrations exist.

    Args:
        config: config.json of any version, not modified.
        newest: format version to convert to.
        migrations: `MIGRATIONS` by default.
    """
    steps = MIGRATIONS if migrations is None else migrations
    current = dict(config)
    version = current.get("format_version")
    while type(version) is int and version < newest and version in steps:
        version += 1
        current = {**steps[version - 1](dict(current)), "format_version": version}
    return current


_HASH, _DIGEST = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}|sha256-[0-9a-f]{32}")
_TAG_DIGITS = 32
"""Hexadecimal digits of a SHA-256 in a tag."""


def tag_of(config: Mapping[str, Any]) -> str | None:
    """Tag of a model by its config; None if the config has no hashes.

    A compressed file carries both hashes of its codec, which lead to the revision that wrote it.
    """
    hashes = [config.get(name) for name in ("entropy_hash", "synthesis_hash")]
    if hashes == [None, None]:
        digest = config.get("sha256")
        return f"sha256-{str(digest)[:_TAG_DIGITS]}" if _matches(_DIGEST, digest) else None
    return "-".join(map(str, hashes)) if all(_matches(_HASH, text) for text in hashes) else None


def is_tag(text: str | None) -> bool:
    """Check that `text` is a tag of `tag_of`."""
    return _matches(_TAG, text)


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None
