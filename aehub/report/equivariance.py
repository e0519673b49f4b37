"""An edit laid open: a picture before and after it, and how exactly the file turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from aehub.api.compress import open as open_archive
from aehub.api.edit import edit
from aehub.editing.operations import Operation, Trim, Turn, element
from aehub.editing.via_pixels import turn_planes
from aehub.media.colour import to_rgb
from aehub.media.picture import Colour, Planes

SAMPLED_FRAMES = 4
"""Frames from the beginning that are decoded twice: enough for a number, quick to wait for."""
DIFFERENCE_GAIN = 64
"""How much brighter a difference is shown: the largest there is, one level, must be seen."""


@dataclass(frozen=True)
class EquivarianceCheck:
    """What an edit did.

    Attributes:
        before: first picture of the file, uint8 [H, W, 3].
        after: first picture of the edited file, uint8 [H', W', 3].
        difference: of the last sampled frame, turned before and after decoding, times
            `DIFFERENCE_GAIN`.
        max_error: largest difference of two values in the sampled frames, in steps of 255.
        differing_share: share of the values that differ at all.
    """

    before: np.ndarray
    after: np.ndarray
    difference: np.ndarray
    max_error: int
    differing_share: float


def check_equivariance(
    original: Path, edited: Path, operations: Sequence[Operation]
) -> EquivarianceCheck:
    """Decode a little of both files and compare.

    Raises:
        AEHubError: one of them cannot be decoded.
    """
    turns = [operation for operation in operations if isinstance(operation, Turn)]
    before, colour = _sample(original, [Trim(f":{SAMPLED_FRAMES}f")])
    found, _ = _sample(original, [Trim(f":{SAMPLED_FRAMES}f"), *turns])
    wanted = [turn_planes(planes, element(turns)) for planes in before]
    distances = [[np.abs(a.astype(np.int16) - b) for a, b in zip(one, two, strict=True)]
                 for one, two in zip(wanted, found, strict=True)]
    flat = np.concatenate([plane.ravel() for planes in distances for plane in planes])
    after, _ = _sample(edited, [Trim(":1f")])
    return EquivarianceCheck(
        before=to_rgb(before[0], colour), after=to_rgb(after[0], colour),
        difference=_error_image(distances[-1]), max_error=int(flat.max()),
        differing_share=float((flat > 0).mean()))


def _sample(path: Path, operations: Sequence[Operation]) -> tuple[list[Planes], Colour]:
    """The first frames of a file after an edit, decoded; and their colour."""
    stream = BytesIO()
    edit(path, stream, operations)
    stream.seek(0)
    with open_archive(stream) as archive:
        return [archive.planes(number) for number in range(len(archive))], archive.info.colour


def _error_image(distances: Sequence[np.ndarray]) -> np.ndarray:
    """Differences of the three planes as one grey picture."""
    luma, *chroma = distances
    height, width = luma.shape
    whole = luma.copy()
    for plane in chroma:
        finer = plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
        whole = np.maximum(whole, finer)
    grey = np.minimum(DIFFERENCE_GAIN * whole, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
