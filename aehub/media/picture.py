"""Pictures as the codecs take them: 4:2:0 planes, frames with times, H.273 colour tags."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np


class Planes(NamedTuple):
    """One picture in 4:2:0: `y` uint8 [H, W]; `u`, `v` uint8 [ceil(H/2), ceil(W/2)].

    The values are the source's own, limited or full range: see `Colour`.
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in luma samples."""
        return self.y.shape[1], self.y.shape[0]


class Frame(NamedTuple):
    """A picture with its presentation time and duration in ticks of `ClipInfo.time_base`.

    `time` counts from the first frame. A `duration` of None lasts until the next frame, and for
    the last frame `ClipInfo.frame_ticks`.
    """

    planes: Planes
    time: int
    duration: int | None = None


class Colour(NamedTuple):
    """Colour description of the planes, as H.273 code points (the numbers video files carry).

    `matrix` 1 is BT.709, 5 and 6 are BT.601, 2 is unspecified: BT.601 here, for
    `colour.resolve_unspecified` has put 1 where players assume BT.709.
    """

    matrix: int = 2
    full_range: bool = False
    primaries: int = 2
    transfer: int = 2


def add_note(notes: list[str], sentence: str) -> None:
    """Append a sentence to `notes` unless it is there already."""
    if sentence not in notes:
        notes.append(sentence)


@dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip, known before its frames are read.

    Attributes:
        width: shown width in luma samples, after rotation.
        height: shown height in luma samples, after rotation.
        fps: nominal frames per second, e.g. 30000/1001.
        time_base: seconds per tick of `Frame.time`.
        colour: meaning of the planes.
        pixel_aspect: width of a pixel over its height.
        n_frames: expected number of frames, None if the file states none; a hint only.
        source_bytes: size of the input file, None for arrays and pipes.
        plays: number of times an animation is played, 0 for ever.
        notes: sentences about changes made while reading (10-bit to 8, alpha over white, ...).
    """

    width: int
    height: int
    fps: Fraction
    time_base: Fraction
    colour: Colour = Colour()
    pixel_aspect: Fraction = Fraction(1)
    n_frames: int | None = None
    source_bytes: int | None = None
    plays: int = 0
    notes: tuple[str, ...] = ()

    @property
    def frame_ticks(self) -> int:
        """Duration of a frame at the nominal rate in ticks, at least 1."""
        return max(1, round(1 / (self.fps * self.time_base)))
