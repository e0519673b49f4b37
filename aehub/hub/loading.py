"""Loaded models by name, or by a compressed file; each is loaded once in a process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.errors import InputError, ModelError, UnknownModel
from aehub.hub.registry import bundled, known
from aehub.hub.resolve import ModelName, find, find_written
from aehub.weights.architectures import COMPRESSION
from aehub.weights.model_folder import CONFIG, WEIGHTS, is_model_name

if TYPE_CHECKING:
    import torch

    from aehub.bitstream import FileHeader
    from aehub.codecs.d4.codec import D4Codec
    from aehub.hub.model import Model
    from aehub.weights.device import Device


def load(name: ModelName = "d4-codec", *, device: Device = "auto") -> Model:
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


def codec_of(given: ModelName | Model | D4Codec, *, device: Device = "auto") -> D4Codec:
    """The codec that is given, or that `load` finds by the name that is given.

    Raises:
        ModelError: the model makes no compressed files.
        InputError: the device is not on this machine, or the model that is given is elsewhere.
    """
    from aehub.codecs.d4.codec import D4Codec

    model = model_of(given, device)
    if isinstance(model, D4Codec):
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
        from aehub.weights.device import resolve_device

        wanted = resolve_device(device)
        if (wanted.type, wanted.index or 0) != (given.device.type, given.device.index or 0):
            raise InputError(f"the model {given.name} was loaded on {given.device}, not on "
                             f"{wanted}; load it there, or leave the device out.")
    return given


def load_written(head: FileHeader, given: ModelName | Model | D4Codec | None = None, *,
                 device: Device = "auto") -> D4Codec:
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
    from aehub.codecs.decompress import check_model

    codec = _written(head, device) if given is None else codec_of(given, device=device)
    check_model(head, codec)
    return codec


def _written(head: FileHeader, device: Device) -> D4Codec:
    from aehub.coding.range_coder import PAYLOAD_FORMAT

    hashes = head.entropy_hash, head.synthesis_hash
    folder = find_written(head.model, *hashes, fetch=head.coder == PAYLOAD_FORMAT)
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
    from aehub.weights.device import resolve_device

    folder = folder.resolve()
    stamps = tuple(path.stat().st_mtime_ns for name in (CONFIG, WEIGHTS)
                   if (path := folder / name).exists())
    return _load(folder, stamps, resolve_device(device))


@lru_cache(maxsize=8)
def _load(folder: Path, stamps: tuple[int, ...], device: torch.device) -> Model:
    from aehub.hub.model import Model

    return Model.from_folder(folder, device=device)
