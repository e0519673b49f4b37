"""The group header: what can differ from group to group, and what follows from it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, groupby, pairwise

from aehub.bitstream.chunk import MAX_MINI_GOP
from aehub.bitstream.file_header import FileHeader
from aehub.errors import InputError

INTRA, PREDICTED = 0, 1
ALL = (0, -1)
"""Default of `GroupHeader.shown`: every coded frame."""

References = tuple[tuple[int, ...], ...]
MiniGopRuns = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class GroupHeader:
    """What can differ from group to group. Frames are counted in the order of their times.

    Attributes:
        n_frames: coded frames.
        quality: hundredths, 0 to 10000.
        crop: (x, y) of the shown window in the coded plane, in luma samples.
        shown: (first, stop) of the frames shown; all by default.
        reverse: the shown frames are shown last to first, each for its own duration.
        times: ticks of each coded frame after the group's first one; None is one step each
            (`FileHeader.frame_ticks`: one tick unless the file has a finer time base).
        last: ticks the last coded frame lasts; None is as long as the one before it in `times`,
            or one step. The next group begins where the shown frames of this one end.
        frame_types: a code per frame, 0 intra, 1 predicted; None is all intra.
        references: for each frame the frames it is predicted from; None is the frame before it
            for every frame that is not intra.
        mini_gop_ends: for each mini-GOP but the last, the first frame alone being one, how many
            32-bit words of payload its frames and those before take; None is unknown. A decoder
            of these frames reads at most one word more.
    """

    n_frames: int
    quality: int
    crop: tuple[int, int] = (0, 0)
    shown: tuple[int, int] = ALL
    reverse: bool = False
    times: tuple[int, ...] | None = None
    last: int | None = None
    frame_types: bytes | None = None
    references: References | None = None
    mini_gop_ends: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shown == ALL:
            object.__setattr__(self, "shown", (0, self.n_frames))
        if self.frame_types is not None and not any(self.frame_types):
            object.__setattr__(self, "frame_types", None)
        if self.references is not None and self.references == chain_references(self.resolved_types):
            object.__setattr__(self, "references", None)
        if not self.mini_gop_ends:
            object.__setattr__(self, "mini_gop_ends", None)

    @property
    def resolved_types(self) -> bytes:
        """The code of every coded frame."""
        return bytes(self.n_frames) if self.frame_types is None else self.frame_types

    @property
    def resolved_references(self) -> References:
        """The frames that each coded frame is predicted from."""
        return chain_references(self.resolved_types) if self.references is None else self.references

    @property
    def n_shown(self) -> int:
        """How many frames are shown."""
        return self.shown[1] - self.shown[0]

    @property
    def display_order(self) -> range:
        """Numbers of the coded frames in the order in which they are shown."""
        frames = range(*self.shown)
        return frames[::-1] if self.reverse else frames

    def durations(self, frame_ticks: int) -> tuple[int, ...]:
        """Return the ticks that each coded frame lasts; for `frame_ticks` see `FileHeader`."""
        if self.times is None:
            gaps: tuple[int, ...] = (frame_ticks,) * (self.n_frames - 1)
        else:
            gaps = tuple(after - before for before, after in pairwise(self.times))
        usual = gaps[-1] if gaps else frame_ticks
        return (*gaps, usual if self.last is None else self.last)

    def ticks(self, frame_ticks: int) -> int:
        """Return how many ticks the shown frames last together."""
        if self.times is None and self.last is None:
            return self.n_shown * frame_ticks
        return sum(self.durations(frame_ticks)[slice(*self.shown)])


def chain_references(types: bytes) -> References:
    """Return the usual references: every frame that is not intra names the one before it."""
    return tuple((frame - 1,) if code else () for frame, code in enumerate(types))


def chain_types(n_frames: int) -> bytes:
    """Return the usual types of a predicted group: intra first, then predicted."""
    return bytes((INTRA,)) + bytes((PREDICTED,)) * (n_frames - 1)


def hierarchical_references(runs: MiniGopRuns) -> References:
    """Return the references of a group made of keys with frames between them.

    Args:
        runs: (length, count) of keys that follow each other at a distance of `length` frames. The
            first frame is an anchor and intra, each later anchor is predicted from the one before.

    Returns:
        For each frame its references. Between two keys, and again in each half, the middle
        frame (rounded down) refers to the two around it.
    """
    references: list[tuple[int, ...]] = [()]
    for length, count in runs:
        for _ in range(count):
            start = len(references) - 1
            references += [()] * (length - 1) + [(start,)]
            _link_b_frames(references, start, start + length)
    return tuple(references)


def _link_b_frames(references: list[tuple[int, ...]], first: int, last: int) -> None:
    if last - first > 1:
        middle = (first + last) // 2
        references[middle] = (first, last)
        _link_b_frames(references, first, middle)
        _link_b_frames(references, middle, last)


def mini_gop_runs(header: GroupHeader) -> MiniGopRuns | None:
    """Return the runs whose `pyramid` the group's frames refer to, or None if there are none."""
    if header.n_frames < 2 or header.resolved_types != chain_types(header.n_frames):
        return None
    keys = [frame for frame, used in enumerate(header.resolved_references) if len(used) < 2]
    lengths = [after - before for before, after in pairwise(keys)]
    if keys[:1] + keys[-1:] != [0, header.n_frames - 1] or max(lengths) > MAX_MINI_GOP:
        return None
    runs = tuple((length, len(list(run))) for length, run in groupby(lengths))
    return runs if hierarchical_references(runs) == header.resolved_references else None


def key_pictures(header: GroupHeader) -> tuple[int, ...]:
    """Return the frames with which the runs of a pyramid end, the first frame among them.

    Frames are coded run after run. Other groups have no keys.
    """
    runs = mini_gop_runs(header)
    if runs is None:
        return ()
    return tuple(accumulate((length for length, count in runs for _ in range(count)), initial=0))


def coding_order(header: GroupHeader) -> tuple[int, ...]:
    """Return the order in which the frames of a group are coded.

    Next is always the first frame not yet coded all of whose references are coded.

    Raises:
        InputError: frames refer to each other in a circle.
    """
    references = header.resolved_references
    waiting = [len(set(frames)) for frames in references]
    users: list[list[int]] = [[] for _ in references]
    for frame, used in enumerate(references):
        for reference in set(used):
            users[reference].append(frame)
    ready = [frame for frame, count in enumerate(waiting) if not count]
    order = []
    while ready:
        order.append(frame := heapq.heappop(ready))
        for user in users[frame]:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(references):
        raise InputError("frames of the group are predicted from each other in a circle.")
    return tuple(order)


def with_durations(header: GroupHeader, ticks: Mapping[int, int], frame_ticks: int) -> GroupHeader:
    """Return the same group with some coded frames (their numbers -> ticks) shown for so long."""
    durations = list(header.durations(frame_ticks))
    for frame, duration in ticks.items():
        durations[frame] = duration
    *gaps, last = durations
    return replace(header, times=tuple(accumulate(gaps, initial=0)), last=last)


def retime(header: GroupHeader, source: FileHeader, target: FileHeader) -> GroupHeader:
    """Return the same group with the times it needs in a file of another rate or time base."""
    if (source.frame_ticks, source.time_base) == (target.frame_ticks, target.time_base):
        return header
    scale = source.time_base / target.time_base
    ends = [0, *accumulate(header.durations(source.frame_ticks))]
    # Rounded ends, not rounded durations: errors must not add up.
    ticks = [int(end * scale + Fraction(1, 2)) for end in ends]
    if any(after <= before for before, after in pairwise(ticks)):
        raise InputError(
            f"a time base of {target.time_base} s is too coarse for frames of a file with "
            f"{source.time_base} s; give the new file a finer one."
        )
    return replace(header, times=tuple(ticks[:-1]), last=ticks[-1] - ticks[-2])
