"""Motion of a frame under rotations and flips, and arithmetic that commutes with them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aehub.codecs.d4 import symmetry
from aehub.codecs.d4.motion.field import (
    MAX_VECTOR,
    Motion,
    from_sub_blocks,
    median_of_four,
    scale_vectors,
    to_sub_blocks,
    turn_vectors,
)
from motion_fields import same, speckled


@pytest.mark.parametrize("g", range(symmetry.ORDER))
def test_vectors_turn_with_the_picture(g: int) -> None:
    motion = speckled(0, (3, 5), 1)
    block, vector = (7, 13), motion.vectors[0, :, 7, 13].astype(int)
    assert vector.any()
    picture = np.zeros((64, 84), int)
    start = np.add(block, 22)
    picture[tuple(start)] = 1
    picture[tuple(start + vector)] = 2
    turned = symmetry.turn(picture, g)
    moved = np.argwhere(turned == 2)[0] - np.argwhere(turned == 1)[0]
    marked = np.zeros(motion.vectors.shape[2:], int)
    marked[block] = 1
    down, right = np.argwhere(symmetry.turn(marked, g))[0]
    assert motion.turn(g).vectors[0, :, down, right].tolist() == moved.tolist()


@pytest.mark.parametrize("g", range(symmetry.ORDER))
def test_turning_back_gives_the_motion_back(g: int) -> None:
    motion = speckled(1, (2, 3), 2)
    turned = motion.turn(g)
    same(turned.turn(symmetry.inverse(g)), motion)
    assert turned.vectors.dtype == np.int16
    assert np.array_equal(turned.parents, turn_vectors(motion.parents, g))
    assert np.array_equal(turned.split, symmetry.turn(motion.split, g))
    assert np.array_equal(turned.uses, symmetry.turn(motion.uses, g))


def test_a_block_is_split_only_where_a_reference_in_use_differs() -> None:
    motion = Motion.zero((4, 4), 2)
    motion.vectors[1, 0, 3, 3] = 5
    assert motion.split.tolist() == [[[False] * 2] * 2, [[False, False], [False, True]]]
    motion.modes[1, 1] = 1
    assert not motion.split.any()


def test_blocks_of_four_come_apart_and_together() -> None:
    field = np.arange(2 * 8 * 12).reshape(2, 8, 12)
    assert to_sub_blocks(field)[1, 0, 1].tolist() == [98, 99, 110, 111]
    assert np.array_equal(from_sub_blocks(to_sub_blocks(field)), field)


@given(st.lists(st.integers(-MAX_VECTOR, MAX_VECTOR), min_size=4, max_size=4))
def test_the_median_of_four_commutes_with_sign_and_order(four: list[int]) -> None:
    low, high = sorted(four)[1:3]
    found = int(median_of_four(np.array(four, np.int16)))
    assert found == int(Fraction(low + high, 2))
    assert found == -int(median_of_four(-np.array(four[::-1], np.int16)))


@given(
    st.integers(-MAX_VECTOR, MAX_VECTOR), st.integers(-100, 100),
    st.integers(-100, 100).filter(lambda d: d)
)
def test_scaling_rounds_alike_on_both_sides_of_zero(value: int, num: int, den: int) -> None:
    found = int(scale_vectors(np.array([value], np.int16), num, den)[0])
    exact = Fraction(value * num, den)
    assert found == -int(scale_vectors(np.array([-value], np.int16), num, den)[0])
    assert abs(found) == min(MAX_VECTOR, int(abs(exact) + Fraction(1, 2)))
    assert found * exact >= 0


@pytest.mark.parametrize(
    ("vectors", "modes", "coded"),
    [
        ((3, 2, 8, 8), (4, 4), (2, 2)),
        ((1, 2, 6, 8), (3, 4), (2, 2)),
        ((1, 2, 8, 8), (8, 8), (2, 2)),
        ((2, 2, 8, 8), (4, 4), (4, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    vectors: tuple[int, ...], modes: tuple[int, int], coded: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="shape|fit"):
        Motion(np.zeros(vectors, np.int16), np.ones(modes, np.uint8), np.zeros(coded, bool))
