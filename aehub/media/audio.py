"""Sound of clips: extraction of a track, muxing into an output, and transcoding.

Packets are copied unchanged where the container holds their codec, and transcoded otherwise.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO, cast

import av

from aehub.files import spool
from aehub.media import streams
from aehub.media.picture import add_note

MUXER_OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
"""Options of the Matroska muxer for sound tracks: the same bytes for the same sound, and negative
times stay."""

# Bits per second of one channel: transparent at 48 kHz, and a minimum for low sample rates.
_CHANNEL_BIT_RATE, _MIN_CHANNEL_BIT_RATE = 80_000, 24_000
# Seconds by which sound must be late to count as a gap, not as rounding of timestamps.
_MIN_GAP = Fraction(1, 20)
# Longest silence in seconds that is coded; a longer gap is a gap in the file, too.
_MAX_SILENCE = 60
# Sound starts one packet before the picture as decoder preroll; Opus needs 80 ms.
_OPUS_PREROLL = Fraction(8, 100)
# Encoder for codecs that Matroska, in which clips keep their sound, cannot hold.
_FALLBACK_ENCODER = "aac"
# Packets that cannot be cut: TTA counts them from its start, those of WavPack last half a second.
_UNCUTTABLE_CODECS = frozenset({"tta", "wavpack"})
# Encoders begin a few packets early; more seconds than this are reported as lost.
_MIN_REPORTED_LEAD = Fraction(1, 10)
# Container -> (encoder for other codecs, codecs that players play from it; None: all).
_CONTAINER_CODECS = {
    "mp4": ("aac", frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})),
    "webm": ("libopus", frozenset({"opus", "vorbis"})),
    "matroska": ("", None),
}


class AudioTrack:
    """The sound track of a clip in a Matroska file of its own.

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
        """Open a reader at the start of the Matroska file; times count from the first frame."""
        return io.BufferedReader(_View(self._file, self._lock))

    def close(self) -> None:
        """Release the file; closing the clip does it too."""
        self._file.close()


class _View(io.RawIOBase):
    """One of several readers of the same file, each with its own position."""

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


def extract(
    container: Any, start: Fraction, stop: Fraction | None, notes: list[str] | None = None
) -> AudioTrack | None:
    """Extract the sound between `start` and `stop`: its packets, or transcoded to AAC.

    Args:
        container: an open demuxer at its start.
        start: seconds on the container's clock that become 0.
        stop: seconds on the same clock, `None` for the end.
        notes: list for sentences about sound that was changed or left out.

    Returns:
        The track, None if there is no sound or it cannot be decoded.
    """
    notes = [] if notes is None else notes
    stream, omitted = streams.choose_audio(container)
    notes.extend(omitted)
    if stream is None:
        return None
    if stream.codec_context is None:
        notes.append("The sound was left out, for its codec cannot be decoded here.")
        return None
    file = spool()
    codec = _write_track(stream, file, start, stop, notes)
    if codec is None:
        file.close()
        return None
    return AudioTrack(codec, file)


def _write_track(
    stream: Any, file: BinaryIO, start: Fraction, stop: Fraction | None, notes: list[str]
) -> str | None:
    """Write the sound of a span to a file; return its codec, None if there is no sound."""
    last, is_damaged = cast("Fraction | None", None), False
    try:
        with av.open(file, "w", format="matroska", options=MUXER_OPTIONS) as target:
            is_copy, copied = _add_stream(target, stream)
            packets = _packets_between(packets_of(stream), stream, start, stop)
            if not is_copy:
                packets = encoded(decoded(packets, stream, notes), copied)
            for packet in packets:
                last = packet.pts * packet.time_base
                packet.stream = copied
                target.mux(packet)
    except streams.EncryptedError:
        notes.append("The sound was left out, for it is encrypted.")
        return None
    except (av.FFmpegError, ValueError):
        # Damage ends the sound early, as it does the picture.
        is_damaged = True
    if last is not None and not _is_readable(file):
        last, is_damaged = None, True
    if is_damaged:
        rest = "was left out, for" if last is None else f"ends after {float(last):.1f} s, for there"
        notes.append(f"The sound {rest} its data is damaged.")
    if last is None:
        return None
    if not is_copy:
        notes.append(transcoding_note(stream.codec_context, "as AAC"))
        return _FALLBACK_ENCODER
    return str(stream.codec_context.codec.canonical_name)


def packets_of(stream: Any) -> Iterator[Any]:
    """Read the packets of a stream, each with its time if its container has any.

    libavformat gives no negative times to Matroska packets without a duration, as those of ALAC.
    They follow each other before the first packet with a time.
    """
    packets = (packet for packet in stream.container.demux(stream) if packet.size)
    if not stream.container.format.name.startswith("matroska"):
        yield from packets
        return
    untimed: list[Any] = []
    timed: list[Any] = []
    while len(timed) < (2 if untimed else 1) and (packet := next(packets, None)) is not None:
        (untimed if packet.pts is None and not timed else timed).append(packet)
    if len(timed) == 2 and timed[1].pts is not None:
        length = timed[1].pts - timed[0].pts
        for back, packet in enumerate(reversed(untimed), 1):
            packet.pts = packet.dts = timed[0].pts - back * length
    yield from untimed
    yield from timed
    yield from packets


def leading_sound_note(container: Any, zero: Fraction) -> list[str]:
    """Describe the sound lost because it precedes the first picture at `zero` seconds."""
    stream, _ = streams.choose_audio(container)
    if stream is None or stream.start_time is None:
        return []
    lead = zero - stream.start_time * stream.time_base
    if lead < _MIN_REPORTED_LEAD:
        return []
    return [f"{float(lead):.1f} s of sound before the first picture were left out."]


def _is_readable(file: BinaryIO) -> bool:
    """True if a track can be opened again: a copy keeps the damage of its source."""
    file.seek(0)
    try:
        av.open(file, "r").close()
    except av.FFmpegError:
        return False
    return True


def _add_stream(target: Any, stream: Any) -> tuple[bool, Any]:
    """Add a stream: (True, for its packets) or (False, for the encoder)."""
    if stream.codec_context.name not in _UNCUTTABLE_CODECS:
        # Matroska has no codec ID for some codecs.
        with suppress(ValueError):
            return True, target.add_stream_from_template(stream)
    return False, add_encoder(target, _FALLBACK_ENCODER, stream.codec_context)


def _packets_between(
    packets: Iterator[Any], stream: Any, start: Fraction, stop: Fraction | None
) -> Iterator[Any]:
    """Packets of a span, shifted so that `start` is 0, on a grid of samples or finer."""
    codec = stream.codec_context
    preroll = _OPUS_PREROLL if codec.name == "opus" else Fraction(0)
    rate = codec.sample_rate or 48_000
    latest: int | None = None
    # Sound in AVI has no timestamps, and those that libavformat derives may be far off.
    is_avi = stream.container.format.name == "avi"
    default = Fraction(codec.frame_size or 0, rate)
    for packet, time, length in _with_durations(packets, default, is_avi):
        if streams.is_encrypted_packet(packet):
            raise streams.EncryptedError
        if stop is not None and time >= stop:
            return
        if time + length < start - max(length, preroll):
            continue
        # AVI counts whole packets, a quarter of a second each.
        grid = min(packet.time_base, Fraction(1, rate))
        moved = round((time - start) / grid)
        # Decreasing times, as in joined recordings, would stop the muxer.
        latest = moved if latest is None else max(moved, latest + 1)
        packet.time_base, packet.pts, packet.dts = grid, latest, latest
        packet.duration = round(length / grid)
        yield packet


def _with_durations(
    packets: Iterator[Any], default: Fraction, ignore_gaps: bool
) -> Iterator[tuple[Any, Fraction, Fraction]]:
    """Yield packets with their times and durations in seconds; `default` is a packet's duration.

    A packet without a time follows the one before; with `ignore_gaps` so does one after a gap of
    several packets.
    """
    pending: tuple[Any, Fraction] | None = None
    expected: Fraction | None = None
    length = previous = Fraction(0)
    for packet in packets:
        base = packet.time_base
        time = expected if packet.pts is None else packet.pts * base
        if ignore_gaps and time and expected is not None and 0 < 4 * length < time - expected:
            time = expected
        if pending is not None:
            start = pending[1]
            previous = Fraction(0) if time is None else max(time - start, Fraction(0))
            yield pending[0], start, previous
            pending = None
        if not packet.size or time is None:
            continue
        # Matroska states no duration for its first packet, and for some codecs none at all.
        length = (packet.duration or 0) * base or default
        expected = time + length
        if length:
            yield packet, time, length
        else:
            pending = packet, time
    if pending is not None:
        # As long as the packet before it; the container states neither.
        yield *pending, previous


class AudioMuxer:
    """Muxer of a sound track, interleaved with the pictures."""

    def __init__(
        self, track: BinaryIO, target: Any, container_format: str, notes: list[str]
    ) -> None:
        """Add a stream to `target`, whose format is `mp4`, `webm` or `matroska`.

        `notes` gets a sentence if the sound is transcoded; it may grow until all is written.
        """
        self._source = av.open(track, "r")
        self._target = target
        stream = self._source.streams.audio[0]
        codec = stream.codec_context.codec.canonical_name
        encoder, codecs = _CONTAINER_CODECS[container_format]
        if codecs is None or codec in codecs:
            copy = target.add_stream_from_template(stream)
            self._packets = _on_sample_grid(packets_of(stream), stream, copy)
        else:
            coded = add_encoder(target, encoder, stream.codec_context)
            packets = (packet for packet in packets_of(stream) if packet.pts is not None)
            self._packets = encoded(decoded(packets, stream, notes), coded)
            notes.append(transcoding_note(stream.codec_context, f"for {container_format}"))
        self._next = next(self._packets, None)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Write the packets that start before `seconds`, or all remaining ones."""
        while self._next is not None and (
            seconds is None or self._next.pts * self._next.time_base < seconds
        ):
            self._target.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Release the track."""
        self._source.close()


def _on_sample_grid(packets: Iterator[Any], stream: Any, copy: Any) -> Iterator[Any]:
    """Undo Matroska's rounding to milliseconds for packets that follow without a gap."""
    rate = stream.codec_context.sample_rate
    samples = stream.codec_context.frame_size
    grid = Fraction(1, rate) if rate else None
    expected: int | None = None
    latest: int | None = None
    for packet in packets:
        if packet.pts is None or not packet.size:
            continue
        packet.stream, at = copy, packet.pts
        if grid and samples:
            at = round(at * packet.time_base / grid)
            if expected is not None and abs(at - expected) * grid < Fraction(2, 1000):
                at = expected
            packet.time_base, packet.duration = grid, samples
            expected = at + samples
        # Two packets of one millisecond stay in order.
        latest = at if latest is None else max(at, latest + 1)
        packet.pts = packet.dts = latest
        yield packet


def add_encoder(target: Any, encoder: str, source: Any) -> Any:
    """Add a mono or stereo stream to `target` for the sound of the decoder `source`.

    Args:
        target: an open muxer.
        encoder: `aac` or `libopus`.
        source: its codec context; its sample rate is kept where the encoder has it.
    """
    rate = source.sample_rate or 48_000
    # Opus is always 48 kHz, whatever rate its encoder takes.
    rates = [48_000] if encoder == "libopus" else av.Codec(encoder, "w").audio_rates or [rate]
    higher = [candidate for candidate in rates if candidate >= rate]
    chosen = rate if rate in rates else min(higher, default=max(rates))
    channels = 1 if source.layout.nb_channels == 1 else 2
    coded = target.add_stream(encoder, rate=chosen, layout="mono" if channels == 1 else "stereo")
    coded.bit_rate = channels * min(_CHANNEL_BIT_RATE, max(_MIN_CHANNEL_BIT_RATE, 2 * rate))
    return coded


def transcoding_note(source: Any, purpose: str) -> str:
    """Describe that the sound of the decoder `source` was transcoded, e.g. "as AAC"."""
    mixed = ", mixed down to stereo" if source.layout.nb_channels > 2 else ""
    return f"{source.codec.canonical_name} sound was coded anew {purpose}{mixed}."


def decoded(packets: Iterator[Any], stream: Any, notes: list[str]) -> Iterator[Any]:
    """Decode packets; skip sound before 0 and damaged packets, the latter with a note."""
    decoder = stream.codec_context
    for packet in chain(packets, [None]):
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            add_note(notes, "Damaged parts of the sound were left out.")
            continue
        for frame in frames:
            length = Fraction(frame.samples, frame.sample_rate)
            if frame.pts is not None and frame.pts * frame.time_base + length > 0:
                yield frame


def encoded(frames: Iterator[Any], coded: Any) -> Iterator[Any]:
    """Encode `frames` into the stream `coded`, synchronised with their timestamps.

    The frames may change their rate and layout; gaps between them become silence.
    """
    context = coded.codec_context
    context.open()
    rate, fifo = context.rate, av.AudioFifo()
    begin: int | None = None
    for piece in _resampled(frames, context):
        moment = round((piece.pts or 0) * piece.time_base * rate)
        begin = moment if begin is None else begin
        ahead = moment - begin - fifo.samples
        if ahead > rate * _MAX_SILENCE:
            begin += ahead
        elif ahead > rate * _MIN_GAP:
            fifo.write(_timed_frame(_silence(ahead, context), None, rate))
        fifo.write(_timed_frame(piece, None, rate))
        for full in fifo.read_many(context.frame_size):
            yield from coded.encode(_timed_frame(full, begin, rate))
            begin += full.samples
    rest = fifo.read(partial=True)
    if rest is not None and begin is not None:
        yield from coded.encode(_timed_frame(rest, begin, rate))
    yield from coded.encode(None)


def _resampled(frames: Iterator[Any], context: Any) -> Iterator[Any]:
    """Frames in the sample format, layout and rate of the encoder `context`."""
    form: object = None
    resampler: Any = None
    for frame in chain(frames, [None]):
        frame_form = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_form != form:
            if resampler is not None:
                yield from resampler.resample(None)
            form = frame_form
            resampler = av.AudioResampler(context.format, context.layout, context.rate)
        if frame is not None:
            yield from resampler.resample(frame)


def _silence(n_samples: int, context: Any) -> Any:
    """A frame of silence in the format of the encoder `context`."""
    frame = av.AudioFrame(context.format.name, context.layout.name, n_samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = context.rate
    return frame


def _timed_frame(frame: Any, begin: int | None, rate: int) -> Any:
    """Set the time of a frame to the number of its first sample, or to None."""
    frame.pts, frame.time_base = begin, Fraction(1, rate)
    return frame
