"""The sound of a clip: its packets, untouched, in a small Matroska file of their own.

Mux sound into an output: its packets where the container takes their codec, or coded anew.

Decode sound and encode it anew, where a container does not take its codec.
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

_DAMAGE = "Damaged parts of the sound were left out."
# Bits per second of one channel: transparent at 48 kHz, and no more than low rates can use.
_CHANNEL_BITS, _LEAST_CHANNEL_BITS = 80_000, 24_000
# Seconds by which sound must be late before it is a gap, and no rounding of timestamps.
_JUMP = Fraction(1, 20)
# Seconds of silence that are coded; a longer gap is a gap in the file, too.
_LONGEST_SILENCE = 60


def add_encoder(target: Any, encoder: str, source: Any) -> Any:
    """Add a stream to `target` for the sound that the decoder `source` gives, mono or stereo.

    Args:
        target: an open libavformat writer.
        encoder: `aac` or `libopus`.
        source: the codec context of the sound; its rate is kept where the encoder has it.
    """
    rate = source.sample_rate or 48_000
    # Opus is always 48 kHz, whatever rate its encoder takes.
    known = [48_000] if encoder == "libopus" else av.Codec(encoder, "w").audio_rates or [rate]
    higher = [candidate for candidate in known if candidate >= rate]
    chosen = rate if rate in known else min(higher, default=max(known))
    channels = 1 if source.layout.nb_channels == 1 else 2
    coded = target.add_stream(encoder, rate=chosen, layout="mono" if channels == 1 else "stereo")
    coded.bit_rate = channels * min(_CHANNEL_BITS, max(_LEAST_CHANNEL_BITS, 2 * rate))
    return coded


def note(source: Any, why: str) -> str:
    """Say that the sound of the decoder `source` was coded anew, "for" or "as" something."""
    mixed = ", mixed down to stereo" if source.layout.nb_channels > 2 else ""
    return f"{source.codec.canonical_name} sound was coded anew {why}{mixed}."


def decoded(packets: Iterator[Any], stream: Any, notes: list[str]) -> Iterator[Any]:
    """Decode packets, and leave out what sounds before 0 or is damaged; `notes` says so."""
    decoder = stream.codec_context
    for packet in chain(packets, [None]):
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            if _DAMAGE not in notes:
                notes.append(_DAMAGE)
            continue
        for frame in frames:
            length = Fraction(frame.samples, frame.sample_rate)
            if frame.pts is not None and frame.pts * frame.time_base + length > 0:
                yield frame


def encoded(frames: Iterator[Any], coded: Any) -> Iterator[Any]:
    """Encode decoded `frames` into the stream `coded`, in step with their timestamps.

    The frames may change their rate and layout; a gap between them is silence.
    """
    context = coded.codec_context
    context.open()
    rate, fifo = context.rate, av.AudioFifo()
    begin: int | None = None
    for piece in _alike(frames, context):
        moment = round((piece.pts or 0) * piece.time_base * rate)
        begin = moment if begin is None else begin
        ahead = moment - begin - fifo.samples
        if ahead > rate * _LONGEST_SILENCE:
            begin += ahead
        elif ahead > rate * _JUMP:
            fifo.write(_placed(_silence(ahead, context), None, rate))
        fifo.write(_placed(piece, None, rate))
        for full in fifo.read_many(context.frame_size):
            yield from coded.encode(_placed(full, begin, rate))
            begin += full.samples
    rest = fifo.read(partial=True)
    if rest is not None and begin is not None:
        yield from coded.encode(_placed(rest, begin, rate))
    yield from coded.encode(None)


def _alike(frames: Iterator[Any], context: Any) -> Iterator[Any]:
    """Frames as the encoder `context` takes them."""
    form: object = None
    resampler: Any = None
    for frame in chain(frames, [None]):
        known = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
        if known != form:
            if resampler is not None:
                yield from resampler.resample(None)
            form = known
            resampler = av.AudioResampler(context.format, context.layout, context.rate)
        if frame is not None:
            yield from resampler.resample(frame)


def _silence(n_samples: int, context: Any) -> Any:
    """A frame of silence as the encoder `context` takes it."""
    frame = av.AudioFrame(context.format.name, context.layout.name, n_samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = context.rate
    return frame


def _placed(frame: Any, begin: int | None, rate: int) -> Any:
    """The frame, with the number of its first sample as its time, or without one."""
    frame.pts, frame.time_base = begin, Fraction(1, rate)
    return frame


# Sound starts one packet before the picture, for decoders to warm up on; Opus wants 80 ms.
_OPUS_PREROLL = Fraction(8, 100)
# The same bytes for the same sound; and times before the first frame stay what they are.
MUXER_OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}

# What sound becomes for which Matroska, where clips keep it, has no name.
_ANEW = "aac"
# Packets that cannot be cut: TTA counts them from its start, those of WavPack last half a second.
_WHOLE_ONLY = frozenset({"tta", "wavpack"})
# Encoders begin a few packets early; more is sound that somebody meant to be heard.
_LEAD_WORTH_A_NOTE = Fraction(1, 10)


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


def extract(
    container: Any, start: Fraction, stop: Fraction | None, notes: list[str] | None = None
) -> AudioTrack | None:
    """Take what sounds between `start` and `stop`: its packets, or coded anew as AAC.

    Args:
        container: an open libavformat reader, at its beginning.
        start: seconds on the container's clock that become 0.
        stop: seconds on the same clock, `None` for the end.
        notes: takes sentences about sound that was changed or left out.

    Returns:
        The track, or `None` when nothing sounds there, or it cannot be decoded.
    """
    notes = [] if notes is None else notes
    stream, left_out = streams.choose_audio(container)
    notes.extend(left_out)
    if stream is None:
        return None
    if stream.codec_context is None:
        notes.append("The sound was left out, for its codec is not known here.")
        return None
    file = spool()
    codec = _copy(stream, file, start, stop, notes)
    if codec is None:
        file.close()
        return None
    return AudioTrack(codec, file)


def _copy(stream: Any, file: BinaryIO, start: Fraction, stop: Fraction | None, notes: list[str]
          ) -> str | None:
    """Write what sounds in a span to a file; return its codec, `None` where nothing does."""
    last, is_damaged = cast("Fraction | None", None), False
    try:
        with av.open(file, "w", format="matroska", options=MUXER_OPTIONS) as target:
            is_held, copied = _add_stream(target, stream)
            packets = _between(packets_of(stream), stream, start, stop)
            if not is_held:
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
    if last is not None and not _can_be_opened(file):
        last, is_damaged = None, True
    if is_damaged:
        rest = "was left out, for" if last is None else f"ends after {float(last):.1f} s, for there"
        notes.append(f"The sound {rest} its data is damaged.")
    if last is None:
        return None
    if not is_held:
        notes.append(note(stream.codec_context, "as AAC"))
        return _ANEW
    return str(stream.codec_context.codec.canonical_name)


def packets_of(stream: Any) -> Iterator[Any]:
    """Read the packets of a stream, each with its time if its container has any.

    Of packets in Matroska that do not state how long they last, as those of ALAC, libavformat
    knows no time below 0. They lie one behind the other before the first that has a time.
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
    """Say how much sound is lost because it comes before the first picture, at `zero` seconds."""
    stream, _ = streams.choose_audio(container)
    if stream is None or stream.start_time is None:
        return []
    lead = zero - stream.start_time * stream.time_base
    if lead < _LEAD_WORTH_A_NOTE:
        return []
    return [f"{float(lead):.1f} s of sound before the first picture were left out."]


def _can_be_opened(file: BinaryIO) -> bool:
    """Whether a track can be read again: a copy has the damage of what it was copied from."""
    file.seek(0)
    try:
        av.open(file, "r").close()
    except av.FFmpegError:
        return False
    return True


def _add_stream(target: Any, stream: Any) -> tuple[bool, Any]:
    """Add a copy of `stream`, or a stream for an encoder where its packets cannot be used."""
    if stream.codec_context.name not in _WHOLE_ONLY:
        # Matroska has no names for some codecs.
        with suppress(ValueError):
            return True, target.add_stream_from_template(stream)
    return False, add_encoder(target, _ANEW, stream.codec_context)


def _between(
    packets: Iterator[Any], stream: Any, start: Fraction, stop: Fraction | None
) -> Iterator[Any]:
    """The packets of a span, moved so that `start` is 0, on a grid of samples or finer."""
    codec = stream.codec_context
    preroll = _OPUS_PREROLL if codec.name == "opus" else Fraction(0)
    rate = codec.sample_rate or 48_000
    latest: int | None = None
    # Sound in AVI has no times, and those that libavformat makes up may be far off.
    is_avi = stream.container.format.name == "avi"
    for packet, time, length in _timed(packets, Fraction(codec.frame_size or 0, rate), is_avi):
        if streams.is_encrypted_packet(packet):
            raise streams.EncryptedError
        if stop is not None and time >= stop:
            return
        if time + length < start - max(length, preroll):
            continue
        # AVI counts whole packets, a quarter of a second each.
        grid = min(packet.time_base, Fraction(1, rate))
        moved = round((time - start) / grid)
        # Times that go back, as in joined recordings, would stop the writer.
        latest = moved if latest is None else max(moved, latest + 1)
        packet.time_base, packet.pts, packet.dts = grid, latest, latest
        packet.duration = round(length / grid)
        yield packet


def _timed(
    packets: Iterator[Any], usual: Fraction, is_no_gap: bool
) -> Iterator[tuple[Any, Fraction, Fraction]]:
    """Packets with when they begin and how long they last in seconds.

    What has no time follows the packet before; so does what leaves a gap of several packets, if
    there `is_no_gap`.
    """
    held: tuple[Any, Fraction] | None = None
    follows: Fraction | None = None
    length = lasted = Fraction(0)
    for packet in packets:
        base = packet.time_base
        time = follows if packet.pts is None else packet.pts * base
        if is_no_gap and time and follows is not None and length and time > follows + 4 * length:
            time = follows
        if held is not None:
            begun = held[1]
            lasted = Fraction(0) if time is None else max(time - begun, Fraction(0))
            yield held[0], begun, lasted
            held = None
        if not packet.size or time is None:
            continue
        # Matroska does not state how long its first packet is, and some codecs never do.
        length = (packet.duration or 0) * base or usual
        follows = time + length
        if length:
            yield packet, time, length
        else:
            held = packet, time
    if held is not None:
        # As long as the one before it, which the container does not say either.
        yield *held, lasted


# What each container can hold so that players play it, and what to use otherwise.
_HELD = {
    "mp4": ("aac", frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})),
    "webm": ("libopus", frozenset({"opus", "vorbis"})),
    "matroska": ("", None),
}


class Feed:
    """Gives a container the packets of a sound track, in step with the pictures."""

    def __init__(
        self, track: BinaryIO, target: Any, container_format: str, notes: list[str]
    ) -> None:
        """Add a stream to `target`, whose format is `mp4`, `webm` or `matroska`.

        `notes` takes a sentence where the sound had to be coded anew; it may grow until all is
        written.
        """
        self._source = av.open(track, "r")
        self._target = target
        stream = self._source.streams.audio[0]
        codec = stream.codec_context.codec.canonical_name
        encoder, held = _HELD[container_format]
        if held is None or codec in held:
            copy = target.add_stream_from_template(stream)
            self._packets = _on_the_grid(packets_of(stream), stream, copy)
        else:
            coded = add_encoder(target, encoder, stream.codec_context)
            packets = (packet for packet in packets_of(stream) if packet.pts is not None)
            self._packets = encoded(decoded(packets, stream, notes), coded)
            notes.append(note(stream.codec_context, f"for {container_format}"))
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


def _on_the_grid(packets: Iterator[Any], stream: Any, copy: Any) -> Iterator[Any]:
    """Undo Matroska's rounding of times to milliseconds where packets follow without a gap."""
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
        # Two of one millisecond stay in order.
        latest = at if latest is None else max(at, latest + 1)
        packet.pts = packet.dts = latest
        yield packet
