"""The map of a seekable file: its index, and where every chunk lies, without reading payloads.

What a file holds and what it lost, counted while it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from aehub.bitstream.chunk import (
    AUDIO,
    FOOTER,
    GROUP,
    INDEX,
    MAX_HEAD,
    METADATA,
    Chunk,
    EndsEarly,
    Gap,
    Place,
    parse_chunk,
    parse_head,
    walk,
    window_at,
)
from aehub.bitstream.file_header import FileHeader
from aehub.bitstream.group_header import GroupHeader
from aehub.bitstream.group_header_io import unpack_group_header
from aehub.bitstream.index import FOOTER_SIZE, Footer, IndexEntry, unpack_footer, unpack_index
from aehub.errors import DamagedError, FormatError


@dataclass
class Tally:
    """Running counts; sizes in bytes. `complete`: the footer came; `ended`: nothing more comes."""

    groups: int = 0
    frames: int = 0
    coded_frames: int = 0
    ticks: int = 0
    payload_bytes: int = 0
    audio_bytes: int = 0
    metadata_bytes: int = 0
    chunk_bytes: int = 0
    lost_bytes: int = 0
    complete: bool = False
    ended: bool = False

    def add_group(self, head: GroupHeader, step: int, payload_bytes: int) -> None:
        """Count an intact group."""
        self.groups += 1
        self.frames += head.n_shown
        self.coded_frames += head.n_frames
        self.ticks += head.ticks(step)
        self.payload_bytes += payload_bytes

    def add_chunk(self, place: Place) -> None:
        """Count any chunk."""
        self.chunk_bytes += place.size
        self.audio_bytes += place.length if place.kind == AUDIO else 0
        self.metadata_bytes += place.length if place.kind == METADATA else 0
        self.complete |= place.kind == FOOTER

    def summary(self, head_bytes: int, time_base: Fraction) -> dict[str, Any]:
        """Return the counts under the names of `Reader.summary`."""
        content = self.payload_bytes + self.audio_bytes + self.metadata_bytes
        return {
            "groups": self.groups,
            "frames": self.frames,
            "coded_frames": self.coded_frames,
            "seconds": float(self.ticks * time_base),
            "bytes": head_bytes + self.chunk_bytes + self.lost_bytes,
            "payload_bytes": self.payload_bytes,
            "audio_bytes": self.audio_bytes,
            "metadata_bytes": self.metadata_bytes,
            "lost_bytes": self.lost_bytes,
            "overhead_bytes": head_bytes + self.chunk_bytes - content,
            "complete": self.complete,
        }


@dataclass
class Losses:
    """What could not be read of the file called `name`; `stopped` at the first damage."""

    name: str
    gaps: list[Gap] = field(default_factory=list)
    reason: str = ""
    footer: Footer | None = None
    stopped: bool = False

    def conclude(self, tally: Tally) -> None:
        """Raise `DamagedError`, with one sentence, if anything was lost."""
        whole = tally.complete and self.footer and self.footer.n_groups == tally.groups
        if whole and not self.gaps:
            return
        facts = self._facts(tally)
        given = f"{count(tally.groups, 'intact group')} could be read"
        raise DamagedError(f"{self.name} is damaged: {', '.join(facts)}; {given}.")

    def _facts(self, tally: Tally) -> list[str]:
        facts = []
        damaged = [gap for gap in self.gaps if not gap.cut]
        if damaged:
            size = count(sum(gap.size for gap in damaged), "byte")
            where = f"at byte {damaged[0].offset}"
            if len(damaged) > 1:
                where = f"in {len(damaged)} places, the first {where},"
            facts.append(f"{size} {where} cannot be read")
        if self.reason:
            facts.append(self.reason.rstrip("."))
        if self.stopped:
            facts.append("reading stopped there")
        elif not tally.complete:
            cut = f" after byte {self.gaps[-1].offset}" if self.gaps and self.gaps[-1].cut else ""
            facts.append(f"its end is missing{cut}")
        if self.footer:
            lost, total = self.footer.n_groups - tally.groups, self.footer.n_groups
            facts.append(f"{lost} of {total} groups are lost" if lost else "no group is lost")
        return facts


def count(number: int, noun: str) -> str:
    """Return e.g. "1 group" or "2 groups"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_USUAL_GROUP_HEAD = 128
_LARGEST_GROUP_HEAD = 1 << 19


class Survey:
    """The map of one file; each part is made when it is first asked for."""

    def __init__(
        self, head: FileHeader, start: int, size: int, read_at: Callable[[int, int], bytes]
    ) -> None:
        self._head = head
        self._start = start
        self._size = size
        self._read_at = read_at

    @cached_property
    def index(self) -> tuple[IndexEntry, ...]:
        """The index the file ends with, or else one made from the heads of its chunks."""
        try:
            stored = self._stored_index()
        except FormatError:
            stored = None
        return self._scanned[1] if stored is None else stored

    @property
    def places(self) -> list[Place]:
        """Where every chunk lies, up to the footer."""
        return self._scanned[0]

    @property
    def tally(self) -> Tally:
        """What the file holds, as its heads say."""
        return self._scanned[2]

    def _stored_index(self) -> tuple[IndexEntry, ...] | None:
        at = self._size - FOOTER_SIZE
        chunk = self._chunk(at, FOOTER_SIZE, FOOTER)
        if chunk is None:
            return None
        footer = unpack_footer(chunk.body)
        if not footer.distance:
            return None
        chunk = self._chunk(at - footer.distance, footer.distance, INDEX)
        if chunk is None:
            return None
        entries = tuple(unpack_index(chunk.body, self._head, self._start))
        fits = entries and entries[-1].offset < at and len(entries) == footer.n_groups
        return entries if fits else None

    def _chunk(self, at: int, size: int, kind: int) -> Chunk | None:
        if at < self._start:
            return None
        data = self._read_at(at, size)
        place = parse_head(data, at)
        return parse_chunk(data, place) if place and place.kind == kind else None

    @cached_property
    def _scanned(self) -> tuple[list[Place], tuple[IndexEntry, ...], Tally]:
        places, entries, tally = [], [], Tally()
        for place in self._heads():
            if isinstance(place, Gap):
                tally.lost_bytes += place.size
                continue
            places.append(place)
            tally.add_chunk(place)
            if place.kind != GROUP:
                continue
            try:
                head, size = self._group_head(place)
            except FormatError:
                continue
            ticks = head.ticks(self._head.step)
            entries.append(IndexEntry(place.offset, head.n_shown, tally.ticks, ticks))
            tally.add_group(head, self._head.step, place.length - size)
        return places, tuple(entries), tally

    def _heads(self) -> Iterator[Place | Gap]:
        """Go from head to head; after damage read everything, since lengths cannot be trusted."""
        at = self._start
        while at < self._size:
            place = parse_head(self._read_at(at, MAX_HEAD), at)
            if place is None or at + place.size > self._size:
                break
            yield place
            if place.kind == FOOTER:
                return
            at += place.size
        for item in walk(window_at(self._read_at, at)):
            yield item if isinstance(item, Gap) else item.place
            if isinstance(item, Chunk) and item.place.kind == FOOTER:
                return

    def _group_head(self, place: Place) -> tuple[GroupHeader, int]:
        at = place.offset + place.head_size
        body = self._read_at(at, min(place.length, _USUAL_GROUP_HEAD))
        try:
            return unpack_group_header(body, self._head)
        except EndsEarly:
            body = self._read_at(at, min(place.length, _LARGEST_GROUP_HEAD))
            return unpack_group_header(body, self._head)
