"""Timeline of an edit: the shown groups in display order, trimmed and reversed."""

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
class Segment:
    """Shown part of one group.

    Attributes:
        number: of the group in the file.
        n_frames: number of shown frames.
        ticks: their duration.
        cut: (first, stop) of the shown coded frames, None: as in the file.
        reverse: inverts the display direction of the file.
        durations: (coded frame, ticks) of frames shortened by a trim.
    """

    number: int
    n_frames: int
    ticks: int
    cut: tuple[int, int] | None = None
    reverse: bool = False
    durations: tuple[tuple[int, int], ...] = ()

    def shown(self, header: GroupHeader, frame_ticks: int) -> GroupHeader:
        """Return the group's header for this part; `frame_ticks` is that of the timeline."""
        header = replace(header, shown=self.cut or header.shown,
                         reverse=header.reverse ^ self.reverse)
        if not self.durations:
            return header
        return with_durations(header, dict(self.durations), frame_ticks)

    def scaled(self, scale: Fraction) -> Segment:
        """Return the segment in ticks of 1/`scale` of the present length."""
        durations = tuple((frame, int(ticks * scale)) for frame, ticks in self.durations)
        return replace(self, ticks=int(self.ticks * scale), durations=durations)


@dataclass(frozen=True)
class Timeline:
    """Segments shown by an edited file.

    Attributes:
        header: of the file, possibly with a finer time base, which defines the ticks.
        segments: in display order.
        start: of the segments in the source, in ticks.
        reverse: whether the source is played backward.
    """

    header: FileHeader
    segments: tuple[Segment, ...]
    start: int = 0
    reverse: bool = False

    @classmethod
    def of(cls, index: Sequence[IndexEntry], header: FileHeader) -> Timeline:
        """Return the timeline of an unedited file."""
        return cls(header, tuple(Segment(number, entry.n_frames, entry.ticks)
                                 for number, entry in enumerate(index)))

    @property
    def n_frames(self) -> int:
        return sum(segment.n_frames for segment in self.segments)

    @property
    def ticks(self) -> int:
        return sum(segment.ticks for segment in self.segments)

    def edited(self, operations: Sequence[Operation], header_of: Callable[[int], GroupHeader]
               ) -> Timeline:
        """Return the timeline after all trims and reversals, in their order; ignore turns.

        Args:
            operations: of the edit.
            header_of: reads the header of a group; called only for groups cut by a trim.

        Raises:
            InputError: a trim keeps no frame.
        """
        trims = [TimeSpan.parse(trim.part) for trim in operations if isinstance(trim, Trim)]
        finer = max((span.tick_division(self.header.time_base) for span in trims), default=1)
        base = self.header.time_base / finer
        if base.numerator > TIME_BASE_LIMITS[0] or base.denominator > TIME_BASE_LIMITS[1]:
            finer = 1
        timeline = self._scaled(Fraction(finer))

        def shown(segment: Segment) -> GroupHeader:
            return segment.shown(retime(header_of(segment.number), self.header, timeline.header),
                                 timeline.header.frame_ticks)

        for operation in operations:
            if isinstance(operation, Trim):
                timeline = timeline._trimmed(trims.pop(0), shown)
            elif isinstance(operation, Reverse):
                timeline = timeline._reversed()
        times = [timeline.start, *(ticks for segment in timeline.segments
                                   for _, ticks in segment.durations)]
        coarse = all(ticks % finer == 0 for ticks in times)
        return timeline._scaled(Fraction(1, finer)) if coarse else timeline

    def _scaled(self, scale: Fraction) -> Timeline:
        header = replace(self.header, time_base=self.header.time_base / scale)
        segments = tuple(segment.scaled(scale) for segment in self.segments)
        return replace(self, header=header, segments=segments, start=int(self.start * scale))

    def _reversed(self) -> Timeline:
        segments = tuple(replace(segment, reverse=not segment.reverse)
                         for segment in reversed(self.segments))
        return replace(self, segments=segments, reverse=not self.reverse)

    def _trimmed(self, span: TimeSpan, shown: Callable[[Segment], GroupHeader]) -> Timeline:
        base, segments = self.header.time_base, list[Segment]()
        index = ticks = before = 0
        for segment in self.segments:
            begin, after = (index, ticks * base), (index + segment.n_frames, ticks + segment.ticks)
            end = (after[0], after[1] * base)
            if span.has_ended(*begin):
                break
            if span.has_started(*begin) and not span.has_ended(*end):
                segments.append(segment)
            elif span.has_started(*end):
                left, skipped = self._cut(segment, span, (index, ticks), shown(segment))
                before += 0 if segments else skipped
                segments += [left] if left is not None else []
            else:
                before += segment.ticks
            index, ticks = after
        if not segments:
            raise InputError(f"the trim {span} keeps no frame; there are {self.n_frames} frames, "
                             f"{float(self.ticks * base):g} s.")
        timeline = replace(self, segments=tuple(segments))
        # Played backward, the part dropped in front is the end of the source.
        behind = self.ticks - before - timeline.ticks
        return replace(timeline, start=self.start + (behind if self.reverse else before))

    def _cut(self, segment: Segment, span: TimeSpan, position: tuple[int, int], header: GroupHeader
             ) -> tuple[Segment | None, int]:
        """Return the rest of a segment after a trim, and the ticks dropped before it.

        Args:
            segment: before the trim.
            span: of the trim.
            position: (number, tick) of the segment's first frame.
            header: of its group, as shown.
        """
        base, durations = self.header.time_base, header.durations(self.header.frame_ticks)
        (index, ticks), first = position, position[1]
        left, shortened = dict[int, int](), dict(segment.durations)
        for frame in header.display_order:
            is_last = index + 1 == self.n_frames
            times = span.frame_interval(index, ticks * base, (ticks + durations[frame]) * base,
                                        is_last=is_last)
            if times is not None:
                begin, end = (round(time / base) for time in times)
                first = begin if not left else first
                left[frame] = max(1, end - begin)
            index, ticks = index + 1, ticks + durations[frame]
        if not left:
            return None, segment.ticks
        shortened.update((frame, ticks) for frame, ticks in left.items()
                         if ticks != durations[frame])
        cut = (min(left), max(left) + 1)
        rest = replace(segment, n_frames=len(left), ticks=sum(left.values()), cut=cut,
                       durations=tuple(item for item in shortened.items() if item[0] in left))
        return (segment if cut == header.shown and rest.ticks == segment.ticks else rest,
                first - position[1])
