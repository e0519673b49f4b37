"""Single frames without loss: the original, what came back, and the difference."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from aehub.api import open as open_archive
from aehub.clips.clip import open_clip
from aehub.clips.colour import to_rgb
from aehub.clips.frames import Planes
from aehub.clips.trim import Trim
from aehub.errors import InputError

KINDS = ("difference", "original", "reconstruction")
GAIN = 8
"""How much brighter an error is shown; errors of a few steps in 255 are invisible as they are."""


def still(original: Path, compressed: Path, number: int, kind: str = "difference") -> bytes:
    """One frame as PNG.

    Args:
        original: the clip that was compressed, losslessly.
        compressed: its `.aev` file.
        number: frame, counted from 0.
        kind: "original", "reconstruction", or "difference": the distance of the two in RGB
            times `GAIN`, black where they agree.

    Raises:
        InputError: the frame or the kind does not exist.
    """
    if kind not in KINDS:
        raise InputError(f"the still {kind!r} is not known; ask for {', '.join(KINDS)}.")
    with open_archive(compressed) as archive:
        if not 0 <= number < len(archive):
            raise InputError(f"frame {number} does not exist; give 0 to {len(archive) - 1}.")
        colour = archive.info.colour
        if kind == "original":
            return png(to_rgb(_frame(original, number), colour))
        result = archive[number]
    if kind == "reconstruction":
        return png(result)
    return png(difference(to_rgb(_frame(original, number), colour), result))


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """|before - after| times `GAIN`: uint8 [H, W, 3] of two such pictures."""
    distance = np.abs(before.astype(np.int16) - after)
    return np.minimum(distance * GAIN, 255).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3], as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _frame(path: Path, number: int) -> Planes:
    part = Trim(Fraction(number), Fraction(number + 1), start_in_frames=True, stop_in_frames=True)
    with open_clip(path, trim=part) as clip:
        return next(iter(clip)).planes
