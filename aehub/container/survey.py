"""The map of a seekable file: its index, and where every chunk lies, without reading payloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from aehub.container.chunk import (
    FOOTER,
    GROUP,
    INDEX,
    MAX_HEAD,
    Chunk,
    Gap,
    Place,
    parse_chunk,
    parse_head,
    walk,
    window_at,
)
from aehub.container.filehead import FileHead
from aehub.container.groupfields import unpack_group_head
from aehub.container.grouphead import GroupHead
from aehub.container.index import FOOTER_SIZE, IndexEntry, unpack_footer, unpack_index
from aehub.container.tally import Tally
from aehub.container.varint import EndsEarly
from aehub.errors import FormatError

_USUAL_GROUP_HEAD = 128
_LARGEST_GROUP_HEAD = 1 << 19


class Survey:
    """The map of one file; each part is made when it is first asked for."""

    def __init__(
        self, head: FileHead, start: int, size: int, read_at: Callable[[int, int], bytes]
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

    def _group_head(self, place: Place) -> tuple[GroupHead, int]:
        at = place.offset + place.head_size
        body = self._read_at(at, min(place.length, _USUAL_GROUP_HEAD))
        try:
            return unpack_group_head(body, self._head)
        except EndsEarly:
            body = self._read_at(at, min(place.length, _LARGEST_GROUP_HEAD))
            return unpack_group_head(body, self._head)
