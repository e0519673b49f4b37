"""Syntax elements of an `.aev` file: limits, varints, CRC-8, chunks and resynchronisation.

sync 2 | type 1 | length 1-4 | CRC-8 of type and length | body | CRC-32 of type, length, body

A varint holds 7 bits a byte, low bits first; the top bit is set if more follow. A longer form
starts counting where the shorter one ended, so each number has exactly one encoding and three
bytes reach 2,113,663 (a 2 MiB group still has a three-byte length).

Each limit is checked before anything of that size is allocated.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aehub.errors import FormatError

MAX_VARINT_BYTES = 6


class TruncatedField(FormatError):
    """The data ends in the middle of a field."""


def pack_varint(value: int) -> bytes:
    """Encode an integer >= 0 in 1 to 6 bytes."""
    encoded = bytearray()
    rest = value
    while rest > 127:
        encoded.append(rest & 127 | 128)
        rest = (rest >> 7) - 1
    encoded.append(rest)
    if value < 0 or len(encoded) > MAX_VARINT_BYTES:
        raise ValueError(f"{value} does not fit a varint")
    return bytes(encoded)


def pack_signed(value: int) -> bytes:
    """Encode any integer as the varint of 0, -1, 1, -2, 2 ... counted from 0."""
    return pack_varint(2 * value if value >= 0 else -2 * value - 1)


class Cursor:
    """Sequential reader of fields in `data`, starting at byte `at`."""

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        """Read one byte as 0 to 255."""
        if self.at >= len(self.data):
            raise TruncatedField("a field is cut short.")
        self.at += 1
        return self.data[self.at - 1]

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        if size > len(self.data) - self.at:
            raise TruncatedField("a field is cut short.")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def varint(self) -> int:
        """Read a varint."""
        value = shift = 0
        for _ in range(MAX_VARINT_BYTES):
            byte = self.byte()
            value += (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            value += 1 << shift
        raise FormatError(f"an integer is longer than {MAX_VARINT_BYTES} bytes.")

    def signed(self) -> int:
        """Read a signed varint."""
        value = self.varint()
        return -(value + 1 >> 1) if value & 1 else value >> 1


def _crc8_table() -> bytes:
    table = []
    for remainder in range(256):
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x12F if remainder & 0x80 else 0)
        table.append(remainder)
    return bytes(table)


_TABLE = _crc8_table()


def crc8(data: bytes) -> int:
    """CRC-8/AUTOSAR: polynomial 0x2F, start and final XOR 0xFF, not reflected.

    Chosen because it detects any three flipped bits in messages as short as a chunk header.
    """
    remainder = 0xFF
    for byte in data:
        remainder = _TABLE[remainder ^ byte]
    return remainder ^ 0xFF


MAX_CHUNK = 64 << 20
"""Bytes in the body of a chunk: 10 s of 4K at 50 Mbit/s; fits in any memory."""

MAX_AUDIO_PIECE = 1 << 20
"""Bytes in one audio chunk: limits the loss by damage and the delay on a pipe."""

MAX_METADATA = 1 << 20
"""Bytes of JSON in one metadata chunk."""

MAX_SIDE = 16384
"""Width or height in luma samples: the limit of AV1 level 6, WebP and most GPUs."""

MAX_PIXELS = 1 << 26
"""Luma samples in a coded plane: twice 8K UHD; a float32 decoder needs about 1 GB there."""

MAX_GROUP_FRAMES = 16384
"""Frames in a group: more than a minute at 240 frames per second."""

MAX_TICKS = 1 << 40
"""Ticks shown by one group: three hours at the finest time base."""

MAX_QUALITY = 10_000
"""Quality in hundredths: 100.00."""

MAX_MODEL_NAME = 40
"""Bytes of UTF-8 in a model name; keeps the file header within `MAX_FILE_HEADER`."""

MAX_FILE_HEADER = 96
"""Bytes of a file header of payload formats up to 3 at most, magic and CRC included."""

MAX_REFERENCES = 4
"""References of one frame; bounds the frames that a decoder must hold."""

MAX_MINI_GOP = 64
"""Frames in a mini-GOP (B-frames and their key picture): a decoder holds at most eight frames."""

MAX_WASTE = 1 << 30
"""Bytes checked without success after damage: bounds the time spent on a hostile file."""

SYNC = b"\xaeV"
GROUP, AUDIO, METADATA, INDEX, FOOTER, FINGERPRINTS = 0x01, 0x81, 0x82, 0x83, 0x84, 0x85
KNOWN = frozenset((GROUP, AUDIO, METADATA, INDEX, FOOTER, FINGERPRINTS))
OPTIONAL = 0x80
"""Bit of a chunk type: readers that do not know the type may skip the chunk."""

MAX_CHUNK_HEADER = 2 + 1 + 4 + 1
BLOCK = 1 << 18
"""Bytes per read of a stream."""


@dataclass(frozen=True)
class ChunkHeader:
    """Header of a chunk: type, offset in the file, sizes of header and body in bytes."""

    kind: int
    offset: int
    header_size: int
    length: int

    @property
    def size(self) -> int:
        """Bytes of the whole chunk."""
        return self.header_size + self.length + 4


@dataclass(frozen=True)
class Chunk:
    """An intact chunk: header, body, and the four bytes of its CRC-32."""

    header: ChunkHeader
    body: memoryview
    crc: bytes


@dataclass(frozen=True)
class Gap:
    """Bytes outside any intact chunk; `cut` if the file ends inside a chunk there."""

    offset: int
    size: int
    cut: bool = False


def pack_chunk(kind: int, *parts: bytes) -> bytes:
    """Frame `parts`, joined, as one chunk."""
    header = bytes((kind,)) + pack_varint(sum(map(len, parts)))
    crc = zlib.crc32(header)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((SYNC, header, bytes((crc8(header),)), *parts, crc.to_bytes(4, "little")))


def parse_chunk_header(data: bytes, offset: int) -> ChunkHeader | None:
    """Read the chunk header at the start of `data`; None if there is no valid one."""
    if not data.startswith(SYNC):
        return None
    cursor = Cursor(data[:MAX_CHUNK_HEADER], len(SYNC))
    try:
        kind, length = cursor.byte(), cursor.varint()
        valid = cursor.byte() == crc8(data[2 : cursor.at - 1])
    except FormatError:
        return None
    return ChunkHeader(kind, offset, cursor.at, length) if valid and length <= MAX_CHUNK else None


def refuse_unknown(header: ChunkHeader, name: str) -> None:
    """Raise `FormatError` if a chunk is of an unknown type that must not be skipped."""
    if header.kind not in KNOWN and not header.kind & OPTIONAL:
        raise FormatError(
            f"{name} has a chunk of type {header.kind:#04x} at byte {header.offset} that this "
            f"AEHub does not know and must not skip: update it to read the file."
        )


def parse_chunk(data: bytes, header: ChunkHeader) -> Chunk | None:
    """Check the chunk with this header at the start of `data`; None if it is not intact."""
    view = memoryview(data)[: header.size]
    if len(view) < header.size:
        return None
    crc = zlib.crc32(view[2 : header.header_size - 1])
    crc = zlib.crc32(view[header.header_size : -4], crc)
    if crc.to_bytes(4, "little") != view[-4:]:
        return None
    return Chunk(header, view[header.header_size : -4], bytes(view[-4:]))


class PeekBuffer:
    """Look-ahead buffer of a stream; reads no more blocks than needed."""

    def __init__(self, read: Callable[[int], bytes], position: int = 0) -> None:
        self.position = position
        self._read = read
        self._ahead = bytearray()
        self._ended = False

    @property
    def read_offset(self) -> int:
        """Offset of the next byte to read from the stream."""
        return self.position + len(self._ahead)

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end of the stream."""
        # In blocks: a hostile length must not allocate more than the stream holds.
        while len(self._ahead) < size and not self._ended:
            piece = self._read(BLOCK)
            self._ended = not piece
            self._ahead += piece
        return bytes(memoryview(self._ahead)[:size])

    def skip(self, size: int) -> None:
        """Advance by `size` bytes that were peeked."""
        del self._ahead[:size]
        self.position += size

    def find(self, mark: bytes) -> bool:
        """Advance to the next `mark`; without one, advance to the end and return False."""
        while (at := self._ahead.find(mark)) < 0:
            self.skip(max(0, len(self._ahead) - len(mark) + 1))
            ahead = len(self._ahead)
            if len(self.peek(ahead + 1)) == ahead:
                self.skip(ahead)
                return False
        self.skip(at)
        return True


def buffer_at(read_at: Callable[[int, int], bytes], offset: int) -> PeekBuffer:
    """Return a buffer on a file from `offset` on; other reads of the file may interleave."""
    buffer = PeekBuffer(lambda size: read_at(buffer.read_offset, size), offset)
    return buffer


def iter_chunks(buffer: PeekBuffer) -> Iterator[Chunk | Gap]:
    """Yield all intact chunks of a stream, and the damaged gaps between them."""
    waste = 0
    while buffer.peek(1):
        start = buffer.position
        chunk, wanted = _read_chunk(buffer)
        cut = chunk is None and len(buffer.peek(wanted)) < wanted
        while chunk is None and waste <= MAX_WASTE:
            buffer.skip(1)
            if not buffer.find(SYNC):
                break
            chunk, wanted = _read_chunk(buffer)
            waste += wanted
        if buffer.position > start:
            yield Gap(start, buffer.position - start, cut and chunk is None)
        if chunk is None:
            return
        yield chunk
        buffer.skip(chunk.header.size)


def _read_chunk(buffer: PeekBuffer) -> tuple[Chunk | None, int]:
    """Return the chunk at the buffer's position if intact, and the bytes needed to check it."""
    header = parse_chunk_header(buffer.peek(MAX_CHUNK_HEADER), buffer.position)
    if header is None:
        return None, MAX_CHUNK_HEADER
    return parse_chunk(buffer.peek(header.size), header), header.size
