"""Rewriting of the groups of a file, one at a time: memory is bounded by a group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from aehub.bitstream import (
    FileHeader,
    Group,
    GroupHeader,
    Reader,
    retained_frames,
    retime,
    truncate_payload,
)
from aehub.codecs.base import Codec, CodecLoader
from aehub.editing.timeline import Segment, Timeline
from aehub.errors import DamagedError, InputError
from aehub.media.colour import resolve_unspecified, tags_to_write
from aehub.media.orientation import TRANSPOSES


def turn_file_header(header: FileHeader, g: int) -> FileHeader:
    """Return the header of the file turned by element `g` of `aehub.media.orientation`."""
    if not g & TRANSPOSES:
        return header
    width, height = header.height, header.width
    shown = resolve_unspecified(header.colour, header.width, header.height)
    return replace(header, width=width, height=height, colour=tags_to_write(shown, width, height),
                   pixel_aspect=1 / header.pixel_aspect, pictures=header.pictures.transposed)


class GroupRewriter:
    """Edited groups of a file.

    Args:
        reader: the file, seekable.
        timeline: of the edited file.
        load: loads the model of a file header; called only if symbols must be coded again.
        g: element of `aehub.media.orientation` that turns the picture.
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
                edited = self._rewrite(segment, replace(group, header=header))
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
    def _codec(self) -> Codec:
        return self._load(self.reader.header)

    def _rewrite(self, segment: Segment, group: Group) -> tuple[GroupHeader, bytes]:
        """Return the group cut and turned, with its symbols decoded at most once."""
        header, frame_ticks = group.header, self._timeline.header.frame_ticks
        frames: Sequence[int] = range(header.n_frames)
        if segment.cut is not None or self._exact:
            frames = retained_frames(header, exact=self._exact)
        if len(frames) < header.n_frames:
            truncated = truncate_payload(header, group.payload, frames, frame_ticks)
            if truncated is not None:
                header, payload = truncated
                group = replace(group, header=header, payload=payload)
                frames = range(header.n_frames)
        if not self._g and len(frames) == header.n_frames:
            return header, group.payload
        editor = self._codec.editor
        if editor is not None:
            return editor.rewrite(self._timeline.header, group, frames=frames, turn=self._g)
        if self._g:
            raise InputError(
                f"{self._codec.name} cannot turn what it has coded.",
                "--via-pixels (via_pixels=True) decodes, turns and compresses again, which loses "
                "quality and says how much.")
        if self._exact:
            raise InputError(
                f"{self._codec.name} cannot drop frames of a group; leave group_exact out, and "
                "they stay in the file, hidden.", "On the command line that is --group-exact.")
        return header, group.payload
