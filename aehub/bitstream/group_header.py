"""The group head: what can differ from group to group, and what follows from it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, groupby, pairwise

from aehub.bitstream.chunk import MAX_SPAN
from aehub.bitstream.file_header import FileHeader
from aehub.errors import InputError

INTRA, PREDICTED = 0, 1
ALL = (0, -1)
"""Default of `GroupHeader.shown`: every coded frame."""

References = tuple[tuple[int, ...], ...]
Runs = tuple[tuple[int, int], ...]


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
            (`FileHeader.step`: one tick unless the file has a finer time base).
        last: ticks the last coded frame lasts; None is as long as the one before it in `times`,
            or one step. The next group begins where the shown frames of this one end.
        frame_types: a code per frame, 0 intra, 1 predicted; None is all intra.
        references: for each frame the frames it is predicted from; None is the frame before it
            for every frame that is not intra.
        run_ends: for each run of a pyramid but the last, the first frame alone being a run, how
            many 32-bit words of payload its frames and those before make; None is unknown. A
            decoder of these frames reads at most one word more.
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
    run_ends: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shown == ALL:
            object.__setattr__(self, "shown", (0, self.n_frames))
        if self.frame_types is not None and not any(self.frame_types):
            object.__setattr__(self, "frame_types", None)
        if self.references is not None and self.references == chain(self.types):
            object.__setattr__(self, "references", None)
        if not self.run_ends:
            object.__setattr__(self, "run_ends", None)

    @property
    def types(self) -> bytes:
        """The code of every coded frame."""
        return bytes(self.n_frames) if self.frame_types is None else self.frame_types

    @property
    def links(self) -> References:
        """The frames that each coded frame is predicted from."""
        return chain(self.types) if self.references is None else self.references

    @property
    def n_shown(self) -> int:
        """How many frames are shown."""
        return self.shown[1] - self.shown[0]

    @property
    def order(self) -> range:
        """Numbers of the coded frames in the order in which they are shown."""
        frames = range(*self.shown)
        return frames[::-1] if self.reverse else frames

    def durations(self, step: int) -> tuple[int, ...]:
        """Return how many ticks each coded frame lasts; `step` is `FileHeader.step`."""
        if self.times is None:
            gaps: tuple[int, ...] = (step,) * (self.n_frames - 1)
        else:
            gaps = tuple(after - before for before, after in pairwise(self.times))
        usual = gaps[-1] if gaps else step
        return (*gaps, usual if self.last is None else self.last)

    def ticks(self, step: int) -> int:
        """Return how many ticks the shown frames last together."""
        if self.times is None and self.last is None:
            return self.n_shown * step
        return sum(self.durations(step)[slice(*self.shown)])


def chain(types: bytes) -> References:
    """Return the usual references: every frame that is not intra names the one before it."""
    return tuple((frame - 1,) if code else () for frame, code in enumerate(types))


def chain_types(n_frames: int) -> bytes:
    """Return the usual types of a predicted group: intra first, then predicted."""
    return bytes((INTRA,)) + bytes((PREDICTED,)) * (n_frames - 1)


def pyramid(runs: Runs) -> References:
    """Return the references of a group made of anchors with frames between them.

    Args:
        runs: (span, count) of anchors that follow each other at a distance of `span` frames. The
            first frame is an anchor and intra, each later anchor is predicted from the one before.

    Returns:
        For each frame its references. Between two anchors, and again in each half, the middle
        frame (rounded down) refers to the two around it.
    """
    references: list[tuple[int, ...]] = [()]
    for span, count in runs:
        for _ in range(count):
            start = len(references) - 1
            references += [()] * (span - 1) + [(start,)]
            _refine(references, start, start + span)
    return tuple(references)


def _refine(references: list[tuple[int, ...]], first: int, last: int) -> None:
    if last - first > 1:
        middle = (first + last) // 2
        references[middle] = (first, last)
        _refine(references, first, middle)
        _refine(references, middle, last)


def runs_of(head: GroupHeader) -> Runs | None:
    """Return the runs whose `pyramid` the group's frames refer to, or None if there are none."""
    if head.n_frames < 2 or head.types != chain_types(head.n_frames):
        return None
    anchors = [frame for frame, used in enumerate(head.links) if len(used) < 2]
    spans = [after - before for before, after in pairwise(anchors)]
    if anchors[:1] + anchors[-1:] != [0, head.n_frames - 1] or max(spans) > MAX_SPAN:
        return None
    runs = tuple((span, len(list(run))) for span, run in groupby(spans))
    return runs if pyramid(runs) == head.links else None


def anchors_of(head: GroupHeader) -> tuple[int, ...]:
    """Return the frames with which the runs of a pyramid end, the first frame among them.

    Frames are coded run after run. Other groups have no anchors.
    """
    runs = runs_of(head)
    if runs is None:
        return ()
    return tuple(accumulate((span for span, count in runs for _ in range(count)), initial=0))


def coding_order(head: GroupHeader) -> tuple[int, ...]:
    """Return the order in which the frames of a group are coded.

    Next is always the first frame not yet coded all of whose references are coded.

    Raises:
        InputError: frames refer to each other in a circle.
    """
    references = head.links
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


def lasting(head: GroupHeader, ticks: Mapping[int, int], step: int) -> GroupHeader:
    """Return the same group with some coded frames (their numbers -> ticks) shown for so long."""
    durations = list(head.durations(step))
    for frame, duration in ticks.items():
        durations[frame] = duration
    *gaps, last = durations
    return replace(head, times=tuple(accumulate(gaps, initial=0)), last=last)


def retime(head: GroupHeader, source: FileHeader, target: FileHeader) -> GroupHeader:
    """Return the same group with the times it needs in a file of another rate or time base."""
    if (source.step, source.time_base) == (target.step, target.time_base):
        return head
    scale = source.time_base / target.time_base
    ends = [0, *accumulate(head.durations(source.step))]
    # Rounded ends, not rounded durations: errors must not add up.
    ticks = [int(end * scale + Fraction(1, 2)) for end in ends]
    if any(after <= before for before, after in pairwise(ticks)):
        raise InputError(
            f"a time base of {target.time_base} s is too coarse for frames of a file with "
            f"{source.time_base} s; give the new file a finer one."
        )
    return replace(head, times=tuple(ticks[:-1]), last=ticks[-1] - ticks[-2])
