"""Pixel art as a palette and a place in it for each pixel; place 0 is the background.

A sprite has few colours, and its animation has the same ones: over the walk cycles that
`sprite-motion` learns from, 99.7 % of the pixels have a colour of the front-facing still.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_COLOURS = 128
"""Slots of a palette, the background included."""
BACKGROUND = np.array([255, 255, 255], np.uint8)


class IndexedPicture(NamedTuple):
    """A picture by palette.

    Attributes:
        places: uint8 [H, W], in the palette; 0 is the background.
        palette: uint8 [K, 3]; the first colour is the background's.
    """

    places: np.ndarray
    palette: np.ndarray


def opaque_mask(picture: np.ndarray) -> np.ndarray:
    """Which pixels are no background: bool [H, W].

    Args:
        picture: uint8 [H, W, 4], opaque from alpha 128 on, or [H, W, 3] on white.
    """
    if picture.shape[-1] == 4:
        return np.asarray(picture[..., 3] >= 128)
    return np.asarray((picture != BACKGROUND).any(-1))


def to_indexed(picture: np.ndarray) -> IndexedPicture:
    """A picture by its own colours; more than fit are merged by median cut.

    Args:
        picture: uint8 [H, W, 3] on white, or [H, W, 4].
    """
    shown = opaque_mask(picture)
    colours = picture[shown][:, :3]
    if not len(colours):
        return IndexedPicture(np.zeros(shown.shape, np.uint8), BACKGROUND[None].copy())
    palette, places = np.unique(colours, axis=0, return_inverse=True)
    if len(palette) > MAX_COLOURS - 1:
        palette, places = median_cut(colours, MAX_COLOURS - 1)
    index = np.zeros(shown.shape, np.uint8)
    index[shown] = places.ravel() + 1
    return IndexedPicture(index, np.concatenate([BACKGROUND[None], palette]).astype(np.uint8))


def median_cut(colours: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(at most so many colours uint8 [K, 3], place of each of the pixels [N, 3] among them)."""
    strip = Image.fromarray(colours[None].astype(np.uint8))
    found = strip.quantize(most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.array(found.getpalette(), np.uint8).reshape(-1, 3)
    used, places = np.unique(np.asarray(found)[0], return_inverse=True)
    return palette[used], places


def luma(colours: np.ndarray) -> np.ndarray:
    """Luma of colours [..., 3], 0..255."""
    return np.asarray(colours @ np.array([0.299, 0.587, 0.114]))


def pack_rgb(colours: np.ndarray) -> np.ndarray:
    """One number for each colour, uint8 [..., 3] -> int32 [...], in the order of the channels."""
    return np.asarray(colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32))


def unpack_rgb(numbers: np.ndarray) -> np.ndarray:
    """The inverse of `pack_rgb`."""
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], -1).astype(np.uint8)


def nearest_index(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The place of each pixel's nearest colour: int64 of the picture's shape without colours.

    Args:
        picture: uint8 [..., 3] on white.
        palette: uint8 [K, 3].
    """
    colours, places = np.unique(pack_rgb(picture), return_inverse=True)
    distance = unpack_rgb(colours)[:, None].astype(np.int64) - palette.astype(np.int64)
    found = np.square(distance).sum(-1).argmin(1)[places]
    return np.asarray(found.reshape(picture.shape[:-1]))
