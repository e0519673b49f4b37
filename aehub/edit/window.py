"""Where the shown window lies when the coded plane turns."""

from __future__ import annotations

from dataclasses import replace

from aehub.clips.colour import as_shown, as_tagged
from aehub.container import FileHead, GroupHead
from aehub.errors import InputError

_TRANSPOSES, _FLIPS_ROWS, _FLIPS_COLUMNS = 4, 2, 1
"""Bits of an element of D4, in the order in which they act."""


def turned_file_head(head: FileHead, g: int) -> FileHead:
    """The head of the file turned by element `g` of `aehub.models.d4`."""
    if not g & _TRANSPOSES:
        return head
    width, height = head.height, head.width
    shown = as_shown(head.colour, head.width, head.height)
    return replace(head, width=width, height=height, colour=as_tagged(shown, width, height),
                   pixel_aspect=1 / head.pixel_aspect)


def turned_group_head(head: GroupHead, file_head: FileHead, g: int) -> GroupHead:
    """The head of a group of that file, turned: only the window moves.

    Raises:
        InputError: the window leaves more than 31 samples above or left of it, which no other
            window of the format can mirror.
    """
    (width, height), (x, y) = (file_head.width, file_head.height), head.crop
    columns, rows = file_head.coded_size(head.crop)
    if g & _TRANSPOSES:
        width, height, x, y, columns, rows = height, width, y, x, rows, columns
    if g & _FLIPS_ROWS:
        y = rows - y - height
    if g & _FLIPS_COLUMNS:
        x = columns - x - width
    if turned_file_head(file_head, g).coded_size((x, y)) != (columns, rows):
        raise InputError(
            f"a group shows a window that begins at {head.crop}; files whose window begins "
            "beyond 31 samples cannot be turned as they are.",
            "Decode and compress it again with --via-pixels (via_pixels=True).")
    return replace(head, crop=(x, y))
