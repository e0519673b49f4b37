"""Colours, textures and motion of a clip in integers that no rotation or flip changes.

    joint histogram of luma and chroma ──┐
    local binary patterns of each plane ─┼─> counts, summed over the pictures ─> square roots
    differences between pictures ────────┘

Each pattern is counted with its eight orientations as one, and sums of integers have no order, so a
turned clip gives the same numbers, bit by bit. The square roots of two histograms have the sum of
their roots of products as inner product (Bhattacharyya's affinity).

Source: Ojala et al. 2002, "Multiresolution gray-scale and rotation invariant texture
classification with local binary patterns"; Arandjelović and Zisserman 2012 for the square roots.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import numpy as np

from aehub.media.orientation import FLIPS_COLUMNS, FLIPS_ROWS, IDENTITY, inverse, turn, turn_picture
from aehub.media.picture import Picture
from aehub.retrieval.sampling import SmallPicture

_LUMA_KNOTS = (0, 48, 96, 144, 192, 255)
_CHROMA_KNOTS = (0, 64, 116, 122, 126, 130, 134, 140, 192, 255)
"""Levels at which bins of colours are centred; chroma is close to grey (128) in most pictures."""
_WEIGHT = 16
"""Weights of a level in its two bins sum to this."""
_BLOCK = 1 << 14
"""Samples of chroma whose histogram is counted at once, in 13 MB."""
_DIFFERENCES = (1, 2, 4, 8, 16, 32, 64)
"""Levels between the bins of differences between two pictures."""
_CONTRAST = 1
"""Levels by which a neighbour must be brighter, and not only noisier, to count in a pattern."""
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""Neighbours of a sample, clockwise from a corner."""


class Appearance:
    """Counts over the pictures of a clip, which are added in the order of their times."""

    def __init__(self) -> None:
        self._colours: np.ndarray | None = None
        self._patterns: list[np.ndarray] = []
        self._motion: list[np.ndarray] = []
        self._last: Picture | None = None

    def add(self, small: SmallPicture) -> None:
        """Count a picture, and the differences from the one before it."""
        # As it is in the clip, so that differences are of samples in the same places.
        picture = turn_picture(small.picture, inverse(small.turn))
        luma, blue, red = picture
        colours, chroma = _colours(picture), _patterns(blue) + _patterns(red)
        last, self._last = self._last, picture
        self._patterns = _added(self._patterns, [_patterns(luma), chroma])
        self._colours = colours if self._colours is None else self._colours + colours
        if last is not None and last.size == picture.size:
            change = np.abs(luma.astype(np.int16) - last[0])
            bins = np.bincount(np.searchsorted(_DIFFERENCES, change.ravel(), "right"),
                               minlength=len(_DIFFERENCES) + 1)
            self._motion = _added(self._motion, [bins, _patterns(change)])

    def parts(self) -> list[np.ndarray | None]:
        """Colours, patterns of luma and of chroma, differences and their patterns.

        Each is float64 of length 1; None for one that was not seen, such as differences of a
        single picture.
        """
        nothing: list[np.ndarray | None] = [None] * 2
        counts = [self._colours, *(self._patterns or nothing), *(self._motion or nothing)]
        return [np.sqrt(one / one.sum()) if one is not None and one.any() else None
                for one in counts]


def _added(sums: list[np.ndarray], counts: list[np.ndarray]) -> list[np.ndarray]:
    return [a + b for a, b in zip(sums, counts, strict=True)] if sums else counts


def _colours(picture: Picture) -> np.ndarray:
    """int64 [bins]: joint histogram, a sample of luma with the chroma sample that covers it."""
    # Chroma samples at the border of odd sides cover less: count these sides from both ends.
    odd = [bit for bit, side in ((FLIPS_COLUMNS, picture.size[0]), (FLIPS_ROWS, picture.size[1]))
           if side % 2]
    elements = {IDENTITY, *odd, sum(odd)}
    total = sum(_joint(*(turn(plane, g) for plane in picture)) for g in elements)
    return np.asarray(total).astype(np.int64).ravel() * (4 // len(elements))


def _joint(luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> np.ndarray:
    """float64 [bins of luma, bins of chroma], of which floats hold the integers exactly."""
    width, columns = luma.shape[1], blue.shape[1]
    total = np.zeros((len(_LUMA_KNOTS), len(_CHROMA_KNOTS)**2))
    n_rows = max(1, _BLOCK // columns)
    for top in range(0, len(blue), n_rows):
        rows = slice(top, top + n_rows)
        part = luma[2 * top:2 * (top + n_rows)]
        levels = np.pad(_weights(_LUMA_KNOTS)[part], ((0, len(part) % 2), (0, width % 2), (0, 0)))
        levels = levels.reshape(-1, 2, columns, 2, len(_LUMA_KNOTS)).sum((1, 3))
        chroma = (_weights(_CHROMA_KNOTS)[blue[rows], :, None]
                  * _weights(_CHROMA_KNOTS)[red[rows], None, :])
        total += (levels.reshape(-1, len(_LUMA_KNOTS)).T
                  @ chroma.reshape(-1, len(_CHROMA_KNOTS)**2))
    return total


@lru_cache
def _weights(knots: tuple[int, ...]) -> np.ndarray:
    """float64 [256, bins]: integer weights of a level in the two bins next to it."""
    table = np.zeros((256, len(knots)))
    for level in range(256):
        left = min(bisect_right(knots, level), len(knots) - 1) - 1
        share = _WEIGHT * (level - knots[left]) // (knots[left + 1] - knots[left])
        table[level, left:left + 2] = _WEIGHT - share, share
    return table


def _patterns(plane: np.ndarray) -> np.ndarray:
    """int64 [classes]: patterns of the neighbours that are brighter than a sample."""
    plane = plane.astype(np.int16)
    height, width = plane.shape
    if min(height, width) < 3:
        return np.zeros(_classes().max() + 1, np.int64)
    centre = plane[1:-1, 1:-1] + _CONTRAST
    codes = np.zeros(centre.shape, np.int64)
    for bit, (row, column) in enumerate(_AROUND):
        other = plane[1 + row:height - 1 + row, 1 + column:width - 1 + column]
        codes |= (other > centre).astype(np.int64) << bit
    return np.bincount(_classes()[codes.ravel()], minlength=_classes().max() + 1)


@lru_cache
def _classes() -> np.ndarray:
    """int64 [256]: number of a pattern's class, its eight orientations."""
    found: dict[int, int] = {}
    return np.array([found.setdefault(min(_orientations(code)), len(found))
                     for code in range(256)])


def _orientations(code: int) -> list[int]:
    bits = [code >> n & 1 for n in range(8)]
    # Backward from the first corner is the transposed pattern.
    rings = [ring[n:] + ring[:n] for ring in (bits, [bits[-n % 8] for n in range(8)])
             for n in (0, 2, 4, 6)]
    return [sum(bit << n for n, bit in enumerate(ring)) for ring in rings]
