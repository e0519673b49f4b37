"""Reader of `.aev` files: sequential on pipes, with random access to groups in files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from aehub.bitstream.chunk import (
    AUDIO,
    BLOCK,
    FINGERPRINTS,
    FOOTER,
    GROUP,
    INDEX,
    METADATA,
    Chunk,
    ChunkHeader,
    Gap,
    PeekBuffer,
    buffer_at,
    iter_chunks,
    pack_chunk,
    refuse_unknown,
)
from aehub.bitstream.file_header import PREFIX, FileHeader, unpack_file_header
from aehub.bitstream.fingerprint_chunk import (
    GroupStamp,
    StoredFingerprints,
    pack_fingerprints,
    unpack_fingerprints,
)
from aehub.bitstream.group_header import GroupHeader
from aehub.bitstream.group_header_io import unpack_group
from aehub.bitstream.index import IndexEntry, unpack_footer
from aehub.bitstream.metadata import play_count, unpack_metadata, unpack_piece
from aehub.bitstream.scan import DamageReport, FileCounts, FileScan
from aehub.errors import DamagedError, FormatError, InputError
from aehub.files import FileLike, check_source, spool


def open_source(source: FileLike) -> tuple[BinaryIO, str, bool]:
    """Return the stream, its name for messages, and whether it was opened here.

    Raises:
        InputError: there is no such file.
    """
    source = check_source(source)
    if isinstance(source, Path):
        try:
            return open(source, "rb"), source.name, True
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}.") from error
    name = getattr(source, "name", None)
    return source, Path(name).name if isinstance(name, str) else "the stream", False


def read_some(stream: BinaryIO) -> Callable[[int], bytes]:
    """Return a function that reads available bytes, up to a size, without waiting for more."""
    # `read` of a buffered pipe waits for the requested size; `read1` returns groups as they arrive.
    return cast(Callable[[int], bytes], getattr(stream, "read1", stream.read))


def read_header(buffer: PeekBuffer, name: str) -> FileHeader:
    """Read the file header and advance the buffer to the first chunk.

    Raises:
        FormatError: it is not an `.aev` file, or a newer or damaged one.
    """
    prefix = buffer.peek(PREFIX)
    size = PREFIX + prefix[-1] + 4 if len(prefix) == PREFIX else PREFIX
    header, size = unpack_file_header(buffer.peek(size), name)
    buffer.skip(size)
    return header


class PipeSpool:
    """Spool of the audio and metadata that pass by on a pipe."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self._audio: BinaryIO | None = None
        self._n_pieces = 0
        self._loss: DamagedError | None = None

    def add(self, chunk: Chunk) -> None:
        """Store an audio or metadata chunk; ignore others."""
        if chunk.header.kind == METADATA:
            self.metadata.update(unpack_metadata(chunk.body))
        if chunk.header.kind != AUDIO or self._loss:
            return
        if self._audio is None:
            self._audio = spool()
        try:
            self._audio.write(unpack_piece(chunk.body, self._n_pieces))
            self._n_pieces += 1
        except DamagedError as loss:
            self._loss = loss

    def audio_pieces(self) -> Iterator[bytes]:
        """Yield the stored audio; raise `DamagedError` at a lost piece."""
        if self._audio is not None:
            self._audio.seek(0)
            while piece := self._audio.read(BLOCK):
                yield piece
        if self._loss:
            raise self._loss

    def close(self) -> None:
        """Delete the audio."""
        if self._audio is not None:
            self._audio.close()


@dataclass(frozen=True)
class Group:
    """An intact group: header, payload, number among the intact groups, byte offset."""

    header: GroupHeader
    payload: bytes
    index: int
    offset: int


def open_reader(source: FileLike) -> Reader:
    """Open an `.aev` file for reading.

    Args:
        source: a path, or a binary stream; one that cannot seek is read once, in order.

    Raises:
        InputError: there is no such file.
        FormatError: it is not an `.aev` file, or a newer or damaged one.
    """
    stream, name, owned = open_source(source)
    try:
        return Reader(stream, name, owned=owned)
    except BaseException:
        if owned:
            stream.close()
        raise


class Reader:
    """An open `.aev` file.

    Attributes:
        header: shared by all groups.
        name: of the file, for messages.
        seekable: whether groups can be read in any order.
    """

    def __init__(self, stream: BinaryIO, name: str = "the file", *, owned: bool = False) -> None:
        self.name = name
        self.seekable = stream.seekable()
        self._stream = stream
        self._owned = owned
        self._base = stream.tell() if self.seekable else 0
        self._buffer = self._buffer_at(0) if self.seekable else PeekBuffer(read_some(stream))
        self.header = read_header(self._buffer, name)
        self._start = self._buffer.position
        self._scan: FileScan | None = None
        self._spool = PipeSpool()
        self._counts = FileCounts()
        self._begun = False

    def groups(self, salvage: bool = True) -> Iterator[Group]:
        """Yield the intact groups in order.

        On a pipe this works once; audio and metadata that pass by are stored for `audio_pieces`
        and `metadata`.

        Args:
            salvage: continue after damage at the next intact chunk; False stops at the damage.

        Raises:
            DamagedError: after the intact groups, if anything was lost.
            FormatError: a chunk of an unknown type must not be skipped: the file is newer.
        """
        buffer, counts = self._begin()
        damage = DamageReport(self.name)
        for item in iter_chunks(buffer):
            group = self._take(item, counts, damage)
            if group is not None:
                yield group
            damage.stopped = bool(damage.gaps) and not salvage
            if counts.complete or damage.stopped:
                break
        counts.ended = True
        damage.raise_if_damaged(counts)

    def group_at(self, number: int) -> Group:
        """Read one group by its number, without reading earlier ones.

        Raises:
            InputError: the source is a pipe, or has no such group.
            DamagedError: the group is damaged.
        """
        index = self._require_scan("groups can be read in any order").index
        if not 0 <= number < len(index):
            raise InputError(f"{self.name} has no group {number}; it has {len(index)}, from 0 on.")
        entry = index[number]
        chunk = next(iter_chunks(self._buffer_at(entry.offset)), None)
        if isinstance(chunk, Chunk) and chunk.header.kind == GROUP:
            group = self._group(chunk, number)
            if group.header.n_shown == entry.n_frames:
                return group
        raise DamagedError(f"{self.name}: group {number}, at byte {entry.offset}, is damaged.")

    @property
    def index(self) -> tuple[IndexEntry, ...] | None:
        """Position of each group; read from chunk headers if there is no index; None on a pipe."""
        return self._require_scan("").index if self.seekable else None

    @property
    def frame_count(self) -> int | None:
        """Number of frames shown; None on a pipe."""
        return None if self.index is None else sum(entry.n_frames for entry in self.index)

    @property
    def metadata(self) -> dict[str, Any]:
        """Merged metadata chunks; on a pipe, those that passed by so far."""
        if not self.seekable:
            return dict(self._spool.metadata)
        merged: dict[str, Any] = {}
        for chunk_header in self._require_scan("").chunk_headers:
            if chunk_header.kind == METADATA:
                merged.update(unpack_metadata(self._body(chunk_header)))
        return merged

    @property
    def plays(self) -> int:
        """Number of times the clip is played; 0: infinitely, or its metadata is damaged."""
        try:
            return play_count(self.metadata)
        except FormatError:
            return 0

    def audio_pieces(self) -> Iterator[bytes]:
        """Yield the audio track, a Matroska file, piece by piece; nothing if there is none.

        On a pipe the groups must be read first; the audio that passes by is spooled.

        Raises:
            InputError: the groups of a pipe were not read yet.
            DamagedError: a piece is lost; those before it were yielded.
        """
        if self.seekable:
            chunk_headers = self._require_scan("").chunk_headers
            audio = (chunk_header for chunk_header in chunk_headers if chunk_header.kind == AUDIO)
            yield from (unpack_piece(self._body(chunk), i) for i, chunk in enumerate(audio))
            return
        if not self._counts.ended:
            raise InputError("the audio of a pipe can be read after its groups; read those first.")
        yield from self._spool.audio_pieces()

    @property
    def stamp(self) -> GroupStamp:
        """Stamp of the groups, read from chunk headers.

        Raises:
            InputError: the source is a pipe.
        """
        return self._require_scan("its groups can be stamped").stamp

    def fingerprints(self) -> StoredFingerprints | None:
        """Return the fingerprints that the file carries, read without its groups.

        None on a pipe, if there are none, and if they are damaged or of other groups than those of
        the file.
        """
        if not self.seekable:
            return None
        scan = self._require_scan("")
        carried = [header for header in scan.chunk_headers if header.kind == FINGERPRINTS]
        if len(carried) != 1:
            return None
        try:
            found = unpack_fingerprints(self._body(carried[0]))
        except FormatError:
            return None
        fits = found.stamp == scan.stamp and found.times[-1] < scan.counts.ticks
        return found if fits else None

    def copy_with(self, found: StoredFingerprints, stream: BinaryIO) -> None:
        """Copy the file, byte by byte, with these fingerprints in place of any that it carries.

        Raises:
            InputError: the source is a pipe.
            DamagedError: it is damaged, or its chunks are in an order that cannot be kept.
            FormatError: the fingerprints do not fit a chunk, or could not be read from it.
        """
        scan = self._require_scan("fingerprints are stored")
        headers, body = scan.chunk_headers, pack_fingerprints(found)
        unpack_fingerprints(body)
        carried = [header for header in headers if header.kind == FINGERPRINTS]
        last = max((header.offset for header in headers if header.kind == GROUP), default=0)
        end = next((header.offset for header in headers if header.kind in (INDEX, FOOTER)), 0)
        if scan.counts.lost_bytes or not all(
                last < at <= end for at in (end, *(header.offset for header in carried))):
            raise DamagedError(f"{self.name} is damaged, or has its chunks in an unusual order; "
                               "it cannot keep fingerprints.")
        start = 0
        for header in carried:
            self._copy(start, header.offset, stream)
            start = header.offset + header.size
        self._copy(start, end, stream)
        stream.write(pack_chunk(FINGERPRINTS, body))
        self._copy(end, self._size(), stream)

    def _copy(self, start: int, stop: int, stream: BinaryIO) -> None:
        for at in range(start, stop, BLOCK):
            stream.write(self._read_at(at, min(BLOCK, stop - at)))

    def summary(self) -> dict[str, Any]:
        """Return counts and sizes of the file; on a pipe, of what passed by so far.

        Returns:
            groups, frames (shown), coded_frames, seconds, bytes (of the file), payload_bytes,
            audio_bytes, metadata_bytes, fingerprint_bytes, lost_bytes (damaged), overhead_bytes
            (the rest) and complete (whether the file ends with a footer).
        """
        counts = self._require_scan("").counts if self.seekable else self._counts
        return counts.summary(self._start, self.header.time_base)

    def close(self) -> None:
        """Close the file if `open_reader` opened it."""
        self._spool.close()
        if self._owned:
            self._stream.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> tuple[PeekBuffer, FileCounts]:
        if self.seekable:
            return self._buffer_at(self._start), FileCounts()
        if self._begun:
            raise InputError(f"{self.name} is a pipe: its groups can be read only once.")
        self._begun = True
        return self._buffer, self._counts

    def _take(self, item: Chunk | Gap, counts: FileCounts, damage: DamageReport) -> Group | None:
        """Count a chunk or gap; return it if it is an intact group."""
        if isinstance(item, Gap):
            counts.lost_bytes += item.size
            damage.gaps.append(item)
            return None
        chunk_header = item.header
        refuse_unknown(chunk_header, self.name)
        group = None
        try:
            if chunk_header.kind == GROUP:
                group = self._group(item, counts.groups)
                counts.add_group(group.header, self.header.frame_ticks, len(group.payload))
            elif chunk_header.kind == FOOTER:
                damage.footer = unpack_footer(item.body)
            elif not self.seekable:
                self._spool.add(item)
        except FormatError as error:
            damage.gaps.append(Gap(chunk_header.offset, chunk_header.size))
            damage.reason = damage.reason or str(error)
        counts.add_chunk(chunk_header)
        return group

    def _group(self, chunk: Chunk, number: int) -> Group:
        header, payload = unpack_group(chunk.body, self.header)
        return Group(header, bytes(payload), number, chunk.header.offset)

    def _require_scan(self, what: str) -> FileScan:
        if not self.seekable:
            raise InputError(f"{self.name} is a pipe; {what} in a file only.")
        if self._scan is None:
            self._scan = FileScan(self.header, self._start, self._size(), self._read_at)
        return self._scan

    def _body(self, chunk_header: ChunkHeader) -> memoryview:
        chunk = next(iter_chunks(self._buffer_at(chunk_header.offset)), None)
        if not isinstance(chunk, Chunk) or chunk.header != chunk_header:
            raise DamagedError(f"{self.name} is damaged at byte {chunk_header.offset}.")
        return chunk.body

    def _size(self) -> int:
        return self._stream.seek(0, os.SEEK_END) - self._base

    def _read_at(self, offset: int, size: int) -> bytes:
        self._stream.seek(self._base + offset)
        return self._stream.read(size)

    def _buffer_at(self, offset: int) -> PeekBuffer:
        return buffer_at(self._read_at, offset)
