"""The eight orientations of a picture: rotations by quarter turns, and flips (the group D4).

Element `g` turns a plane by a transpose (bit 2 of `g`), then a flip of the rows (bit 1), then a
flip of the columns (bit 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aehub.media.picture import Picture

ORDER = 8
"""Number of elements of D4."""
IDENTITY = 0
FLIPS_COLUMNS, FLIPS_ROWS, TRANSPOSES = 1, 2, 4
"""Bits of an element."""
# Rotations are clockwise and flips mirror as seen on the screen.
ELEMENTS = {
    "identity": 0,
    "flip-horizontal": 1,
    "flip-vertical": 2,
    "rotate-180": 3,
    "transpose": 4,
    "rotate-90": 5,
    "rotate-270": 6,
    "transverse": 7,
}


def turn(plane: Any, g: int) -> Any:
    """Turn the last two axes of an array or tensor [..., H, W] by element `g`."""
    is_array = isinstance(plane, np.ndarray)
    if g & TRANSPOSES:
        plane = plane.swapaxes(-1, -2)
    if g & FLIPS_ROWS:
        plane = plane[..., ::-1, :] if is_array else plane.flip(-2)
    if g & FLIPS_COLUMNS:
        plane = plane[..., ::-1] if is_array else plane.flip(-1)
    return plane


def turn_picture(picture: Picture, g: int) -> Picture:
    """Turn all planes of a picture by element `g`."""
    form = picture.format.transposed if g & TRANSPOSES else picture.format
    return Picture((np.ascontiguousarray(turn(plane, g)) for plane in picture), form)


def _composition() -> np.ndarray:
    square = np.arange(4).reshape(2, 2)
    elements = {turn(square, g).tobytes(): g for g in range(ORDER)}
    return np.array([[elements[turn(turn(square, first), then).tobytes()] for first in range(ORDER)]
                     for then in range(ORDER)])


COMPOSITION = _composition()
"""int64 [8, 8]: at [then, first] the element that turns by `first`, then by `then`."""


def compose(then: int, first: int) -> int:
    """Return the element that turns by `first`, then by `then`."""
    return int(COMPOSITION[then, first])


def inverse(g: int) -> int:
    """Return the element that undoes `g`."""
    return int(np.flatnonzero(COMPOSITION[g] == IDENTITY)[0])
