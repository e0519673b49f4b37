"""One file to its edited groups, one at a time: memory is bounded by a group.

Hidden frames: which of them the shown ones are predicted from, and groups without the rest.

Where the shown window lies when the coded plane turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from aehub.bitstream import FileHeader, GroupHeader, Reader, anchors_of, retime
from aehub.editing.timeline import Piece, Timeline
from aehub.errors import DamagedError, InputError
from aehub.media.colour import resolve_unspecified, tags_to_write

_WORD = 4
# A range decoder that is done with so many words holds two more; a payload that ended there would
# have one or two more, to say where in its interval it ends.
_READ_AHEAD = 1


def needed(head: GroupHeader, frames: Iterable[int]) -> tuple[int, ...]:
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


def kept_by_trim(head: GroupHeader, *, exact: bool) -> tuple[int, ...]:
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


def restricted(head: GroupHeader, frames: Sequence[int], step: int) -> GroupHeader:
    """The head of the group with only these frames: each shown as long as before.

    The frames that stay are coded in the order in which they were: of the frames that are ready,
    the lowest comes first, and no frame waits for one that goes.

    Args:
        head: of the whole group.
        frames: numbers of those that stay, rising: all that are shown, and all they need.
        step: `FileHeader.step`.
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


def shortened(head: GroupHeader, payload: bytes, frames: Sequence[int]) -> bytes | None:
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


def _last_run(head: GroupHeader, frames: Sequence[int]) -> int | None:
    """The run of the pyramid that the frames end with; None if they are not the first runs."""
    anchors = anchors_of(head)
    first = frames[-1] in anchors and len(frames) == frames[-1] + 1
    return anchors.index(frames[-1]) if first else None


_TRANSPOSES, _FLIPS_ROWS, _FLIPS_COLUMNS = 4, 2, 1
"""Bits of an element of D4, in the order in which they act."""


def turned_file_head(head: FileHeader, g: int) -> FileHeader:
    """The head of the file turned by element `g` of `aehub.codecs.d4.symmetry`."""
    if not g & _TRANSPOSES:
        return head
    width, height = head.height, head.width
    shown = resolve_unspecified(head.colour, head.width, head.height)
    return replace(head, width=width, height=height, colour=tags_to_write(shown, width, height),
                   pixel_aspect=1 / head.pixel_aspect)


def turned_group_head(head: GroupHeader, file_head: FileHeader, g: int) -> GroupHeader:
    """The head of a group of that file, turned: only the window moves.

    Raises:
        InputError: the window leaves more than 31 samples above or left of it, which no other
            window of the format can mirror.
    """
    (width, height), (x, y) = (file_head.width, file_head.height), head.crop
    columns, rows = file_head.coded_size(head.crop)
    if g & _TRANSPOSES:
        width, height, x, y, columns, rows = height, width, y, x, rows, columns
    if g & _FLIPS_ROWS:
        y = rows - y - height
    if g & _FLIPS_COLUMNS:
        x = columns - x - width
    if turned_file_head(file_head, g).coded_size((x, y)) != (columns, rows):
        raise InputError(
            f"a group shows a window that begins at {head.crop}; files whose window begins "
            "beyond 31 samples cannot be turned as they are.",
            "Decode and compress it again with --via-pixels (via_pixels=True).")
    return replace(head, crop=(x, y))


if TYPE_CHECKING:
    from aehub.codecs.d4.codec import D4Codec

Load = Callable[[FileHeader], "D4Codec"]


class Rewriter:
    """Gives the groups of a file as an edit leaves them.

    Args:
        reader: the file; it can seek.
        timeline: what is shown of it.
        load: finds the model that a file head names; called only where symbols must move.
        g: element of `aehub.codecs.d4.symmetry` by which the picture turns.
        exact: drop every hidden frame that no shown one needs.

    Attributes:
        lost: numbers of the groups that could not be read.
    """

    def __init__(self, reader: Reader, timeline: Timeline, load: Load, *, g: int = 0,
                 exact: bool = False) -> None:
        self.reader, self.lost = reader, list[int]()
        self._timeline = timeline
        self._load, self._g, self._exact = load, g, exact

    @property
    def head(self) -> FileHeader:
        """The head of the edited file."""
        return turned_file_head(self._timeline.head, self._g)

    def groups(self) -> Iterator[tuple[GroupHeader, bytes]]:
        """Yield (head, payload) of every group to write."""
        timed = self._timeline.head
        for piece in self._timeline.pieces:
            try:
                group = self.reader.group_at(piece.number)
                head = piece.shown(retime(group.head, self.reader.head, timed), timed.step)
                edited = self._rewritten(piece, head, group.payload)
            except DamagedError:
                self.lost.append(piece.number)
                continue
            yield edited

    def damage(self) -> DamagedError | None:
        """What was lost, None if nothing was."""
        name, index = self.reader.name, self.reader.index or ()
        if self.lost:
            lost = f"{len(self.lost)} of {len(index)} groups"
            return DamagedError(f"{name} is damaged: {lost} cannot be read; the others were "
                                "edited, and the sound was left out, for it would not fit.")
        counts = self.reader.summary()
        if counts["lost_bytes"] or not counts["complete"]:
            return DamagedError(f"{name} is damaged or cut off; the {len(index)} groups found in "
                                "it were edited.")
        return None

    @cached_property
    def _codec(self) -> D4Codec:
        from aehub.codecs.d4 import transcode

        codec = self._load(self.reader.head)
        if not transcode.turns(codec.runtime):
            raise InputError(
                f"the latents of {codec.name!r} do not turn with the picture, for its layers lack "
                "the symmetry.",
                "--via-pixels (via_pixels=True) decodes, turns and compresses again, which loses "
                "quality and says how much.")
        return codec

    def _rewritten(self, piece: Piece, head: GroupHeader, payload: bytes
                   ) -> tuple[GroupHeader, bytes]:
        """The group as it is written: cut and turned, its symbols read once at most."""
        written, whole = head, range(head.n_frames)
        frames: Sequence[int] = whole
        if piece.cut is not None or self._exact:
            frames = kept_by_trim(head, exact=self._exact)
        if len(frames) < len(whole):
            written = restricted(head, frames, self._timeline.head.step)
            less = shortened(head, payload, frames)
            if less is not None:
                head, payload, frames = written, less, range(written.n_frames)
        if not self._g and len(frames) == head.n_frames:
            return written, payload
        from aehub.codecs.d4 import transcode

        moved, words = transcode.rewrite_group(
            self._codec.runtime, payload, head, self.reader.head, self._g, frames)
        if not self._g:
            return written, moved
        turned = turned_group_head(written, self.reader.head, self._g)
        return replace(turned, run_ends=transcode.run_ends(written, words)), moved
