"""Hidden frames: which of them the shown ones are predicted from, and groups without the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from aehub.container import GroupHead, anchors_of

_WORD = 4
# A range decoder that is done with so many words holds two more; a payload that ended there would
# have one or two more, to say where in its interval it ends.
_READ_AHEAD = 1


def needed(head: GroupHead, frames: Iterable[int]) -> tuple[int, ...]:
    """The frames themselves and all they are predicted from, directly or not; rising."""
    references = head.links
    found: set[int] = set()
    waiting = list(frames)
    while waiting:
        frame = waiting.pop()
        if frame not in found:
            found.add(frame)
            waiting.extend(references[frame])
    return tuple(sorted(found))


def kept_by_trim(head: GroupHead, *, exact: bool) -> tuple[int, ...]:
    """The frames that stay when a group is cut to what it shows: a run without gaps.

    Payloads may tell networks and vectors how many frames lie between a frame and its reference,
    so frames go at the two ends only.

    Args:
        head: with the frames shown after the cut.
        exact: drop what comes before the shown frames as well, as far as none needs it.
    """
    frames: tuple[int, ...] = ()
    run = range(head.shown[0] if exact else 0, head.shown[1])
    while len(frames) != len(run):
        frames = needed(head, run)
        run = range(frames[0], frames[-1] + 1)
    return frames


def restricted(head: GroupHead, frames: Sequence[int], step: int) -> GroupHead:
    """The head of the group with only these frames: each shown as long as before.

    The frames that stay are coded in the order in which they were: of the frames that are ready,
    the lowest comes first, and no frame waits for one that goes.

    Args:
        head: of the whole group.
        frames: numbers of those that stay, rising: all that are shown, and all they need.
        step: `FileHead.step`.
    """
    durations, references, types = head.durations(step), head.links, head.types
    place = {frame: number for number, frame in enumerate(frames)}
    *gaps, last = (durations[frame] for frame in frames)
    return replace(
        head, n_frames=len(frames),
        shown=(place[head.shown[0]], place[head.shown[1] - 1] + 1),
        times=tuple(accumulate(gaps, initial=0)), last=last,
        frame_types=bytes(types[frame] for frame in frames),
        references=tuple(tuple(place[used] for used in references[frame]) for frame in frames),
        run_ends=None if head.run_ends is None else head.run_ends[:_last_run(head, frames) or 0])


def shortened(head: GroupHead, payload: bytes, frames: Sequence[int]) -> bytes | None:
    """The payload cut off after these frames; None where the head does not tell where.

    What is left begins with the words that the frames took, so they are read as before.

    Args:
        head: of the whole group.
        payload: of the whole group.
        frames: numbers of those that stay, rising, not all of them.
    """
    run = _last_run(head, frames)
    if head.run_ends is None or run is None:
        return None
    return payload[:_WORD * (head.run_ends[run] + _READ_AHEAD)]


def _last_run(head: GroupHead, frames: Sequence[int]) -> int | None:
    """The run of the pyramid that the frames end with; None if they are not the first runs."""
    anchors = anchors_of(head)
    first = frames[-1] in anchors and len(frames) == frames[-1] + 1
    return anchors.index(frames[-1]) if first else None
