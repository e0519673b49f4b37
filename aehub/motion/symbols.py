"""The symbols that motion is made of: labels of cells, and differences of vectors.

Each function passes them through a port: it writes them where they are given, or reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aehub.adaptive import FLOOR, GAIN, Counts
from aehub.motion.ports import Port, Tables
from aehub.motion.pyramid import Stage, stages

# Kinds of field: the only one, the first of two, the second of two.
KINDS = 3
# Spread of the neighbours in one component: 0, to 2, to 8, beyond, no neighbour known.
SPREADS = 5
UNKNOWN = 4
# Largest magnitude of each bin: 1, 2, 4, 8, ... 8192.
_ENDS = 1 << np.arange(14)
# And the smallest: 1, 2, 3, 5, 9, ...
_BEGINS = ((_ENDS >> 1) + 1).astype(np.int32)

_BITS = 1 << np.arange(8, dtype=np.uint8)
ONE = np.zeros(1, np.uint8)
"""The context of a symbol that comes alone."""

# How often each symbol comes, in symbols seen before the first one: rounded counts of training
# clips. Each tuple is a context.
#
# For each spread twice, where the prediction is that of the base and where it is not: as
# predicted, one component differs, both do, as the base says, as the other base says, as the
# neighbour nearest to the base, as the farthest.
_PARENT = (
    (24, 0.5, 0.5, 0.25, 0.5, 0.25, 0.25), (16, 0.75, 2, 1.25, 0.5, 0.25, 0.25),
    (16, 1.25, 0.75, 0.25, 0.75, 0.25, 2.5), (12, 1.25, 1.5, 1, 0.25, 0.75, 1.75),
    (12, 2, 1.25, 0.25, 0.5, 0.25, 1.5), (8, 2, 3, 1, 0.5, 0.5, 1.25),
    (8, 1.5, 2, 0.25, 0.5, 0.25, 1.25), (4, 1, 5, 1, 0.5, 0.5, 1),
    (5, 2, 2, 0.25, 0.5, 0.25, 0.25), (1, 1, 1, 0.25, 0.25, 0.25, 0.25),
)  # fmt: skip
_RARE = (0.25,) * 6
# For each spread: the bin of a magnitude.
_PARENT_SIZE = (
    (9, 2, 2, 2, 1, 1, 1, 0.5, *_RARE),
    (14, 3, 1, 1, 0.5, 0.25, 0.25, 0.25, *_RARE),
    (8, 4, 4, 2, 1, 0.5, 0.25, 0.25, *_RARE),
    (3, 2, 3, 4, 3, 3, 2, 1, *_RARE),
    (4, 2, 3, 4, 3, 1, 1, 0.5, *_RARE),
)
_CHILD = ((1, 3, 4),)
_CHILD_SIZE = ((7, 4, 4, 2, 1, 0.25, 0.25, 0.25, *_RARE),)
# For each spread twice, where the parent is as predicted and where it is not: whole, split.
_SPLIT = (
    (64, 0.25), (24, 1), (40, 0.5), (24, 1), (40, 0.5), (24, 1), (32, 0.5), (16, 1), (32, 0.5),
    (12, 1),
)  # fmt: skip
MODES = (
    (1, 1, 2), (6, 1, 1), (1, 7, 2), (4, 4, 2), (1, 1, 8), (4, 1, 5), (1, 4, 5), (3, 3, 4),
)  # fmt: skip
"""The same of modes: for each set of neighbours' labels, how often each label comes."""
_CELLS = ((2, 1), (16, 1), (1, 3), (5, 4))


def start_tables() -> Tables:
    """The tables at the beginning of a group, by name; rows are contexts, numbers are symbols."""

    def rows(shares: Sequence[Sequence[float]], kinds: int) -> Counts:
        counts = np.tile(np.array(shares), (kinds, 1)) * GAIN
        return Counts(np.maximum(counts, FLOOR).astype(np.int64))

    return {
        "modes": rows(MODES, 1),
        "modes alike": rows([(4, 0.25, 0.25, 2)], 1),
        "form": rows([(1, 2, 1, 2)], KINDS),
        "parent": rows(_PARENT, KINDS),
        "parent size": rows(_PARENT_SIZE, KINDS),
        "child": rows(_CHILD, KINDS),
        "child size": rows(_CHILD_SIZE, KINDS),
        "split": rows(_SPLIT, KINDS),
        "cells": rows(_CELLS, 2),
        "cells alike": rows([(8, 1, 1)], 2),
    }


def pass_labels(
    port: Port, name: str, shape: tuple[int, int], wanted: np.ndarray | None, kind: int = 0
) -> np.ndarray:
    """Pass labels int32 [n * m] of the cells of a grid; the context is the set of neighbours'.

    A first symbol says that all cells are alike, and which label they have, or 0 that they differ.
    """
    n = port.tables[name].counts.shape[1]
    alike = None
    if wanted is not None:
        alike = np.array([wanted[0] + 1 if (wanted == wanted[0]).all() else 0], np.int32)
    (same,) = port.symbols(f"{name} alike", alike, ONE + kind)
    labels = np.full(shape[0] * shape[1], max(same - 1, 0), np.int32)
    if same:
        return labels
    for stage in stages(*shape):
        contexts = labels_around(labels, stage) | np.uint8(kind << n)
        part = None if wanted is None else wanted[stage.cells]
        labels[stage.cells] = port.symbols(name, part, contexts)
    return labels


def labels_around(labels: np.ndarray, stage: Stage) -> np.ndarray:
    """The set of labels that each cell's known neighbours have, a bit for each: uint8 [k]."""
    if not stage.count[0]:
        return np.zeros(len(stage.cells), np.uint8)
    around: np.ndarray = np.bitwise_or.reduce(_BITS[labels[stage.filled]])
    return around


def spread_class(spread: np.ndarray) -> np.ndarray:
    """Class of max - min of the known neighbours: uint8, same shape."""
    return (spread > 0).astype(np.uint8) + (spread > 2) + (spread > 8)


def pass_residuals(
    port: Port, name: str, wanted: np.ndarray | None, contexts: np.ndarray, spreads: np.ndarray,
    known: Sequence[np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Pass int32 [2, k]: differences of vectors from what they were predicted to be.

    Args:
        port: where they go to or come from.
        name: of the table; "`name` size" is that of the magnitudes.
        wanted: the differences, or None.
        contexts: uint8 [k], of the symbol that says what is to follow.
        spreads: uint8 [2, k], contexts of the magnitudes.
        known: differences int32 [2, k] that have a symbol each, the earlier the better.
    """
    residual = np.zeros(spreads.shape, np.int32)
    there = symbols = None
    if wanted is not None:
        there = wanted != 0
        symbols = there[0].astype(np.int32) + there[1]
        for symbol in range(len(known) + 2, 2, -1):
            same = wanted == known[symbol - 3]
            symbols[same[0] & same[1] & (symbols > 0)] = symbol
    symbols = port.symbols(name, symbols, contexts)
    if not symbols.any():
        return residual
    for symbol, value in enumerate(known, start=3):
        residual += value * (symbols == symbol)
    single = (symbols == 1).nonzero()[0]
    mask = np.empty(spreads.shape, bool)
    mask[:] = symbols == 2
    if len(single):
        second = None if there is None else there[1, single].astype(np.int32)
        mask[port.uniform(second, len(single), 2), single] = True
    sizes = spreads[mask]
    if len(sizes):
        values = None if wanted is None else wanted[mask]
        residual[mask] = _values(port, f"{name} size", values, sizes)
    return residual


def _values(
    port: Port, name: str, wanted: np.ndarray | None, contexts: np.ndarray
) -> np.ndarray:
    """Pass integers [k] other than 0: the bin of the magnitude, then place in the bin and sign."""
    bins = raw = None
    if wanted is not None:
        magnitudes = np.abs(wanted)
        bins = np.searchsorted(_ENDS, magnitudes).astype(np.int32)
        raw = 2 * (magnitudes - _BEGINS[bins]) + (wanted < 0)
    bins = port.symbols(name, bins, contexts)
    passed = np.empty(len(bins), np.int32)
    for size in np.bincount(bins).nonzero()[0].tolist():
        at = (bins == size).nonzero()[0]
        part = None if raw is None else raw[at]
        passed[at] = port.uniform(part, len(at), max(2, 1 << size))
    return (_BEGINS[bins] + (passed >> 1)) * (1 - 2 * (passed & 1))
