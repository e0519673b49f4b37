"""Syntax of the motion of predicted frames; rotated or flipped motion takes the same bits.

    modes | per reference: form, vectors of 16x16 blocks, split flags, vectors of 8x8 blocks |
    coded-block flags

The frames of a batch are coded side by side: each part of the syntax for all of them. Symbols are
coded in the scan passes of `coding/scan_order.py`, by adaptive tables that the frames of a stream
share; both components of a vector share theirs, and every context is a symmetric function of
adjacent blocks. A vector is coded as its delta to a temporal predictor, which is predicted
spatially by the median of adjacent deltas, or merged with one of them.

Source: spatial median prediction is that of H.264 8.4.1.3; the scan order is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aehub.codecs.d4.motion.field import (
    FIRST,
    MAX_VECTOR,
    Motion,
    check_motion,
    from_sub_blocks,
    median_of_four,
    to_sub_blocks,
)
from aehub.codecs.d4.motion.symbols import (
    N_SPREADS,
    SPREAD_UNKNOWN,
    code_labels,
    code_residuals,
    initial_tables,
)
from aehub.coding.scan_order import ScanPass, scan_passes
from aehub.coding.symbol_coder import BitCounter, SymbolCoder, SymbolReader, SymbolWriter
from aehub.compiled import compiled
from aehub.errors import DamagedError

TemporalPredictor = np.ndarray | Callable[[np.ndarray], np.ndarray]
"""Vectors int16 [2, h / 2, w / 2], or a function of the decoded first field of that shape."""

# Bits of a form. Without _VECTORS, all vectors are the temporal predictor; with _ZERO the zero
# field is the temporal predictor and the given one only a merge candidate, else the reverse.
_VECTORS, _ZERO = 1, 2
RESIDUAL_BITS = 3.0
"""Approximate bits of a vector that is not as predicted, beside those of its magnitudes."""


class MotionCoder:
    """Adaptive tables of one entropy stream, for all its frames in coding order."""

    def __init__(self) -> None:
        self.tables = initial_tables()

    def copy(self) -> MotionCoder:
        """Return an independent copy."""
        other = MotionCoder()
        other.tables = {name: table.copy() for name, table in self.tables.items()}
        return other

    def write(self, coder: Any, motions: Sequence[Motion],
              predictors: Sequence[Sequence[TemporalPredictor]]) -> list[Motion]:
        """Write the motion of a batch of frames to a `RangeEncoder`.

        Args:
            coder: constriction's encoder, such as `aehub.coding.range_coder.Encoder.coder`.
            motions: of frames of one size and number of references.
            predictors: for each frame, the temporal predictor of the vectors to each reference.

        Returns:
            The motion as decoded: vectors of references that a block does not use are not coded
            and are replaced by their prediction.

        Raises:
            ValueError: a vector or mode that the stream cannot hold.
        """
        return _write(SymbolWriter(coder, self.tables), motions, predictors)

    def read(self, coder: Any, shape: tuple[int, int],
             predictors: Sequence[Sequence[TemporalPredictor]]) -> list[Motion]:
        """Read from a range decoder the motion of frames of `shape` (h, w) 8x8 blocks.

        Raises:
            DamagedError: the stream does not hold motion.
        """
        shape_of_all = (len(predictors), len(predictors[0]), 2, *shape)
        try:
            return _code(SymbolReader(coder, self.tables), shape_of_all, None, predictors)
        except AssertionError as error:
            raise DamagedError(
                "a frame's motion does not decode: its bytes are damaged; verify the file."
            ) from error

    def bits(self, motion: Motion, predictors: Sequence[TemporalPredictor]) -> float:
        """Count the bits that `write` would take for one frame; the tables are not changed."""
        counter = BitCounter(self.tables)
        _write(counter, [motion], [predictors])
        return counter.bits


def _write(coder: SymbolCoder, motions: Sequence[Motion],
           predictors: Sequence[Sequence[TemporalPredictor]]) -> list[Motion]:
    for motion in motions:
        check_motion(motion)
    return _code(coder, (len(motions), *motions[0].vectors.shape), motions, predictors)


def _code(coder: SymbolCoder, shape: tuple[int, ...], motions: Sequence[Motion] | None,
          predictors: Sequence[Sequence[TemporalPredictor]]) -> list[Motion]:
    """Code the motion of frames, [B, R, 2, h, w]; `motions` is None when reading."""
    n_frames, n_references, _, h, w = shape
    blocks, cells = (n_frames, h // 2, w // 2), (n_frames, h // 4, w // 4)
    to_write = None if motions is None else np.stack([m.modes for m in motions]).astype(np.int32)
    modes = np.full(blocks, FIRST, np.uint8)
    if n_references == 2:
        to_write = None if to_write is None else to_write - 1
        modes = (code_labels(coder, "modes", blocks, to_write) + 1).astype(np.uint8)
    vectors, forms = np.empty(shape, np.int16), []
    for r in range(n_references):
        temporal = np.stack([
            given(block_medians(own[0])) if callable(given := predictor[r]) else given
            for predictor, own in zip(predictors, vectors, strict=True)])
        temporal = np.clip(temporal.astype(np.int32), -MAX_VECTOR, MAX_VECTOR)
        kind = r + (n_references == 2)
        used = (modes >> r & 1).astype(bool)
        fields = form = None
        if motions is not None:
            fields = np.stack([motion.vectors[r] for motion in motions])
            form = np.array([
                _choose_form(motion.vectors[r], uses, predictor,
                             None if motion.forms is None else motion.forms[r])
                for motion, uses, predictor in zip(motions, used, temporal, strict=True)], np.int32)
        form = coder.symbols("form", form, np.full(n_frames, kind, np.uint8))
        vectors[:, r] = _code_fields(coder, kind, fields, used, temporal, form)
        forms.append(form.tolist())
    to_write = (None if motions is None
                else np.stack([m.coded_flags for m in motions]).astype(np.int32))
    coded = code_labels(coder, "cells", cells, to_write, n_references - 1).astype(bool)
    return [Motion(*parts) for parts in zip(vectors, modes, coded, zip(*forms), strict=True)]


def block_medians(field: np.ndarray) -> np.ndarray:
    """int16 [2, h, w] -> int16 [2, h / 2, w / 2]: the median of the four of each 16x16 block."""
    return median_of_four(to_sub_blocks(field)).astype(np.int16)


def _choose_form(field: np.ndarray, used: np.ndarray, temporal: np.ndarray,
                 previous: int | None) -> int:
    """Form of vectors int16 [2, h, w]: the `previous` one if it can hold them, else the cheapest
    by estimate."""
    four = to_sub_blocks(field)
    if previous is not None:
        predictor = 0 * temporal if previous & _ZERO else temporal
        if previous & _VECTORS or _is_predicted(four, used, predictor):
            return previous
    predictors = {0: temporal, _ZERO: 0 * temporal} if temporal.any() else {0: temporal}
    for form, predictor in predictors.items():
        if _is_predicted(four, used, predictor):
            return form
    medians = median_of_four(four)
    return _VECTORS | min(
        predictors, key=lambda form: _estimate_bits(medians - predictors[form], used))


def residual_bits(residual: np.ndarray) -> np.ndarray:
    """Approximate bits of residuals [2, k] other than zero: [k]."""
    bits: np.ndarray = RESIDUAL_BITS + 2 * np.log2(1 + np.abs(residual)).sum(0)
    return bits


def _estimate_bits(deltas: np.ndarray, used: np.ndarray) -> float:
    """Approximate bits of the deltas [2, n, m] in use, by their differences from those beside."""
    across = np.diff(deltas, axis=2)[:, used[:, 1:] & used[:, :-1]]
    down = np.diff(deltas, axis=1)[:, used[1:] & used[:-1]]
    residual = np.concatenate([across, down], axis=1)
    return float(residual_bits(residual[:, residual.any(axis=0)]).sum())


def _is_predicted(four: np.ndarray, used: np.ndarray, predictor: np.ndarray) -> bool:
    """Test that every block in use has the predictor's vector."""
    return bool(((four == predictor[..., None]) | ~used[..., None]).all())


def _code_fields(coder: SymbolCoder, kind: int, to_write: np.ndarray | None, used: np.ndarray,
                 temporal: np.ndarray, forms: np.ndarray) -> np.ndarray:
    """Code vectors [B, 2, h, w] of frames to one reference.

    Args:
        coder: writes, reads or counts.
        kind: of the fields.
        to_write: the vectors, or None.
        used: bool [B, h / 2, w / 2], blocks that use the reference; others get a prediction.
        temporal: temporal predictors, int32 [B, 2, h / 2, w / 2].
        forms: of the frames, [B].
    """
    zero = (forms & _ZERO > 0)[:, None, None, None]
    predictor, other = np.where(zero, 0, temporal), np.where(zero, temporal, 0)
    vectors = from_sub_blocks(np.broadcast_to(predictor[..., None], (*predictor.shape, 4)))
    coded = (forms & _VECTORS).nonzero()[0]
    if len(coded):
        target = None if to_write is None else to_write[coded]
        vectors[coded] = _code_vectors(coder, kind, target, used[coded], predictor[coded],
                                       other[coded])
    return vectors


def _code_vectors(coder: SymbolCoder, kind: int, to_write: np.ndarray | None, used: np.ndarray,
                  predictor: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Code vectors as `_code_fields`, of frames in which they differ from the predictor."""
    n_frames, _, n, m = predictor.shape
    flat, chosen = _flat(predictor), used.ravel()
    four = None if to_write is None else _flat(to_sub_blocks(to_write).astype(np.int32))
    target = None if four is None else median_of_four(four) - flat
    deltas, contexts = _code_deltas(coder, kind, target, used, _flat(other) - flat)
    parents = deltas + flat
    parents[:, ~chosen] = np.clip(parents[:, ~chosen], -MAX_VECTOR, MAX_VECTOR)
    vectors = np.repeat(parents[..., None], 4, axis=-1)
    _code_splits(coder, kind, four, vectors, chosen.nonzero()[0], contexts)
    if np.abs(vectors).max() > MAX_VECTOR:
        raise DamagedError(f"a frame's motion is damaged: a vector is longer than {MAX_VECTOR}; "
                           "verify the file.")
    return from_sub_blocks(vectors.reshape(2, n_frames, n, m, 4).swapaxes(0, 1))


def _flat(fields: np.ndarray) -> np.ndarray:
    """[B, 2, n, m, ...] -> [2, B n m, ...]: frames one after the other."""
    return fields.swapaxes(0, 1).reshape(2, -1, *fields.shape[4:])


def _code_deltas(coder: SymbolCoder, kind: int, to_write: np.ndarray | None, used: np.ndarray,
                 other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Code deltas [2, k] of the 16x16 blocks of all frames to their temporal predictors.

    Args:
        coder: writes, reads or counts.
        kind: of the fields.
        to_write: the deltas, int32 [2, k], or None.
        used: bool [B, h / 2, w / 2], blocks that have one.
        other: int32 [2, k], deltas of the other temporal predictor.

    Returns:
        The deltas, predicted where not used, and the context of each split flag.
    """
    deltas = np.zeros((2, used.size), np.int32)
    contexts = np.zeros(used.size, np.uint8)
    chosen = used.ravel()
    for scan_pass in scan_passes(*used.shape[1:], len(used)):
        cells, predicted, spreads, first_contexts, candidates = predict_deltas(
            deltas, scan_pass, chosen, other, kind)
        if not len(cells):
            continue
        residual = code_residuals(
            coder, "parent", None if to_write is None else to_write[:, cells] - predicted,
            first_contexts, spreads, candidates)
        _set_deltas(cells, predicted, residual, spreads, deltas, contexts)
    return deltas, contexts


def predict_deltas(deltas: np.ndarray, scan_pass: ScanPass, used: np.ndarray, other: np.ndarray,
                   kind: int = 0) -> tuple[np.ndarray, ...]:
    """Predict the deltas of the blocks of a pass from those of adjacent blocks.

    Args:
        deltas: int32 [2, k]; set to the prediction where not used.
        scan_pass: blocks.
        used: bool [k], blocks that have a delta.
        other: int32 [2, k], deltas of the other temporal predictor.
        kind: of the fields.

    Returns:
        The blocks used, int32 [n]; the median of adjacent deltas, int32 [2, n]; the contexts of the
        magnitudes, uint8 [2, n], and of the first symbol, uint8 [n]; and the residuals int32
        [4, 2, n] of the merge candidates: the temporal predictor, the other one, the adjacent delta
        nearest to the temporal predictor and the farthest.
    """
    n = np.count_nonzero(used[scan_pass.cells])
    found = (np.empty(n, np.int32), np.empty((2, n), np.int32), np.empty((2, n), np.uint8),
             np.empty(n, np.uint8), np.empty((4, 2, n), np.int32))
    _predict_deltas(deltas, scan_pass.cells, scan_pass.adjacent, used, other, kind * N_SPREADS,
                    *found)
    return found


@compiled
def _predict_deltas(deltas: np.ndarray, cells: np.ndarray, adjacent: np.ndarray, used: np.ndarray,
                    other: np.ndarray, first_spread: int, inside: np.ndarray,
                    predicted: np.ndarray, spreads: np.ndarray, contexts: np.ndarray,
                    candidates: np.ndarray) -> None:
    known, at = np.empty((4, 2), np.int32), 0
    for number in range(len(cells)):
        cell, count = cells[number], gather(deltas, adjacent[number], known)
        median = median_delta(known, count, 0), median_delta(known, count, 1)
        if not used[cell]:
            deltas[0, cell], deltas[1, cell] = median
            continue
        inside[at] = cell
        for part in range(2):
            predicted[part, at] = median[part]
            spread = SPREAD_UNKNOWN
            if count:
                widest = known[:count, part].max() - known[:count, part].min()
                spread = (widest > 0) + (widest > 2) + (widest > 8)
            spreads[part, at] = first_spread + spread
            candidates[0, part, at] = 0
            candidates[1, part, at] = other[part, cell]
        contexts[at] = 2 * max(spreads[0, at], spreads[1, at]) + (median != (0, 0))
        for far in range(2):
            candidates[2 + far, :, at] = predicted[:, at]
            merge_candidate(known, count, far == 1, candidates[2 + far, :, at])
        for symbol in range(4):
            candidates[symbol, :, at] -= predicted[:, at]
        at += 1


@compiled
def _set_deltas(cells: np.ndarray, predicted: np.ndarray, residual: np.ndarray, spreads: np.ndarray,
                deltas: np.ndarray, contexts: np.ndarray) -> None:
    """Set the deltas of blocks and the contexts of their split flags."""
    for at in range(len(cells)):
        cell = cells[at]
        for part in range(2):
            deltas[part, cell] = predicted[part, at] + residual[part, at]
        contexts[cell] = (2 * max(spreads[0, at], spreads[1, at])
                          + ((residual[0, at] | residual[1, at]) != 0))


@compiled
def gather(deltas: np.ndarray, adjacent: np.ndarray, known: np.ndarray) -> int:
    """Fill in the deltas of adjacent blocks that are coded already; returns their number.

    Args:
        deltas: of all blocks, [2, k].
        adjacent: blocks, [4]; -1 for none.
        known: [4, 2], filled from the first on.
    """
    count = 0
    for n in range(len(adjacent)):
        if adjacent[n] >= 0:
            known[count, 0], known[count, 1] = deltas[0, adjacent[n]], deltas[1, adjacent[n]]
            count += 1
    return count


@compiled
def median_delta(known: np.ndarray, count: int, component: int) -> int:
    """Median of adjacent deltas, halves cut at zero; 0 where there are none."""
    if count == 0:
        return 0
    low = high = total = known[0, component]
    for n in range(1, count):
        value = known[n, component]
        low, high, total = min(low, value), max(high, value), total + value
    if count > 2:
        total -= low + high
    if count % 2:
        return total
    return (total + (total < 0)) >> 1


@compiled
def merge_candidate(known: np.ndarray, count: int, far: bool, candidate: np.ndarray) -> None:
    """Set the candidate to the adjacent delta nearest to the temporal predictor, or farthest; leave
    it as it is where several different ones are.

    By the sum of both components' magnitudes, which rotations and flips do not change.
    """
    best, chosen, unique = -1, 0, True
    for n in range(count):
        length = abs(known[n, 0]) + abs(known[n, 1])
        if best < 0 or (length > best if far else length < best):
            best, chosen, unique = length, n, True
        elif length == best:
            unique &= known[n, 0] == known[chosen, 0] and known[n, 1] == known[chosen, 1]
    if count and unique:
        candidate[0], candidate[1] = known[chosen, 0], known[chosen, 1]


def _code_splits(coder: SymbolCoder, kind: int, to_write: np.ndarray | None, vectors: np.ndarray,
                 chosen: np.ndarray, contexts: np.ndarray) -> None:
    """Code the split flags of the blocks `chosen`, and set the four vectors of split blocks in
    `vectors` [2, n, 4]."""
    flags = None
    if to_write is not None:
        four = to_write[:, chosen]
        flags = (four != four[..., :1]).any(axis=(0, 2)).astype(np.int32)
    split = chosen[coder.symbols("split", flags, contexts[chosen]) > 0]
    if not len(split):
        return
    parents = vectors[:, split].reshape(2, -1)
    target = None if to_write is None else to_write[:, split].reshape(2, -1) - parents
    spreads = np.full(parents.shape, kind, np.uint8)
    residual = code_residuals(coder, "child", target, spreads[0], spreads,
                              np.empty((0, *parents.shape), np.int32))
    vectors[:, split] = (parents + residual).reshape(2, -1, 4)
