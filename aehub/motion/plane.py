"""A luma plane as the encoder searches it."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 16
SHRINK = 4
# The largest window, in samples.
_OUTSIDE = 32


class Plane:
    """A luma plane to search from or in, and its quarter-size copy."""

    def __init__(self, luma: Tensor) -> None:
        """`luma` [H, W], sides multiples of 32, grey levels."""
        self.luma = luma
        self.small = F.avg_pool2d(luma[None, None], SHRINK)[0, 0]

    @property
    def device(self) -> torch.device:
        """Where its samples are."""
        return self.luma.device

    @cached_property
    def padded(self) -> Tensor:
        """`luma` with its border repeated: beyond so many samples outside there is nothing new."""
        return F.pad(self.luma[None, None], (_OUTSIDE,) * 4, mode="replicate")[0, 0]

    @cached_property
    def spectrum(self) -> Tensor:
        """Fourier transform of `luma` less the mean of 3x3 samples: flat areas show no motion."""
        around = F.avg_pool2d(F.pad(self.luma[None, None], (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.fft.rfft2(self.luma - around[0, 0])

    def windows(self, rows: Tensor, columns: Tensor, n: int) -> Tensor:
        """[..., n, n] from these samples on, whatever their shape; outside, the border repeats."""
        height, width = self.luma.shape
        rows = (rows + _OUTSIDE).clamp(0, height + _OUTSIDE)
        columns = (columns + _OUTSIDE).clamp(0, width + _OUTSIDE)
        return self.padded.unfold(0, n, 1).unfold(1, n, 1)[rows, columns]

    @cached_property
    def blocks(self) -> Tensor:
        """[H/16, W/16, 16, 16]."""
        return self.luma.unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).contiguous()
