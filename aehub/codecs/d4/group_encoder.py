"""Encoder of a group: an intra frame, then hierarchical mini-GOPs, the best length in high motion.

In high motion, smaller distances of key pictures are tried too, by encoding a mini-GOP in several
ways. The result is reused for a while, for a trial takes the time of the mini-GOP once or twice
more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise

from aehub.bitstream import FileHeader, GroupHeader
from aehub.bitstream.chunk import pack_varint
from aehub.bitstream.group_header import chain_types
from aehub.codecs.base import CodedFrame, MiniGop
from aehub.codecs.d4.encoder import EncodedFrame, FrameEncoder
from aehub.codecs.d4.layers import layer_batches, stream_of
from aehub.codecs.d4.planes import GRID, from_batch
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import FrameSlot, HierarchicalGop
from aehub.media.metrics import Distortion
from aehub.media.picture import Frame, Picture
from aehub.schedule import Schedule, Task

_MAX_PENDING, _PENDING_SAMPLES = 3, 1 << 23
"""Mini-GOPs that may be unfinished when the next one is begun, and their luma samples: memory."""
Show = Callable[[FrameEncoder, EncodedFrame, Picture], Picture]
"""Makes a picture of an encoded frame, given the source."""
# Share of the payload that positions of mini-GOP ends, which shorten trims, may take.
_MAX_INDEX_SHARE = 1 / 200
# Groups of more mini-GOPs, counting the first frame, store them: shorter ones leave a trim little
# to cut off.
_MIN_INDEXED_MINI_GOPS = 2


class _GroupState:
    """A group so far: frames are encoded and written by tasks, mini-GOPs overlap.

    Args:
        encoder: of its frames.
        samples: of luma in the coded plane.
    """

    def __init__(self, encoder: FrameEncoder, samples: int) -> None:
        self.encoder, self.gop, self._samples = encoder, HierarchicalGop(), samples
        # Words of each stream that was written to, at the end of each mini-GOP.
        self._ends: list[dict[int, int]] = []
        # Tasks that write each frame still referred to, and the last ones of each stream.
        self._writes: dict[int, Task] = {}
        self._last: dict[int, Task] = {}
        self._drops = list[Task]()

    def fork(self) -> _GroupState:
        """Return an independent copy; all tasks must be done."""
        other = copy(self)
        other.encoder, other.gop = self.encoder.fork(), self.gop.fork()
        other._ends, other._writes, other._last = (
            [*self._ends], {**self._writes}, {**self._last})
        other._drops = []
        return other

    def join(self, schedule: Schedule) -> None:
        """Wait for the tasks that drop frames."""
        for task in self._drops:
            schedule.take(task)
        self._drops = []

    def begin(self, schedule: Schedule, frames: list[Frame], length: int, show: Show | None
              ) -> list[Task]:
        """Begin frames as mini-GOPs of `length`.

        Returns:
            Tasks that give a `CodedFrame` each, in coding order, with what `show` makes of it.
        """
        first, results = self.gop.n_frames, list[Task]()
        for begin in range(0, len(frames), length):
            ends = dict[int, int]()
            self._ends.append(ends)
            before, references = {*self._writes}, set[int]()
            for layer in self.gop.extend(min(length, len(frames) - begin)):
                references.update(slot.number for slot in layer if slot.is_reference)
                for batch in layer_batches(layer, self._samples):
                    pictures = [frames[slot.number - first].picture for slot in batch]
                    results += self._begin_batch(schedule, batch, pictures, ends, show)
            # Later frames refer to the key picture only, those of the mini-GOP to the one before.
            over = before | {n for n in references if n != self.gop.n_frames - 1}
            self._drops = [schedule.add(Task(partial(self.encoder.drop, over),
                                             [*self._drops, *self._writes.values()]))]
            self._writes = {self.gop.n_frames - 1: self._writes[self.gop.n_frames - 1]}
        return results

    def _begin_batch(self, schedule: Schedule, batch: tuple[FrameSlot, ...],
                     pictures: list[Picture], ends: dict[int, int], show: Show | None
                     ) -> list[Task]:
        # Lower layers first, of the next mini-GOP too: what follows from them fills all threads.
        layer = batch[0].temporal_layer or 0
        encodes = [
            schedule.add(Task(partial(self.encoder.encode, slot, picture, show=show is not None),
                              [self._writes[r] for r in slot.references], rank=layer))
            for slot, picture in zip(batch, pictures, strict=True)]
        stream = stream_of(layer)
        last = [self._last[stream]] if stream in self._last else []

        def write() -> list[int]:
            frames = [encode.result for encode in encodes]
            before = self.encoder.words(stream)
            self.encoder.write(frames)
            ends[stream] = self.encoder.words(stream)
            return _shares(4 * (ends[stream] - before), frames)

        def coded(at: int, slot: FrameSlot, picture: Picture) -> CodedFrame:
            shown = None if show is None else show(self.encoder, encodes[at].result, picture)
            return CodedFrame(slot.number, written.result[at], shown)

        written = self._last[stream] = schedule.add(
            Task(write, [*encodes, *last], rank=layer))
        self._writes.update((slot.number, written) for slot in batch)
        return [schedule.add(Task(partial(coded, at, slot, picture), [written], rank=layer))
                for at, (slot, picture) in enumerate(zip(batch, pictures, strict=True))]

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return the header without quality and times, and the payload."""
        n_frames = self.gop.n_frames
        words, payload = self.encoder.finish()
        header = GroupHeader(n_frames, 0, frame_types=chain_types(n_frames),
                             references=self.gop.references, stream_words=words)
        ends, n_bytes = list[tuple[int, ...]](), 0
        for end in self._ends[:-1]:
            before = ends[-1] if ends else (0,) * (len(words) + 1)
            ends.append(tuple(end.get(stream, before[stream]) for stream in range(len(before))))
            n_bytes += sum(len(pack_varint(after - n))
                           for n, after in zip(before, ends[-1], strict=True))
        if len(ends) < _MIN_INDEXED_MINI_GOPS or n_bytes > _MAX_INDEX_SHARE * len(payload):
            return header, payload
        return replace(header, mini_gop_ends=tuple(ends)), payload


def _shares(n_bytes: int, frames: list[EncodedFrame]) -> list[int]:
    """Bytes of each frame of a batch by its codes that are not 0: symbols are interleaved."""
    weights = [1 + int(frame.syntax.codes.latent.count_nonzero()) for frame in frames]
    ends = [n_bytes * part // sum(weights) for part in accumulate(weights, initial=0)]
    return [after - before for before, after in pairwise(ends)]


class GroupEncoder:
    """Encoder of one group: `aehub.codecs.base.GroupEncoder`.

    Args:
        runtime: of the model.
        header: of the file.
        measure: also give back the pictures as shown.
    """

    def __init__(self, runtime: Runtime, header: FileHeader, *, measure: bool) -> None:
        self._settings, self._quality, self._measure = runtime.settings, header.quality, measure
        self._state = _GroupState(FrameEncoder(runtime, header.quality / 100),
                                  math.prod(header.coded_size(GRID)))
        self._side_by_side = runtime.device.type == "cpu"
        self._schedule = Schedule(side_by_side=self._side_by_side)
        # Results of the mini-GOPs that are begun.
        self._pending = deque[list[Task]]()
        # Mini-GOP length in high motion, mini-GOPs it still holds for, and its highest rate in
        # bytes per frame.
        self._length, self._reuses, self._max_rate = 0, 0, 0.0

    def add(self, mini_gop: MiniGop) -> Iterator[CodedFrame | None]:
        """Encode frames; yields each in coding order, and None as progress of a trial.

        Those of a mini-GOP are encoded while the next ones are gathered and begun.
        """
        length = len(mini_gop.frames)
        if mini_gop.high_motion and self._settings.short_mini_gops:
            if not self._reuses:
                yield from self._finished(0)
                self._state.join(self._schedule)
                yield from self._try_lengths(mini_gop)
                return
            self._reuses -= 1
            length = self._length
        schedule = self._schedule
        if length == 1:
            # Frames that follow from one another: each shares its work among all threads.
            yield from self._finished(0)
            self._state.join(self._schedule)
            schedule = Schedule(side_by_side=False)
        self._pending.append(self._state.begin(schedule, mini_gop.frames, length,
                                               _as_shown if self._measure else None))
        samples = math.prod(mini_gop.frames[0].picture.size) * len(mini_gop.frames)
        at_once = mini_gop.ends_group or length == 1
        yield from self._finished(0 if at_once else min(_MAX_PENDING, _PENDING_SAMPLES // samples))

    def _finished(self, left: int) -> Iterator[CodedFrame]:
        """Frames of all mini-GOPs that are begun but the last `left`."""
        while len(self._pending) > left:
            results, n_bytes = self._pending.popleft(), 0
            try:
                for task in results:
                    coded = self._schedule.take(task)
                    n_bytes += coded.bytes
                    yield coded
            except BaseException:
                self._schedule.close()
                raise
            # In low motion rates are below those of high motion.
            if n_bytes > self._max_rate * len(results):
                self._reuses = 0

    def _try_lengths(self, mini_gop: MiniGop) -> Iterator[CodedFrame | None]:
        """Encode a mini-GOP as a whole and as shorter ones, and choose the least RD cost."""
        before, best_cost = self._state, math.inf
        n_frames = len(mini_gop.frames)
        results: list[CodedFrame] = []
        for length in (n_frames, *(n for n in self._settings.short_mini_gops if n < n_frames)):
            trial = before.fork()
            coded, cost = yield from self._trial_encode(trial, mini_gop.frames, length, best_cost)
            if cost < best_cost:
                best_cost, results, self._state, self._length = cost, coded, trial, length
        self._reuses = self._settings.reuse_count
        self._max_rate = (self._settings.rate_jump * sum(coded.bytes for coded in results)
                          / n_frames)
        yield from results

    def _trial_encode(self, trial: _GroupState, frames: list[Frame], length: int, best_cost: float
                      ) -> Generator[None, None, tuple[list[CodedFrame], float]]:
        """Encode frames as mini-GOPs of `length`; returns (coded frames, RD cost), an estimate of
        the cost where the trial is abandoned."""
        settings, results = self._settings, list[CodedFrame]()
        begin, distortion, cost = trial.gop.n_frames, Distortion(with_ms_ssim=False), math.inf
        n_bytes = 0
        schedule = Schedule(side_by_side=self._side_by_side and length > 1)
        with closing(schedule):
            for task in trial.begin(schedule, frames, length,
                                    _as_shown if self._measure else _as_reference):
                coded = schedule.take(task)
                distortion.add(frames[coded.number - begin].picture, coded.picture)
                results.append(coded if self._measure else replace(coded, picture=None))
                n_bytes += coded.bytes
                yield None
                n_frames = distortion.n_frames
                if n_frames % length and n_frames < len(frames):
                    continue
                # Mini-GOPs next to each other cost about the same, so that some predict all.
                log_rate = math.log(max(4, n_bytes) * len(frames) / n_frames)
                cost = log_rate - settings.log_rate_per_db * distortion.psnr
                if (n_frames >= settings.min_trial_frames
                        and cost > best_cost + settings.abandon_margin):
                    break
            else:
                trial.join(schedule)
        return results, cost

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return header, without times, and payload."""
        deque(self._finished(0), 0)
        header, payload = self._state.finish()
        return replace(header, quality=self._quality), payload


def _as_reference(encoder: FrameEncoder, frame: EncodedFrame, source: Picture) -> Picture:
    """A frame as later ones refer to it."""
    assert frame.x_hat is not None
    return from_batch(frame.x_hat, (0, 0), source.size)[0]


def _as_shown(encoder: FrameEncoder, frame: EncodedFrame, source: Picture) -> Picture:
    """A frame as a decoder shows it."""
    return from_batch(encoder.shown(frame), (0, 0), source.size)[0]
