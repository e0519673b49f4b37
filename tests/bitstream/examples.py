"""Small files for the tests of the container, made on the spot."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from io import BytesIO
from typing import Any

from aehub.bitstream import FileHeader, GroupHeader, Writer, open_reader
from aehub.bitstream.fingerprint_chunk import StoredFingerprints

CHAIN = bytes((0, 1, 1, 1, 1, 1, 1, 1))


def file_header(**changes: Any) -> FileHeader:
    """A file header with nothing unusual: 64x48, 25 frames per second, groups of 8."""
    usual = {
        "model": "tiny",
        "entropy_hash": bytes(range(0x01, 0x09)),
        "synthesis_hash": bytes(range(0x11, 0x19)),
        "coder": 3,
        "width": 64,
        "height": 48,
        "fps": Fraction(25),
        "quality": 5000,
        "group_frames": 8,
    }
    return FileHeader(**{**usual, **changes})


def payloads(n_groups: int, size: int) -> list[bytes]:
    """Reproducible noise, as entropy-coded payloads are."""
    source = random.Random(0)
    return [source.randbytes(size) for _ in range(n_groups)]


def sound(size: int) -> bytes:
    """Reproducible bytes that stand for an audio track."""
    return random.Random(1).randbytes(size)


def small_file(n_groups: int = 4, size: int = 100, audio: int = 0, notes: bool = False) -> bytes:
    """An `.aev` file of equal groups with noise for payloads."""
    stream = BytesIO()
    with Writer(stream, file_header()) as writer:
        for payload in payloads(n_groups, size):
            writer.group(GroupHeader(8, 5000, frame_types=CHAIN), payload)
        if audio:
            writer.audio(sound(audio))
        if notes:
            writer.metadata({"title": "a flag in the wind"})
    return stream.getvalue()


def page_example() -> bytes:
    """The file shown at the end of docs/format.md."""
    stream = BytesIO()
    with Writer(stream, file_header()) as writer:
        writer.group(GroupHeader(8, 5000, frame_types=CHAIN), b"first")
        writer.group(GroupHeader(3, 4250, crop=(0, 16), shown=(1, 3), reverse=True), b"second")
    return stream.getvalue()


def fingerprints_for(file: bytes, n: int = 3, shape: tuple[int, int] = (4, 2), **changes: Any
                     ) -> StoredFingerprints:
    """Fingerprints of a file, of n unit vectors at every other frame."""
    (vector, signature), source = shape, random.Random(5)
    rows = [struct.pack(f"<{vector}e", *(float(at == i % vector) for at in range(vector)))
            for i in range(n)]
    with open_reader(BytesIO(file)) as reader:
        found = StoredFingerprints(
            bytes(range(0x21, 0x29)), reader.stamp, shape, tuple(range(0, 2 * n, 2)),
            b"".join(rows), source.randbytes(n * 8 * signature))
    return found._replace(**changes)


def with_fingerprints(file: bytes, found: StoredFingerprints | None = None) -> bytes:
    """A file that carries fingerprints; those of `fingerprints_for` by default."""
    stream = BytesIO()
    with open_reader(BytesIO(file)) as reader:
        reader.copy_with(found or fingerprints_for(file), stream)
    return stream.getvalue()
