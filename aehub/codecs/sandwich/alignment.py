"""Alignment of decoded frames with the one to be restored, by block matching between them.

Decoders search for themselves, so no vector is sent. The search is exact in integers but for the
rough one it starts from, and nothing of it reaches the entropy coder. Vectors are whole samples for
blocks of 16x16, then quarters for blocks of 8x8, whose predictions overlap.

Sources: ITU-T H.264, 8.4.2.2.1 (half samples by six taps, quarters by their means); Orchard and
Sullivan 1994, "Overlapped block motion compensation".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aehub.codecs.block_matching import BLOCK, coarse, coarse_search
from aehub.compiled import compiled
from aehub.media.picture import Picture

MAX_DISTANCE = 8
"""Frames on either side among which references are chosen."""
PRECISION = 4
"""Steps of a difference in a grey level."""
_INDEX_PER_FRAME = 4
"""Loss of a reference by a frame of distance, as steps of base_q_idx, set by hand."""
_PART = 8
"""Samples along a side of the blocks of luma that have vectors; of those of chroma half of it."""
_SEARCH_RANGE = 24
"""Largest component of a vector of the rough search, in samples."""
_MARGIN = _SEARCH_RANGE + 16
"""Samples around a plane that vectors, overlap and filter reach at most."""
_RATE = 1.0
"""Absolute difference per bit of a vector of the rough search: still parts stay still."""
_GAIN = 8
"""Absolute difference, per block, that a vector must gain: over none in every other row of 16x16,
over that of its 16x16 block in 8x8."""
_AROUND = (0, 1, 2, 3, 5, 6, 7, 8)
"""Numbers of the positions of 3x3 around the middle one."""


def choose_references(quantisers: Sequence[int], number: int, n: int) -> list[int]:
    """Numbers of the frames before and after that help most: of low base_q_idx, and near.

    Args:
        quantisers: base_q_idx of the frames of a group, in the order of times.
        number: of the frame in it.
        n: references on either side.

    Returns:
        `n` before, then `n` after, the best first. Where there are fewer the best is repeated, and
        where the group begins or ends the frame refers to itself.
    """
    def best(candidates: range) -> list[int]:
        ranked = sorted(candidates, key=lambda r: (
            quantisers[r] + _INDEX_PER_FRAME * abs(r - number), abs(r - number)))
        found = ranked[:n] or [number] * n
        return found + found[:1] * (n - len(found))

    return (best(range(max(0, number - MAX_DISTANCE), number))
            + best(range(number + 1, min(len(quantisers), number + MAX_DISTANCE + 1))))


def differences(current: Picture, reference: Picture) -> list[np.ndarray]:
    """Differences of the aligned reference from the frame, in steps of 1 / `PRECISION` grey level,
    for each plane of 4:2:0: int8 [H, W], clipped."""
    halves = [_half_samples(plane, side) for plane, side in
              zip(reference, (BLOCK, BLOCK // 2, BLOCK // 2), strict=True)]
    field = _vectors(current[0], halves[0])
    return [_compensated(plane, half, vectors, side) for plane, half, vectors, side in
            zip(current, halves, (field, field >> 1, field >> 1), (_PART, _PART // 2, _PART // 2),
                strict=True)]


def _half_samples(plane: np.ndarray, multiple: int) -> np.ndarray:
    """Samples of a plane and those half a sample below, right, and both: uint8 [2, 2, H, W] with a
    margin; sides are made multiples."""
    padded = np.pad(plane, [(_MARGIN, _MARGIN + -n % multiple) for n in plane.shape], "edge")
    halves = np.empty((2, 2, *padded.shape), np.uint8)
    _interpolate(padded, halves)
    return halves


@compiled
def _interpolate(plane: np.ndarray, halves: np.ndarray) -> None:
    """Filter by 1, -5, 20, 20, -5, 1; what is out of its reach repeats the sample above or left."""
    height, width = plane.shape
    halves[0, 0], halves[0, 1] = plane, plane
    row = np.empty(width, np.int32)
    for y in range(height):
        rows = plane[max(y - 2, 0):min(y + 4, height)]
        if len(rows) < 6:
            halves[1, 0, y], halves[1, 1, y] = plane[y], plane[y]
            continue
        for x in range(width):
            row[x] = _six_taps(rows[0, x], rows[1, x], rows[2, x], rows[3, x], rows[4, x],
                               rows[5, x])
        for x in range(width):
            halves[1, 0, y, x] = min(max((row[x] + 16) >> 5, 0), 255)
            halves[1, 1, y, x] = halves[1, 0, y, x]
        for x in range(2, width - 3):
            across = _six_taps(plane[y, x - 2], plane[y, x - 1], plane[y, x], plane[y, x + 1],
                               plane[y, x + 2], plane[y, x + 3])
            halves[0, 1, y, x] = min(max((across + 16) >> 5, 0), 255)
            both = _six_taps(row[x - 2], row[x - 1], row[x], row[x + 1], row[x + 2], row[x + 3])
            halves[1, 1, y, x] = min(max((both + 512) >> 10, 0), 255)


@compiled
def _six_taps(a: int, b: int, c: int, d: int, e: int, f: int) -> np.int32:
    outer, middle, inner = np.int32(a) + f, np.int32(b) + e, np.int32(c) + d
    return np.int32(outer - 5 * middle + 20 * inner)


def _vectors(current: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Motion between a plane and another, given by `_half_samples`: int16 [2, h, w] of blocks of
    8x8, quarter samples down and right."""
    samples = np.ascontiguousarray(halves[0, 0, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN])
    padding = [(0, wanted - n) for wanted, n in zip(samples.shape, current.shape, strict=True)]
    padded = np.pad(current, padding, "edge")
    rows, columns = (n // BLOCK for n in samples.shape)
    rates = np.full((rows, columns), _RATE, np.float32)
    rough, _ = coarse_search(coarse(padded), coarse(samples), rates, _SEARCH_RANGE)
    whole = rough.astype(np.int16)
    _refine(padded, halves[0, 0], whole)
    field = np.empty((2, 2 * rows, 2 * columns), np.int16)
    _split(padded, halves, whole, field)
    return field


@compiled
def _refine(current: np.ndarray, reference: np.ndarray, found: np.ndarray) -> None:
    """Whole samples: the better of a vector of the rough search and none, then of those around."""
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            y, x = BLOCK * i, BLOCK * j
            down, right = int(found[0, i, j]), int(found[1, i, j])
            least = _sad_16(current, reference, y, x, 0, 0) - _GAIN
            cost = _sad_16(current, reference, y, x, down, right)
            if cost < least:
                least = cost
            else:
                down = right = 0
            for step in (2, 1):
                middle_down, middle_right = down, right
                for n in _AROUND:
                    v, u = middle_down + step * (n // 3 - 1), middle_right + step * (n % 3 - 1)
                    cost = _sad_16(current, reference, y, x, v, u)
                    if cost < least:
                        least, down, right = cost, v, u
            found[0, i, j], found[1, i, j] = down, right


@compiled
def _sad_16(current: np.ndarray, reference: np.ndarray, y: int, x: int, down: int, right: int
            ) -> int:
    """Sum of absolute differences of every other row of a block of 16x16."""
    a, b = np.uintp(y), np.uintp(x)
    c, d = np.uintp(_MARGIN + y + down), np.uintp(_MARGIN + x + right)
    total = np.int32(0)
    for row in range(np.uintp(0), np.uintp(BLOCK), np.uintp(2)):
        for column in range(np.uintp(BLOCK)):
            total += abs(np.int32(current[a + row, b + column])
                         - np.int32(reference[c + row, d + column]))
    return int(total)


@compiled
def _split(current: np.ndarray, halves: np.ndarray, whole: np.ndarray, field: np.ndarray) -> None:
    """Blocks of 8x8: the best of the vectors of their 16x16 block and of the next ones up or down,
    left or right; from there steps of half a sample, then of a quarter."""
    last_row, last_column = whole.shape[1] - 1, whole.shape[2] - 1
    for i in range(field.shape[1]):
        for j in range(field.shape[2]):
            y, x, row, column = _PART * i, _PART * j, i // 2, j // 2
            next_row = min(max(row - 1 + 2 * (i % 2), 0), last_row)
            next_column = min(max(column - 1 + 2 * (j % 2), 0), last_column)
            down, right = 4 * int(whole[0, row, column]), 4 * int(whole[1, row, column])
            least = _sad_8(current, halves, y, x, down, right) - 2 * _GAIN
            for a, b in ((next_row, column), (row, next_column)):
                v, u = 4 * int(whole[0, a, b]), 4 * int(whole[1, a, b])
                cost = _sad_8(current, halves, y, x, v, u)
                if cost < least:
                    least, down, right = cost, v, u
            for step in (2, 1):
                above = _sad_8(current, halves, y, x, down - step, right)
                below = _sad_8(current, halves, y, x, down + step, right)
                before = _sad_8(current, halves, y, x, down, right - step)
                after = _sad_8(current, halves, y, x, down, right + step)
                v = down - step if above < below else down + step
                u = right - step if before < after else right + step
                both = _sad_8(current, halves, y, x, v, u)
                best = min(least, above, below, before, after, both)
                if best < least:
                    least = best
                    if best == both:
                        down, right = v, u
                    elif best == min(above, below):
                        down = v
                    else:
                        right = u
            field[0, i, j], field[1, i, j] = down, right


@compiled
def _sad_8(current: np.ndarray, halves: np.ndarray, y: int, x: int, down: int, right: int) -> int:
    """Twice the sum of absolute differences of a block of 8x8 from quarter samples, the means of
    the two half samples next to them."""
    (p, q, c, d), (r, s, e, f) = _adjacent(_MARGIN + y, _MARGIN + x, down, right)
    a, b = np.uintp(y), np.uintp(x)
    total = np.int32(0)
    for row in range(np.uintp(_PART)):
        for column in range(np.uintp(_PART)):
            total += abs(2 * np.int32(current[a + row, b + column])
                         - np.int32(halves[p, q, c + row, d + column])
                         - np.int32(halves[r, s, e + row, f + column]))
    return int(total)


@compiled
def _adjacent(y: int, x: int, down: int, right: int
                ) -> tuple[tuple[np.uintp, ...], tuple[np.uintp, ...]]:
    """Indices in `_half_samples` of the two half samples next to a quarter one."""
    v, u = down + (down & 1), right + (right & 1)
    return ((np.uintp((down >> 1) & 1), np.uintp((right >> 1) & 1), np.uintp(y + (down >> 2)),
             np.uintp(x + (right >> 2))),
            (np.uintp((v >> 1) & 1), np.uintp((u >> 1) & 1), np.uintp(y + (v >> 2)),
             np.uintp(x + (u >> 2))))


def _compensated(current: np.ndarray, halves: np.ndarray, field: np.ndarray, side: int
                 ) -> np.ndarray:
    """Difference of a plane from one moved by vectors of blocks of a side, int8 [H, W]."""
    before = side // 2
    padding = [(before, side * (blocks + 1) - before - n) for blocks, n in
               zip(field.shape[1:], current.shape, strict=True)]
    padded = np.pad(current, padding, "edge")
    found = np.empty(padded.shape, np.int8)
    rising = np.arange(1, 2 * side, 2, dtype=np.int32)
    _overlap(padded, halves, field, np.stack([rising[::-1], rising]), found)
    return found[before:, before:][:current.shape[0], :current.shape[1]]


@compiled
def _overlap(current: np.ndarray, halves: np.ndarray, field: np.ndarray, windows: np.ndarray,
             found: np.ndarray) -> None:
    """Between the centres of four blocks, their predictions fade into each other; `windows` fall
    and rise. Planes begin half a block before the first block."""
    side = windows.shape[1]
    # A grey level has 8 side^2 units: 2 of either half sample, 2 side of a window.
    shift = 0
    while PRECISION << shift < 8 * side * side:
        shift += 1
    total = np.empty((side, side), np.int32)
    for i in range(field.shape[1] + 1):
        for j in range(field.shape[2] + 1):
            total[:] = 1 << (shift - 1)
            for n in range(4):
                row = min(max(i - 1 + (n >> 1), 0), field.shape[1] - 1)
                column = min(max(j - 1 + (n & 1), 0), field.shape[2] - 1)
                _add(halves, _MARGIN + side * i - side // 2, _MARGIN + side * j - side // 2,
                     int(field[0, row, column]), int(field[1, row, column]), windows, n, total)
            y, x = np.uintp(side * i), np.uintp(side * j)
            for row in range(np.uintp(side)):
                for column in range(np.uintp(side)):
                    difference = ((total[row, column] >> shift)
                                  - PRECISION * np.int32(current[y + row, x + column]))
                    found[y + row, x + column] = min(max(difference, -128), 127)


@compiled
def _add(halves: np.ndarray, y: int, x: int, down: int, right: int, windows: np.ndarray, n: int,
         total: np.ndarray) -> None:
    """Add twice the prediction by a vector in quarter samples, times the windows of corner `n`."""
    (p, q, c, d), (r, s, e, f) = _adjacent(y, x, down, right)
    side, below, beside = np.uintp(windows.shape[1]), np.uintp(n >> 1), np.uintp(n & 1)
    for row in range(side):
        for column in range(side):
            total[row, column] += windows[below, row] * windows[beside, column] * (
                np.int32(halves[p, q, c + row, d + column])
                + np.int32(halves[r, s, e + row, f + column]))
