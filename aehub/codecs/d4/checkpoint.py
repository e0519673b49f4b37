"""Codecs on disk: one folder, exactly one hub repository.

    config.json          format version, architecture and its arguments, hashes, coder settings
    model.safetensors    float32 networks, int8 and int32 integer networks, frequency tables
    README.md            the card

Two hashes go into every compressed file. The *entropy hash* covers what must be identical for
codes to be read: integer networks and tables. The *synthesis hash* covers the float decoder and
names the revision of the weights. Nothing is ever unpickled.

Parameters as they are stored: int8 and int32 where the network computes in integers.

Move the networks of a codec to a device and type, and check that integer networks stay exact.

What a device must reproduce before it may choose tables: codes, and their table indices.

A picture's worth of codes, half of them large, drives the integer networks to their limits.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aehub.codecs.d4.integer_conv import IntegerConv2d, QualityBias
from aehub.codecs.d4.network import D4Network, FrameNetwork
from aehub.codecs.d4.tied_conv import freeze, set_compute_dtype
from aehub.codecs.d4.transforms import block_dct
from aehub.coding.range_coder import PAYLOAD_FORMAT, ScaleTables
from aehub.errors import InputError, ModelError, WeightsError
from aehub.weights import stored_network
from aehub.weights.device import HALF_TYPES, torch_defaults
from aehub.weights.model_folder import CONFIG


def _integer_scales(network: nn.Module) -> dict[str, tuple[float, torch.dtype]]:
    """Parameters stored as integers: factor and type."""
    kinds: dict[str, tuple[float, torch.dtype]] = {}
    for name, module in network.named_modules():
        if isinstance(module, IntegerConv2d):
            kinds[f"{name}.theta"] = (256.0, torch.int8)
        elif isinstance(module, QualityBias):
            kinds[f"{name}.values"] = (16.0, torch.int32)
    return kinds


def to_tensors(network: D4Network) -> dict[str, Tensor]:
    """Parameters as they are stored: integers where the network computes in integers."""
    return stored_network.to_tensors(network, _integer_scales(network))


def from_tensors(network: D4Network, tensors: dict[str, Tensor]) -> None:
    """Fill the network; names, shapes and types must be exactly those of `to_tensors`.

    Raises:
        WeightsError: anything is missing, unknown, or of another shape or type.
    """
    stored_network.from_tensors(network, tensors, _integer_scales(network))


_TENSORS = {
    "hyper": (torch.int16, (1, 24, 3, 3)),
    "codes": (torch.int16, (1, 96, 12, 12)),
    # The low band is written in two stages.
    "index": (torch.uint8, (1, 96 + block_dct().bands[0], 12, 12)),
    "inter_context": (torch.uint8, (1, 99, 12, 12)),
    "inter_index": (torch.uint8, (1, 96 + block_dct().bands[0], 12, 12)),
}
_QUALITY = 62.5
_DISTANCE_CLASS = 2


def is_self_test(tensors: dict[str, Tensor]) -> bool:
    """Whether these are the tensors of a probe, by name, type and shape."""
    return {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()} == _TENSORS


def _indices(coder: FrameNetwork, probe: dict[str, Tensor]) -> Tensor:
    """All table indices of given codes, as uint8 [1, 118, h, w] in order of the stages."""
    like = coder.scales.unfold.theta
    hyper, codes = (probe[n].to(like.device, like.dtype) for n in ("hyper", "codes"))
    quality = torch.full((1,), round(_QUALITY * 100), device=like.device)
    given = (probe["inter_context"].to(like), _DISTANCE_CLASS) if coder.conditional else None
    features = coder.scales.features(hyper, quality, given)
    found = []
    for stage in coder.coding_passes(codes.shape[-2], codes.shape[-1], like.device):
        known = codes[:, :(0, stage.end, stage.begin, stage.begin)[stage.number]]
        if stage.number == 1:
            known = known * (1 - stage.mask)
        found.append(coder.scales(stage.number, features, known if stage.number else None,
                                  stage.mask, quality))
    return torch.cat(found, 1).to(torch.uint8).cpu().contiguous()


@torch.no_grad()
def make_self_test(network: D4Network) -> dict[str, Tensor]:
    """Codes that drive the integer networks to their limits, and the indices they must give."""
    generator = torch.Generator().manual_seed(0)
    hyper = torch.randint(-300, 301, (1, 24, 3, 3), generator=generator)
    hyper *= torch.rand((1, 24, 3, 3), generator=generator) < 0.5
    codes = torch.randint(-300, 301, (1, 96, 12, 12), generator=generator)
    codes *= torch.rand((1, 1, 12, 12), generator=generator) < 0.5
    exact = copy.deepcopy(network).cpu().double().eval()
    probe = {"hyper": hyper.short(), "codes": codes.short()}
    probe["index"] = _indices(exact, probe)
    context = torch.randint(0, 32, (1, 99, 12, 12), generator=generator)
    probe["inter_context"] = context.to(torch.uint8)
    probe["inter_index"] = _indices(exact.inter, probe)
    return probe


@torch.no_grad()
def passes_self_test(network: D4Network, probe: dict[str, Tensor]) -> bool:
    """Whether the device that the network is on computes the stored indices exactly."""
    return (torch.equal(_indices(network, probe), probe["index"])
            and torch.equal(_indices(network.inter, probe), probe["inter_index"]))


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
        self_test: inputs and expected indices that a device must reproduce.
        inter_tables: frequency tables of predicted frames.
    """

    name: str
    network: D4Network
    tables: ScaleTables
    config: dict[str, Any] = field(default_factory=dict)
    self_test: dict[str, Tensor] = field(default_factory=dict)
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
    return _digest(integers, f"coder {PAYLOAD_FORMAT} levels 1\n"), _digest(floats, shape)


def _stored(network: D4Network, tables: ScaleTables, inter_tables: ScaleTables | None
            ) -> dict[str, Tensor]:
    """Networks and tables as they are stored."""
    inter_tables = inter_tables or ScaleTables.fit()
    return {**to_tensors(network), _TABLES: torch.from_numpy(tables.frequencies),
            _INTER_TABLES: torch.from_numpy(inter_tables.frequencies)}


def save(folder: Path, name: str, network: D4Network, tables: ScaleTables, *,
         encoder: dict[str, float], self_test: dict[str, Tensor],
         inter_tables: ScaleTables | None = None) -> dict[str, Any]:
    """Write config.json and model.safetensors; returns the config.

    Raises:
        WeightsError: an integer layer or bias breaks its exactness bound.
    """
    check_bounds(network)
    stored = _stored(network, tables, inter_tables)
    entropy_hash, synthesis_hash = hashes(stored, network.config)
    stored |= {_PROBE + n: t for n, t in self_test.items()}
    return stored_network.write(
        folder, stored, network, name=name, architecture=ARCHITECTURE, task="video-compression",
        arguments=network.config, encoder=encoder, entropy_hash=entropy_hash,
        synthesis_hash=synthesis_hash)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, checked.

    Raises:
        WeightsError: it is missing, not JSON, of a format this version does not know, or of a
            model that is no codec.
    """
    config, path = stored_network.read_config(folder), folder / CONFIG
    if config["architecture"] != ARCHITECTURE:
        raise WeightsError(f"{folder} holds a model of the architecture "
                           f"{config['architecture'][:40]!r}, expected is {ARCHITECTURE}; name "
                           "another model.")
    stored_network.check_strings(config, path, "entropy_hash", "synthesis_hash")
    encoder = config.get("encoder", {})
    if not isinstance(encoder, dict) or not all(map(stored_network.is_finite, encoder.values())):
        raise WeightsError(f"{path} holds encoder settings that are not finite numbers: "
                           f"{str(encoder)[:200]}; download the model again.")
    stored_network.check_arguments(config.get("arguments"), _ARGUMENTS, path)
    return config


@torch_defaults()
def load(folder: Path) -> StoredModel:
    """Load a model folder, strictly: hashes, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, tampered with or of another architecture.
    """
    config = read_config(folder)
    return _assemble(config, stored_network.read_tensors(folder, config["sha256"]), folder)


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
    if not is_self_test(probe):
        raise WeightsError(f"{folder} holds no valid probe; download the model again.")
    network = D4Network(**arguments)
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


def place_on_device(stored: StoredModel, device: torch.device, dtype: torch.dtype) -> D4Network:
    """Return the networks of a model on `device`, ready to compute in `dtype`.

    Integer networks that are not exact there stay on the processor.

    Raises:
        InputError: the device lacks the type.
        ModelError: the integer networks are not even exact on the processor.
    """
    with torch_defaults():
        try:
            network = stored.network.to(device, torch.float32 if dtype in HALF_TYPES else dtype)
        except TypeError as error:
            raise InputError(f"{stored.name} cannot run in {dtype} on {device}; load it in "
                             "torch.float32.") from error
        if dtype in HALF_TYPES:
            set_compute_dtype(network, dtype)
        freeze(network)
        if device.type == "cpu" and dtype == torch.float32:
            return network
        if passes_self_test(network, stored.self_test):
            return network
        if device.type != "cpu":
            for coder in (network, network.inter):
                coder.scales.to("cpu")
            if passes_self_test(network, stored.self_test):
                return network
    raise ModelError(f"{stored.name} does not choose its tables as it has to in {dtype} on "
                     f"{device}; load it in torch.float32 on the cpu, or download it again.")
