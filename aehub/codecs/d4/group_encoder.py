"""Encoder of a group: an intra frame, then hierarchical mini-GOPs, the best length in high motion.

In high motion, smaller distances of key pictures are tried too, by encoding a mini-GOP in several
ways. The result is reused for a while, for a trial takes the time of the mini-GOP once or twice
more.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from aehub.bitstream import FileHeader, GroupHeader
from aehub.bitstream.group_header import chain_types
from aehub.codecs.base import CodedFrame, MiniGop
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.d4.planes import from_batch
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import HierarchicalGop
from aehub.media.metrics import Distortion
from aehub.media.picture import Frame

# Groups of more mini-GOPs, counting the first frame, store where each ends: shorter ones leave a
# trim little to cut off.
_MIN_INDEXED_MINI_GOPS = 2


@dataclass
class _GroupState:
    """A group so far, and the payload words at which its mini-GOPs end."""

    encoder: FrameEncoder
    gop: HierarchicalGop
    mini_gop_ends: list[int]

    def fork(self) -> _GroupState:
        """Return an independent copy."""
        return _GroupState(self.encoder.fork(), self.gop.fork(), list(self.mini_gop_ends))

    def add(self, frames: list[Frame], length: int, *, post_filter: bool, pictures: bool
            ) -> Iterator[CodedFrame]:
        """Encode frames as mini-GOPs of `length`, with their pictures if asked for: as shown, or
        with `post_filter` False as later frames refer to them."""
        first = self.gop.n_frames
        for begin in range(0, len(frames), length):
            for slot in self.gop.extend(min(length, len(frames) - begin)):
                index, size = slot.number - first, self.encoder.size
                picture = frames[index].picture
                x_hat = self.encoder.add(slot.number, picture, slot.references,
                                         slot.temporal_layer, post_filter=post_filter)
                shown = from_batch(x_hat, (0, 0), picture.size)[0] if pictures else None
                yield CodedFrame(index, self.encoder.size - size, shown)
            self.encoder.retain([self.gop.n_frames - 1])
            self.mini_gop_ends.append(self.encoder.words)


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
        frames, words = mini_gop.frames, self._state.encoder.words
        length = len(frames)
        if mini_gop.high_motion:
            self._reuses -= 1
            length = self._length
        yield from self._state.add(frames, length, post_filter=self._measure,
                                   pictures=self._measure)
        if (mini_gop.high_motion
                and self._state.encoder.words - words > self._max_rate * len(frames)):
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
        words = self._state.encoder.words - before.encoder.words
        self._max_rate = self._settings.rate_jump * words / n_frames
        yield from results

    def _trial_encode(self, trial: _GroupState, frames: list[Frame], length: int, best_cost: float
                      ) -> Generator[None, None, tuple[list[CodedFrame], float]]:
        """Encode frames as mini-GOPs of `length`; returns (coded frames, RD cost), an estimate of
        the cost where the trial is abandoned."""
        settings, results = self._settings, list[CodedFrame]()
        words, distortion, cost = trial.encoder.words, Distortion(with_ms_ssim=False), math.inf
        for coded in trial.add(frames, length, post_filter=self._measure, pictures=True):
            assert coded.picture is not None
            distortion.add(frames[coded.index].picture, coded.picture)
            results.append(coded if self._measure else replace(coded, picture=None))
            yield None
            n_frames = distortion.n_frames
            if n_frames % length and n_frames < len(frames):
                continue
            # Mini-GOPs next to each other cost about the same, so that some predict all.
            log_rate = math.log(max(1, trial.encoder.words - words) * len(frames) / n_frames)
            cost = log_rate - settings.log_rate_per_db * distortion.psnr
            if n_frames >= settings.min_trial_frames and cost > best_cost + settings.abandon_margin:
                break
        return results, cost

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return header, without times, and payload."""
        state, n_frames = self._state, self._state.gop.n_frames
        header = GroupHeader(n_frames, self._quality, frame_types=chain_types(n_frames),
                             references=state.gop.references)
        if len(state.mini_gop_ends) > _MIN_INDEXED_MINI_GOPS:
            header = replace(header, mini_gop_ends=tuple(state.mini_gop_ends[:-1]))
        return header, state.encoder.finish()
