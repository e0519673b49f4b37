"""D4-equivariant convolutions by weight tying, and the cache of their expanded weights.

A convolution between two representations of D4 commutes with it exactly if its weights obey
`W[o, i, d] = sign * W[g(o), g(i), g(d)]` for all `g`; `TiedConv2d` stores one parameter per orbit
and expands them to an ordinary dense convolution.

Expanding weights and evaluating curves over quality would take much of a small picture's time. Code
that loads a network for inference calls `freeze`, and from then on each layer computes them once.
Copies of a frozen network are not frozen, nor is a network in training mode or whose parameters
require gradients: its parameters may change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.symmetry import Representation, block_samples
from aehub.media.orientation import ORDER

_Layer = TypeVar("_Layer", bound="Freezable")

_CACHE_SIZE = 32
"""Values cached per layer, such as its biases at the qualities of a clip's frames."""


class Freezable(nn.Module):
    """A layer that derives larger values from its parameters.

    Attributes:
        frozen: the parameters are constant, apart from their device and type.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self._cache: dict[Hashable, Tensor] = {}

    def cached(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return the value of `make`: from the cache if frozen and without gradients.

        Args:
            key: of the value among those of this layer.
            make: computes it from the parameters.
        """
        if not self.frozen or torch.is_grad_enabled():
            return make()
        if any(own is not None and own.requires_grad for own in self._parameters.values()):
            self.clear_cache()
            return make()
        # One look-up only: another thread may replace the dictionary after it.
        value = self._cache.get(key)
        if value is None:
            value = make()
            if len(self._cache) >= _CACHE_SIZE:
                self.clear_cache()
            self._cache[key] = value
        return value

    def clear_cache(self) -> None:
        """Clear the cache; to be called when parameters have changed."""
        self._cache = {}

    def train(self: _Layer, mode: bool = True) -> _Layer:
        """Switch to training mode, in which nothing is cached, or to evaluation mode."""
        if mode:
            self.frozen = False
            self.clear_cache()
        return super().train(mode)

    def _apply(self: _Layer, *arguments: Any, **options: Any) -> _Layer:
        self.clear_cache()
        return super()._apply(*arguments, **options)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self.clear_cache()
        super()._load_from_state_dict(*arguments, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "frozen": False, "_cache": {}}


def freeze(network: nn.Module) -> None:
    """Declare the parameters constant: layers cache the values derived from them."""
    for module in network.modules():
        if isinstance(module, Freezable):
            module.frozen = True


_SHARED: ContextVar[dict[tuple[int, bool], Tensor] | None] = ContextVar("shared", default=None)


@contextmanager
def share_expanded_weights() -> Iterator[None]:
    """Expand the weights of each layer once in the block, even with gradients and several uses."""
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


@dataclass(frozen=True)
class _Orbits:
    index: Tensor  # int32 [weights]: which parameter a weight is
    sign: Tensor  # float32 [weights]: +1, -1, or 0 where the symmetry forces zero
    members: Tensor  # int32 [parameters, 8]: the weights of an orbit, repeated if fewer than 8
    member_sign: Tensor  # float32 [parameters, 8]: their signs over the repetitions


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # Training may be the next to use it.
def _orbits(inputs: Representation, outputs: Representation, kernel: int) -> _Orbits:
    taps = kernel * kernel
    shape = (outputs.channels, inputs.channels, taps)
    spatial = np.array(block_samples(kernel).source, np.int32)
    # Where each group element moves a weight, times two, plus one where it changes its sign.
    moves = np.empty((ORDER, *shape), np.int32)
    for g in range(ORDER):
        o, i = (np.array(one.source[g], np.int32) for one in (outputs, inputs))
        so, si = (np.array(one.sign[g], np.int32) < 0 for one in (outputs, inputs))
        moved = (o[:, None] * shape[1] + i) * (2 * taps) + (so[:, None] ^ si)
        np.add(moved[:, :, None], 2 * spatial[g], out=moves[g])
    images = moves.reshape(ORDER, -1)
    here = 2 * np.arange(images.shape[1], dtype=np.int32)
    dead = (images == here + 1).any(axis=0)
    lowest = images.min(axis=0)
    sign = np.where(dead, 0, 1 - 2 * (lowest & 1)).astype(np.float32)
    is_root = (lowest == here) & ~dead
    index = (np.cumsum(is_root, dtype=np.int32) - 1)[lowest >> 1]
    orbits = images[:, is_root].T
    members = np.ascontiguousarray(orbits >> 1)
    repeats = sum((members == members[:, g, None]).astype(np.int8) for g in range(ORDER))
    return _Orbits(
        torch.from_numpy(index.clip(0)),
        torch.from_numpy(sign),
        torch.from_numpy(members),
        torch.from_numpy(((1 - 2 * (orbits & 1)) / repeats).astype(np.float32)),
    )


class _Expand(torch.autograd.Function):
    """Parameters -> dense weights. The gradient is a gather too; autograd's would be a scatter."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, index: Tensor, sign: Tensor, members: Tensor,
                member_sign: Tensor) -> Tensor:
        ctx.save_for_backward(members, member_sign)
        return theta.index_select(0, index) * sign.to(theta.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        members, member_sign = ctx.saved_tensors
        picked = grads[0].reshape(-1).index_select(0, members.reshape(-1)).view(members.shape)
        return (picked * member_sign.to(picked.dtype)).sum(1), None, None, None, None


class TiedConv2d(Freezable):
    """Convolution that commutes with D4: [B, inputs.channels, H, W] -> [B, outputs.channels, ..].

    Stride equals the kernel (blocks, no padding) or is 1 (odd kernel, zero padding), so that
    sizes divisible by the stride stay exact under turns.

    Args:
        inputs: representation of the input channels.
        outputs: representation of the output channels.
        kernel: side of the kernel in samples; odd, or equal to `stride`.
        stride: 1 or `kernel`.
        scale: standard deviation of the initial weights relative to He's; 0 for zeros.
        exact: compute in the parameters' type always; `set_compute_dtype` does not apply.
    """

    index: Tensor
    sign: Tensor
    members: Tensor
    member_sign: Tensor
    compute_dtype: torch.dtype | None

    def __init__(self, inputs: Representation, outputs: Representation, kernel: int = 3, *,
                 stride: int = 1, scale: float = 1.0, exact: bool = False) -> None:
        super().__init__()
        if stride not in (1, kernel) or (stride == 1 and kernel % 2 == 0):
            raise ValueError(f"kernel {kernel} with stride {stride} does not commute with turns")
        self.inputs, self.outputs, self.kernel, self.stride = inputs, outputs, kernel, stride
        self.exact, self.compute_dtype = exact, None
        orbits = _orbits(inputs, outputs, kernel)
        for name in ("index", "sign", "members", "member_sign"):
            self.register_buffer(name, getattr(orbits, name), persistent=False)
        std = scale * math.sqrt(2 / (inputs.channels * kernel * kernel))
        self.theta = nn.Parameter(torch.randn(len(orbits.members)) * std)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the dense weights, [O, I, k, k]."""
        return self.outputs.channels, self.inputs.channels, self.kernel, self.kernel

    def orbit_values(self) -> Tensor:
        """Weight of each orbit [n]: the parameters, or what a subclass derives from them."""
        return self.theta

    def dense(self) -> Tensor:
        """The expanded weights [O, I, k, k], channels_last."""
        flat = _Expand.apply(self.orbit_values(), self.index, self.sign, self.members,
                             self.member_sign)
        return flat.view(self.shape).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def set_dense(self, weight: Tensor) -> None:
        """Set the parameters to the projection of dense `weight` [O, I, k, k] onto tied weights."""
        flat = weight.reshape(-1)[self.members.long()]
        self.theta.copy_((flat * self.member_sign).sum(1) / self.member_sign.abs().sum(1))
        self.clear_cache()

    def weight(self) -> Tensor:
        """The expanded weights; cached when the layer is frozen."""
        shared, gradients = _SHARED.get(), torch.is_grad_enabled()
        if shared is None or (self.frozen and not gradients):
            return self.cached("dense", self.dense)
        key = (id(self), gradients)
        if key not in shared:
            shared[key] = self.dense()
        return shared[key]

    def forward(self, x: Tensor, gain: Tensor | None = None, bias: Tensor | None = None,
                padding: int | None = None) -> Tensor:
        """Convolve, then multiply and add per channel.

        Args:
            x: [B, inputs.channels, H, W].
            gain: [B or 1, outputs.channels, 1, 1]; equal on the channels of an orbit.
            bias: like `gain`.
            padding: zeros around x; by default such that the size is kept.
        """
        if padding is None:
            padding = self.kernel // 2 if self.stride == 1 else 0
        weight = self.weight()
        if not torch.is_grad_enabled() and all(t is None or len(t) == 1 for t in (gain, bias)):
            # One quality for the whole batch: two passes over the activations saved.
            weight = weight if gain is None else weight * gain.view(-1, 1, 1, 1)
            flat = None if bias is None else bias.flatten()
            return self._convolve(x, weight, flat, padding)
        y = self._convolve(x, weight, None, padding)
        y = y if gain is None else y * gain
        return y if bias is None else y + bias

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        if self.compute_dtype is None:
            if self.kernel == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
                # For small inputs torch's convolution is several times as slow.
                return F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
            return F.conv2d(x, weight, bias, stride=self.stride, padding=padding)
        dtype = self.compute_dtype
        bias = None if bias is None else bias.to(dtype)
        y = F.conv2d(x.to(dtype), weight.to(dtype), bias, stride=self.stride, padding=padding)
        return y.to(x.dtype)


def set_compute_dtype(network: nn.Module, dtype: torch.dtype) -> None:
    """Run the float convolutions of a network in `dtype`.

    Parameters and activations between convolutions keep their type: codes are integers that a
    shorter type cannot hold, and a model is saved as it was loaded.
    """
    for module in network.modules():
        if isinstance(module, TiedConv2d) and not module.exact:
            module.compute_dtype = dtype
