"""The model's cell of 64x64 pixels, and how characters of other sizes and places get into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aehub.animate.cutout import LEAST_HEIGHT, Cutout
from aehub.models.pixelart import BACKGROUND, numbered, opaque
from aehub.models.still import SIDE

FEET = (62, 63, 64)
"""Rows below the feet, as shoes are drawn; bare ones first."""
MIDDLE = SIDE // 2
# Heights of characters in the cell: what most have, and the largest that are not made smaller.
_HEIGHT, _TALLEST = 51, 60
_FRACTIONS = (1, 2, 4)
# Frames of a cell are at most so many times as large as the model's.
_LARGEST = 16


@dataclass(frozen=True)
class Cell:
    """A character in the model's cell.

    Attributes:
        picture: uint8 [64, 64, 4]; alpha is 0 or 255.
        shrink: pixels of the still for one of the model's, each way.
        grow: pixels of the model's for one of the still's.
        is_rough: whether it was enlarged by no whole factor.
        notes: sentences about what was done to the still.
    """

    picture: np.ndarray
    shrink: int = 1
    grow: int = 1
    is_rough: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def drawn(cls, still: np.ndarray) -> Cell:
        """The cell of a still that the model drew, uint8 [64, 64, 3] on white."""
        return cls(_covered(still, opaque(still)))

    @property
    def side(self) -> int:
        """Pixels of a side of what comes back."""
        return SIDE // self.grow * self.shrink

    def restored(self, frames: np.ndarray) -> np.ndarray:
        """Frames [T, 64, 64, 4] in the size of the still's pixels."""
        frames = frames[:, self.grow // 2::self.grow, self.grow // 2::self.grow]
        return frames.repeat(self.shrink, 1).repeat(self.shrink, 2)


@dataclass(frozen=True)
class Figure:
    """A character in the size that the model draws, not yet in its place.

    Attributes:
        picture: uint8 [h, w, 4], no larger than the character.
        shrink, grow, is_rough, notes: as in `Cell`.
    """

    picture: np.ndarray
    shrink: int
    grow: int
    is_rough: bool
    notes: tuple[str, ...]

    def at(self, feet: int, middle: int) -> Cell:
        """The cell with the character standing on row `feet`, its middle at column `middle`."""
        cell = np.tile(np.array([*BACKGROUND, 0], np.uint8), (SIDE, SIDE, 1))
        height, width = self.picture.shape[:2]
        top, left = feet - height, middle - width // 2
        rows, columns = slice(max(0, top), feet), slice(max(0, left), max(0, left + width))
        cell[rows, columns] = self.picture[max(0, -top):, max(0, -left):][:, :SIDE - max(0, left)]
        return Cell(cell, self.shrink, self.grow, self.is_rough, self.notes)


def figures(cut: Cutout) -> Iterator[Figure]:
    """A character in all the sizes that it may be meant to have, the likeliest first.

    A pixel of pixel art is a square block of whole pixels; then the character is taken as it is,
    or doubled, if that is a height that the model knows. Otherwise the whole picture may have been
    resized, cell and all; or the character was drawn in a size of its own.
    """
    block = _block(cut)
    picture = _covered(cut.colours, cut.shown)[block // 2::block, block // 2::block]
    height, found = len(picture), False
    if height <= _TALLEST:
        grow = min((n for n in _FRACTIONS if n * height <= _TALLEST),
                   key=lambda n: abs(n * height - _HEIGHT))
        yield Figure(picture.repeat(grow, 0).repeat(grow, 1), min(block, _LARGEST), grow, False,
                     cut.notes)
        found = True
    times = cut.canvas[0] / block / SIDE
    if cut.canvas[0] == cut.canvas[1] and _HEIGHT * 0.8 <= height / times <= SIDE and times != 1:
        yield _resized(cut, times * block)
        found = True
    if not found:
        yield _resized(cut, height * block / _HEIGHT)


def _resized(cut: Cutout, times: float) -> Figure:
    """The character 1 / `times` as large, its pixels those of its picture resized as a whole."""
    rows, columns = (_places(begin, length, full, times) for begin, length, full in zip(
        (cut.top, cut.left), cut.shown.shape, cut.canvas, strict=True))
    picture = _covered(cut.colours, cut.shown)[rows][:, columns]
    whole = min(int(times), _LARGEST) if times == int(times) else 1
    note = (f"The character is {cut.shown.shape[0]} pixels high; it walks {len(rows)} high, as the "
            "model draws.",) if times != int(times) else ()
    return Figure(picture, whole, 1, times < 1, (*cut.notes, *note))


def _places(begin: int, length: int, full: int, times: float) -> np.ndarray:
    """Which of `length` pixels from `begin` on are left of a side of `full` pixels."""
    middles = ((np.arange(max(1, round(full / times))) + 0.5) * times).astype(int) - begin
    return middles[(middles >= 0) & (middles < length)]


def _block(cut: Cutout) -> int:
    """Side of the square blocks, all of one colour, that a character is made of."""
    pixels = np.where(cut.shown, numbered(cut.colours), -1)
    ends = [len(pixels), pixels.shape[1], *(edge for axis in (0, 1) for edge in 1 + np.flatnonzero(
        (np.diff(pixels, axis=axis) != 0).any(1 - axis)))]
    common = int(np.gcd.reduce(ends))
    most = len(pixels) // LEAST_HEIGHT
    return max(n for n in range(1, most + 1) if common % n == 0)


def _covered(colours: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4]: the colours where they are shown, clear white elsewhere."""
    picture = np.where(shown[..., None], colours, BACKGROUND)
    return np.concatenate([picture, np.where(shown, 255, 0)[..., None]], -1).astype(np.uint8)
