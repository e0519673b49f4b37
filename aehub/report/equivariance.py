"""Pictures before and after an edit, and the equivariance error of its rotations and flips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from aehub.api.compress import open as open_archive
from aehub.api.edit import edit
from aehub.editing.operations import Operation, Trim, Turn, element, scale_of
from aehub.media.colour import to_rgb
from aehub.media.conversion import to_yuv420
from aehub.media.orientation import turn_picture
from aehub.media.picture import Colour, Picture
from aehub.media.scaling import upscale

SAMPLED_FRAMES = 4
"""Frames from the start that are decoded twice: enough for a number, and quick."""
DIFFERENCE_GAIN = 64
"""Factor on a displayed difference: an error of one grey level must be visible."""


@dataclass(frozen=True)
class EquivarianceCheck:
    """Pictures of an edit and its error.

    Attributes:
        before: first picture of the file, uint8 [H, W, 3].
        after: first picture of the edited file, uint8 [H', W', 3].
        difference: of the last sampled frame, edited before and after decoding, times
            `DIFFERENCE_GAIN`.
        max_error: largest difference of two samples in the sampled frames, of 255.
        differing_share: share of the samples that differ at all.
        interpolated: first picture of an edit that doubles the size, by Lanczos interpolation
            instead of the model; None for other edits.
    """

    before: np.ndarray
    after: np.ndarray
    difference: np.ndarray
    max_error: int
    differing_share: float
    interpolated: np.ndarray | None = None


def check_equivariance(
    original: Path, edited: Path, operations: Sequence[Operation]
) -> EquivarianceCheck:
    """Decode the start of both files and compare.

    The start of the original is cut out once, and no picture is decoded twice: without turns both
    orders are the same, and with turns alone the edited file begins with the sample.

    Raises:
        AEHubError: one of them cannot be decoded.
    """
    turns = [operation for operation in operations if isinstance(operation, Turn)]
    start = _edited(original, [Trim(f":{SAMPLED_FRAMES}f")])
    before, colour = _decoded(start)
    edited_first = _decoded(_edited(BytesIO(start), turns))[0] if turns else before
    decoded_first = [turn_picture(planes, element(turns)) for planes in before]
    distances = [[np.abs(a.astype(np.int16) - b) for a, b in zip(one, two, strict=True)]
                 for one, two in zip(decoded_first, edited_first, strict=True)]
    flat = np.concatenate([plane.ravel() for planes in distances for plane in planes])
    after = edited_first[0]
    if len(turns) < len(operations):
        after = _decoded(_edited(edited, [Trim(":1f")]))[0][0]
    interpolated = None
    if scale_of(operations) > 1:
        interpolated = to_rgb(upscale(decoded_first[0]), colour)
    return EquivarianceCheck(
        before=to_rgb(before[0], colour), after=to_rgb(after, colour),
        difference=_error_image(distances[-1]), max_error=int(flat.max()),
        differing_share=float((flat > 0).mean()), interpolated=interpolated)


def _edited(source: Path | BytesIO, operations: Sequence[Operation]) -> bytes:
    """Return the bytes of an edited file."""
    stream = BytesIO()
    edit(source, stream, operations)
    return stream.getvalue()


def _decoded(file: bytes) -> tuple[list[Picture], Colour]:
    """Return the frames of a file as 8-bit 4:2:0, and their colour."""
    with open_archive(BytesIO(file)) as archive:
        colour = archive.info.colour
        return [to_yuv420(archive.picture(n), colour) for n in range(len(archive))], colour


def _error_image(distances: Sequence[np.ndarray]) -> np.ndarray:
    """Merge differences of the three planes into one grey picture."""
    luma, *chroma = distances
    height, width = luma.shape
    merged = luma.copy()
    for plane in chroma:
        upsampled = plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
        merged = np.maximum(merged, upsampled)
    grey = np.minimum(DIFFERENCE_GAIN * merged, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
