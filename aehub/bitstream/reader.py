"""Reads `.aev` files: group by group from anything that has `read`, in any order from files.

Where the bytes of a file come from: a path, a seekable stream or a pipe.
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
    FOOTER,
    GROUP,
    METADATA,
    Chunk,
    Gap,
    Place,
    Window,
    refuse_unknown,
    walk,
    window_at,
)
from aehub.bitstream.file_header import PREFIX, FileHeader, unpack_file_header
from aehub.bitstream.group_header import GroupHeader
from aehub.bitstream.group_header_io import unpack_group
from aehub.bitstream.index import IndexEntry, unpack_footer
from aehub.bitstream.metadata import plays_in, unpack_notes, unpack_piece
from aehub.bitstream.scan import Losses, Survey, Tally
from aehub.errors import DamagedError, FormatError, InputError
from aehub.files import source_of, spool


def open_source(source: str | os.PathLike[str] | BinaryIO) -> tuple[BinaryIO, str, bool]:
    """Return the stream, what messages call it, and whether it was opened here.

    Raises:
        InputError: there is no such file.
    """
    source = source_of(source)
    if isinstance(source, Path):
        try:
            return open(source, "rb"), source.name, True
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}.") from error
    name = getattr(source, "name", None)
    return source, Path(name).name if isinstance(name, str) else "the stream", False


def read_some(stream: BinaryIO) -> Callable[[int], bytes]:
    """Return a function that reads what is there, up to a size, without waiting for more."""
    # `read` of a buffered pipe waits for all it was asked for; `read1` gives groups as they come.
    return cast(Callable[[int], bytes], getattr(stream, "read1", stream.read))


def read_head(window: Window, name: str) -> FileHeader:
    """Read the file head and move the window on to the first chunk.

    Raises:
        FormatError: it is not an `.aev` file, or a newer or damaged one.
    """
    prefix = window.peek(PREFIX)
    size = PREFIX + prefix[-1] + 4 if len(prefix) == PREFIX else PREFIX
    head, size = unpack_file_header(window.peek(size), name)
    window.skip(size)
    return head


class Aside:
    """What passes by on a pipe and may be wanted later: audio and metadata."""

    def __init__(self) -> None:
        self.notes: dict[str, Any] = {}
        self._audio: BinaryIO | None = None
        self._n_pieces = 0
        self._loss: DamagedError | None = None

    def keep(self, chunk: Chunk) -> None:
        """Keep an audio or metadata chunk; others are of no use later."""
        if chunk.place.kind == METADATA:
            self.notes.update(unpack_notes(chunk.body))
        if chunk.place.kind != AUDIO or self._loss:
            return
        if self._audio is None:
            self._audio = spool()
        try:
            self._audio.write(unpack_piece(chunk.body, self._n_pieces))
            self._n_pieces += 1
        except DamagedError as loss:
            self._loss = loss

    def audio_pieces(self) -> Iterator[bytes]:
        """Yield the audio kept; raise `DamagedError` where a piece was lost."""
        if self._audio is not None:
            self._audio.seek(0)
            while piece := self._audio.read(BLOCK):
                yield piece
        if self._loss:
            raise self._loss

    def close(self) -> None:
        """Forget the audio."""
        if self._audio is not None:
            self._audio.close()


@dataclass(frozen=True)
class Group:
    """An intact group: head, payload, its number among those given back, its byte offset."""

    head: GroupHeader
    payload: bytes
    index: int
    offset: int


def open_reader(source: str | os.PathLike[str] | BinaryIO) -> Reader:
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
        head: what every group shares.
        name: what messages call the file.
        seekable: whether groups can be read in any order.
    """

    def __init__(self, stream: BinaryIO, name: str = "the file", *, owned: bool = False) -> None:
        self.name = name
        self.seekable = stream.seekable()
        self._stream = stream
        self._owned = owned
        self._base = stream.tell() if self.seekable else 0
        self._window = self._window_at(0) if self.seekable else Window(read_some(stream))
        self.head = read_head(self._window, name)
        self._start = self._window.position
        self._survey: Survey | None = None
        self._aside = Aside()
        self._tally = Tally()
        self._begun = False

    def groups(self, salvage: bool = True) -> Iterator[Group]:
        """Yield the groups in order, each checked before it is given.

        On a pipe this works once; audio and metadata that pass by are kept for `audio_pieces`
        and `metadata`.

        Args:
            salvage: go on after damage at the next intact chunk; False stops at the damage.

        Raises:
            DamagedError: after the intact groups, if anything was lost.
            FormatError: a chunk must be understood and is not: the file is newer.
        """
        window, tally = self._begin()
        losses = Losses(self.name)
        for item in walk(window):
            group = self._take(item, tally, losses)
            if group is not None:
                yield group
            losses.stopped = bool(losses.gaps) and not salvage
            if tally.complete or losses.stopped:
                break
        tally.ended = True
        losses.conclude(tally)

    def group_at(self, number: int) -> Group:
        """Read one group by its number, without reading those before it.

        Raises:
            InputError: the source is a pipe, or has no such group.
            DamagedError: the group is damaged.
        """
        index = self._surveyed("groups can be read in any order").index
        if not 0 <= number < len(index):
            raise InputError(f"{self.name} has no group {number}; it has {len(index)}, from 0 on.")
        entry = index[number]
        chunk = next(walk(self._window_at(entry.offset)), None)
        if isinstance(chunk, Chunk) and chunk.place.kind == GROUP:
            group = self._group(chunk, number)
            if group.head.n_shown == entry.n_frames:
                return group
        raise DamagedError(f"{self.name}: group {number}, at byte {entry.offset}, is damaged.")

    @property
    def index(self) -> tuple[IndexEntry, ...] | None:
        """Where each group lies; from the chunk heads if the file has no index; None on a pipe."""
        return self._surveyed("").index if self.seekable else None

    @property
    def frame_count(self) -> int | None:
        """Number of frames shown; None on a pipe."""
        return None if self.index is None else sum(entry.n_frames for entry in self.index)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the metadata chunks hold; on a pipe, those that passed by so far."""
        if not self.seekable:
            return dict(self._aside.notes)
        notes: dict[str, Any] = {}
        for place in self._surveyed("").places:
            if place.kind == METADATA:
                notes.update(unpack_notes(self._body(place)))
        return notes

    @property
    def plays(self) -> int:
        """How often the clip is played, 0 for ever or where its metadata is damaged."""
        try:
            return plays_in(self.metadata)
        except FormatError:
            return 0

    def audio_pieces(self) -> Iterator[bytes]:
        """Yield the audio track, a Matroska file, piece by piece; nothing if there is none.

        On a pipe the groups must be read first: the audio passing by is kept on the side.

        Raises:
            InputError: the groups of a pipe are not read yet.
            DamagedError: a piece is lost; those before it were given.
        """
        if self.seekable:
            places = self._surveyed("").places
            audio = (place for place in places if place.kind == AUDIO)
            yield from (unpack_piece(self._body(place), i) for i, place in enumerate(audio))
            return
        if not self._tally.ended:
            raise InputError("the audio of a pipe can be read after its groups; read those first.")
        yield from self._aside.audio_pieces()

    def summary(self) -> dict[str, Any]:
        """Count what the file holds; on a pipe, what passed by so far.

        Returns:
            groups, frames (shown), coded_frames, seconds, bytes (of the file), payload_bytes,
            audio_bytes, metadata_bytes, lost_bytes (damaged), overhead_bytes (all the rest) and
            complete (whether a footer ends the file).
        """
        tally = self._surveyed("").tally if self.seekable else self._tally
        return tally.summary(self._start, self.head.time_base)

    def close(self) -> None:
        """Close the file if `open_reader` opened it."""
        self._aside.close()
        if self._owned:
            self._stream.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> tuple[Window, Tally]:
        if self.seekable:
            return self._window_at(self._start), Tally()
        if self._begun:
            raise InputError(f"{self.name} is a pipe: its groups can be read only once.")
        self._begun = True
        return self._window, self._tally

    def _take(self, item: Chunk | Gap, tally: Tally, losses: Losses) -> Group | None:
        """Count one piece of the file; return it if it is an intact group."""
        if isinstance(item, Gap):
            tally.lost_bytes += item.size
            losses.gaps.append(item)
            return None
        place = item.place
        refuse_unknown(place, self.name)
        group = None
        try:
            if place.kind == GROUP:
                group = self._group(item, tally.groups)
                tally.add_group(group.head, self.head.step, len(group.payload))
            elif place.kind == FOOTER:
                losses.footer = unpack_footer(item.body)
            elif not self.seekable:
                self._aside.keep(item)
        except FormatError as error:
            losses.gaps.append(Gap(place.offset, place.size))
            losses.reason = losses.reason or str(error)
        tally.add_chunk(place)
        return group

    def _group(self, chunk: Chunk, number: int) -> Group:
        head, payload = unpack_group(chunk.body, self.head)
        return Group(head, bytes(payload), number, chunk.place.offset)

    def _surveyed(self, what: str) -> Survey:
        if not self.seekable:
            raise InputError(f"{self.name} is a pipe; {what} in a file only.")
        if self._survey is None:
            self._survey = Survey(self.head, self._start, self._size(), self._read_at)
        return self._survey

    def _body(self, place: Place) -> memoryview:
        chunk = next(walk(self._window_at(place.offset)), None)
        if not isinstance(chunk, Chunk) or chunk.place != place:
            raise DamagedError(f"{self.name} is damaged at byte {place.offset}.")
        return chunk.body

    def _size(self) -> int:
        return self._stream.seek(0, os.SEEK_END) - self._base

    def _read_at(self, offset: int, size: int) -> bytes:
        self._stream.seek(self._base + offset)
        return self._stream.read(size)

    def _window_at(self, offset: int) -> Window:
        return window_at(self._read_at, offset)
