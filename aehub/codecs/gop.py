"""A clip's frames as groups: where one ends, and which frames of it are coded together.

A group ends where the picture changes altogether, after ten seconds, or where it was asked to. Its
first frame stands alone; the others come in runs, each ending with the anchor that the frames of
the run, and the next anchor, are predicted from.

How the frames of a group depend on each other, and what that does to their quality.

    frame      0  1  2  3  4  5  6  7  8 ... 16
    level      I  3  2  3  1  3  2  3  0      0

Anchors (level 0) are predicted from the anchor before; frames between two anchors from both sides,
the middle one first. What many frames depend on is coded better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream.file_header import ceil_grid
from aehub.bitstream.group_header import MiniGopRuns, References, hierarchical_references
from aehub.codecs.d4.entropy_model import N_DISTANCE_CLASSES
from aehub.codecs.d4.motion.search import Plane, coarse_cost
from aehub.errors import InputError
from aehub.media.clip import Clip
from aehub.media.picture import Frame, Planes
from aehub.media.timestamps import lookahead

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
    for frame, following in lookahead(clip):
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


# Below the quality of a frame that stands alone, by level; 2.8 is one QP of H.264. Chosen on
# training clips.
OFFSETS = (8.0, 14.0, 18.0, 22.0)

# How far below the group's quality a frame's can be said to be, in half points.
LOWER_STEPS = 64

Quality = TypeVar("Quality", float, Tensor)


def kind_of(distance: int) -> int:
    """The kind that the networks are told: log2 of the distance to the nearest reference, cut."""
    return min(distance.bit_length() - 1, N_DISTANCE_CLASSES - 1)


def quality_of(quality: Quality, level: int) -> Quality:
    """The quality of a predicted frame at a level of the pyramid, in a group of `quality`."""
    lower = quality - OFFSETS[min(level, len(OFFSETS) - 1)]
    return torch.clamp(lower, min=0) if isinstance(lower, Tensor) else max(lower, 0.0)


def lowered(quality: float, lower: int) -> float:
    """The quality of a frame `lower` half points below that of its group."""
    return max(0.0, round(quality - lower / 2, 2))


def lower_of(level: int | None) -> int:
    """The usual `lower` of a predicted frame at a level of the pyramid; None: it stands alone."""
    return 0 if level is None else round(2 * OFFSETS[min(level, len(OFFSETS) - 1)])


@dataclass(frozen=True)
class Place:
    """Where a frame stands in its group; `level` is None if it stands alone."""

    number: int
    references: tuple[int, ...]
    level: int | None


class Pyramid:
    """The structure of a group while it grows, one anchor after another."""

    def __init__(self) -> None:
        self._spans: list[int] = []
        self.n_frames = 0

    def fork(self) -> Pyramid:
        """The same so far, to be extended in another way."""
        other = Pyramid()
        other._spans, other.n_frames = list(self._spans), self.n_frames
        return other

    @property
    def references(self) -> References:
        """The references of all frames so far."""
        runs: MiniGopRuns = tuple((span, len(list(same))) for span, same in groupby(self._spans))
        return hierarchical_references(runs)

    def extend(self, n_frames: int) -> Iterator[Place]:
        """Add frames, the last of them an anchor; yields their places in coding order."""
        begin, self.n_frames = self.n_frames - 1, self.n_frames + n_frames
        if begin < 0:
            assert n_frames == 1
            yield Place(0, (), None)
            return
        self._spans.append(n_frames)
        yield Place(begin + n_frames, (begin,), 0)
        yield from _between(begin, begin + n_frames, 1)


def _between(first: int, last: int, level: int) -> Iterator[Place]:
    """Frames between two anchors, each before those that refer to it, earlier ones first."""
    if last - first > 1:
        middle = (first + last) // 2
        yield Place(middle, (first, last), level)
        yield from _between(first, middle, level + 1)
        yield from _between(middle, last, level + 1)
