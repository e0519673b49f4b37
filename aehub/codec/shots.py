"""A clip's frames as groups: where one ends, and which frames of it are coded together.

A group ends where the picture changes altogether, after ten seconds, or where it was asked to. Its
first frame stands alone; the others come in runs, each ending with the anchor that the frames of
the run, and the next anchor, are predicted from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from aehub.clips.clip import Clip
from aehub.clips.frames import Frame, Planes
from aehub.clips.timeline import with_next
from aehub.container.filehead import ceil_grid
from aehub.errors import InputError
from aehub.motion.coarse import coarse_cost
from aehub.motion.plane import Plane

# Frames from anchor to anchor at most; more where even the next anchor is much the same picture,
# perhaps fewer where it differs: by the mean difference in grey levels left once its blocks are
# moved.
SPAN, LONG_SPAN = 8, 16
_STEADY, _RESTLESS = 4.0, 1.5
SECONDS = 10
# A group may have to be decoded whole, to play it backward.
PREDICTED_PIXELS = 1 << 27
MOST_FRAMES = 1000
# The picture changed if motion explains less than this share of what a flat block leaves.
_CUT = 0.75
_CUT_REACH = 32
_QUIET = 4.0


@dataclass(frozen=True)
class Run:
    """Frames coded together.

    Attributes:
        frames: in the order of times.
        ends: the group ends with them.
        following: the frame after the last one.
        restless: anchors might better be nearer to each other.
    """

    frames: list[Frame]
    ends: bool
    following: Frame | None
    restless: bool = False


def group_frames(width: int, height: int, fps: float, wanted: int | None = None) -> int:
    """Most frames in a group for a picture size.

    Raises:
        InputError: `wanted` is not possible.
    """
    pixels = ceil_grid(width) * ceil_grid(height)
    most = max(1, min(round(SECONDS * fps), PREDICTED_PIXELS // pixels, MOST_FRAMES))
    if wanted is None:
        return most
    if not 1 <= wanted <= MOST_FRAMES:
        raise InputError(f"a group of {wanted} frames is not possible; give 1 to {MOST_FRAMES}.")
    return min(wanted, most)


def predicted_runs(clip: Clip, size: int) -> Iterator[Run]:
    """Groups of at most `size` frames: the first frame alone, then runs of one span each."""
    frames: list[Frame] = []
    anchor: Frame | None = None
    length = 0
    for frame, following in with_next(clip):
        frames.append(frame)
        length += 1
        ends = following is None or length >= size or is_cut(frame.planes, following.planes)
        if anchor is None:
            yield Run(frames, ends, following)
        elif ends or len(frames) == LONG_SPAN:
            yield from _spans(anchor, frames, ends, following)
        else:
            continue
        anchor, frames = (None, []) if ends else (frame, [])
        length = 0 if ends else length


def _spans(anchor: Frame, frames: list[Frame], ends: bool, following: Frame | None
           ) -> Iterator[Run]:
    """Frames after an anchor as one run or two."""
    left = _left(anchor, frames[-1])
    if len(frames) > SPAN and not (len(frames) == LONG_SPAN and left < _STEADY):
        part, rest = frames[:SPAN], frames[SPAN:]
        yield from _spans(anchor, part, False, rest[0])
        yield from _spans(part[-1], rest, ends, following)
    else:
        yield Run(frames, ends, following, len(frames) > 1 and left > _RESTLESS)


def _left(first: Frame, last: Frame) -> float:
    """Mean difference between two frames, once the blocks of the first are moved."""
    moved, _ = coarse_cost(_plane(last.planes.y), _plane(first.planes.y), reach=48)
    return moved


def is_cut(before: Planes, after: Planes) -> bool:
    """Whether another picture begins with `after`: its blocks are nowhere in `before`."""
    current, reference = _plane(after.y), _plane(before.y)
    for reach in (0, _CUT_REACH):  # most pictures look alike where they are
        moved, flat = coarse_cost(current, reference, reach)
        if moved <= max(_CUT * flat, _QUIET):
            return False
    return True


def _plane(luma: np.ndarray) -> Plane:
    rows, columns = (-n % 32 for n in luma.shape)
    padded = np.pad(luma, ((0, rows), (0, columns)), "edge")
    return Plane(torch.from_numpy(padded).float())
