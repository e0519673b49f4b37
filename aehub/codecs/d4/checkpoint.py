"""Weights of `d4-codec` on disk and on a device: strict loading, hashes, bounds, self-test.

    config.json          format version, architecture and its arguments, hashes, encoder settings
    model.safetensors    float32 networks, int8 and int32 integer networks, frequency tables
    README.md            the card

A model may have an upscaler, `upscale.*` in model.safetensors: no file depends on it, so that it is
in neither hash.

Two hashes go into every compressed file. The *entropy hash* covers what must be identical for
codes to be decoded: integer networks and tables. The *synthesis hash* covers the float decoder and
identifies the revision of the weights. Nothing is ever unpickled.

The self-test is a conformance vector: codes that drive the integer networks to their limits, and
the table indices that a device must compute from them before it may decode files. In
model.safetensors its tensors are named `probe.*`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from aehub.codecs.d4.frame import KnownCodes, code_latents
from aehub.codecs.d4.integer_conv import IntegerConv2d, QualityBias
from aehub.codecs.d4.network import (
    Codes,
    CodingPass,
    D4Network,
    FrameNetwork,
    InterCondition,
    quality_tensor,
)
from aehub.codecs.d4.tied_conv import freeze, set_compute_dtype
from aehub.codecs.d4.transforms import block_dct
from aehub.codecs.d4.upscaler import ARGUMENTS as UPSCALER_ARGUMENTS
from aehub.codecs.d4.upscaler import Upscaler
from aehub.coding.range_coder import ScaleTables
from aehub.errors import InputError, ModelError, WeightsError
from aehub.weights import stored_network
from aehub.weights.device import HALF_TYPES, torch_defaults
from aehub.weights.model_folder import CONFIG

ARCHITECTURE = "d4-codec"
_TABLES, _INTER_TABLES = "tables.frequencies", "tables.inter_frequencies"
_PROBE, _UPSCALE = "probe.", "upscale."
_DECODER = tuple(half + part for half in ("", "inter.")
                 for part in ("means.", "synthesis.", "post_filter.", "gain.", "hyper_gain."))
"""Prefixes of the float tensors that a decoder uses: the synthesis hash covers them."""
_ARGUMENTS = {"fields": (1, 64), "analysis_blocks": (0, 16), "synthesis_blocks": (0, 16),
              "filter_fields": (1, 16), "filter_layers": (0, 8), "inter_masking": (1, 50)}
"""Arguments of the architecture and their ranges."""
_INDICES = 96 + block_dct().bands[0]
"""Channels of table indices: the low band is written in two passes."""
_SELF_TEST = {
    "hyper": (torch.int16, (1, 24, 3, 3)),
    "codes": (torch.int16, (1, 96, 12, 12)),
    "index": (torch.uint8, (1, _INDICES, 12, 12)),
    "inter_context": (torch.uint8, (1, 99, 12, 12)),
    "inter_index": (torch.uint8, (1, _INDICES, 12, 12)),
}
"""Name, type and shape of the self-test's tensors."""
_QUALITY, _DISTANCE_CLASS = 62.5, 2
"""Of the self-test's frame."""


def _integer_formats(network: nn.Module) -> dict[str, tuple[float, torch.dtype]]:
    """Factor and type of the parameters that are stored as integers."""
    formats: dict[str, tuple[float, torch.dtype]] = {}
    for name, module in network.named_modules():
        if isinstance(module, IntegerConv2d):
            formats[f"{name}.theta"] = (256.0, torch.int8)
        elif isinstance(module, QualityBias):
            formats[f"{name}.values"] = (16.0, torch.int32)
    return formats


def to_tensors(network: D4Network) -> dict[str, Tensor]:
    """Parameters as stored: int8 and int32 where the network computes in integers."""
    return stored_network.to_tensors(network, _integer_formats(network))


def from_tensors(network: D4Network, tensors: dict[str, Tensor]) -> None:
    """Fill the network; names, shapes and types must be exactly those of `to_tensors`.

    Raises:
        WeightsError: anything is missing, unknown, or of another shape or type.
    """
    stored_network.from_tensors(network, tensors, _integer_formats(network))


def is_self_test(tensors: dict[str, Tensor]) -> bool:
    """Check name, type and shape of a self-test's tensors."""
    return {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()} == _SELF_TEST


def _table_indices(network: FrameNetwork, vector: dict[str, Tensor]) -> Tensor:
    """Table indices of the self-test's codes, uint8 [1, 118, h, w], in order of the passes."""
    like = network.scales.unfold.theta
    coder = _SelfTestCoder(Codes(*(vector[n].to(like.device, like.dtype)
                                   for n in ("hyper", "codes"))))
    quality = quality_tensor(_QUALITY, like)
    condition = None
    if network.conditional:
        condition = InterCondition(like.new_zeros(0), vector["inter_context"].to(like),
                                   _DISTANCE_CLASS)
    code_latents(network, coder, coder.codes.hyper, quality, condition, means=False)
    return torch.cat(coder.indices, 1).to(torch.uint8).cpu().contiguous()


class _SelfTestCoder(KnownCodes):
    """Collects the table indices of each pass, 0 outside it."""

    def __init__(self, codes: Codes) -> None:
        super().__init__(codes)
        self.indices: list[Tensor] = []

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Codes as known."""
        self.indices.append(index)
        return super().latent(coding_pass, mean, index)


@torch.no_grad()
def make_self_test(network: D4Network) -> dict[str, Tensor]:
    """Random codes, half of them large, and their table indices computed in float64."""
    generator = torch.Generator().manual_seed(0)
    hyper = torch.randint(-300, 301, (1, 24, 3, 3), generator=generator)
    hyper *= torch.rand((1, 24, 3, 3), generator=generator) < 0.5
    codes = torch.randint(-300, 301, (1, 96, 12, 12), generator=generator)
    codes *= torch.rand((1, 1, 12, 12), generator=generator) < 0.5
    exact = copy.deepcopy(network).cpu().double().eval()
    vector = {"hyper": hyper.short(), "codes": codes.short()}
    vector["index"] = _table_indices(exact, vector)
    context = torch.randint(0, 32, (1, 99, 12, 12), generator=generator)
    vector["inter_context"] = context.to(torch.uint8)
    vector["inter_index"] = _table_indices(exact.inter, vector)
    return vector


@torch.no_grad()
def passes_self_test(network: D4Network, vector: dict[str, Tensor]) -> bool:
    """Compare the indices computed on the network's device with the stored ones."""
    height, width = vector["codes"].shape[-2:]
    passes = network.coding_passes(height, width, torch.device("cpu"))
    # Stored indices outside of a pass mean nothing.
    used = torch.cat([part.mask.bool().expand(part.end - part.begin, -1, -1) for part in passes])
    return all(torch.equal(_table_indices(part, vector), vector[name] * used)
               for part, name in ((network, "index"), (network.inter, "inter_index")))


@dataclass
class StoredModel:
    """A model as loaded from its folder.

    Attributes:
        name: in file headers, e.g. "d4-codec".
        network: in float32 and evaluation mode.
        tables: frequency tables of intra frames.
        config: the whole of config.json.
        self_test: codes and the table indices that a device must compute from them.
        inter_tables: frequency tables of inter frames.
        upscaler: network of scaling to twice the size; None where the model has none.
    """

    name: str
    network: D4Network
    tables: ScaleTables
    config: dict[str, Any] = field(default_factory=dict)
    self_test: dict[str, Tensor] = field(default_factory=dict)
    inter_tables: ScaleTables = field(default_factory=ScaleTables.fit)
    upscaler: Upscaler | None = None

    @property
    def entropy_hash(self) -> bytes:
        """Of integer networks and tables, 8 bytes."""
        return bytes.fromhex(self.config["entropy_hash"])

    @property
    def synthesis_hash(self) -> bytes:
        """Of the float decoder, 8 bytes."""
        return bytes.fromhex(self.config["synthesis_hash"])


def check_bounds(network: nn.Module) -> None:
    """Refuse integer networks whose sums could leave the range in which float32 is exact.

    Raises:
        WeightsError: those of a layer or a bias could.
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
        stored: tensors of networks and tables.
        arguments: of the architecture.
    """
    shape = json.dumps(arguments, sort_keys=True)
    integers = {n: t for n, t in stored.items() if not t.dtype.is_floating_point}
    floats = {n: t for n, t in stored.items()
              if t.dtype.is_floating_point and n.startswith(_DECODER)}
    return _digest(integers, "coder 2 levels 1\n"), _digest(floats, shape)


def save(folder: Path, stored: StoredModel) -> dict[str, Any]:
    """Write config.json and model.safetensors; return the config.

    Arguments and hashes are those of the networks and tables, encoder settings those of the config.

    Raises:
        WeightsError: an integer layer or bias breaks its exactness bound.
    """
    network, more = stored.network, {}
    check_bounds(network)
    tensors = {**to_tensors(network), _TABLES: torch.from_numpy(stored.tables.frequencies),
               _INTER_TABLES: torch.from_numpy(stored.inter_tables.frequencies)}
    entropy_hash, synthesis_hash = hashes(tensors, network.config)
    tensors |= {_PROBE + name: tensor for name, tensor in stored.self_test.items()}
    parameters = stored_network.count_parameters(network)
    if stored.upscaler is not None:
        tensors |= {_UPSCALE + name: tensor
                    for name, tensor in stored_network.to_tensors(stored.upscaler, {}).items()}
        parameters += stored_network.count_parameters(stored.upscaler)
        more["upscaler"] = stored.upscaler.config
    return stored_network.write(
        folder, tensors, name=stored.name, architecture=ARCHITECTURE, arguments=network.config,
        parameters=parameters, encoder=stored.config.get("encoder", {}), **more,
        entropy_hash=entropy_hash, synthesis_hash=synthesis_hash)


@torch_defaults()
def load(folder: Path) -> StoredModel:
    """Load a model folder, strictly: hashes, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, tampered with or of another architecture.
    """
    config, tensors = stored_network.read(folder, ARCHITECTURE, _ARGUMENTS)
    encoder = config.get("encoder", {})
    if not isinstance(encoder, dict) or not all(map(stored_network.is_finite, encoder.values())):
        raise WeightsError(f"{folder / CONFIG} holds encoder settings that are not finite numbers: "
                           f"{str(encoder)[:200]}; download the model again.")
    return _assemble(config, tensors, folder)


def _tables(stored: Tensor | None, folder: Path) -> ScaleTables:
    if stored is None or stored.dtype != torch.int32:
        raise WeightsError(f"{folder} holds no frequency tables; download the model again.")
    try:
        return ScaleTables(stored.numpy())
    except ValueError as err:
        raise WeightsError(f"{folder} holds no valid frequency tables: {err}.") from err


def _assemble(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> StoredModel:
    arguments = config["arguments"]
    self_test, upscale = (
        {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors)
         if name.startswith(prefix)} for prefix in (_PROBE, _UPSCALE))
    if not is_self_test(self_test):
        raise WeightsError(f"{folder} holds no valid self-test; download the model again.")
    network = D4Network(**arguments)
    tables = _tables(tensors.get(_TABLES), folder)
    inter_tables = _tables(tensors.get(_INTER_TABLES), folder)
    from_tensors(network, {n: t for n, t in tensors.items()
                           if n not in (_TABLES, _INTER_TABLES)})
    if hashes(tensors, arguments) != (config["entropy_hash"], config["synthesis_hash"]):
        raise WeightsError(f"{folder} holds networks whose hashes differ from those in its config; "
                           "download the model again.")
    check_bounds(network)
    network.eval().requires_grad_(False)
    return StoredModel(str(config["name"]), network, tables, config, self_test, inter_tables,
                       _upscaler(config, upscale, folder))


def _upscaler(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Upscaler | None:
    if "upscaler" not in config and not tensors:
        return None
    arguments = config.get("upscaler")
    stored_network.check_arguments(arguments, UPSCALER_ARGUMENTS, folder / CONFIG)
    upscaler = Upscaler(**cast(dict[str, int], arguments))
    stored_network.from_tensors(upscaler, tensors, {})
    return upscaler.eval().requires_grad_(False)


def place_on_device(stored: StoredModel, device: torch.device, dtype: torch.dtype) -> D4Network:
    """Move the networks of a model to `device`, to compute in `dtype`.

    Integer networks that are not exact there stay on the CPU.

    Raises:
        InputError: the device lacks the type.
        ModelError: the integer networks are not exact on the CPU either.
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
        if stored.upscaler is not None:
            freeze(stored.upscaler.to(network.synthesis.linear.theta))
        if device.type == "cpu" and dtype == torch.float32:
            return network
        if passes_self_test(network, stored.self_test):
            return network
        if device.type != "cpu":
            network.scales.to("cpu")
            network.inter.scales.to("cpu")
            if passes_self_test(network, stored.self_test):
                return network
    raise ModelError(f"{stored.name} chooses other tables than its self-test in {dtype} on "
                     f"{device}; load it in torch.float32 on the cpu, or download it again.")
