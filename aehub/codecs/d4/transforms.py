"""Analysis and synthesis transforms (g_a, g_s), and the block DCT that they are initialised with.

All layers commute with D4. Dimension letters as in `aehub.codecs.d4.network`.

An 8x8 block of luma and the 4x4 blocks of both chroma planes that cover it make 96 numbers. Under
rotations and flips, DCT basis functions of equal parity in both directions split into a symmetric
and an antisymmetric combination (A1, B1 if both are even, B2, A2 if both are odd); a function that
is even in one direction and odd in the other makes an E pair with its transpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.integer_conv import KNOTS, QualityDependent
from aehub.codecs.d4.symmetry import A1, A2, B1, B2, REGULAR, E, Representation, block_samples
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.weights.device import no_autocast


def step_size(quality: Tensor) -> Tensor:
    """Quantiser step in grey levels at quality 0..100: 128 at 0, halved every 16.7, 2 at 100."""
    return 128 * torch.exp2(-6 * quality / 100)


class QualityCurve(QualityDependent):
    """Learned value per channel, piecewise linear in quality (0..100).

    Channels that D4 permutes share it: both of an E pair, all eight of a regular field.
    """

    orbits: Tensor

    def __init__(self, channels: Representation, *, start: float = 0.0) -> None:
        super().__init__()
        orbits = torch.as_tensor(channels.orbits())
        self.register_buffer("orbits", orbits, persistent=False)
        self.values = nn.Parameter(torch.full((KNOTS, int(orbits.max()) + 1), start))

    def evaluate(self, quality: Tensor) -> Tensor:
        """[B] -> [B, C, 1, 1]."""
        position = quality.to(self.values.dtype)[:, None] * (KNOTS - 1) / 100
        knots = torch.arange(KNOTS, device=quality.device)
        hats = (1 - (position - knots).abs()).clamp(min=0)
        return (hats @ self.values)[:, self.orbits, None, None]


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)) a + b)), with a and b by quality."""

    def __init__(self, features: Representation) -> None:
        super().__init__()
        self.first = TiedConv2d(features, features)
        self.second = TiedConv2d(features, features, scale=0.3)
        self.gain, self.bias = QualityCurve(features, start=1.0), QualityCurve(features)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        hidden = self.first(F.relu(x), self.gain(quality), self.bias(quality))
        return self.second(F.relu_(hidden)).add_(x)


class LinearTransform(nn.Module):
    """Analysis or synthesis as one 3x3 convolution, initialised as a block transform.

    Args:
        inputs: representation of the input channels.
        outputs: representation of the output channels.
        matrix: of the block transform, [outputs, inputs].
    """

    def __init__(self, inputs: Representation, outputs: Representation, matrix: Tensor) -> None:
        super().__init__()
        self.linear = TiedConv2d(inputs, outputs, exact=True)
        dense = torch.zeros(self.linear.shape)
        dense[:, :, 1, 1] = matrix.float()
        self.linear.set_dense(dense)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        # Latents in steps reach hundreds; bfloat16 would round them by more than a step.
        with no_autocast(x.device.type):
            linear: Tensor = self.linear(x.to(self.linear.theta.dtype))
        return linear


class Transform(LinearTransform):
    """Linear transform plus a residual network whose last layer is initialised to zero.

    Args:
        fields: width of the network in regular fields of 8 channels.
        blocks: residual blocks.
    """

    def __init__(self, inputs: Representation, outputs: Representation, matrix: Tensor, *,
                 fields: int, blocks: int) -> None:
        super().__init__(inputs, outputs, matrix)
        features = REGULAR * fields
        self.head = TiedConv2d(inputs, features)
        self.head_gain = QualityCurve(features, start=1.0)
        self.head_bias = QualityCurve(features)
        self.blocks = nn.ModuleList(ResidualBlock(features) for _ in range(blocks))
        self.tail = TiedConv2d(features, outputs, scale=0)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        hidden = self.head(x, self.head_gain(quality), self.head_bias(quality))
        for block in self.blocks:
            hidden = block(hidden, quality)
        return self.tail(F.relu_(hidden)) + super().forward(x, quality)


BLOCK_SAMPLES = block_samples(8) + block_samples(4) + block_samples(4)
"""Samples of luma, then of both chroma planes, as `pixel_unshuffle` by 8, 4 and 4 orders them."""


@dataclass(frozen=True)
class _BasisFunctions:
    representation: Representation
    rows: tuple[np.ndarray, ...]  # one or two 2-D functions, flattened
    frequency: int


def _dct(n: int) -> np.ndarray:
    """Orthonormal DCT-II [n, n]: row k is the basis function of frequency k."""
    k, x = np.arange(n)[:, None], np.arange(n)[None]
    matrix = np.cos(np.pi * k * (2 * x + 1) / (2 * n)) * np.sqrt(2 / n)
    matrix[0] /= np.sqrt(2)
    return matrix


def _basis(n: int) -> list[_BasisFunctions]:
    dct = _dct(n)
    basis = []
    for i in range(n):
        for j in range(i + 1):
            a, b = np.outer(dct[i], dct[j]).ravel(), np.outer(dct[j], dct[i]).ravel()
            if i == j:
                basis.append(_BasisFunctions(B2 if i % 2 else A1, (a,), i + j))
            elif (i + j) % 2 == 0:
                symmetric, antisymmetric = (B2, A2) if i % 2 else (A1, B1)
                basis.append(_BasisFunctions(symmetric, ((a + b) / np.sqrt(2),), i + j))
                basis.append(_BasisFunctions(antisymmetric, ((a - b) / np.sqrt(2),), i + j))
            else:
                across, down = (b, a) if i % 2 else (a, b)
                basis.append(_BasisFunctions(E, (across, down), i + j))
    return sorted(basis, key=lambda functions: functions.frequency)


@dataclass(frozen=True)
class BlockDct:
    """Block DCT of luma and chroma with its coefficients in irreducible parts of D4.

    Attributes:
        latents: representation of the 96 latent channels, band by band.
        matrix: float64 [96, 96], latents from samples; orthonormal.
        bands: end of each band in channels: low, middle and high frequencies.
        frequency: int [96], sum of the horizontal and vertical frequency, in luma's scale.
        chroma: bool [96].
    """

    latents: Representation
    matrix: np.ndarray
    bands: tuple[int, int, int]
    frequency: np.ndarray
    chroma: np.ndarray


def _band(plane: int, frequency: int) -> int:
    limits = (3, 6) if plane == 0 else (2, 6)
    return sum(frequency > limit for limit in limits)


@lru_cache
def block_dct() -> BlockDct:
    """The block DCT, coefficients ordered by band, then plane, then frequency."""
    planes = [(0, _basis(8), 0), (1, _basis(4), 64), (2, _basis(4), 80)]
    ordered = sorted(
        ((_band(plane, functions.frequency), plane, offset, functions)
         for plane, basis, offset in planes for functions in basis),
        key=lambda item: item[:2],
    )
    rows, frequency, chroma, bands = [], [], [], [0, 0, 0]
    latents: Representation | None = None
    for band, plane, offset, functions in ordered:
        added = functions.representation
        latents = added if latents is None else latents + added
        for values in functions.rows:
            row = np.zeros(96)
            row[offset:offset + len(values)] = values
            rows.append(row)
            # A 4x4 block of chroma covers the same area: its frequencies are luma's.
            frequency.append(functions.frequency)
            chroma.append(plane > 0)
        bands[band] = len(rows)
    assert latents is not None
    return BlockDct(latents, np.stack(rows), (bands[0], bands[1], bands[2]),
                    np.array(frequency), np.array(chroma))
