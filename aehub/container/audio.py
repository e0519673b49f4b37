"""Audio travels as a Matroska file cut into numbered pieces, so that a lost one is noticed."""

from __future__ import annotations

from collections.abc import Iterator

from aehub.container.limits import MAX_AUDIO_PIECE
from aehub.container.varint import Cursor, pack_varint
from aehub.errors import DamagedError, FormatError


def cut(data: bytes, first: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (number, bytes) of the pieces of at most 1 MiB; numbers count from `first`."""
    for number, at in enumerate(range(0, len(data), MAX_AUDIO_PIECE), first):
        yield pack_varint(number), data[at : at + MAX_AUDIO_PIECE]


def unpack_piece(body: bytes | memoryview, number: int) -> bytes:
    """Return the bytes of piece `number`.

    Raises:
        DamagedError: it is another piece, so one was lost.
        FormatError: it is larger than 1 MiB.
    """
    cursor = Cursor(body)
    found = cursor.varint()
    if found != number:
        raise DamagedError(f"the audio breaks off: piece {number} is lost.")
    size = len(body) - cursor.at
    if size > MAX_AUDIO_PIECE:
        raise FormatError(f"an audio piece of {size} bytes is larger than {MAX_AUDIO_PIECE}.")
    return cursor.take(size)
