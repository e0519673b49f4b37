"""Baselines at equal bytes: x264 and AV1 at the size of an `.aev` file, by a search over CRF."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av

from aehub.measure.benchmark import parse_codecs
from aehub.measure.points import SourceClip
from aehub.measure.video_codecs import VideoCodec, svtav1, x264
from aehub.media.elementary_streams import crop
from aehub.media.metrics import Distortion
from aehub.report.records import Baseline
from aehub.results import Progress


class _CrfRange(NamedTuple):
    """CRF values of a codec: bounds, spacing, first to try, increase that halves the size."""

    low: float
    high: float
    spacing: float
    first: float
    halving: float


_MAX_ENCODES = 7
"""Encodes of each codec at most."""
_SIZE_TOLERANCE = 0.03
"""Deviation from the target size that ends the search, as a share of it."""
_AV1_ENCODER, _AV1_PRESET = "libsvtav1", 6
"""The preset is that of a file of medium effort."""
# x264, SVT-AV1.
_RANGES = _CrfRange(0.0, 51.0, 0.25, 20.0, 6.0), _CrfRange(1.0, 63.0, 1.0, 25.0, 10.0)


@dataclass(frozen=True)
class _Encode:
    crf: float
    bytes: int
    packets: list[av.Packet]


def iter_baselines(source: SourceClip, n_bytes: int, standard: str = ""
                   ) -> Generator[Progress, None, list[Baseline]]:
    """Encode with x264 and SVT-AV1 at about `n_bytes`; yields (encodes done, encodes at most).

    Args:
        source: the frames that were compressed.
        n_bytes: size to match, without sound.
        standard: name of the codec inside the file: if it is SVT-AV1, its preset is used.
    """
    baselines = []
    for number, (codec, crfs) in enumerate(zip((x264("medium"), _av1(standard)), _RANGES)):
        began = time.perf_counter()
        encodes: list[_Encode] = []
        crf: float | None = crfs.first
        while crf is not None:
            packets: list[av.Packet] = []
            # Packet by packet, so that closing this waits for one frame at most.
            for packet in codec.packets(source.frames, source.info, crf):
                packets.append(packet)
                yield Progress(number * _MAX_ENCODES + len(encodes), len(_RANGES) * _MAX_ENCODES)
            encodes.append(_Encode(crf, sum(packet.size for packet in packets), packets))
            crf = _next_crf(encodes, n_bytes, crfs)
        best = closest_size(encodes, n_bytes)
        judged = yield from _measure(codec, source, best.packets, number)
        baselines.append(Baseline(codec.name, best.crf, best.bytes, judged.psnr, judged.ms_ssim,
                                  round(time.perf_counter() - began, 3), len(encodes)))
    return baselines


def _av1(standard: str) -> VideoCodec:
    for codec in parse_codecs(standard) if standard else ():
        if isinstance(codec, VideoCodec) and codec.encoder == _AV1_ENCODER:
            return codec
    return svtav1(_AV1_PRESET)


def closest_size(encodes: Sequence[_Encode], n_bytes: int) -> _Encode:
    """Return the largest encode of at most 1.03 * `n_bytes`, else the smallest of all."""
    fitting = [encode for encode in encodes if encode.bytes <= n_bytes * (1 + _SIZE_TOLERANCE)]
    if not fitting:
        return min(encodes, key=lambda encode: encode.bytes)
    return max(fitting, key=lambda encode: encode.bytes)


def _next_crf(encodes: list[_Encode], n_bytes: int, crfs: _CrfRange) -> float | None:
    """Return the next CRF to try, by a secant on the logarithm of the size; None to stop."""

    def error(encode: _Encode) -> float:
        return math.log2(max(1, encode.bytes) / n_bytes)

    nearest, *others = sorted(encodes, key=lambda encode: abs(error(encode)))
    if abs(error(nearest)) < math.log2(1 + _SIZE_TOLERANCE) or len(encodes) >= _MAX_ENCODES:
        return None
    halving = crfs.halving
    if others:
        octaves = error(others[0]) - error(nearest)
        if octaves and (nearest.crf - others[0].crf) / octaves > 0:
            halving = (nearest.crf - others[0].crf) / octaves
    tried = [encode.crf for encode in encodes]
    crf = nearest.crf + error(nearest) * halving
    crf = min(crfs.high, max(crfs.low, crfs.spacing * round(crf / crfs.spacing)))
    if crf in tried:
        adjacent = crf + (crfs.spacing if error(nearest) > 0 else -crfs.spacing)
        crf = min(crfs.high, max(crfs.low, adjacent))
    return None if crf in tried else crf


def _measure(
    codec: VideoCodec, source: SourceClip, packets: list[av.Packet], number: int
) -> Generator[Progress, None, Distortion]:
    distortion = Distortion()
    size = source.frames[0].size
    for before, after in zip(source.frames, crop(codec.decode(packets), size), strict=True):
        distortion.add(before, after)
        yield Progress((number + 1) * _MAX_ENCODES - 1, len(_RANGES) * _MAX_ENCODES)
    return distortion
