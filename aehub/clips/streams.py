"""Choose the video and the audio stream of a file, and name those that are left out."""

from __future__ import annotations

from itertools import islice
from typing import Any

import av
from av.stream import Disposition

from aehub.clips.probe import locked, reopened
from aehub.clips.source import Source
from aehub.errors import InputError

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
        if any(map(is_locked, islice(container.demux(films), 1))):
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


def is_locked(packet: Any) -> bool:
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
