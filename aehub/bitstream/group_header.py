"""Group header: frame types, references, mini-GOPs, display times and coding order of a group."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
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
    """Properties of one group. Frames are numbered in the order of their times.

    Attributes:
        n_frames: number of coded frames.
        quality: hundredths, 0 to 10000.
        crop: (x, y) of the shown window in the coded plane, in luma samples.
        shown: (first, stop) of the displayed frames; all by default.
        reverse: displayed last to first, each frame for its own duration.
        times: of the coded frames in ticks after the group's first; None: `frame_ticks` apart
            (`FileHeader.frame_ticks`: one tick unless the file has a finer time base).
        last_duration: of the last coded frame in ticks; None: as the frame before it in `times`,
            or `frame_ticks`. The next group begins at the end of this one's shown frames.
        frame_types: a code per frame, 0 intra, 1 predicted; None: all intra.
        references: for each frame its reference frames; None: the previous frame for every frame
            that is not intra.
        stream_words: 32-bit words of each entropy stream of the payload but the last; empty: the
            payload is one stream.
        mini_gop_ends: for each mini-GOP but the last, the first frame alone being one, how many
            words of each stream its frames and those before take; None: unknown. A decoder of
            these frames reads at most one word more of a stream.
        atomic: no frame can be taken out of the payload or read without the others: frames that an
            edit hides stay in it.
    """

    n_frames: int
    quality: int
    crop: tuple[int, int] = (0, 0)
    shown: tuple[int, int] = ALL
    reverse: bool = False
    times: tuple[int, ...] | None = None
    last_duration: int | None = None
    frame_types: bytes | None = None
    references: References | None = None
    stream_words: tuple[int, ...] = ()
    mini_gop_ends: tuple[tuple[int, ...], ...] | None = None
    atomic: bool = False

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
        """Type of each coded frame, defaults filled in."""
        return bytes(self.n_frames) if self.frame_types is None else self.frame_types

    @property
    def resolved_references(self) -> References:
        """References of each coded frame, defaults filled in."""
        return chain_references(self.resolved_types) if self.references is None else self.references

    @property
    def n_shown(self) -> int:
        """Number of shown frames."""
        return self.shown[1] - self.shown[0]

    @property
    def display_order(self) -> range:
        """Numbers of the shown frames in display order."""
        frames = range(*self.shown)
        return frames[::-1] if self.reverse else frames

    def durations(self, frame_ticks: int) -> tuple[int, ...]:
        """Return the duration of each coded frame in ticks; `frame_ticks` as in `FileHeader`."""
        if self.times is None:
            gaps: tuple[int, ...] = (frame_ticks,) * (self.n_frames - 1)
        else:
            gaps = tuple(after - before for before, after in pairwise(self.times))
        default = gaps[-1] if gaps else frame_ticks
        return (*gaps, default if self.last_duration is None else self.last_duration)

    def ticks(self, frame_ticks: int) -> int:
        """Return the total duration of the shown frames in ticks."""
        if self.times is None and self.last_duration is None:
            return self.n_shown * frame_ticks
        return sum(self.durations(frame_ticks)[slice(*self.shown)])


def chain_references(types: bytes) -> References:
    """Return the default references: every frame that is not intra refers to the previous one."""
    return tuple((frame - 1,) if code else () for frame, code in enumerate(types))


def chain_types(n_frames: int) -> bytes:
    """Return the default types of a predicted group: intra first, then predicted."""
    return bytes((INTRA,)) + bytes((PREDICTED,)) * (n_frames - 1)


def hierarchical_references(runs: MiniGopRuns) -> References:
    """Return the references of hierarchical B-frames between key pictures.

    Args:
        runs: (length, count) of consecutive mini-GOPs of equal length. The first frame is an
            intra key picture; each mini-GOP ends with one, predicted from the one before.

    Returns:
        For each frame its references. Between two key pictures, and recursively in each half, the
        middle frame (rounded down) refers to the two around it.
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
    """Return the runs of mini-GOPs that give the group's references, or None if none do."""
    if header.n_frames < 2 or header.resolved_types != chain_types(header.n_frames):
        return None
    keys = [frame for frame, used in enumerate(header.resolved_references) if len(used) < 2]
    lengths = [after - before for before, after in pairwise(keys)]
    if keys[:1] + keys[-1:] != [0, header.n_frames - 1] or max(lengths) > MAX_MINI_GOP:
        return None
    runs = tuple((length, len(list(equal))) for length, equal in groupby(lengths))
    return runs if hierarchical_references(runs) == header.resolved_references else None


def key_pictures(header: GroupHeader) -> tuple[int, ...]:
    """Return the first frame and the last frame of each mini-GOP; empty for other groups.

    Mini-GOPs are coded one after the other.
    """
    runs = mini_gop_runs(header)
    if runs is None:
        return ()
    return tuple(accumulate((length for length, count in runs for _ in range(count)), initial=0))


def coding_order(header: GroupHeader) -> tuple[int, ...]:
    """Return the coding order of the frames of a group.

    Next is always the lowest-numbered uncoded frame all of whose references are coded.

    Raises:
        InputError: the references form a cycle.
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
    """Return the group with new durations for some coded frames (number -> ticks)."""
    durations = list(header.durations(frame_ticks))
    for frame, duration in ticks.items():
        durations[frame] = duration
    *gaps, last = durations
    return replace(header, times=tuple(accumulate(gaps, initial=0)), last_duration=last)


def retime(header: GroupHeader, source: FileHeader, target: FileHeader) -> GroupHeader:
    """Return the group with its times converted to a file of another rate or time base."""
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
    return replace(header, times=tuple(ticks[:-1]), last_duration=ticks[-1] - ticks[-2])


WORD = 4
"""Bytes of a word of the range coder."""
_READ_AHEAD = 1
"""Words kept after a mini-GOP end: a range decoder holds two, of which the end counts one."""


def dependency_closure(header: GroupHeader, frames: Iterable[int]) -> tuple[int, ...]:
    """Return the frames and all their direct and indirect references, ascending."""
    if header.atomic:
        return tuple(range(header.n_frames))
    references = header.resolved_references
    closure: set[int] = set()
    waiting = list(frames)
    while waiting:
        frame = waiting.pop()
        if frame not in closure:
            closure.add(frame)
            waiting.extend(references[frame])
    return tuple(sorted(closure))


def retained_frames(header: GroupHeader, *, exact: bool) -> tuple[int, ...]:
    """Return the frames that remain if a group is cut to its shown frames: a contiguous range.

    Payloads may depend on the distance between a frame and its reference, so frames are removed at
    the two ends only.

    Args:
        header: with the frames shown after the cut.
        exact: also remove frames before the shown ones on which none of these depends; of an
            atomic group all hidden ones, which its codec cannot do and refuses.
    """
    if header.atomic:
        return tuple(range(*header.shown) if exact else range(header.n_frames))
    frames: tuple[int, ...] = ()
    run = range(header.shown[0] if exact else 0, header.shown[1])
    while len(frames) != len(run):
        frames = dependency_closure(header, run)
        run = range(frames[0], frames[-1] + 1)
    return frames


def restrict_header(header: GroupHeader, frames: Sequence[int], frame_ticks: int) -> GroupHeader:
    """Return the header of a group restricted to these frames, with unchanged durations.

    The coding order of the remaining frames is unchanged: the lowest-numbered frame whose
    references are coded comes first, and no frame depends on a removed one.

    Args:
        header: of the full group.
        frames: numbers of the remaining frames, ascending: all shown ones and their references.
        frame_ticks: `FileHeader.frame_ticks`.
    """
    durations = header.durations(frame_ticks)
    references, types = header.resolved_references, header.resolved_types
    ends = header.mini_gop_ends
    position = {frame: number for number, frame in enumerate(frames)}
    *gaps, last = (durations[frame] for frame in frames)
    return replace(
        header, n_frames=len(frames),
        shown=(position[header.shown[0]], position[header.shown[1] - 1] + 1),
        times=tuple(accumulate(gaps, initial=0)), last_duration=last,
        frame_types=bytes(types[frame] for frame in frames),
        references=tuple(tuple(position[used] for used in references[frame]) for frame in frames),
        mini_gop_ends=None if ends is None else ends[:_last_mini_gop(header, frames) or 0])


def split_payload(header: GroupHeader, payload: bytes) -> tuple[bytes, ...]:
    """Return the entropy streams of a payload."""
    ends = [WORD * end for end in accumulate(header.stream_words, initial=0)]
    return tuple(payload[begin:end] for begin, end in pairwise([*ends, len(payload)]))


def join_streams(streams: Sequence[bytes]) -> tuple[tuple[int, ...], bytes]:
    """Return `GroupHeader.stream_words` of entropy streams, and the payload that they make."""
    return tuple(len(stream) // WORD for stream in streams[:-1]), b"".join(streams)


def truncate_payload(header: GroupHeader, payload: bytes, frames: Sequence[int], frame_ticks: int
                     ) -> tuple[GroupHeader, bytes] | None:
    """Return the group truncated after these frames; None if the header lacks the position.

    The remaining words are those of the frames, so they decode as before.

    Args:
        header: of the full group.
        payload: of the full group.
        frames: numbers of the remaining frames, ascending, not all.
        frame_ticks: `FileHeader.frame_ticks`.
    """
    last = _last_mini_gop(header, frames)
    if header.mini_gop_ends is None or last is None:
        return None
    # A stream without symbols of these frames is left empty.
    streams = [stream[:WORD * (end + _READ_AHEAD if end else 0)] for stream, end in
               zip(split_payload(header, payload), header.mini_gop_ends[last], strict=True)]
    words, payload = join_streams(streams)
    return replace(restrict_header(header, frames, frame_ticks), stream_words=words), payload


def _last_mini_gop(header: GroupHeader, frames: Sequence[int]) -> int | None:
    """Return the mini-GOP that the frames end with; None if they are not the first mini-GOPs."""
    keys = key_pictures(header)
    complete = frames[-1] in keys and len(frames) == frames[-1] + 1
    return keys.index(frames[-1]) if complete else None
