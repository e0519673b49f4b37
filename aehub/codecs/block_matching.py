"""Block matching at a quarter of the resolution: the motion between two pictures, roughly.

Enough to find scene cuts and to judge how well one picture predicts another, whatever the codec;
codecs begin their own motion estimation with it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.weights.device import with_inference

BLOCK = 16
"""Samples along a side of a block."""
COARSE_SCALE = 4
"""Downscaling of the pictures."""


def coarse(luma: Tensor) -> Tensor:
    """Downscale a plane [H, W], sides multiples of 16: [H/4, W/4]."""
    return F.avg_pool2d(luma[None, None], COARSE_SCALE)[0, 0]


@with_inference
def coarse_cost(current: Tensor, reference: Tensor, search_range: int) -> tuple[float, float]:
    """Mean absolute difference of two pictures in grey levels, after block matching.

    Args:
        current: from `coarse`.
        reference: from `coarse`.
        search_range: largest component of a vector, in samples of the full resolution.

    Returns:
        (from the motion-compensated reference; from each block's own mean).
    """
    side = BLOCK // COARSE_SCALE
    height, width = current.shape
    means = F.avg_pool2d(current[None, None], side).repeat_interleave(side, 2)
    flat = (means.repeat_interleave(side, 3)[0, 0] - current).abs().mean()
    none = current.new_zeros(height // side, width // side)
    return float(coarse_search(current, reference, none, search_range)[1].mean()), float(flat)


def coarse_search(current: Tensor, reference: Tensor, lambda_: Tensor, search_range: int
                  ) -> tuple[Tensor, Tensor]:
    """Search at quarter resolution: whole-sample vectors [2, H/16, W/16], cost per sample.

    Args:
        current: from `coarse`.
        reference: from `coarse`.
        lambda_: absolute difference per bit of a vector, of each block.
        search_range: as for `coarse_cost`.
    """
    small, radius = current, -(-search_range // COARSE_SCALE)
    height, width = small.shape
    padded = F.pad(reference[None, None], (radius,) * 4, mode="replicate")[0, 0]
    side = BLOCK // COARSE_SCALE
    shifts = torch.arange(-radius, radius + 1, device=small.device)
    # Windows of two blocks a side: single blocks find false matches.
    across, down_sums = (_window_sums(n, side).to(small) for n in (width, height))
    wide = small.new_empty(height, len(shifts), width)
    bits = 2 * torch.log2((1 + shifts[radius:, None, None] + shifts.abs()[:, None]).to(small))
    best = small.new_full((height // side, width // side), torch.inf)
    found = shifts.new_zeros(2, *best.shape)
    for down in range(-radius, radius + 1):
        rows = padded[radius + down:radius + down + height].unfold(1, width, 1)
        difference = torch.sub(rows, small[:, None], out=wide).abs_()
        sums = (difference.flatten(0, 1) @ across).view(height, -1)
        total = (down_sums.T @ sums).view(height // side, len(shifts), -1) * COARSE_SCALE**2 / 4
        total += lambda_[:, None] * bits[abs(down)]
        low, at = total.min(1)
        better = low < best
        best = torch.where(better, low, best)
        found[0][better] = down
        found[1][better] = shifts[at[better]]
    return found * COARSE_SCALE, best / BLOCK**2


@lru_cache
@torch.inference_mode(False)  # A caller with gradients may be the next to use it.
def _window_sums(n: int, side: int) -> Tensor:
    """[n, n / side]: samples that lie in a block or within half a block of it, as 0 and 1."""
    centre = torch.arange(n // side, dtype=torch.float32, device="cpu") * side + (side - 1) / 2
    return ((torch.arange(n, device="cpu")[:, None] - centre).abs() < side).float()
