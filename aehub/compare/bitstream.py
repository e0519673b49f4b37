"""Elementary streams bared to what a decoder needs.

x264 and x265 sign every stream with their settings in an SEI unit (x265: 2.3 kB), which on a
short clip would be counted as picture.
"""

from __future__ import annotations

import re

_START_CODE = re.compile(rb"\x00?\x00\x00\x01")
_H264_SEI = 6
_HEVC_SEI = (39, 40)
_AV1_TEMPORAL_DELIMITER, _AV1_METADATA, _AV1_PADDING = 2, 5, 15


def bare_h264(data: bytes) -> bytes:
    """An Annex B access unit without its SEI units."""
    return b"".join(unit for unit, first in _annex_b_units(data) if first & 0x1F != _H264_SEI)


def bare_hevc(data: bytes) -> bytes:
    """An Annex B access unit without its prefix and suffix SEI units."""
    return b"".join(
        unit for unit, first in _annex_b_units(data) if first >> 1 & 0x3F not in _HEVC_SEI
    )


def bare_av1(data: bytes) -> bytes:
    """A temporal unit without delimiters, metadata and padding.

    Delimiters go because files do not store them either (AV1 in ISOBMFF, 2.4).
    """
    dropped = (_AV1_TEMPORAL_DELIMITER, _AV1_METADATA, _AV1_PADDING)
    kept, position = [], 0
    while position < len(data):
        header = data[position]
        size, start = _leb128(data, position + 1 + (header >> 2 & 1))
        if header >> 3 & 0xF not in dropped:
            kept.append(data[position : start + size])
        position = start + size
    return b"".join(kept)


def _annex_b_units(data: bytes) -> list[tuple[bytes, int]]:
    """(unit with its start code, first byte of its header) for every NAL unit."""
    starts = list(_START_CODE.finditer(data))
    ends = [match.start() for match in starts[1:]] + [len(data)]
    return [
        (data[match.start() : end], data[match.end()])
        for match, end in zip(starts, ends, strict=True)
    ]


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """(value, position after it) of the little-endian base-128 number at `position`."""
    value = 0
    for shift in range(0, 56, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, position
