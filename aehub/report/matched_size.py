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
from aehub.report.records import Baseline
from aehub.results import Progress


class _CrfRange(NamedTuple):
    low: float
    high: float
    step: float
    first: float
    halving: float


_MAX_ENCODES = 7
_SIZE_TOLERANCE = 0.03
# Quality numbers that exist for x264 and SVT-AV1, their step, the one to begin with, and how many
# halve the size.
_RANGES = _CrfRange(0.0, 51.0, 0.25, 20.0, 6.0), _CrfRange(1.0, 63.0, 1.0, 25.0, 10.0)


@dataclass(frozen=True)
class _Encode:
    crf: float
    bytes: int
    packets: list[av.Packet]


def iter_baselines(source: Source, n_bytes: int) -> Generator[Progress, None, list[Baseline]]:
    """Encode with each codec at about `n_bytes`; yields (encodes done, encodes at most).

    Args:
        source: the frames that were compressed.
        n_bytes: what the rivals may use, without sound.
    """
    found = []
    for number, (codec, grid) in enumerate(zip((x264("medium"), svtav1(6)), _RANGES)):
        began = time.perf_counter()
        encodes: list[_Encode] = []
        crf: float | None = grid.first
        while crf is not None:
            packets: list[av.Packet] = []
            # Packet by packet, so that whoever closes this waits for one frame and no more.
            for packet in codec.packets(source.frames, source.info, crf):
                packets.append(packet)
                yield Progress(number * _MAX_ENCODES + len(encodes), len(_RANGES) * _MAX_ENCODES)
            encodes.append(_Encode(crf, sum(packet.size for packet in packets), packets))
            crf = _next_crf(encodes, n_bytes, grid)
        best = closest_size(encodes, n_bytes)
        judged = yield from _measure(codec, source, best.packets, number)
        found.append(Baseline(codec.name, best.crf, best.bytes, judged.psnr, judged.ms_ssim,
                               round(time.perf_counter() - began, 3), len(encodes)))
    return found


def closest_size(encodes: Sequence[_Encode], n_bytes: int) -> _Encode:
    """The largest encode that does not exceed the bytes by more than 3 %, else the smallest."""
    fitting = [encode for encode in encodes if encode.bytes <= n_bytes * (1 + _SIZE_TOLERANCE)]
    if not fitting:
        return min(encodes, key=lambda encode: encode.bytes)
    return max(fitting, key=lambda encode: encode.bytes)


def _next_crf(encodes: list[_Encode], n_bytes: int, grid: _CrfRange) -> float | None:
    """The next quality to try: a secant on the logarithm of the size; None to stop."""

    def miss(encode: _Encode) -> float:
        return math.log2(max(1, encode.bytes) / n_bytes)

    near, *others = sorted(encodes, key=lambda encode: abs(miss(encode)))
    if abs(miss(near)) < math.log2(1 + _SIZE_TOLERANCE) or len(encodes) >= _MAX_ENCODES:
        return None
    halving = grid.halving
    if others:
        octaves = miss(others[0]) - miss(near)
        if octaves and (near.crf - others[0].crf) / octaves > 0:
            halving = (near.crf - others[0].crf) / octaves
    tried = [encode.crf for encode in encodes]
    following = near.crf + miss(near) * halving
    following = min(grid.high, max(grid.low, grid.step * round(following / grid.step)))
    if following in tried:
        beside = following + (grid.step if miss(near) > 0 else -grid.step)
        following = min(grid.high, max(grid.low, beside))
    return None if following in tried else following


def _measure(
    codec: VideoCodec, source: Source, packets: list[av.Packet], number: int
) -> Generator[Progress, None, Distortion]:
    distortion = Distortion()
    size = source.frames[0].size
    for before, after in zip(source.frames, crop(codec.decode(packets), size), strict=True):
        distortion.add(before, after)
        yield Progress((number + 1) * _MAX_ENCODES - 1, len(_RANGES) * _MAX_ENCODES)
    return distortion
