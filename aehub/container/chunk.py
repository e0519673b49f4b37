"""Chunks: the framing that makes every part of an `.aev` file checkable and findable.

sync 2 | type 1 | length 1-4 | CRC-8 of type and length | body | CRC-32 of type, length, body
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aehub.container.limits import MAX_CHUNK, MAX_WASTE
from aehub.container.varint import Cursor, crc8, pack_varint
from aehub.errors import FormatError

SYNC = b"\xaeV"
GROUP, AUDIO, METADATA, INDEX, FOOTER = 0x01, 0x81, 0x82, 0x83, 0x84
KNOWN = frozenset((GROUP, AUDIO, METADATA, INDEX, FOOTER))
OPTIONAL = 0x80
"""Bit of a type that lets a reader who does not know it skip the chunk."""

MAX_HEAD = 2 + 1 + 4 + 1
BLOCK = 1 << 18


@dataclass(frozen=True)
class Place:
    """Where a chunk lies: its type, offset in the file, sizes of its head and body in bytes."""

    kind: int
    offset: int
    head_size: int
    length: int

    @property
    def size(self) -> int:
        """Bytes of the whole chunk."""
        return self.head_size + self.length + 4


@dataclass(frozen=True)
class Chunk:
    """An intact chunk: where it lies and its body."""

    place: Place
    body: memoryview


@dataclass(frozen=True)
class Gap:
    """Bytes that are no intact chunk; `cut` says that the file ends inside a chunk there."""

    offset: int
    size: int
    cut: bool = False


def pack_chunk(kind: int, *parts: bytes) -> bytes:
    """Frame `parts`, joined, as one chunk."""
    head = bytes((kind,)) + pack_varint(sum(map(len, parts)))
    crc = zlib.crc32(head)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((SYNC, head, bytes((crc8(head),)), *parts, crc.to_bytes(4, "little")))


def parse_head(data: bytes, offset: int) -> Place | None:
    """Read the chunk head at the start of `data`; None if there is no valid one."""
    if not data.startswith(SYNC):
        return None
    cursor = Cursor(data[:MAX_HEAD], len(SYNC))
    try:
        kind, length = cursor.byte(), cursor.varint()
        valid = cursor.byte() == crc8(data[2 : cursor.at - 1])
    except FormatError:
        return None
    return Place(kind, offset, cursor.at, length) if valid and length <= MAX_CHUNK else None


def refuse_unknown(place: Place, name: str) -> None:
    """Raise `FormatError` if a chunk is of a type that must be understood and is not."""
    if place.kind not in KNOWN and not place.kind & OPTIONAL:
        raise FormatError(
            f"{name} has a chunk of type {place.kind:#04x} at byte {place.offset} that this "
            f"AEHub does not know and must not skip: update it to read the file."
        )


def parse_chunk(data: bytes, place: Place) -> Chunk | None:
    """Check the chunk whose head is `place` at the start of `data`; None if it is not intact."""
    view = memoryview(data)[: place.size]
    if len(view) < place.size:
        return None
    crc = zlib.crc32(view[2 : place.head_size - 1])
    crc = zlib.crc32(view[place.head_size : -4], crc)
    if crc.to_bytes(4, "little") != view[-4:]:
        return None
    return Chunk(place, view[place.head_size : -4])


class Window:
    """Looks ahead in a stream without losing bytes, and never asks for more than it needs."""

    def __init__(self, read: Callable[[int], bytes], position: int = 0) -> None:
        self.position = position
        self._read = read
        self._ahead = bytearray()
        self._ended = False

    @property
    def ahead(self) -> int:
        """Offset of the next byte to read from the stream."""
        return self.position + len(self._ahead)

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only where the stream ends."""
        # In blocks: a hostile length must not allocate more than the stream really holds.
        while len(self._ahead) < size and not self._ended:
            piece = self._read(BLOCK)
            self._ended = not piece
            self._ahead += piece
        return bytes(memoryview(self._ahead)[:size])

    def skip(self, size: int) -> None:
        """Move on by `size` bytes that were peeked."""
        del self._ahead[:size]
        self.position += size

    def find(self, mark: bytes) -> bool:
        """Move on to the next `mark`, or to the end of the stream and return False."""
        while (at := self._ahead.find(mark)) < 0:
            self.skip(max(0, len(self._ahead) - len(mark) + 1))
            ahead = len(self._ahead)
            if len(self.peek(ahead + 1)) == ahead:
                self.skip(ahead)
                return False
        self.skip(at)
        return True


def window_at(read_at: Callable[[int, int], bytes], offset: int) -> Window:
    """Return a window on a file from `offset` on; others may read the file in between."""
    window = Window(lambda size: read_at(window.ahead, size), offset)
    return window


def walk(window: Window) -> Iterator[Chunk | Gap]:
    """Yield every intact chunk of a stream, and what lies between them where it is damaged."""
    waste = 0
    while window.peek(1):
        start = window.position
        chunk, wanted = _attempt(window)
        cut = chunk is None and len(window.peek(wanted)) < wanted
        while chunk is None and waste <= MAX_WASTE:
            window.skip(1)
            if not window.find(SYNC):
                break
            chunk, wanted = _attempt(window)
            waste += wanted
        if window.position > start:
            yield Gap(start, window.position - start, cut and chunk is None)
        if chunk is None:
            return
        yield chunk
        window.skip(chunk.place.size)


def _attempt(window: Window) -> tuple[Chunk | None, int]:
    """Return the chunk at the window's position if it is intact, and how many bytes it wanted."""
    place = parse_head(window.peek(MAX_HEAD), window.position)
    if place is None:
        return None, MAX_HEAD
    return parse_chunk(window.peek(place.size), place), place.size
