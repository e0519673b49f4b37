"""Decode sound and encode it anew, where a container does not take its codec."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av

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
