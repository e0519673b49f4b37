"""The symmetries of the square, and convolutions tied so that turning codes turns pictures.

D4 has eight elements. Element `g` turns a plane by a transpose, then a flip of the rows, then a
flip of the columns: bits 2, 1 and 0 of `g` say which of them it does. Every kind of channel used
here moves under D4 as a *signed permutation*, so turning integers stays exact:

    pixels of a k x k block   permuted among themselves, no signs
    A1, A2, B1, B2            one channel, a sign
    E                         two channels that may swap, each with a sign (row and column waves)
    regular                   eight channels, one per element, permuted
    magnitudes                any of the above with the signs dropped

A convolution between two such representations commutes with D4 exactly if its weights obey
`W[o, i, d] = sign * W[g(o), g(i), g(d)]` for all `g`; `TiedConv2d` stores one number per orbit.

Source: T. Cohen, M. Welling, "Group equivariant convolutional networks", 2016, and
"Steerable CNNs", 2017, section 2 (representations as the type of a feature).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ORDER = 8
IDENTITY = 0
# Names a person uses, for a clockwise turn and flips as seen on the screen.
ELEMENTS = {
    "identity": 0,
    "flip-horizontal": 1,
    "flip-vertical": 2,
    "rotate-180": 3,
    "transpose": 4,
    "rotate-90": 5,
    "rotate-270": 6,
    "transverse": 7,
}


def turn(plane: Any, g: int) -> Any:
    """Turn the last two axes of an array or tensor by element `g`: [..., H, W]."""
    if g & 4:
        plane = plane.swapaxes(-1, -2)
    if g & 2:
        plane = plane.flip(-2) if isinstance(plane, Tensor) else plane[..., ::-1, :]
    if g & 1:
        plane = plane.flip(-1) if isinstance(plane, Tensor) else plane[..., ::-1]
    return plane


def _compose_table() -> tuple[tuple[int, ...], ...]:
    square = np.arange(4).reshape(2, 2)
    known = {turn(square, g).tobytes(): g for g in range(ORDER)}
    return tuple(
        tuple(known[turn(turn(square, first), then).tobytes()] for first in range(ORDER))
        for then in range(ORDER)
    )


_COMPOSE = _compose_table()


def compose(then: int, first: int) -> int:
    """The element that turns by `first`, then by `then`."""
    return _COMPOSE[then][first]


def inverse(g: int) -> int:
    """The element that undoes `g`."""
    return _COMPOSE[g].index(IDENTITY)


@dataclass(frozen=True)
class Representation:
    """How channels move under D4: `(g x)[c] = sign[g][c] * turn(x[source[g][c]], g)`.

    `source` and `sign` are [8][n] tuples, so that a representation can key a cache.
    """

    source: tuple[tuple[int, ...], ...]
    sign: tuple[tuple[int, ...], ...]

    @property
    def channels(self) -> int:
        return len(self.source[0])

    def __add__(self, other: Representation) -> Representation:
        n = self.channels
        return Representation(
            tuple(a + tuple(n + i for i in b) for a, b in zip(self.source, other.source)),
            tuple(a + b for a, b in zip(self.sign, other.sign)),
        )

    def __mul__(self, times: int) -> Representation:
        total = self
        for _ in range(times - 1):
            total = total + self
        return total

    def magnitudes(self) -> Representation:
        """The representation of the absolute values."""
        return Representation(self.source, tuple((1,) * self.channels for _ in range(ORDER)))

    def blocks(self, k: int) -> Representation:
        """Channels times the k x k positions of a block, as `pixel_unshuffle` lays them out."""
        inner = pixels(k)
        return Representation(
            tuple(
                tuple(c * k * k + p for c in self.source[g] for p in inner.source[g])
                for g in range(ORDER)
            ),
            tuple(tuple(s for s in self.sign[g] for _ in range(k * k)) for g in range(ORDER)),
        )

    def slots(self) -> np.ndarray:
        """int [channels]: channels that swap under some turn share a number (gains, tables)."""
        roots = np.array(self.source).min(axis=0)
        return np.unique(roots, return_inverse=True)[1]

    def act(self, x: Any, g: int) -> Any:
        """Turn features [..., C, H, W] (array or tensor, any dtype) by element `g`."""
        sign = np.array(self.sign[g]).reshape(-1, 1, 1)
        moved = turn(x[..., list(self.source[g]), :, :], g)
        if isinstance(x, Tensor):
            return moved * torch.as_tensor(sign, dtype=x.dtype, device=x.device)
        return np.ascontiguousarray(moved * sign.astype(x.dtype))


def _one_dimensional(flips: bool, transposes: bool) -> Representation:
    sign = tuple(
        ((-1) ** ((flips * ((g & 1) + (g >> 1 & 1))) + transposes * (g >> 2)),)
        for g in range(ORDER)
    )
    return Representation(((0,),) * ORDER, sign)


A1 = _one_dimensional(False, False)
A2 = _one_dimensional(True, True)
B1 = _one_dimensional(False, True)
B2 = _one_dimensional(True, False)
# First channel odd across columns, second odd across rows.
E = Representation(
    tuple((1, 0) if g & 4 else (0, 1) for g in range(ORDER)),
    tuple(((-1) ** (g & 1), (-1) ** (g >> 1 & 1)) for g in range(ORDER)),
)
REGULAR = Representation(
    tuple(tuple(_COMPOSE[inverse(g)][h] for h in range(ORDER)) for g in range(ORDER)),
    ((1,) * ORDER,) * ORDER,
)


@lru_cache
def pixels(k: int) -> Representation:
    """The k x k positions of a block of one plane."""
    places = np.arange(k * k).reshape(k, k)
    return Representation(
        tuple(tuple(turn(places, g).ravel().tolist()) for g in range(ORDER)),
        ((1,) * (k * k),) * ORDER,
    )


@dataclass(frozen=True)
class _Orbits:
    index: Tensor  # int32 [weights]: which parameter a weight is
    sign: Tensor  # float32 [weights]: +1, -1, or 0 where the symmetry forces zero
    members: Tensor  # int32 [parameters, 8]: the weights of an orbit, repeated if fewer than 8
    member_sign: Tensor  # float32 [parameters, 8]: their signs over the repetitions


@lru_cache(maxsize=64)
def _orbits(inputs: Representation, outputs: Representation, kernel: int) -> _Orbits:
    taps = kernel * kernel
    shape = (outputs.channels, inputs.channels, taps)
    spatial = np.array(pixels(kernel).source)
    images = np.empty((ORDER, math.prod(shape)), np.int64)
    signs = np.empty((ORDER, math.prod(shape)), np.int8)
    for g in range(ORDER):
        o, i = np.array(outputs.source[g]), np.array(inputs.source[g])
        so = np.array(outputs.sign[g], np.int8)[:, None, None]
        si = np.array(inputs.sign[g], np.int8)[None, :, None]
        moved = (o[:, None, None] * shape[1] + i[None, :, None]) * taps + spatial[g]
        images[g] = moved.ravel()
        signs[g] = np.broadcast_to(so * si, shape).ravel()
    here = np.arange(images.shape[1])
    dead = ((images == here) & (signs < 0)).any(axis=0)
    lowest = images.argmin(axis=0)
    root = images[lowest, here]
    sign = np.where(dead, 0, signs[lowest, here]).astype(np.float32)
    roots = np.unique(root[~dead])
    index = np.searchsorted(roots, root).clip(0, len(roots) - 1)
    members = images[:, roots].T
    repeats = (members[:, :, None] == members[:, None, :]).sum(axis=2)
    return _Orbits(
        torch.from_numpy(index.astype(np.int32)),
        torch.from_numpy(sign),
        torch.from_numpy(np.ascontiguousarray(members.astype(np.int32))),
        torch.from_numpy(np.ascontiguousarray(signs[:, roots].T / repeats).astype(np.float32)),
    )


class _Expand(torch.autograd.Function):
    """Parameters -> dense weights. The gradient is a gather too, where autograd would scatter."""

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


class TiedConv2d(nn.Module):
    """A convolution that commutes with D4: [B, inputs.channels, H, W] -> [B, outputs.channels, ...].

    Stride equals the kernel (blocks, no padding) or is 1 (odd kernel, zero padding), so that
    sizes divisible by the stride stay exact under turns.

    Args:
        inputs: representation of the input channels.
        outputs: representation of the output channels.
        kernel: side of the kernel in samples; odd, or equal to `stride`.
        stride: 1 or `kernel`.
        scale: standard deviation of the start relative to He's; 0 starts at zero.
    """

    index: Tensor
    sign: Tensor
    members: Tensor
    member_sign: Tensor

    def __init__(self, inputs: Representation, outputs: Representation, kernel: int = 3, *,
                 stride: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        if stride not in (1, kernel) or (stride == 1 and kernel % 2 == 0):
            raise ValueError(f"kernel {kernel} with stride {stride} does not commute with turns")
        self.inputs, self.outputs, self.kernel, self.stride = inputs, outputs, kernel, stride
        orbits = _orbits(inputs, outputs, kernel)
        for name in ("index", "sign", "members", "member_sign"):
            self.register_buffer(name, getattr(orbits, name), persistent=False)
        std = scale * math.sqrt(2 / (inputs.channels * kernel * kernel))
        self.theta = nn.Parameter(torch.randn(len(orbits.members)) * std)
        self._cached: tuple[tuple[Any, ...], Tensor] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.outputs.channels, self.inputs.channels, self.kernel, self.kernel

    def orbit_values(self) -> Tensor:
        """One value per orbit [n]: the parameters, or what a subclass makes of them."""
        return self.theta

    def dense(self) -> Tensor:
        """The expanded weights [O, I, k, k], channels_last."""
        flat = _Expand.apply(self.orbit_values(), self.index, self.sign, self.members, self.member_sign)
        return flat.view(self.shape).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def set_dense(self, weight: Tensor) -> None:
        """Take the nearest tied weights to dense `weight` [O, I, k, k]."""
        flat = weight.reshape(-1)[self.members.long()]
        self.theta.copy_((flat * self.member_sign).sum(1) / self.member_sign.abs().sum(1))

    def weight(self) -> Tensor:
        """The expanded weights; kept between calls when no gradient is wanted."""
        if torch.is_grad_enabled():
            return self.dense()
        key = (self.theta.data_ptr(), self.theta._version, self.theta.dtype, self.theta.device)
        # One tuple, swapped whole: threads that share the model may both expand, never mix.
        cached = self._cached
        if cached is None or cached[0] != key:
            cached = self._cached = (key, self.dense().detach())
        return cached[1]

    def forward(self, x: Tensor, gain: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Convolve, then multiply and add per channel.

        Args:
            x: [B, inputs.channels, H, W].
            gain: [B or 1, outputs.channels, 1, 1]; equal on channels that turns permute.
            bias: like `gain`.
        """
        padding = self.kernel // 2 if self.stride == 1 else 0
        weight = self.weight()
        if not torch.is_grad_enabled() and all(t is None or len(t) == 1 for t in (gain, bias)):
            # One quality for the whole batch: two passes over the activations saved.
            weight = weight if gain is None else weight * gain.view(-1, 1, 1, 1)
            flat = None if bias is None else bias.flatten()
            return F.conv2d(x, weight, flat, stride=self.stride, padding=padding)
        y = F.conv2d(x, weight, stride=self.stride, padding=padding)
        y = y if gain is None else y * gain
        return y if bias is None else y + bias

    def __getstate__(self) -> dict[str, Any]:
        return {**cast(dict[str, Any], self.__dict__), "_cached": None}
