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

from aehub.bitstream import FileHeader, GroupHeader, Reader, key_pictures, retime
from aehub.editing.timeline import Piece, Timeline
from aehub.errors import DamagedError, InputError
from aehub.media.colour import resolve_unspecified, tags_to_write

_WORD = 4
# A range decoder that is done with so many words holds two more; a payload that ended there would
# have one or two more, to say where in its interval it ends.
_READ_AHEAD = 1


def dependency_closure(header: GroupHeader, frames: Iterable[int]) -> tuple[int, ...]:
    """The frames themselves and all they are predicted from, directly or not; rising."""
    references = header.resolved_references
    found: set[int] = set()
    waiting = list(frames)
    while waiting:
        frame = waiting.pop()
        if frame not in found:
            found.add(frame)
            waiting.extend(references[frame])
    return tuple(sorted(found))


def retained_frames(header: GroupHeader, *, exact: bool) -> tuple[int, ...]:
    """The frames that stay when a group is cut to what it shows: a run without gaps.

    Payloads may tell networks and vectors how many frames lie between a frame and its reference,
    so frames go at the two ends only.

    Args:
        header: with the frames shown after the cut.
        exact: drop what comes before the shown frames as well, as far as none needs it.
    """
    frames: tuple[int, ...] = ()
    run = range(header.shown[0] if exact else 0, header.shown[1])
    while len(frames) != len(run):
        frames = dependency_closure(header, run)
        run = range(frames[0], frames[-1] + 1)
    return frames


def restrict_header(header: GroupHeader, frames: Sequence[int], frame_ticks: int) -> GroupHeader:
    """The header of the group with only these frames: each shown as long as before.

    The frames that stay are coded in the order in which they were: of the frames that are ready,
    the lowest comes first, and no frame waits for one that goes.

    Args:
        header: of the whole group.
        frames: numbers of those that stay, rising: all that are shown, and all they need.
        frame_ticks: `FileHeader.frame_ticks`.
    """
    durations = header.durations(frame_ticks)
    references, types = header.resolved_references, header.resolved_types
    ends = header.mini_gop_ends
    place = {frame: number for number, frame in enumerate(frames)}
    *gaps, last = (durations[frame] for frame in frames)
    return replace(
        header, n_frames=len(frames),
        shown=(place[header.shown[0]], place[header.shown[1] - 1] + 1),
        times=tuple(accumulate(gaps, initial=0)), last=last,
        frame_types=bytes(types[frame] for frame in frames),
        references=tuple(tuple(place[used] for used in references[frame]) for frame in frames),
        mini_gop_ends=None if ends is None else ends[:_last_mini_gop(header, frames) or 0])


def truncate_payload(header: GroupHeader, payload: bytes, frames: Sequence[int]) -> bytes | None:
    """The payload cut off after these frames; None where the header does not tell where.

    What is left begins with the words that the frames took, so they are read as before.

    Args:
        header: of the whole group.
        payload: of the whole group.
        frames: numbers of those that stay, rising, not all of them.
    """
    run = _last_mini_gop(header, frames)
    if header.mini_gop_ends is None or run is None:
        return None
    return payload[:_WORD * (header.mini_gop_ends[run] + _READ_AHEAD)]


def _last_mini_gop(header: GroupHeader, frames: Sequence[int]) -> int | None:
    """The run of the pyramid that the frames end with; None if they are not the first runs."""
    keys = key_pictures(header)
    first = frames[-1] in keys and len(frames) == frames[-1] + 1
    return keys.index(frames[-1]) if first else None


_TRANSPOSES, _FLIPS_ROWS, _FLIPS_COLUMNS = 4, 2, 1
"""Bits of an element of D4, in the order in which they act."""


def turn_file_header(header: FileHeader, g: int) -> FileHeader:
    """The header of the file turned by element `g` of `aehub.codecs.d4.symmetry`."""
    if not g & _TRANSPOSES:
        return header
    width, height = header.height, header.width
    shown = resolve_unspecified(header.colour, header.width, header.height)
    return replace(header, width=width, height=height, colour=tags_to_write(shown, width, height),
                   pixel_aspect=1 / header.pixel_aspect)


def turn_group_header(header: GroupHeader, file_header: FileHeader, g: int) -> GroupHeader:
    """The header of a group of that file, turned: only the window moves.

    Raises:
        InputError: the window leaves more than 31 samples above or left of it, which no other
            window of the format can mirror.
    """
    (width, height), (x, y) = (file_header.width, file_header.height), header.crop
    columns, rows = file_header.coded_size(header.crop)
    if g & _TRANSPOSES:
        width, height, x, y, columns, rows = height, width, y, x, rows, columns
    if g & _FLIPS_ROWS:
        y = rows - y - height
    if g & _FLIPS_COLUMNS:
        x = columns - x - width
    if turn_file_header(file_header, g).coded_size((x, y)) != (columns, rows):
        raise InputError(
            f"a group shows a window that begins at {header.crop}; files whose window begins "
            "beyond 31 samples cannot be turned as they are.",
            "Decode and compress it again with --via-pixels (via_pixels=True).")
    return replace(header, crop=(x, y))


if TYPE_CHECKING:
    from aehub.codecs.d4.codec import D4Codec

CodecLoader = Callable[[FileHeader], "D4Codec"]


class GroupRewriter:
    """Gives the groups of a file as an edit leaves them.

    Args:
        reader: the file; it can seek.
        timeline: what is shown of it.
        load: finds the model that a file header names; called only where symbols must move.
        g: element of `aehub.codecs.d4.symmetry` by which the picture turns.
        exact: drop every hidden frame that no shown one needs.

    Attributes:
        lost: numbers of the groups that could not be read.
    """

    def __init__(self, reader: Reader, timeline: Timeline, load: CodecLoader, *, g: int = 0,
                 exact: bool = False) -> None:
        self.reader, self.lost = reader, list[int]()
        self._timeline = timeline
        self._load, self._g, self._exact = load, g, exact

    @property
    def header(self) -> FileHeader:
        """The header of the edited file."""
        return turn_file_header(self._timeline.header, self._g)

    def groups(self) -> Iterator[tuple[GroupHeader, bytes]]:
        """Yield (header, payload) of every group to write."""
        timed = self._timeline.header
        for piece in self._timeline.pieces:
            try:
                group = self.reader.group_at(piece.number)
                header = retime(group.header, self.reader.header, timed)
                header = piece.shown(header, timed.frame_ticks)
                edited = self._rewrite(piece, header, group.payload)
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

        codec = self._load(self.reader.header)
        if not transcode.turns(codec.runtime):
            raise InputError(
                f"the latents of {codec.name!r} do not turn with the picture, for its layers lack "
                "the symmetry.",
                "--via-pixels (via_pixels=True) decodes, turns and compresses again, which loses "
                "quality and says how much.")
        return codec

    def _rewrite(self, piece: Piece, header: GroupHeader, payload: bytes
                   ) -> tuple[GroupHeader, bytes]:
        """The group as it is written: cut and turned, its symbols read once at most."""
        written, whole = header, range(header.n_frames)
        frames: Sequence[int] = whole
        if piece.cut is not None or self._exact:
            frames = retained_frames(header, exact=self._exact)
        if len(frames) < len(whole):
            written = restrict_header(header, frames, self._timeline.header.frame_ticks)
            less = truncate_payload(header, payload, frames)
            if less is not None:
                header, payload, frames = written, less, range(written.n_frames)
        if not self._g and len(frames) == header.n_frames:
            return written, payload
        from aehub.codecs.d4 import transcode

        moved, words = transcode.rewrite_group(
            self._codec.runtime, payload, header, self.reader.header, self._g, frames)
        if not self._g:
            return written, moved
        turned = turn_group_header(written, self.reader.header, self._g)
        return replace(turned, mini_gop_ends=transcode.mini_gop_ends(written, words)), moved
