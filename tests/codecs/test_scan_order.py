"""Scan passes: every cell once, contexts from earlier passes only, equivariant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.codecs.d4 import symmetry
from aehub.coding.scan_order import ScanPass, scan_passes

SIDES = st.integers(1, 40)


@given(SIDES, SIDES)
@settings(deadline=None)
def test_scan_passes_partition_the_grid_and_know_only_earlier_cells(n: int, m: int) -> None:
    known: set[int] = set()
    for place, scan_pass in enumerate(scan_passes(n, m)):
        assert set(scan_pass.adjacent[scan_pass.adjacent >= 0].tolist()) <= known
        assert (scan_pass.n_known > 0).all() == (place > 0)
        fresh = scan_pass.cells.tolist()
        assert not known & set(fresh)
        known |= set(fresh)
    assert known == set(range(n * m))
    assert len(scan_passes(n, m)[0].cells) <= 4


def named(scan_pass: ScanPass, names: np.ndarray) -> dict[int, set[int]]:
    """Adjacent cells of each cell, by other names."""
    return {
        int(names[cell]): {int(names[near]) for near in around if near >= 0}
        for cell, around in zip(scan_pass.cells, scan_pass.adjacent)
    }


@pytest.mark.parametrize("g", range(symmetry.ORDER))
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (4, 8), (6, 10), (7, 16), (1, 9)])
def test_scan_passes_are_equivariant(shape: tuple[int, int], g: int) -> None:
    straight = np.arange(shape[0] * shape[1]).reshape(shape)
    turned = symmetry.turn(straight, g)
    ours, theirs = scan_passes(*shape), scan_passes(*turned.shape)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert named(one, straight.ravel()) == named(other, turned.ravel())


def test_most_cells_of_a_large_grid_know_four_adjacent_ones() -> None:
    last = scan_passes(64, 64)[-1]
    assert len(last.cells) == 2048
    assert (last.n_known == 4).mean() > 0.85


def test_missing_adjacent_cells_are_filled_by_known_ones() -> None:
    for scan_pass in scan_passes(6, 10)[1:]:
        for filled, around in zip(scan_pass.adjacent_filled.T, scan_pass.adjacent):
            assert set(filled.tolist()) == set(around[around >= 0].tolist())
