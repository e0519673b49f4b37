"""Compiled loops over blocks of planes on the CPU: interpolation, blending, block search.

A loop that touches each sample once is many times as fast as the same in tensor operations, which
gather, multiply and scatter whole copies of the picture. Numba compiles at the first call and keeps
the result beside the package, or in `NUMBA_CACHE_DIR`.

Vectors are (down, right) in quarters of a luma sample, unless a function says whole samples.
Filters are the taps of each phase, [phases, taps]; outside of a plane its border repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from aehub import threads
from aehub.codecs.block_matching import BLOCK, compiled

HALF = BLOCK // 2
"""Samples along a side of a sub-block."""
INTEGER_RANGE = 2
"""Whole samples searched around the best candidate."""
_WIDE = BLOCK + 8
"""Side of a window for vectors up to a sample away: a block, and 4 samples around it."""

# Inner loops index by unsigned integers: numba tests signed ones for being negative, which keeps
# loops from being vectorised (13 times as slow). Views cost more than indices that are handed on.
_UINT = np.uintp
_1, _2, _3, _4, _5, _6, _7 = (np.uintp(n) for n in range(1, 8))


@compiled
def copy_window(plane: np.ndarray, top: int, left: int, window: np.ndarray) -> None:
    """Copy the square of samples from (top, left) on."""
    height, width = plane.shape
    n = len(window)
    if top >= 0 and left >= 0 and top + n <= height and left + n <= width:
        first, begin, side = _UINT(top), _UINT(left), _UINT(n)
        for y in range(side):
            for x in range(side):
                window[y, x] = plane[first + y, begin + x]
        return
    for y in range(n):
        row = min(max(top + y, 0), height - 1)
        for x in range(n):
            window[y, x] = plane[row, min(max(left + x, 0), width - 1)]


def run_parts(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run `kernel(begin, end, *arguments)` over parts of range(count), side by side.

    Compiled loops run without the lock of the interpreter, in as many threads as `AEHUB_THREADS`
    allows.
    """
    parts = max(1, min(threads.free_workers(), count))
    ends = [count * part // parts for part in range(parts + 1)]
    jobs = [threads.pool().submit(kernel, begin, end, *arguments)
            for begin, end in zip(ends[1:-1], ends[2:], strict=True)]
    kernel(ends[0], ends[1], *arguments)
    for job in jobs:
        job.result()


@compiled
def filter_down(window: np.ndarray, filters: np.ndarray, phase: int, first: int, rows: np.ndarray
                ) -> None:
    """Interpolate along columns: rows[y] is the sum of taps[k] window[first + y + k]."""
    height, width, start = _UINT(rows.shape[0]), _UINT(rows.shape[1]), _UINT(first)
    a, b, c, d = filters[phase, 0], filters[phase, 1], filters[phase, 2], filters[phase, 3]
    for y in range(height):
        z = y + start
        for x in range(width):
            rows[y, x] = (a * window[z, x] + b * window[z + _1, x] + c * window[z + _2, x]
                          + d * window[z + _3, x])
    if filters.shape[1] == 4:
        return
    a, b, c, d = filters[phase, 4], filters[phase, 5], filters[phase, 6], filters[phase, 7]
    for y in range(height):
        z = y + start
        for x in range(width):
            rows[y, x] += (a * window[z + _4, x] + b * window[z + _5, x] + c * window[z + _6, x]
                           + d * window[z + _7, x])


@compiled
def filter_across(rows: np.ndarray, filters: np.ndarray, phase: int, first: int, share: float,
                  patch: np.ndarray) -> None:
    """Add to a patch, times `share`, rows interpolated likewise."""
    height, width, start = _UINT(patch.shape[0]), _UINT(patch.shape[1]), _UINT(first)
    factor = filters.dtype.type(share)
    a, b = factor * filters[phase, 0], factor * filters[phase, 1]
    c, d = factor * filters[phase, 2], factor * filters[phase, 3]
    for y in range(height):
        for x in range(width):
            z = x + start
            patch[y, x] += (a * rows[y, z] + b * rows[y, z + _1] + c * rows[y, z + _2]
                            + d * rows[y, z + _3])
    if filters.shape[1] == 4:
        return
    a, b = factor * filters[phase, 4], factor * filters[phase, 5]
    c, d = factor * filters[phase, 6], factor * filters[phase, 7]
    for y in range(height):
        for x in range(width):
            z = x + start
            patch[y, x] += (a * rows[y, z + _4] + b * rows[y, z + _5] + c * rows[y, z + _6]
                            + d * rows[y, z + _7])


@compiled
def add_block(plane: np.ndarray, top: int, left: int, down: int, right: int, filters: np.ndarray,
              share: float, window: np.ndarray, rows: np.ndarray, patch: np.ndarray) -> None:
    """Add an interpolated block to a patch [n, n].

    Args:
        plane: samples [H, W].
        top: of the block.
        left: of the block.
        down: of its vector, in phases of the filters.
        right: likewise.
        filters: taps.
        share: factor of the block.
        window: scratch [n + taps - 1, n + taps - 1].
        rows: scratch [n, n + taps - 1].
        patch: to add to.
    """
    phases, taps = filters.shape
    before = taps // 2 - 1
    copy_window(plane, top + down // phases - before, left + right // phases - before, window)
    filter_down(window, filters, down % phases, 0, rows)
    filter_across(rows, filters, right % phases, 0, share, patch)


@compiled
def blend(patch: np.ndarray, ramp: np.ndarray, row: int, column: int, total: np.ndarray) -> None:
    """Add a block with margins, weighted by its window, to total [H, W] from (row, column) on."""
    height, width = total.shape
    wide = len(ramp)
    begin, count = max(0, -column), min(wide, width - column)
    first, n = _UINT(begin), _UINT(count - begin)
    there = _UINT(column + begin)
    for y in range(max(0, -row), min(wide, height - row)):
        weight, line = ramp[y], row + y
        for x in range(n):
            total[line, there + x] += weight * ramp[first + x] * patch[y, first + x]


@compiled
def predict_plane(planes: np.ndarray, vectors: np.ndarray, modes: np.ndarray, split: np.ndarray,
                  filters: np.ndarray, side: int, ramp: np.ndarray, sub_ramp: np.ndarray,
                  total: np.ndarray) -> None:
    """Sum of the weighted predictions of all blocks.

    Args:
        planes: one or two references, [R, H, W].
        vectors: of sub-blocks, in phases of the filters, [R, 2, 2 h, 2 w].
        modes: 1 the first reference, 2 the second, 3 the mean of both, [h, w].
        split: blocks whose sub-blocks have different vectors, [h, w].
        filters: taps.
        side: of a block in samples of this plane.
        ramp: window of a block along a line, with margins.
        sub_ramp: window of a sub-block.
        total: zeros [H, W], filled.
    """
    margin = (len(ramp) - side) // 2
    for i in range(modes.shape[0]):
        for j in range(modes.shape[1]):
            if split[i, j]:
                for part in range(4):
                    row, column = 2 * i + part // 2, 2 * j + part % 2
                    _predict_block(planes, vectors[:, :, row, column], modes[i, j], filters,
                                   row * side // 2 - margin, column * side // 2 - margin, sub_ramp,
                                   total)
            else:
                _predict_block(planes, vectors[:, :, 2 * i, 2 * j], modes[i, j], filters,
                               i * side - margin, j * side - margin, ramp, total)


@compiled
def _predict_block(planes: np.ndarray, vectors: np.ndarray, mode: int, filters: np.ndarray,
                   top: int, left: int, ramp: np.ndarray, total: np.ndarray) -> None:
    n, wide = len(ramp), len(ramp) + filters.shape[1] - 1
    patch, window = np.zeros((n, n), total.dtype), np.empty((wide, wide), total.dtype)
    rows = np.empty((n, wide), total.dtype)
    share = 0.5 if mode == 3 else 1.0
    for r in range(len(planes)):
        if mode >> r & 1:
            add_block(planes[r], top, left, vectors[r, 0], vectors[r, 1], filters, share, window,
                      rows, patch)
    blend(patch, ramp, top, left, total)


@compiled
def subtract_mean(luma: np.ndarray, detail: np.ndarray) -> None:
    """Set `detail` to a plane less its 3x3 mean."""
    height, width = luma.shape
    line, factor, last = np.empty(width, np.float32), np.float32(1 / 9), _UINT(width - 1)
    for row in range(height):
        above, here, below = _UINT(max(row - 1, 0)), _UINT(row), _UINT(min(row + 1, height - 1))
        for x in range(_UINT(width)):
            line[x] = luma[above, x] + luma[here, x] + luma[below, x]
        for x in range(_1, last):
            detail[here, x] = luma[here, x] - factor * (line[x - _1] + line[x] + line[x + _1])
        detail[here, 0] = luma[here, 0] - factor * (line[0] + line[0] + line[1])
        detail[here, last] = luma[here, last] - factor * (line[last - _1] + line[last] + line[last])


@compiled
def cross_phases(reference: np.ndarray, current: np.ndarray, phases: np.ndarray) -> None:
    """Set `phases` to the cross spectrum of two pictures with magnitudes of 1."""
    least = np.float32(1e-6)
    for y in range(phases.shape[0]):
        for x in range(phases.shape[1]):
            a, b, c, d = (reference[y, x].real, reference[y, x].imag, current[y, x].real,
                          current[y, x].imag)
            real, imag = a * c + b * d, b * c - a * d
            factor = np.float32(1) / np.sqrt(max(real * real + imag * imag, least))
            phases[y, x] = complex(real * factor, imag * factor)


@compiled
def vector_bits(down: int, right: int, log2: np.ndarray) -> float:
    """Approximate bits of a vector difference; `log2[n]` is log2(1 + n)."""
    if down == 0 and right == 0:
        return 0.3
    last = len(log2) - 1
    return 2 * (log2[min(abs(down), last)] + log2[min(abs(right), last)]) + 2


@compiled
def least_bits(down: int, right: int, predictions: np.ndarray, log2: np.ndarray) -> float:
    """Bits of a vector by the cheapest of its predictions [n, 2]."""
    least = np.inf
    for p in range(len(predictions)):
        least = min(least, vector_bits(down - predictions[p, 0], right - predictions[p, 1], log2))
    return least


@compiled
def choose_candidates(begin: int, end: int, current: np.ndarray, reference: np.ndarray,
                      candidates: np.ndarray, lambda_: np.ndarray, predictor: np.ndarray,
                      log2: np.ndarray, chosen: np.ndarray) -> None:
    """Choose the candidate of least cost of each block.

    Args:
        begin: row of blocks.
        end: row of blocks.
        current: luma [H, W].
        reference: luma [H, W].
        candidates: in whole samples, [n, 2, h, w].
        lambda_: SAD per bit, [h, w].
        predictor: [2, h, w].
        log2: for `vector_bits`.
        chosen: in whole samples, [2, h, w], filled.
    """
    window = np.empty((BLOCK, BLOCK), np.float32)
    for i in range(begin, end):
        for j in range(candidates.shape[3]):
            best, top, left = np.inf, BLOCK * i, BLOCK * j
            for c in range(len(candidates)):
                down, right = candidates[c, 0, i, j], candidates[c, 1, i, j]
                if c and down == chosen[0, i, j] and right == chosen[1, i, j]:
                    continue
                cost = lambda_[i, j] * vector_bits(4 * down - predictor[0, i, j],
                                                   4 * right - predictor[1, i, j], log2)
                if cost < best:
                    copy_window(reference, top + down, left + right, window)
                    cost += _sad(window, current, top, left, best - cost)
                if cost < best:
                    best = cost
                    chosen[0, i, j], chosen[1, i, j] = down, right


@compiled
def _sad(window: np.ndarray, current: np.ndarray, top: int, left: int, limit: float) -> np.float32:
    """Sum of absolute differences of a block; a part of it once that is beyond the limit."""
    total, begin = np.float32(0), _UINT(left)
    for first in range(0, BLOCK, 4):
        y, z = _UINT(first), _UINT(top + first)
        for x in range(_UINT(BLOCK)):
            total += (abs(window[y, x] - current[z, begin + x])
                      + abs(window[y + _1, x] - current[z + _1, begin + x])
                      + abs(window[y + _2, x] - current[z + _2, begin + x])
                      + abs(window[y + _3, x] - current[z + _3, begin + x]))
        if total >= limit:
            break
    return total


@compiled
def refine_blocks(begin: int, end: int, current: np.ndarray, reference: np.ndarray,
                  start: np.ndarray, lambda_: np.ndarray, predictions: np.ndarray,
                  filters: np.ndarray, log2: np.ndarray, vectors: np.ndarray, cost: np.ndarray,
                  sad: np.ndarray, sub_vectors: np.ndarray, sub_sad: np.ndarray) -> None:
    """Search whole samples around `start`, then half samples, then quarters, for all blocks.

    Args:
        begin: row of blocks.
        end: row of blocks.
        current: luma [H, W].
        reference: luma [H, W].
        start: in whole samples, [2, h, w].
        lambda_: SAD per bit, [h, w].
        predictions: [n, 2, h, w].
        filters: taps.
        log2: for `vector_bits`.
        vectors: [2, h, w]; filled, like all that follow.
        cost: SAD with the bits of the vector, [h, w].
        sad: SAD alone, [h, w].
        sub_vectors: [2, 2 h, 2 w].
        sub_sad: [2 h, 2 w].
    """
    best, best_cost = np.empty(2, np.int64), np.empty(2, np.float32)
    part_vectors, part_sads = np.empty((4, 2), np.int64), np.empty(4, np.float32)
    for i in range(begin, end):
        for j in range(start.shape[2]):
            best_cost[:], part_sads[:] = np.inf, np.inf
            likely = np.ascontiguousarray(predictions[:, :, i, j])
            _search_whole(current, reference, i, j, start[:, i, j], likely, lambda_[i, j], log2,
                          best, best_cost, part_vectors, part_sads)
            _search_parts(current, reference, i, j, likely, lambda_[i, j], filters, log2, best,
                          best_cost, part_vectors, part_sads)
            vectors[0, i, j], vectors[1, i, j] = best
            cost[i, j], sad[i, j] = best_cost
            for part in range(4):
                y, x = 2 * i + part // 2, 2 * j + part % 2
                sub_sad[y, x] = part_sads[part]
                sub_vectors[0, y, x], sub_vectors[1, y, x] = part_vectors[part]


@compiled
def _search_whole(current: np.ndarray, reference: np.ndarray, i: int, j: int, start: np.ndarray,
                  predictions: np.ndarray, lambda_: float, log2: np.ndarray, best: np.ndarray,
                  best_cost: np.ndarray, part_vectors: np.ndarray, part_sads: np.ndarray) -> None:
    """Search whole samples."""
    side = 2 * INTEGER_RANGE + 1
    window, sads = np.empty((BLOCK + side - 1, BLOCK + side - 1), np.float32), np.empty(
        (side, side, 4), np.float32)
    top, left = start[0] - INTEGER_RANGE, start[1] - INTEGER_RANGE
    copy_window(reference, BLOCK * i + top, BLOCK * j + left, window)
    for y in range(side):
        for x in range(side):
            _sum_parts(window, y, x, current, BLOCK * i, BLOCK * j, sads, y, x)
    _keep_best(4 * top, 4 * left, 4, sads, predictions, lambda_, log2, best, best_cost,
               part_vectors, part_sads)


@compiled
def _search_parts(current: np.ndarray, reference: np.ndarray, i: int, j: int,
                  predictions: np.ndarray, lambda_: float, filters: np.ndarray, log2: np.ndarray,
                  best: np.ndarray, best_cost: np.ndarray, part_vectors: np.ndarray,
                  part_sads: np.ndarray) -> None:
    """Search half samples around the best whole ones, then quarters around the best of these."""
    top, left, whole = BLOCK * i, BLOCK * j, best.copy()
    window, rows = np.empty((_WIDE, _WIDE), np.float32), np.empty((BLOCK, _WIDE), np.float32)
    patch, sads = np.empty((BLOCK, BLOCK), np.float32), np.empty((3, 3, 4), np.float32)
    copy_window(reference, top + whole[0] // 4 - 4, left + whole[1] // 4 - 4, window)
    sads[1, 1] = np.inf  # It is known.
    for spacing in (2, 1):
        first_down, first_right = best[0] - whole[0] - spacing, best[1] - whole[1] - spacing
        for y in range(3):
            _filter_rows(window, filters, first_down + y * spacing, rows)
            for x in range(3):
                right = first_right + x * spacing
                if x == 1 and y == 1:
                    continue
                if right & 3 == 0:
                    _sum_parts(rows, 0, 4 + (right >> 2), current, top, left, sads, y, x)
                else:
                    _filter_block(rows, filters, right & 3, 1 + (right >> 2), patch)
                    _sum_parts(patch, 0, 0, current, top, left, sads, y, x)
        _keep_best(whole[0] + first_down, whole[1] + first_right, spacing, sads, predictions,
                   lambda_, log2, best, best_cost, part_vectors, part_sads)


@compiled
def _filter_rows(window: np.ndarray, filters: np.ndarray, down: int, rows: np.ndarray) -> None:
    """Interpolate a window along columns at a vector's component from its middle."""
    if down & 3 == 0:
        first = _UINT(4 + (down >> 2))
        for y in range(_UINT(BLOCK)):
            for x in range(_UINT(_WIDE)):
                rows[y, x] = window[first + y, x]
        return
    taps, first = filters[down & 3], _UINT(1 + (down >> 2))
    a, b, c, d = taps[0], taps[1], taps[2], taps[3]
    e, f, g, h = taps[4], taps[5], taps[6], taps[7]
    for y in range(_UINT(BLOCK)):
        z = y + first
        for x in range(_UINT(_WIDE)):
            rows[y, x] = (
                a * window[z, x] + b * window[z + _1, x] + c * window[z + _2, x]
                + d * window[z + _3, x] + e * window[z + _4, x] + f * window[z + _5, x]
                + g * window[z + _6, x] + h * window[z + _7, x])


@compiled
def _filter_block(rows: np.ndarray, filters: np.ndarray, phase: int, first: int, patch: np.ndarray
                  ) -> None:
    """Set a patch [BLOCK, BLOCK] to rows interpolated across."""
    taps, begin = filters[phase], _UINT(first)
    a, b, c, d = taps[0], taps[1], taps[2], taps[3]
    e, f, g, h = taps[4], taps[5], taps[6], taps[7]
    for y in range(_UINT(BLOCK)):
        for x in range(_UINT(BLOCK)):
            z = x + begin
            patch[y, x] = (
                a * rows[y, z] + b * rows[y, z + _1] + c * rows[y, z + _2] + d * rows[y, z + _3]
                + e * rows[y, z + _4] + f * rows[y, z + _5] + g * rows[y, z + _6]
                + h * rows[y, z + _7])


@compiled
def _sum_parts(patch: np.ndarray, y: int, x: int, current: np.ndarray, top: int, left: int,
               sads: np.ndarray, row: int, column: int) -> None:
    """Set sads[row, column] to the SADs of the four sub-blocks of a block in a patch."""
    half = _UINT(HALF)
    for part in range(4):
        a, b = _UINT(y + part // 2 * HALF), _UINT(x + part % 2 * HALF)
        c, d = _UINT(top + part // 2 * HALF), _UINT(left + part % 2 * HALF)
        total = np.float32(0)
        for at in range(half):
            p, q = b + at, d + at
            # All rows at once: what the loop adds up is one vector of sums.
            total += (abs(patch[a, p] - current[c, q])
                      + abs(patch[a + _1, p] - current[c + _1, q])
                      + abs(patch[a + _2, p] - current[c + _2, q])
                      + abs(patch[a + _3, p] - current[c + _3, q])
                      + abs(patch[a + _4, p] - current[c + _4, q])
                      + abs(patch[a + _5, p] - current[c + _5, q])
                      + abs(patch[a + _6, p] - current[c + _6, q])
                      + abs(patch[a + _7, p] - current[c + _7, q]))
        sads[row, column, part] = total


@compiled
def _keep_best(first_down: int, first_right: int, spacing: int, sads: np.ndarray,
               predictions: np.ndarray, lambda_: float, log2: np.ndarray, best: np.ndarray,
               best_cost: np.ndarray, part_vectors: np.ndarray, part_sads: np.ndarray) -> None:
    """Keep those of the vectors of a square grid that are the best of a block or of a sub-block.

    `best_cost` holds SAD with the bits of the vector, and SAD alone.
    """
    for y in range(sads.shape[0]):
        for x in range(sads.shape[1]):
            down, right = first_down + y * spacing, first_right + x * spacing
            sad = sads[y, x, 0] + sads[y, x, 1] + sads[y, x, 2] + sads[y, x, 3]
            if sad < best_cost[0]:
                cost = sad + lambda_ * least_bits(down, right, predictions, log2)
                if cost < best_cost[0]:
                    best[0], best[1] = down, right
                    best_cost[0], best_cost[1] = cost, sad
            for part in range(4):
                if sads[y, x, part] < part_sads[part]:
                    part_sads[part] = sads[y, x, part]
                    part_vectors[part, 0], part_vectors[part, 1] = down, right
