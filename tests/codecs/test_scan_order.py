"""The order of cells: every cell once, each stage knowing only earlier ones, blind to turns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.codecs.d4 import symmetry
from aehub.codecs.d4.motion.symbols import Stage, stages

SIDES = st.integers(1, 40)


@given(SIDES, SIDES)
@settings(deadline=None)
def test_stages_share_out_the_grid_and_know_only_earlier_cells(n: int, m: int) -> None:
    known: set[int] = set()
    for place, stage in enumerate(stages(n, m)):
        assert set(stage.neighbours[stage.neighbours >= 0].tolist()) <= known
        assert (stage.count > 0).all() == (place > 0)
        fresh = stage.cells.tolist()
        assert not known & set(fresh)
        known |= set(fresh)
    assert known == set(range(n * m))
    assert len(stages(n, m)[0].cells) <= 4


def named(stage: Stage, names: np.ndarray) -> dict[int, set[int]]:
    """Neighbours by cell, in other names."""
    return {
        int(names[cell]): {int(names[near]) for near in around if near >= 0}
        for cell, around in zip(stage.cells, stage.neighbours)
    }


@pytest.mark.parametrize("g", range(symmetry.ORDER))
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (4, 8), (6, 10), (7, 16), (1, 9)])
def test_stages_turn_with_the_grid(shape: tuple[int, int], g: int) -> None:
    straight = np.arange(shape[0] * shape[1]).reshape(shape)
    turned = symmetry.turn(straight, g)
    ours, theirs = stages(*shape), stages(*turned.shape)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert named(one, straight.ravel()) == named(other, turned.ravel())


def test_most_cells_of_a_large_grid_see_four_neighbours() -> None:
    last = stages(64, 64)[-1]
    assert len(last.cells) == 2048
    assert (last.count == 4).mean() > 0.85


def test_missing_neighbours_are_filled_by_known_ones() -> None:
    for stage in stages(6, 10)[1:]:
        for filled, around in zip(stage.filled.T, stage.neighbours):
            assert set(filled.tolist()) == set(around[around >= 0].tolist())
