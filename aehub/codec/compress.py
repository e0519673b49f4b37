"""Frames of a clip -> groups of a `.aev` file, in memory bounded by two runs of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from aehub.clips import Clip
from aehub.clips.frames import Frame, Planes
from aehub.codec.batch import from_batch
from aehub.codec.clock import Clock
from aehub.codec.inter import GroupEncoder
from aehub.codec.model import Codec
from aehub.codec.shots import STILL_FRAMES, Run, group_frames, predicted_runs, still_runs
from aehub.codec.structure import Pyramid
from aehub.container import FileHead, GroupHead, Writer
from aehub.container.grouphead import chain_types
from aehub.metrics import Distortion
from aehub.models.planes import PlaneBatch

_AUDIO_PIECE = 1 << 20
# A trim of a group of so few runs, the first frame being one, has little to cut off.
_FEW_RUNS = 2
# How much 1 dB changes the logarithm of the rate, about: the median of 13 training clips.
_RATE_PER_DB = 0.18
# Runs for which an answer holds.
_TRUSTED = 7
# Anchors after which a try may be given up, and by how much they must be dearer then: a sixth.
_TRIED, _SURE = 4, 0.15


@dataclass
class Tally:
    """What was written so far."""

    frames: int = 0
    audio_bytes: int = 0
    seconds: float = 0.0
    bytes: int = 0
    distortion: Distortion = field(default_factory=Distortion)


def compress_clip(clip: Clip, stream: BinaryIO, model: Codec, quality: float, *,
                  group: int | None = None, audio: bool = True, measure: bool = True
                  ) -> Iterator[Tally]:
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
    predicted = model.network.inter is not None
    size = group_frames(info.width, info.height, float(info.fps), predicted, group)
    head = FileHead(
        model=model.name, entropy_hash=model.stored.entropy_hash,
        synthesis_hash=model.stored.synthesis_hash, coder=model.stored.coder,
        width=info.width, height=info.height, fps=clock.fps, quality=round(quality * 100),
        group_frames=size, time_base=clock.time_base, colour=info.colour,
        pixel_aspect=info.pixel_aspect)
    tally = Tally()
    with Writer(stream, head) as writer:
        coding: _Group = (_Predicted if predicted else _Still)(model, head, clock, measure)
        for run in (predicted_runs if predicted else still_runs)(clip, size):
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
            if run.ends:
                shown, payload = coding.finish(run.following)
                writer.group(shown, payload)
                tally.seconds += float(shown.ticks(head.step) * head.time_base)
        if clip.audio is not None and audio:
            with clip.audio.open() as track:
                while piece := track.read(_AUDIO_PIECE):
                    writer.audio(piece)
            tally.audio_bytes = writer.audio_bytes
    tally.bytes = writer.size
    yield tally


def estimate(model: Codec, frames: Sequence[Planes], quality: float, n_frames: int) -> float:
    """Bytes that a clip of `n_frames` would take at a quality, going by its first frames."""
    if model.network.inter is None:
        few = frames[:STILL_FRAMES // 2]
        return len(model.encode_group(few, quality)[0]) * n_frames / len(few)
    encoder, pyramid = GroupEncoder(model, quality), Pyramid()
    sizes = []
    for begin, end in ((0, 1), (1, len(frames))):
        for place in pyramid.extend(end - begin) if end > begin else ():
            encoder.add(place.number, frames[place.number], place.references, place.level,
                        show=False)
        sizes.append(encoder.size)
    first, later = sizes[0], sizes[1] - sizes[0]
    return first + later * (n_frames - 1) / max(1, len(frames) - 1)


class _Group(Protocol):
    """A group being coded."""

    @property
    def size(self) -> int:
        """Bytes so far, about."""

    def add(self, run: Run) -> Iterator[tuple[int, Planes | None] | None]:
        """Code frames; for each, when it is done, its place in the run and, if that is measured,
        what it is shown as. None where time passed and no frame is done."""

    def finish(self, following: Frame | None) -> tuple[GroupHead, bytes]:
        """Head and payload; the next frames begin a new group."""


class _Times:
    """The times of a group's frames in ticks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticks: list[int] = []

    def add(self, frames: list[Frame]) -> None:
        self._ticks += [self._clock.ticks(frame.time) for frame in frames]

    def finish(self, following: Frame | None) -> tuple[tuple[int, ...] | None, int | None]:
        """Times after the first, and how long the last frame lasts; None for what is usual."""
        ticks, self._ticks = self._ticks, []
        after = None if following is None else self._clock.ticks(following.time)
        return self._clock.relative(ticks), self._clock.last(ticks, after)


class _Still:
    """Every frame stands alone."""

    size = 0

    def __init__(self, model: Codec, head: FileHead, clock: Clock, measure: bool) -> None:
        self._model, self._head, self._times, self._measure = model, head, _Times(clock), measure
        self._payload, self._n_frames = b"", 0

    def add(self, run: Run) -> Iterator[tuple[int, Planes | None] | None]:
        self._times.add(run.frames)
        planes = [frame.planes for frame in run.frames]
        self._payload, decoded = self._model.encode_group(planes, self._head.quality / 100,
                                                          decode=self._measure)
        self._n_frames = len(planes)
        yield from enumerate(decoded if self._measure else [None] * len(planes))

    def finish(self, following: Frame | None) -> tuple[GroupHead, bytes]:
        times, last = self._times.finish(following)
        return GroupHead(self._n_frames, self._head.quality, times=times, last=last), self._payload


class _Predicted:
    """The first frame stands alone, the others are a pyramid.

    Where a run is restless, its frames are coded both ways: between two anchors, and each an
    anchor of its own. Which is better is asked again only now and then, for it takes the time of
    the run once more.
    """

    def __init__(self, model: Codec, head: FileHead, clock: Clock, measure: bool) -> None:
        self._model, self._head, self._times, self._measure = model, head, _Times(clock), measure
        self._begin()

    def _begin(self) -> None:
        self._coded = _Coded(GroupEncoder(self._model, self._head.quality / 100), Pyramid(), [])
        self._anchors_only, self._known = False, 0

    @property
    def size(self) -> int:
        return self._coded.encoder.size

    def add(self, run: Run) -> Iterator[tuple[int, Planes | None] | None]:
        self._times.add(run.frames)
        if run.restless and not self._known:
            yield from self._add_both_ways(run)
            return
        self._known -= run.restless
        anchors_only = run.restless and self._anchors_only
        for place, result in self._coded.add(run.frames, anchors_only, self._measure):
            yield place, _planes(result, run.frames[place]) if self._measure else None

    def _add_both_ways(self, run: Run) -> Iterator[tuple[int, Planes | None] | None]:
        ways = [self._coded.fork(), self._coded]
        results: list[list[tuple[int, Planes]]] = [[], []]
        prices = [math.inf, math.inf]
        for anchors_only, (way, found) in enumerate(zip(ways, results, strict=True)):
            before, distortion = way.encoder.words, Distortion(with_ms_ssim=False)
            for place, result in way.add(run.frames, bool(anchors_only), self._measure):
                planes = _planes(result, run.frames[place])
                distortion.add(run.frames[place].planes, planes)
                found.append((place, planes))
                yield None
                # Anchors are much alike: after some of them all are known, about.
                part = distortion.n_frames / len(run.frames) if anchors_only else 1
                rate = math.log(max(1, way.encoder.words - before) / part)
                prices[anchors_only] = rate - _RATE_PER_DB * distortion.psnr
                if anchors_only and distortion.n_frames >= _TRIED and (
                        prices[1] > prices[0] + _SURE):
                    break
        self._anchors_only, self._known = prices[1] < prices[0], _TRUSTED
        self._coded = ways[self._anchors_only]
        yield from results[self._anchors_only]

    def finish(self, following: Frame | None) -> tuple[GroupHead, bytes]:
        times, last = self._times.finish(following)
        coded, n_frames = self._coded, self._coded.pyramid.n_frames
        head = GroupHead(
            n_frames, self._head.quality, times=times, last=last,
            frame_types=chain_types(n_frames), references=coded.pyramid.references,
            run_ends=tuple(coded.ends[:-1]) if len(coded.ends) > _FEW_RUNS else None)
        payload = coded.encoder.finish()
        self._begin()
        return head, payload


@dataclass
class _Coded:
    """The frames of a group so far, and where its runs end."""

    encoder: GroupEncoder
    pyramid: Pyramid
    ends: list[int]

    def fork(self) -> _Coded:
        """The same so far, to go on in another way."""
        return _Coded(self.encoder.fork(), self.pyramid.fork(), list(self.ends))

    def add(self, frames: list[Frame], anchors_only: bool, show: bool
            ) -> Iterator[tuple[int, PlaneBatch]]:
        """Code frames; for each its place, and what it is shown as if `show`, else what others
        refer to."""
        first = self.pyramid.n_frames
        for span in [1] * len(frames) if anchors_only else [len(frames)]:
            for place in self.pyramid.extend(span):
                at = place.number - first
                yield at, self.encoder.add(place.number, frames[at].planes, place.references,
                                           place.level, show=show)
            self.encoder.keep([self.pyramid.n_frames - 1])
            self.ends.append(self.encoder.words)


def _planes(result: PlaneBatch, frame: Frame) -> Planes:
    """What was coded of a frame, rounded and of its size."""
    return from_batch(result, (0, 0), frame.planes.size)[0]
