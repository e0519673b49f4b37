"""Load models by name, or for a compressed file; each is loaded once in a process."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from aehub.arguments import fulfils
from aehub.config import DEFAULT_CODEC
from aehub.errors import InputError, ModelError, UnknownModel
from aehub.hub import cache
from aehub.hub.known import known_models
from aehub.hub.registry import bundled
from aehub.hub.remote import list_models
from aehub.hub.resolve import ModelName, find, find_by_hashes
from aehub.weights import foreign
from aehub.weights.architectures import (
    FIRST_OF_PACKAGES,
    architecture,
    architecture_of_payload,
    record_errors,
)
from aehub.weights.model_folder import is_model_name, tag_of

if TYPE_CHECKING:
    import torch

    from aehub.bitstream import FileHeader
    from aehub.codecs.base import Codec
    from aehub.hub.model import Model
    from aehub.weights.device import Device

# In quotes, because they load torch.
ModelLike = Union[ModelName, "Model", "Codec"]
"""Name of a model, or a loaded one."""


def load(name: ModelName = DEFAULT_CODEC, *, device: Device = "auto") -> Model:
    """Load a model, once: later calls with the same arguments return the same object.

    Args:
        name: name of a bundled model, hub id "org/name" or "org/name@revision", or a path to a
            model folder. A model on a hub is fetched once and then found in the cache.
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


def resolve_codec(model: ModelLike, *, device: Device = "auto") -> Codec:
    """Return a codec, loading it if its name is given.

    Raises:
        ModelError: the model makes no compressed files.
        InputError: it lacks a member of `Codec`, the device is not on this machine, or the loaded
            model is on another one.
    """
    from aehub.codecs.base import Codec

    loaded = resolve_model(model, device)
    if fulfils(loaded, Codec):
        return loaded
    raise _no_codec(loaded.name)


def codec_tag(model: ModelName) -> str:
    """Text that identifies the weights of a codec, which is not loaded; fetched, as by `load`.

    Raises:
        ModelError: the model makes no compressed files; otherwise as `load`.
    """
    config = foreign.read_config(find(model), hashes=True)
    if not architecture(config.get("architecture")).payload_formats:
        raise _no_codec(str(config.get("name") or model))
    return tag_of(config) or json.dumps(config, sort_keys=True)


def _no_codec(name: str) -> ModelError:
    codecs = [entry.name for entry in list_models(states=["bundled"])
              if entry.compresses and entry.name != name]
    return ModelError(f"{name} makes no compressed files; use "
                      f"{' or '.join(codecs) or 'a model that does'}.")


def resolve_model(model: Any, device: Device) -> Any:
    """Return a model, loading it if its name is given.

    Raises:
        InputError: it is no name and no model, the device is not on this machine, or the loaded
            model is on another one.
    """
    if isinstance(model, (str, os.PathLike)):
        return load(model, device=device)
    if not (hasattr(model, "name") and hasattr(model, "device")):
        from aehub.codecs.base import Codec
        from aehub.generators.base import LatentModel

        for protocol in (Codec, LatentModel):
            fulfils(model, protocol)
        # It is meant for no model: the sentence gives examples of names.
        return load(model, device=device)
    if device != "auto":
        from aehub.weights.device import resolve_device

        wanted = resolve_device(device)
        if (wanted.type, wanted.index or 0) != (model.device.type, model.device.index or 0):
            raise InputError(f"the model {model.name} was loaded on {model.device}, not on "
                             f"{wanted}; load it there, or leave the device out.")
    return model


def load_for_file(head: FileHeader, model: ModelLike | None = None, *,
                  device: Device = "auto") -> Codec:
    """Load the model that a file was written with, by the hashes in its header.

    Args:
        head: header of the file.
        model: the model or its name or folder, instead of searching for the hashes.
        device: as `load`.

    Raises:
        UnknownModel: neither the model nor one of its name is on this machine.
        WeightsError: its weights cannot be used, or are not those of the file.
        ModelError: it makes no compressed files.
        FormatError: the file's coder is newer.
    """
    from aehub.codecs.decompress import check_model

    codec = _load_by_hashes(head, device) if model is None else resolve_codec(model, device=device)
    check_model(head, codec)
    return codec


def _load_by_hashes(head: FileHeader, device: Device) -> Codec:
    hashes = head.entropy_hash, head.synthesis_hash
    is_known = architecture_of_payload(head.coder) is not None
    folder = find_by_hashes(head.model, *hashes, fetch=is_known)
    if folder is None:
        # A name from a file is never taken for a path or a hub id.
        folder = bundled(head.model)
    if folder is None and not is_known and head.coder >= FIRST_OF_PACKAGES:
        raise UnknownModel(
            f"the file was written with the model {head.model[:80]!r}, whose codec, of payload "
            f"format {head.coder}, is not on this machine; install the package that brings it.",
            " ".join(record_errors()))
    if folder is None:
        raise UnknownModel(
            f"the file was written with the model {head.model[:80]!r} "
            f"({'-'.join(part.hex() for part in hashes)}), which is not on this machine.",
            f"{_fetch_text(head.model)}ame its folder or hub id with --model.")
    return resolve_codec(_load_folder(folder, device))


def _fetch_text(name: str) -> str:
    """Beginning of the remedy for a model that a file names; names of files are not trusted, so
    nothing is fetched by them."""
    known = next((model.repo for model in known_models() if model.repo.endswith(f"/{name}")), "")
    return f"Fetch it with {' '.join(['aehub download', *filter(None, [known])])}, or n" if (
        is_model_name(name)) else "N"


def _load_folder(folder: Path, device: Device) -> Model:
    from aehub.weights.device import resolve_device

    folder = folder.resolve()
    stamps = tuple(path.stat().st_mtime_ns for path in sorted(folder.glob("*.*"))
                   if path.suffix in (".json", ".safetensors") and path.exists())
    return _load_once(folder, stamps, resolve_device(device))


@lru_cache(maxsize=8)
def _load_once(folder: Path, stamps: tuple[int, ...], device: torch.device) -> Model:
    from aehub.hub.model import Model

    model = Model.from_folder(folder, device=device)
    tag = tag_of(model.config)
    if tag is not None and foreign.find(folder) is not None:
        cache.remember(folder, tag)
    return model
