"""The beginning of a compressed file as a video that every browser plays."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

from aehub.api import iter_decompress
from aehub.edit.operations import Trim
from aehub.editing import edit
from aehub.inspection import info
from aehub.results import Step

SECONDS = 3
MOST_FRAMES = 96
LEAST_FRAMES = 8
"""As many are decoded of the largest picture."""
MOST_SAMPLES = 10_000_000
"""Of luma in all frames: a few seconds of work on a small machine."""


def moving_frames(width: int, height: int, fps: Fraction) -> int:
    """How many frames of such a clip are shown.

    Example:
        >>> moving_frames(256, 256, Fraction(25)), moving_frames(640, 360, Fraction(25))
        (75, 43)
    """
    affordable = max(LEAST_FRAMES, MOST_SAMPLES // (width * height))
    return max(1, min(affordable, MOST_FRAMES, round(SECONDS * fps)))


def iter_moving(packed: Path, video: Path) -> Generator[Step, None, int]:
    """Decode the first frames of an `.aev` file and write them as mp4; closing it stops the work.

    Args:
        packed: the file.
        video: to write.

    Returns:
        How many frames it has.

    Raises:
        AEHubError: the file cannot be decoded.
    """
    facts = info(packed)
    count = moving_frames(facts["width"], facts["height"], Fraction(facts["fps"]))
    part = video.with_suffix(".part.aev")
    try:
        edit(packed, part, [Trim(f":{count}f")])
        return (yield from iter_decompress(part, video)).frames
    finally:
        part.unlink(missing_ok=True)
