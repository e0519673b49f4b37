"""The small pieces of the format: variable-length integers, a cursor that reads them, the CRC-8.

A varint holds 7 bits a byte, low bits first, the top bit saying that more follow. A longer form
starts counting where the shorter one ended, so each number has exactly one encoding and three
bytes reach 2,113,663 (a 2 MiB group still has a three-byte length).
"""

from __future__ import annotations

from aehub.errors import FormatError

MAX_VARINT_BYTES = 6


class EndsEarly(FormatError):
    """The bytes stop in the middle of a field."""


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
    """Reads fields one after the other from `data`, starting at byte `at`."""

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        """Read one byte as 0 to 255."""
        if self.at >= len(self.data):
            raise EndsEarly("a field is cut short.")
        self.at += 1
        return self.data[self.at - 1]

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        if size > len(self.data) - self.at:
            raise EndsEarly("a field is cut short.")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def varint(self) -> int:
        """Read what `pack_varint` wrote."""
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
        """Read what `pack_signed` wrote."""
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

    Chosen because it finds any three flipped bits in messages as short as a chunk head.
    """
    remainder = 0xFF
    for byte in data:
        remainder = _TABLE[remainder ^ byte]
    return remainder ^ 0xFF
