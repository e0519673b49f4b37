"""Foreign weights in a network, strictly: nothing is allocated before names and shapes agree."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aehub.errors import WeightsError
from aehub.weights.device import HALF_TYPES


class _EmptyOnMeta(TorchFunctionMode):
    """Make uninitialised tensors, which parameters begin as, without memory; others are real."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Build networks in the block without memory for their parameters; tables they compute are
    real, and the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]), _EmptyOnMeta():
        yield


def fill(network: nn.Module, tensors: Mapping[str, Tensor], device: torch.device,
         dtype: torch.dtype) -> nn.Module:
    """Give a network its weights, and make it ready to run.

    Args:
        network: built `on_meta_device`.
        tensors: all of its parameters and stored buffers, and no others, of any float type.
        device: to move it to.
        dtype: to compute in; parameters are never shorter than float32.

    Returns:
        The same network on the meta device.

    Raises:
        WeightsError: a tensor is missing, unknown, of another shape, or not finite.
    """
    expected = network.state_dict()
    if missing := sorted(expected.keys() - tensors.keys()):
        raise WeightsError(f"the weights lack {missing[0]!r}; download the model again.")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise WeightsError(f"the weights hold an unknown {unknown[0][:80]!r}; they are of another "
                           "model.")
    kept = torch.float32 if dtype in HALF_TYPES else dtype
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise WeightsError(
                f"{name!r} is {tensor.dtype} {list(tensor.shape)}, expected are floats "
                f"{list(expected[name].shape)}; the weights are of another model.")
        if not torch.isfinite(tensor.to(kept)).all():
            raise WeightsError(f"{name!r} holds numbers that are not finite; name another model.")
    # Classes of diffusers warn on conversions in methods of their own.
    skeleton = nn.Module.to(copy.deepcopy(network), "meta").eval().requires_grad_(False)
    network.load_state_dict({name: tensor.to(device, kept) for name, tensor in tensors.items()},
                            assign=True)
    nn.Module.to(network, device, kept).eval().requires_grad_(False)
    return skeleton
