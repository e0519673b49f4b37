"""Scan passes: the cells of a grid from coarse to fine, alike in all eight orientations.

The cells of a pass are coded together; their contexts are adjacent cells of earlier passes. One
level:

    o x o x o      o  coarse: split into the same three, with the other cells left out
    x d x d x      d  diagonal: the four o around it are coded
    o x o x o      x  cross: the o and d above, below, left and right are coded

"Even" is counted from the centre, so that a level is symmetric on grids of any size; on an even
side the two middle rows count as one, and adjacent cells that are not coded yet are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

_DIAGONALS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
# A grid of at most so many cells is one pass.
_SMALLEST = 4


@dataclass(frozen=True, eq=False)
class ScanPass:
    """Cells of a grid that are coded together.

    Attributes:
        cells: int32 [k], numbers of cells counted row by row.
        adjacent: int32 [k, 4], numbers of adjacent cells of earlier passes, -1 for none.
    """

    cells: np.ndarray
    adjacent: np.ndarray

    @cached_property
    def n_known(self) -> np.ndarray:
        """Number of adjacent cells already coded: int32 [k]; 0 in the first pass, then never."""
        return (self.adjacent >= 0).sum(axis=1, dtype=np.int32)

    @cached_property
    def adjacent_filled(self) -> np.ndarray:
        """Adjacent cells, int32 [4, k]: those already coded, then the first of them repeated.

        Undefined for the first pass, which has none.
        """
        known_first = -np.sort(-self.adjacent, axis=1).T
        return np.where(known_first < 0, known_first[0], known_first)


@lru_cache(maxsize=32)
def scan_passes(n: int, m: int, n_grids: int = 1) -> tuple[ScanPass, ...]:
    """Return the scan passes of n x m grids; together they hold every cell once.

    The cells of several grids are numbered one grid after the other; a pass holds its cells of all.
    """
    first = np.arange(n_grids, dtype=np.int32)[:, None] * (n * m)
    return tuple(
        ScanPass((first + one.cells).ravel(),
                 np.where(one.adjacent < 0, -1, first[..., None] + one.adjacent).reshape(-1, 4))
        for one in _scan_passes(np.arange(n * m, dtype=np.int32).reshape(n, m)))


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
    """Mark indices at an even distance from the centre (half of it, rounded down)."""
    return np.abs(2 * np.arange(side) - (side - 1)) // 2 % 2 == 0


def _scan_pass(
    grid: np.ndarray, chosen: np.ndarray, known: np.ndarray, offsets: tuple[tuple[int, int], ...]
) -> ScanPass:
    at = np.argwhere(chosen)
    framed = np.pad(np.where(known, grid, -1), 1, constant_values=-1)
    adjacent = [framed[tuple((at + (1 + down, 1 + right)).T)] for down, right in offsets]
    return ScanPass(grid[chosen], np.stack(adjacent, axis=1).astype(np.int32))
