"""Pictures as the networks of the codec take them: planes, and blocks of samples side by side."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class PlaneBatch(NamedTuple):
    """Pictures as planes in [-0.5, 0.5]: `y` [B, 1, H, W]; `u`, `v` [B, 1, H/2, W/2]."""

    y: Tensor
    u: Tensor
    v: Tensor


def pixels_of(planes: PlaneBatch) -> Tensor:
    """Planes -> [B, 96, h, w]: each position holds the samples of an 8x8 block."""
    x = torch.cat([F.pixel_unshuffle(planes.y, 8), F.pixel_unshuffle(planes.u, 4),
                   F.pixel_unshuffle(planes.v, 4)], 1)
    return x.contiguous(memory_format=torch.channels_last)


def planes_of(pixels: Tensor) -> PlaneBatch:
    """The inverse of `pixels_of`."""
    y, u, v = pixels.split((64, 16, 16), 1)
    return PlaneBatch(F.pixel_shuffle(y, 8), F.pixel_shuffle(u, 4), F.pixel_shuffle(v, 4))


def clipped(planes: PlaneBatch) -> PlaneBatch:
    """Planes in range; never rounded."""
    return PlaneBatch(*(p.clamp(-0.5, 0.5) for p in planes))
