"""Scaling of pictures: means of areas down, Lanczos interpolation up.

What codecs that decode in one size only are scaled by, and what learned scaling is compared with.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from aehub.errors import InputError
from aehub.media.picture import Picture

SCALES = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(2))
"""Sizes of decoded pictures, relative to those of the file."""
_LOBES = 3


def check_scale(value: Any) -> Fraction:
    """Return one of `SCALES`, given as a number or a text such as "1/2".

    Raises:
        InputError: it is none of them.
    """
    try:
        scale = Fraction(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        scale = Fraction(0)
    if isinstance(value, bool) or scale not in SCALES:
        raise InputError(f"scale is {str(value)[:40]!r}; give {', '.join(map(str, SCALES[:-1]))} "
                         f"or {SCALES[-1]}.")
    return scale


def scaled_size(size: tuple[int, int], scale: Fraction) -> tuple[int, int]:
    """(width, height) of a scaled picture; sides at 1/n are rounded up."""
    width, height = (-(-n * scale.numerator // scale.denominator) for n in size)
    return width, height


def scaled(picture: Picture, scale: Fraction, corner: tuple[int, int] = (0, 0)) -> Picture:
    """The picture at one of `SCALES`; `corner` as for `downscale`."""
    if scale > 1:
        return upscale(picture)
    return picture if scale == 1 else downscale(picture, scale.denominator, corner)


@lru_cache
def lanczos_taps() -> np.ndarray:
    """Taps [6] of the sample a quarter of a sample before position 0, from position -3 on.

    That of a quarter after has them reversed, from position -2 on.
    Source: Duchon 1979, "Lanczos filtering in one and two dimensions", three lobes, sum 1.
    """
    distance = np.arange(-_LOBES, _LOBES) + 0.25
    taps = np.sinc(distance) * np.sinc(distance / _LOBES)
    return np.asarray(taps / taps.sum())


def upscale(picture: Picture) -> Picture:
    """Double both sides by Lanczos interpolation; borders repeat."""
    width, height = picture.size
    shapes = picture.format.shapes((2 * width, 2 * height))
    low, high = picture.format.lowest, picture.format.lowest + picture.format.peak
    planes = []
    for plane, (rows, columns) in zip(picture, shapes, strict=True):
        doubled = _doubled(_doubled(plane.astype(np.float64)).T).T[:rows, :columns]
        planes.append(np.floor(doubled + 0.5).clip(low, high).astype(plane.dtype))
    return Picture(planes, picture.format)


def _doubled(plane: np.ndarray) -> np.ndarray:
    """[H, W] -> [2 H, W]."""
    rows, taps = len(plane), lanczos_taps()
    padded = np.pad(plane, ((_LOBES, _LOBES), (0, 0)), "edge")
    doubled = np.empty((2 * rows, plane.shape[1]))
    for phase, own in enumerate((taps, taps[::-1])):
        doubled[phase::2] = sum(tap * padded[phase + k:phase + k + rows]
                                for k, tap in enumerate(own))
    return doubled


def halve(picture: Picture) -> Picture:
    """Halve both sides, which are even in every plane, by Lanczos' filter: as video is scaled."""
    return Picture([np.asarray(Image.fromarray(plane).resize(
        (plane.shape[1] // 2, plane.shape[0] // 2), Image.Resampling.LANCZOS))
        for plane in picture], picture.format)


def downscale(picture: Picture, n: int, corner: tuple[int, int] = (0, 0)) -> Picture:
    """Means of areas of n x n samples; what is cut off by a border counts for the rest of its area.

    Args:
        picture: of any format.
        n: samples along a side.
        corner: (x, y) of the picture in the grid of areas, in samples of the first plane.
    """
    planes = []
    shapes = picture.format.shapes(scaled_size(picture.size, Fraction(1, n)))
    for plane, form, (rows, columns) in zip(picture, picture.format.planes, shapes, strict=True):
        sums, counts = plane.astype(np.int64), np.ones(1)
        for axis, first in ((0, corner[1] // form.down), (1, corner[0] // form.across)):
            begins = np.unique(np.append(0, np.arange(-first % n, plane.shape[axis], n)))
            sums = np.add.reduceat(sums, begins, axis)
            sizes = np.diff(np.append(begins, plane.shape[axis]))
            counts = np.multiply.outer(counts, sizes)
        means = np.floor(sums / counts[0] + 0.5).astype(plane.dtype)
        planes.append(np.ascontiguousarray(means[:rows, :columns]))
    return Picture(planes, picture.format)
