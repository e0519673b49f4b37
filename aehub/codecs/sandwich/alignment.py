"""Alignment of a decoded frame with another one, by block matching between the two.

Decoders search for themselves, so no vector is sent: the search is exact in integers but for the
rough one it starts from, and nothing of it reaches the entropy coder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aehub.codecs.block_matching import BLOCK, coarse, coarse_search
from aehub.compiled import compiled
from aehub.media.picture import Picture

MAX_DISTANCE = 4
"""Frames on either side among which a reference is chosen."""
_INDEX_PER_FRAME = 8
"""Loss of a reference by a frame of distance, as steps of base_q_idx, set by hand."""
_SEARCH_RANGE = 24
"""Largest component of a vector of the rough search, in samples."""
_RATE = 1.0
"""Absolute difference per bit of a vector of the rough search: still parts stay still."""
_RADIUS = 3
"""Range of the refinement, whole samples: less than the step of the rough search."""
_ZERO_GAIN = 16
"""Absolute difference that a vector must gain over none, per block."""


def choose_references(quantisers: Sequence[int], number: int) -> tuple[int, int]:
    """Numbers of the frames before and after that help most: of low base_q_idx, and near.

    Args:
        quantisers: base_q_idx of the frames of a group, in the order of times.
        number: of the frame in it; it refers to itself where the group begins or ends.
    """
    def best(candidates: range) -> int:
        return min(candidates, default=number, key=lambda n: (
            quantisers[n] + _INDEX_PER_FRAME * abs(n - number), abs(n - number)))

    return (best(range(max(0, number - MAX_DISTANCE), number)),
            best(range(number + 1, min(len(quantisers), number + MAX_DISTANCE + 1))))


def vectors(current: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Motion between two planes of luma, uint8 [H, W]: int16 [2, ceil(H/16), ceil(W/16)], half
    samples down and right."""
    height, width = current.shape
    padding = [(0, -n % BLOCK) for n in (height, width)]
    padded = [np.pad(plane, padding, "edge") for plane in (current, reference)]
    shape = tuple(n // BLOCK for n in padded[0].shape)
    rough, _ = coarse_search(coarse(padded[0]), coarse(padded[1]),
                             np.full(shape, _RATE, np.float32), _SEARCH_RANGE)
    found = rough.astype(np.int16)
    margin = _SEARCH_RANGE + _RADIUS + 1
    _refine(padded[0], np.pad(padded[1], margin, "edge"), margin, found)
    return found


@compiled
def _refine(current: np.ndarray, reference: np.ndarray, margin: int, found: np.ndarray) -> None:
    """Full search of whole samples around each vector, and none, then of half samples; `reference`
    has a margin."""
    patch = np.empty((BLOCK + 2, BLOCK + 2), np.int16)
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            y, x = BLOCK * i, BLOCK * j
            start_down, start_right = int(found[0, i, j]), int(found[1, i, j])
            best_down = best_right = 0
            least = _sad(current, reference, y, x, margin, margin) - _ZERO_GAIN
            for down in range(start_down - _RADIUS, start_down + _RADIUS + 1):
                for right in range(start_right - _RADIUS, start_right + _RADIUS + 1):
                    cost = _sad(current, reference, y, x, margin + down, margin + right)
                    if cost < least:
                        least, best_down, best_right = cost, down, right
            top, left = y + margin + best_down - 1, x + margin + best_right - 1
            patch[:] = reference[top:top + BLOCK + 2, left:left + BLOCK + 2]
            down, right = _best_half(current, patch, y, x, least)
            found[0, i, j], found[1, i, j] = 2 * best_down + down, 2 * best_right + right


@compiled
def _best_half(current: np.ndarray, patch: np.ndarray, y: int, x: int, least: int
               ) -> tuple[int, int]:
    """Half samples, -1 to 1, of less difference than that of the whole vector."""
    best_down = best_right = 0
    for down in range(-1, 2):
        for right in range(-1, 2):
            cost = _sad_between(current, patch, y, x, down, right)
            if cost < least:
                least, best_down, best_right = cost, down, right
    return best_down, best_right


@compiled
def _sad(current: np.ndarray, reference: np.ndarray, y: int, x: int, down: int, right: int) -> int:
    """Sum of absolute differences of a block."""
    a, b = np.uintp(y), np.uintp(x)
    c, d = np.uintp(y + down), np.uintp(x + right)
    total = np.int32(0)
    for row in range(np.uintp(BLOCK)):
        for column in range(np.uintp(BLOCK)):
            total += abs(np.int32(current[a + row, b + column])
                         - np.int32(reference[c + row, d + column]))
    return int(total)


@compiled
def _sad_between(current: np.ndarray, patch: np.ndarray, y: int, x: int, down: int, right: int
                 ) -> int:
    """Sum of absolute differences of a block from half samples; `patch` has a margin of one."""
    a, b = np.uintp(y), np.uintp(x)
    r0, c0 = np.uintp(1 + min(down, 0)), np.uintp(1 + min(right, 0))
    r1, c1 = r0 + np.uintp(abs(down)), c0 + np.uintp(abs(right))
    total = np.int32(0)
    for row in range(np.uintp(BLOCK)):
        for column in range(np.uintp(BLOCK)):
            value = (patch[r0 + row, c0 + column] + patch[r0 + row, c1 + column]
                     + patch[r1 + row, c0 + column] + patch[r1 + row, c1 + column] + 2) >> 2
            total += abs(np.int32(current[a + row, b + column]) - np.int32(value))
    return int(total)


def compensate(reference: Picture, field: np.ndarray) -> Picture:
    """Move the blocks of a 4:2:0 picture by the vectors of `vectors`, bilinear between samples;
    borders repeat."""
    moved = []
    for plane in reference:
        is_luma = plane.shape == reference[0].shape
        out = np.empty(plane.shape, np.uint8)
        _move(np.ascontiguousarray(plane), field, BLOCK if is_luma else BLOCK // 2,
              1 if is_luma else 2, out)
        moved.append(out)
    return Picture(moved, reference.format)


@compiled
def _move(plane: np.ndarray, field: np.ndarray, side: int, bits: int, moved: np.ndarray) -> None:
    """`bits` of a vector are its fraction."""
    height, width = plane.shape
    one = 1 << bits
    for y in range(height):
        for j in range(field.shape[2]):
            down, right = int(field[0, y // side, j]), int(field[1, y // side, j])
            v, u = down & (one - 1), right & (one - 1)
            top = min(max(y + (down >> bits), 0), height - 1)
            bottom = min(max(y + (down >> bits) + 1, 0), height - 1)
            for x in range(side * j, min(side * (j + 1), width)):
                left = min(max(x + (right >> bits), 0), width - 1)
                after = min(max(x + (right >> bits) + 1, 0), width - 1)
                above = (one - u) * int(plane[top, left]) + u * int(plane[top, after])
                below = (one - u) * int(plane[bottom, left]) + u * int(plane[bottom, after])
                moved[y, x] = ((one - v) * above + v * below + (one * one >> 1)) >> (2 * bits)
