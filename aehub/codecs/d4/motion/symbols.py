"""Symbols of the motion syntax: tables, labels and vector residuals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aehub.coding.adaptive_tables import INCREMENT, MIN_COUNT, AdaptiveTables
from aehub.coding.scan_order import ScanPass, scan_passes
from aehub.coding.symbol_coder import SymbolCoder, Tables
from aehub.compiled import compiled

# Kinds of vector field: the only one, the first of two, the second of two.
N_FIELD_KINDS = 3
# Kinds of flags of 32x32 cells: coded-block flags with one and two references, flat cells.
N_CELL_KINDS = 3
# Classes of max - min of the adjacent vectors in one component: 0, to 2, to 8, more, none coded.
N_SPREADS = 5
SPREAD_UNKNOWN = 4
# Largest magnitude of each bin of magnitudes: 1, 2, 4, 8, ... 8192.
_BIN_MAX = 1 << np.arange(14)
# Smallest magnitude of each bin: 1, 2, 3, 5, 9, ...
_BIN_MIN = ((_BIN_MAX >> 1) + 1).astype(np.int32)
# Offsets in each bin with their signs.
_BIN_SIZES = np.maximum(_BIN_MAX, 2).astype(np.int32)

# Bit of each label in a context.
_LABEL_BITS = 1 << np.arange(8, dtype=np.uint8)

# Initial counts of the symbols, one tuple a context: rounded frequencies in training clips.
#
# Vectors of 16x16 blocks. Contexts: for each spread class two, spatial prediction equal to the
# temporal predictor and not. Symbols: as predicted, one component differs, both do, then merge:
# temporal predictor, the other temporal predictor, the adjacent vector nearest to the temporal
# predictor, the farthest.
_PARENT = (
    (24, 0.5, 0.5, 0.25, 0.5, 0.25, 0.25), (16, 0.75, 2, 1.25, 0.5, 0.25, 0.25),
    (16, 1.25, 0.75, 0.25, 0.75, 0.25, 2.5), (12, 1.25, 1.5, 1, 0.25, 0.75, 1.75),
    (12, 2, 1.25, 0.25, 0.5, 0.25, 1.5), (8, 2, 3, 1, 0.5, 0.5, 1.25),
    (8, 1.5, 2, 0.25, 0.5, 0.25, 1.25), (4, 1, 5, 1, 0.5, 0.5, 1),
    (5, 2, 2, 0.25, 0.5, 0.25, 0.25), (1, 1, 1, 0.25, 0.25, 0.25, 0.25),
)  # fmt: skip
_RARE = (0.25,) * 6
# Bins of magnitudes, for each spread class.
_PARENT_SIZE = (
    (9, 2, 2, 2, 1, 1, 1, 0.5, *_RARE),
    (14, 3, 1, 1, 0.5, 0.25, 0.25, 0.25, *_RARE),
    (8, 4, 4, 2, 1, 0.5, 0.25, 0.25, *_RARE),
    (3, 2, 3, 4, 3, 3, 2, 1, *_RARE),
    (4, 2, 3, 4, 3, 1, 1, 0.5, *_RARE),
)
_CHILD = ((1, 3, 4),)
_CHILD_SIZE = ((7, 4, 4, 2, 1, 0.25, 0.25, 0.25, *_RARE),)
# Split flag (whole, split). Contexts: for each spread class two, block vector as predicted and not.
_SPLIT = (
    (64, 0.25), (24, 1), (40, 0.5), (24, 1), (40, 0.5), (24, 1), (32, 0.5), (16, 1), (32, 0.5),
    (12, 1),
)  # fmt: skip
MODES = (
    (1, 1, 2), (6, 1, 1), (1, 7, 2), (4, 4, 2), (1, 1, 8), (4, 1, 5), (1, 4, 5), (3, 3, 4),
)  # fmt: skip
"""Initial counts of prediction modes (first, second, both), by the set of adjacent modes."""
# Coded-block flags, by the set of adjacent flags.
_CELLS = ((2, 1), (16, 1), (1, 3), (5, 4))
# Flags of all cells, for each kind: they differ, all are 0, all are 1.
_CELLS_ALIKE = ((8, 1, 1), (8, 1, 1), (1, 0.25, 8))


def initial_tables() -> Tables:
    """Tables at the beginning of a group, by their names in docs/format.md."""

    def tables(shares: Sequence[Sequence[float]], kinds: int) -> AdaptiveTables:
        counts = np.tile(np.array(shares), (kinds, 1)) * INCREMENT
        return AdaptiveTables(np.maximum(counts, MIN_COUNT).astype(np.int64))

    return {
        "modes": tables(MODES, 1),
        "modes alike": tables([(4, 0.25, 0.25, 2)], 1),
        "form": tables([(1, 2, 1, 2)], N_FIELD_KINDS),
        "parent": tables(_PARENT, N_FIELD_KINDS),
        "parent size": tables(_PARENT_SIZE, N_FIELD_KINDS),
        "child": tables(_CHILD, N_FIELD_KINDS),
        "child size": tables(_CHILD_SIZE, N_FIELD_KINDS),
        "split": tables(_SPLIT, N_FIELD_KINDS),
        "cells": tables(_CELLS, N_CELL_KINDS),
        "cells alike": tables(_CELLS_ALIKE, 1),
    }


def code_labels(coder: SymbolCoder, name: str, shape: tuple[int, int, int],
                to_write: np.ndarray | None, kind: int = 0) -> np.ndarray:
    """Code labels of the cells of grids; the context is the set of adjacent labels.

    A first symbol of each grid is 1 + the label that all its cells have, or 0 where they differ.

    Args:
        coder: writes, reads or counts.
        name: of the table; "`name` alike" is that of the first symbols.
        shape: (n_grids, n, m).
        to_write: int32 [n_grids, n, m], or None.
        kind: of the tables.

    Returns:
        int32 [n_grids, n, m].
    """
    n_grids, size = shape[0], shape[1] * shape[2]
    shared = None
    if to_write is not None:
        to_write = to_write.reshape(n_grids, size)
        alike = (to_write == to_write[:, :1]).all(axis=1)
        shared = np.where(alike, to_write[:, 0] + 1, 0).astype(np.int32)
    shared = coder.symbols(f"{name} alike", shared, np.full(n_grids, kind, np.uint8))
    labels = np.repeat(np.maximum(shared - 1, 0)[:, None], size, axis=1)
    differ = (shared == 0).nonzero()[0]
    if len(differ):
        first_bit = np.uint8(kind << coder.tables[name].counts.shape[1])
        flat = labels[differ].ravel()
        target = None if to_write is None else to_write[differ].ravel()
        for scan_pass in scan_passes(*shape[1:], len(differ)):
            contexts = labels_around(flat, scan_pass) | first_bit
            part = None if target is None else target[scan_pass.cells]
            flat[scan_pass.cells] = coder.symbols(name, part, contexts)
        labels[differ] = flat.reshape(len(differ), size)
    return labels.reshape(shape)


def labels_around(labels: np.ndarray, scan_pass: ScanPass) -> np.ndarray:
    """Set of the labels of adjacent cells already coded, one bit a label: uint8 [k]."""
    if not scan_pass.n_known[0]:
        return np.zeros(len(scan_pass.cells), np.uint8)
    around: np.ndarray = np.bitwise_or.reduce(_LABEL_BITS[labels[scan_pass.adjacent_filled]])
    return around


def code_residuals(
    coder: SymbolCoder, name: str, to_write: np.ndarray | None, contexts: np.ndarray,
    spreads: np.ndarray, candidates: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Code vector residuals int32 [2, k]: differences from the prediction.

    Args:
        coder: writes, reads or counts.
        name: of the table of the first symbol; "`name` size" is that of the magnitudes.
        to_write: the residuals, or None.
        contexts: uint8 [k], of the first symbol.
        spreads: uint8 [2, k], contexts of the magnitudes.
        candidates: residuals int32 [n, 2, k] of n merge candidates, by falling priority; each has
            a symbol.
    """
    residual = np.zeros(spreads.shape, np.int32)
    there = symbols = None
    if to_write is not None:
        there = to_write != 0
        symbols = there[0].astype(np.int32) + there[1]
        for symbol in range(len(candidates) + 2, 2, -1):
            same = to_write == candidates[symbol - 3]
            symbols[same[0] & same[1] & (symbols > 0)] = symbol
    symbols = coder.symbols(name, symbols, contexts)
    if not symbols.any():
        return residual
    coded = np.zeros(spreads.shape, bool)
    _merge(symbols, candidates, residual, coded)
    single = (symbols == 1).nonzero()[0]
    if len(single):
        second = None if there is None else there[1, single].astype(np.int32)
        coded[coder.uniform(second, len(single), 2), single] = True
    sizes = spreads[coded]
    if len(sizes):
        values = None if to_write is None else to_write[coded]
        residual[coded] = _code_nonzero(coder, f"{name} size", values, sizes)
    return residual


@compiled
def _merge(symbols: np.ndarray, candidates: np.ndarray, residual: np.ndarray, coded: np.ndarray
           ) -> None:
    """Set the residuals of vectors that are merged, and mark both components of those that differ
    in both from the prediction."""
    for at in range(len(symbols)):
        symbol = symbols[at]
        for part in range(2):
            coded[part, at] = symbol == 2
            if symbol > 2:
                residual[part, at] = candidates[symbol - 3, part, at]


def _code_nonzero(
    coder: SymbolCoder, name: str, to_write: np.ndarray | None, contexts: np.ndarray
) -> np.ndarray:
    """Code integers [k] other than 0: the bin of the magnitude, offset in the bin and sign."""
    bins = raw = None
    if to_write is not None:
        magnitudes = np.abs(to_write)
        bins = np.searchsorted(_BIN_MAX, magnitudes).astype(np.int32)
        raw = 2 * (magnitudes - _BIN_MIN[bins]) + (to_write < 0)
    bins = coder.symbols(name, bins, contexts)
    order = bins.argsort(kind="stable")
    offsets = np.empty(len(bins), np.int32)
    offsets[order] = coder.uniform(None if raw is None else raw[order], len(bins),
                                   _BIN_SIZES[bins[order]])
    return (_BIN_MIN[bins] + (offsets >> 1)) * (1 - 2 * (offsets & 1))
