"""Networks on disk: config.json and model.safetensors, loaded strictly and written atomically.

    save(folder, "dense-28", network)
    load(folder).network

    config.json          format version, architecture and its arguments, name, task, hash, count
    model.safetensors    the parameters, as the architecture stores them

The class of a network declares the ranges of its arguments, `ARGUMENTS`, and an instance holds
those it was built with, `config`. Named parameters are stored and nothing else; statistics that are
not trained are parameters without gradient. They are stored as `STORED`, float32 if the class has
none. A codec adds hashes, tables and a self-test (a `checkpoint` of its own).

A model without a network of torch has no tensors, or other ones; its class reads and writes them:

    config, tensors = read(folder, "my-codec")
    write(folder, {}, name="mine", architecture="my-codec",
          entropy_hash="0123456789abcdef", synthesis_hash="0123456789abcdef")
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor, nn

from aehub.errors import WeightsError
from aehub.files import open_output
from aehub.weights import architectures
from aehub.weights.device import (
    HALF_TYPES,
    Device,
    resolve_device,
    resolve_dtype,
    torch_defaults,
)
from aehub.weights.model_folder import (
    CONFIG,
    MAX_WEIGHTS,
    WEIGHTS,
    is_model_name,
    migrate,
    read_file,
    read_raw_config,
    safetensors_error,
    tag_of,
)

FORMAT_VERSION = 1
Bounds = Mapping[str, tuple[float, float]]
"""Name of an argument -> its least and largest value; an integer if both are integers."""
StorageFormats = Mapping[str, tuple[float, torch.dtype]]
"""Name of a parameter -> factor and type with which it is stored."""
_FLOAT32 = (1.0, torch.float32)
_Loaded = TypeVar("_Loaded", bound="LoadedNetwork")


def read(folder: Path, architecture: str, arguments: Bounds | None = None
         ) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and tensors of a model folder, strictly.

    Args:
        folder: the model folder.
        architecture: that its model must have.
        arguments: bounds of the architecture's arguments; by default it takes none.

    Raises:
        WeightsError: anything is missing, modified, or of another architecture.
    """
    config = read_config(folder, architecture)
    check_arguments(config.get("arguments"), arguments or {}, folder / CONFIG)
    return config, read_tensors(folder, config["sha256"])


def read_config(folder: Path, architecture: str | None = None) -> dict[str, Any]:
    """Read config.json and check what all architectures have in common.

    Args:
        folder: the model folder.
        architecture: that its model must have; by default any known one.

    Raises:
        WeightsError: it is missing, not JSON, of an unknown format, or of another architecture.
    """
    config, path = migrate(read_raw_config(folder), FORMAT_VERSION), folder / CONFIG
    version, name = config.get("format_version"), config.get("architecture")
    if version != FORMAT_VERSION:
        raise WeightsError(f"{folder} is of format {str(version)[:40]}, this AEHub reads format "
                           f"{FORMAT_VERSION}; upgrade aehub, or name another model.")
    check_strings(config, path, "architecture", "name", "sha256")
    if not is_model_name(config["name"]):
        raise WeightsError(f"{path} calls its model {config['name'][:80]!r}; a name has letters, "
                           "digits, dots, hyphens and underscores, at most 40.")
    if architecture not in (None, name):
        raise WeightsError(f"{folder} holds a model of the architecture {str(name)[:40]!r}, "
                           f"expected is {architecture}; name another model.")
    record = architectures.architecture(name)
    if config.get("task") != record.task:
        raise WeightsError(f"{path} has the task {str(config.get('task'))[:40]!r}; that of "
                           f"{name} is {record.task}. Download the model again.")
    if record.payload_formats:
        check_strings(config, path, "entropy_hash", "synthesis_hash")
        if tag_of(config) is None:
            raise WeightsError(f"{path} has hashes that are not 16 hexadecimal digits; download "
                               "the model again.")
    return config


def check_strings(config: Mapping[str, Any], path: Path, *names: str) -> None:
    """Refuse a config in which one of these fields is missing or no string.

    Raises:
        WeightsError: one is.
    """
    for name in names:
        if not isinstance(config.get(name), str):
            raise WeightsError(f"{path} has no text {name!r}; download the model again.")


def check_arguments(arguments: Any, bounds: Bounds, path: Path) -> None:
    """Refuse missing, unknown or out-of-range arguments, before anything is allocated by them.

    Raises:
        WeightsError: one is.
    """
    if not isinstance(arguments, dict) or arguments.keys() != bounds.keys() or not all(
            _is_within(arguments[name], *limits) for name, limits in bounds.items()):
        allowed = ", ".join(f"{name} {low} to {high}" for name, (low, high) in bounds.items())
        raise WeightsError(f"{path} has the arguments {str(arguments)[:200]}; allowed are "
                           f"{allowed or 'none'}.")


def _is_within(value: Any, low: float, high: float) -> bool:
    is_integer = type(low) is int and type(high) is int
    return type(value) in ((int,) if is_integer else (int, float)) and bool(low <= value <= high)


def read_tensors(folder: Path, sha256: str) -> dict[str, Tensor]:
    """Read the tensors of a model folder.

    Args:
        folder: the model folder.
        sha256: of the file, by its config.

    Raises:
        WeightsError: the file is missing, too large, of another hash, or no safetensors file.
    """
    path = folder / WEIGHTS
    # Read once, so that the bytes used are the bytes hashed.
    data = read_file(folder, WEIGHTS, MAX_WEIGHTS)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(f"{path} does not match the SHA-256 in its config; it is damaged or "
                           "tampered with. Download the model again.")
    if problem := safetensors_error(data):
        raise WeightsError(f"{path} is not a safetensors file: {problem}; download the model "
                           "again.")
    return deserialize(data)


def write(folder: Path, tensors: dict[str, Tensor], *, name: str, architecture: str,
          arguments: Mapping[str, Any] | None = None, parameters: int = 0, **more: Any
          ) -> dict[str, Any]:
    """Write config.json and model.safetensors; return the config.

    Args:
        folder: created if missing.
        tensors: as stored; there may be none.
        name: of the model.
        architecture: name of a known one.
        arguments: of the architecture.
        parameters: numbers that were trained, for listings.
        more: further fields of the config, between arguments and hash; `entropy_hash` and
            `synthesis_hash`, 16 hexadecimal digits each, where the model makes compressed files.

    Raises:
        WeightsError: `name` is no model name, the architecture is unknown, or a number is not
            finite.
    """
    if not is_model_name(name):
        raise WeightsError(f"{name[:80]!r} is no model name; use at most 40 letters, digits, dots, "
                           "hyphens and underscores.")
    task = architectures.architecture(architecture).task
    for tensor_name, tensor in tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{tensor_name!r} holds numbers that are not finite; it is not "
                               "saved.")
    folder.mkdir(parents=True, exist_ok=True)
    data = serialize(tensors, {"format": "pt"})
    with open_output(folder / WEIGHTS, force=True) as file:
        file.write(data)
    config = {
        "format_version": FORMAT_VERSION, "library_name": "aehub", "architecture": architecture,
        "name": name, "task": task, "arguments": dict(arguments or {}), **more,
        "sha256": hashlib.sha256(data).hexdigest(), "parameters": parameters,
    }
    with open_output(folder / CONFIG, force=True) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())
    return config


def count_parameters(network: nn.Module) -> int:
    """Number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def to_tensors(network: nn.Module, formats: StorageFormats,
               default: tuple[float, torch.dtype] = _FLOAT32) -> dict[str, Tensor]:
    """Parameters as stored, rounded where the type is an integer.

    Args:
        network: the network.
        formats: factor and type of some parameters.
        default: factor and type of all others.
    """
    tensors = {}
    for name, parameter in network.named_parameters():
        factor, dtype = formats.get(name, default)
        value = parameter.detach().cpu()
        if not dtype.is_floating_point:
            value = (value.double() * factor).round()
            value = value.clamp(-127, 127) if dtype is torch.int8 else value
        tensors[name] = value.to(dtype).contiguous()
    return tensors


@torch.no_grad()
def from_tensors(network: nn.Module, tensors: dict[str, Tensor], formats: StorageFormats,
                 default: tuple[float, torch.dtype] = _FLOAT32) -> None:
    """Fill the network's parameters; names, shapes and types must be exactly those of `to_tensors`.

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
        factor, dtype = formats.get(name, default)
        tensor = tensors[name]
        if tensor.shape != parameter.shape or tensor.dtype != dtype:
            raise WeightsError(
                f"{name!r} is {tensor.dtype} {list(tensor.shape)}, expected {dtype} "
                f"{list(parameter.shape)}; the weights are of another model.")
        if not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{name!r} holds numbers that are not finite; refuse the weights.")
        parameter.copy_(tensor.double() / factor)


def is_finite(value: Any) -> bool:
    """Check that `value` is a finite number."""
    return isinstance(value, (int, float)) and abs(value) < math.inf


@dataclass(frozen=True)
class StoredNetwork:
    """A model as loaded from its folder.

    Attributes:
        name: of the model, e.g. "dense-28".
        network: in float32 and evaluation mode.
        config: the whole of config.json.
    """

    name: str
    network: nn.Module
    config: dict[str, Any]


def save(folder: Path, name: str, network: nn.Module) -> dict[str, Any]:
    """Write config.json and model.safetensors; return the config.

    Args:
        folder: created if missing.
        name: of the model.
        network: of a known architecture.

    Raises:
        WeightsError: a number is not finite, or `network` is of no registered architecture.
    """
    kind, record = type(network), architectures.architecture_of_network(network)
    if record is None:
        raise WeightsError(f"{kind.__module__}:{kind.__qualname__} is not among the architectures; "
                           "give it a record.")
    tensors = to_tensors(network, _integer_formats(network), _default_format(kind))
    return write(folder, tensors, name=name, architecture=record.name,
                 arguments=getattr(network, "config", {}), parameters=count_parameters(network))


@torch_defaults()
def load(folder: Path) -> StoredNetwork:
    """Load a model folder, strictly: hash, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, modified, or of an unknown architecture.
    """
    config, path = read_config(folder), folder / CONFIG
    kind = architectures.architecture(config["architecture"]).network_class()
    check_arguments(config.get("arguments"), getattr(kind, "ARGUMENTS", {}), path)
    tensors = read_tensors(folder, config["sha256"])
    try:
        network = kind(**config["arguments"])
    except ValueError as err:
        raise WeightsError(f"{path} has arguments that {config['architecture']} refuses: {err} "
                           "Download the model again.") from err
    from_tensors(network, tensors, _integer_formats(network), _default_format(kind))
    return StoredNetwork(config["name"], network.eval().requires_grad_(False), config)


class LoadedNetwork:
    """Base of loaded models of one stored network.

    Attributes:
        name: of the model.
        stored: network and config as loaded.
        config: contents of config.json.
        device: of the network.
        dtype: of its computations.
        parameter_dtype: of its parameters and inputs: parameters keep their precision, so that a
            model is saved as it was loaded.
    """

    def __init__(self, stored: StoredNetwork, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        self.stored, self.name, self.config = stored, stored.name, stored.config
        self.device, self.dtype = resolve_device(device), resolve_dtype(dtype)
        self.parameter_dtype = torch.float32 if dtype in HALF_TYPES else dtype
        with torch_defaults():
            self.network: Any = stored.network.to(self.device, self.parameter_dtype)

    @classmethod
    def from_pretrained(cls: type[_Loaded], folder: str | Path, *, device: Device = "cpu",
                        dtype: torch.dtype = torch.float32) -> _Loaded:
        """Load a model folder strictly: hash, names, shapes and types must agree.

        Raises:
            WeightsError: one of them does not.
        """
        return cls(load(Path(folder)), device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model folder: config.json and model.safetensors, as they were loaded."""
        save(Path(folder), self.name, self.network)


def _integer_formats(network: nn.Module) -> dict[str, tuple[float, torch.dtype]]:
    """Integer parameters are stored unchanged."""
    return {name: (1.0, parameter.dtype) for name, parameter in network.named_parameters()
            if not parameter.is_floating_point()}


def _default_format(kind: type) -> tuple[float, torch.dtype]:
    return 1.0, getattr(kind, "STORED", torch.float32)
