"""Bits of codes as a smooth function of table index, for training.

The shape is the tables' start: half Gaussian, half Laplacian (`entropy.start_histogram`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from aehub.entropy import N_TABLES, SCALE_MAX, SCALE_MIN

_SLOPE = math.log(SCALE_MAX / SCALE_MIN) / (N_TABLES - 1)
_LEAST = 2.0**-20


def _below(x: Tensor) -> Tensor:
    """Cumulative distribution at x <= 0 and its mirror image, of unit deviation."""
    laplace = 0.5 * torch.exp(-math.sqrt(2) * x.abs())
    laplace = torch.where(x > 0, 1 - laplace, laplace)
    return 0.5 * (torch.special.ndtr(x) + laplace)


def code_bits(codes: Tensor, index: Tensor) -> Tensor:
    """Bits of each code (real in training) under real table index `index`, elementwise.

    An index between two integers stands for the lower table, whose scale is that of its middle.
    """
    inverse = torch.exp(-_SLOPE * (index - 0.5)) / SCALE_MIN
    magnitude = codes.abs()
    mass = _below((0.5 - magnitude) * inverse) - _below((-0.5 - magnitude) * inverse)
    return -torch.log2(mass.clamp(min=_LEAST))
