"""Mux sound into an output: its packets where the container takes their codec, or coded anew."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av

from aehub.clips import recode
from aehub.clips.audio import packets_of

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
            coded = recode.add_encoder(target, encoder, stream.codec_context)
            packets = (packet for packet in packets_of(stream) if packet.pts is not None)
            self._packets = recode.encoded(recode.decoded(packets, stream, notes), coded)
            notes.append(recode.note(stream.codec_context, f"for {container_format}"))
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
