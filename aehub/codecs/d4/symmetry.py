"""D4, the symmetry group of the square, and its representations on channels.

D4 has eight elements, the rotations by quarter turns and the flips (`aehub.media.orientation`).
Every representation used here acts by a *signed permutation*, so turning integers stays exact:

    samples of a k x k block  permuted among themselves, no signs
    A1, A2, B1, B2            one channel, a sign
    E                         two channels that may swap, each with a sign (row and column waves)
    regular                   eight channels, one per element, permuted
    magnitudes                any of the above with the signs dropped

`aehub.codecs.d4.tied_conv` has the convolutions that commute with D4.

Source: T. Cohen, M. Welling, "Group equivariant convolutional networks", 2016, and
"Steerable CNNs", 2017, section 2 (representations as the type of a feature).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aehub.media.orientation import ORDER, compose, inverse, turn


@dataclass(frozen=True)
class Representation:
    """Representation of D4 on channels: `(g x)[c] = sign[g][c] * turn(x[source[g][c]], g)`.

    `source` and `sign` are [8][n] tuples, so that a representation can key a cache.
    """

    source: tuple[tuple[int, ...], ...]
    sign: tuple[tuple[int, ...], ...]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.source[0])

    def __add__(self, other: Representation) -> Representation:
        n = self.channels
        return Representation(
            tuple(a + tuple(n + i for i in b) for a, b in zip(self.source, other.source)),
            tuple(a + b for a, b in zip(self.sign, other.sign)),
        )

    def __mul__(self, times: int) -> Representation:
        return reduce(add, [self] * times)

    def magnitudes(self) -> Representation:
        """The representation of the absolute values: the same without signs."""
        return Representation(self.source, tuple((1,) * self.channels for _ in range(ORDER)))

    def blocks(self, k: int) -> Representation:
        """Channels times the k x k positions of a block, as `pixel_unshuffle` orders them."""
        inner = block_samples(k)
        return Representation(
            tuple(
                tuple(c * k * k + p for c in self.source[g] for p in inner.source[g])
                for g in range(ORDER)
            ),
            tuple(tuple(s for s in self.sign[g] for _ in range(k * k)) for g in range(ORDER)),
        )

    def orbits(self) -> np.ndarray:
        """Orbit of each channel, int [channels]; its channels share gains, biases and tables."""
        roots = np.array(self.source).min(axis=0)
        return np.unique(roots, return_inverse=True)[1]

    def act(self, x: Any, g: int) -> Any:
        """Turn features [..., C, H, W] (array or tensor, any dtype) by element `g`."""
        sign = np.array(self.sign[g]).reshape(-1, 1, 1)
        moved = turn(x[..., list(self.source[g]), :, :], g)
        if isinstance(x, Tensor):
            return moved * torch.as_tensor(sign, dtype=x.dtype, device=x.device)
        # Always a copy: an axis of length 1 may keep a negative stride, which torch refuses.
        moved = np.array(moved, order="C")
        return moved if (sign == 1).all() else moved * sign.astype(x.dtype)


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
    tuple(tuple(compose(inverse(g), h) for h in range(ORDER)) for g in range(ORDER)),
    ((1,) * ORDER,) * ORDER,
)


@lru_cache
def block_samples(k: int) -> Representation:
    """Representation of the k x k samples of a block of one plane."""
    positions = np.arange(k * k).reshape(k, k)
    return Representation(
        tuple(tuple(turn(positions, g).ravel().tolist()) for g in range(ORDER)),
        ((1,) * (k * k),) * ORDER,
    )
