"""A model folder as bytes: what may lie in it, how large, and read without trusting any of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
# Pictures that a card shows.
_PICTURE, _PICTURE_BYTES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.png"), 4_000_000

# Files name their model in at most 40 bytes, and a name may become part of a path or an address.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def is_model_name(text: object) -> bool:
    """Whether `text` may name a model: letters, digits, dot, hyphen, underscore, at most 40."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def limit_of(name: str) -> int | None:
    """Most bytes of the file of a model that has this name; None if no such file belongs to one."""
    return _LIMITS.get(name) or (_PICTURE_BYTES if _PICTURE.fullmatch(name) else None)


def problem_of(data: bytes) -> str | None:
    """Reason why `data` cannot be read as safetensors; None if it can.

    The library holds types, shapes and places of all tensors to the file, but 500,000 empty tensors
    in a header of 33 MB take it 4 s and 440 MB: the header is bounded first.
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
    """The bytes of one file of a model folder.

    Args:
        folder: the model folder.
        name: one of the names above.
        limit: most bytes that are read.

    Raises:
        WeightsError: it is missing, no plain file, larger, or a link out of the folder.
    """
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{folder} has no {name}; it is not a whole model folder. "
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
        raise WeightsError(f"{path} is only a pointer of Git LFS, which names the file itself; run "
                           "git lfs pull in its folder, or download the model again.")
    if data is None or len(data) > limit:
        raise WeightsError(f"{path} is larger than {limit} bytes; it is not a model of AEHub.")
    return data


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether what `path` leads to lies in `folder`, or in the hub cache that `folder` is of."""
    home = folder.resolve()
    # In the cache of huggingface_hub the files of a snapshot are links into a store of blobs.
    if home.parent.name == "snapshots" and home.parent.parent.name.startswith("models--"):
        home = home.parent.parent.parent
    return path.resolve().is_relative_to(home)


def refuse_foreign(folder: Path, config: Mapping[str, Any]) -> None:
    """Say of a config of another library whose it is.

    Raises:
        WeightsError: it is one.
    """
    if config.get("architecture") is not None:
        return
    if (name := config.get("_class_name")) is not None:
        kind = f"{str(name)[:60]!r} of diffusers"
    elif "model_type" in config or "architectures" in config:
        kind = f"{str(config.get('model_type'))[:60]!r} of transformers"
    else:
        return
    raise WeightsError(f"{folder} holds a model {kind}, which this version of AEHub cannot read; "
                       "give a model of AEHub, whose config.json names an architecture.")


def config_of(folder: Path) -> dict[str, Any]:
    """config.json as it lies there: an object, nothing in it checked.

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
