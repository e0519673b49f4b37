"""Block matching at a quarter of the resolution: the motion between two pictures, roughly.

Enough to find scene cuts and to judge how well one picture predicts another, whatever the codec;
codecs begin their own motion estimation with it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from aehub.compiled import compiled

BLOCK = 16
"""Samples along a side of a block."""
COARSE_SCALE = 4
"""Downscaling of the pictures."""


def coarse(luma: np.ndarray) -> np.ndarray:
    """Downscale a plane [H, W], sides multiples of 16: float32 [H/4, W/4]."""
    height, width = luma.shape
    means = np.empty((height // COARSE_SCALE, width // COARSE_SCALE), np.float32)
    _downscale(luma, means)
    return means


def coarse_cost(current: np.ndarray, reference: np.ndarray, search_range: int
                ) -> tuple[float, float]:
    """Mean absolute difference of two pictures in grey levels, after block matching.

    Args:
        current: from `coarse`.
        reference: from `coarse`.
        search_range: largest component of a vector, in samples of the full resolution.

    Returns:
        (from the motion-compensated reference; from each block's own mean).
    """
    side = BLOCK // COARSE_SCALE
    h, w = (n // side for n in current.shape)
    blocks = current.reshape(h, side, w, side)
    flat = np.abs(blocks - blocks.mean((1, 3), keepdims=True)).mean()
    free = np.zeros((h, w), np.float32)
    return float(coarse_search(current, reference, free, search_range)[1].mean()), float(flat)


def coarse_search(current: np.ndarray, reference: np.ndarray, lambda_: np.ndarray,
                  search_range: int) -> tuple[np.ndarray, np.ndarray]:
    """Search at quarter resolution: whole-sample vectors int64 [2, h, w], cost per sample [h, w].

    Windows of two blocks a side are compared: single blocks find false matches.

    Args:
        current: from `coarse`.
        reference: from `coarse`.
        lambda_: absolute difference per bit of a vector, [h, w].
        search_range: as for `coarse_cost`.
    """
    radius = -(-search_range // COARSE_SCALE)
    padded = np.pad(reference, radius, "edge")
    cost = np.full(lambda_.shape, np.inf, np.float32)
    vectors = np.zeros((2, *lambda_.shape), np.int64)
    _match(current, padded, lambda_, radius, _bits(radius), cost, vectors)
    return vectors * COARSE_SCALE, cost / BLOCK**2


@lru_cache
def _bits(radius: int) -> np.ndarray:
    """Approximate bits of a vector by its absolute components: float32 [radius + 1, radius + 1]."""
    size = np.arange(1, radius + 2, dtype=np.float32)
    return 2 * np.log2(size[:, None] * size)


@compiled
def _downscale(luma: np.ndarray, means: np.ndarray) -> None:
    for y in range(means.shape[0]):
        for x in range(means.shape[1]):
            total = np.float32(0)
            for a in range(4):
                for b in range(4):
                    total += luma[4 * y + a, 4 * x + b]
            means[y, x] = total / 16


@compiled
def _match(current: np.ndarray, padded: np.ndarray, lambda_: np.ndarray, radius: int,
           bits: np.ndarray, cost: np.ndarray, vectors: np.ndarray) -> None:
    """Full search; `padded` is the reference with `radius` samples more at each side."""
    h, w = cost.shape
    # Sums of 2x2 samples, and a border of zeros: windows end at the border of the picture.
    cells, sums = np.zeros((2 * h + 2, 2 * w + 2), np.float32), np.empty(w, np.float32)
    line = np.empty(4 * w, np.float32)
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            _sum_cells(current, padded, radius + down, radius + right, line, cells)
            rate = bits[abs(down), abs(right)]
            for i in range(h):
                _sum_windows(cells, 2 * i, line, sums)
                for j in range(w):
                    total = 4 * sums[j] + lambda_[i, j] * rate
                    if total < cost[i, j]:
                        cost[i, j] = total
                        vectors[0, i, j], vectors[1, i, j] = down, right


# Sums along columns first, which are vectorised; unsigned indices are too.


@compiled
def _sum_windows(cells: np.ndarray, row: int, line: np.ndarray, sums: np.ndarray) -> None:
    """Sums of 4x4 cells from a row on, one window every two columns."""
    a, one, two, three = np.uintp(row), np.uintp(1), np.uintp(2), np.uintp(3)
    for x in range(np.uintp(cells.shape[1])):
        line[x] = cells[a, x] + cells[a + one, x] + cells[a + two, x] + cells[a + three, x]
    for j in range(np.uintp(len(sums))):
        b = two * j
        sums[j] = line[b] + line[b + one] + line[b + two] + line[b + three]


@compiled
def _sum_cells(current: np.ndarray, padded: np.ndarray, down: int, right: int, line: np.ndarray,
               cells: np.ndarray) -> None:
    """Sum absolute differences of 2x2 samples; the border of `cells` stays."""
    first, begin, one, two = np.uintp(down), np.uintp(right), np.uintp(1), np.uintp(2)
    for y in range(np.uintp(current.shape[0] // 2)):
        a, b = two * y, first + two * y
        for x in range(np.uintp(current.shape[1])):
            line[x] = (abs(padded[b, begin + x] - current[a, x])
                       + abs(padded[b + one, begin + x] - current[a + one, x]))
        for x in range(np.uintp(current.shape[1] // 2)):
            cells[y + one, x + one] = line[two * x] + line[two * x + one]
