"""Open bitstream units (OBU) of AV1: pictures of a stream and the quantiser of each.

Sequence and frame headers are read up to `base_q_idx`, which the restorer goes by; sizes of
references that differ, frame numbers and decoder models, which no stream of ours has, are refused.

Source: AV1 Bitstream and Decoding Process Specification (2019), 5.3 to 5.9 and 5.9.12.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aehub.errors import DamagedError

_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _FRAME_HEADER, _FRAME = 1, 2, 3, 6
_TILE_GROUP, _METADATA, _TILE_LIST, _PADDING = 4, 5, 8, 15
_DROPPED = (_TEMPORAL_DELIMITER, _METADATA, _PADDING)
"""Units that no decoder needs and that files do not store (AV1 in ISOBMFF, 2.4)."""
TEMPORAL_DELIMITER = bytes((_TEMPORAL_DELIMITER << 3 | 0x02, 0))
"""The unit that every temporal unit of a bare stream begins with."""
_KEY_FRAME, _INTRA_ONLY_FRAME, _SWITCH_FRAME = 0, 2, 3
_N_REFERENCES, _REFERENCES_PER_FRAME = 8, 7
_HEADER_BYTES = 256
"""Of a unit that are looked at: 32 operating points, 92 bytes, are the longest part of a header."""
_MAX_TILE_WIDTH, _MAX_TILE_AREA, _MAX_TILES = 4096, 4096 * 2304, 64


def damaged(reason: str) -> DamagedError:
    """The error of a payload that is no stream of this codec."""
    return DamagedError(f"a group does not decode: {reason}; verify the file.")


class Unit(NamedTuple):
    """One open bitstream unit.

    Attributes:
        type: obu_type.
        data: with its header and size.
        payload: without them.
    """

    type: int
    data: bytes
    payload: bytes


class TemporalUnit(NamedTuple):
    """The units that a decoder needs to show one more frame.

    Attributes:
        data: the units.
        base_q_idx: quantiser index of the frame that is shown, 0..255.
    """

    data: bytes
    base_q_idx: int


class _Bits:
    """Bits of a header from the highest of each byte on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, n: int = 1) -> int:
        """Read an unsigned number of `n` bits: f(n) of the specification."""
        self._left -= n
        if self._left < 0:
            raise damaged("its AV1 stream ends within a header")
        return (self._value >> self._left) & ((1 << n) - 1)


class _Sequence(NamedTuple):
    """Fields of a sequence header that frame headers depend on."""

    width_bits: int
    height_bits: int
    width: int
    height: int
    superblock: int
    order_hint_bits: int
    screen_content: int
    integer_mv: int
    ref_frame_mvs: bool
    superres: bool


_SELECT = 2
"""seq_force_screen_content_tools and seq_force_integer_mv that leave the choice to each frame."""


def units(data: bytes) -> Iterator[Unit]:
    """Split a stream with size fields into its units.

    Raises:
        DamagedError: it is none, or breaks off.
    """
    at = 0
    while at < len(data):
        head = data[at]
        if head & 0x81 or not head & 0x02:
            raise damaged(f"no AV1 unit begins at byte {at} of its stream")
        begin = at + (2 if head & 0x04 else 1)
        size = shift = 0
        while True:
            if begin >= len(data) or shift > 28:
                raise damaged("its AV1 stream ends within a unit")
            byte = data[begin]
            begin += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        if begin + size > len(data):
            raise damaged("its AV1 stream ends within a unit")
        yield Unit(head >> 3 & 15, data[at:begin + size], data[begin:begin + size])
        at = begin + size


def stripped(data: bytes) -> bytes:
    """Remove units that no decoder needs."""
    return b"".join(unit.data for unit in units(data) if unit.type not in _DROPPED)


def temporal_units(data: bytes) -> Iterator[TemporalUnit]:
    """Split a stream after each frame that is shown.

    Raises:
        DamagedError: it is no AV1 stream, breaks off, or has features that no stream of ours has.
    """
    sequence: _Sequence | None = None
    quantisers = [0] * _N_REFERENCES
    pending = b""
    for unit in units(data):
        pending += unit.data
        if unit.type == _SEQUENCE_HEADER:
            sequence = _read_sequence(_Bits(unit.payload[:_HEADER_BYTES]))
        elif unit.type in (_FRAME, _FRAME_HEADER):
            if sequence is None:
                raise damaged("a frame of its AV1 stream comes before the sequence header")
            header = _Bits(unit.payload[:_HEADER_BYTES])
            shown, q = _read_frame(header, sequence, quantisers)
            if shown:
                yield TemporalUnit(pending, q)
                pending = b""
        elif unit.type in (_TILE_GROUP, _TILE_LIST):
            raise damaged("its AV1 stream holds tiles apart from their frame")
    if pending:
        raise damaged("its AV1 stream ends before the last frame is shown")


def _read_sequence(bits: _Bits) -> _Sequence:
    """sequence_header_obu() (5.5.1) up to what frame headers depend on."""
    profile, still, reduced = bits.read(3), bits.read(), bits.read()
    timing = False if reduced else bits.read()
    if profile or still or reduced or timing:
        raise damaged("its AV1 stream is of another profile than 0")
    display_delay = bits.read()
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read()
        if display_delay and bits.read():
            bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if bits.read():
        raise damaged("its AV1 stream numbers its frames")
    superblock = 128 if bits.read() else 64
    bits.read(6)  # filter_intra, intra_edge_filter, interintra, masked, warped, dual_filter
    order_hint, ref_frame_mvs = bits.read(), False
    if order_hint:
        bits.read()
        ref_frame_mvs = bool(bits.read())
    screen_content = _SELECT if bits.read() else bits.read()
    integer_mv = _SELECT
    if screen_content and not bits.read():
        integer_mv = bits.read()
    order_hint_bits = bits.read(3) + 1 if order_hint else 0
    return _Sequence(width_bits, height_bits, width, height, superblock, order_hint_bits,
                     screen_content, integer_mv, ref_frame_mvs, bool(bits.read()))


def _read_frame(bits: _Bits, sequence: _Sequence, quantisers: list[int]) -> tuple[bool, int]:
    """uncompressed_header() (5.9.2) up to base_q_idx; updates those of the references.

    Returns:
        (the frame is shown; its base_q_idx).
    """
    if bits.read():
        return True, quantisers[bits.read(3)]
    kind, show = bits.read(2), bits.read()
    bits.read(0 if show else 1)  # showable_frame
    # All references are replaced.
    resets = kind == _SWITCH_FRAME or (kind == _KEY_FRAME and bool(show))
    intra = kind in (_KEY_FRAME, _INTRA_ONLY_FRAME)
    resilient = resets or bool(bits.read())
    no_cdf_update = bits.read()
    screen = bits.read() if sequence.screen_content == _SELECT else sequence.screen_content
    integer_mv = 0
    if screen:
        integer_mv = bits.read() if sequence.integer_mv == _SELECT else sequence.integer_mv
    other_size = kind == _SWITCH_FRAME or bool(bits.read())
    bits.read(sequence.order_hint_bits)
    bits.read(0 if intra or resilient else 3)  # primary_ref_frame
    refreshed = 0xFF if resets else bits.read(8)
    if (not intra or refreshed != 0xFF) and resilient and sequence.order_hint_bits:
        bits.read(_N_REFERENCES * sequence.order_hint_bits)
    if intra:
        size = _read_size(bits, sequence, other_size)
        bits.read(1 if screen and size[0] == sequence.width else 0)  # allow_intrabc
    else:
        size = _read_inter(bits, sequence, other_size, resilient, bool(integer_mv))
    bits.read(0 if no_cdf_update else 1)  # disable_frame_end_update_cdf
    _read_tiles(bits, sequence, *size)
    q = bits.read(8)
    for n in range(_N_REFERENCES):
        if refreshed >> n & 1:
            quantisers[n] = q
    return bool(show), q


def _read_inter(bits: _Bits, sequence: _Sequence, other_size: bool, resilient: bool,
                integer_mv: bool) -> tuple[int, int]:
    """References, size and motion of a frame that is not intra."""
    short = bits.read() if sequence.order_hint_bits else 0
    bits.read(6 if short else 3 * _REFERENCES_PER_FRAME)
    if other_size and not resilient:
        raise damaged("its AV1 stream changes the size of its frames")
    size = _read_size(bits, sequence, other_size)
    if not integer_mv:
        bits.read()  # allow_high_precision_mv
    if not bits.read():
        bits.read(2)  # interpolation_filter
    bits.read()  # is_motion_mode_switchable
    if not resilient and sequence.ref_frame_mvs:
        bits.read()  # use_ref_frame_mvs
    return size


def _read_size(bits: _Bits, sequence: _Sequence, other_size: bool) -> tuple[int, int]:
    """frame_size() and render_size() (5.9.5, 5.9.6): coded width and height."""
    width, height = sequence.width, sequence.height
    if other_size:
        width = bits.read(sequence.width_bits) + 1
        height = bits.read(sequence.height_bits) + 1
    if sequence.superres and bits.read():
        denominator = bits.read(3) + 9
        width = (8 * width + denominator // 2) // denominator
    if bits.read():
        bits.read(32)
    return width, height


def _read_tiles(bits: _Bits, sequence: _Sequence, width: int, height: int) -> None:
    """tile_info() (5.9.15) of evenly spaced tiles."""
    side = sequence.superblock
    columns, rows = (-(-(n + 7 & ~7) // side) for n in (width, height))
    least_columns = _tile_log2(_MAX_TILE_WIDTH // side, columns)
    most_columns = _tile_log2(1, min(columns, _MAX_TILES))
    most_rows = _tile_log2(1, min(rows, _MAX_TILES))
    least = max(least_columns, _tile_log2(_MAX_TILE_AREA // side**2, rows * columns))
    if not bits.read():
        raise damaged("its AV1 stream has tiles of uneven sizes")
    log2_columns = _increments(bits, least_columns, most_columns)
    log2_rows = _increments(bits, max(least - log2_columns, 0), most_rows)
    if log2_columns or log2_rows:
        bits.read(log2_columns + log2_rows)  # context_update_tile_id
        bits.read(2)  # tile_size_bytes_minus_1


def _increments(bits: _Bits, value: int, most: int) -> int:
    while value < most and bits.read():
        value += 1
    return value


def _tile_log2(unit: int, target: int) -> int:
    k = 0
    while unit << k < target:
        k += 1
    return k
