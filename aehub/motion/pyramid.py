"""An order of the cells of a grid that turning does not change: stages from coarse to fine.

Cells of a stage are coded together, each knowing some of its neighbours from earlier stages. All
that a stage is made of, its cells and their neighbours, turns with the grid. On one level:

    o x o x o      o  coarse: made of the same three, closer together
    x d x d x      d  diagonal: sees the four o around it
    o x o x o      x  cross: sees o and d above, below, left and right

"Even" is counted from the centre, so that the level is symmetric on grids of any size; on an even
side the two middle rows count as one, and a neighbour that is not known yet is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

_DIAGONALS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_SMALLEST = 4


@dataclass(frozen=True, eq=False)
class Stage:
    """Cells that are coded together.

    Attributes:
        cells: int32 [k], numbers of cells counted row by row.
        neighbours: int32 [k, 4], numbers of neighbours known before this stage, -1 for none.
    """

    cells: np.ndarray
    neighbours: np.ndarray

    @cached_property
    def count(self) -> np.ndarray:
        """How many neighbours each cell knows: int32 [k]; 0 in the first stage, then never."""
        return (self.neighbours >= 0).sum(axis=1, dtype=np.int32)

    @cached_property
    def filled(self) -> np.ndarray:
        """Neighbours as int32 [4, k], the known ones first, then the first of them again.

        Not for the first stage, where there is none.
        """
        known_first = -np.sort(-self.neighbours, axis=1).T
        return np.where(known_first < 0, known_first[0], known_first)


@lru_cache(maxsize=8)
def stages(n: int, m: int) -> tuple[Stage, ...]:
    """Return the stages of an n x m grid; together they hold every cell once."""
    return tuple(_stages(np.arange(n * m, dtype=np.int32).reshape(n, m)))


def _stages(grid: np.ndarray) -> list[Stage]:
    rows, columns = (_is_even(side) for side in grid.shape)
    coarse = np.outer(rows, columns)
    if grid.size <= _SMALLEST or coarse.all():
        cells = grid.ravel()
        return [Stage(cells, np.full((cells.size, 4), -1, np.int32))]
    diagonal = np.outer(~rows, ~columns)
    cross = ~(coarse | diagonal)
    below = _stages(grid[np.ix_(rows, columns)])
    above = [
        _stage(grid, diagonal, coarse, _DIAGONALS),
        _stage(grid, cross, coarse | diagonal, _SIDES),
    ]
    return below + [stage for stage in above if stage.cells.size]


def _is_even(side: int) -> np.ndarray:
    """Which indices are at an even distance from the centre (its half, rounded down)."""
    return np.abs(2 * np.arange(side) - (side - 1)) // 2 % 2 == 0


def _stage(
    grid: np.ndarray, chosen: np.ndarray, known: np.ndarray, offsets: tuple[tuple[int, int], ...]
) -> Stage:
    at = np.argwhere(chosen)
    framed = np.pad(np.where(known, grid, -1), 1, constant_values=-1)
    neighbours = [framed[tuple((at + (1 + down, 1 + right)).T)] for down, right in offsets]
    return Stage(grid[chosen], np.stack(neighbours, axis=1).astype(np.int32))
