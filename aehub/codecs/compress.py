"""Frames of a clip -> groups of a `.aev` file, in memory bounded by two runs of frames.

Frame times in a file's ticks: a steady clip needs none of them, an unsteady one loses none.
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
from aehub.media.picture import ClipInfo, Frame, Planes

# With it, 1/(fps step) fits the file head's time base.
_LARGEST_DENOMINATOR = 16_511


@dataclass(frozen=True)
class Clock:
    """Turns source ticks into file ticks.

    A file tick is a whole part of the frame duration, at most as long as the source's tick; a
    frame within one source tick of the steady grid is put on it, for containers such as Matroska
    round steady times to milliseconds.

    Attributes:
        fps: nominal rate as the file can tell it.
        time_base: seconds per file tick.
        step: file ticks per frame of a steady clip.
        source: seconds per source tick.
    """

    fps: Fraction
    time_base: Fraction
    step: int
    source: Fraction

    @classmethod
    def of(cls, info: ClipInfo) -> Clock:
        """The clock for a clip; ticks are not finer than a millionth of a frame."""
        fps = nearest_rate(info.fps).limit_denominator(_LARGEST_DENOMINATOR)
        fps = max(fps, Fraction(1, _LARGEST_DENOMINATOR))
        step = min(10_000, max(1, -int(-1 / (fps * info.time_base) // 1)))
        return cls(fps, 1 / (fps * step), step, info.time_base)

    def ticks(self, time: int) -> int:
        """Source ticks -> file ticks."""
        seconds = time * self.source
        frame = round(seconds * self.fps)
        if abs(seconds - frame / self.fps) <= self.source:
            return frame * self.step
        return round(seconds / self.time_base)

    @property
    def usual(self) -> int:
        """Source ticks of a frame that does not say how long it lasts."""
        return max(1, round(1 / (self.fps * self.source)))

    def relative(self, times: Sequence[int]) -> tuple[int, ...] | None:
        """File ticks of a group's frames -> times after its first; None if they are steady."""
        steps = tuple(time - times[0] for time in times)
        return None if steps == tuple(range(0, len(times) * self.step, self.step)) else steps

    def last(self, times: Sequence[int], end: int) -> int | None:
        """Ticks from a group's last frame to its `end`; None if as long as the one before."""
        usual = times[-1] - times[-2] if len(times) > 1 else self.step
        lasting = max(1, end - times[-1])
        return None if lasting == usual else lasting


_AUDIO_PIECE = 1 << 20
# A trim of a group of so few runs, the first frame being one, has little to cut off.
_FEW_RUNS = 2
# How much 1 dB changes the logarithm of the rate, about: the median of 13 training clips.
_RATE_PER_DB = 0.18
# Distances of anchors that are tried where a run is restless, and runs for which the answer holds.
_NEARER, _TRUSTED = (4, 1), 15
# Rate per frame, over that of the run that was tried, from which the answer holds no longer.
_CHANGED = 2.0
# Frames after which a try may be given up, and by how much they must be dearer then: two fifths.
_TRIED, _SURE = 4, 0.35


@dataclass
class EncodingStats:
    """What was written so far."""

    frames: int = 0
    audio_bytes: int = 0
    seconds: float = 0.0
    bytes: int = 0
    distortion: Distortion = field(default_factory=Distortion)


def compress_clip(clip: Clip, stream: BinaryIO, model: D4Codec, quality: float, *,
                  group: int | None = None, audio: bool = True, measure: bool = True
                  ) -> Iterator[EncodingStats]:
    """Write `clip` to `stream`; yields the tally after each frame. Closing the iterator cancels.

    Args:
        clip: an open clip.
        stream: where bytes go; need not seek.
        model: a loaded model.
        quality: 0..100.
        group: frames per group; the default serves all but editing.
        audio: carry the audio track.
        measure: decode what was written and compare it with the source.

    Raises:
        InputError: the clip has no frames, or breaks off.
    """
    info, clock = clip.info, Clock.of(clip.info)
    size = group_frames(info.width, info.height, float(info.fps), group)
    head = FileHeader(
        model=model.name, entropy_hash=model.stored.entropy_hash,
        synthesis_hash=model.stored.synthesis_hash, coder=PAYLOAD_FORMAT,
        width=info.width, height=info.height, fps=clock.fps, quality=round(quality * 100),
        group_frames=size, time_base=clock.time_base,
        colour=tags_to_write(info.colour, info.width, info.height),
        pixel_aspect=info.pixel_aspect)
    tally = EncodingStats()
    with Writer(stream, head) as writer:
        coding = _Group(model, head, clock, measure)
        for run in split_into_mini_gops(clip, size):
            decoded: dict[int, Planes] = {}
            for step in coding.add(run):
                if step is not None:
                    place, result = step
                    if result is not None and measure:
                        decoded[place] = result
                    tally.frames += 1
                    tally.bytes = writer.size + coding.size
                yield tally
            for place, result_planes in sorted(decoded.items()):
                tally.distortion.add(run.frames[place].planes, result_planes)
            if run.ends_group:
                shown, payload = coding.finish(run.following)
                writer.group(shown, payload)
                tally.seconds += float(shown.ticks(head.frame_ticks) * head.time_base)
        if clip.audio is not None and audio:
            with clip.audio.open() as track:
                while piece := track.read(_AUDIO_PIECE):
                    writer.audio(piece)
            tally.audio_bytes = writer.audio_bytes
        if info.plays:
            writer.metadata({PLAYS: info.plays})
    tally.bytes = writer.size
    yield tally


def estimate(model: D4Codec, frames: Sequence[Planes], quality: float, n_frames: int) -> float:
    """Bytes that a clip of `n_frames` would take at a quality, going by its first frames."""
    encoder, pyramid = GroupEncoder(model.runtime, quality), HierarchicalGop()
    sizes = []
    for begin, end in ((0, 1), (1, len(frames))):
        for place in pyramid.extend(end - begin) if end > begin else ():
            encoder.add(place.number, frames[place.number], place.references, place.temporal_layer,
                        post_filter=False)
        sizes.append(encoder.size)
    first, later = sizes[0], sizes[1] - sizes[0]
    return first + later * (n_frames - 1) / max(1, len(frames) - 1)


class _Times:
    """The times of a group's frames in ticks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticks: list[int] = []
        self._latest, self._end = -1, 0

    def add(self, frames: list[Frame]) -> None:
        for frame in frames:
            # Frames nearer to each other than a tick of the source may fall on the same one.
            self._latest = max(self._clock.ticks(frame.time), self._latest + 1)
            self._ticks.append(self._latest)
        self._end = frames[-1].time + (frames[-1].duration or self._clock.usual)

    def finish(self, following: Frame | None) -> tuple[tuple[int, ...] | None, int | None]:
        """Times after the first, and how long the last frame lasts; None for what is usual."""
        ticks, self._ticks = self._ticks, []
        end = self._end if following is None else following.time
        return self._clock.relative(ticks), self._clock.last(ticks, self._clock.ticks(end))


class _Group:
    """A group being coded: the first frame stands alone, the others are a pyramid.

    Where a run is restless, anchors nearer to each other are tried too. That is done again only now
    and then, for it takes the time of the run once more or twice.
    """

    def __init__(self, model: D4Codec, head: FileHeader, clock: Clock, measure: bool) -> None:
        self._model, self._head, self._times, self._measure = model, head, _Times(clock), measure
        self._begin()

    def _begin(self) -> None:
        encoder = GroupEncoder(self._model.runtime, self._head.quality / 100)
        self._coded = _Coded(encoder, HierarchicalGop(), [])
        self._span, self._known, self._limit = 0, 0, 0.0

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._coded.encoder.size

    def add(self, run: MiniGop) -> Iterator[tuple[int, Planes | None] | None]:
        """Code frames; for each, when it is done, its place in the run and, if that is measured,
        what it is shown as. None where time passed and no frame is done."""
        self._times.add(run.frames)
        if run.high_motion and not self._known:
            yield from self._try_spans(run)
            return
        self._known -= run.high_motion
        span, before = self._span if run.high_motion else len(run.frames), self._coded.encoder.words
        for place, result in self._coded.add(run.frames, span, self._measure):
            yield place, _planes(result, run.frames[place]) if self._measure else None
        if run.high_motion and self._coded.encoder.words - before > self._limit * len(run.frames):
            self._known = 0

    def _try_spans(self, run: MiniGop) -> Iterator[tuple[int, Planes | None] | None]:
        """Code a run as one span and as several shorter ones, and keep what is best."""
        before, best = self._coded, math.inf
        results: list[tuple[int, Planes]] = []
        for span in (len(run.frames), *(n for n in _NEARER if n < len(run.frames))):
            way = before.fork()
            found, price = yield from self._tried(way, run.frames, span, best)
            if price < best:
                best, results, self._coded, self._span = price, found, way, span
        self._known = _TRUSTED
        words = self._coded.encoder.words - before.encoder.words
        self._limit = _CHANGED * words / len(run.frames)
        yield from results

    def _tried(self, way: _Coded, frames: list[Frame], span: int, best: float
               ) -> Generator[None, None, tuple[list[tuple[int, Planes]], float]]:
        """Code frames one way; (what they are shown as, price), the price about if it is worse."""
        found: list[tuple[int, Planes]] = []
        before, distortion, price = way.encoder.words, Distortion(with_ms_ssim=False), math.inf
        for place, result in way.add(frames, span, self._measure):
            planes = _planes(result, frames[place])
            distortion.add(frames[place].planes, planes)
            found.append((place, planes))
            yield None
            n_frames = distortion.n_frames
            if n_frames % span and n_frames < len(frames):
                continue
            # Spans of one run are much alike: after some of them all are known, about.
            rate = math.log(max(1, way.encoder.words - before) * len(frames) / n_frames)
            price = rate - _RATE_PER_DB * distortion.psnr
            if n_frames >= _TRIED and price > best + _SURE:
                break
        return found, price

    def finish(self, following: Frame | None) -> tuple[GroupHeader, bytes]:
        """Head and payload; the next frames begin a new group."""
        times, last = self._times.finish(following)
        coded, n_frames = self._coded, self._coded.pyramid.n_frames
        head = GroupHeader(
            n_frames, self._head.quality, times=times, last_duration=last,
            frame_types=chain_types(n_frames), references=coded.pyramid.references,
            mini_gop_ends=tuple(coded.ends[:-1]) if len(coded.ends) > _FEW_RUNS else None)
        payload = coded.encoder.finish()
        self._begin()
        return head, payload


@dataclass
class _Coded:
    """The frames of a group so far, and where its runs end."""

    encoder: GroupEncoder
    pyramid: HierarchicalGop
    ends: list[int]

    def fork(self) -> _Coded:
        """The same so far, to go on in another way."""
        return _Coded(self.encoder.fork(), self.pyramid.fork(), list(self.ends))

    def add(self, frames: list[Frame], span: int, post_filter: bool) -> Iterator[tuple[int,
                                                                                       PlaneBatch]]:
        """Code frames with an anchor every `span` frames; for each its place, and what it is shown
        as if `post_filter`, else what others refer to."""
        first = self.pyramid.n_frames
        for begin in range(0, len(frames), span):
            for place in self.pyramid.extend(min(span, len(frames) - begin)):
                at = place.number - first
                yield at, self.encoder.add(place.number, frames[at].planes, place.references,
                                           place.temporal_layer, post_filter=post_filter)
            self.encoder.retain([self.pyramid.n_frames - 1])
            self.ends.append(self.encoder.words)


def _planes(result: PlaneBatch, frame: Frame) -> Planes:
    """What was coded of a frame, rounded and of its size."""
    return from_batch(result, (0, 0), frame.planes.size)[0]
