"""How the frames of a group depend on each other, and what that does to their quality.

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

import torch
from torch import Tensor

from aehub.container.grouphead import References, Runs, pyramid
from aehub.models.scales import N_KINDS

# Below the quality of a frame that stands alone, by level; 2.8 is one QP of H.264. Chosen on
# training clips.
OFFSETS = (8.0, 14.0, 18.0, 22.0)

# How far below the group's quality a frame's can be said to be, in half points.
LOWER_STEPS = 64

Quality = TypeVar("Quality", float, Tensor)


def kind_of(distance: int) -> int:
    """The kind that the networks are told: log2 of the distance to the nearest reference, cut."""
    return min(distance.bit_length() - 1, N_KINDS - 1)


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
        runs: Runs = tuple((span, len(list(same))) for span, same in groupby(self._spans))
        return pyramid(runs)

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
