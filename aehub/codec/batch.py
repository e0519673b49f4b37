"""Planes of one frame size as padded batches for the networks, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aehub.clips.frames import Planes
from aehub.container.filehead import ceil_grid
from aehub.models.planes import PlaneBatch


def to_batch(frames: Sequence[Planes], device: torch.device, dtype: torch.dtype) -> PlaneBatch:
    """Frames of one size -> planes in [-0.5, 0.5], padded by repeating the last row and column."""
    width, height = frames[0].size
    sizes = [(ceil_grid(height) // n, ceil_grid(width) // n) for n in (1, 2, 2)]
    batches = []
    for planes, (rows, columns) in zip(zip(*frames, strict=True), sizes, strict=True):
        stack = np.stack([
            np.pad(p, ((0, rows - p.shape[0]), (0, columns - p.shape[1])), "edge") for p in planes
        ])
        batches.append(torch.from_numpy(stack).to(device, dtype)[:, None] / 255 - 0.5)
    return PlaneBatch(*batches)


def from_batch(batch: PlaneBatch, crop: tuple[int, int], size: tuple[int, int]) -> list[Planes]:
    """Decoded planes -> the shown window of each frame, rounded to uint8.

    Args:
        batch: planes as `to_batch` makes them.
        crop: (x, y) of the window in luma samples; chroma samples that it touches are shown.
        size: (width, height) of the window.
    """
    (x, y), (width, height) = crop, size
    windows = [(y, y + height, x, x + width)]
    windows += 2 * [(y // 2, -(-(y + height) // 2), x // 2, -(-(x + width) // 2))]
    planes = [_round(plane[:, 0, top:bottom, left:right])
              for plane, (top, bottom, left, right) in zip(batch, windows, strict=True)]
    return [Planes(*frame) for frame in zip(*planes, strict=True)]


def _round(plane: Tensor) -> np.ndarray:
    return ((plane + 0.5) * 255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
