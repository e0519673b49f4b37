"""Chunks that no picture decoder needs: metadata (a JSON object) and audio.

Audio is a Matroska file in numbered pieces, so that a lost one is detected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aehub.bitstream.chunk import MAX_AUDIO_PIECE, MAX_METADATA, Cursor, pack_varint
from aehub.errors import DamagedError, FormatError, InputError

PLAYS = "plays"
"""Key of the number of times an animation is played; absent or 0: infinitely."""


def pack_metadata(metadata: dict[str, Any]) -> bytes:
    """Encode a JSON object.

    Raises:
        InputError: it is not JSON, or larger than 1 MiB.
    """
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        packed = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the metadata is not JSON: {error}.") from error
    if len(packed) > MAX_METADATA:
        raise InputError(f"{len(packed)} bytes of metadata are more than {MAX_METADATA}.")
    return packed


def unpack_metadata(body: bytes | memoryview) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        FormatError: it is not a JSON object, or larger than 1 MiB.
    """
    if len(body) > MAX_METADATA:
        raise FormatError(f"{len(body)} bytes of metadata are more than {MAX_METADATA}.")
    try:
        metadata = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the metadata is not JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise FormatError(f"the metadata is a {type(metadata).__name__}, not a JSON object.")
    return metadata


def play_count(metadata: dict[str, Any]) -> int:
    """Return how often a clip is played; 0, infinitely, if the entry is absent or invalid."""
    value = metadata.get(PLAYS)
    return value if type(value) is int and 0 <= value < 1 << 16 else 0


def split_audio(data: bytes, first: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (number, bytes) of pieces of at most 1 MiB; numbers count from `first`."""
    for number, at in enumerate(range(0, len(data), MAX_AUDIO_PIECE), first):
        yield pack_varint(number), data[at : at + MAX_AUDIO_PIECE]


def unpack_piece(body: bytes | memoryview, number: int) -> bytes:
    """Return the bytes of piece `number`.

    Raises:
        DamagedError: it is another piece, so that one was lost.
        FormatError: it is larger than 1 MiB.
    """
    cursor = Cursor(body)
    if cursor.varint() != number:
        raise DamagedError(f"the audio breaks off: piece {number} is lost.")
    size = len(body) - cursor.at
    if size > MAX_AUDIO_PIECE:
        raise FormatError(f"an audio piece of {size} bytes is larger than {MAX_AUDIO_PIECE}.")
    return cursor.take(size)
