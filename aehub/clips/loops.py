"""The number of plays of an animation, which decoders do not report."""

from __future__ import annotations

from typing import Any, BinaryIO

from aehub.clips import still

ANIMATIONS = frozenset({"gif", "apng", "webp"})
TAG = "PLAYS"
"""Of Matroska files written here, which have no field for it."""


def plays_of(file: BinaryIO, kind: str) -> int:
    """Return how often a GIF, APNG or animated WebP is played, 0 for ever or where it is damaged.

    A GIF that says nothing is played once; otherwise it says how often it is repeated.
    """
    told = still.metadata(file)
    loop = told.get("loop") if told else 0
    if kind == "gif":
        return 1 if loop is None else int(loop) + 1 if loop else 0
    return int(loop or 0)


def stated_plays(value: Any) -> int:
    """Return what a tag or a note says, 0 where it is no such number."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 6 else 0
