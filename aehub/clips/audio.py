"""The sound of a clip: its packets, untouched, in a small Matroska file of their own."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import av

from aehub.clips.source import SPOOL_BYTES

# Sound starts one packet before the picture, for decoders to warm up on; Opus wants 80 ms.
_OPUS_PREROLL = Fraction(8, 100)
# The same bytes for the same sound; and times before the first frame stay what they are.
MUXER_OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}

# What each container can hold so that players play it, and what to use otherwise.
_HELD = {
    "mp4": ("aac", frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})),
    "webm": ("libopus", frozenset({"opus", "vorbis"})),
    "matroska": ("", None),
}
_RATES = {"libopus": 48_000}
_BITS_PER_SECOND = 160_000


class AudioTrack:
    """The first sound track of a clip.

    Attributes:
        codec: e.g. `aac`.
        n_bytes: size of the Matroska file.
    """

    def __init__(self, codec: str, file: BinaryIO) -> None:
        self.codec = codec
        self.n_bytes = file.seek(0, 2)
        self._file = file
        self._lock = threading.Lock()

    def open(self) -> BinaryIO:
        """A reader of the Matroska file, at its start; times count from the first frame."""
        return io.BufferedReader(_View(self._file, self._lock))

    def close(self) -> None:
        """Release the bytes; the clip does it when it is closed."""
        self._file.close()


class _View(io.RawIOBase):
    """One of several readers of the same file, each with its own place."""

    def __init__(self, file: BinaryIO, lock: threading.Lock) -> None:
        self._file, self._lock, self._position = file, lock, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._lock:
            self._file.seek(self._position)
            self._position = self._file.seek(offset, whence)
        return self._position

    def readinto(self, buffer: Any) -> int:
        with self._lock:
            self._file.seek(self._position)
            chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)


def extract(container: Any, start: Fraction, stop: Fraction | None) -> AudioTrack | None:
    """Copy the packets of the first sound track that sound between `start` and `stop`.

    Args:
        container: an open libavformat reader, at its beginning.
        start: seconds on the container's clock that become 0.
        stop: seconds on the same clock, `None` for the end.

    Returns:
        The track, or `None` when nothing sounds there, or Matroska has no name for its codec.
    """
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        return None
    file = cast(BinaryIO, SpooledTemporaryFile(SPOOL_BYTES))
    n_packets = 0
    try:
        with av.open(file, "w", format="matroska", options=MUXER_OPTIONS) as target:
            copied = target.add_stream_from_template(stream)
            for packet in _between(container.demux(stream), stream, start, stop):
                packet.stream = copied
                target.mux(packet)
                n_packets += 1
    except (av.FFmpegError, ValueError):
        # Damage ends the sound early, as it does the picture; Matroska lacks names for some codecs.
        pass
    if not n_packets:
        file.close()
        return None
    return AudioTrack(stream.codec_context.codec.canonical_name, file)


def _between(
    packets: Iterator[Any], stream: Any, start: Fraction, stop: Fraction | None
) -> Iterator[Any]:
    """The packets of a span, moved so that `start` is 0."""
    codec = stream.codec_context
    preroll = _OPUS_PREROLL if codec.name == "opus" else Fraction(0)
    usual = Fraction(codec.frame_size or 0, codec.sample_rate or 1)
    for packet in packets:
        if packet.pts is None or not packet.size:
            continue
        base = packet.time_base
        if stop is not None and packet.pts * base >= stop:
            return
        # Matroska does not state how long its first packet is.
        length = (packet.duration or 0) * base or usual
        if packet.pts * base + length < start - max(length, preroll):
            continue
        shift = round(start / base)
        packet.pts -= shift
        packet.dts = packet.pts
        yield packet


class Feed:
    """Gives a container the packets of a sound track, in step with the pictures.

    Attributes:
        notes: says so when the sound had to be coded anew.
    """

    def __init__(self, track: BinaryIO, target: Any, container_format: str) -> None:
        """Add a stream to `target`, whose format is `mp4`, `webm` or `matroska`."""
        self.notes: list[str] = []
        self._source = av.open(track, "r")
        self._target = target
        stream = self._source.streams.audio[0]
        codec = stream.codec_context.codec.canonical_name
        encoder, held = _HELD[container_format]
        if held is None or codec in held:
            copy = target.add_stream_from_template(stream)
            self._packets = _on_the_grid(self._source.demux(stream), stream, copy)
        else:
            self._packets = self._coded_anew(stream, encoder)
            self.notes.append(f"{codec} sound was coded anew for {container_format}.")
        self._next = next(self._packets, None)

    def up_to(self, seconds: Fraction | None) -> None:
        """Write the packets that start before `seconds`, or all that are left."""
        while self._next is not None and (
            seconds is None or self._next.pts * self._next.time_base < seconds
        ):
            self._target.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Release the track."""
        self._source.close()

    def _coded_anew(self, stream: Any, encoder: str) -> Iterator[Any]:
        source = stream.codec_context
        rate = _RATES.get(encoder, source.sample_rate)
        layout = "mono" if source.layout.nb_channels == 1 else "stereo"
        coded = self._target.add_stream(encoder, rate=rate, layout=layout)
        coded.bit_rate = _BITS_PER_SECOND
        return _encoded(self._source, stream, coded)


def _encoded(container: Any, stream: Any, coded: Any) -> Iterator[Any]:
    """Decode one stream and encode it into another."""
    context = coded.codec_context
    context.open()
    resampler = av.AudioResampler(
        format=context.format,
        layout=context.layout,
        rate=context.rate,
        frame_size=context.frame_size,
    )
    for frame in chain(container.decode(stream), (None,)):
        for piece in resampler.resample(frame):
            yield from coded.encode(piece)
    yield from coded.encode(None)


def _on_the_grid(packets: Iterator[Any], stream: Any, copy: Any) -> Iterator[Any]:
    """Undo Matroska's rounding of times to milliseconds where packets follow without a gap."""
    rate = stream.codec_context.sample_rate
    samples = stream.codec_context.frame_size
    grid = Fraction(1, rate) if rate else None
    expected: int | None = None
    for packet in packets:
        if packet.pts is None or not packet.size:
            continue
        packet.stream = copy
        if grid and samples:
            at = round(packet.pts * packet.time_base / grid)
            if expected is not None and abs(at - expected) * grid < Fraction(2, 1000):
                at = expected
            packet.time_base = grid
            packet.pts = packet.dts = at
            packet.duration = samples
            expected = at + samples
        yield packet
