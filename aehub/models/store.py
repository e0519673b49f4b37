"""Codecs on disk: one folder, exactly one hub repository.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aehub.entropy import CODER, ScaleTables
from aehub.errors import WeightsError
from aehub.models import weights
from aehub.models.d4_codec import D4Codec
from aehub.models.folder import CONFIG
from aehub.models.integer import IntegerConv2d, QualityBias
from aehub.models.probe import is_probe
from aehub.models.surroundings import plain
from aehub.models.tensors import from_tensors, to_tensors

ARCHITECTURE = "d4-codec"
_TABLES, _INTER_TABLES = "tables.frequencies", "tables.inter_frequencies"
_PROBE = "probe."
# Of the float networks, those that a decoder runs.
_DECODER = tuple(half + part for half in ("", "inter.")
                 for part in ("means.", "synthesis.", "post_filter.", "gain.", "hyper_gain."))
# The arguments of the architecture, and how large each may be.
_ARGUMENTS = {"fields": (1, 64), "analysis_blocks": (0, 16), "synthesis_blocks": (0, 16),
              "filter_fields": (1, 16), "filter_layers": (0, 8), "inter_masking": (1, 50)}


@dataclass
class StoredModel:
    """A model as it lies in its folder.

    Attributes:
        name: what files call it, e.g. "d4-codec".
        network: the networks, in float32 and evaluation mode.
        tables: frequency tables.
        config: the whole of config.json.
        probe: inputs and expected indices that a device must reproduce.
        inter_tables: frequency tables of predicted frames.
    """

    name: str
    network: D4Codec
    tables: ScaleTables
    config: dict[str, Any] = field(default_factory=dict)
    probe: dict[str, Tensor] = field(default_factory=dict)
    inter_tables: ScaleTables = field(default_factory=ScaleTables.fit)

    @property
    def entropy_hash(self) -> bytes:
        return bytes.fromhex(self.config["entropy_hash"])

    @property
    def synthesis_hash(self) -> bytes:
        return bytes.fromhex(self.config["synthesis_hash"])


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


def hashes(stored: dict[str, Tensor], arguments: dict[str, int]) -> tuple[str, str]:
    """(entropy hash, synthesis hash) as 16 hexadecimal digits each.

    Args:
        stored: networks and tables as they are stored.
        arguments: of the architecture.
    """
    shape = json.dumps(arguments, sort_keys=True)
    integers = {n: t for n, t in stored.items() if not t.dtype.is_floating_point}
    floats = {n: t for n, t in stored.items()
              if t.dtype.is_floating_point and n.startswith(_DECODER)}
    return _digest(integers, f"coder {CODER} levels 1\n"), _digest(floats, shape)


def _stored(network: D4Codec, tables: ScaleTables, inter_tables: ScaleTables | None
            ) -> dict[str, Tensor]:
    """Networks and tables as they are stored."""
    inter_tables = inter_tables or ScaleTables.fit()
    return {**to_tensors(network), _TABLES: torch.from_numpy(tables.frequencies),
            _INTER_TABLES: torch.from_numpy(inter_tables.frequencies)}


def save(folder: Path, name: str, network: D4Codec, tables: ScaleTables, *,
         encoder: dict[str, float], probe: dict[str, Tensor],
         inter_tables: ScaleTables | None = None) -> dict[str, Any]:
    """Write config.json and model.safetensors; returns the config.

    Raises:
        WeightsError: an integer layer or bias breaks its exactness bound.
    """
    check_bounds(network)
    stored = _stored(network, tables, inter_tables)
    entropy_hash, synthesis_hash = hashes(stored, network.config)
    stored |= {_PROBE + n: t for n, t in probe.items()}
    return weights.write(
        folder, stored, network, name=name, architecture=ARCHITECTURE, task="video-compression",
        arguments=network.config, encoder=encoder, entropy_hash=entropy_hash,
        synthesis_hash=synthesis_hash)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, checked.

    Raises:
        WeightsError: it is missing, not JSON, of a format this version does not know, or of a
            model that is no codec.
    """
    config, path = weights.read_config(folder), folder / CONFIG
    if config["architecture"] != ARCHITECTURE:
        raise WeightsError(f"{folder} holds a model of the architecture "
                           f"{config['architecture'][:40]!r}, expected is {ARCHITECTURE}; name "
                           "another model.")
    weights.check_texts(config, path, "entropy_hash", "synthesis_hash")
    encoder = config.get("encoder", {})
    if not isinstance(encoder, dict) or not all(map(weights.is_finite, encoder.values())):
        raise WeightsError(f"{path} holds encoder settings that are not finite numbers: "
                           f"{str(encoder)[:200]}; download the model again.")
    weights.check_arguments(config.get("arguments"), _ARGUMENTS, path)
    return config


@plain()
def load(folder: Path) -> StoredModel:
    """Load a model folder, strictly: hashes, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, tampered with or of another architecture.
    """
    config = read_config(folder)
    return _assemble(config, weights.read_tensors(folder, config["sha256"]), folder)


def _tables(stored: Tensor | None, folder: Path) -> ScaleTables:
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
    network = D4Codec(**arguments)
    tables = _tables(tensors.get(_TABLES), folder)
    inter_tables = _tables(tensors.get(_INTER_TABLES), folder)
    from_tensors(network, {n: t for n, t in tensors.items()
                           if n not in (_TABLES, _INTER_TABLES)})
    names = (config["entropy_hash"], config["synthesis_hash"])
    if hashes(tensors, arguments) != names:
        raise WeightsError(f"{folder} holds other networks than its config names; refuse it.")
    check_bounds(network)
    network.eval().requires_grad_(False)
    return StoredModel(str(config["name"]), network, tables, config, probe, inter_tables)
