"""The groups of a file in the order in which they are shown, trimmed and turned round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aehub.clips.trim import Trim as Part
from aehub.container import FileHead, GroupHead, IndexEntry
from aehub.edit.operations import Operation, Reverse, Trim
from aehub.errors import InputError


@dataclass(frozen=True)
class Piece:
    """What is shown of one group.

    Attributes:
        number: of the group in the file.
        n_frames: frames shown.
        ticks: how long they are shown.
        cut: (first, stop) of the coded frames shown, None as the file says.
        backward: shown the other way round than the file says.
    """

    number: int
    n_frames: int
    ticks: int
    cut: tuple[int, int] | None = None
    backward: bool = False

    def shown(self, head: GroupHead) -> GroupHead:
        """The group's head, saying so."""
        return replace(head, shown=self.cut or head.shown, reverse=head.reverse ^ self.backward)


@dataclass(frozen=True)
class Timeline:
    """What an edited file shows: pieces in order; where they begin in the source, in ticks."""

    pieces: tuple[Piece, ...]
    start: int = 0
    backward: bool = False

    @classmethod
    def of(cls, index: Sequence[IndexEntry]) -> Timeline:
        """A whole file."""
        return cls(tuple(Piece(number, entry.n_frames, entry.ticks)
                         for number, entry in enumerate(index)))

    @property
    def n_frames(self) -> int:
        return sum(piece.n_frames for piece in self.pieces)

    @property
    def ticks(self) -> int:
        return sum(piece.ticks for piece in self.pieces)

    def edited(self, operations: Sequence[Operation], file_head: FileHead,
               head_of: Callable[[int], GroupHead]) -> Timeline:
        """The timeline after trims and reversals, in their order; turns change nothing here.

        Args:
            operations: all that was asked for.
            file_head: of the file.
            head_of: reads the head of a group; asked only where a trim cuts one.

        Raises:
            InputError: a trim keeps no frame.
        """
        found = self
        for operation in operations:
            if isinstance(operation, Trim):
                found = found._trimmed(Part.parse(operation.part), file_head, head_of)
            elif isinstance(operation, Reverse):
                found = found._reversed()
        return found

    def _reversed(self) -> Timeline:
        pieces = (replace(piece, backward=not piece.backward) for piece in reversed(self.pieces))
        return replace(self, pieces=tuple(pieces), backward=not self.backward)

    def _trimmed(self, part: Part, file_head: FileHead, head_of: Callable[[int], GroupHead]
                 ) -> Timeline:
        kept: list[Piece] = []
        index = ticks = before = 0
        for piece in self.pieces:
            begin = (index, ticks * file_head.time_base)
            index, ticks = index + piece.n_frames, ticks + piece.ticks
            end = (index, ticks * file_head.time_base)
            inside = part.has_started(*begin) and not part.has_ended(*end)
            outside = part.has_ended(*begin) or not part.has_started(*end)
            left = piece if inside else None
            if not inside and not outside:
                left, skipped = _cut(piece, part, begin[0], ticks - piece.ticks, file_head, head_of)
                before += skipped if not kept else 0
            elif outside and not kept:
                before += piece.ticks
            kept += [left] if left is not None else []
        if not kept:
            raise InputError(f"the trim {part} keeps no frame; there are {self.n_frames} frames, "
                             f"{float(self.ticks * file_head.time_base):g} s.")
        found = replace(self, pieces=tuple(kept))
        # Played backward, what goes in front is the end of the source.
        after = self.ticks - before - found.ticks
        return replace(found, start=self.start + (after if self.backward else before))


def _cut(piece: Piece, part: Part, index: int, ticks: int, file_head: FileHead,
         head_of: Callable[[int], GroupHead]) -> tuple[Piece | None, int]:
    """What a trim leaves of a piece that begins at `index` and `ticks`, and the ticks before it."""
    head = piece.shown(head_of(piece.number))
    durations = head.durations(file_head.step)
    left: list[int] = []
    skipped = 0
    for place, frame in enumerate(head.order):
        seconds = ticks * file_head.time_base
        if part.has_started(index + place, seconds) and not part.has_ended(index + place, seconds):
            left.append(frame)
        elif not left:
            skipped += durations[frame]
        ticks += durations[frame]
    if not left:
        return None, skipped
    cut = (min(left), max(left) + 1)
    if cut == head.shown:
        return piece, skipped
    shown = replace(head, shown=cut)
    return replace(piece, n_frames=len(left), ticks=shown.ticks(file_head.step), cut=cut), skipped
