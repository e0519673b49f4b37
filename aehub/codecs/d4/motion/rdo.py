"""Rate-distortion refinement of the motion field, and decision of the prediction modes.

Motion search does not know the spatial prediction of vectors. Here the blocks, in scan order,
choose again among vectors that cost few bits: the prediction, the temporal predictor, zero, merge
candidates, and the vectors of adjacent blocks, refined already or still as searched.

Blocks overlap (OBMC), so each is weighed with its margins, by its share in the prediction there: a
flat block beside text takes the text's vector, or blurs it.
Source: Orchard and Sullivan 1994, "Overlapped block motion compensation", windowed estimation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aehub.codecs.block_matching import BLOCK
from aehub.codecs.d4.motion import kernels
from aehub.codecs.d4.motion.coding import (
    RESIDUAL_BITS,
    TemporalPredictor,
    block_medians,
    gather,
    median_delta,
    merge_candidate,
)
from aehub.codecs.d4.motion.compensate import OBMC_MARGIN, filter_taps, obmc_window
from aehub.codecs.d4.motion.field import (
    MAX_VECTOR,
    Motion,
    from_sub_blocks,
    median_of_four,
    to_sub_blocks,
)
from aehub.codecs.d4.motion.search import LumaPlane
from aehub.codecs.d4.motion.symbols import MODES, labels_around
from aehub.codecs.d4.settings import SETTINGS, EncoderSettings
from aehub.coding.scan_order import scan_passes
from aehub.compiled import compiled

SIDE = BLOCK + 2 * OBMC_MARGIN
"""Samples along a side of a block with its margins."""
# Of the window that it is interpolated from.
_WIDE = SIDE + 8
N_CANDIDATES = 10
"""Vectors that a block chooses from at first."""
# log2(1 + n) of every component of a residual.
_LOG2 = np.log2(1 + np.arange(8 * MAX_VECTOR))


@dataclass(frozen=True)
class Lagrangian:
    """Weight of rate against distortion, everywhere or of each block: [H/16, W/16].

    Attributes:
        lambda_: squared error per bit.
        huber_knee: absolute difference from which distortion grows linearly: small differences
            stay, larger ones are coded.
    """

    lambda_: float | np.ndarray
    huber_knee: float | np.ndarray


def refine_vectors(current: LumaPlane, references: Sequence[LumaPlane], motion: Motion,
                   predictors: Sequence[TemporalPredictor], lagrangian: Lagrangian,
                   settings: EncoderSettings = SETTINGS) -> Motion:
    """Replace vectors that are not worth their bits; split blocks keep theirs.

    Args:
        current: the picture.
        references: decoded pictures.
        motion: from motion search.
        predictors: temporal predictors, as for `MotionCoder.write`.
        lagrangian: weight of a bit.
        settings: bits of vectors.
    """
    vectors = motion.vectors.copy()
    shape = motion.modes.shape
    weights = [np.ascontiguousarray(np.broadcast_to(x, shape).ravel(), np.float32)
               for x in (lagrangian.lambda_, lagrangian.huber_knee)]
    bits = np.array([settings.predicted_bits, settings.temporal_bits, settings.zero_bits,
                     settings.merge_bits, settings.merge_bits])
    for r, reference in [*enumerate(references)] * settings.refinements:
        predictor = predictors[r]
        temporal = predictor(block_medians(vectors[0])) if callable(predictor) else predictor
        temporal = np.clip(temporal, -MAX_VECTOR, MAX_VECTOR).astype(np.int32)
        four, split = to_sub_blocks(vectors[r]), motion.split[r]
        other = references[-1 - r] if len(references) > 1 else reference
        refined = median_of_four(four)
        _refine_field(
            *_scan(*shape), current.luma, reference.luma, other.luma,
            block_medians(vectors[-1 - r]).reshape(2, -1), (motion.modes == 1 << r).ravel(),
            refined.copy(), temporal.reshape(2, -1), (motion.uses[r] & ~split).ravel(),
            ~motion.uses[r].ravel(), *weights, bits, _LOG2, filter_taps(False), _window(),
            np.array(settings.steps, np.int64), refined.reshape(2, -1))
        vectors[r] = from_sub_blocks(
            np.where(split[..., None], four, refined[..., None]).astype(np.int16))
    return Motion(vectors, motion.modes, motion.coded_flags)


@lru_cache(maxsize=8)
def _scan(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells of an n x m grid in scan order int32 [k]; their adjacent cells [k, 4], -1 for none."""
    passes = scan_passes(n, m)
    return (np.concatenate([scan_pass.cells for scan_pass in passes]),
            np.concatenate([scan_pass.adjacent for scan_pass in passes]))


@lru_cache
def _window() -> np.ndarray:
    """Weights of a block with its margins: float32 [side, side]."""
    return obmc_window(BLOCK).contiguous().numpy()


@compiled
def _refine_field(cells: np.ndarray, adjacent: np.ndarray, current: np.ndarray,
                  reference: np.ndarray, other: np.ndarray, other_vectors: np.ndarray,
                  alone: np.ndarray, own: np.ndarray, temporal: np.ndarray, refinable: np.ndarray,
                  unused: np.ndarray, lambda_: np.ndarray, knees: np.ndarray,
                  fixed_bits: np.ndarray, log2: np.ndarray, filters: np.ndarray,
                  weights: np.ndarray, steps: np.ndarray, refined: np.ndarray) -> None:
    """Refine the vectors to one reference; k blocks, row by row.

    Args:
        cells: in scan order.
        adjacent: of each of them, the adjacent ones that are coded earlier, -1 for none.
        current: luma [H, W].
        reference: decoded luma.
        other: of the other reference.
        other_vectors: to it, [2, k].
        alone: blocks that use this reference only, [k].
        own: vectors as searched, [2, n, m].
        temporal: predictor of the vectors, [2, k].
        refinable: blocks to refine, [k].
        unused: blocks without this reference: their vectors are as predicted, and tried by none.
        lambda_: squared error per bit, [k].
        knees: differences from which the error grows linearly, [k].
        fixed_bits: of the candidates that have symbols of their own, [5].
        log2: `log2[n]` is log2(1 + n).
        filters: taps.
        weights: of a block with its margins, [SIDE, SIDE].
        steps: distances around the best candidate at which vectors are tried, one after another.
        refined: vectors [2, k], filled; equal to `own` at first.
    """
    columns, deltas = own.shape[2], refined - temporal
    known, candidates = np.empty((4, 2), np.int32), np.empty((N_CANDIDATES, 2), np.int32)
    bits, blocks = np.empty(len(candidates)), np.empty((3, SIDE, SIDE), np.float32)
    scratch = np.empty((2, _WIDE, _WIDE), np.float32)
    for at in range(len(cells)):
        cell = cells[at]
        count = gather(deltas, adjacent[at], known)
        down, right = median_delta(known, count, 0), median_delta(known, count, 1)
        if unused[cell]:
            deltas[0, cell], deltas[1, cell] = down, right
        if not refinable[cell]:
            continue
        _candidates(known, count, down, right, own, temporal, unused, cell, candidates)
        _count_bits(candidates, down, right, 5, fixed_bits, log2, bits)
        top, left = BLOCK * (cell // columns) - OBMC_MARGIN, BLOCK * (cell % columns) - OBMC_MARGIN
        kernels.copy_window(current, top, left, blocks[0])
        if not alone[cell]:
            _predict(other, top, left, other_vectors[0, cell], other_vectors[1, cell], filters,
                     scratch, blocks[1])
        best = np.float32(np.inf)
        for n in range(len(steps) + 1):
            if n:
                _around(deltas[:, cell], steps[n - 1], candidates)
                _count_bits(candidates, down, right, 0, fixed_bits, log2, bits)
            best, chosen = _choose(
                reference, top, left, temporal[:, cell], candidates, bits,
                best, lambda_[cell], knees[cell], alone[cell],
                filters, weights, blocks, scratch)
            if chosen >= 0:
                deltas[0, cell], deltas[1, cell] = candidates[chosen]
    refined[:] = np.minimum(np.maximum(deltas + temporal, -MAX_VECTOR), MAX_VECTOR)


@compiled
def _choose(reference: np.ndarray, top: int, left: int, temporal: np.ndarray,
            candidates: np.ndarray, bits: np.ndarray, best: float, lambda_: float, knee: float,
            alone: bool, filters: np.ndarray, weights: np.ndarray, blocks: np.ndarray,
            scratch: np.ndarray) -> tuple[float, int]:
    """Cost and number of the candidate of least cost below `best`; the number is -1 without one."""
    chosen = -1
    for c in range(len(candidates)):
        rate = np.float32(lambda_ * bits[c])
        y, x = candidates[c, 0] + temporal[0], candidates[c, 1] + temporal[1]
        if rate < best and max(abs(y), abs(x)) <= MAX_VECTOR:
            _predict(reference, top, left, y, x, filters, scratch, blocks[2])
            cost = rate + _huber_error(blocks, alone, knee, weights, best - rate)
            if cost < best:
                best, chosen = cost, c
    return best, chosen


@compiled
def _candidates(known: np.ndarray, count: int, down: int, right: int, own: np.ndarray,
                temporal: np.ndarray, unused: np.ndarray, cell: int, candidates: np.ndarray
                ) -> None:
    """Fill in the deltas to try [10, 2]: prediction, temporal predictor, zero, the two merge
    candidates, the block's own and those of the blocks above, below, left and right."""
    for n in range(6):
        candidates[n, 0], candidates[n, 1] = down, right
    candidates[1] = 0
    candidates[2, 0], candidates[2, 1] = -temporal[0, cell], -temporal[1, cell]
    for far in range(2):
        merge_candidate(known, count, far == 1, candidates[3 + far])
    _, height, width = own.shape
    i, j = cell // width, cell % width
    for n in range(5):
        y = min(max(i - (n == 1) + (n == 2), 0), height - 1)
        x = min(max(j - (n == 3) + (n == 4), 0), width - 1)
        if unused[y * width + x]:
            y, x = i, j
        candidates[5 + n, 0] = own[0, y, x] - temporal[0, cell]
        candidates[5 + n, 1] = own[1, y, x] - temporal[1, cell]


@compiled
def _around(delta: np.ndarray, step: int, candidates: np.ndarray) -> None:
    """Fill in the eight deltas a step around one as candidates, the first of them repeated."""
    for n in range(len(candidates)):
        place = n % 8 + (n % 8 > 3)
        candidates[n, 0] = delta[0] + step * (place // 3 - 1)
        candidates[n, 1] = delta[1] + step * (place % 3 - 1)


@compiled
def _count_bits(candidates: np.ndarray, down: int, right: int, symbols: int,
                fixed_bits: np.ndarray, log2: np.ndarray, bits: np.ndarray) -> None:
    """Fill in the bits of each candidate by its symbol, as the first ones have, or its residual
    from (down, right): the least of equal ones, and infinity for all but the first of them."""
    for n in range(len(candidates)):
        y, x = candidates[n]
        if n < symbols:
            bits[n] = fixed_bits[n]
        elif y == down and x == right:
            bits[n] = fixed_bits[0]
        else:
            bits[n] = RESIDUAL_BITS + 2 * (log2[abs(y - down)] + log2[abs(x - right)])
        for earlier in range(n):
            if candidates[earlier, 0] == y and candidates[earlier, 1] == x:
                bits[earlier], bits[n] = min(bits[earlier], bits[n]), np.inf
                break


@compiled
def _predict(plane: np.ndarray, top: int, left: int, down: int, right: int, filters: np.ndarray,
             scratch: np.ndarray, patch: np.ndarray) -> None:
    """Set a patch [SIDE, SIDE] to the prediction by a vector."""
    top, left = top + (down >> 2), left + (right >> 2)
    if down & 3 == 0 and right & 3 == 0:
        kernels.copy_window(plane, top, left, patch)
        return
    window, rows = scratch[0], scratch[1, :SIDE]
    kernels.copy_window(plane, top - 3, left - 3, window)
    kernels.filter_rows(window, filters[down & 3], 0, rows)
    kernels.filter_block(rows, filters[right & 3], 0, patch)


@compiled
def _huber_error(blocks: np.ndarray, alone: bool, knee: float, weights: np.ndarray, limit: float
                 ) -> np.float32:
    """Weighted error of a predicted block: squared, and linear from `knee` on.

    Args:
        blocks: target, prediction from the other reference and from this one, each with margins.
        alone: the other reference is not used.
        knee: where the error becomes linear.
        weights: of a block with its margins.
        limit: a part of the error is enough once it is beyond.
    """
    total, half = np.float32(0), np.float32(0.5)
    for first in range(0, SIDE, 6):
        for y in range(np.uintp(first), np.uintp(first + 6)):
            for x in range(np.uintp(SIDE)):
                value = blocks[2, y, x]
                if not alone:
                    value = half * (value + blocks[1, y, x])
                error = abs(value - blocks[0, y, x])
                low = min(error, knee)
                total += low * (error + error - low) * weights[y, x]
        if total >= limit:
            break
    return total


def mean_sads(current: LumaPlane, references: Sequence[LumaPlane], vectors: np.ndarray
              ) -> np.ndarray:
    """SAD of each block from the mean of its predictions from two references: [H/16, W/16].

    Args:
        current: the picture.
        references: two.
        vectors: of 8x8 blocks, int16 [2, 2, H/8, W/8].
    """
    sads = np.zeros(current.blocks, np.float32)
    split = np.zeros(current.blocks, bool)
    for r in range(2):
        four = to_sub_blocks(vectors[r])
        split |= (four != four[..., :1]).any(axis=(0, -1))
    _mean_sads(current.luma, references[0].luma, references[1].luma, vectors, split,
               filter_taps(False), sads)
    return sads


@compiled
def _mean_sads(current: np.ndarray, first: np.ndarray, second: np.ndarray, vectors: np.ndarray,
               split: np.ndarray, filters: np.ndarray, sads: np.ndarray) -> None:
    here, there = np.empty((SIDE, SIDE), np.float32), np.empty((SIDE, SIDE), np.float32)
    scratch, margin = np.empty((2, _WIDE, _WIDE), np.float32), np.uintp(OBMC_MARGIN)
    half = np.float32(0.5)
    for i in range(split.shape[0]):
        for j in range(split.shape[1]):
            parts, total = 4 if split[i, j] else 1, np.float32(0)
            side = np.uintp(BLOCK if parts == 1 else BLOCK // 2)
            for part in range(parts):
                row, column = 2 * i + part // 2, 2 * j + part % 2
                top, left = BLOCK // 2 * row, BLOCK // 2 * column
                _predict(first, top - OBMC_MARGIN, left - OBMC_MARGIN, vectors[0, 0, row, column],
                         vectors[0, 1, row, column], filters, scratch, here)
                _predict(second, top - OBMC_MARGIN, left - OBMC_MARGIN, vectors[1, 0, row, column],
                         vectors[1, 1, row, column], filters, scratch, there)
                y, x = np.uintp(top), np.uintp(left)
                for a in range(side):
                    for b in range(side):
                        mean = half * (here[margin + a, margin + b] + there[margin + a, margin + b])
                        total += abs(mean - current[y + a, x + b])
            sads[i, j] = total


def choose_modes(costs: np.ndarray, lambda_: np.ndarray, settings: EncoderSettings = SETTINGS
                 ) -> np.ndarray:
    """Decide prediction modes uint8 [h / 2, w / 2] of a frame with two references.

    Args:
        costs: of the first reference, the second and the mean of both, [3, h / 2, w / 2].
        lambda_: cost of one bit, [h / 2, w / 2].
        settings: weight of the modes' bits.
    """
    counts = np.array(MODES)
    bits = -np.log2(counts / counts.sum(1, keepdims=True))
    flat, bit_cost = costs.reshape(3, -1), settings.mode_lambda_factor * lambda_.ravel()
    labels = np.zeros(flat.shape[1], np.intp)
    for scan_pass in scan_passes(*lambda_.shape):
        contexts = labels_around(labels, scan_pass)
        total = flat[:, scan_pass.cells] + bit_cost[scan_pass.cells] * bits[contexts].T
        labels[scan_pass.cells] = total.argmin(0)
    return (labels + 1).astype(np.uint8).reshape(lambda_.shape)
