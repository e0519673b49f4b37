"""Parameters as they are stored: int8 and int32 where the network computes in integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aehub.models import weights
from aehub.models.d4_codec import D4Codec
from aehub.models.integer import IntegerConv2d, QualityBias


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
    return weights.to_tensors(network, _integer_scales(network))


def from_tensors(network: D4Codec, tensors: dict[str, Tensor]) -> None:
    """Fill the network; names, shapes and types must be exactly those of `to_tensors`.

    Raises:
        WeightsError: anything is missing, unknown, or of another shape or type.
    """
    weights.from_tensors(network, tensors, _integer_scales(network))
