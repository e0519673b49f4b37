"""The header of a safetensors file, held to bounds before anything is allocated for it.

The file begins with the length of the header, 8 bytes little-endian; the header is a JSON object
of tensors, each with its type, shape and place; the rest are numbers.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_HEADER = 1024 * 1024
"""Bytes of a header; one of 500 tensors takes 60 kB."""
MAX_TENSORS = 8192
_MAX_AXES, _MAX_SIDE = 8, 2**31
_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
          "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}


def problem_of(data: bytes) -> str | None:
    """What keeps `data` from being a safetensors file that is safe to read; None if nothing."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        return "its header is longer than the file"
    if length > MAX_HEADER:
        return f"its header of {length} bytes is longer than {MAX_HEADER}"
    try:
        header = json.loads(data[8:8 + length])
    except (ValueError, RecursionError):
        return "its header is not JSON"
    if not isinstance(header, dict):
        return "its header is not an object"
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        return f"it lists {len(header)} tensors, more than {MAX_TENSORS}"
    room = len(data) - 8 - length
    wrong = (name for name, entry in header.items() if not _fits(entry, room))
    name = next(wrong, None)
    return None if name is None else f"the tensor {name[:80]!r} does not fit the file"


def _fits(entry: Any, room: int) -> bool:
    """Whether a tensor's entry is well-formed and its numbers lie within `room` bytes."""
    if not isinstance(entry, dict) or str(entry.get("dtype")) not in _SIZES:
        return False
    shape: Any = entry.get("shape")
    place: Any = entry.get("data_offsets")
    if not _counts(shape, _MAX_AXES) or not _counts(place, 2) or len(place) != 2:
        return False
    begin, end = place
    size = _SIZES[str(entry["dtype"])] * math.prod(shape)
    return all(side < _MAX_SIDE for side in shape) and end <= room and end - begin == size


def _counts(numbers: Any, most: int) -> bool:
    return isinstance(numbers, list) and len(numbers) <= most and all(
        type(number) is int and number >= 0 for number in numbers)
