"""Rewriting of the groups of a file, one at a time: memory is bounded by a group.

Helpers on headers and payloads: removal of frames on which no shown frame depends, and turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from aehub.bitstream import FileHeader, GroupHeader, Reader, key_pictures, retime
from aehub.editing.timeline import Segment, Timeline
from aehub.errors import DamagedError, InputError
from aehub.media.colour import resolve_unspecified, tags_to_write

_WORD = 4
"""Bytes of a word of the range coder."""
_READ_AHEAD = 1
"""Words kept after a mini-GOP end: a range decoder holds two, of which the end counts one."""


def dependency_closure(header: GroupHeader, frames: Iterable[int]) -> tuple[int, ...]:
    """Return the frames and all their direct and indirect references, ascending."""
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
        exact: also remove frames before the shown ones on which none of these depends.
    """
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


def truncate_payload(header: GroupHeader, payload: bytes, frames: Sequence[int]) -> bytes | None:
    """Return the payload truncated after these frames; None if the header lacks the position.

    The remaining words are those of the frames, so they decode as before.

    Args:
        header: of the full group.
        payload: of the full group.
        frames: numbers of the remaining frames, ascending, not all.
    """
    last = _last_mini_gop(header, frames)
    if header.mini_gop_ends is None or last is None:
        return None
    return payload[:_WORD * (header.mini_gop_ends[last] + _READ_AHEAD)]


def _last_mini_gop(header: GroupHeader, frames: Sequence[int]) -> int | None:
    """Return the mini-GOP that the frames end with; None if they are not the first mini-GOPs."""
    keys = key_pictures(header)
    complete = frames[-1] in keys and len(frames) == frames[-1] + 1
    return keys.index(frames[-1]) if complete else None


_TRANSPOSES, _FLIPS_ROWS, _FLIPS_COLUMNS = 4, 2, 1
"""Bits of an element of D4, in the order of their application."""


def turn_file_header(header: FileHeader, g: int) -> FileHeader:
    """Return the header of the file turned by element `g` of `aehub.codecs.d4.symmetry`."""
    if not g & _TRANSPOSES:
        return header
    width, height = header.height, header.width
    shown = resolve_unspecified(header.colour, header.width, header.height)
    return replace(header, width=width, height=height, colour=tags_to_write(shown, width, height),
                   pixel_aspect=1 / header.pixel_aspect)


def turn_group_header(header: GroupHeader, file_header: FileHeader, g: int) -> GroupHeader:
    """Return the header of a group of that file, turned: only the window moves.

    Raises:
        InputError: the window begins beyond 31 samples from the top or left, which no window of
            the format can mirror.
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
    """Edited groups of a file.

    Args:
        reader: the file, seekable.
        timeline: of the edited file.
        load: loads the model of a file header; called only if symbols must be coded again.
        g: element of `aehub.codecs.d4.symmetry` that turns the picture.
        exact: drop all hidden frames on which no shown frame depends.

    Attributes:
        lost: numbers of the unreadable groups.
    """

    def __init__(self, reader: Reader, timeline: Timeline, load: CodecLoader, *, g: int = 0,
                 exact: bool = False) -> None:
        self.reader, self.lost = reader, list[int]()
        self._timeline = timeline
        self._load, self._g, self._exact = load, g, exact

    @property
    def header(self) -> FileHeader:
        """Header of the edited file."""
        return turn_file_header(self._timeline.header, self._g)

    def groups(self) -> Iterator[tuple[GroupHeader, bytes]]:
        """Yield (header, payload) of each group of the edited file."""
        timed = self._timeline.header
        for segment in self._timeline.segments:
            try:
                group = self.reader.group_at(segment.number)
                header = retime(group.header, self.reader.header, timed)
                header = segment.shown(header, timed.frame_ticks)
                edited = self._rewrite(segment, header, group.payload)
            except DamagedError:
                self.lost.append(segment.number)
                continue
            yield edited

    def damage(self) -> DamagedError | None:
        """Return an error that states the losses, None if nothing was lost."""
        name, index = self.reader.name, self.reader.index or ()
        if self.lost:
            lost = f"{len(self.lost)} of {len(index)} groups"
            return DamagedError(f"{name} is damaged: {lost} cannot be read; the others were "
                                "edited, without sound, which would not fit.")
        counts = self.reader.summary()
        if counts["lost_bytes"] or not counts["complete"]:
            return DamagedError(f"{name} is damaged or cut off; the {len(index)} groups found in "
                                "it were edited.")
        return None

    @cached_property
    def _codec(self) -> D4Codec:
        from aehub.codecs.d4 import transcode

        codec = self._load(self.reader.header)
        if not transcode.is_equivariant(codec.runtime):
            raise InputError(
                f"the latents of {codec.name!r} do not turn with the picture: its layers lack "
                "the symmetry.",
                "--via-pixels (via_pixels=True) decodes, turns and compresses again, which loses "
                "quality and says how much.")
        return codec

    def _rewrite(self, segment: Segment, header: GroupHeader, payload: bytes
                   ) -> tuple[GroupHeader, bytes]:
        """Return the group cut and turned, with its symbols decoded at most once."""
        written = header
        frames: Sequence[int] = range(header.n_frames)
        if segment.cut is not None or self._exact:
            frames = retained_frames(header, exact=self._exact)
        if len(frames) < header.n_frames:
            written = restrict_header(header, frames, self._timeline.header.frame_ticks)
            truncated = truncate_payload(header, payload, frames)
            if truncated is not None:
                header, payload, frames = written, truncated, range(written.n_frames)
        if not self._g and len(frames) == header.n_frames:
            return written, payload
        from aehub.codecs.d4 import transcode

        coded, words = transcode.rewrite_group(
            self._codec.runtime, payload, header, self.reader.header, self._g, frames)
        if not self._g:
            return written, coded
        turned = turn_group_header(written, self.reader.header, self._g)
        return replace(turned, mini_gop_ends=transcode.mini_gop_ends(written, words)), coded
