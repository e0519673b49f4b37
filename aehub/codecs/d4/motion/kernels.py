"""Compiled loops over blocks of planes on the CPU: interpolation, blending, block search.

A loop that touches each sample once is many times as fast as the same in tensor operations, which
gather, multiply and scatter whole copies of the picture.

Vectors are (down, right) in quarters of a luma sample, unless a function says whole samples.
Filters are the taps of each phase, [phases, taps]; outside of a plane its border repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from aehub import threads
from aehub.codecs.block_matching import BLOCK
from aehub.compiled import compiled

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
def _filter_down(source: np.ndarray, row: int, column: int, taps: np.ndarray, height: int,
                 width: int, lines: np.ndarray) -> None:
    """Interpolate along columns: lines[y, x] sums taps[k] source[row + y + k, column + x]."""
    first, begin, n = _UINT(row), _UINT(column), _UINT(width)
    for part in range(0, len(taps), 4):
        a, b, c, d = taps[part], taps[part + 1], taps[part + 2], taps[part + 3]
        for y in range(_UINT(height)):
            z = first + y + _UINT(part)
            if part == 0:
                for x in range(n):
                    lines[y, x] = (a * source[z, begin + x] + b * source[z + _1, begin + x]
                                   + c * source[z + _2, begin + x] + d * source[z + _3, begin + x])
            else:
                for x in range(n):
                    lines[y, x] += (a * source[z, begin + x] + b * source[z + _1, begin + x]
                                    + c * source[z + _2, begin + x] + d * source[z + _3, begin + x])


@compiled
def _filter_across(source: np.ndarray, row: int, column: int, taps: np.ndarray, add: bool,
                   height: int, width: int, patch: np.ndarray) -> None:
    """Set a patch to lines interpolated along rows, or add them."""
    first, begin, n = _UINT(row), _UINT(column), _UINT(width)
    for part in range(0, len(taps), 4):
        a, b, c, d = taps[part], taps[part + 1], taps[part + 2], taps[part + 3]
        start = begin + _UINT(part)
        for y in range(_UINT(height)):
            z = first + y
            if part == 0 and not add:
                for x in range(n):
                    patch[y, x] = (a * source[z, start + x] + b * source[z, start + x + _1]
                                   + c * source[z, start + x + _2] + d * source[z, start + x + _3])
            else:
                for x in range(n):
                    patch[y, x] += (a * source[z, start + x] + b * source[z, start + x + _1]
                                    + c * source[z, start + x + _2] + d * source[z, start + x + _3])


@compiled
def _interpolate(plane: np.ndarray, top: int, left: int, height: int, width: int, down: int,
                 right: int, filters: np.ndarray, share: float, add: bool, window: np.ndarray,
                 lines: np.ndarray, patch: np.ndarray) -> None:
    """Set a patch to a rectangle of a plane moved by a vector, times `share`, or add it.

    Filters of phase 0 change nothing and are not run.
    """
    phases, taps = filters.shape
    before = taps // 2 - 1
    row, column = top + down // phases - before, left + right // phases - before
    high, wide, source = height + taps - 1, width + taps - 1, plane
    if min(row, column) < 0 or row + high > plane.shape[0] or column + wide > plane.shape[1]:
        for y in range(high):
            line = plane[min(max(row + y, 0), plane.shape[0] - 1)]
            for x in range(wide):
                window[y, x] = line[min(max(column + x, 0), plane.shape[1] - 1)]
        source, row, column = window, 0, 0
    if down % phases:
        _filter_down(source, row, column, filters[down % phases], height, wide, lines)
        source, row, column = lines, 0, 0
    else:
        row += before
    factor = filters.dtype.type(share)
    if right % phases:
        _filter_across(source, row, column, factor * filters[right % phases], add, height, width,
                       patch)
        return
    first, begin = _UINT(row), _UINT(column + before)
    for y in range(_UINT(height)):
        for x in range(_UINT(width)):
            value = factor * source[first + y, begin + x]
            patch[y, x] = patch[y, x] + value if add else value


@compiled
def _set_window(begin: int, end: int, size: int, margin: int, weights: np.ndarray
                ) -> tuple[int, int]:
    """Set the weights of a block's samples along a line, margins included; return their range.

    They rise and fall over both sides of an edge to another block, to which they add up to 1.
    """
    first, last = max(0, begin - margin), min(size, end + margin)
    weights[:last - first] = 1
    for k in range(2 * margin):
        if begin > 0:
            weights[k] = (k + 0.5) / (2 * margin)
        if end < size:
            weights[last - first - 1 - k] = (k + 0.5) / (2 * margin)
    return first, last


@compiled
def _predict_blocks(references: tuple[np.ndarray, np.ndarray], vectors: np.ndarray, mode: int,
                    filters: np.ndarray, place: tuple[int, int, int, int], margin: int,
                    scratch: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
                    total: np.ndarray) -> None:
    """Add the weighted prediction of blocks with one vector: rows and columns of `place`."""
    window, lines, patch, down, across = scratch
    top, bottom = _set_window(place[0], place[1], total.shape[0], margin, down)
    left, right = _set_window(place[2], place[3], total.shape[1], margin, across)
    share, add = 0.5 if mode == 3 else 1.0, False
    for r in range(2):
        if mode >> r & 1:
            _interpolate(references[r], top, left, bottom - top, right - left, vectors[r, 0],
                         vectors[r, 1], filters, share, add, window, lines, patch)
            add = True
    first, begin = _UINT(top), _UINT(left)
    for y in range(_UINT(bottom - top)):
        weight = down[y]
        for x in range(_UINT(right - left)):
            total[first + y, begin + x] += weight * across[x] * patch[y, x]


@compiled
def _differ(vectors: np.ndarray, mode: int, i: int, j: int, k: int, n: int) -> bool:
    """Vectors of sub-blocks (i, j) and (k, n) differ in a reference that is used."""
    for r in range(len(vectors)):
        if mode >> r & 1 and (vectors[r, 0, i, j] != vectors[r, 0, k, n]
                              or vectors[r, 1, i, j] != vectors[r, 1, k, n]):
            return True
    return False


@compiled
def _is_split(vectors: np.ndarray, mode: int, i: int, j: int) -> bool:
    """The sub-blocks of block (i, j) have several vectors."""
    a, b, c, d = 2 * i, 2 * j, 2 * i + 1, 2 * j + 1
    return (_differ(vectors, mode, a, b, a, d) or _differ(vectors, mode, a, b, c, b)
            or _differ(vectors, mode, a, b, c, d))


@compiled
def predict_plane(first: np.ndarray, second: np.ndarray, vectors: np.ndarray, modes: np.ndarray,
                  filters: np.ndarray, side: int, margin: int, total: np.ndarray) -> None:
    """Predict a plane; adjacent blocks of a row that move alike are predicted as one.

    Args:
        first: reference [H, W].
        second: reference; any if there is one only.
        vectors: of sub-blocks, in phases of the filters, [R, 2, 2 h, 2 w].
        modes: 1 the first reference, 2 the second, 3 the mean of both, [h, w].
        filters: taps.
        side: of a block in samples of this plane.
        margin: samples by which blocks overlap adjacent ones.
        total: zeros [H, W], filled.
    """
    rows, columns = modes.shape
    high, wide, half = side + 2 * margin, total.shape[1] + 2 * margin, side // 2
    taps, kind = filters.shape[1] - 1, total.dtype
    scratch = (np.empty((high + taps, wide + taps), kind), np.empty((high, wide + taps), kind),
               np.empty((high, wide), kind), np.empty(high, kind), np.empty(wide, kind))
    for i in range(rows):
        j = 0
        while j < columns:
            mode, end = modes[i, j], j + 1
            if _is_split(vectors, mode, i, j):
                for part in range(4):
                    a, b = 2 * i + part // 2, 2 * j + part % 2
                    _predict_blocks((first, second), vectors[:, :, a, b], mode, filters,
                                    (a * half, (a + 1) * half, b * half, (b + 1) * half), margin,
                                    scratch, total)
            else:
                while (end < columns and modes[i, end] == mode
                       and not _is_split(vectors, mode, i, end)
                       and not _differ(vectors, mode, 2 * i, 2 * j, 2 * i, 2 * end)):
                    end += 1
                _predict_blocks((first, second), vectors[:, :, 2 * i, 2 * j], mode, filters,
                                (i * side, (i + 1) * side, j * side, end * side), margin, scratch,
                                total)
            j = end


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
                    source, y, x = reference, top + down, left + right
                    if (min(y, x) < 0 or y + BLOCK > reference.shape[0]
                            or x + BLOCK > reference.shape[1]):
                        copy_window(reference, y, x, window)
                        source, y, x = window, 0, 0
                    cost += _sad(source, y, x, current, top, left, best - cost)
                if cost < best:
                    best = cost
                    chosen[0, i, j], chosen[1, i, j] = down, right


@compiled
def _sad(patch: np.ndarray, y: int, x: int, current: np.ndarray, top: int, left: int, limit: float
         ) -> np.float32:
    """Sum of absolute differences of a block from a patch, from (y, x) on; a part of it once that
    is beyond the limit."""
    total, column, begin = np.float32(0), _UINT(x), _UINT(left)
    for first in range(0, BLOCK, 4):
        a, b = _UINT(y + first), _UINT(top + first)
        for k in range(_UINT(BLOCK)):
            p, q = column + k, begin + k
            total += (abs(patch[a, p] - current[b, q])
                      + abs(patch[a + _1, p] - current[b + _1, q])
                      + abs(patch[a + _2, p] - current[b + _2, q])
                      + abs(patch[a + _3, p] - current[b + _3, q]))
        if total >= limit:
            break
    return total


@compiled
def refine_blocks(begin: int, end: int, current: np.ndarray, reference: np.ndarray,
                  start: np.ndarray, skip_bits: float, reach: int, fractions: np.ndarray,
                  lambda_: np.ndarray, predictions: np.ndarray, filters: np.ndarray,
                  log2: np.ndarray, vectors: np.ndarray, cost: np.ndarray, sad: np.ndarray) -> None:
    """Search whole samples around `start`, then half samples, then quarters, for all blocks.

    Args:
        begin: row of blocks.
        end: row of blocks.
        current: luma [H, W].
        reference: luma [H, W].
        start: in whole samples, [2, h, w].
        skip_bits: blocks with an SAD that so many bits cost stay at `start`.
        reach: whole samples searched around it.
        fractions: distances searched around the best whole sample, one after another: 2 are half a
            sample.
        lambda_: SAD per bit, [h, w].
        predictions: [n, 2, h, w].
        filters: taps.
        log2: for `vector_bits`.
        vectors: [2, h, w]; filled, like all that follow.
        cost: SAD with the bits of the vector, [h, w].
        sad: SAD alone, [h, w].
    """
    best, best_cost = np.empty(2, np.int64), np.empty(2, np.float32)
    likely, side = np.empty(predictions.shape[:2], np.int64), BLOCK + 2 * reach
    block, window = np.empty((BLOCK, BLOCK), np.float32), np.empty((side, side), np.float32)
    wide, rows = np.empty((_WIDE, _WIDE), np.float32), np.empty((BLOCK, _WIDE), np.float32)
    for i in range(begin, end):
        for j in range(start.shape[2]):
            best_cost[:] = np.inf
            likely[:] = predictions[:, :, i, j]
            _search_whole(current, reference, i, j, start[:, i, j], 0, likely, lambda_[i, j], log2,
                          block, best, best_cost)
            if best_cost[1] > skip_bits * lambda_[i, j]:
                if reach:
                    _search_whole(current, reference, i, j, start[:, i, j], reach, likely,
                                  lambda_[i, j], log2, window, best, best_cost)
                _search_parts(current, reference, i, j, fractions, likely, lambda_[i, j], filters,
                              log2, wide, rows, block, best, best_cost)
            vectors[0, i, j], vectors[1, i, j] = best
            cost[i, j], sad[i, j] = best_cost


@compiled
def _search_whole(current: np.ndarray, reference: np.ndarray, i: int, j: int, start: np.ndarray,
                  reach: int, predictions: np.ndarray, lambda_: float, log2: np.ndarray,
                  window: np.ndarray, best: np.ndarray, best_cost: np.ndarray) -> None:
    """Search whole samples; `window` holds a block and `reach` samples around it."""
    size, row, column = len(window), BLOCK * i + start[0] - reach, BLOCK * j + start[1] - reach
    source, y, x = reference, row, column
    if min(y, x) < 0 or y + size > reference.shape[0] or x + size > reference.shape[1]:
        copy_window(reference, row, column, window)
        source, y, x = window, 0, 0
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            _keep_best(source, y + reach + down, x + reach + right, current, BLOCK * i, BLOCK * j,
                       4 * (start[0] + down), 4 * (start[1] + right), predictions, lambda_, log2,
                       best, best_cost)


@compiled
def _search_parts(current: np.ndarray, reference: np.ndarray, i: int, j: int,
                  fractions: np.ndarray, predictions: np.ndarray, lambda_: float,
                  filters: np.ndarray, log2: np.ndarray, window: np.ndarray, rows: np.ndarray,
                  patch: np.ndarray, best: np.ndarray, best_cost: np.ndarray) -> None:
    """Search fractions of samples around the best whole ones, each around the best before."""
    top, left, whole_down, whole_right = BLOCK * i, BLOCK * j, best[0], best[1]
    copy_window(reference, top + whole_down // 4 - 4, left + whole_right // 4 - 4, window)
    for spacing in fractions:
        middle_down, middle_right = best[0], best[1]
        for y in range(-1, 2):
            down = middle_down + y * spacing
            offset = down - whole_down
            filter_rows(window, filters[offset & 3], 1 + (offset >> 2), rows)
            for x in range(-1, 2):
                if x == 0 and y == 0:
                    continue
                right = middle_right + x * spacing
                offset = right - whole_right
                if offset & 3 == 0:
                    _keep_best(rows, 0, 4 + (offset >> 2), current, top, left, down, right,
                               predictions, lambda_, log2, best, best_cost)
                else:
                    filter_block(rows, filters[offset & 3], 1 + (offset >> 2), patch)
                    _keep_best(patch, 0, 0, current, top, left, down, right, predictions, lambda_,
                               log2, best, best_cost)


@compiled
def filter_rows(window: np.ndarray, taps: np.ndarray, first: int, rows: np.ndarray) -> None:
    """Interpolate along columns by eight taps: rows[y] sums taps[k] window[first + y + k]."""
    begin, height, width = _UINT(first), _UINT(rows.shape[0]), _UINT(rows.shape[1])
    a, b, c, d = taps[0], taps[1], taps[2], taps[3]
    e, f, g, h = taps[4], taps[5], taps[6], taps[7]
    for y in range(height):
        z = y + begin
        for x in range(width):
            rows[y, x] = (
                a * window[z, x] + b * window[z + _1, x] + c * window[z + _2, x]
                + d * window[z + _3, x] + e * window[z + _4, x] + f * window[z + _5, x]
                + g * window[z + _6, x] + h * window[z + _7, x])


@compiled
def filter_block(rows: np.ndarray, taps: np.ndarray, first: int, patch: np.ndarray) -> None:
    """Interpolate along rows: patch[:, x] sums taps[k] rows[:, first + x + k]."""
    begin, height, width = _UINT(first), _UINT(patch.shape[0]), _UINT(patch.shape[1])
    a, b, c, d = taps[0], taps[1], taps[2], taps[3]
    e, f, g, h = taps[4], taps[5], taps[6], taps[7]
    for y in range(height):
        for x in range(width):
            z = x + begin
            patch[y, x] = (
                a * rows[y, z] + b * rows[y, z + _1] + c * rows[y, z + _2] + d * rows[y, z + _3]
                + e * rows[y, z + _4] + f * rows[y, z + _5] + g * rows[y, z + _6]
                + h * rows[y, z + _7])


@compiled
def _keep_best(patch: np.ndarray, y: int, x: int, current: np.ndarray, top: int, left: int,
               down: int, right: int, predictions: np.ndarray, lambda_: float, log2: np.ndarray,
               best: np.ndarray, best_cost: np.ndarray) -> None:
    """Keep a vector that is the best of a block; its prediction is in a patch, from (y, x) on.

    `best_cost` holds SAD with the bits of the vector, and SAD alone.
    """
    sad = _sad(patch, y, x, current, top, left, best_cost[0])
    if sad < best_cost[0]:
        cost = sad + lambda_ * least_bits(down, right, predictions, log2)
        if cost < best_cost[0]:
            best[0], best[1] = down, right
            best_cost[0], best_cost[1] = cost, sad
