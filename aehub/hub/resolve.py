"""The folder of a model by its name, or by a compressed file: bundled, cached, network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aehub.arguments import check_text
from aehub.errors import HubError, Offline, UnknownModel
from aehub.hub import cache
from aehub.hub.download import download
from aehub.hub.registry import HubName, bundled, folders, known, parse, place_of, readable
from aehub.weights.model_folder import CONFIG, is_model_name, tag_of

ModelName = str | os.PathLike[str]
_OFF = ("0", "no", "off", "false", "never")


def may_fetch() -> bool:
    """Whether models may be fetched in passing, not only when asked (`AEHUB_AUTO_DOWNLOAD`)."""
    return os.environ.get("AEHUB_AUTO_DOWNLOAD", "").strip().lower() not in _OFF


def absent(name: str) -> Offline:
    """The error for a model that is not here and may not be fetched in passing."""
    return Offline(f"the model {name} is not on this machine, and none is fetched in passing; "
                   "press Download on the Models panel.", f"Or run aehub download {name}, "
                   "or unset AEHUB_AUTO_DOWNLOAD.")


def find(name: ModelName) -> Path:
    """The folder of a model; one that is only on a hub is fetched into the cache first.

    Args:
        name: name of a bundled or known model, hub id "org/name" or "org/name@revision", or a
            path to a model folder.

    Raises:
        UnknownModel: there is no such model.
        Offline: it has to be fetched, and there is no network.
        HubError: the hub refuses.
        WeightsError: what the hub sent is not what it should be.
    """
    text = _text(name)
    folder = local(name)
    if folder is not None:
        return folder
    entry, place = known().get(text), parse(text) if isinstance(name, str) else None
    if Path(text).is_dir():
        what = ("a pipeline of diffusers, which this version of AEHub cannot read"
                if Path(text, "model_index.json").is_file() else f"no model: it has no {CONFIG}")
        raise UnknownModel(f"the folder {text} holds {what}; give the folder of a model of AEHub.")
    if entry is None and place is None:
        raise UnknownModel(f"there is no model {text!r} here; known are: {', '.join(known())}. "
                           "Give one of these names, a hub id such as org/name, or the path of a "
                           "model folder.")
    if not may_fetch():
        raise absent(text)
    return download(text, patient=False)


def _text(name: Any) -> str:
    """The name of a model, or the path of its folder, as text.

    Raises:
        InputError: it is neither.
    """
    return check_text("the model", os.fspath(name) if isinstance(name, os.PathLike) else name,
                      "d4-codec, org/name, or the path of a folder")


def local(name: ModelName) -> Path | None:
    """The folder of a model if it is on this machine: bundled, a folder, or cached."""
    text = _text(name)
    if isinstance(name, str):
        here = bundled(text) or _bundled_as(text)
        if here is not None:
            return here
    if text and (Path(text) / CONFIG).is_file():
        return Path(text)
    if not isinstance(name, str):
        return None
    entry = known().get(text)
    place = HubName(entry.repo, entry.revision) if entry else parse(text)
    return cache.snapshot(*place) if place else None


def _bundled_as(text: str) -> Path | None:
    """The bundled model that a hub id means: its repository, at its own revision or none."""
    place = parse(text)
    for entry in known().values() if place else ():
        if place and entry.repo == place.repo and place.revision in (None, entry.revision):
            return bundled(entry.name)
    return None


def find_written(name: str, entropy_hash: bytes, synthesis_hash: bytes, *,
                 fetch: bool = True) -> Path | None:
    """The folder of the very model that a file was written with, None if it cannot be had.

    Searched are the bundled models, then the cache, then the hub: a published model carries its
    hashes as a tag.

    Args:
        name: what the file calls its model.
        entropy_hash: of the file, 8 bytes.
        synthesis_hash: of the file, 8 bytes.
        fetch: whether the hub may be asked.
    """
    tag = f"{entropy_hash.hex()}-{synthesis_hash.hex()}"
    for folder, config in readable(folders()):
        if tag_of(config) == tag:
            return folder
    for cached in cache.models():
        if tag_of(cached.config) == tag:
            return cached.folder
    if not fetch or not is_model_name(name) or not may_fetch():
        return None
    place = HubName(place_of(name).repo, tag)
    try:
        return download(str(place), patient=False)
    except (HubError, UnknownModel):
        return None
