"""Pixel art as a palette and an index into it for each pixel; index 0 is the background.

A sprite has few colours, and its animation has the same ones: in the walk cycles that
`sprite-motion` is trained on, 99.7 % of the pixels have a colour of the front-facing still.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_COLOURS = 128
"""Of a palette, the background included."""
BACKGROUND = np.array([255, 255, 255], np.uint8)
"""Colour of the background: white."""


class IndexedPicture(NamedTuple):
    """A picture with a palette.

    Attributes:
        indices: uint8 [H, W], into the palette; 0 is the background.
        palette: uint8 [K, 3]; the first colour is the background.
    """

    indices: np.ndarray
    palette: np.ndarray


def opaque_mask(picture: np.ndarray) -> np.ndarray:
    """The mask of pixels that are no background, bool [H, W].

    Args:
        picture: uint8 [H, W, 4], opaque from alpha 128 on, or [H, W, 3] on white.
    """
    if picture.shape[-1] == 4:
        return np.asarray(picture[..., 3] >= 128)
    return np.asarray((picture != BACKGROUND).any(-1))


def to_indexed(picture: np.ndarray) -> IndexedPicture:
    """A picture indexed by its own colours; more than `MAX_COLOURS` are reduced by median cut.

    Args:
        picture: uint8 [H, W, 3] on white, or [H, W, 4].
    """
    mask = opaque_mask(picture)
    colours = picture[mask][:, :3]
    if not len(colours):
        return IndexedPicture(np.zeros(mask.shape, np.uint8), BACKGROUND[None].copy())
    palette, inverse = np.unique(colours, axis=0, return_inverse=True)
    if len(palette) > MAX_COLOURS - 1:
        palette, inverse = median_cut(colours, MAX_COLOURS - 1)
    indices = np.zeros(mask.shape, np.uint8)
    indices[mask] = inverse.ravel() + 1
    return IndexedPicture(indices, np.concatenate([BACKGROUND[None], palette]).astype(np.uint8))


def median_cut(colours: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(palette uint8 [K, 3] of at most `most` colours, index of each of the pixels [N, 3])."""
    strip = Image.fromarray(colours[None].astype(np.uint8))
    reduced = strip.quantize(most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)
    used, indices = np.unique(np.asarray(reduced)[0], return_inverse=True)
    return palette[used], indices


def luma(colours: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of colours [..., 3], 0..255."""
    return np.asarray(colours @ np.array([0.299, 0.587, 0.114]))


def pack_rgb(colours: np.ndarray) -> np.ndarray:
    """Colours as integers 0xRRGGBB, uint8 [..., 3] -> int32 [...]."""
    return np.asarray(colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32))


def unpack_rgb(numbers: np.ndarray) -> np.ndarray:
    """The inverse of `pack_rgb`."""
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], -1).astype(np.uint8)


def nearest_index(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The palette index of the nearest colour of each pixel, int64 [...].

    Args:
        picture: uint8 [..., 3] on white.
        palette: uint8 [K, 3].
    """
    colours, inverse = np.unique(pack_rgb(picture), return_inverse=True)
    distance = unpack_rgb(colours)[:, None].astype(np.int64) - palette.astype(np.int64)
    indices = np.square(distance).sum(-1).argmin(1)[inverse]
    return np.asarray(indices.reshape(picture.shape[:-1]))
