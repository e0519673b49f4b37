"""What a file tells before it is decoded: its container, its packets, its true rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
from av.format import Flags

from aehub.clips import sniff, timeline
from aehub.clips.source import READABLE, Source
from aehub.errors import InputError

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
            if sniff.is_encrypted(file.read(_HEAD_BYTES)):
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
    stated = [rate for rate in rates if timeline.is_plausible(rate)]
    n_frames = stream.frames or None
    doubtful = len(stated) < 2 or not timeline.agree(*stated) or kind == "matroska"
    if doubtful and source.is_seekable and (source.n_bytes or 0) <= _SCANNED_BYTES:
        times, seconds = packet_times(source, kind, stream.index, repeated=True)
        measured = len(times) / seconds if seconds else Fraction(0)
        if measured and not (stated and timeline.agree(measured, stated[0])):
            stated = [measured]
        n_frames = len(times) or None
    rate = timeline.clean_rate((stated or [timeline.DEFAULT_FPS])[0])
    if n_frames is None and container.duration:
        n_frames = round(container.duration * rate / av.time_base)
    return rate, n_frames
