"""Group-of-pictures structure: where groups and mini-GOPs end, and hierarchical B-frames.

A group ends at a scene cut, after ten seconds, or at the length asked for. Its first frame is
intra; the others come in mini-GOPs, each ending with a key picture.

    frame           0  1  2  3  4  5  6  7  8 ... 16
    temporal layer  I  3  2  3  1  3  2  3  0      0

Key pictures (layer 0) are predicted from the key picture before; frames between two key pictures
are B-frames predicted from both sides, the middle one first. The more frames depend on a layer,
the higher its quality.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from aehub.bitstream.group_header import MiniGopRuns, References, hierarchical_references
from aehub.codecs.base import MiniGop
from aehub.codecs.block_matching import BLOCK, coarse, coarse_cost
from aehub.errors import InputError
from aehub.media.picture import YUV420, Frame, Picture
from aehub.media.timestamps import lookahead

# Frames of a mini-GOP at most: the long one in low motion, perhaps fewer than the usual in high
# motion. Motion is the mean difference, in grey levels, that is left between key pictures after
# block matching.
MINI_GOP, LONG_MINI_GOP = 8, 16
_LOW_MOTION, _HIGH_MOTION = 4.0, 1.5
# Samples of the block matching between key pictures.
_KEY_SEARCH_RANGE = 48
MAX_GROUP_SECONDS = 10
# Samples of the coded planes of a group: to play it backward, all of it may have to be decoded.
MAX_GROUP_SAMPLES = 1 << 27
MAX_GOP_FRAMES = 1000
# Scene cut: block matching leaves more than this share of the difference from flat blocks, and more
# than so many grey levels.
_CUT_RATIO, _CUT_LEVELS = 0.75, 4.0
_CUT_SEARCH_RANGE = 32
# Sides of the pictures that are matched are multiples of so many samples.
_GRID = 2 * BLOCK


def group_frames(coded_size: tuple[int, int], fps: float, wanted: int | None = None) -> int:
    """Most frames in a group for a size of the coded planes.

    Raises:
        InputError: `wanted` is not possible.
    """
    pixels = coded_size[0] * coded_size[1]
    most = max(1, min(round(MAX_GROUP_SECONDS * fps), MAX_GROUP_SAMPLES // pixels,
                      MAX_GOP_FRAMES))
    if wanted is None:
        return most
    if not 1 <= wanted <= MAX_GOP_FRAMES:
        raise InputError(
            f"a group of {wanted} frames is not possible; give 1 to {MAX_GOP_FRAMES}.")
    return min(wanted, most)


def split_into_groups(frames: Iterable[Frame], size: int
                      ) -> Generator[tuple[list[Frame], Frame | None], None, None]:
    """Split a clip into the groups of `split_into_mini_gops`.

    Yields:
        all frames of a group, and the frame after them. Split by itself, a group gives the same
        mini-GOPs as within its clip.
    """
    group: list[Frame] = []
    for frame, following, ends in _with_group_ends(frames, size):
        group.append(frame)
        if ends:
            yield group, following
            group = []


def _with_group_ends(frames: Iterable[Frame], size: int
                     ) -> Iterator[tuple[Frame, Frame | None, bool]]:
    """Each frame with the one after it, and whether a group of at most `size` frames ends."""
    length = 0
    after: np.ndarray | None = None
    for frame, following in lookahead(frames):
        length += 1
        before = _coarse_luma(frame.picture) if after is None else after
        after = None if following is None else _coarse_luma(following.picture)
        ends = after is None or length >= size or is_scene_cut(before, after)
        yield frame, following, ends
        length = 0 if ends else length


def split_into_mini_gops(frames: Iterable[Frame], size: int
                         ) -> Generator[MiniGop, None, None]:
    """Split a clip into groups of at most `size` frames: an intra frame, then mini-GOPs."""
    pending: list[Frame] = []
    key_picture: Frame | None = None
    for frame, following, ends in _with_group_ends(frames, size):
        pending.append(frame)
        if key_picture is None:
            yield MiniGop(pending, ends, following)
        elif ends or len(pending) == LONG_MINI_GOP:
            yield from _split(key_picture, pending, ends, following)
        else:
            continue
        key_picture, pending = (None, []) if ends else (frame, [])


def _split(key_picture: Frame, frames: list[Frame], ends: bool, following: Frame | None
           ) -> Iterator[MiniGop]:
    """Split the frames after a key picture into one mini-GOP or two."""
    motion, _ = coarse_cost(_coarse_luma(frames[-1].picture), _coarse_luma(key_picture.picture),
                            _KEY_SEARCH_RANGE)
    if len(frames) > MINI_GOP and not (len(frames) == LONG_MINI_GOP and motion < _LOW_MOTION):
        first, second = frames[:MINI_GOP], frames[MINI_GOP:]
        yield from _split(key_picture, first, False, second[0])
        yield from _split(first[-1], second, ends, following)
    else:
        yield MiniGop(frames, ends, following, len(frames) > 1 and motion > _HIGH_MOTION)


def is_scene_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Detect a scene cut: block matching does not predict one coarse plane from the other."""
    for search_range in (0, 8, _CUT_SEARCH_RANGE):  # most pairs match with little motion
        matched, flat = coarse_cost(after, before, search_range)
        if matched <= max(_CUT_RATIO * flat, _CUT_LEVELS):
            return False
    return True


def _coarse_luma(picture: Picture) -> np.ndarray:
    """The first plane in grey levels of 8 bits, as block matching takes it."""
    luma = np.pad(picture[0], [(0, -n % _GRID) for n in picture[0].shape], "edge")
    if picture.format.bits == 8 and not picture.format.signed:
        return coarse(luma)
    levels = luma.astype(np.float32) - picture.format.lowest
    return coarse(levels * np.float32(YUV420.peak / picture.format.peak))


@dataclass(frozen=True)
class FrameSlot:
    """Position of a frame in its group's structure.

    Attributes:
        number: in the order of times.
        references: numbers of the frames it refers to.
        temporal_layer: None for intra.
        is_reference: later frames may refer to it.
    """

    number: int
    references: tuple[int, ...]
    temporal_layer: int | None
    is_reference: bool = True


class HierarchicalGop:
    """Prediction structure of a group, extended by one mini-GOP after another."""

    def __init__(self) -> None:
        self._lengths: list[int] = []
        self.n_frames = 0

    def fork(self) -> HierarchicalGop:
        """Return an independent copy."""
        other = HierarchicalGop()
        other._lengths, other.n_frames = list(self._lengths), self.n_frames
        return other

    @property
    def references(self) -> References:
        """References of all frames so far."""
        runs: MiniGopRuns = tuple(
            (length, len(list(same))) for length, same in groupby(self._lengths))
        return hierarchical_references(runs)

    def extend(self, n_frames: int) -> Iterator[tuple[FrameSlot, ...]]:
        """Add a mini-GOP of `n_frames`; yields its temporal layers in coding order."""
        begin, self.n_frames = self.n_frames - 1, self.n_frames + n_frames
        if begin < 0:
            assert n_frames == 1
            yield (FrameSlot(0, (), None),)
            return
        self._lengths.append(n_frames)
        yield from temporal_layers(begin, begin + n_frames)


def temporal_layers(first: int, last: int) -> Iterator[tuple[FrameSlot, ...]]:
    """Temporal layers of the mini-GOP between two key pictures: the second one, then B-frames."""
    yield (FrameSlot(last, (first,), 0),)
    gaps, layer = [(first, last)], 0
    while gaps := [(a, b) for a, b in gaps if b - a > 1]:
        layer += 1
        yield tuple(FrameSlot((a + b) // 2, (a, b), layer, b - a > 2) for a, b in gaps)
        gaps = [half for a, b in gaps for half in ((a, (a + b) // 2), ((a + b) // 2, b))]
