"""Validation and description of `.aev` files without decoding a picture; needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from aehub.bitstream.chunk import (
    AUDIO,
    BLOCK,
    FINGERPRINTS,
    FOOTER,
    GROUP,
    INDEX,
    METADATA,
    Chunk,
    Gap,
    PeekBuffer,
    iter_chunks,
    refuse_unknown,
)
from aehub.bitstream.file_header import PREFIX, FileHeader
from aehub.bitstream.fingerprint_chunk import (
    StoredFingerprints,
    stamp_groups,
    unpack_fingerprints,
)
from aehub.bitstream.group_header_io import unpack_group
from aehub.bitstream.index import Footer, IndexEntry, unpack_footer, unpack_index
from aehub.bitstream.metadata import unpack_metadata, unpack_piece
from aehub.bitstream.reader import open_reader, open_source, read_header, read_some
from aehub.errors import DamagedError, FormatError, count_text
from aehub.files import FileLike


@dataclass(frozen=True)
class Report:
    """Result of `verify`.

    Attributes:
        ok: whether there are no problems.
        n_groups: intact groups.
        problems: a sentence for each.
        is_aev: whether it is an `.aev` file of a readable version, damaged or not.
    """

    ok: bool
    n_groups: int
    problems: list[str]
    is_aev: bool = True


def verify(source: FileLike | bytes) -> Report:
    """Check all bytes of a `.aev` file, index and footer included, without decoding it.

    Args:
        source: path or binary stream, or the contents of the file.

    Returns:
        The number of intact groups, and a sentence for each problem.

    Raises:
        InputError: there is no such file.
    """
    stream, name, owned = open_source(BytesIO(source) if isinstance(source, bytes) else source)
    try:
        buffer = PeekBuffer(read_some(stream))
        lead = buffer.peek(PREFIX + 255 + 4)
        header = read_header(buffer, name)
        start = buffer.position
        audit = _Audit(header, start, name, [lead[start - 4:start]])
        audit.run(buffer)
    except FormatError as error:
        return Report(False, 0, [str(error)], is_aev=isinstance(error, DamagedError))
    finally:
        if owned:
            stream.close()
    return Report(not audit.problems, len(audit.groups), audit.problems)


@dataclass
class _Audit:
    """State of one pass over a file that collects its problems."""

    header: FileHeader
    start: int
    name: str
    crcs: list[bytes]
    """Of the file header and the groups."""
    problems: list[str] = field(default_factory=list)
    groups: list[IndexEntry] = field(default_factory=list)
    damaged: bool = False
    n_pieces: int = 0
    group_bytes: int = 0
    fingerprints: StoredFingerprints | None = None
    index: Chunk | None = None
    footer: Footer | None = None

    def run(self, buffer: PeekBuffer) -> None:
        """Check all chunks, then the bytes after the footer."""
        for item in iter_chunks(buffer):
            if isinstance(item, Gap):
                self.damaged = True
                defect = "cut off" if item.cut else "damaged"
                size = count_text(item.size, "byte")
                self.problems.append(f"{size} at byte {item.offset}: {defect}.")
                continue
            try:
                self._check(item)
            except FormatError as error:
                self.problems.append(f"chunk at byte {item.header.offset}: {error}")
            if item.header.kind == FOOTER:
                buffer.skip(item.header.size)
                self._check_end(buffer)
                break
        else:
            self.problems.append("the footer is missing: the file is cut off.")
        if not self.damaged:
            self.problems += self._mismatches()

    def _check(self, chunk: Chunk) -> None:
        chunk_header = chunk.header
        refuse_unknown(chunk_header, self.name)
        if chunk_header.kind == GROUP:
            header, _ = unpack_group(chunk.body, self.header)
            start = self.groups[-1].stop if self.groups else 0
            ticks = header.ticks(self.header.frame_ticks)
            self.groups.append(IndexEntry(chunk_header.offset, header.n_shown, start, ticks))
            self.crcs.append(chunk.crc)
            self.group_bytes += chunk_header.size
            if self.fingerprints:
                raise FormatError("this group follows the fingerprints.")
        elif chunk_header.kind == METADATA:
            unpack_metadata(chunk.body)
        elif chunk_header.kind == AUDIO and not self.damaged:
            unpack_piece(chunk.body, self.n_pieces)
            self.n_pieces += 1
        elif chunk_header.kind == FINGERPRINTS:
            if self.fingerprints or self.index:
                raise FormatError("these fingerprints follow others, or the index.")
            self.fingerprints = unpack_fingerprints(chunk.body)
        elif chunk_header.kind == INDEX:
            self.index = chunk
        elif chunk_header.kind == FOOTER:
            self.footer = unpack_footer(chunk.body)
            distance = chunk_header.offset - self.index.header.offset if self.index else 0
            if self.footer.distance != distance and not self.damaged:
                raise FormatError("the footer does not point at the index.")

    def _check_end(self, buffer: PeekBuffer) -> None:
        extra = 0
        while piece := buffer.peek(BLOCK):
            extra += len(piece)
            buffer.skip(len(piece))
        if extra:
            self.problems.append(f"{count_text(extra, 'byte')} follow the footer.")

    def _mismatches(self) -> Iterator[str]:
        """Yield differences of index and footer from the groups, all of which must be intact."""
        if self.index:
            try:
                entries = unpack_index(self.index.body, self.header, self.start)
            except FormatError as error:
                yield f"the index cannot be read: {error}"
            else:
                if entries != self.groups:
                    yield "the index does not match the groups."
        n_frames = sum(entry.n_frames for entry in self.groups)
        if self.fingerprints:
            stop = self.groups[-1].stop if self.groups else 0
            stamp = stamp_groups(n_frames, self.group_bytes, self.crcs)
            if self.fingerprints.stamp != stamp or self.fingerprints.times[-1] >= stop:
                yield "the fingerprints are of other groups than those of the file."
        if self.footer:
            if self.footer[1:] != (len(self.groups), n_frames):
                yield (
                    f"the footer counts {self.footer.n_groups} groups and {self.footer.n_frames} "
                    f"frames; there are {len(self.groups)} and {n_frames}."
                )


def info(source: FileLike) -> dict[str, Any]:
    """Describe a `.aev` file without decoding it (and without torch).

    Args:
        source: path or binary stream; a pipe is read to its end.

    Returns:
        The keys of `Compressed` that a file contains, then its structure.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a `.aev` file, or a newer or damaged one.
    """
    with open_reader(source) as reader:
        if not reader.seekable:
            for _ in reader.groups():
                pass
        header, counts = reader.header, reader.summary()
    pictures = counts["bytes"] - counts["audio_bytes"]
    pixels = header.width * header.height * counts["frames"]
    return {
        "model": header.model, "bytes": counts["bytes"], "audio_bytes": counts["audio_bytes"],
        "frames": counts["frames"], "width": header.width, "height": header.height,
        "fps": f"{header.fps.numerator}/{header.fps.denominator}",
        "seconds": round(float(counts["seconds"]), 6),
        "kbps": round(quotient(8 * pictures, 1000 * counts["seconds"]), 3),
        "bits_per_pixel": round(quotient(8 * pictures, pixels), 6),
        "quality": header.quality / 100, "groups": counts["groups"],
        "group_frames": header.group_frames, "payload_bytes": counts["payload_bytes"],
        "fingerprint_bytes": counts["fingerprint_bytes"],
        "overhead_bytes": counts["overhead_bytes"], "coder": header.coder,
        "entropy_hash": header.entropy_hash.hex(), "synthesis_hash": header.synthesis_hash.hex(),
        "pixel_aspect": str(header.pixel_aspect), "matrix": header.colour.matrix,
        "full_range": header.colour.full_range, "pictures": str(header.pictures),
        "complete": counts["complete"],
    }


def quotient(amount: float, total: float) -> float:
    """Return amount / total, and 0 if the total is 0."""
    return float(amount) / float(total) if total else 0.0
