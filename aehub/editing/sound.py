"""Audio of edited and joined files: packets are copied, or encoded again as AAC."""

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
"""Bytes per copy between files."""
_FLAC_BLOCK_SIZES = 4
"""Bytes of the smallest and largest block size at the start of a FLAC header."""


class Track(NamedTuple):
    """An audio track in its own file (None: silence) and the duration of its pictures."""

    file: BinaryIO | None
    seconds: Fraction


def copy_track(reader: Reader, writer: Writer) -> None:
    """Copy the complete track, byte by byte.

    Raises:
        DamagedError: it breaks off; the part before was copied.
    """
    for piece in reader.audio_pieces():
        writer.audio(piece)


def copy_span(reader: Reader, writer: Writer, start: Fraction,
              stop: Fraction | None) -> None:
    """Copy the packets between two times; the start becomes 0.

    Args:
        reader: the file.
        writer: of the new file.
        start: in seconds.
        stop: in seconds, None for the end.

    Raises:
        DamagedError: the track breaks off; the part before was copied.
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
    """Return the audio of a file with `seconds` of pictures, without its damaged part."""
    file = spool()
    _read_sound(file, reader)
    if not file.tell():
        file.close()
        return Track(None, seconds)
    file.seek(0)
    return Track(file, seconds)


def join_tracks(tracks: Sequence[Track], writer: Writer) -> list[int]:
    """Write tracks one after the other, each in sync with its own pictures.

    Packets are copied if all tracks have one format; otherwise all audio is encoded as AAC.

    Returns:
        Numbers of the tracks whose format differs from the first.
    """
    if not any(track.file for track in tracks):
        return []
    with ExitStack() as stack:
        segments = list(_open_segments(tracks, stack))
        formats = [_codec_parameters(segment.stream) for segment in segments]
        others = [segment.number for segment, parameters in zip(segments, formats, strict=True)
                  if parameters != formats[0]]
        file = stack.enter_context(spool())
        with av.open(file, "w", format="matroska", options=MUXER_OPTIONS) as target:
            for packet in (_encode_aac if others else _copy_packets)(segments, target):
                target.mux(packet)
        file.seek(0)
        _write_sound(file, writer)
    return others


class _Segment(NamedTuple):
    """An open track: number, begin, and begin of the next one (None for the last)."""

    number: int
    stream: Any
    begin: Fraction
    stop: Fraction | None


def _open_segments(tracks: Sequence[Track], stack: ExitStack) -> Iterator[_Segment]:
    begin = Fraction(0)
    for number, track in enumerate(tracks):
        if track.file is not None:
            container = stack.enter_context(av.open(track.file, "r"))
            is_last = number == len(tracks) - 1
            yield _Segment(number, container.streams.audio[0], begin,
                           None if is_last else begin + track.seconds)
        begin += track.seconds


def _copy_packets(segments: Sequence[_Segment], target: Any) -> Iterator[Any]:
    """Yield the packets of all segments, none twice.

    Trimmed audio begins with a packet from before its pictures, also in the previous segment.
    """
    copy, latest = target.add_stream_from_template(segments[0].stream), None
    for packet in chain.from_iterable(map(_shifted_packets, segments)):
        time = packet.pts * packet.time_base
        if latest is None or time > latest:
            latest, packet.stream = time, copy
            yield packet


def _encode_aac(segments: Sequence[_Segment], target: Any) -> Iterator[Any]:
    """Encode all segments with the most channels and the highest rate among them."""
    best = max((segment.stream.codec_context for segment in segments),
               key=lambda codec: (codec.layout.nb_channels, codec.sample_rate))
    return audio.encoded(chain.from_iterable(map(_decode_segment, segments)),
                         audio.add_encoder(target, "aac", best))


def _decode_segment(segment: _Segment) -> Iterator[Any]:
    """Decode a segment from its begin to its stop, to the nearest frame."""
    for frame in audio.decoded(_shifted_packets(segment), segment.stream, []):
        middle = frame.pts * frame.time_base + Fraction(frame.samples, 2 * frame.sample_rate)
        if segment.begin <= middle and (segment.stop is None or middle < segment.stop):
            yield frame


def _shifted_packets(segment: _Segment) -> Iterator[Any]:
    """Yield the packets of a segment before its stop, with times of the joined track."""
    for packet in packets_of(segment.stream):
        if packet.pts is None:
            continue
        packet.pts += round(segment.begin / packet.time_base)
        packet.dts = packet.pts
        if segment.stop is not None and packet.pts * packet.time_base >= segment.stop:
            return
        yield packet


def _codec_parameters(stream: Any) -> object:
    """Return the parameters that tracks must share for their packets to be joined."""
    codec = stream.codec_context
    name, setup = codec.codec.canonical_name, codec.extradata
    if name == "flac":
        # Of its header only the block sizes concern a decoder; the rest describes one track.
        setup = setup[:_FLAC_BLOCK_SIZES]
    return name, codec.sample_rate, codec.layout.name, codec.format.name, setup


def _read_sound(file: BinaryIO, reader: Reader) -> DamagedError | None:
    """Copy the audio of a file to another; return the error at which it breaks off."""
    try:
        for piece in reader.audio_pieces():
            file.write(piece)
    except DamagedError as error:
        return error
    return None


def _write_sound(file: BinaryIO, writer: Writer) -> None:
    while piece := file.read(_PIECE):
        writer.audio(piece)
