"""The symbols that motion is made of: labels of cells, and differences of vectors.

Each function passes them through a port: it writes them where they are given, or reads them.

Three ends for one coding loop: it writes, it reads, or it only counts what writing would cost.

Each `symbols` call takes what is to be written and returns what the other side will see; a reader
is given None and returns what the stream says.

An order of the cells of a grid that turning does not change: stages from coarse to fine.

Cells of a stage are coded together, each knowing some of its neighbours from earlier stages. All
that a stage is made of, its cells and their neighbours, turns with the grid. On one level:

    o x o x o      o  coarse: made of the same three, closer together
    x d x d x      d  diagonal: sees the four o around it
    o x o x o      x  cross: sees o and d above, below, left and right

"Even" is counted from the centre, so that the level is symmetric on grids of any size; on an even
side the two middle rows count as one, and a neighbour that is not known yet is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np

from aehub.coding.adaptive_tables import FLOOR, GAIN, AdaptiveTables, read_uniform, write_uniform

Tables = dict[str, AdaptiveTables]


class SymbolCoder(Protocol):
    """Where symbols go to or come from."""

    tables: Tables

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        """Pass int32 symbols [n] with contexts uint8 [n] through the table `name`."""

    def uniform(self, to_write: np.ndarray | None, n: int, size: int) -> np.ndarray:
        """Pass n int32 values in 0 .. size - 1 through."""


class SymbolWriter:
    """To a `RangeEncoder`."""

    def __init__(self, coder: Any, tables: Tables) -> None:
        self.coder = coder
        self.tables = tables

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        assert to_write is not None
        self.tables[name].write(self.coder, to_write, contexts)
        return to_write

    def uniform(self, to_write: np.ndarray | None, n: int, size: int) -> np.ndarray:
        assert to_write is not None
        write_uniform(self.coder, to_write, size)
        return to_write


class SymbolReader:
    """From a `RangeDecoder`."""

    def __init__(self, coder: Any, tables: Tables) -> None:
        self.coder = coder
        self.tables = tables

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        return self.tables[name].read(self.coder, contexts)

    def uniform(self, to_write: np.ndarray | None, n: int, size: int) -> np.ndarray:
        return read_uniform(self.coder, n, size)


class BitCounter:
    """To nowhere: `bits` is what a `SymbolWriter` would have written; tables given stay as is."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self._own = dict(tables), set[str]()
        self.bits = 0.0

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        assert to_write is not None
        if name not in self._own:
            self.tables[name] = self.tables[name].copy()
            self._own.add(name)
        self.bits += self.tables[name].bits(to_write, contexts)
        self.tables[name].learn(to_write, contexts)
        return to_write

    def uniform(self, to_write: np.ndarray | None, n: int, size: int) -> np.ndarray:
        assert to_write is not None
        self.bits += n * (size.bit_length() - 1)
        return to_write


_DIAGONALS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_SMALLEST = 4


@dataclass(frozen=True, eq=False)
class ScanPass:
    """Cells that are coded together.

    Attributes:
        cells: int32 [k], numbers of cells counted row by row.
        adjacent: int32 [k, 4], numbers of neighbours known before this stage, -1 for none.
    """

    cells: np.ndarray
    adjacent: np.ndarray

    @cached_property
    def n_known(self) -> np.ndarray:
        """How many neighbours each cell knows: int32 [k]; 0 in the first stage, then never."""
        return (self.adjacent >= 0).sum(axis=1, dtype=np.int32)

    @cached_property
    def adjacent_filled(self) -> np.ndarray:
        """Neighbours as int32 [4, k], the known ones first, then the first of them again.

        Not for the first stage, where there is none.
        """
        known_first = -np.sort(-self.adjacent, axis=1).T
        return np.where(known_first < 0, known_first[0], known_first)


@lru_cache(maxsize=8)
def scan_passes(n: int, m: int) -> tuple[ScanPass, ...]:
    """Return the stages of an n x m grid; together they hold every cell once."""
    return tuple(_scan_passes(np.arange(n * m, dtype=np.int32).reshape(n, m)))


def _scan_passes(grid: np.ndarray) -> list[ScanPass]:
    rows, columns = (_is_even(side) for side in grid.shape)
    coarse = np.outer(rows, columns)
    if grid.size <= _SMALLEST or coarse.all():
        cells = grid.ravel()
        return [ScanPass(cells, np.full((cells.size, 4), -1, np.int32))]
    diagonal = np.outer(~rows, ~columns)
    cross = ~(coarse | diagonal)
    below = _scan_passes(grid[np.ix_(rows, columns)])
    above = [
        _scan_pass(grid, diagonal, coarse, _DIAGONALS),
        _scan_pass(grid, cross, coarse | diagonal, _SIDES),
    ]
    return below + [scan_pass for scan_pass in above if scan_pass.cells.size]


def _is_even(side: int) -> np.ndarray:
    """Which indices are at an even distance from the centre (its half, rounded down)."""
    return np.abs(2 * np.arange(side) - (side - 1)) // 2 % 2 == 0


def _scan_pass(
    grid: np.ndarray, chosen: np.ndarray, known: np.ndarray, offsets: tuple[tuple[int, int], ...]
) -> ScanPass:
    at = np.argwhere(chosen)
    framed = np.pad(np.where(known, grid, -1), 1, constant_values=-1)
    adjacent = [framed[tuple((at + (1 + down, 1 + right)).T)] for down, right in offsets]
    return ScanPass(grid[chosen], np.stack(adjacent, axis=1).astype(np.int32))


# Kinds of field: the only one, the first of two, the second of two.
N_FIELD_KINDS = 3
# Spread of the neighbours in one component: 0, to 2, to 8, beyond, no neighbour known.
N_SPREADS = 5
SPREAD_UNKNOWN = 4
# Largest magnitude of each bin: 1, 2, 4, 8, ... 8192.
_BIN_MAX = 1 << np.arange(14)
# And the smallest: 1, 2, 3, 5, 9, ...
_BIN_MIN = ((_BIN_MAX >> 1) + 1).astype(np.int32)

_LABEL_BITS = 1 << np.arange(8, dtype=np.uint8)
SINGLE_CONTEXT = np.zeros(1, np.uint8)
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


def initial_tables() -> Tables:
    """The tables at the beginning of a group, by name; rows are contexts, numbers are symbols."""

    def rows(shares: Sequence[Sequence[float]], kinds: int) -> AdaptiveTables:
        counts = np.tile(np.array(shares), (kinds, 1)) * GAIN
        return AdaptiveTables(np.maximum(counts, FLOOR).astype(np.int64))

    return {
        "modes": rows(MODES, 1),
        "modes alike": rows([(4, 0.25, 0.25, 2)], 1),
        "form": rows([(1, 2, 1, 2)], N_FIELD_KINDS),
        "parent": rows(_PARENT, N_FIELD_KINDS),
        "parent size": rows(_PARENT_SIZE, N_FIELD_KINDS),
        "child": rows(_CHILD, N_FIELD_KINDS),
        "child size": rows(_CHILD_SIZE, N_FIELD_KINDS),
        "split": rows(_SPLIT, N_FIELD_KINDS),
        "cells": rows(_CELLS, 2),
        "cells alike": rows([(8, 1, 1)], 2),
    }


def code_labels(
    coder: SymbolCoder, name: str, shape: tuple[int, int], to_write: np.ndarray | None,
    kind: int = 0
) -> np.ndarray:
    """Pass labels int32 [n * m] of the cells of a grid; the context is the set of neighbours'.

    A first symbol says that all cells are alike, and which label they have, or 0 that they differ.
    """
    n = coder.tables[name].counts.shape[1]
    alike = None
    if to_write is not None:
        alike = np.array([to_write[0] + 1 if (to_write == to_write[0]).all() else 0], np.int32)
    (same,) = coder.symbols(f"{name} alike", alike, SINGLE_CONTEXT + kind)
    labels = np.full(shape[0] * shape[1], max(same - 1, 0), np.int32)
    if same:
        return labels
    for scan_pass in scan_passes(*shape):
        contexts = labels_around(labels, scan_pass) | np.uint8(kind << n)
        part = None if to_write is None else to_write[scan_pass.cells]
        labels[scan_pass.cells] = coder.symbols(name, part, contexts)
    return labels


def labels_around(labels: np.ndarray, scan_pass: ScanPass) -> np.ndarray:
    """The set of labels that each cell's known neighbours have, a bit for each: uint8 [k]."""
    if not scan_pass.n_known[0]:
        return np.zeros(len(scan_pass.cells), np.uint8)
    around: np.ndarray = np.bitwise_or.reduce(_LABEL_BITS[labels[scan_pass.adjacent_filled]])
    return around


def spread_class(spread: np.ndarray) -> np.ndarray:
    """Class of max - min of the known neighbours: uint8, same shape."""
    return (spread > 0).astype(np.uint8) + (spread > 2) + (spread > 8)


def code_residuals(
    coder: SymbolCoder, name: str, to_write: np.ndarray | None, contexts: np.ndarray,
    spreads: np.ndarray,
    known: Sequence[np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Pass int32 [2, k]: differences of vectors from what they were predicted to be.

    Args:
        coder: where they go to or come from.
        name: of the table; "`name` size" is that of the magnitudes.
        to_write: the differences, or None.
        contexts: uint8 [k], of the symbol that says what is to follow.
        spreads: uint8 [2, k], contexts of the magnitudes.
        known: differences int32 [2, k] that have a symbol each, the earlier the better.
    """
    residual = np.zeros(spreads.shape, np.int32)
    there = symbols = None
    if to_write is not None:
        there = to_write != 0
        symbols = there[0].astype(np.int32) + there[1]
        for symbol in range(len(known) + 2, 2, -1):
            same = to_write == known[symbol - 3]
            symbols[same[0] & same[1] & (symbols > 0)] = symbol
    symbols = coder.symbols(name, symbols, contexts)
    if not symbols.any():
        return residual
    for symbol, value in enumerate(known, start=3):
        residual += value * (symbols == symbol)
    single = (symbols == 1).nonzero()[0]
    mask = np.empty(spreads.shape, bool)
    mask[:] = symbols == 2
    if len(single):
        second = None if there is None else there[1, single].astype(np.int32)
        mask[coder.uniform(second, len(single), 2), single] = True
    sizes = spreads[mask]
    if len(sizes):
        values = None if to_write is None else to_write[mask]
        residual[mask] = _code_nonzero(coder, f"{name} size", values, sizes)
    return residual


def _code_nonzero(
    coder: SymbolCoder, name: str, to_write: np.ndarray | None, contexts: np.ndarray
) -> np.ndarray:
    """Pass integers [k] other than 0: the bin of the magnitude, then place in the bin and sign."""
    bins = raw = None
    if to_write is not None:
        magnitudes = np.abs(to_write)
        bins = np.searchsorted(_BIN_MAX, magnitudes).astype(np.int32)
        raw = 2 * (magnitudes - _BIN_MIN[bins]) + (to_write < 0)
    bins = coder.symbols(name, bins, contexts)
    passed = np.empty(len(bins), np.int32)
    for size in np.bincount(bins).nonzero()[0].tolist():
        at = (bins == size).nonzero()[0]
        part = None if raw is None else raw[at]
        passed[at] = coder.uniform(part, len(at), max(2, 1 << size))
    return (_BIN_MIN[bins] + (passed >> 1)) * (1 - 2 * (passed & 1))
