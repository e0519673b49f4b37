"""Parameters as they are stored: int8 and int32 where the network computes in integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aehub.errors import WeightsError
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
