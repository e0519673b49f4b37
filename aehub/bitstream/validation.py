"""Checks every byte of an `.aev` file, down to index and footer, without decoding a picture.

What a `.aev` file says about itself, and whether it is whole. Needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from aehub.bitstream.chunk import (
    AUDIO,
    BLOCK,
    FOOTER,
    GROUP,
    INDEX,
    METADATA,
    Chunk,
    Gap,
    Window,
    refuse_unknown,
    walk,
)
from aehub.bitstream.file_header import FileHeader
from aehub.bitstream.group_header_io import unpack_group
from aehub.bitstream.index import Footer, IndexEntry, unpack_footer, unpack_index
from aehub.bitstream.metadata import unpack_notes, unpack_piece
from aehub.bitstream.reader import open_reader, open_source, read_head, read_some
from aehub.bitstream.scan import count
from aehub.errors import DamagedError, FormatError


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        ok: whether all is well.
        n_groups: intact groups.
        problems: a sentence for each.
        is_aev: whether it is an `.aev` file that this version reads, damaged or not.
    """

    ok: bool
    n_groups: int
    problems: list[str]
    is_aev: bool = True


def verify(source: str | os.PathLike[str] | BinaryIO | bytes) -> Report:
    """Check every chunk of a file, a stream or bytes.

    Raises:
        InputError: there is no such file.
    """
    stream, name, owned = open_source(BytesIO(source) if isinstance(source, bytes) else source)
    try:
        window = Window(read_some(stream))
        head = read_head(window, name)
        audit = _Audit(head, window.position, name)
        audit.run(window)
    except FormatError as error:
        return Report(False, 0, [str(error)], is_aev=isinstance(error, DamagedError))
    finally:
        if owned:
            stream.close()
    return Report(not audit.problems, len(audit.groups), audit.problems)


@dataclass
class _Audit:
    """Reads a file once and notes what is wrong with it."""

    head: FileHeader
    start: int
    name: str
    problems: list[str] = field(default_factory=list)
    groups: list[IndexEntry] = field(default_factory=list)
    damaged: bool = False
    n_pieces: int = 0
    index: Chunk | None = None
    footer: Footer | None = None

    def run(self, window: Window) -> None:
        """Check chunk after chunk, then what follows the footer."""
        for item in walk(window):
            if isinstance(item, Gap):
                self.damaged = True
                how = "cut off" if item.cut else "damaged"
                self.problems.append(f"{count(item.size, 'byte')} at byte {item.offset}: {how}.")
                continue
            try:
                self._check(item)
            except FormatError as error:
                self.problems.append(f"chunk at byte {item.place.offset}: {error}")
            if item.place.kind == FOOTER:
                window.skip(item.place.size)
                self._check_end(window)
                break
        else:
            self.problems.append("the footer is missing: the file is cut off.")
        if not self.damaged:
            self.problems += self._disagreements()

    def _check(self, chunk: Chunk) -> None:
        place = chunk.place
        refuse_unknown(place, self.name)
        if place.kind == GROUP:
            head, _ = unpack_group(chunk.body, self.head)
            start = self.groups[-1].stop if self.groups else 0
            ticks = head.ticks(self.head.step)
            self.groups.append(IndexEntry(place.offset, head.n_shown, start, ticks))
        elif place.kind == METADATA:
            unpack_notes(chunk.body)
        elif place.kind == AUDIO and not self.damaged:
            unpack_piece(chunk.body, self.n_pieces)
            self.n_pieces += 1
        elif place.kind == INDEX:
            self.index = chunk
        elif place.kind == FOOTER:
            self.footer = unpack_footer(chunk.body)
            distance = place.offset - self.index.place.offset if self.index else 0
            if self.footer.distance != distance and not self.damaged:
                raise FormatError("the footer does not point at the index.")

    def _check_end(self, window: Window) -> None:
        extra = 0
        while piece := window.peek(BLOCK):
            extra += len(piece)
            window.skip(len(piece))
        if extra:
            self.problems.append(f"{count(extra, 'byte')} follow the footer.")

    def _disagreements(self) -> Iterator[str]:
        """Yield where index and footer differ from the groups; only telling when all were read."""
        if self.index:
            try:
                entries = unpack_index(self.index.body, self.head, self.start)
            except FormatError as error:
                yield f"the index cannot be read: {error}"
            else:
                if entries != self.groups:
                    yield "the index does not match the groups."
        if self.footer:
            n_frames = sum(entry.n_frames for entry in self.groups)
            if self.footer[1:] != (len(self.groups), n_frames):
                yield (
                    f"the footer counts {self.footer.n_groups} groups and {self.footer.n_frames} "
                    f"frames; there are {len(self.groups)} and {n_frames}."
                )


__all__ = ["Report", "info", "per", "verify"]


def info(source: str | os.PathLike[str] | BinaryIO) -> dict[str, Any]:
    """What a `.aev` file says about itself, without decoding it (and without torch).

    Returns:
        The keys of `Compressed` as far as a file knows them, then its structure.
    """
    with open_reader(source) as reader:
        if not reader.seekable:
            for _ in reader.groups():
                pass
        head, counts = reader.head, reader.summary()
    pictures = counts["bytes"] - counts["audio_bytes"]
    pixels = head.width * head.height * counts["frames"]
    return {
        "model": head.model, "bytes": counts["bytes"], "audio_bytes": counts["audio_bytes"],
        "frames": counts["frames"], "width": head.width, "height": head.height,
        "fps": f"{head.fps.numerator}/{head.fps.denominator}",
        "seconds": round(float(counts["seconds"]), 6),
        "kbps": round(per(8 * pictures, 1000 * counts["seconds"]), 3),
        "bits_per_pixel": round(per(8 * pictures, pixels), 6),
        "quality": head.quality / 100, "groups": counts["groups"],
        "group_frames": head.group_frames, "payload_bytes": counts["payload_bytes"],
        "overhead_bytes": counts["overhead_bytes"], "coder": head.coder,
        "entropy_hash": head.entropy_hash.hex(), "synthesis_hash": head.synthesis_hash.hex(),
        "pixel_aspect": str(head.pixel_aspect), "matrix": head.colour.matrix,
        "full_range": head.colour.full_range, "complete": counts["complete"],
    }


def per(amount: float, whole: float) -> float:
    """amount / whole, and 0 where there is nothing to divide by."""
    return float(amount) / float(whole) if whole else 0.0
