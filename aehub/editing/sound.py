"""The sound that goes with what an edited file shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import av

from aehub.bitstream import Reader, Writer
from aehub.errors import DamagedError
from aehub.files import spool
from aehub.media import audio
from aehub.media.audio import MUXER_OPTIONS, extract, packets_of

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


def copy_span(reader: Reader, writer: Writer, start: Fraction,
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
    with spool() as file:
        damage = _read_sound(file, reader)
        if file.tell():
            file.seek(0)
            with av.open(file, "r") as container:
                track = extract(container, start, stop)
            if track is not None:
                with track.open() as part:
                    _write_sound(part, writer)
                track.close()
    if damage is not None:
        raise damage


def read_track(reader: Reader, seconds: Fraction) -> Track:
    """The sound of a file whose pictures last so long; what is damaged is left out."""
    file = spool()
    _read_sound(file, reader)
    if not file.tell():
        file.close()
        return Track(None, seconds)
    file.seek(0)
    return Track(file, seconds)


def join_tracks(tracks: Sequence[Track], writer: Writer) -> list[int]:
    """Write tracks one after the other, each in step with its own pictures.

    Packets are copied where all tracks are of one kind; otherwise all sound is coded anew as AAC.

    Returns:
        Places of the tracks that are of another kind than the first.
    """
    if not any(track.file for track in tracks):
        return []
    with ExitStack() as stack:
        parts = list(_open_segments(tracks, stack))
        kinds = [_codec_parameters(part.stream) for part in parts]
        others = [part.place for part, kind in zip(parts, kinds, strict=True) if kind != kinds[0]]
        file = stack.enter_context(spool())
        with av.open(file, "w", format="matroska", options=MUXER_OPTIONS) as target:
            for packet in (_encode_aac if others else _copy_packets)(parts, target):
                target.mux(packet)
        file.seek(0)
        _write_sound(file, writer)
    return others


class _Segment(NamedTuple):
    """A track that is open: its place, where it begins, and where the next one does (or None)."""

    place: int
    stream: Any
    begin: Fraction
    stop: Fraction | None


def _open_segments(tracks: Sequence[Track], stack: ExitStack) -> Iterator[_Segment]:
    begin = Fraction(0)
    for place, track in enumerate(tracks):
        if track.file is not None:
            container = stack.enter_context(av.open(track.file, "r"))
            is_last = place == len(tracks) - 1
            yield _Segment(place, container.streams.audio[0], begin,
                        None if is_last else begin + track.seconds)
        begin += track.seconds


def _copy_packets(parts: Sequence[_Segment], target: Any) -> Iterator[Any]:
    """The packets of all parts, none twice.

    Trimmed sound begins with a packet from before its pictures, which the part before it has.
    """
    copy, latest = target.add_stream_from_template(parts[0].stream), None
    for packet in chain.from_iterable(map(_shifted_packets, parts)):
        time = packet.pts * packet.time_base
        if latest is None or time > latest:
            latest, packet.stream = time, copy
            yield packet


def _encode_aac(parts: Sequence[_Segment], target: Any) -> Iterator[Any]:
    """The sound of all parts, in the rate and layout of the richest."""
    richest = max((part.stream.codec_context for part in parts),
                  key=lambda codec: (codec.layout.nb_channels, codec.sample_rate))
    return audio.encoded(chain.from_iterable(map(_decode_segment, parts)),
                          audio.add_encoder(target, "aac", richest))


def _decode_segment(part: _Segment) -> Iterator[Any]:
    """Decode a part from its begin to its stop, to the nearest frame."""
    for frame in audio.decoded(_shifted_packets(part), part.stream, []):
        middle = frame.pts * frame.time_base + Fraction(frame.samples, 2 * frame.sample_rate)
        if part.begin <= middle and (part.stop is None or middle < part.stop):
            yield frame


def _shifted_packets(part: _Segment) -> Iterator[Any]:
    """The packets of a part that begin before its stop, at their place in the whole."""
    for packet in packets_of(part.stream):
        if packet.pts is None:
            continue
        packet.pts += round(part.begin / packet.time_base)
        packet.dts = packet.pts
        if part.stop is not None and packet.pts * packet.time_base >= part.stop:
            return
        yield packet


def _codec_parameters(stream: Any) -> object:
    """What must agree for packets of two tracks to follow each other."""
    codec = stream.codec_context
    name, setup = codec.codec.canonical_name, codec.extradata
    if name == "flac":
        # Of its header only the sizes of blocks bind a decoder; the rest describes one sound.
        setup = setup[:_FLAC_BLOCK_SIZES]
    return name, codec.sample_rate, codec.layout.name, codec.format.name, setup


def _read_sound(file: BinaryIO, reader: Reader) -> DamagedError | None:
    try:
        for piece in reader.audio_pieces():
            file.write(piece)
    except DamagedError as error:
        return error
    return None


def _write_sound(file: BinaryIO, writer: Writer) -> None:
    while piece := file.read(_PIECE):
        writer.audio(piece)
