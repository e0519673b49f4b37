"""The groups of a file in the order in which they are shown, trimmed and turned round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from aehub.bitstream import FileHeader, GroupHeader, IndexEntry, retime
from aehub.bitstream.file_header import TIME_BASE_LIMITS
from aehub.bitstream.group_header import with_durations
from aehub.editing.operations import Operation, Reverse, Trim
from aehub.errors import InputError
from aehub.media.timestamps import TimeSpan


@dataclass(frozen=True)
class Piece:
    """What is shown of one group.

    Attributes:
        number: of the group in the file.
        n_frames: frames shown.
        ticks: how long they are shown.
        cut: (first, stop) of the coded frames shown, None as the file says.
        backward: shown the other way round than the file says.
        parts: (coded frame, ticks) of frames of which a trim keeps a part.
    """

    number: int
    n_frames: int
    ticks: int
    cut: tuple[int, int] | None = None
    backward: bool = False
    parts: tuple[tuple[int, int], ...] = ()

    def shown(self, header: GroupHeader, frame_ticks: int) -> GroupHeader:
        """The group's header, saying so; `frame_ticks` is that of the timeline's file header."""
        header = replace(header, shown=self.cut or header.shown,
                         reverse=header.reverse ^ self.backward)
        return with_durations(header, dict(self.parts), frame_ticks) if self.parts else header

    def scaled(self, scale: Fraction) -> Piece:
        """The same in ticks of which `scale` are one tick of now."""
        parts = tuple((frame, int(ticks * scale)) for frame, ticks in self.parts)
        return replace(self, ticks=int(self.ticks * scale), parts=parts)


@dataclass(frozen=True)
class Timeline:
    """What an edited file shows.

    Attributes:
        header: of the file, its time base perhaps finer: it counts the ticks.
        pieces: in order.
        start: where they begin in the source, in ticks.
        backward: whether the source is played backward.
    """

    header: FileHeader
    pieces: tuple[Piece, ...]
    start: int = 0
    backward: bool = False

    @classmethod
    def of(cls, index: Sequence[IndexEntry], header: FileHeader) -> Timeline:
        """A whole file."""
        return cls(header, tuple(Piece(number, entry.n_frames, entry.ticks)
                               for number, entry in enumerate(index)))

    @property
    def n_frames(self) -> int:
        return sum(piece.n_frames for piece in self.pieces)

    @property
    def ticks(self) -> int:
        return sum(piece.ticks for piece in self.pieces)

    def edited(self, operations: Sequence[Operation], header_of: Callable[[int], GroupHeader]
               ) -> Timeline:
        """The timeline after trims and reversals, in their order; turns change nothing here.

        Args:
            operations: all that was asked for.
            header_of: reads the header of a group; asked only where a trim cuts one.

        Raises:
            InputError: a trim keeps no frame.
        """
        trims = [TimeSpan.parse(done.part) for done in operations if isinstance(done, Trim)]
        finer = max((part.tick_division(self.header.time_base) for part in trims), default=1)
        base = self.header.time_base / finer
        if base.numerator > TIME_BASE_LIMITS[0] or base.denominator > TIME_BASE_LIMITS[1]:
            finer = 1
        found = self._scaled(Fraction(finer))

        def shown(piece: Piece) -> GroupHeader:
            return piece.shown(retime(header_of(piece.number), self.header, found.header),
                               found.header.frame_ticks)

        for operation in operations:
            if isinstance(operation, Trim):
                found = found._trimmed(trims.pop(0), shown)
            elif isinstance(operation, Reverse):
                found = found._reversed()
        kept = [found.start, *(ticks for piece in found.pieces for _, ticks in piece.parts)]
        coarse = all(ticks % finer == 0 for ticks in kept)
        return found._scaled(Fraction(1, finer)) if coarse else found

    def _scaled(self, scale: Fraction) -> Timeline:
        header = replace(self.header, time_base=self.header.time_base / scale)
        pieces = tuple(piece.scaled(scale) for piece in self.pieces)
        return replace(self, header=header, pieces=pieces, start=int(self.start * scale))

    def _reversed(self) -> Timeline:
        pieces = (replace(piece, backward=not piece.backward) for piece in reversed(self.pieces))
        return replace(self, pieces=tuple(pieces), backward=not self.backward)

    def _trimmed(self, part: TimeSpan, shown: Callable[[Piece], GroupHeader]) -> Timeline:
        base, kept = self.header.time_base, list[Piece]()
        index = ticks = before = 0
        for piece in self.pieces:
            begin, after = (index, ticks * base), (index + piece.n_frames, ticks + piece.ticks)
            end = (after[0], after[1] * base)
            if part.has_ended(*begin):
                break
            if part.has_started(*begin) and not part.has_ended(*end):
                kept.append(piece)
            elif part.has_started(*end):
                left, skipped = self._cut(piece, part, (index, ticks), shown(piece))
                before += 0 if kept else skipped
                kept += [left] if left is not None else []
            else:
                before += piece.ticks
            index, ticks = after
        if not kept:
            raise InputError(f"the trim {part} keeps no frame; there are {self.n_frames} frames, "
                             f"{float(self.ticks * base):g} s.")
        found = replace(self, pieces=tuple(kept))
        # Played backward, what goes in front is the end of the source.
        after_it = self.ticks - before - found.ticks
        return replace(found, start=self.start + (after_it if self.backward else before))

    def _cut(self, piece: Piece, part: TimeSpan, place: tuple[int, int], header: GroupHeader
             ) -> tuple[Piece | None, int]:
        """What a trim leaves of a piece, and the ticks before it.

        Args:
            piece: what there is.
            part: to keep.
            place: (number, tick) of its first frame.
            header: of its group, as it is shown.
        """
        base, durations = self.header.time_base, header.durations(self.header.frame_ticks)
        (index, ticks), first = place, place[1]
        left, parts = dict[int, int](), dict(piece.parts)
        for frame in header.display_order:
            is_last = index + 1 == self.n_frames
            times = part.frame_interval(index, ticks * base, (ticks + durations[frame]) * base,
                              is_last=is_last)
            if times is not None:
                begin, end = (round(time / base) for time in times)
                first = begin if not left else first
                left[frame] = max(1, end - begin)
            index, ticks = index + 1, ticks + durations[frame]
        if not left:
            return None, piece.ticks
        parts.update((frame, kept) for frame, kept in left.items() if kept != durations[frame])
        cut = (min(left), max(left) + 1)
        found = replace(piece, n_frames=len(left), ticks=sum(left.values()), cut=cut,
                        parts=tuple(item for item in parts.items() if item[0] in left))
        return (piece if cut == header.shown and found.ticks == piece.ticks else found,
                first - place[1])
