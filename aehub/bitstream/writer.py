"""Writer of `.aev` files; needs no seeking, so it works on pipes."""

from __future__ import annotations

from types import TracebackType
from typing import Any, BinaryIO

from aehub.bitstream.chunk import AUDIO, FOOTER, GROUP, INDEX, MAX_CHUNK, METADATA, pack_chunk
from aehub.bitstream.file_header import FileHeader, pack_file_header
from aehub.bitstream.group_header import GroupHeader
from aehub.bitstream.group_header_io import pack_group_header, payload_problem
from aehub.bitstream.index import Footer, IndexEntry, pack_footer, pack_index
from aehub.bitstream.metadata import pack_metadata, split_audio
from aehub.errors import InputError


class Writer:
    """Writer of one file: the header at once, then groups, audio and metadata in any order.

    `close` adds the index and the footer but leaves the stream open. As a context manager it
    closes unless an error is raised: a file without footer counts as cut off.

    Example:
        with Writer(stream, header) as writer:
            writer.group(GroupHeader(32, quality=5000), payload)
    """

    def __init__(self, stream: BinaryIO, header: FileHeader) -> None:
        self.header = header
        self.size = 0
        """Bytes written so far."""
        self.audio_bytes = 0
        """Audio bytes among them, as counted by `Reader.summary`."""
        self._stream = stream
        self._entries: list[IndexEntry] = []
        self._n_pieces = 0
        self._closed = False
        self._write(pack_file_header(header))
        self._start = self.size

    def group(self, header: GroupHeader, payload: bytes) -> None:
        """Write one group.

        To edit a file without decoding it, write each of its groups with a changed header
        (`dataclasses.replace`) and the same payload.

        Raises:
            InputError: the header is outside the limits or does not fit the payload, or the payload
                is larger than 64 MiB.
        """
        packed = pack_group_header(header, self.header)
        problem = payload_problem(header, len(payload))
        if problem:
            raise InputError(f"this group cannot be written: {problem}")
        if len(packed) + len(payload) > MAX_CHUNK:
            raise InputError(
                f"a group of {len(payload)} bytes is larger than {MAX_CHUNK}; make groups shorter."
            )
        time = self._entries[-1].stop if self._entries else 0
        ticks = header.ticks(self.header.frame_ticks)
        entry = IndexEntry(self.size, header.n_shown, time, ticks)
        self._chunk(GROUP, packed, payload)
        self._entries.append(entry)

    def audio(self, data: bytes) -> None:
        """Write the next bytes of the audio track (a Matroska file), in chunks of up to 1 MiB."""
        for number, piece in split_audio(data, self._n_pieces):
            self._chunk(AUDIO, number, piece)
            self.audio_bytes += len(number) + len(piece)
            self._n_pieces += 1

    def metadata(self, metadata: dict[str, Any]) -> None:
        """Write a JSON object; a reader merges several, later keys win.

        Raises:
            InputError: it is not JSON, or larger than 1 MiB.
        """
        self._chunk(METADATA, pack_metadata(metadata))

    def close(self) -> None:
        """Write index and footer; a file of at most one group needs no index."""
        if self._closed:
            return
        distance = 0
        if len(self._entries) > 1:
            index = pack_index(self._entries, self.header, self._start)
            if len(index) <= MAX_CHUNK:
                distance = self._chunk(INDEX, index)
        n_frames = sum(entry.n_frames for entry in self._entries)
        self._chunk(FOOTER, pack_footer(Footer(distance, len(self._entries), n_frames)))
        self._closed = True
        self._stream.flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _chunk(self, kind: int, *parts: bytes) -> int:
        if self._closed:
            raise InputError("this .aev file is closed; nothing can be added to it.")
        packed = pack_chunk(kind, *parts)
        self._write(packed)
        return len(packed)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # Unbuffered pipes write a part; other streams write all, and some return None.
            taken = self._stream.write(rest)
            rest = rest[taken if taken is not None else len(rest) :]
        self.size += len(data)
