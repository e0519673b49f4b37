"""One file to its edited groups, one at a time: memory is bounded by a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from aehub.container import FileHead, GroupHead, Reader, retime
from aehub.edit.hidden import kept_by_trim, restricted, shortened
from aehub.edit.timeline import Piece, Timeline
from aehub.edit.window import turned_file_head, turned_group_head
from aehub.errors import DamagedError, InputError

if TYPE_CHECKING:
    from aehub.codec.model import Codec

Load = Callable[[FileHead], "Codec"]


class Rewriter:
    """Gives the groups of a file as an edit leaves them.

    Args:
        reader: the file; it can seek.
        timeline: what is shown of it.
        load: finds the model that a file head names; called only where symbols must move.
        g: element of `aehub.models.d4` by which the picture turns.
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
    def head(self) -> FileHead:
        """The head of the edited file."""
        return turned_file_head(self._timeline.head, self._g)

    def groups(self) -> Iterator[tuple[GroupHead, bytes]]:
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
    def _codec(self) -> Codec:
        from aehub.codec import turning

        codec = self._load(self.reader.head)
        if not turning.turns(codec.runtime):
            raise InputError(
                f"the latents of {codec.name!r} do not turn with the picture, for its layers lack "
                "the symmetry.",
                "--via-pixels (via_pixels=True) decodes, turns and compresses again, which loses "
                "quality and says how much.")
        return codec

    def _rewritten(self, piece: Piece, head: GroupHead, payload: bytes) -> tuple[GroupHead, bytes]:
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
        from aehub.codec import turning

        moved, words = turning.rewrite_group(
            self._codec.runtime, payload, head, self.reader.head, self._g, frames)
        if not self._g:
            return written, moved
        turned = turned_group_head(written, self.reader.head, self._g)
        return replace(turned, run_ends=turning.run_ends(written, words)), moved
