"""HEIF photographs made by tests: single items, tiles, alpha and orientation."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

# NAL unit types of the video, sequence and picture parameter sets.
_PARAMETER_SETS = (32, 33, 34)


def write_heif(
    path: Path,
    tiles: Sequence[np.ndarray],
    *,
    columns: int = 1,
    size: tuple[int, int] | None = None,
    alpha: np.ndarray | None = None,
    properties: Sequence[tuple[bytes, bytes]] = (),
    codec: str = "hevc",
) -> Path:
    """Write RGB tiles uint8 [H, W, 3], row by row, as one photograph.

    Args:
        path: the file.
        tiles: one picture, or all tiles of one size.
        columns: tiles in a row.
        size: (width, height) that the tiles are cut to; None for a single item.
        alpha: uint8 [H, W] for a single item.
        properties: further item properties, such as (b"irot", b"\\1").
        codec: `hevc` for a HEIC file, `av1` for an AVIF file.
    """
    code, kind, brand = {
        "hevc": (_hevc, b"hvc1", b"heic"),
        "av1": (_av1, b"av01", b"avif"),
    }[codec]
    coded = [code(tile) for tile in tiles]
    if alpha is not None:
        coded.append(code(np.repeat(alpha[..., None], 3, axis=2)))
    n, primary = len(coded), len(coded) + 1 if size else 1
    kinds = [kind] * n + ([b"grid"] if size else [])
    links, derived = b"", b""
    if size:
        ids = struct.pack(f">HH{n}H", primary, n, *range(1, n + 1))
        links = _full(b"iref", 0, _box(b"dimg", ids))
        derived = struct.pack(">BBBBHH", 0, 0, n // columns - 1, columns - 1, *size)
    if alpha is not None:
        links = _full(b"iref", 0, _box(b"auxl", struct.pack(">HHH", 2, 1, 1)))
    height, width = tiles[0].shape[:2]
    shown = [_box(name, body) for name, body in properties]
    auxiliary = _full(b"auxC", 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    ipco = [coded[0][0], _extent(width, height), _extent(*(size or (width, height)))]
    ipco += [auxiliary, *shown, coded[-1][0]]
    ipma = {item: [0x81, 2] for item in range(1, n + 1)}
    if alpha is not None:
        ipma[2] = [0x80 | len(ipco), 2, 4]
    ipma[primary] = ([3] if size else ipma[1]) + [0x85 + i for i in range(len(shown))]
    tables = [
        _full(b"hdlr", 0, bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", 0, struct.pack(">H", primary)),
        _full(b"iinf", 0, struct.pack(">H", len(kinds)) + b"".join(map(_entry, enumerate(kinds)))),
        links,
        _box(b"iprp", _box(b"ipco", b"".join(ipco)) + _associations(ipma)),
        _box(b"idat", derived),
    ]
    start = _box(b"ftyp", brand + bytes(4) + brand + b"mif1miaf")
    lengths = [len(data) for _, data in coded]
    empty = _full(b"meta", 0, b"".join([*tables, _locations(lengths, 0, derived)]))
    locations = _locations(lengths, len(start) + len(empty) + 8, derived)
    meta = _full(b"meta", 0, b"".join([*tables, locations]))
    path.write_bytes(start + meta + _box(b"mdat", b"".join(data for _, data in coded)))
    return path


def _av1(picture: np.ndarray) -> tuple[bytes, bytes]:
    """The configuration box and the bytes of one AV1 picture."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="AVIF", quality=95, speed=10)
    data = file.getvalue()
    at = data.index(b"av1C") - 4
    (length,) = struct.unpack_from(">I", data, at)
    return data[at : at + length], data[data.index(b"mdat") + 4 :]


def _hevc(picture: np.ndarray) -> tuple[bytes, bytes]:
    """The configuration box and the bytes of one HEVC picture, in full range as photographs are."""
    encoder: Any = av.CodecContext.create("libx265", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.color_range, encoder.time_base = "yuv420p", 2, Fraction(1)
    encoder.options = {"x265-params": "log-level=none:crf=8", "preset": "ultrafast"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_color_range="JPEG")
    stream = b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode(None))
    units = [unit for unit in re.split(b"\0*\0\0\1", stream) if unit]
    sets = [unit for unit in units if unit[0] >> 1 in _PARAMETER_SETS]
    # Profile and level stay 0: decoders read them from the sets. Lengths take four bytes.
    head = b"\1" + bytes(20) + bytes([3, len(sets)])
    arrays = [bytes([unit[0] >> 1, 0, 1]) + struct.pack(">H", len(unit)) + unit for unit in sets]
    data = [struct.pack(">I", len(unit)) + unit for unit in units if unit not in sets]
    return _box(b"hvcC", head + b"".join(arrays)), b"".join(data)


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def _full(name: bytes, version: int, body: bytes) -> bytes:
    return _box(name, bytes([version, 0, 0, 0]) + body)


def _extent(width: int, height: int) -> bytes:
    return _full(b"ispe", 0, struct.pack(">II", width, height))


def _entry(numbered: tuple[int, bytes]) -> bytes:
    return _full(b"infe", 2, struct.pack(">HH4s", numbered[0] + 1, 0, numbered[1]) + b"\0")


def _associations(ipma: dict[int, list[int]]) -> bytes:
    lines = [struct.pack(">HB", item, len(list_)) + bytes(list_) for item, list_ in ipma.items()]
    return _full(b"ipma", 0, struct.pack(">I", len(lines)) + b"".join(lines))


def _locations(lengths: list[int], begin: int, derived: bytes) -> bytes:
    """An iloc box: coded items are in the file, the derived one in the idat box."""
    lines = []
    for item, length in enumerate(lengths, 1):
        lines.append(struct.pack(">HHHHII", item, 0, 0, 1, begin, length))
        begin += length
    if derived:
        lines.append(struct.pack(">HHHHII", len(lengths) + 1, 1, 0, 1, 0, len(derived)))
    return _full(b"iloc", 1, struct.pack(">HH", 0x4400, len(lines)) + b"".join(lines))
