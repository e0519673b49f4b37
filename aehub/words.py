"""Numbers in words, for messages and tables."""

from __future__ import annotations


def count_text(count: int, noun: str) -> str:
    """Return a number with its noun: "1 frame", "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
