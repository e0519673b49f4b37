"""Containers and their streams: opening, packet times, frame rate, choice of video and audio."""

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

# Demuxers that libavformat may probe when the first bytes are inconclusive. None of them opens
# further files or addresses, as those of playlists and image sequences do.
_PROBED_FORMATS = "mpegts,mpeg,mpegvideo,flv,ogg,asf,ivf,h264,hevc,obu"
# Headers of larger files are trusted: reading all packets would take noticeable time.
_MAX_SCANNED_BYTES = 64_000_000
# Bytes from the start of a file that are searched for marks of encryption.
_ENCRYPTION_BYTES = 1 << 20

_COVER_DISPOSITIONS = Disposition.attached_pic | Disposition.timed_thumbnails
# A cover is one packet near the beginning; a film has many among so many.
_MAX_COUNTED_PACKETS = 500
# libavcodec's own decoders drop the second picture of a packet, which holds the transparency.
_DECODERS_OF_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

# EBML IDs of a Matroska file: segment and cluster; top-level elements (EBML header, segment, void).
_SEGMENT_ID, _CLUSTER_ID = 0x18538067, 0x1F43B675
_TOP_LEVEL_IDS = frozenset({0x1A45DFA3, _SEGMENT_ID, 0xEC})
# Seek head, info, tracks, clusters, cues, attachments, chapters, tags, void, checksum.
_SEGMENT_IDS = frozenset({
    0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER_ID, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367,
    0xEC, 0xBF,
})  # fmt: skip
# Time, simple blocks, block groups, position, previous size, silent tracks, void, checksum.
_CLUSTER_IDS = frozenset({0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xEC, 0xBF})


class EncryptedError(Exception):
    """A packet is encrypted."""


def open_container(source: Source, kind: str | None) -> Any:
    """Open a demuxer at the position of the file, restricted to one format and one file.

    Raises:
        InputError: the bytes are no clip.
    """
    options = {} if kind else {"format_whitelist": _PROBED_FORMATS}
    try:
        # Without a mode PyAV would take that of the file, and write to a temporary one.
        return av.open(source.file, "r", format=kind, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as err:
        reason = f"is not a clip or picture that can be read; give an intact {READABLE}."
        raise unreadable_error(source, reason) from err


def unreadable_error(source: Source, reason: str) -> InputError:
    """Return the error for a file that cannot be opened or decoded: encrypted, or `reason`."""
    if source.is_seekable:
        with source.rewound() as file:
            if file_type.is_encrypted(file.read(_ENCRYPTION_BYTES)):
                return encryption_error(source)
    return InputError(f"{source.name} {reason}")


def encryption_error(source: Source) -> InputError:
    """Return the error for encrypted pictures."""
    return InputError(f"{source.name} is encrypted; give a copy without copy protection.")


@contextmanager
def reopened(source: Source, kind: str | None) -> Iterator[Any]:
    """Give a second demuxer from the start, while the first one waits."""
    with source.rewound(), open_container(source, kind) as container:
        yield container


def packet_times(
    source: Source, kind: str | None, index: int, *, repeated: bool = False
) -> tuple[list[Fraction], Fraction]:
    """Return the sorted presentation times of stream `index` and its duration, in seconds.

    `repeated`: count packets without data, too, which repeat the picture before.
    """
    with reopened(source, kind) as container:
        stream = container.streams[index]
        base = stream.time_base or Fraction(1, 1000)
        times, end = [], 0
        try:
            for packet in container.demux(stream):
                if packet.pts is not None and (packet.size or repeated):
                    times.append((packet.pts, packet.duration or 0))
                elif packet.pts is not None:
                    end = packet.pts + (packet.duration or 0)
        except av.FFmpegError:
            # Decoding reports the damage.
            pass
    if not times:
        return [], Fraction(0)
    times.sort()
    length = times[-1][0] - times[0][0]
    last = times[-1][1] or round(length / max(1, len(times) - 1))
    end = max(times[-1][0] + last, end, indexed_end(stream, kind))
    return [pts * base for pts, _ in times], (end - times[0][0]) * base


def indexed_end(stream: Any, kind: str | None) -> int:
    """Return the end of the last frame in ticks by the file's index, 0 without one.

    The frame shown last may be coded before others; then its own packet lacks its duration.
    """
    if kind != "mov" or not stream.frames or not stream.duration:
        return 0
    return int((stream.start_time or 0) + stream.duration)


def rate_and_count(
    source: Source, kind: str | None, container: Any, stream: Any
) -> tuple[Fraction, int | None]:
    """Return the nominal rate, and the expected number of frames if it is known.

    Headers of files with variable frame rate state any rate; where they disagree, and in Matroska,
    which states one for files of any timing, the rate is measured from the packets.
    """
    rates = [stream.average_rate, stream.guessed_rate]
    if Flags(container.format.flags) & Flags.no_timestamps:
        # A raw stream: the average is the demuxer's default, the guess is that of the stream.
        rates.reverse()
    stated = [rate for rate in rates if timestamps.is_plausible(rate)]
    n_frames = stream.frames or None
    doubtful = len(stated) < 2 or not timestamps.rates_agree(*stated) or kind == "matroska"
    if doubtful and source.is_seekable and (source.n_bytes or 0) <= _MAX_SCANNED_BYTES:
        times, seconds = packet_times(source, kind, stream.index, repeated=True)
        measured = len(times) / seconds if seconds else Fraction(0)
        if measured and not (stated and timestamps.rates_agree(measured, stated[0])):
            stated = [measured]
        n_frames = len(times) or None
    rate = timestamps.clean_rate((stated or [timestamps.DEFAULT_FPS])[0])
    if n_frames is None and container.duration:
        n_frames = round(container.duration * rate / av.time_base)
    return rate, n_frames


def choose_video(source: Source, kind: str | None, container: Any) -> tuple[Any, list[str]]:
    """Choose the stream that players show: video before pictures, then the default, the largest.

    Returns:
        The stream, and sentences about those left out.

    Raises:
        InputError: there is none, it has no decoder here, or it is the tiles of one picture.
    """
    candidates = list(container.streams.video)
    covers = [stream for stream in candidates if stream.disposition & _COVER_DISPOSITIONS]
    videos = [stream for stream in candidates if not stream.disposition & _COVER_DISPOSITIONS]
    if not videos:
        raise InputError(_no_video_text(source.name, bool(covers), bool(container.streams.audio)))
    decodable = [stream for stream in videos if stream.codec_context is not None]
    if not decodable:
        if any(map(is_encrypted_packet, islice(container.demux(videos), 1))):
            raise encryption_error(source)
        raise InputError(f"{source.name} uses a codec that cannot be decoded here.")
    counts = _packet_counts(source, kind, decodable) if len(decodable) > 1 else {}

    def rank(stream: Any) -> tuple[bool, bool, int, int, int]:
        is_default = bool(stream.disposition & Disposition.default)
        n_packets = counts.get(stream.index, 0)
        return n_packets > 1, is_default, _area(stream), n_packets, -stream.index

    chosen = max(decodable, key=rank)
    if chosen.disposition & Disposition.dependent:
        raise InputError(
            f"{source.name} is one picture in {len(videos)} tiles, which cannot be put together "
            "here; save it as jpg or png first."
        )
    return chosen, _omitted_video_notes(videos, covers, chosen)


def choose_audio(container: Any) -> tuple[Any, list[str]]:
    """Choose the sound track that players play: the default one, or else the first.

    Returns:
        The stream, `None` if the file has no sound, and sentences about those left out.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        return None, []
    decodable = [track for track in tracks if track.codec_context is not None]
    # Audio description and commentary come second, also where no track is the default.
    chosen = max(decodable or tracks, key=_audio_rank)
    notes = [
        f"A second sound track ({_audio_text(track)}) was left out."
        for track in tracks
        if track is not chosen
    ]
    return chosen, notes


def decoder_of(stream: Any) -> Any:
    """Return the decoder of a video stream, one that decodes its alpha channel if it has one."""
    context = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    name = _DECODERS_OF_ALPHA.get(context.name)
    if name is None or tags.get("alpha_mode") != "1":
        return context
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.extradata = context.extradata
    return decoder


def is_encrypted_packet(packet: Any) -> bool:
    """True if the container marks a packet as encrypted."""
    return any(data.data_type == "encryption_info" for data in packet.iter_sidedata())


def is_complete_matroska(file: BinaryIO) -> bool:
    """Return True if known elements fill the segment of a Matroska file to its end.

    Data after the segment is ignored. Segments and clusters of unknown length, as of live
    recordings, do not count as complete.
    """
    return _elements_fit(file, 0, file.seek(0, 2), _TOP_LEVEL_IDS)


def _no_video_text(name: str, has_cover: bool, has_sound: bool) -> str:
    """Explain why a file has no video to show."""
    if has_cover and has_sound:
        return f"{name} is sound with a cover picture and holds no video; give a clip with a video."
    if has_cover:
        return f"{name} holds a cover picture only; give a clip with a video."
    return f"{name} holds no pictures; give a clip with a video."


def _packet_counts(source: Source, kind: str | None, streams: list[Any]) -> dict[int, int]:
    """Packets of each stream by index: the file's own count, or enough to exclude covers."""
    counts = {stream.index: stream.frames for stream in streams}
    if all(counts.values()) or not source.is_seekable:
        return counts
    counts = dict.fromkeys(counts, 0)
    with reopened(source, kind) as container:
        try:
            for packet in container.demux([container.streams[index] for index in counts]):
                counts[packet.stream.index] += packet.size > 0
                if min(counts.values()) > 1 or sum(counts.values()) > _MAX_COUNTED_PACKETS:
                    break
        except av.FFmpegError:
            # Decoding reports the damage.
            pass
    return counts


def _omitted_video_notes(videos: list[Any], covers: list[Any], chosen: Any) -> list[str]:
    """Describe the video tracks and covers left out; parts of a photograph are no loss."""
    if chosen.time_base is None or chosen.time_base == 1:
        return []
    notes = [
        f"Another video track ({_size(stream)}) was left out."
        for stream in videos
        if stream is not chosen and stream.time_base != 1
    ]
    return notes + [f"A cover picture ({_size(stream)}) was left out." for stream in covers]


def _area(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)


def _size(stream: Any) -> str:
    context = stream.codec_context
    return "of an unknown codec" if context is None else f"{context.width}x{context.height}"


def _audio_rank(track: Any) -> tuple[bool, bool, int]:
    secondary = Disposition.visual_impaired | Disposition.comment | Disposition.descriptions
    is_default = bool(track.disposition & Disposition.default)
    return is_default, not track.disposition & secondary, -track.index


def _audio_text(track: Any) -> str:
    """Describe a sound track: its codec, and its language if known."""
    context = track.codec_context
    codec = "unknown codec" if context is None else context.codec.canonical_name
    language = track.language
    return codec if language in (None, "und") else f"{codec}, {language}"


def _elements_fit(file: BinaryIO, position: int, end: int, known: frozenset[int]) -> bool:
    """True if elements with IDs in `known`, and those inside them, fill the file up to `end`."""
    while position < end:
        file.seek(position)
        head = file.read(12)
        identifier, id_width = _vint(head, keep_marker=True)
        size, size_width = _vint(head[id_width:], keep_marker=False)
        first = position + id_width + size_width
        position = first + size
        if not id_width or not size_width or identifier not in known or position > end:
            return False
        inside = {_SEGMENT_ID: _SEGMENT_IDS, _CLUSTER_ID: _CLUSTER_IDS}.get(identifier)
        if inside is not None and not _elements_fit(file, first, position, inside):
            return False
        if identifier == _SEGMENT_ID:
            break
    return True


def _vint(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Read an EBML variable-size integer: (value, width in bytes), (0, 0) if there is none."""
    width = 9 - data[0].bit_length() if data else 0
    if not 0 < width <= min(8, len(data)):
        return 0, 0
    value = int.from_bytes(data[:width], "big")
    return (value if keep_marker else value & ((1 << 7 * width) - 1)), width
