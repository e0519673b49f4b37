"""From a name, or from a compressed file, to the folder of a model: bundled, cached, network."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.arguments import check_text
from aehub.errors import HubError, InputError, ModelError, UnknownModel
from aehub.hub import cache
from aehub.hub.bundled import bundled, folders, readable
from aehub.hub.download import absent, download, may_fetch
from aehub.hub.names import HubName, parse
from aehub.hub.registry import known, place_of
from aehub.models.architectures import COMPRESSION
from aehub.models.folder import CONFIG, WEIGHTS, is_model_name
from aehub.models.tag import tag_of

if TYPE_CHECKING:
    import torch

    from aehub.codec.model import Codec
    from aehub.container import FileHead
    from aehub.hub.model import Model
    from aehub.models.device import Device

_Name = str | os.PathLike[str]


def find(name: _Name) -> Path:
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


def local(name: _Name) -> Path | None:
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


def load(name: _Name = "d4-codec", *, device: Device = "auto") -> Model:
    """Load a model, once: later calls with the same arguments return the same object.

    Args:
        name: name of a bundled model, hub id "org/name" or "org/name@revision", or a path to a
            model folder. What is on a hub is fetched once and found in the cache from then on.
        device: "auto" for a GPU of CUDA if there is one, and the processor otherwise; "cpu",
            "cuda", "cuda:1", "mps"; or a `torch.device`.

    Raises:
        UnknownModel: there is no such model.
        Offline: it has to be fetched, and there is no network.
        HubError: the hub refuses.
        WeightsError: its weights are damaged, tampered with or of another architecture.
        InputError: the device is not on this machine.
    """
    return _load_folder(find(name), device)


def codec_of(given: _Name | Model | Codec, *, device: Device = "auto") -> Codec:
    """The codec that is given, or that `load` finds by the name that is given.

    Raises:
        ModelError: the model makes no compressed files.
        InputError: the device is not on this machine, or the model that is given is elsewhere.
    """
    from aehub.codec.model import Codec

    model = model_of(given, device)
    if isinstance(model, Codec):
        return model
    codecs = [entry.name for entry in known().values() if entry.task == COMPRESSION]
    raise ModelError(f"{getattr(model, 'name', type(model).__name__)} makes no compressed files; "
                     f"use {' or '.join(codecs)}.")


def model_of(given: Any, device: Device) -> Any:
    """The model that is given, or that `load` finds by the name that is given.

    Raises:
        InputError: the device is not on this machine, or the model that is given is elsewhere.
    """
    if not (hasattr(given, "name") and hasattr(given, "device")):
        return load(given, device=device)
    if device != "auto":
        from aehub.models.device import resolve_device

        wanted = resolve_device(device)
        if (wanted.type, wanted.index or 0) != (given.device.type, given.device.index or 0):
            raise InputError(f"the model {given.name} was loaded on {given.device}, not on "
                             f"{wanted}; load it there, or leave the device out.")
    return given


def load_written(head: FileHead, given: _Name | Model | Codec | None = None, *,
                 device: Device = "auto") -> Codec:
    """The model that a file was written with: `given`, or found by the hashes in its head.

    Args:
        head: of the file.
        given: where the model lies, or the model, if it is not to be found by name.
        device: as `load`.

    Raises:
        UnknownModel: neither the model nor one of its name is on this machine.
        WeightsError: its weights cannot be used, or are not those of the file.
        ModelError: it makes no compressed files.
        FormatError: the file's coder is newer.
    """
    from aehub.codec.decompress import check_model

    codec = _written(head, device) if given is None else codec_of(given, device=device)
    check_model(head, codec)
    return codec


def _written(head: FileHead, device: Device) -> Codec:
    from aehub.entropy import CODER_PREDICTED

    hashes = head.entropy_hash, head.synthesis_hash
    folder = find_written(head.model, *hashes, fetch=head.coder <= CODER_PREDICTED)
    if folder is None:
        # A name from a file is no path: only what is bundled or known may be meant by it.
        folder = bundled(head.model)
    if folder is None:
        raise UnknownModel(
            f"the file was written with the model {head.model[:80]!r} "
            f"({'-'.join(part.hex() for part in hashes)}), which is not on this machine.",
            f"{'Fetch it with aehub download, or n' if is_model_name(head.model) else 'N'}"
            "ame its folder or hub id with --model.")
    return codec_of(_load_folder(folder, device))


def _load_folder(folder: Path, device: Device) -> Model:
    from aehub.models.device import resolve_device

    folder = folder.resolve()
    stamps = tuple(_stamp(folder / name) for name in (CONFIG, WEIGHTS))
    return _load(folder, stamps, resolve_device(device))


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=8)
def _load(folder: Path, stamps: tuple[int, ...], device: torch.device) -> Model:
    from aehub.hub.model import Model

    return Model.from_folder(folder, device=device)
