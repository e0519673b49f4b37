"""Choose the video and the audio stream of a file, and name those that are left out.

What a file tells before it is decoded: its container, its packets, its true rate.

The elements of a Matroska file, to tell a whole one from one that lost a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from typing import Any, BinaryIO

import av
from av.format import Flags
from av.stream import Disposition

from aehub.errors import InputError
from aehub.media import file_type, timestamps
from aehub.media.source import READABLE, Source

# Readers that libavformat may guess when the first bytes say nothing. None of them opens further
# files or addresses, as playlists and pattern readers do.
_GUESSED = "mpegts,mpeg,mpegvideo,flv,ogg,asf,ivf,h264,hevc,obu"
# Larger files are taken at their header's word: reading them twice would be felt.
_SCANNED_BYTES = 64_000_000
# By then a file has said that it is encrypted.
_HEAD_BYTES = 1 << 20


def open_container(source: Source, kind: str | None) -> Any:
    """A libavformat reader from where the file stands, fenced in to one format and one file.

    Raises:
        InputError: the bytes are no clip.
    """
    options = {} if kind else {"format_whitelist": _GUESSED}
    try:
        # The mode is said, for PyAV would take that of the file, and write to a temporary one.
        return av.open(source.file, "r", format=kind, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as err:
        reason = f"is not a clip or picture that can be read; give an intact {READABLE}."
        raise unreadable(source, reason) from err


def unreadable(source: Source, reason: str) -> InputError:
    """Return the error for what cannot be opened or decoded: it is encrypted, or `reason`."""
    if source.is_seekable:
        with source.from_start() as file:
            if file_type.is_encrypted(file.read(_HEAD_BYTES)):
                return locked(source)
    return InputError(f"{source.name} {reason}")


def locked(source: Source) -> InputError:
    """Return the error for pictures that nobody can see without a key."""
    return InputError(f"{source.name} is encrypted; give a copy without copy protection.")


@contextmanager
def reopened(source: Source, kind: str | None) -> Iterator[Any]:
    """A second reader from the start, while the first one waits."""
    with source.from_start(), open_container(source, kind) as container:
        yield container


def packet_times(
    source: Source, kind: str | None, index: int, *, repeated: bool = False
) -> tuple[list[Fraction], Fraction]:
    """When each frame of stream `index` is shown, in order, and the duration, both in seconds.

    `repeated`: count packets without data, too, which keep the picture before.
    """
    with reopened(source, kind) as container:
        stream = container.streams[index]
        base = stream.time_base or Fraction(1, 1000)
        spans, end = [], 0
        try:
            for packet in container.demux(stream):
                if packet.pts is not None and (packet.size or repeated):
                    spans.append((packet.pts, packet.duration or 0))
                elif packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
        except av.FFmpegError:
            # What is damaged is said when it is decoded.
            pass
    if not spans:
        return [], Fraction(0)
    spans.sort()
    length = spans[-1][0] - spans[0][0]
    last = spans[-1][1] or round(length / max(1, len(spans) - 1))
    end = max(spans[-1][0] + last, end, stated_end(stream, kind))
    return [pts * base for pts, _ in spans], (end - spans[0][0]) * base


def stated_end(stream: Any, kind: str | None) -> int:
    """When the last frame ends in ticks by the file's index, 0 where there is none.

    The frame shown last may be coded before others; then its own packet does not tell.
    """
    if kind != "mov" or not stream.frames or not stream.duration:
        return 0
    return int((stream.start_time or 0) + stream.duration)


def rate_and_count(
    source: Source, kind: str | None, container: Any, stream: Any
) -> tuple[Fraction, int | None]:
    """The nominal rate, and the number of frames to expect if the file says so.

    Headers of files with varying frame times state all kinds of rates; where they disagree, and in
    Matroska, which states one for files of any timing, the packets are asked.
    """
    rates = [stream.average_rate, stream.guessed_rate]
    if Flags(container.format.flags) & Flags.no_timestamps:
        # A bare stream: the average is the reader's default, the guess is what the stream says.
        rates.reverse()
    stated = [rate for rate in rates if timestamps.is_plausible(rate)]
    n_frames = stream.frames or None
    doubtful = len(stated) < 2 or not timestamps.agree(*stated) or kind == "matroska"
    if doubtful and source.is_seekable and (source.n_bytes or 0) <= _SCANNED_BYTES:
        times, seconds = packet_times(source, kind, stream.index, repeated=True)
        measured = len(times) / seconds if seconds else Fraction(0)
        if measured and not (stated and timestamps.agree(measured, stated[0])):
            stated = [measured]
        n_frames = len(times) or None
    rate = timestamps.clean_rate((stated or [timestamps.DEFAULT_FPS])[0])
    if n_frames is None and container.duration:
        n_frames = round(container.duration * rate / av.time_base)
    return rate, n_frames


_COVER = Disposition.attached_pic | Disposition.timed_thumbnails
# A cover is one packet near the beginning; by then a film has had many.
_ENOUGH_PACKETS = 500
# libavcodec's own decoders drop the second picture of a packet, which holds the transparency.
_DECODERS_OF_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Locked(Exception):
    """A packet is encrypted."""


def choose_video(source: Source, kind: str | None, container: Any) -> tuple[Any, list[str]]:
    """Choose the stream that players show: films before pictures, then the default, the largest.

    Returns:
        The stream, and sentences about those that are left out.

    Raises:
        InputError: there is none, it has no decoder here, or it is the tiles of one picture.
    """
    videos = list(container.streams.video)
    covers = [stream for stream in videos if stream.disposition & _COVER]
    films = [stream for stream in videos if not stream.disposition & _COVER]
    if not films:
        raise InputError(_without_film(source.name, bool(covers), bool(container.streams.audio)))
    known = [stream for stream in films if stream.codec_context is not None]
    if not known:
        if any(map(is_encrypted_packet, islice(container.demux(films), 1))):
            raise locked(source)
        raise InputError(f"{source.name} uses a codec that cannot be decoded here.")
    counts = _packet_counts(source, kind, known) if len(known) > 1 else {}

    def rank(stream: Any) -> tuple[bool, bool, int, int, int]:
        is_default = bool(stream.disposition & Disposition.default)
        n_packets = counts.get(stream.index, 0)
        return n_packets > 1, is_default, _area(stream), n_packets, -stream.index

    chosen = max(known, key=rank)
    if chosen.disposition & Disposition.dependent:
        raise InputError(
            f"{source.name} is one picture in {len(films)} tiles, which cannot be put together "
            "here; save it as jpg or png first."
        )
    return chosen, _left_out(films, covers, chosen)


def choose_audio(container: Any) -> tuple[Any, list[str]]:
    """Choose the sound that a player plays: the default track, or else the first.

    Returns:
        The stream, `None` if the file has no sound, and sentences about those left out.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        return None, []
    known = [track for track in tracks if track.codec_context is not None]
    # Sound for the blind and comments come second, also where no track is the default.
    chosen = max(known or tracks, key=_audio_rank)
    notes = [
        f"A second sound track ({_audio_words(track)}) was left out."
        for track in tracks
        if track is not chosen
    ]
    return chosen, notes


def decoder_of(stream: Any) -> Any:
    """The decoder of a video stream: one that gives its transparency where it has any."""
    context = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    name = _DECODERS_OF_ALPHA.get(context.name)
    if name is None or tags.get("alpha_mode") != "1":
        return context
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.extradata = context.extradata
    return decoder


def is_encrypted_packet(packet: Any) -> bool:
    """Whether a packet is encrypted, by its container's account."""
    return any(data.data_type == "encryption_info" for data in packet.iter_sidedata())


def _without_film(name: str, has_cover: bool, has_sound: bool) -> str:
    """Say why there is nothing to show."""
    if has_cover and has_sound:
        return f"{name} is sound with a cover picture and holds no video; give a clip with a video."
    if has_cover:
        return f"{name} holds a cover picture only; give a clip with a video."
    return f"{name} holds no pictures; give a clip with a video."


def _packet_counts(source: Source, kind: str | None, streams: list[Any]) -> dict[int, int]:
    """Packets of each stream by index: the file's own count, or as far as tells films apart."""
    counts = {stream.index: stream.frames for stream in streams}
    if all(counts.values()) or not source.is_seekable:
        return counts
    counts = dict.fromkeys(counts, 0)
    with reopened(source, kind) as container:
        try:
            for packet in container.demux([container.streams[index] for index in counts]):
                counts[packet.stream.index] += packet.size > 0
                if min(counts.values()) > 1 or sum(counts.values()) > _ENOUGH_PACKETS:
                    break
        except av.FFmpegError:
            # What is damaged is said when it is decoded.
            pass
    return counts


def _left_out(films: list[Any], covers: list[Any], chosen: Any) -> list[str]:
    """Name the other pictures of a film; the parts of a photograph are no loss."""
    if chosen.time_base is None or chosen.time_base == 1:
        return []
    notes = [
        f"Another video track ({_size(stream)}) was left out."
        for stream in films
        if stream is not chosen and stream.time_base != 1
    ]
    return notes + [f"A cover picture ({_size(stream)}) was left out." for stream in covers]


def _area(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)


def _size(stream: Any) -> str:
    context = stream.codec_context
    return "of an unknown codec" if context is None else f"{context.width}x{context.height}"


def _audio_rank(track: Any) -> tuple[bool, bool, int]:
    aside = Disposition.visual_impaired | Disposition.comment | Disposition.descriptions
    is_default = bool(track.disposition & Disposition.default)
    return is_default, not track.disposition & aside, -track.index


def _audio_words(track: Any) -> str:
    """Name a sound track: its codec, and its language if it is told."""
    context = track.codec_context
    codec = "unknown codec" if context is None else context.codec.canonical_name
    language = track.language
    return codec if language in (None, "und") else f"{codec}, {language}"


_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_OUTSIDE = frozenset({0x1A45DFA3, _SEGMENT, 0xEC})
# Seek head, info, tracks, clusters, cues, attachments, chapters, tags, void, checksum.
_IN_SEGMENT = frozenset({
    0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,
    0xEC, 0xBF,
})  # fmt: skip
# Time, simple blocks, block groups, position, previous size, silent tracks, void, checksum.
_IN_CLUSTER = frozenset({0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xEC, 0xBF})


def is_whole(file: BinaryIO) -> bool:
    """Return whether the elements of the segment follow each other to its end, all of them known.

    What is appended to it does no harm. Segments and clusters of unknown length, as of live
    recordings, are not known to be whole.
    """
    return _follow(file, 0, file.seek(0, 2), _OUTSIDE)


def _follow(file: BinaryIO, position: int, end: int, known: frozenset[int]) -> bool:
    while position < end:
        file.seek(position)
        head = file.read(12)
        name, width = _number(head, keep_marker=True)
        size, length = _number(head[width:], keep_marker=False)
        first = position + width + length
        position = first + size
        if not width or not length or name not in known or position > end:
            return False
        inside = {_SEGMENT: _IN_SEGMENT, _CLUSTER: _IN_CLUSTER}.get(name)
        if inside is not None and not _follow(file, first, position, inside):
            return False
        if name == _SEGMENT:
            break
    return True


def _number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """A number and its width, 0 where there is none; leading zero bits tell the width."""
    width = 9 - data[0].bit_length() if data else 0
    if not 0 < width <= min(8, len(data)):
        return 0, 0
    value = int.from_bytes(data[:width], "big")
    return (value if keep_marker else value & ((1 << 7 * width) - 1)), width
