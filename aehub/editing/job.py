"""Complete edits and joins of files: readers in, stream out, outcome.

A join copies groups unchanged and merges the halves of a group that a trim cut apart.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from typing import BinaryIO

from aehub.bitstream import (
    FileHeader,
    Group,
    GroupHeader,
    Reader,
    Writer,
    open_reader,
    pack_group_header,
    retained_frames,
    retime,
    truncate_payload,
)
from aehub.bitstream.file_header import TIME_BASE_LIMITS
from aehub.bitstream.group_header import with_durations
from aehub.bitstream.metadata import PLAYS
from aehub.codecs.base import CodecLoader
from aehub.editing import sound
from aehub.editing.operations import Operation, Scale, Turn, element, scale_of
from aehub.editing.rewrite import GroupRewriter, turn_file_header
from aehub.editing.timeline import Timeline
from aehub.errors import DamagedError, InputError, ModelError
from aehub.files import spool
from aehub.media.colour import resolve_unspecified
from aehub.media.scaling import scaled_size
from aehub.results import Progress

_Written = tuple[GroupHeader, bytes]


def joined_header(readers: Sequence[Reader]) -> FileHeader:
    """Return the header of the joined file: the first one's, its time base fine enough for all.

    Raises:
        InputError: two files differ in a property that all groups of a file share.
    """
    first = readers[0]
    for other in readers[1:]:
        fields = zip(_SHARED, _shared(first.header), _shared(other.header), strict=True)
        for field, one, two in fields:
            if one != two:
                raise InputError(f"{other.name} cannot follow {first.name}: {field} is {two}, not "
                                 f"{one}; {_REMEDIES.get(field, _REMEDY)}")
    bases = {reader.header.time_base for reader in readers}
    if len(bases) == 1:
        return first.header
    scale = lcm(*(base.denominator for base in bases))
    common = Fraction(reduce(gcd, (int(base * scale) for base in bases)), scale)
    fits = common.numerator <= TIME_BASE_LIMITS[0] and common.denominator <= TIME_BASE_LIMITS[1]
    return replace(first.header, time_base=common if fits else min(bases))


_SHARED = ("the model", "the revision of its tables", "the revision of its decoder",
           "the payload format", "the frame size", "the picture format", "the colour",
           "the pixel aspect")
_REMEDY = "compress them with the same settings."
_REMEDIES = {"the frame size": "turn or compress them to one size."}


def _shared(header: FileHeader) -> tuple[str, ...]:
    """Return the values named by `_SHARED`."""
    colour = resolve_unspecified(header.colour, header.width, header.height)
    return (header.model, header.entropy_hash.hex(), header.synthesis_hash.hex(), str(header.coder),
            f"{header.width}x{header.height}", str(header.pictures),
            f"matrix {colour.matrix}, {'full' if colour.full_range else 'limited'} range, "
            f"primaries {colour.primaries}, transfer {colour.transfer}", str(header.pixel_aspect))


class Joiner:
    """Groups of several files in order, the halves of a group merged.

    Args:
        readers: the files, seekable.
        load: loads the model of a file header; called only if a half lacks frames.

    Attributes:
        header: of the joined file.
        lost: names of the files with unreadable groups.
    """

    def __init__(self, readers: Sequence[Reader], load: CodecLoader) -> None:
        self.header, self.lost = joined_header(readers), list[str]()
        self._readers, self._load = readers, load

    def groups(self) -> Iterator[_Written]:
        """Yield (header, payload) of each group of the joined file."""
        pending: _Written | None = None
        for group in self._retimed_groups():
            merged = None if pending is None else self._merge(pending, group)
            if pending is not None and merged is None:
                yield pending
            pending = group if merged is None else merged
        if pending is not None:
            yield pending

    def damage(self) -> DamagedError | None:
        """Return an error that states the losses, None if nothing was lost."""
        cut = [reader.name for reader in self._readers if not reader.summary()["complete"]]
        names = ", ".join(self.lost or cut)
        if not names:
            return None
        return DamagedError(f"{names}: damaged or cut off; the groups found were joined"
                            f"{', without sound, which would not fit' if self.lost else ''}.")

    def _retimed_groups(self) -> Iterator[_Written]:
        for reader in self._readers:
            for number in range(len(reader.index or ())):
                try:
                    group = reader.group_at(number)
                except DamagedError:
                    self.lost += [reader.name] if reader.name not in self.lost else []
                    continue
                yield retime(group.header, reader.header, self.header), group.payload

    def _merge(self, first: _Written, second: _Written) -> _Written | None:
        """Return the group that a trim cut into these two; None if it did not.

        The late half also holds the early frames, hidden. The halves match if cutting the late one
        where the early one ends gives exactly the early one. If a frame itself was cut, each half
        shows a part of its duration.
        """
        early, late = (second, first) if second[0].reverse else (first, second)
        (header, payload), (full, full_payload) = early, late
        cut, frame_ticks = header.shown[1] - 1, self.header.frame_ticks
        shares = header.durations(frame_ticks)[cut], full.durations(frame_ticks)[full.shown[0]]
        recut = full
        # A frame of the default duration was not cut, as a rule.
        if cut == full.shown[0] and frame_ticks not in shares:
            recut = with_durations(full, {cut: shares[0]}, frame_ticks)
            full = with_durations(full, {cut: sum(shares)}, frame_ticks)
        elif cut + 1 != full.shown[0]:
            return None
        recut = replace(recut, shown=header.shown)
        packed = pack_group_header(header, self.header)
        if not any(pack_group_header(cut_header, self.header) == packed and cut_payload == payload
                   for cut_header, cut_payload in self._cuts(recut, full_payload)):
            return None
        return replace(full, shown=(header.shown[0], full.shown[1])), full_payload

    def _cuts(self, header: GroupHeader, payload: bytes) -> Iterator[_Written]:
        """Yield a group as trims to its shown frames may have left it: with the other frames
        hidden, truncated, or transcoded."""
        yield header, payload
        frames = retained_frames(header, exact=False)
        if len(frames) == header.n_frames:
            return
        truncated = truncate_payload(header, payload, frames, self.header.frame_ticks)
        if truncated is not None:
            yield truncated
        # Without the model, or in a damaged stream, the halves stay two groups; nothing is lost.
        with suppress(ModelError, DamagedError):
            editor = self._load(self.header).editor
            if editor is not None:
                yield editor.rewrite(self.header, Group(header, payload, 0, 0), frames=frames)


@dataclass(frozen=True)
class Outcome:
    """Properties of the written file.

    Attributes:
        header: file header.
        frames: number of shown frames.
        seconds: their duration.
        bytes: of the file.
        audio_bytes: of these, the audio track.
        notes: sentences about losses.
        psnr: of a second compression against the turned and scaled pictures in dB; None if there
            was none.
        damage: losses of the sources; the intact rest was written.
    """

    header: FileHeader
    frames: int
    seconds: Fraction
    bytes: int
    audio_bytes: int
    notes: tuple[str, ...] = ()
    psnr: float | None = None
    damage: DamagedError | None = None


def edit_codes(reader: Reader, stream: BinaryIO, operations: Sequence[Operation],
               load: CodecLoader, *, exact: bool = False) -> Generator[Progress, None, Outcome]:
    """Write the edited file, group by group.

    Args:
        reader: the file, seekable.
        stream: of the new file.
        operations: in the order of their application.
        load: loads the model of a file header.
        exact: drop all hidden frames on which no shown frame depends.

    Raises:
        InputError: an operation cannot be done.
    """
    index = reader.index or ()
    timeline = Timeline.of(index, reader.header).edited(
        operations, lambda number: reader.group_at(number).header)
    rewriter = GroupRewriter(reader, timeline, load, g=element(operations), exact=exact)
    frames = ticks = 0
    with Writer(stream, rewriter.header) as writer:
        for header, payload in rewriter.groups():
            writer.group(header, payload)
            frames, ticks = frames + header.n_shown, ticks + header.ticks(writer.header.frame_ticks)
            yield Progress(frames, max(frames, timeline.n_frames))
        damage = rewriter.damage()
        notes: tuple[str, ...] = ()
        try:
            if metadata := reader.metadata:
                writer.metadata(metadata)
            if not rewriter.lost:
                end = index[-1].stop * reader.header.time_base if index else Fraction(0)
                notes = _write_sound(reader, writer, timeline, end)
        except DamagedError as error:
            damage = damage or error
    return Outcome(writer.header, frames, ticks * writer.header.time_base, writer.size,
                   writer.audio_bytes, notes, damage=damage)


def edit_pixels(reader: Reader, stream: BinaryIO, operations: Sequence[Operation],
                load: CodecLoader, *, turn: bool, exact: bool = False
                ) -> Generator[Progress, None, Outcome]:
    """As `edit_codes`, but scale decoded pictures and compress them a second time.

    Args:
        reader: as for `edit_codes`.
        stream: as for `edit_codes`.
        operations: as for `edit_codes`.
        load: as for `edit_codes`.
        turn: turn decoded pictures instead of codes, too.
        exact: as for `edit_codes`.

    Raises:
        InputError: an operation cannot be done.
        DamagedError: the file is damaged.
    """
    from aehub.codecs.decompress import scale_note
    from aehub.editing.via_pixels import recompress

    of_pixels = [operation for operation in operations
                 if isinstance(operation, Scale) or (turn and isinstance(operation, Turn))]
    of_codes = [operation for operation in operations if operation not in of_pixels]
    g, scale = element(of_pixels), scale_of(of_pixels)
    with spool() as file:
        first = yield from edit_codes(reader, file, of_codes, load, exact=exact)
        if first.damage is not None:
            raise first.damage
        file.seek(0)
        with open_reader(file) as cut:
            codec, header = load(cut.header), turn_file_header(cut.header, g)
            for stats in recompress(cut, stream, codec, g, scale):
                yield Progress(stats.frames, max(stats.frames, first.frames))
    width, height = scaled_size((header.width, header.height), scale)
    return Outcome(replace(header, width=width, height=height), stats.frames,
                   Fraction(stats.seconds), stats.bytes, stats.audio_bytes,
                   tuple(filter(None, (*first.notes, scale_note(codec, scale)))),
                   psnr=stats.distortion.psnr)


def join(readers: Sequence[Reader], stream: BinaryIO, load: CodecLoader
         ) -> Generator[Progress, None, Outcome]:
    """Write several files as one.

    Args:
        readers: the files, seekable.
        stream: of the new file.
        load: loads the model of a file header; called only to merge halves of a group.

    Raises:
        InputError: they cannot be joined.
    """
    joiner = Joiner(readers, load)
    total = sum(reader.frame_count or 0 for reader in readers)
    frames = ticks = 0
    notes: tuple[str, ...] = ()
    with Writer(stream, joiner.header) as writer:
        for header, payload in joiner.groups():
            writer.group(header, payload)
            frames, ticks = frames + header.n_shown, ticks + header.ticks(writer.header.frame_ticks)
            yield Progress(frames, max(frames, total))
        damage = joiner.damage()
        try:
            merged = {key: value for reader in readers for key, value in reader.metadata.items()}
            if len({reader.plays for reader in readers}) > 1:
                merged.pop(PLAYS, None)
            if merged:
                writer.metadata(merged)
            if not joiner.lost:
                notes = _join_sound(readers, writer)
        except DamagedError as error:
            damage = damage or error
    return Outcome(writer.header, frames, ticks * writer.header.time_base, writer.size,
                   writer.audio_bytes, notes, damage=damage)


def _write_sound(reader: Reader, writer: Writer, timeline: Timeline, end: Fraction
                 ) -> tuple[str, ...]:
    """Write the audio of the shown part; return notes about it."""
    if not reader.summary()["audio_bytes"]:
        return ()
    if timeline.reverse:
        return ("The sound was left out because the pictures play backward.",)
    base = timeline.header.time_base
    start, stop = timeline.start * base, (timeline.start + timeline.ticks) * base
    if (start, stop) == (0, end):
        sound.copy_track(reader, writer)
    else:
        sound.copy_span(reader, writer, start, None if stop == end else stop)
    return ()


def _join_sound(readers: Sequence[Reader], writer: Writer) -> tuple[str, ...]:
    """Write the audio of all files one after the other; return notes about it."""
    tracks = []
    for reader in readers:
        ticks = sum(entry.ticks for entry in reader.index or ())
        tracks.append(sound.read_track(reader, ticks * reader.header.time_base))
    try:
        others = [readers[number].name for number in sound.join_tracks(tracks, writer)]
    finally:
        for track in tracks:
            if track.file is not None:
                track.file.close()
    if not others:
        return ()
    return (f"The sound was encoded again as AAC because that of {', '.join(others)} has another "
            "format than the first.",)
