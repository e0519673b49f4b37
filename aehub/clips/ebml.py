"""The elements of a Matroska file, to tell a whole one from one that lost a part."""

from __future__ import annotations

from typing import BinaryIO

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_OUTSIDE = frozenset({0x1A45DFA3, _SEGMENT, 0xEC})
# Seek head, info, tracks, clusters, cues, attachments, chapters, tags, void, checksum.
_IN_SEGMENT = frozenset({
    0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,
    0xEC, 0xBF,
})  # fmt: skip
# Time, simple blocks, block groups, position, previous size, silent tracks, void, checksum.
_IN_CLUSTER = frozenset({0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xEC, 0xBF})


def is_whole(file: BinaryIO) -> bool:
    """Return whether the elements of the segment follow each other to its end, all of them known.

    What is appended to it does no harm. Segments and clusters of unknown length, as of live
    recordings, are not known to be whole.
    """
    return _follow(file, 0, file.seek(0, 2), _OUTSIDE)


def _follow(file: BinaryIO, position: int, end: int, known: frozenset[int]) -> bool:
    while position < end:
        file.seek(position)
        head = file.read(12)
        name, width = _number(head, keep_marker=True)
        size, length = _number(head[width:], keep_marker=False)
        first = position + width + length
        position = first + size
        if not width or not length or name not in known or position > end:
            return False
        inside = {_SEGMENT: _IN_SEGMENT, _CLUSTER: _IN_CLUSTER}.get(name)
        if inside is not None and not _follow(file, first, position, inside):
            return False
        if name == _SEGMENT:
            break
    return True


def _number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """A number and its width, 0 where there is none; leading zero bits tell the width."""
    width = 9 - data[0].bit_length() if data else 0
    if not 0 < width <= min(8, len(data)):
        return 0, 0
    value = int.from_bytes(data[:width], "big")
    return (value if keep_marker else value & ((1 << 7 * width) - 1)), width
