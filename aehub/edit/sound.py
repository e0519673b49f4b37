"""The sound that goes with what an edited file shows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple, cast

import av

from aehub.clips.audio import MUXER_OPTIONS, extract
from aehub.container import Reader, Writer
from aehub.errors import DamagedError

_SPOOL = 8 << 20
_PIECE = 1 << 20
# Bytes of the smallest and largest block at the start of a FLAC header.
_FLAC_BLOCK_SIZES = 4


class Track(NamedTuple):
    """A sound track in a file of its own (None: silence) and how long its pictures last."""

    file: BinaryIO | None
    seconds: Fraction


def copy_sound(reader: Reader, writer: Writer) -> None:
    """Copy the whole track, byte by byte.

    Raises:
        DamagedError: it breaks off; what comes before was copied.
    """
    for piece in reader.audio_pieces():
        writer.audio(piece)


def copy_part(reader: Reader, writer: Writer, start: Fraction,
              stop: Fraction | None) -> None:
    """Copy the packets that sound between two moments; the start becomes 0.

    Args:
        reader: the file.
        writer: of the new file.
        start: in seconds.
        stop: in seconds, None for the end.

    Raises:
        DamagedError: the track breaks off; what comes before was copied.
    """
    with _spool() as file:
        damage = _fill(file, reader)
        if file.tell():
            file.seek(0)
            with av.open(file, "r") as container:
                track = extract(container, start, stop)
            if track is not None:
                with track.open() as part:
                    _write(part, writer)
                track.close()
    if damage is not None:
        raise damage


def track_of(reader: Reader, seconds: Fraction) -> Track:
    """The sound of a file whose pictures last so long; what is damaged is left out."""
    file = _spool()
    _fill(file, reader)
    if not file.tell():
        file.close()
        return Track(None, seconds)
    file.seek(0)
    return Track(file, seconds)


def copy_joined(tracks: Sequence[Track], writer: Writer) -> list[int]:
    """Copy tracks one after the other, each in step with its own pictures.

    Returns:
        Places of the tracks that were left out because they are not of the first one's kind.
    """
    heard = [place for place, track in enumerate(tracks) if track.file is not None]
    if not heard:
        return []
    with _spool() as file:
        with av.open(file, "w", format="matroska", options=MUXER_OPTIONS) as target:
            left_out = _mux(tracks, target)
        file.seek(0)
        _write(file, writer)
    return left_out


def _mux(tracks: Sequence[Track], target: Any) -> list[int]:
    left_out: list[int] = []
    copied: Any = None
    kind: object = None
    begin, latest = Fraction(0), None
    for place, track in enumerate(tracks):
        if track.file is not None:
            last = place == len(tracks) - 1
            with av.open(track.file, "r") as container:
                stream = container.streams.audio[0]
                if copied is None:
                    kind, copied = _kind(stream), target.add_stream_from_template(stream)
                if _kind(stream) != kind:
                    left_out.append(place)
                else:
                    for packet in _placed(container, begin, None if last else track.seconds,
                                          latest):
                        latest = packet.pts * packet.time_base
                        packet.stream = copied
                        target.mux(packet)
        begin += track.seconds
    return left_out


def _placed(container: Any, begin: Fraction, stop: Fraction | None, latest: Fraction | None
            ) -> Iterator[Any]:
    """The packets of a track up to `stop`, moved to `begin`, none twice.

    Trimmed sound begins with a packet from before its pictures, which the part before it has.
    """
    for packet in container.demux(container.streams.audio[0]):
        if packet.pts is None or not packet.size:
            continue
        if stop is not None and packet.pts * packet.time_base >= stop:
            return
        packet.pts += round(begin / packet.time_base)
        packet.dts = packet.pts
        if latest is None or packet.pts * packet.time_base > latest:
            yield packet


def _kind(stream: Any) -> object:
    """What must agree for packets of two tracks to follow each other."""
    codec = stream.codec_context
    name, setup = codec.codec.canonical_name, codec.extradata
    if name == "flac":
        # Of its header only the sizes of blocks bind a decoder; the rest describes one sound.
        setup = setup[:_FLAC_BLOCK_SIZES]
    return name, codec.sample_rate, codec.layout.name, codec.format.name, setup


def _spool() -> BinaryIO:
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(_SPOOL))


def _fill(file: BinaryIO, reader: Reader) -> DamagedError | None:
    try:
        for piece in reader.audio_pieces():
            file.write(piece)
    except DamagedError as error:
        return error
    return None


def _write(file: BinaryIO, writer: Writer) -> None:
    while piece := file.read(_PIECE):
        writer.audio(piece)
