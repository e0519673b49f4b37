"""Input and output of the networks: padded batches of planes, and 8x8 blocks as channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4 import plane_kernels
from aehub.media.picture import Picture

GRID = 32
"""Sides of coded luma planes are multiples of this many samples."""


class PlaneBatch(NamedTuple):
    """Pictures as planes in [-0.5, 0.5]: `y` [B, 1, H, W]; `u`, `v` [B, 1, H/2, W/2]."""

    y: Tensor
    u: Tensor
    v: Tensor


def unshuffle(planes: PlaneBatch) -> Tensor:
    """Planes -> [B, 96, h, w] (space to depth): each position holds the samples of an 8x8 block."""
    if plane_kernels.at_hand(*planes):
        height, width = (n // 8 for n in planes.y.shape[-2:])
        x, samples = plane_kernels.new_channels_last(planes.y.dtype, len(planes.y), 96, height,
                                                     width)
        plane_kernels.unshuffle(*map(plane_kernels.rows_of, planes), samples)
        return x
    x = torch.cat([F.pixel_unshuffle(planes.y, 8), F.pixel_unshuffle(planes.u, 4),
                   F.pixel_unshuffle(planes.v, 4)], 1)
    return x.contiguous(memory_format=torch.channels_last)


def shuffle(samples: Tensor) -> PlaneBatch:
    """The inverse of `unshuffle`."""
    if plane_kernels.at_hand(samples):
        batch, _, height, width = samples.shape
        planes = PlaneBatch(*(samples.new_empty(batch, 1, n * height, n * width)
                              for n in (8, 4, 4)))
        plane_kernels.shuffle(plane_kernels.channels_last(samples),
                              *map(plane_kernels.rows_of, planes))
        return planes
    y, u, v = samples.split((64, 16, 16), 1)
    return PlaneBatch(F.pixel_shuffle(y, 8), F.pixel_shuffle(u, 4), F.pixel_shuffle(v, 4))


def clipped(planes: PlaneBatch) -> PlaneBatch:
    """Clip planes to [-0.5, 0.5], without rounding."""
    return PlaneBatch(*(p.clamp(-0.5, 0.5) for p in planes))


def to_batch(frames: Sequence[Picture], device: torch.device, dtype: torch.dtype) -> PlaneBatch:
    """Frames of one size -> planes in [-0.5, 0.5], padded by repeating the last row and column."""
    width, height = frames[0].size
    rows, columns = (-(-n // GRID) * GRID for n in (height, width))
    sizes = [(rows // n, columns // n) for n in (1, 2, 2)]
    batches = []
    for planes, (rows, columns) in zip(zip(*frames, strict=True), sizes, strict=True):
        stack = np.stack([
            np.pad(p, ((0, rows - p.shape[0]), (0, columns - p.shape[1])), "edge") for p in planes
        ])
        batches.append(torch.from_numpy(stack).to(device, dtype)[:, None] / 255 - 0.5)
    return PlaneBatch(*batches)


def from_batch(batch: PlaneBatch, crop: tuple[int, int], size: tuple[int, int]) -> list[Picture]:
    """Decoded planes -> the cropping window of each frame, rounded to uint8.

    Args:
        batch: planes as `to_batch` makes them.
        crop: (x, y) of the window in luma samples; chroma samples that it touches belong to it.
        size: (width, height) of the window.
    """
    (x, y), (width, height) = crop, size
    windows = [(y, y + height, x, x + width)]
    windows += 2 * [(y // 2, -(-(y + height) // 2), x // 2, -(-(x + width) // 2))]
    planes = [_to_uint8(plane[:, 0, top:bottom, left:right])
              for plane, (top, bottom, left, right) in zip(batch, windows, strict=True)]
    return [Picture(frame) for frame in zip(*planes, strict=True)]


def _to_uint8(plane: Tensor) -> np.ndarray:
    # 255 times the samples and 127.5, rounded, in one pass.
    levels = torch.add(plane.new_full((), 128), plane, alpha=255)
    return levels.clamp_(0, 255).to(torch.uint8).cpu().numpy()
