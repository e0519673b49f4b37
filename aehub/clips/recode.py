"""Sound coded anew, where a container has no place for the codec it came in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import av

# Bits per second of one channel: transparent at 48 kHz, and no more than low rates can use.
_CHANNEL_BITS, _LEAST_CHANNEL_BITS = 80_000, 24_000


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


def encoded(frames: Iterator[Any], coded: Any) -> Iterator[Any]:
    """Encode decoded `frames` into the stream `coded`, in step with their timestamps."""
    context = coded.codec_context
    context.open()
    resampler = av.AudioResampler(
        format=context.format,
        layout=context.layout,
        rate=context.rate,
        frame_size=context.frame_size,
    )
    end: int | None = None
    for frame in chain(frames, [None]):
        for piece in resampler.resample(frame):
            # Timestamps that go back, as in joined recordings, would stop the writer.
            at = piece.pts or 0
            piece.pts = at if end is None else max(at, end)
            end = piece.pts + piece.samples
            yield from coded.encode(piece)
    yield from coded.encode(None)
