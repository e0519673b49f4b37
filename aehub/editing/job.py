"""An edit from beginning to end: file in, stream out, and what there is to say about it.

Files one after the other: groups are moved as they are, halves of a group become one again.
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
    GroupHeader,
    Reader,
    Writer,
    open_reader,
    pack_group_header,
    retime,
)
from aehub.bitstream.file_header import TIME_BASE_LIMITS
from aehub.bitstream.group_header import with_durations
from aehub.bitstream.metadata import PLAYS
from aehub.editing import sound
from aehub.editing.operations import Operation, Turn, element
from aehub.editing.rewrite import (
    CodecLoader,
    GroupRewriter,
    restrict_header,
    retained_frames,
    truncate_payload,
    turn_file_header,
)
from aehub.editing.timeline import Timeline
from aehub.errors import DamagedError, InputError, ModelError
from aehub.files import spool
from aehub.media.colour import resolve_unspecified
from aehub.results import Progress

_Written = tuple[GroupHeader, bytes]


def joined_header(readers: Sequence[Reader]) -> FileHeader:
    """The header of the file that holds them all: the first one's, with times fine enough for all.

    Raises:
        InputError: two files differ in what all groups of a file share.
    """
    first = readers[0]
    for other in readers[1:]:
        fields = zip(_SHARED, _shared(first.header), _shared(other.header), strict=True)
        for what, one, two in fields:
            if one != two:
                raise InputError(f"{other.name} cannot follow {first.name}: {what} is {two}, not "
                                 f"{one}; {_REMEDIES.get(what, 'compress them alike.')}")
    bases = {reader.header.time_base for reader in readers}
    if len(bases) == 1:
        return first.header
    whole = lcm(*(base.denominator for base in bases))
    common = Fraction(reduce(gcd, (int(base * whole) for base in bases)), whole)
    fits = common.numerator <= TIME_BASE_LIMITS[0] and common.denominator <= TIME_BASE_LIMITS[1]
    return replace(first.header, time_base=common if fits else min(bases))


_SHARED = ("the model", "the revision of its tables", "the revision of its decoder", "the coder",
           "the frame size", "the colour", "the pixel aspect")
_REMEDIES = {"the frame size": "turn or compress them to one size."}


def _shared(header: FileHeader) -> tuple[str, ...]:
    colour = resolve_unspecified(header.colour, header.width, header.height)
    return (header.model, header.entropy_hash.hex(), header.synthesis_hash.hex(), str(header.coder),
            f"{header.width}x{header.height}",
            f"matrix {colour.matrix}, {'full' if colour.full_range else 'limited'} range, "
            f"primaries {colour.primaries}, transfer {colour.transfer}", str(header.pixel_aspect))


class Joiner:
    """Gives the groups of several files in order.

    Args:
        readers: the files; they can seek.
        load: finds the model that a file header names; called only where a half lacks frames.

    Attributes:
        header: of the joined file.
        lost: for each file that lost groups, its name.
    """

    def __init__(self, readers: Sequence[Reader], load: CodecLoader) -> None:
        self.header, self.lost = joined_header(readers), list[str]()
        self._readers, self._load = readers, load

    def groups(self) -> Iterator[_Written]:
        """Yield (header, payload) of every group to write."""
        held: _Written | None = None
        for group in self._retimed_groups():
            if held is None:
                held = group
                continue
            whole = self._merge(held, group)
            if whole is None:
                yield held
            held = group if whole is None else whole
        if held is not None:
            yield held

    def damage(self) -> DamagedError | None:
        """What was lost, None if nothing was."""
        cut = [reader.name for reader in self._readers if not reader.summary()["complete"]]
        names = ", ".join(self.lost or cut)
        if not names:
            return None
        return DamagedError(f"{names}: damaged or cut off; the groups found were joined"
                            f"{', without sound, for it would not fit' if self.lost else ''}.")

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
        """The group that a trim cut the two from; None if it did not.

        The part that holds the later frames holds the others too, hidden. The halves fit if
        cutting it again, where the earlier part ends, makes exactly that part. Of a frame that was
        cut itself both show a part.
        """
        early, late = (second, first) if second[0].reverse else (first, second)
        (header, payload), (whole, everything) = early, late
        cut, frame_ticks = header.shown[1] - 1, self.header.frame_ticks
        shares = header.durations(frame_ticks)[cut], whole.durations(frame_ticks)[whole.shown[0]]
        again = whole
        # Whole frames are no shares, as a rule.
        if cut == whole.shown[0] and frame_ticks not in shares:
            again = with_durations(whole, {cut: shares[0]}, frame_ticks)
            whole = with_durations(whole, {cut: sum(shares)}, frame_ticks)
        elif cut + 1 != whole.shown[0]:
            return None
        again = replace(again, shown=header.shown)
        frames = retained_frames(again, exact=False)
        is_less = len(frames) < whole.n_frames
        less = restrict_header(again, frames, frame_ticks) if is_less else again
        if pack_group_header(less, self.header) != pack_group_header(header, self.header):
            return None
        cuts = self._cut_payloads(everything, again, frames) if is_less else iter((everything,))
        if payload not in cuts:
            return None
        return replace(whole, shown=(header.shown[0], whole.shown[1])), everything

    def _cut_payloads(self, payload: bytes, header: GroupHeader, frames: Sequence[int]
                      ) -> Iterator[bytes]:
        """What a trim to these frames may have left: cut off, or written again then or since."""
        less = truncate_payload(header, payload, frames)
        if less is not None:
            yield less
        from aehub.codecs.d4 import transcode

        # Without the model, or with a damaged stream, the halves stay two groups: nothing is lost.
        with suppress(ModelError, DamagedError):
            runtime = self._load(self.header).runtime
            yield transcode.rewrite_group(runtime, payload, header, self.header, 0, frames)[0]


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes:
        header: of the new file.
        frames: shown.
        seconds: how long they are shown.
        bytes: of the new file.
        audio_bytes: of these, the audio track.
        notes: sentences about what could not be kept.
        psnr: of a second compression against the turned pictures in dB; None if there was none.
        damage: what of the sources was lost; the rest was written.
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
        reader: the file; it can seek.
        stream: where bytes go.
        operations: in the order in which they are done.
        load: finds the model that a file header names.
        exact: drop every hidden frame that no shown one needs.

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
            if notes_kept := reader.metadata:
                writer.metadata(notes_kept)
            if not rewriter.lost:
                end = index[-1].stop * reader.header.time_base if index else Fraction(0)
                notes = _write_sound(reader, writer, timeline, end)
        except DamagedError as error:
            damage = damage or error
    return Outcome(writer.header, frames, ticks * writer.header.time_base, writer.size,
                   writer.audio_bytes, notes, damage=damage)


def edit_pixels(reader: Reader, stream: BinaryIO, operations: Sequence[Operation],
                load: CodecLoader, *, exact: bool = False) -> Generator[Progress, None, Outcome]:
    """`edit_codes`, but turns go through decoded pictures and a second compression.

    Raises:
        InputError: an operation cannot be done.
        DamagedError: the file is damaged.
    """
    from aehub.editing.via_pixels import recompress

    in_time = [operation for operation in operations if not isinstance(operation, Turn)]
    with spool() as file:
        first = yield from edit_codes(reader, file, in_time, load, exact=exact)
        if first.damage is not None:
            raise first.damage
        file.seek(0)
        with open_reader(file) as cut:
            for stats in recompress(cut, stream, load(reader.header), element(operations)):
                yield Progress(stats.frames, max(stats.frames, first.frames))
            header = turn_file_header(reader.header, element(operations))
    return Outcome(header, stats.frames, Fraction(stats.seconds), stats.bytes, stats.audio_bytes,
                   first.notes, psnr=stats.distortion.psnr)


def join(readers: Sequence[Reader], stream: BinaryIO, load: CodecLoader
         ) -> Generator[Progress, None, Outcome]:
    """Write several files as one.

    Args:
        readers: the files; they can seek.
        stream: where bytes go.
        load: finds the model that a file header names; asked only to merge halves of a group.

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
    """Write the sound of what is shown; return what there is to say about it."""
    if not reader.summary()["audio_bytes"]:
        return ()
    if timeline.backward:
        return ("The sound was left out, for the pictures play backward.",)
    base = timeline.header.time_base
    start, stop = timeline.start * base, (timeline.start + timeline.ticks) * base
    if (start, stop) == (0, end):
        sound.copy_sound(reader, writer)
    else:
        sound.copy_span(reader, writer, start, None if stop == end else stop)
    return ()


def _join_sound(readers: Sequence[Reader], writer: Writer) -> tuple[str, ...]:
    tracks = []
    for reader in readers:
        ticks = sum(entry.ticks for entry in reader.index or ())
        tracks.append(sound.read_track(reader, ticks * reader.header.time_base))
    try:
        others = [readers[place].name for place in sound.join_tracks(tracks, writer)]
    finally:
        for track in tracks:
            if track.file is not None:
                track.file.close()
    if not others:
        return ()
    return (f"The sound was coded anew as AAC, for that of {', '.join(others)} is of another kind "
            "than the first.",)
