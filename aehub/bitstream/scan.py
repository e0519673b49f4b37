"""Scan of a seekable file by its headers, without payloads; counts and damage of a read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from aehub.bitstream.chunk import (
    AUDIO,
    FINGERPRINTS,
    FOOTER,
    GROUP,
    INDEX,
    MAX_CHUNK_HEADER,
    METADATA,
    Chunk,
    ChunkHeader,
    Gap,
    TruncatedField,
    buffer_at,
    iter_chunks,
    parse_chunk,
    parse_chunk_header,
)
from aehub.bitstream.file_header import FileHeader
from aehub.bitstream.fingerprint_chunk import GroupStamp, stamp_groups
from aehub.bitstream.group_header import GroupHeader
from aehub.bitstream.group_header_io import unpack_group_header
from aehub.bitstream.index import FOOTER_SIZE, Footer, IndexEntry, unpack_footer, unpack_index
from aehub.errors import DamagedError, FormatError, count_text


@dataclass
class FileCounts:
    """Running counts; sizes in bytes. `complete`: the footer was read; `ended`: reading ended."""

    groups: int = 0
    frames: int = 0
    coded_frames: int = 0
    ticks: int = 0
    payload_bytes: int = 0
    audio_bytes: int = 0
    metadata_bytes: int = 0
    fingerprint_bytes: int = 0
    chunk_bytes: int = 0
    lost_bytes: int = 0
    complete: bool = False
    ended: bool = False

    def add_group(self, header: GroupHeader, frame_ticks: int, payload_bytes: int) -> None:
        """Count an intact group."""
        self.groups += 1
        self.frames += header.n_shown
        self.coded_frames += header.n_frames
        self.ticks += header.ticks(frame_ticks)
        self.payload_bytes += payload_bytes

    def add_chunk(self, chunk_header: ChunkHeader) -> None:
        """Count any chunk."""
        self.chunk_bytes += chunk_header.size
        self.audio_bytes += chunk_header.length if chunk_header.kind == AUDIO else 0
        self.metadata_bytes += chunk_header.length if chunk_header.kind == METADATA else 0
        if chunk_header.kind == FINGERPRINTS:
            self.fingerprint_bytes += chunk_header.length
        self.complete |= chunk_header.kind == FOOTER

    def summary(self, header_bytes: int, time_base: Fraction) -> dict[str, Any]:
        """Return the counts with the keys of `Reader.summary`."""
        content = (self.payload_bytes + self.audio_bytes + self.metadata_bytes
                   + self.fingerprint_bytes)
        return {
            "groups": self.groups,
            "frames": self.frames,
            "coded_frames": self.coded_frames,
            "seconds": float(self.ticks * time_base),
            "bytes": header_bytes + self.chunk_bytes + self.lost_bytes,
            "payload_bytes": self.payload_bytes,
            "audio_bytes": self.audio_bytes,
            "metadata_bytes": self.metadata_bytes,
            "fingerprint_bytes": self.fingerprint_bytes,
            "lost_bytes": self.lost_bytes,
            "overhead_bytes": header_bytes + self.chunk_bytes - content,
            "complete": self.complete,
        }


@dataclass
class DamageReport:
    """Damage of the file called `name`; `stopped`: reading ended at the first damage."""

    name: str
    gaps: list[Gap] = field(default_factory=list)
    reason: str = ""
    footer: Footer | None = None
    stopped: bool = False

    def raise_if_damaged(self, counts: FileCounts) -> None:
        """Raise `DamagedError`, with one sentence, if anything was lost."""
        intact = counts.complete and self.footer and self.footer.n_groups == counts.groups
        if intact and not self.gaps:
            return
        clauses = ", ".join(self._clauses(counts))
        intact_groups = count_text(counts.groups, "intact group")
        raise DamagedError(
            f"{self.name} is damaged: {clauses}; {intact_groups} could be read.")

    def _clauses(self, counts: FileCounts) -> list[str]:
        clauses = []
        damaged = [gap for gap in self.gaps if not gap.cut]
        if damaged:
            size = count_text(sum(gap.size for gap in damaged), "byte")
            position = f"at byte {damaged[0].offset}"
            if len(damaged) > 1:
                position = f"in {len(damaged)} places, the first {position},"
            clauses.append(f"{size} {position} cannot be read")
        if self.reason:
            clauses.append(self.reason.rstrip("."))
        if self.stopped:
            clauses.append("reading stopped there")
        elif not counts.complete:
            cut = f" after byte {self.gaps[-1].offset}" if self.gaps and self.gaps[-1].cut else ""
            clauses.append(f"its end is missing{cut}")
        if self.footer:
            lost, total = self.footer.n_groups - counts.groups, self.footer.n_groups
            clauses.append(f"{lost} of {total} groups are lost" if lost else "no group is lost")
        return clauses


_USUAL_GROUP_HEADER = 128
"""Bytes read first of a group chunk: most group headers are shorter."""
_LARGEST_GROUP_HEADER = 1 << 19
"""Bytes read if that was not enough: times, types and references of 16384 frames fit."""


class FileScan:
    """Index, chunk headers and counts of one file, each computed at its first use."""

    def __init__(
        self, header: FileHeader, start: int, size: int, read_at: Callable[[int, int], bytes]
    ) -> None:
        self._header = header
        self._start = start
        self._size = size
        self._read_at = read_at

    @cached_property
    def index(self) -> tuple[IndexEntry, ...]:
        """Stored index of the file, or else one built from its chunk headers."""
        try:
            stored = self._stored_index()
        except FormatError:
            stored = None
        return self._chunk_scan[1] if stored is None else stored

    @property
    def chunk_headers(self) -> list[ChunkHeader]:
        """Headers of all chunks up to the footer."""
        return self._chunk_scan[0]

    @property
    def counts(self) -> FileCounts:
        """Counts of the file according to its headers."""
        return self._chunk_scan[2]

    @property
    def stamp(self) -> GroupStamp:
        """Stamp of the groups according to their headers and the CRC-32s that are stored."""
        groups = [header for header in self.chunk_headers if header.kind == GROUP]
        ends = [self._start, *(header.offset + header.size for header in groups)]
        return stamp_groups(self.counts.frames, sum(header.size for header in groups),
                            (self._read_at(end - 4, 4) for end in ends))

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
        entries = tuple(unpack_index(chunk.body, self._header, self._start))
        fits = entries and entries[-1].offset < at and len(entries) == footer.n_groups
        return entries if fits else None

    def _chunk(self, at: int, size: int, kind: int) -> Chunk | None:
        if at < self._start:
            return None
        data = self._read_at(at, size)
        chunk_header = parse_chunk_header(data, at)
        if chunk_header is None or chunk_header.kind != kind:
            return None
        return parse_chunk(data, chunk_header)

    @cached_property
    def _chunk_scan(self) -> tuple[list[ChunkHeader], tuple[IndexEntry, ...], FileCounts]:
        chunk_headers, entries, counts = [], [], FileCounts()
        for chunk_header in self._headers():
            if isinstance(chunk_header, Gap):
                counts.lost_bytes += chunk_header.size
                continue
            chunk_headers.append(chunk_header)
            counts.add_chunk(chunk_header)
            if chunk_header.kind != GROUP:
                continue
            try:
                header, size = self._group_header(chunk_header)
            except FormatError:
                continue
            ticks = header.ticks(self._header.frame_ticks)
            entries.append(IndexEntry(chunk_header.offset, header.n_shown, counts.ticks, ticks))
            counts.add_group(header, self._header.frame_ticks, chunk_header.length - size)
        return chunk_headers, tuple(entries), counts

    def _headers(self) -> Iterator[ChunkHeader | Gap]:
        """Jump from header to header; after damage read all bytes: lengths cannot be trusted."""
        at = self._start
        while at < self._size:
            chunk_header = parse_chunk_header(self._read_at(at, MAX_CHUNK_HEADER), at)
            if chunk_header is None or at + chunk_header.size > self._size:
                break
            yield chunk_header
            if chunk_header.kind == FOOTER:
                return
            at += chunk_header.size
        for item in iter_chunks(buffer_at(self._read_at, at)):
            yield item if isinstance(item, Gap) else item.header
            if isinstance(item, Chunk) and item.header.kind == FOOTER:
                return

    def _group_header(self, chunk_header: ChunkHeader) -> tuple[GroupHeader, int]:
        at = chunk_header.offset + chunk_header.header_size
        body = self._read_at(at, min(chunk_header.length, _USUAL_GROUP_HEADER))
        try:
            return unpack_group_header(body, self._header)
        except TruncatedField:
            body = self._read_at(at, min(chunk_header.length, _LARGEST_GROUP_HEADER))
            return unpack_group_header(body, self._header)
