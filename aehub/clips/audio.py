"""The sound of a clip: its packets, untouched, in a small Matroska file of their own."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av

from aehub.clips import recode, streams
from aehub.files import spool

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
                packets = recode.encoded(recode.decoded(packets, stream, notes), copied)
            for packet in packets:
                last = packet.pts * packet.time_base
                packet.stream = copied
                target.mux(packet)
    except streams.Locked:
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
        notes.append(recode.note(stream.codec_context, "as AAC"))
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


def note_before(container: Any, zero: Fraction) -> list[str]:
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
    return False, recode.add_encoder(target, _ANEW, stream.codec_context)


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
        if streams.is_locked(packet):
            raise streams.Locked
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
