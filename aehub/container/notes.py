"""Metadata: a JSON object that travels beside the pictures and that no decoder needs."""

from __future__ import annotations

import json
from typing import Any

from aehub.container.limits import MAX_METADATA
from aehub.errors import FormatError, InputError

PLAYS = "plays"
"""Key of how often an animation is played; absent or 0 is for ever."""


def pack_notes(notes: dict[str, Any]) -> bytes:
    """Encode a JSON object.

    Raises:
        InputError: it is not JSON, or larger than 1 MiB.
    """
    try:
        text = json.dumps(notes, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        packed = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the metadata is not JSON: {error}.") from error
    if len(packed) > MAX_METADATA:
        raise InputError(f"{len(packed)} bytes of metadata are more than {MAX_METADATA}.")
    return packed


def unpack_notes(body: bytes | memoryview) -> dict[str, Any]:
    """Decode what `pack_notes` wrote.

    Raises:
        FormatError: it is not a JSON object, or larger than 1 MiB.
    """
    if len(body) > MAX_METADATA:
        raise FormatError(f"{len(body)} bytes of metadata are more than {MAX_METADATA}.")
    try:
        notes = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the metadata is not JSON: {error}.") from error
    if not isinstance(notes, dict):
        raise FormatError(f"the metadata is a {type(notes).__name__}, not a JSON object.")
    return notes


def plays_in(notes: dict[str, Any]) -> int:
    """Return how often the notes say that a clip is played, 0 where they say nothing sensible."""
    value = notes.get(PLAYS)
    return value if type(value) is int and 0 <= value < 1 << 16 else 0
