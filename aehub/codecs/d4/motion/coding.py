"""The motion of predicted frames to bits and back; turned motion takes the same bits.

    modes | per reference: form, vectors of 16x16 blocks, splits, vectors of 8x8 blocks | cells

Everything goes in the scan passes of `symbols.py`, from adaptive tables that one group shares; the
components of a vector share theirs, and every context is a symmetric function of neighbours.

Source: the median of neighbours as prediction is that of H.264 8.4.1.3; the order is our own.
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
    SINGLE_CONTEXT,
    SPREAD_UNKNOWN,
    BitCounter,
    ScanPass,
    SymbolCoder,
    SymbolReader,
    SymbolWriter,
    code_labels,
    code_residuals,
    initial_tables,
    scan_passes,
    spread_class,
)
from aehub.errors import DamagedError

TemporalPredictor = np.ndarray | Callable[[np.ndarray], np.ndarray]
"""int16 [2, h / 2, w / 2], or what makes it from the decoded first field of that shape."""

# Forms of a field: vectors follow, or it is the base; the base is the given one, or zero.
_VARIED, _ZERO = 1, 2
# Bits, about, of a vector that is not as predicted, beside its size.
_OTHER = 3.0


class MotionCoder:
    """The adaptive state of one group: one for all its frames, in coding order, on each side."""

    def __init__(self) -> None:
        self.tables = initial_tables()

    def copy(self) -> MotionCoder:
        """A state that knows the same and goes its own way."""
        other = MotionCoder()
        other.tables = {name: table.copy() for name, table in self.tables.items()}
        return other

    def write(self, coder: Any, motion: Motion,
              temporal_predictors: Sequence[TemporalPredictor]) -> Motion:
        """Write the motion of a frame to a `RangeEncoder`.

        Args:
            coder: constriction's encoder, such as `aehub.coding.range_coder.Encoder.coder`.
            motion: of the frame.
            temporal_predictors: for each reference what its vectors are expected to be.

        Returns:
            The motion as the decoder sees it: a vector of a reference that its block does not use
            costs nothing and is replaced by its prediction.

        Raises:
            ValueError: a vector or mode that the stream cannot hold.
        """
        check_motion(motion)
        return _code(SymbolWriter(coder, self.tables), motion.vectors.shape, motion,
                     temporal_predictors)

    def read(
        self, coder: Any, shape: tuple[int, int], n_references: int,
        temporal_predictors: Sequence[TemporalPredictor]
    ) -> Motion:
        """Read from a `RangeDecoder` the motion of a frame of `shape` (h, w) 8x8 blocks.

        Raises:
            DamagedError: the stream does not hold motion.
        """
        coder = SymbolReader(coder, self.tables)
        try:
            return _code(coder, (n_references, 2, *shape), None, temporal_predictors)
        except AssertionError as error:
            raise DamagedError(
                "a frame's motion does not decode: its bytes are damaged; verify the file."
            ) from error

    def bits(self, motion: Motion, temporal_predictors: Sequence[TemporalPredictor]) -> float:
        """What `write` would cost now, in bits; the state stays as it is."""
        check_motion(motion)
        coder = BitCounter(self.tables)
        _code(coder, motion.vectors.shape, motion, temporal_predictors)
        return coder.bits


def _code(
    coder: SymbolCoder, shape: tuple[int, ...], motion: Motion | None,
    temporal_predictors: Sequence[TemporalPredictor]
) -> Motion:
    """Pass one frame's motion through a port; `motion` is None where it is read."""
    references, _, h, w = shape
    blocks, cells = (h // 2, w // 2), (h // 4, w // 4)
    to_write = None if motion is None else motion.modes.ravel().astype(np.int32) - 1
    modes: np.ndarray
    if references == 1:
        modes = np.full(blocks, FIRST, np.uint8)
    else:
        modes = (code_labels(coder, "modes", blocks, to_write) + 1).astype(np.uint8).reshape(blocks)
    vectors, forms = np.empty(shape, np.int16), []
    for r in range(references):
        given = temporal_predictors[r]
        base = given(block_medians(vectors[0])) if callable(given) else given
        base = np.clip(base.astype(np.int32), -MAX_VECTOR, MAX_VECTOR)
        kind = r + (references == 2)
        used = (modes >> r & 1).astype(bool)
        field = form = None
        if motion is not None:
            field = motion.vectors[r]
            known = None if motion.forms is None else motion.forms[r]
            form = _form(field, used, base, known)
        form = _pass_form(coder, kind, form)
        vectors[r] = _in_form(coder, kind, field, used, base, form)
        forms.append(form)
    to_write = None if motion is None else motion.coded_flags.ravel().astype(np.int32)
    coded = code_labels(coder, "cells", cells, to_write, references - 1).reshape(cells)
    return Motion(vectors, modes, coded.astype(bool), tuple(forms))


def block_medians(field: np.ndarray) -> np.ndarray:
    """int16 [2, h, w] -> int16 [2, h / 2, w / 2]: the median of the four of each 16x16 block."""
    return median_of_four(to_sub_blocks(field)).astype(np.int16)


def _form(to_write: np.ndarray, used: np.ndarray, base: np.ndarray, known: int | None) -> int:
    """The form of the vectors int16 [2, h, w] of one reference: the known one if it holds them."""
    if known is not None:
        other = 0 * base if known & _ZERO else base
        if known & _VARIED or _is_flat(to_sub_blocks(to_write), used, other):
            return known
    return _cheapest(to_write, used, base)


def _pass_form(coder: SymbolCoder, kind: int, form: int | None) -> int:
    symbol = None if form is None else np.array([form], np.int32)
    return int(coder.symbols("form", symbol, SINGLE_CONTEXT + kind)[0])


def _cheapest(to_write: np.ndarray, used: np.ndarray, base: np.ndarray) -> int:
    """The form that costs the fewest bits, about."""
    four = to_sub_blocks(to_write)
    usual = [0, _ZERO] if base.any() else [0]
    flat = [form for form in usual if _is_flat(four, used, 0 * base if form else base)]
    if flat:
        return flat[0]
    field = median_of_four(four)
    return _VARIED | min(usual, key=lambda form: _estimate(field if form else field - base, used))


def residual_bits(residual: np.ndarray) -> np.ndarray:
    """About what writing residuals [2, k] takes that are not zero, in bits: [k]."""
    bits: np.ndarray = _OTHER + 2 * np.log2(1 + np.abs(residual)).sum(0)
    return bits


def _estimate(deltas: np.ndarray, used: np.ndarray) -> float:
    """About what deltas [2, n, m] cost where they are used: trying it takes five times as long."""
    flat, live, total = deltas.reshape(2, -1).astype(np.int32), used.ravel(), 0.0
    for scan_pass in scan_passes(*used.shape):
        predicted, _ = predict_deltas(flat, scan_pass)
        inside = live[scan_pass.cells]
        residual = (flat[:, scan_pass.cells] - predicted)[:, inside]
        total += float(residual_bits(residual)[residual.any(axis=0)].sum())
        flat[:, scan_pass.cells[~inside]] = predicted[:, ~inside]
    return total


def _is_flat(four: np.ndarray, used: np.ndarray, base: np.ndarray) -> bool:
    """Whether every block in use has the base's vector."""
    return bool(((four == base[..., None]) | ~used[..., None]).all())


def _in_form(
    coder: SymbolCoder, kind: int, to_write: np.ndarray | None, used: np.ndarray, base: np.ndarray,
    form: int,
) -> np.ndarray:  # fmt: skip
    """Pass the vectors [2, h, w] of one reference; blocks that do not use it get a prediction."""
    base, other = (np.zeros_like(base), base) if form & _ZERO else (base, np.zeros_like(base))
    if not form & _VARIED:
        return from_sub_blocks(np.broadcast_to(base[..., None], (*base.shape, 4)))
    flat, live = base.reshape(2, -1), used.ravel()
    four = None if to_write is None else to_sub_blocks(to_write).astype(np.int32).reshape(2, -1, 4)
    target = None if four is None else median_of_four(four) - flat
    deltas, contexts = _parents(coder, kind, target, used, other - base)
    parents = deltas + flat
    parents[:, ~live] = np.clip(parents[:, ~live], -MAX_VECTOR, MAX_VECTOR)
    vectors = np.repeat(parents[..., None], 4, axis=-1)
    _splits(coder, kind, four, vectors, live.nonzero()[0], contexts)
    if np.abs(vectors).max() > MAX_VECTOR:
        raise DamagedError(
            f"a frame's motion is damaged: a vector is longer than {MAX_VECTOR}; verify the file."
        )
    return from_sub_blocks(vectors.reshape(2, *used.shape, 4))


def _parents(
    coder: SymbolCoder, kind: int, to_write: np.ndarray | None, used: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pass deltas [2, n] of 16x16 blocks to their base.

    Args:
        coder: where they go to or come from.
        kind: of the field.
        to_write: the deltas, int32 [2, n], or None.
        used: bool [h / 2, w / 2], which blocks have one.
        other: int32 [2, h / 2, w / 2], the delta of a vector that is as the other base says.

    Returns:
        The deltas, those of blocks not used predicted, and the context of each split flag.
    """
    deltas = np.zeros((2, used.size), np.int32)
    contexts = np.zeros(used.size, np.uint8)
    chosen, other = used.ravel(), other.reshape(2, -1)
    for scan_pass in scan_passes(*used.shape):
        predicted, spreads = predict_deltas(deltas, scan_pass)
        deltas[:, scan_pass.cells] = predicted
        live = chosen[scan_pass.cells].nonzero()[0]
        if not len(live):
            continue
        around = merge_candidates(deltas, scan_pass, predicted)
        cells, predicted, spreads = scan_pass.cells[live], predicted[:, live], spreads[:, live]
        spreads += np.uint8(kind * N_SPREADS)
        spread = np.maximum(*spreads)
        known = [-predicted, other[:, cells] - predicted]
        known += [near[:, live] - predicted for near in around]
        residual = code_residuals(
            coder, "parent", None if to_write is None else to_write[:, cells] - predicted,
            2 * spread + (predicted[0] | predicted[1] != 0), spreads, known,
        )  # fmt: skip
        deltas[:, cells] = predicted + residual
        contexts[cells] = 2 * spread + (residual[0] | residual[1] != 0)
    return deltas, contexts


def predict_deltas(deltas: np.ndarray, scan_pass: ScanPass) -> tuple[np.ndarray, np.ndarray]:
    """Median of the known neighbours, halves cut at zero, and their spread's class: [2, k] each."""
    count = scan_pass.n_known
    if not count[0]:
        unknown = np.full((2, len(count)), SPREAD_UNKNOWN, np.uint8)
        return np.zeros(unknown.shape, np.int32), unknown
    around = deltas[:, scan_pass.adjacent_filled]
    low, high = around.min(axis=1), around.max(axis=1)
    total = around.sum(axis=1, dtype=np.int32) - (4 - count) * around[:, 0]
    total -= (low + high) * (count > 2)
    even = count % 2 == 0
    return (total + ((total < 0) & even)) >> even, spread_class(high - low)


def merge_candidates(deltas: np.ndarray, scan_pass: ScanPass, predicted: np.ndarray
               ) -> tuple[np.ndarray, np.ndarray]:
    """The known neighbours' deltas that are nearest to the base and farthest from it: [2, k] each.

    By the sum of both components' magnitudes, which turns do not change; the prediction where
    several different ones are.
    """
    if not scan_pass.n_known[0]:
        return predicted, predicted
    around = deltas[:, scan_pass.adjacent_filled]
    length = np.abs(around).sum(axis=0)
    found = []
    for at in (length.argmin(0), length.argmax(0)):
        best = np.take_along_axis(around, at[None, None], 1)[:, 0]
        rivals = length == np.take_along_axis(length, at[None], 0)
        alone = (~rivals | (around == best[:, None]).all(0)).all(0)
        found.append(np.where(alone, best, predicted))
    return found[0], found[1]


def _splits(
    coder: SymbolCoder, kind: int, to_write: np.ndarray | None, vectors: np.ndarray,
    live: np.ndarray,
    contexts: np.ndarray,
) -> None:  # fmt: skip
    """Pass which of the blocks `live` are split, and put their four vectors into [2, n, 4]."""
    flags = None
    if to_write is not None:
        four = to_write[:, live]
        flags = (four != four[..., :1]).any(axis=(0, 2)).astype(np.int32)
    split = live[coder.symbols("split", flags, contexts[live]) > 0]
    if not len(split):
        return
    parents = vectors[:, split].reshape(2, -1)
    part = None if to_write is None else to_write[:, split].reshape(2, -1) - parents
    row = np.full(parents.shape, kind, np.uint8)
    residual = code_residuals(coder, "child", part, row[0], row, ())
    vectors[:, split] = (parents + residual).reshape(2, -1, 4)
