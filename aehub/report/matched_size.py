"""The codecs of the world at the same number of bytes, found by a few encodes."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av

from aehub.measure.points import Source
from aehub.measure.video_codecs import VideoCodec, crop, svtav1, x264
from aehub.media.metrics import Distortion
from aehub.report.records import Neighbour
from aehub.results import Step


class _Range(NamedTuple):
    low: float
    high: float
    step: float
    first: float
    halving: float


_ENCODES = 7
_CLOSE = 0.03
# Quality numbers that exist for x264 and SVT-AV1, their step, the one to begin with, and how many
# halve the size.
_RANGES = _Range(0.0, 51.0, 0.25, 20.0, 6.0), _Range(1.0, 63.0, 1.0, 25.0, 10.0)


@dataclass(frozen=True)
class _Trial:
    crf: float
    bytes: int
    packets: list[av.Packet]


def iter_neighbours(source: Source, n_bytes: int) -> Generator[Step, None, list[Neighbour]]:
    """Encode with each rival at about `n_bytes`; yields (encodes done, encodes at most).

    Args:
        source: the frames that were compressed.
        n_bytes: what the rivals may use, without sound.
    """
    found = []
    for number, (rival, grid) in enumerate(zip((x264("medium"), svtav1(6)), _RANGES)):
        began = time.perf_counter()
        trials: list[_Trial] = []
        crf: float | None = grid.first
        while crf is not None:
            packets: list[av.Packet] = []
            # Packet by packet, so that whoever closes this waits for one frame and no more.
            for packet in rival.packets(source.frames, source.info, crf):
                packets.append(packet)
                yield Step(number * _ENCODES + len(trials), len(_RANGES) * _ENCODES)
            trials.append(_Trial(crf, sum(packet.size for packet in packets), packets))
            crf = _following(trials, n_bytes, grid)
        best = nearest(trials, n_bytes)
        judged = yield from _judge(rival, source, best.packets, number)
        found.append(Neighbour(rival.name, best.crf, best.bytes, judged.psnr, judged.ms_ssim,
                               round(time.perf_counter() - began, 3), len(trials)))
    return found


def nearest(trials: Sequence[_Trial], n_bytes: int) -> _Trial:
    """The largest trial that does not exceed the bytes by more than 3 %, else the smallest."""
    fitting = [trial for trial in trials if trial.bytes <= n_bytes * (1 + _CLOSE)]
    if not fitting:
        return min(trials, key=lambda trial: trial.bytes)
    return max(fitting, key=lambda trial: trial.bytes)


def _following(trials: list[_Trial], n_bytes: int, grid: _Range) -> float | None:
    """The next quality to try: a secant on the logarithm of the size; None to stop."""

    def miss(trial: _Trial) -> float:
        return math.log2(max(1, trial.bytes) / n_bytes)

    near, *others = sorted(trials, key=lambda trial: abs(miss(trial)))
    if abs(miss(near)) < math.log2(1 + _CLOSE) or len(trials) >= _ENCODES:
        return None
    halving = grid.halving
    if others:
        octaves = miss(others[0]) - miss(near)
        if octaves and (near.crf - others[0].crf) / octaves > 0:
            halving = (near.crf - others[0].crf) / octaves
    tried = [trial.crf for trial in trials]
    following = near.crf + miss(near) * halving
    following = min(grid.high, max(grid.low, grid.step * round(following / grid.step)))
    if following in tried:
        beside = following + (grid.step if miss(near) > 0 else -grid.step)
        following = min(grid.high, max(grid.low, beside))
    return None if following in tried else following


def _judge(
    rival: VideoCodec, source: Source, packets: list[av.Packet], number: int
) -> Generator[Step, None, Distortion]:
    distortion = Distortion()
    size = source.frames[0].size
    for before, after in zip(source.frames, crop(rival.decode(packets), size), strict=True):
        distortion.add(before, after)
        yield Step((number + 1) * _ENCODES - 1, len(_RANGES) * _ENCODES)
    return distortion
