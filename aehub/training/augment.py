"""Ways to make a picture another one that could be in the same set. White is the ground.

All take pictures [B, 3, S, S] in [0, 1] and a generator, and return the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_MOVED, _RECOLOURED, _MIXED, _TONED, _COMPOSED = 0.5, 0.25, 0.3, 0.3, 0.125


def altered(pictures: Tensor, generator: Generator) -> Tensor:
    """Mirrored, turned, scaled, moved and recoloured at random, each picture by itself."""
    mirrored = torch.rand(len(pictures), generator=generator) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    moved = torch.rand(len(pictures), generator=generator) < _MOVED
    pictures = pictures.clone()
    pictures[moved] = _moved(pictures[moved], generator)
    return _recoloured(pictures, generator)


def _between(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _moved(pictures: Tensor, generator: Generator) -> Tensor:
    """Turned by up to 17 degrees, 0.75 to 1.15 times as large, up to 4 pixels away."""
    n = len(pictures)
    angle = _between(n, -0.3, 0.3, generator)
    scale = _between(n, 0.75, 1.15, generator)
    stretch = torch.exp(_between(n, -0.12, 0.12, generator))
    x, y = (_between(n, -0.12, 0.12, generator) for _ in "xy")
    cos, sin = angle.cos() / scale, angle.sin() / scale
    matrix = torch.stack([torch.stack([cos * stretch, sin, x], 1),
                          torch.stack([-sin, cos / stretch, y], 1)], 1)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    # Outside of the picture is 0, so white must be.
    return 1 - F.grid_sample(1 - pictures, grid, "bicubic", align_corners=False).clamp(0, 1)


def _recoloured(pictures: Tensor, generator: Generator) -> Tensor:
    """Channels swapped, mixed and darkened or lightened; white stays white."""
    n = len(pictures)
    order = torch.rand(n, 3, generator=generator).argsort(1)
    swapped = torch.rand(n, 1, 1, generator=generator) < _RECOLOURED
    matrix = torch.where(swapped, F.one_hot(order, 3).float(), torch.eye(3))
    mixed = torch.rand(n, 1, 1, generator=generator) < _MIXED
    matrix = matrix + 0.25 * torch.rand(n, 3, 3, generator=generator) * mixed
    matrix = matrix / matrix.sum(2, keepdim=True)
    pictures = torch.einsum("bij,bjhw->bihw", matrix, pictures)
    toned = torch.rand(n, generator=generator) < _TONED
    gamma = torch.exp(_between(n, -0.3, 0.3, generator) * toned)
    return pictures.clamp(1e-4, 1) ** gamma[:, None, None, None]


def composed(pictures: Tensor, generator: Generator) -> Tensor:
    """The first eighth of a batch becomes halves of two pictures, or one upon another."""
    n = math.floor(len(pictures) * _COMPOSED)
    pictures = pictures.clone()
    others = pictures[torch.randperm(len(pictures), generator=generator)[:n]]
    half = pictures.shape[-1] // 2
    kind = float(torch.rand((), generator=generator))
    if kind < 0.4:
        pictures[:n, :, :, half:] = others[:, :, :, half:]
    elif kind < 0.7:
        pictures[:n, :, half:] = others[:, :, half:]
    elif n:
        small = F.interpolate(others, scale_factor=0.5, mode="area")
        y, x = torch.randint(0, half + 1, (2,), generator=generator).tolist()
        place = pictures[:n, :, y:y + half, x:x + half]
        drawn = small.amin(1, keepdim=True) < 0.97
        pictures[:n, :, y:y + half, x:x + half] = torch.where(drawn, small, place)
    return pictures
