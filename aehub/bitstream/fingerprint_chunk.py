"""Fingerprint chunk: what an index holds of a file, kept in the file itself.

model 8 | stamp of the groups | D, K, n | n times | vectors [n, D] | signatures [n, 8, K]

The stamp tells fingerprints of the file as it is from those that a program carried along which
changed the groups and copies chunks that it does not know.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from aehub.bitstream.chunk import MAX_CHUNK, Cursor, pack_varint
from aehub.errors import FormatError

HASH_SIZE = 8
"""Bytes of the SHA-256 of the weights that name the model."""
MAX_NUMBERS = 4096
"""Numbers of a vector, or of a signature in one orientation."""
_ORIENTATIONS = 8
_TOLERANCE = 0.01
"""Deviation of the length of a vector from 1: half precision and rounding to 1/2048 make 0.003."""


class GroupStamp(NamedTuple):
    """Stamp of the groups of a file: frames shown, bytes of their chunks, and a CRC-32 over the
    CRC-32s, as they are in the file, of the file header and of all group chunks in order."""

    n_frames: int
    group_bytes: int
    crc: int


def stamp_groups(n_frames: int, group_bytes: int, crcs: Iterable[bytes]) -> GroupStamp:
    """Stamp of groups; `crcs` are the four bytes of the file header, then those of each group."""
    return GroupStamp(n_frames, group_bytes, zlib.crc32(b"".join(crcs)))


class StoredFingerprints(NamedTuple):
    """Fingerprints in a file.

    Attributes:
        model: first 8 bytes of the SHA-256 of the weights that made them.
        stamp: of the groups that they were made of.
        shape: (D, K): numbers of a vector, and of a signature in one orientation.
        times: n of them in ticks from the first frame, increasing.
        vectors: little-endian float16 [n, D] of length 1.
        signatures: int8 [n, 8, K].
    """

    model: bytes
    stamp: GroupStamp
    shape: tuple[int, int]
    times: tuple[int, ...]
    vectors: bytes
    signatures: bytes


def pack_fingerprints(found: StoredFingerprints) -> bytes:
    """Encode the body of a fingerprint chunk.

    Raises:
        FormatError: they do not fit a chunk.
    """
    numbers = *found.stamp[:2], *found.shape, len(found.times)
    last, deltas = 0, []
    for time in found.times:
        deltas.append(time - last)
        last = time
    try:
        body = b"".join((
            found.model, *map(pack_varint, numbers[:2]), found.stamp.crc.to_bytes(4, "little"),
            *map(pack_varint, numbers[2:]), *map(pack_varint, deltas), found.vectors,
            found.signatures))
    except ValueError as error:
        raise FormatError(f"these fingerprints cannot be stored: {error}.") from error
    if len(body) > MAX_CHUNK:
        raise FormatError(f"fingerprints of {len(body)} bytes are larger than {MAX_CHUNK}.")
    return body


def unpack_fingerprints(body: bytes | memoryview) -> StoredFingerprints:
    """Decode the body of a fingerprint chunk.

    Raises:
        FormatError: it is cut short or too long, or a number is outside the limits.
    """
    cursor = Cursor(body)
    model = cursor.take(HASH_SIZE)
    n_frames, group_bytes = cursor.varint(), cursor.varint()
    stamp = GroupStamp(n_frames, group_bytes, int.from_bytes(cursor.take(4), "little"))
    vector, signature, n = cursor.varint(), cursor.varint(), cursor.varint()
    if not (1 <= vector <= MAX_NUMBERS and 1 <= signature <= MAX_NUMBERS):
        raise FormatError(f"fingerprints of {vector} and {signature} numbers are outside 1 to "
                          f"{MAX_NUMBERS}.")
    sizes = n * 2 * vector, n * _ORIENTATIONS * signature
    if not 1 <= n <= n_frames or n + sum(sizes) > len(body) - cursor.at:
        raise FormatError(f"{len(body)} bytes cannot hold {n} fingerprints of {n_frames} frames.")
    times, time = [], 0
    for number in range(n):
        step = cursor.varint()
        if number and not step:
            raise FormatError("two fingerprints have the same time.")
        time += step
        times.append(time)
    if sum(sizes) != len(body) - cursor.at:
        raise FormatError(f"{n} fingerprints do not fill their {len(body)} bytes.")
    vectors, signatures = map(cursor.take, sizes)
    if any(not abs(math.hypot(*row) - 1) <= _TOLERANCE
           for row in struct.iter_unpack(f"<{vector}e", vectors)):
        raise FormatError("the vector of a fingerprint does not have length 1.")
    return StoredFingerprints(model, stamp, (vector, signature), tuple(times), vectors, signatures)
