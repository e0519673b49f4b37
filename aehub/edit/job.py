"""An edit from beginning to end: file in, stream out, and what there is to say about it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from aehub.container import FileHead, Reader, Writer, open_reader
from aehub.container.notes import PLAYS
from aehub.edit import sound
from aehub.edit.join import Joiner
from aehub.edit.operations import Operation, Turn, element
from aehub.edit.rewrite import Load, Rewriter
from aehub.edit.timeline import Timeline
from aehub.edit.window import turned_file_head
from aehub.errors import DamagedError
from aehub.files import spool
from aehub.results import Step


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes:
        head: of the new file.
        frames: shown.
        seconds: how long they are shown.
        bytes: of the new file.
        audio_bytes: of these, the audio track.
        notes: sentences about what could not be kept.
        psnr: of a second compression against the turned pictures in dB; None if there was none.
        damage: what of the sources was lost; the rest was written.
    """

    head: FileHead
    frames: int
    seconds: Fraction
    bytes: int
    audio_bytes: int
    notes: tuple[str, ...] = ()
    psnr: float | None = None
    damage: DamagedError | None = None


def edit_codes(reader: Reader, stream: BinaryIO, operations: Sequence[Operation], load: Load, *,
               exact: bool = False) -> Generator[Step, None, Outcome]:
    """Write the edited file, group by group.

    Args:
        reader: the file; it can seek.
        stream: where bytes go.
        operations: in the order in which they are done.
        load: finds the model that a file head names.
        exact: drop every hidden frame that no shown one needs.

    Raises:
        InputError: an operation cannot be done.
    """
    index = reader.index or ()
    timeline = Timeline.of(index, reader.head).edited(
        operations, lambda number: reader.group_at(number).head)
    rewriter = Rewriter(reader, timeline, load, g=element(operations), exact=exact)
    frames = ticks = 0
    with Writer(stream, rewriter.head) as writer:
        for head, payload in rewriter.groups():
            writer.group(head, payload)
            frames, ticks = frames + head.n_shown, ticks + head.ticks(writer.head.step)
            yield Step(frames, max(frames, timeline.n_frames))
        damage = rewriter.damage()
        notes: tuple[str, ...] = ()
        try:
            if notes_kept := reader.metadata:
                writer.metadata(notes_kept)
            if not rewriter.lost:
                end = index[-1].stop * reader.head.time_base if index else Fraction(0)
                notes = _sound(reader, writer, timeline, end)
        except DamagedError as error:
            damage = damage or error
    return Outcome(writer.head, frames, ticks * writer.head.time_base, writer.size,
                   writer.audio_bytes, notes, damage=damage)


def edit_pixels(reader: Reader, stream: BinaryIO, operations: Sequence[Operation], load: Load, *,
                exact: bool = False) -> Generator[Step, None, Outcome]:
    """`edit_codes`, but turns go through decoded pictures and a second compression.

    Raises:
        InputError: an operation cannot be done.
        DamagedError: the file is damaged.
    """
    from aehub.edit.pixels import recompress

    in_time = [operation for operation in operations if not isinstance(operation, Turn)]
    with spool() as file:
        first = yield from edit_codes(reader, file, in_time, load, exact=exact)
        if first.damage is not None:
            raise first.damage
        file.seek(0)
        with open_reader(file) as cut:
            for tally in recompress(cut, stream, load(reader.head), element(operations)):
                yield Step(tally.frames, max(tally.frames, first.frames))
            head = turned_file_head(reader.head, element(operations))
    return Outcome(head, tally.frames, Fraction(tally.seconds), tally.bytes, tally.audio_bytes,
                   first.notes, psnr=tally.distortion.psnr)


def join(readers: Sequence[Reader], stream: BinaryIO, load: Load
         ) -> Generator[Step, None, Outcome]:
    """Write several files as one.

    Args:
        readers: the files; they can seek.
        stream: where bytes go.
        load: finds the model that a file head names; asked only to merge halves of a group.

    Raises:
        InputError: they cannot be joined.
    """
    joiner = Joiner(readers, load)
    total = sum(reader.frame_count or 0 for reader in readers)
    frames = ticks = 0
    notes: tuple[str, ...] = ()
    with Writer(stream, joiner.head) as writer:
        for head, payload in joiner.groups():
            writer.group(head, payload)
            frames, ticks = frames + head.n_shown, ticks + head.ticks(writer.head.step)
            yield Step(frames, max(frames, total))
        damage = joiner.damage()
        try:
            merged = {key: value for reader in readers for key, value in reader.metadata.items()}
            if len({reader.plays for reader in readers}) > 1:
                merged.pop(PLAYS, None)
            if merged:
                writer.metadata(merged)
            if not joiner.lost:
                notes = _joined_sound(readers, writer)
        except DamagedError as error:
            damage = damage or error
    return Outcome(writer.head, frames, ticks * writer.head.time_base, writer.size,
                   writer.audio_bytes, notes, damage=damage)


def _sound(reader: Reader, writer: Writer, timeline: Timeline, end: Fraction) -> tuple[str, ...]:
    """Write the sound of what is shown; return what there is to say about it."""
    if not reader.summary()["audio_bytes"]:
        return ()
    if timeline.backward:
        return ("The sound was left out, for the pictures play backward.",)
    base = timeline.head.time_base
    start, stop = timeline.start * base, (timeline.start + timeline.ticks) * base
    if (start, stop) == (0, end):
        sound.copy_sound(reader, writer)
    else:
        sound.copy_part(reader, writer, start, None if stop == end else stop)
    return ()


def _joined_sound(readers: Sequence[Reader], writer: Writer) -> tuple[str, ...]:
    tracks = []
    for reader in readers:
        ticks = sum(entry.ticks for entry in reader.index or ())
        tracks.append(sound.track_of(reader, ticks * reader.head.time_base))
    try:
        others = [readers[place].name for place in sound.copy_joined(tracks, writer)]
    finally:
        for track in tracks:
            if track.file is not None:
                track.file.close()
    if not others:
        return ()
    return (f"The sound was coded anew as AAC, for that of {', '.join(others)} is of another kind "
            "than the first.",)
