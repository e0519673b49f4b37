"""Encoder of a group: an intra frame, then hierarchical mini-GOPs, the best length in high motion.

In high motion, smaller distances of key pictures are tried too, by encoding a mini-GOP in several
ways. The result is reused for a while, for a trial takes the time of the mini-GOP once or twice
more.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from aehub.bitstream import FileHeader, GroupHeader
from aehub.bitstream.chunk import pack_varint
from aehub.bitstream.group_header import chain_types
from aehub.codecs.base import CodedFrame, MiniGop
from aehub.codecs.d4.encoder import EncodedFrame, FrameEncoder
from aehub.codecs.d4.planes import from_batch
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import HierarchicalGop
from aehub.media.metrics import Distortion
from aehub.media.picture import Frame

# Share of the payload that positions of mini-GOP ends, which shorten trims, may take.
_MAX_INDEX_SHARE = 1 / 200
# Groups of more mini-GOPs, counting the first frame, store them: shorter ones leave a trim little
# to cut off.
_MIN_INDEXED_MINI_GOPS = 2


@dataclass
class _GroupState:
    """A group so far, and the words of each stream at which its mini-GOPs end."""

    encoder: FrameEncoder
    gop: HierarchicalGop
    mini_gop_ends: list[tuple[int, ...]]

    def fork(self) -> _GroupState:
        """Return an independent copy."""
        return _GroupState(self.encoder.fork(), self.gop.fork(), list(self.mini_gop_ends))

    @property
    def words(self) -> int:
        """Length of the payload if it ended here, in words of 32 bits."""
        return sum(self.encoder.words)

    def add(self, frames: list[Frame], length: int, *, post_filter: bool, pictures: bool
            ) -> Iterator[CodedFrame]:
        """Encode frames as mini-GOPs of `length`, with their pictures if asked for: as shown, or
        with `post_filter` False as later frames refer to them."""
        first = self.gop.n_frames
        for begin in range(0, len(frames), length):
            for layer in self.gop.extend(min(length, len(frames) - begin)):
                before = self.words
                coded = self.encoder.add(
                    layer, [frames[slot.number - first].picture for slot in layer])
                sizes = _shares(4 * (self.words - before), coded)
                for frame, size in zip(coded, sizes, strict=True):
                    index, shown = frame.slot.number - first, None
                    if pictures:
                        planes = self.encoder.shown(frame) if post_filter else frame.x_hat
                        (shown,) = from_batch(planes, (0, 0), frames[index].picture.size)
                    yield CodedFrame(index, size, shown)
            self.encoder.retain([self.gop.n_frames - 1])
            self.mini_gop_ends.append(self.encoder.words)

    def ends(self, words: tuple[int, ...], payload: bytes) -> tuple[tuple[int, ...], ...] | None:
        """The mini-GOP ends to store beside a payload; None where they do not pay."""
        ends = [(*end, *[0] * (len(words) + 1 - len(end))) for end in self.mini_gop_ends[:-1]]
        if len(ends) < _MIN_INDEXED_MINI_GOPS:
            return None
        n_bytes = sum(len(pack_varint(after - before)) for stream in zip(*ends, strict=True)
                      for before, after in pairwise((0, *stream)))
        return tuple(ends) if n_bytes <= _MAX_INDEX_SHARE * len(payload) else None


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
        encoder = FrameEncoder(runtime, header.quality / 100)
        self._state = _GroupState(encoder, HierarchicalGop(), [])
        # Mini-GOP length in high motion, mini-GOPs it still holds for, and its highest rate in
        # words per frame.
        self._length, self._reuses, self._max_rate = 0, 0, 0.0

    def fork(self) -> GroupEncoder:
        """Return an independent copy."""
        other = object.__new__(GroupEncoder)
        other.__dict__.update(self.__dict__, _state=self._state.fork())
        return other

    def add(self, mini_gop: MiniGop) -> Iterator[CodedFrame | None]:
        """Encode frames; yields each in coding order, and None as progress of a trial."""
        if mini_gop.high_motion and not self._reuses:
            yield from self._try_lengths(mini_gop)
            return
        frames, words = mini_gop.frames, self._state.words
        length = len(frames)
        if mini_gop.high_motion:
            self._reuses -= 1
            length = self._length
        yield from self._state.add(frames, length, post_filter=self._measure,
                                   pictures=self._measure)
        if (mini_gop.high_motion
                and self._state.words - words > self._max_rate * len(frames)):
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
        words = self._state.words - before.words
        self._max_rate = self._settings.rate_jump * words / n_frames
        yield from results

    def _trial_encode(self, trial: _GroupState, frames: list[Frame], length: int, best_cost: float
                      ) -> Generator[None, None, tuple[list[CodedFrame], float]]:
        """Encode frames as mini-GOPs of `length`; returns (coded frames, RD cost), an estimate of
        the cost where the trial is abandoned."""
        settings, results = self._settings, list[CodedFrame]()
        words, distortion, cost = trial.words, Distortion(with_ms_ssim=False), math.inf
        for coded in trial.add(frames, length, post_filter=self._measure, pictures=True):
            assert coded.picture is not None
            distortion.add(frames[coded.index].picture, coded.picture)
            results.append(coded if self._measure else replace(coded, picture=None))
            yield None
            n_frames = distortion.n_frames
            if n_frames % length and n_frames < len(frames):
                continue
            # Mini-GOPs next to each other cost about the same, so that some predict all.
            log_rate = math.log(max(1, trial.words - words) * len(frames) / n_frames)
            cost = log_rate - settings.log_rate_per_db * distortion.psnr
            if n_frames >= settings.min_trial_frames and cost > best_cost + settings.abandon_margin:
                break
        return results, cost

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return header, without times, and payload."""
        state, n_frames = self._state, self._state.gop.n_frames
        words, payload = state.encoder.finish()
        return GroupHeader(n_frames, self._quality, frame_types=chain_types(n_frames),
                           references=state.gop.references, stream_words=words,
                           mini_gop_ends=state.ends(words, payload)), payload
