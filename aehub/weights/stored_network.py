"""A network and its config on disk: all that a model is that has no entropy coder.

    save(folder, "dense-28", network)
    load(folder).network

The class of a network tells what it may be built with, `ARGUMENTS`, and holds what it was built
with, `config`. Its named parameters are stored and nothing else; statistics that are not trained
are parameters without gradient. Numbers are stored as `STORED`, float32 if the class does not say.

What all model folders have in common: read without trusting any of it, written whole.

    config.json          format version, architecture and its arguments, name, task, hash, count
    model.safetensors    the numbers, as the architecture stores them
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor, nn

from aehub.errors import WeightsError
from aehub.files import open_output
from aehub.weights.architectures import ARCHITECTURES, architecture
from aehub.weights.device import torch_defaults
from aehub.weights.model_folder import (
    CONFIG,
    MAX_WEIGHTS,
    WEIGHTS,
    is_model_name,
    migrate,
    read_file,
    read_raw_config,
    safetensors_error,
)

FORMAT_VERSION = 1
Bounds = Mapping[str, tuple[float, float]]
"""Name of an argument -> the least and the most it may be; whole numbers where both are."""
Kinds = Mapping[str, tuple[float, torch.dtype]]
"""Name of a parameter -> the factor and the type with which it is stored."""
_AS_IS = (1.0, torch.float32)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, with what all architectures have in common checked.

    Raises:
        WeightsError: it is missing, not JSON, or of a format this version does not know.
    """
    config, path = migrate(read_raw_config(folder), FORMAT_VERSION), folder / CONFIG
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(f"{folder} is of format {str(version)[:40]}, this AEHub reads format "
                           f"{FORMAT_VERSION}; upgrade aehub, or name another model.")
    check_strings(config, path, "architecture", "name", "sha256")
    if not is_model_name(config["name"]):
        raise WeightsError(f"{path} calls its model {config['name'][:80]!r}; a name has letters, "
                           "digits, dots, hyphens and underscores, at most 40.")
    return config


def check_strings(config: Mapping[str, Any], path: Path, *names: str) -> None:
    """Refuse a config in which one of these is no text.

    Raises:
        WeightsError: one is not.
    """
    for name in names:
        if not isinstance(config.get(name), str):
            raise WeightsError(f"{path} does not say {name!r}; download the model again.")


def check_arguments(given: Any, bounds: Bounds, path: Path) -> None:
    """Refuse arguments of an architecture that are not all there, or out of bounds.

    Called before anything is allocated by them.

    Raises:
        WeightsError: they are.
    """
    if not isinstance(given, dict) or given.keys() != bounds.keys() or not all(
            _is_within(given[name], *limits) for name, limits in bounds.items()):
        allowed = ", ".join(f"{name} {low} to {high}" for name, (low, high) in bounds.items())
        raise WeightsError(f"{path} asks for arguments {str(given)[:200]}; allowed are "
                           f"{allowed or 'none'}.")


def _is_within(value: Any, low: float, high: float) -> bool:
    whole = type(low) is int and type(high) is int
    return type(value) in ((int,) if whole else (int, float)) and bool(low <= value <= high)


def read_tensors(folder: Path, sha256: str) -> dict[str, Tensor]:
    """The numbers of a model folder.

    Args:
        folder: the model folder.
        sha256: what its config says of the file.

    Raises:
        WeightsError: the file is missing, too large, another one, or no safetensors file.
    """
    path = folder / WEIGHTS
    # Read once: what was hashed is what is used, whatever happens to the file meanwhile.
    data = read_file(folder, WEIGHTS, MAX_WEIGHTS)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(f"{path} does not match the SHA-256 in its config; it is damaged or "
                           "tampered with. Download the model again.")
    if problem := safetensors_error(data):
        raise WeightsError(f"{path} is not a safetensors file: {problem}; download the model "
                           "again.")
    return deserialised(data)


def write(folder: Path, tensors: dict[str, Tensor], network: nn.Module, *, name: str,
          architecture: str, task: str, arguments: Mapping[str, Any], **more: Any
          ) -> dict[str, Any]:
    """Write config.json and model.safetensors; returns the config.

    Args:
        folder: made if need be.
        tensors: as they shall be stored.
        network: whose parameters are counted.
        name: of the model.
        architecture: a name from `aehub.weights.architectures`.
        task: what the model does.
        arguments: of the architecture.
        more: what else the config shall say, between arguments and hash.

    Raises:
        WeightsError: `name` is no name of a model, or a number is not finite.
    """
    if not is_model_name(name):
        raise WeightsError(f"{name[:80]!r} is no name of a model; use at most 40 letters, digits, "
                           "dots, hyphens and underscores.")
    for which, tensor in tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{which!r} holds numbers that are not finite; they are not saved.")
    folder.mkdir(parents=True, exist_ok=True)
    data = serialised(tensors, {"format": "pt"})
    with open_output(folder / WEIGHTS, force=True) as file:
        file.write(data)
    config = {
        "format_version": FORMAT_VERSION, "library_name": "aehub", "architecture": architecture,
        "name": name, "task": task, "arguments": dict(arguments), **more,
        "sha256": hashlib.sha256(data).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    with open_output(folder / CONFIG, force=True) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())
    return config


def to_tensors(network: nn.Module, kinds: Kinds, default: tuple[float, torch.dtype] = _AS_IS
               ) -> dict[str, Tensor]:
    """Parameters as they are stored; integer types are rounded to.

    Args:
        network: the network.
        kinds: parameters that are not stored as `default` says.
        default: factor and type of all others.
    """
    tensors = {}
    for name, parameter in network.named_parameters():
        factor, dtype = kinds.get(name, default)
        value = parameter.detach().cpu()
        if not dtype.is_floating_point:
            value = (value.double() * factor).round()
            value = value.clamp(-127, 127) if dtype is torch.int8 else value
        tensors[name] = value.to(dtype).contiguous()
    return tensors


@torch.no_grad()
def from_tensors(network: nn.Module, tensors: dict[str, Tensor], kinds: Kinds,
                 default: tuple[float, torch.dtype] = _AS_IS) -> None:
    """Fill the network; names, shapes and types must be exactly those of `to_tensors`.

    Raises:
        WeightsError: anything is missing, unknown, or of another shape or type.
    """
    parameters = dict(network.named_parameters())
    if missing := sorted(parameters.keys() - tensors.keys()):
        raise WeightsError(f"the weights lack {missing[0]!r}; download the model again.")
    if unknown := sorted(tensors.keys() - parameters.keys()):
        raise WeightsError(
            f"the weights hold an unknown {unknown[0]!r}; they are of another model.")
    for name, parameter in parameters.items():
        factor, dtype = kinds.get(name, default)
        tensor = tensors[name]
        if tensor.shape != parameter.shape or tensor.dtype != dtype:
            raise WeightsError(
                f"{name!r} is {tensor.dtype} {list(tensor.shape)}, expected {dtype} "
                f"{list(parameter.shape)}; the weights are of another model.")
        if not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{name!r} holds numbers that are not finite; refuse the weights.")
        parameter.copy_(tensor.double() / factor)


def is_finite(value: Any) -> bool:
    """Whether `value` is a number that is not infinite."""
    return isinstance(value, (int, float)) and abs(value) < math.inf


@dataclass(frozen=True)
class StoredNetwork:
    """A model as it lies in its folder.

    Attributes:
        name: what people call it, e.g. "dense-28".
        network: in float32 and evaluation mode.
        config: the whole of config.json.
    """

    name: str
    network: nn.Module
    config: dict[str, Any]


def save(folder: Path, name: str, network: nn.Module) -> dict[str, Any]:
    """Write config.json and model.safetensors; returns the config.

    Args:
        folder: made if need be.
        name: of the model.
        network: of one of `ARCHITECTURES`.

    Raises:
        WeightsError: a number is not finite, or `network` is of no architecture that is listed.
    """
    kind: Any = type(network)
    place = f"{kind.__module__}:{kind.__qualname__}"
    names = [name for name, known in ARCHITECTURES.items() if known.place == place]
    if not names:
        raise WeightsError(f"{place} is not listed among the architectures; add it there.")
    tensors = to_tensors(network, _integers(network), _stored(kind))
    return write(
        folder, tensors, network, name=name, architecture=names[0],
        task=ARCHITECTURES[names[0]].task, arguments=getattr(network, "config", {}))


@torch_defaults()
def load(folder: Path) -> StoredNetwork:
    """Load a model folder, strictly: hash, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, tampered with, or of an architecture this AEHub lacks.
    """
    config = read_config(folder)
    known = architecture(config["architecture"])
    kind, path = known.network(), folder / CONFIG
    if config.get("task") != known.task:
        raise WeightsError(f"{path} says the task {str(config.get('task'))[:40]!r}; models of "
                           f"{config['architecture']} do {known.task}. Download the model again.")
    check_arguments(config.get("arguments"), getattr(kind, "ARGUMENTS", {}), path)
    tensors = read_tensors(folder, config["sha256"])
    try:
        network = kind(**config["arguments"])
    except ValueError as err:
        raise WeightsError(f"{path} asks for what {config['architecture']} cannot be: {err} "
                           "Download the model again.") from err
    from_tensors(network, tensors, _integers(network), _stored(kind))
    return StoredNetwork(config["name"], network.eval().requires_grad_(False), config)


def _integers(network: nn.Module) -> dict[str, tuple[float, torch.dtype]]:
    """Parameters of an integer type are stored as they are."""
    return {name: (1.0, parameter.dtype) for name, parameter in network.named_parameters()
            if not parameter.is_floating_point()}


def _stored(kind: type) -> tuple[float, torch.dtype]:
    return 1.0, getattr(kind, "STORED", torch.float32)
