"""Find the folder of a model by its name or by its hashes: bundled, cached, on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aehub.arguments import check_text
from aehub.errors import HubError, Offline, UnknownModel, WeightsError
from aehub.files import FilePath
from aehub.hub import cache
from aehub.hub.download import download
from aehub.hub.registry import (
    RepoRef,
    bundled,
    bundled_folders,
    parse_ref,
    readable_configs,
    registry_entries,
    repo_of,
)
from aehub.weights import foreign
from aehub.weights.architectures import record_errors
from aehub.weights.model_folder import CONFIG, is_model_name, tag_of

ModelName = FilePath
"""Name of a model: bundled, a hub id, or the path of its folder."""
_OFF = ("0", "no", "off", "false", "never")


def may_fetch() -> bool:
    """Return whether loading a model may download it (`AEHUB_AUTO_DOWNLOAD`)."""
    return os.environ.get("AEHUB_AUTO_DOWNLOAD", "").strip().lower() not in _OFF


def not_local_error(name: str) -> Offline:
    """The error for a model that is not on this machine where loading may not download."""
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
    text = _name_text(name)
    folder = local(name)
    if folder is not None:
        return folder
    entry, ref = registry_entries().get(text), parse_ref(text) if isinstance(name, str) else None
    if Path(text).is_dir():
        raise UnknownModel(f"the folder {text} holds no model: it has no {CONFIG} with weights in "
                           "safetensors, nor vae/ with them; give the folder of a model.")
    if entry is None and ref is None:
        raise UnknownModel(f"there is no model {text!r} here; known are: "
                           f"{', '.join(registry_entries())}. "
                           "Give one of these names, a hub id such as org/name, or the path of a "
                           "model folder.", " ".join(record_errors()))
    if not may_fetch():
        raise not_local_error(text)
    return download(text, patient=False)


def _name_text(name: Any) -> str:
    """The name of a model, or the path of its folder, as text.

    Raises:
        InputError: it is neither.
    """
    return check_text("the model", os.fspath(name) if isinstance(name, os.PathLike) else name,
                      "d4-codec, org/name, or the path of a folder")


def local(name: ModelName) -> Path | None:
    """The folder of a model if it is on this machine: bundled, a folder, or cached."""
    text = _name_text(name)
    if isinstance(name, str):
        folder = bundled(text) or _bundled_by_repo(text)
        if folder is not None:
            return folder
    if text and (folder := foreign.model_folder(Path(text))) is not None:
        return folder
    if not isinstance(name, str):
        return None
    entry = registry_entries().get(text)
    ref = RepoRef(entry.repo, entry.revision) if entry else parse_ref(text)
    return cache.snapshot(*ref) if ref else None


def _bundled_by_repo(text: str) -> Path | None:
    """The bundled model of a hub id that names its repository, at its own revision or none."""
    ref = parse_ref(text)
    for entry in registry_entries().values() if ref else ():
        if ref and entry.repo == ref.repo and ref.revision in (None, entry.revision):
            return bundled(entry.name)
    return None


def find_by_hashes(name: str, entropy_hash: bytes, synthesis_hash: bytes, *,
                   fetch: bool = True) -> Path | None:
    """The folder of the exact model that a file was written with, None if it is not found.

    Searches the bundled models, then the cache, the folders that compressed files were written
    with, and the hub, where a published model has its hashes as a tag.

    Args:
        name: the model's name in the file.
        entropy_hash: of the file, 8 bytes.
        synthesis_hash: of the file, 8 bytes.
        fetch: search the hub too.
    """
    tag = f"{entropy_hash.hex()}-{synthesis_hash.hex()}"
    for folder, config in readable_configs(bundled_folders()):
        if tag_of(config) == tag:
            return folder
    for cached in cache.models():
        if (tag_of(cached.config) or _foreign_tag(cached.folder)) == tag:
            return cached.folder
    if (noted := cache.remembered(tag)) is not None and _has_tag(noted, tag):
        return noted
    if not fetch or not is_model_name(name) or not may_fetch():
        return None
    try:
        return download(f"{repo_of(name)}@{tag}", patient=False)
    except (HubError, UnknownModel):
        return None


def _has_tag(folder: Path, tag: str) -> bool:
    """Return whether a folder still holds the model that it was noted for."""
    try:
        return tag_of(foreign.read_config(folder, hashes=True)) == tag
    except WeightsError:
        return False


def _foreign_tag(folder: Path) -> str | None:
    """Tag of a cached model of another library, by the names of its blobs."""
    model = foreign.find(folder)
    digest = model.digest(trust_cache=True).hex() if model else ""
    return f"{digest[:16]}-{digest[16:32]}" if model else None
