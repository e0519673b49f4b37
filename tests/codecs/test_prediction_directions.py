"""Prediction modes: least error, unless bits of a mode unlike the adjacent ones cost more."""

from __future__ import annotations

import numpy as np

from aehub.codecs.d4.motion.field import BOTH, FIRST, SECOND
from aehub.codecs.d4.motion.rdo import choose_modes
from aehub.coding.scan_order import scan_passes

N, M = 6, 10
EVERYWHERE = np.ones((N, M))
# Two blocks of the last scan pass: all adjacent modes are decided.
FIRST_BLOCK, SECOND_BLOCK = (divmod(int(cell), M) for cell in scan_passes(N, M)[-1].cells[[7, 12]])


def cost(best: np.ndarray, gain: float) -> np.ndarray:
    """[3, N, M]: 100 for each mode, less where it is the best."""
    modes = np.array([FIRST, SECOND, BOTH])[:, None, None]
    return np.where(best == modes, 100.0 - gain, 100.0)


def test_where_bits_cost_nothing_the_least_error_decides() -> None:
    best = np.random.default_rng(0).integers(1, 4, (N, M))
    assert np.array_equal(choose_modes(cost(best, 1.0), 0 * EVERYWHERE), best)


def test_one_block_that_gains_little_takes_the_mode_of_adjacent_ones() -> None:
    best = np.full((N, M), SECOND)
    best[FIRST_BLOCK] = FIRST
    assert (choose_modes(cost(best, 2.0), EVERYWHERE) == SECOND).all()
    assert np.array_equal(choose_modes(cost(best, 50.0), EVERYWHERE), best)


def test_each_block_weighs_its_own_bits() -> None:
    best = np.full((N, M), SECOND)
    best[FIRST_BLOCK] = best[SECOND_BLOCK] = FIRST
    lambda_ = EVERYWHERE.copy()
    lambda_[SECOND_BLOCK] = 0
    found = choose_modes(cost(best, 2.0), lambda_)
    assert (found[FIRST_BLOCK], found[SECOND_BLOCK]) == (SECOND, FIRST)
