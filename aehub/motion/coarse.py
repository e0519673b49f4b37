"""Search at quarter resolution: about where blocks come from, and how a camera turned."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.models.surroundings import computes
from aehub.motion.plane import BLOCK, SHRINK, Plane

# How far a camera may turn from a picture to its reference, in samples.
_PAN = 160
# Peaks of phase correlation that are tried, the longest of their vectors in samples, and the least
# share of the picture that must still be in sight.
_PEAKS, _FAR, _LEAST_IN_SIGHT = 4, 448, 0.125


@computes
def coarse_cost(current: Plane, reference: Plane, reach: int) -> tuple[float, float]:
    """How well quarter-size pictures predict: mean absolute difference in grey levels.

    Returns:
        (from the reference, each block moved; from each block's own mean).
    """
    small, side = current.small, BLOCK // SHRINK
    height, width = small.shape
    means = F.avg_pool2d(small[None, None], side).repeat_interleave(side, 2)
    flat = (means.repeat_interleave(side, 3)[0, 0] - small).abs().mean()
    none = small.new_zeros(height // side, width // side)
    return float(coarse(current, reference, none, reach)[1].mean()), float(flat)


def coarse(current: Plane, reference: Plane, weight: Tensor, reach: int
           ) -> tuple[Tensor, Tensor]:
    """Whole vectors [2, H/16, W/16] from the quarter-size pictures; difference per sample."""
    small, radius = current.small, -(-reach // SHRINK)
    height, width = small.shape
    padded = F.pad(reference.small[None, None], (radius,) * 4, mode="replicate")[0, 0]
    side = BLOCK // SHRINK
    shifts = torch.arange(-radius, radius + 1, device=small.device)
    # A window of two blocks a side: small blocks alone find false matches.
    across, down_sums = (_overlapping(n, side).to(small) for n in (width, height))
    wide = small.new_empty(height, len(shifts), width)
    bits = 2 * torch.log2((1 + shifts[radius:, None, None] + shifts.abs()[:, None]).to(small))
    best = small.new_full((height // side, width // side), torch.inf)
    found = shifts.new_zeros(2, *best.shape)
    for down in range(-radius, radius + 1):
        rows = padded[radius + down:radius + down + height].unfold(1, width, 1)
        difference = torch.sub(rows, small[:, None], out=wide).abs_()
        sums = (difference.flatten(0, 1) @ across).view(height, -1)
        total = (down_sums.T @ sums).view(height // side, len(shifts), -1) * SHRINK**2 / 4
        total += weight[:, None] * bits[abs(down)]
        low, at = total.min(1)
        better = low < best
        best = torch.where(better, low, best)
        found[0][better] = down
        found[1][better] = shifts[at[better]]
    return found * SHRINK, best / BLOCK**2


@lru_cache
@torch.inference_mode(False)  # A caller with gradients may be the next to use it.
def _overlapping(n: int, side: int) -> Tensor:
    """[n, n / side]: which of n samples lie in a block or half a block beside it."""
    centre = torch.arange(n // side, dtype=torch.float32, device="cpu") * side + (side - 1) / 2
    return ((torch.arange(n, device="cpu")[:, None] - centre).abs() < side).float()


def pan(current: Plane, reference: Plane) -> tuple[int, int]:
    """The one vector that moves the whole picture best, in samples: a camera's turn goes far."""
    size = (current.small.shape[0] // SHRINK, current.small.shape[1] // SHRINK)
    here, there = (F.adaptive_avg_pool2d(p.small[None, None], size)[0, 0]
                   for p in (current, reference))
    radius = min(_PAN // SHRINK**2, min(size) // 2)
    padded = F.pad(there[None, None], (radius,) * 4, mode="replicate")[0, 0]
    shifted = padded.unfold(0, size[0], 1).unfold(1, size[1], 1)
    cost = (shifted - here).abs().mean((2, 3))
    # Standing still is the usual case; noise must not beat it.
    cost[radius, radius] *= 0.98
    down, right = divmod(int(cost.argmin()), cost.shape[1])
    return (down - radius) * SHRINK**2, (right - radius) * SHRINK**2


def translations(current: Plane, reference: Plane) -> list[tuple[int, int]]:
    """The whole-sample vectors (down, right) by which most of the picture moved, other than none.

    Phase correlation: exact where windows scroll, where block search at a quarter of the resolution
    takes one line of text for another.

    Source: Kuglin and Hines 1975, "The phase correlation image alignment method".
    """
    height, width = current.luma.shape
    cross = reference.spectrum * current.spectrum.conj_physical()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-3), s=(height, width))
    peaks[0, 0] = -torch.inf
    found = []
    for place in peaks.flatten().topk(_PEAKS).indices.cpu().tolist():
        y, x = divmod(place, width)
        # The transform is periodic: a peak stands for up to four vectors.
        meant = [(down, right) for down in (y, y - height) for right in (x, x - width)
                 if _in_sight(height, down) * _in_sight(width, right) >= _LEAST_IN_SIGHT]
        if meant:
            found.append(min(meant, key=lambda m: _difference(current.luma, reference.luma, *m)))
    return found


def _in_sight(side: int, move: int) -> float:
    """Share of a side that is seen in both of two pictures, one of them moved; 0 if too far."""
    return max(0.0, 1 - abs(move) / side) if abs(move) <= _FAR else 0.0


def _difference(current: Tensor, reference: Tensor, down: int, right: int) -> float:
    """Mean absolute difference where a picture and the moved reference overlap."""
    height, width = current.shape
    here = current[max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]
    there = reference[max(0, down):height + min(0, down), max(0, right):width + min(0, right)]
    return float((here - there).abs().mean())


def panned(reference: Plane, down: int, right: int) -> Plane:
    """The reference with everything moved by a whole vector, its border repeated."""
    height, width = reference.luma.shape
    rows, columns = ((torch.arange(n, device=reference.device) + way).clamp(0, n - 1)
                     for n, way in ((height, down), (width, right)))
    return Plane(reference.luma[rows][:, columns])
