"""Compression of a clip: its frames -> groups of a `.aev` file, two mini-GOPs in memory at most.

Frame times become ticks of the file: constant frame rates need none of them, variable ones lose
none.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

from aehub.bitstream import FileHeader, GroupHeader, Writer, nearest_rate
from aehub.bitstream.group_header import chain_types
from aehub.bitstream.metadata import PLAYS
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import GroupEncoder
from aehub.codecs.d4.planes import PlaneBatch, from_batch
from aehub.codecs.gop import HierarchicalGop, MiniGop, group_frames, split_into_mini_gops
from aehub.coding.range_coder import PAYLOAD_FORMAT
from aehub.media.clip import Clip
from aehub.media.colour import tags_to_write
from aehub.media.metrics import Distortion
from aehub.media.picture import ClipInfo, Frame, Picture

# Of the frame rate: 1 / (fps * frame_ticks) then fits the file header's time base.
_MAX_DENOMINATOR = 16_511
_AUDIO_CHUNK = 1 << 20
# Groups of more mini-GOPs, counting the first frame, store where each ends: shorter ones leave a
# trim little to cut off.
_MIN_INDEXED_MINI_GOPS = 2
# Change of log(rate) per dB of PSNR, about: the median of 13 training clips.
_LOG_RATE_PER_DB = 0.18
# Mini-GOP lengths to try in high motion, and for how many mini-GOPs the best one is reused.
_SHORT_MINI_GOPS, _REUSE_COUNT = (4, 1), 15
# Try again earlier if the rate per frame exceeds that of the tried mini-GOP by this factor.
_RATE_JUMP = 2.0
# Abandon a trial after so many frames if its RD cost, in log(rate), exceeds the best by so much:
# about 40 % of the rate.
_MIN_TRIAL_FRAMES, _ABANDON_MARGIN = 4, 0.35


@dataclass(frozen=True)
class TickConverter:
    """Conversion of source ticks to file ticks.

    A file tick is a whole part of the frame duration, at most as long as the source's tick; a frame
    within one source tick of the constant-rate grid is put on it, because containers such as
    Matroska round times to milliseconds.

    Attributes:
        fps: nominal frame rate that the file can hold.
        time_base: seconds per file tick.
        frame_ticks: file ticks per frame at a constant rate.
        source: seconds per source tick.
    """

    fps: Fraction
    time_base: Fraction
    frame_ticks: int
    source: Fraction

    @classmethod
    def of(cls, info: ClipInfo) -> TickConverter:
        """The converter for a clip; ticks are not shorter than 1/10,000 of a frame."""
        fps = nearest_rate(info.fps).limit_denominator(_MAX_DENOMINATOR)
        fps = max(fps, Fraction(1, _MAX_DENOMINATOR))
        frame_ticks = min(10_000, max(1, -int(-1 / (fps * info.time_base) // 1)))
        return cls(fps, 1 / (fps * frame_ticks), frame_ticks, info.time_base)

    def ticks(self, time: int) -> int:
        """Source ticks -> file ticks."""
        seconds = time * self.source
        frame = round(seconds * self.fps)
        if abs(seconds - frame / self.fps) <= self.source:
            return frame * self.frame_ticks
        return round(seconds / self.time_base)

    @property
    def default_duration(self) -> int:
        """Source ticks of a frame without duration."""
        return max(1, round(1 / (self.fps * self.source)))

    def relative(self, times: Sequence[int]) -> tuple[int, ...] | None:
        """File ticks of a group's frames -> times after its first; None at a constant rate."""
        relative = tuple(time - times[0] for time in times)
        constant = tuple(range(0, len(times) * self.frame_ticks, self.frame_ticks))
        return None if relative == constant else relative

    def last_duration(self, times: Sequence[int], end: int) -> int | None:
        """Ticks from a group's last frame to its `end`; None if as long as the one before."""
        usual = times[-1] - times[-2] if len(times) > 1 else self.frame_ticks
        duration = max(1, end - times[-1])
        return None if duration == usual else duration


@dataclass
class EncodingStats:
    """Running totals of what is written."""

    frames: int = 0
    audio_bytes: int = 0
    seconds: float = 0.0
    bytes: int = 0
    distortion: Distortion = field(default_factory=Distortion)


def compress_clip(clip: Clip, stream: BinaryIO, model: D4Codec, quality: float, *,
                  group: int | None = None, audio: bool = True, measure: bool = True
                  ) -> Iterator[EncodingStats]:
    """Write `clip` to `stream`; yields totals after each frame. Closing the iterator cancels.

    Args:
        clip: an open clip.
        stream: to write to; need not seek.
        model: a loaded model.
        quality: 0..100.
        group: frames per group at most; the default is best but for editing.
        audio: copy the audio track.
        measure: decode what was written and compare it with the source.

    Raises:
        InputError: the clip has no frames, or breaks off.
    """
    info, converter = clip.info, TickConverter.of(clip.info)
    size = group_frames(info.width, info.height, float(info.fps), group)
    file_header = FileHeader(
        model=model.name, entropy_hash=model.stored.entropy_hash,
        synthesis_hash=model.stored.synthesis_hash, coder=PAYLOAD_FORMAT,
        width=info.width, height=info.height, fps=converter.fps, quality=round(quality * 100),
        group_frames=size, time_base=converter.time_base,
        colour=tags_to_write(info.colour, info.width, info.height),
        pixel_aspect=info.pixel_aspect)
    stats = EncodingStats()
    with Writer(stream, file_header) as writer:
        encoder = _ClipEncoder(model, file_header, converter, measure)
        for mini_gop in split_into_mini_gops(clip, size):
            decoded: dict[int, Picture] = {}
            for event in encoder.add(mini_gop):
                if event is not None:
                    index, result = event
                    if result is not None and measure:
                        decoded[index] = result
                    stats.frames += 1
                    stats.bytes = writer.size + encoder.size
                yield stats
            for index, planes in sorted(decoded.items()):
                stats.distortion.add(mini_gop.frames[index].picture, planes)
            if mini_gop.ends_group:
                header, payload = encoder.finish_group(mini_gop.following)
                writer.group(header, payload)
                stats.seconds += float(header.ticks(file_header.frame_ticks)
                                       * file_header.time_base)
        if clip.audio is not None and audio:
            with clip.audio.open() as track:
                while chunk := track.read(_AUDIO_CHUNK):
                    writer.audio(chunk)
            stats.audio_bytes = writer.audio_bytes
        if info.plays:
            writer.metadata({PLAYS: info.plays})
    stats.bytes = writer.size
    yield stats


def estimate_size(model: D4Codec, frames: Sequence[Picture], quality: float, n_frames: int
                  ) -> float:
    """Estimate the bytes of a clip of `n_frames` at a quality from its first frames."""
    encoder, gop = GroupEncoder(model.runtime, quality), HierarchicalGop()
    sizes = []
    for begin, end in ((0, 1), (1, len(frames))):
        for slot in gop.extend(end - begin) if end > begin else ():
            encoder.add(slot.number, frames[slot.number], slot.references, slot.temporal_layer,
                        post_filter=False)
        sizes.append(encoder.size)
    first, later = sizes[0], sizes[1] - sizes[0]
    return first + later * (n_frames - 1) / max(1, len(frames) - 1)


class _GroupTimes:
    """Times of a group's frames in file ticks."""

    def __init__(self, converter: TickConverter) -> None:
        self._converter = converter
        self._ticks: list[int] = []
        self._latest, self._end = -1, 0

    def add(self, frames: list[Frame]) -> None:
        for frame in frames:
            # Frames nearer to each other than a tick of the source may fall on the same one.
            self._latest = max(self._converter.ticks(frame.time), self._latest + 1)
            self._ticks.append(self._latest)
        self._end = frames[-1].time + (frames[-1].duration or self._converter.default_duration)

    def finish(self, following: Frame | None) -> tuple[tuple[int, ...] | None, int | None]:
        """Times after the first frame, and duration of the last; None for defaults."""
        ticks, self._ticks = self._ticks, []
        end = self._end if following is None else following.time
        return (self._converter.relative(ticks),
                self._converter.last_duration(ticks, self._converter.ticks(end)))


class _ClipEncoder:
    """Encoder of one group after another: an intra frame, then hierarchical mini-GOPs.

    In high motion, smaller distances of key pictures are tried too, by encoding a mini-GOP in
    several ways. The result is reused for a while, for a trial takes the time of the mini-GOP once
    or twice more.
    """

    def __init__(self, model: D4Codec, file_header: FileHeader, converter: TickConverter,
                 measure: bool) -> None:
        self._model, self._file_header, self._measure = model, file_header, measure
        self._times = _GroupTimes(converter)
        self._begin_group()

    def _begin_group(self) -> None:
        encoder = GroupEncoder(self._model.runtime, self._file_header.quality / 100)
        self._group = _GroupState(encoder, HierarchicalGop(), [])
        # Mini-GOP length in high motion, mini-GOPs it still holds for, and its highest rate in
        # words per frame.
        self._length, self._reuses, self._max_rate = 0, 0, 0.0

    @property
    def size(self) -> int:
        """Bytes of the group so far."""
        return self._group.encoder.size

    def add(self, mini_gop: MiniGop) -> Iterator[tuple[int, Picture | None] | None]:
        """Encode frames; yields the index of each in the mini-GOP when it is done and, if that is
        measured, its decoded planes. None is progress without a frame."""
        self._times.add(mini_gop.frames)
        if mini_gop.high_motion and not self._reuses:
            yield from self._try_lengths(mini_gop)
            return
        frames, words = mini_gop.frames, self._group.encoder.words
        length = len(frames)
        if mini_gop.high_motion:
            self._reuses -= 1
            length = self._length
        for index, result in self._group.add(frames, length, self._measure):
            yield index, _planes(result, frames[index]) if self._measure else None
        if (mini_gop.high_motion
            and self._group.encoder.words - words > self._max_rate * len(frames)):
            self._reuses = 0

    def _try_lengths(self, mini_gop: MiniGop) -> Iterator[tuple[int, Picture | None] | None]:
        """Encode a mini-GOP as a whole and as shorter ones, and choose the least RD cost."""
        before, best_cost = self._group, math.inf
        n_frames = len(mini_gop.frames)
        results: list[tuple[int, Picture]] = []
        for length in (n_frames, *(n for n in _SHORT_MINI_GOPS if n < n_frames)):
            trial = before.fork()
            decoded, cost = yield from self._trial_encode(trial, mini_gop.frames, length, best_cost)
            if cost < best_cost:
                best_cost, results, self._group, self._length = cost, decoded, trial, length
        self._reuses = _REUSE_COUNT
        words = self._group.encoder.words - before.encoder.words
        self._max_rate = _RATE_JUMP * words / n_frames
        yield from results

    def _trial_encode(self, trial: _GroupState, frames: list[Frame], length: int, best_cost: float
                      ) -> Generator[None, None, tuple[list[tuple[int, Picture]], float]]:
        """Encode frames as mini-GOPs of `length`; returns (decoded frames, RD cost), an estimate
        of the cost where the trial is abandoned."""
        decoded: list[tuple[int, Picture]] = []
        words, distortion, cost = trial.encoder.words, Distortion(with_ms_ssim=False), math.inf
        for index, result in trial.add(frames, length, self._measure):
            planes = _planes(result, frames[index])
            distortion.add(frames[index].picture, planes)
            decoded.append((index, planes))
            yield None
            n_frames = distortion.n_frames
            if n_frames % length and n_frames < len(frames):
                continue
            # Mini-GOPs next to each other cost about the same, so that some predict all.
            log_rate = math.log(max(1, trial.encoder.words - words) * len(frames) / n_frames)
            cost = log_rate - _LOG_RATE_PER_DB * distortion.psnr
            if n_frames >= _MIN_TRIAL_FRAMES and cost > best_cost + _ABANDON_MARGIN:
                break
        return decoded, cost

    def finish_group(self, following: Frame | None) -> tuple[GroupHeader, bytes]:
        """Header and payload; the next frames begin a new group."""
        times, last = self._times.finish(following)
        group, n_frames = self._group, self._group.gop.n_frames
        indexed = len(group.mini_gop_ends) > _MIN_INDEXED_MINI_GOPS
        header = GroupHeader(
            n_frames, self._file_header.quality, times=times, last_duration=last,
            frame_types=chain_types(n_frames), references=group.gop.references,
            mini_gop_ends=tuple(group.mini_gop_ends[:-1]) if indexed else None)
        payload = group.encoder.finish()
        self._begin_group()
        return header, payload


@dataclass
class _GroupState:
    """A group so far, and the payload words at which its mini-GOPs end."""

    encoder: GroupEncoder
    gop: HierarchicalGop
    mini_gop_ends: list[int]

    def fork(self) -> _GroupState:
        """Return an independent copy, for a trial encode."""
        return _GroupState(self.encoder.fork(), self.gop.fork(), list(self.mini_gop_ends))

    def add(self, frames: list[Frame], length: int, post_filter: bool
            ) -> Iterator[tuple[int, PlaneBatch]]:
        """Encode frames as mini-GOPs of `length`; yields the index of each and its decoded planes,
        after the post-filter or as others refer to it."""
        first = self.gop.n_frames
        for begin in range(0, len(frames), length):
            for slot in self.gop.extend(min(length, len(frames) - begin)):
                index = slot.number - first
                yield index, self.encoder.add(slot.number, frames[index].picture, slot.references,
                                              slot.temporal_layer, post_filter=post_filter)
            self.encoder.retain([self.gop.n_frames - 1])
            self.mini_gop_ends.append(self.encoder.words)


def _planes(result: PlaneBatch, frame: Frame) -> Picture:
    """Decoded planes of a frame, rounded and cropped to its size."""
    return from_batch(result, (0, 0), frame.picture.size)[0]
