"""Models on disk: one folder, exactly one hub repository.

    config.json          format version, architecture and its arguments, hashes, coder settings
    model.safetensors    float32 networks, int8 and int32 integer networks, frequency tables
    README.md            the card

Two hashes go into every compressed file. The *entropy hash* covers what must be identical for
codes to be read: integer networks and tables. The *synthesis hash* covers the float decoder and
names the revision of the weights. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor, nn

from aehub.entropy import CODER_VERSION, ScaleTables
from aehub.errors import WeightsError
from aehub.models.d4_codec import D4Codec
from aehub.models.integer import IntegerConv2d, QualityBias
from aehub.models.probe import is_probe

FORMAT_VERSION = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_TABLES = "tables.frequencies"
_PROBE = "probe."
# Of the float networks, those that a decoder runs.
_DECODER = ("means.", "synthesis.", "gain.", "hyper_gain.")
_MAX_BYTES = 64 * 1024 * 1024
# The arguments of the architecture, and how large each may be.
_ARGUMENTS = {"fields": (1, 64), "analysis_blocks": (0, 16), "synthesis_blocks": (0, 16)}


@dataclass
class StoredModel:
    """A model as it lies in its folder.

    Attributes:
        name: what files call it, e.g. "d4-codec".
        network: the networks, in float32 and evaluation mode.
        tables: frequency tables.
        config: the whole of config.json.
        probe: inputs and expected indices that a device must reproduce.
    """

    name: str
    network: D4Codec
    tables: ScaleTables
    config: dict[str, Any] = field(default_factory=dict)
    probe: dict[str, Tensor] = field(default_factory=dict)

    @property
    def entropy_hash(self) -> bytes:
        return bytes.fromhex(self.config["entropy_hash"])

    @property
    def synthesis_hash(self) -> bytes:
        return bytes.fromhex(self.config["synthesis_hash"])


def _integer_scales(network: nn.Module) -> dict[str, tuple[float, torch.dtype]]:
    """Parameters stored as integers: factor and type."""
    kinds: dict[str, tuple[float, torch.dtype]] = {}
    for name, module in network.named_modules():
        if isinstance(module, IntegerConv2d):
            kinds[f"{name}.theta"] = (256.0, torch.int8)
        elif isinstance(module, QualityBias):
            kinds[f"{name}.values"] = (16.0, torch.int32)
    return kinds


def to_tensors(network: D4Codec) -> dict[str, Tensor]:
    """Parameters as they are stored: integers where the network computes in integers."""
    kinds = _integer_scales(network)
    tensors = {}
    for name, parameter in network.named_parameters():
        value = parameter.detach().cpu()
        if name in kinds:
            factor, dtype = kinds[name]
            value = (value.double() * factor).round()
            value = value.clamp(-127, 127) if dtype is torch.int8 else value
            tensors[name] = value.to(dtype)
        else:
            tensors[name] = value.float()
        tensors[name] = tensors[name].contiguous()
    return tensors


@torch.no_grad()
def from_tensors(network: D4Codec, tensors: dict[str, Tensor]) -> None:
    """Fill the network; names, shapes and types must be exactly those of `to_tensors`.

    Raises:
        WeightsError: anything is missing, unknown, or of another shape or type.
    """
    kinds = _integer_scales(network)
    parameters = dict(network.named_parameters())
    if missing := sorted(parameters.keys() - tensors.keys()):
        raise WeightsError(f"the weights lack {missing[0]!r}; download the model again.")
    if unknown := sorted(tensors.keys() - parameters.keys()):
        raise WeightsError(
            f"the weights hold an unknown {unknown[0]!r}; they are of another model.")
    for name, parameter in parameters.items():
        factor, dtype = kinds.get(name, (1.0, torch.float32))
        tensor = tensors[name]
        if tensor.shape != parameter.shape or tensor.dtype != dtype:
            raise WeightsError(
                f"{name!r} is {tensor.dtype} {list(tensor.shape)}, expected {dtype} "
                f"{list(parameter.shape)}; the weights are of another model.")
        if not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{name!r} holds numbers that are not finite; refuse the weights.")
        parameter.copy_(tensor.double() / factor)


def check_bounds(network: nn.Module) -> None:
    """Refuse integer networks that could leave the range in which float32 is exact.

    Raises:
        WeightsError: a layer or a bias could.
    """
    for name, module in network.named_modules():
        if isinstance(module, (IntegerConv2d, QualityBias)):
            module.check_bound(name)


def _digest(tensors: dict[str, Tensor], extra: str) -> str:
    digest = hashlib.sha256(extra.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]


def hashes(tensors: dict[str, Tensor], tables: ScaleTables, arguments: dict[str, int]
           ) -> tuple[str, str]:
    """(entropy hash, synthesis hash) as 16 hexadecimal digits each."""
    shape = json.dumps(arguments, sort_keys=True)
    integers = {n: t for n, t in tensors.items() if not t.dtype.is_floating_point}
    integers[_TABLES] = torch.from_numpy(tables.frequencies)
    floats = {n: t for n, t in tensors.items()
              if t.dtype.is_floating_point and n.startswith(_DECODER)}
    return (_digest(integers, f"coder {CODER_VERSION} levels 1\n"), _digest(floats, shape))


def save(folder: Path, name: str, network: D4Codec, tables: ScaleTables, *,
         encoder: dict[str, float], probe: dict[str, Tensor]) -> dict[str, Any]:
    """Write config.json and model.safetensors; returns the config.

    Raises:
        WeightsError: an integer layer or bias breaks its exactness bound.
    """
    check_bounds(network)
    tensors = to_tensors(network)
    entropy_hash, synthesis_hash = hashes(tensors, tables, network.config)
    stored = {**tensors, _TABLES: torch.from_numpy(tables.frequencies),
              **{_PROBE + n: t for n, t in probe.items()}}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (WEIGHTS + ".tmp")
    # Not by `save_file`, which makes a file that only its owner can read.
    temporary.write_bytes(serialised(stored, {"format": "pt"}))
    os.replace(temporary, folder / WEIGHTS)
    config = {
        "format_version": FORMAT_VERSION, "library_name": "aehub", "architecture": "d4-codec",
        "name": name, "task": "video-compression", "arguments": network.config,
        "encoder": encoder, "entropy_hash": entropy_hash, "synthesis_hash": synthesis_hash,
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, checked.

    Raises:
        WeightsError: it is missing, not JSON, or of a format this version does not know.
    """
    try:
        raw = (folder / CONFIG).read_bytes()
    except OSError as err:
        raise WeightsError(f"{folder} has no {CONFIG}; it is not a model folder.") from err
    try:
        config = json.loads(raw[:100_000])
    except (ValueError, RecursionError) as err:
        raise WeightsError(f"{folder / CONFIG} is not JSON; download the model again.") from err
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION or config.get("architecture") != "d4-codec":
        raise WeightsError(
            f"{folder} is of format {version}, this AEHub reads d4-codec of format "
            f"{FORMAT_VERSION}; upgrade aehub, or name another model.")
    _check_fields(config, folder / CONFIG)
    return config


def _check_fields(config: dict[str, Any], path: Path) -> None:
    for name in ("name", "entropy_hash", "synthesis_hash", "sha256"):
        if not isinstance(config.get(name), str):
            raise WeightsError(f"{path} does not say {name!r}; download the model again.")
    encoder = config.get("encoder", {})
    if not isinstance(encoder, dict) or not all(
            isinstance(v, (int, float)) and math.isfinite(v) for v in encoder.values()):
        raise WeightsError(f"{path} holds encoder settings that are not finite numbers: "
                           f"{encoder!r}; download the model again.")
    arguments = config.get("arguments")
    if not isinstance(arguments, dict) or arguments.keys() != _ARGUMENTS.keys() or not all(
            type(v) is int and _ARGUMENTS[n][0] <= v <= _ARGUMENTS[n][1]
            for n, v in arguments.items()):
        allowed = ", ".join(f"{n} {low} to {high}" for n, (low, high) in _ARGUMENTS.items())
        raise WeightsError(f"{path} asks for arguments {str(arguments)[:200]}; allowed are "
                           f"{allowed}.")


def load(folder: Path) -> StoredModel:
    """Load a model folder, strictly: hashes, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, tampered with or of another architecture.
    """
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise WeightsError(f"{folder} has no {WEIGHTS}; download the model again.")
    if path.stat().st_size > _MAX_BYTES:
        raise WeightsError(f"{path} is larger than {_MAX_BYTES} bytes; it is not a d4-codec.")
    # Read once: what was hashed is what is used, whatever happens to the file meanwhile.
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != config["sha256"]:
        raise WeightsError(f"{path} does not match the SHA-256 in its config; it is damaged or "
                           "tampered with. Download the model again.")
    try:
        tensors = deserialised(data)
    except SafetensorError as err:
        raise WeightsError(f"{path} is not a safetensors file; download the model again.") from err
    return _assemble(config, tensors, folder)


def _tables(tensors: dict[str, Tensor], folder: Path) -> ScaleTables:
    stored = tensors.pop(_TABLES, None)
    if stored is None or stored.dtype != torch.int32:
        raise WeightsError(f"{folder} holds no frequency tables; download the model again.")
    try:
        return ScaleTables(stored.numpy())
    except ValueError as err:
        raise WeightsError(f"{folder} holds no valid frequency tables: {err}.") from err


def _assemble(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> StoredModel:
    arguments = config["arguments"]
    probe = {n.removeprefix(_PROBE): tensors.pop(n) for n in list(tensors) if n.startswith(_PROBE)}
    if not is_probe(probe):
        raise WeightsError(f"{folder} holds no valid probe; download the model again.")
    tables = _tables(tensors, folder)
    network = D4Codec(**arguments)
    from_tensors(network, tensors)
    if hashes(tensors, tables, arguments) != (config["entropy_hash"], config["synthesis_hash"]):
        raise WeightsError(f"{folder} holds other networks than its config names; refuse it.")
    check_bounds(network)
    network.eval().requires_grad_(False)
    return StoredModel(str(config["name"]), network, tables, config, probe)
