"""Index and footer: position and display time of each group, for seeking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aehub.bitstream.chunk import (
    FOOTER,
    MAX_CHUNK,
    MAX_GROUP_FRAMES,
    Cursor,
    pack_chunk,
    pack_signed,
    pack_varint,
)
from aehub.bitstream.file_header import FileHeader
from aehub.errors import FormatError

FOOTER_BODY = 12
FOOTER_SIZE = len(pack_chunk(FOOTER, bytes(FOOTER_BODY)))
_SMALLEST_ENTRY = 3


class IndexEntry(NamedTuple):
    """Index entry of a group: byte offset of its chunk, shown frames, start and length in ticks."""

    offset: int
    n_frames: int
    start: int
    ticks: int

    @property
    def stop(self) -> int:
        """Start of the next group in ticks."""
        return self.start + self.ticks


class Footer(NamedTuple):
    """Footer: bytes from the index chunk to the footer chunk (0: no index), totals."""

    distance: int
    n_groups: int
    n_frames: int


def pack_index(entries: Sequence[IndexEntry], header: FileHeader, start: int) -> bytes:
    """Encode the index; `start`, the offset of the first chunk, is the origin of offsets."""
    packed = bytearray(pack_varint(len(entries)))
    for entry in entries:
        packed += pack_varint(entry.offset - start)
        packed += pack_signed(entry.n_frames - header.group_frames)
        packed += pack_signed(entry.ticks - entry.n_frames * header.frame_ticks)
        start = entry.offset
    return bytes(packed)


def unpack_index(body: bytes | memoryview, header: FileHeader, start: int) -> list[IndexEntry]:
    """Decode an index.

    Raises:
        FormatError: the entries do not fit the body, or are outside the limits.
    """
    cursor = Cursor(body)
    count = cursor.varint()
    if count * _SMALLEST_ENTRY > len(body):
        raise FormatError(f"an index of {len(body)} bytes cannot hold {count} groups.")
    entries = []
    offset, time = start, 0
    for _ in range(count):
        offset += cursor.varint()
        n_frames = header.group_frames + cursor.signed()
        ticks = n_frames * header.frame_ticks + cursor.signed()
        if not 0 < n_frames <= MAX_GROUP_FRAMES or ticks < n_frames:
            raise FormatError(f"the index has a group of {n_frames} frames and {ticks} ticks.")
        entries.append(IndexEntry(offset, n_frames, time, ticks))
        time += ticks
    return entries


def pack_footer(footer: Footer) -> bytes:
    """Encode the 12 bytes of a footer."""
    return b"".join(number.to_bytes(4, "little") for number in footer)


def unpack_footer(body: bytes | memoryview) -> Footer:
    """Decode a footer.

    Raises:
        FormatError: it does not have 12 bytes, or points further back than the largest index.
    """
    if len(body) != FOOTER_BODY:
        raise FormatError(f"a footer has {FOOTER_BODY} bytes; this one has {len(body)}.")
    footer = Footer(*(int.from_bytes(body[at : at + 4], "little") for at in (0, 4, 8)))
    if footer.distance > 2 * MAX_CHUNK:
        raise FormatError(f"the footer points {footer.distance} bytes back.")
    return footer
