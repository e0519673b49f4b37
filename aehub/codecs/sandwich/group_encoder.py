"""Encoder of a group of `sandwich-av1`: AV1, then the weights that fit the restorer to its frames.

At low rates the group is encoded at half its size too, and the way of least cost is kept.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from aehub.bitstream import FileHeader, GroupHeader
from aehub.codecs.base import CodedFrame, MiniGop
from aehub.codecs.sandwich import av1, mixing, obu
from aehub.codecs.sandwich.grain import level_of
from aehub.codecs.sandwich.group_decoder import half_size, part_of, shown_frames
from aehub.codecs.sandwich.network import FOLD, SandwichNetwork
from aehub.codecs.sandwich.restoration import Restoration
from aehub.codecs.sandwich.settings import (
    HALVED_CRF_OFFSET,
    LEAST_HALVED_CRF,
    LEAST_HALVED_SIDE,
    LEAST_SAMPLED,
    LOG_RATE_PER_DB,
    SAMPLED_SHARE,
    crf_of,
    preset_of,
)
from aehub.codecs.sandwich.side_information import SideInformation, coded_bytes
from aehub.media.metrics import psnr_of_mse, weighted_psnr
from aehub.media.picture import Picture
from aehub.media.scaling import halve
from aehub.schedule import Task, run_tasks


@dataclass(frozen=True)
class _Coded:
    """A group as AV1 codes it, with the weights that fit.

    Attributes:
        side: side information.
        units: of the stream.
        cost: log of the rate, less what the PSNR is worth.
    """

    side: SideInformation
    units: list[obu.TemporalUnit]
    cost: float


class GroupEncoder:
    """Encoder of one group.

    Args:
        network: on its device and of its type.
        header: of the file.
        measure: also give back the pictures as decoded.
        effort: 0 to 9.
        grain: if there is film grain, take it out and have the decoder synthesise it.
    """

    def __init__(self, network: SandwichNetwork, header: FileHeader, *, measure: bool, effort: int,
                 grain: bool = False) -> None:
        self._network, self._header, self._measure = network, header, measure
        self._wants_grain, self._size = grain, (header.width, header.height)
        self._grain = 0
        self._crf, self._preset = crf_of(header.quality / 100), preset_of(effort)
        self._encoder: av1.Av1Encoder | None = None
        self._originals: list[Picture] = []
        self._parts: list[bytes] = []
        self._payload = b""

    def add(self, mini_gop: MiniGop) -> Iterator[CodedFrame | None]:
        """Encode frames; SVT-AV1 looks ahead, so they are all yielded when the group ends."""
        for frame in mini_gop.frames:
            if self._encoder is None:
                self._grain = level_of(frame.picture) if self._wants_grain else 0
                self._encoder = self._open(self._size, self._crf)
            self._originals.append(frame.picture)
            self._parts.append(self._encoder.add(frame.picture))
            yield None
        if mini_gop.ends_group:
            yield from self._end()

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return header and payload."""
        return GroupHeader(len(self._originals), self._header.quality, atomic=True), self._payload

    def _open(self, size: tuple[int, int], crf: float) -> av1.Av1Encoder:
        return av1.Av1Encoder(size, self._header.fps, crf, self._preset, grain=self._grain,
                              full_range=self._header.colour.full_range)

    def _end(self) -> Iterator[CodedFrame | None]:
        assert self._encoder is not None
        stream = b"".join([*self._parts, self._encoder.finish()])
        coded = yield from self._fit(stream, halved=False)
        if (self._crf >= LEAST_HALVED_CRF and min(self._size) >= LEAST_HALVED_SIDE
                and not self._grain):
            stream = yield from self._halved_stream()
            halved = yield from self._fit(stream, halved=True)
            coded = min(coded, halved, key=lambda one: one.cost)
        side = coded.side.pack()
        self._payload = side + b"".join(unit.data for unit in coded.units)
        sizes = [len(unit.data) for unit in coded.units]
        sizes[0] += len(side)
        for number, picture in self._shown(coded):
            yield CodedFrame(number, sizes[number], picture)

    def _halved_stream(self) -> Generator[None, None, bytes]:
        size = half_size(self._size)
        encoder = self._open(size, self._crf - HALVED_CRF_OFFSET)
        parts = []
        for picture in self._originals:
            parts.append(encoder.add(halve(av1.padded(picture, (2 * size[0], 2 * size[1])))))
            yield None
        return b"".join([*parts, encoder.finish()])

    def _shown(self, coded: _Coded) -> Iterator[tuple[int, Picture | None]]:
        """Frames as decoders show them, if they are asked for."""
        if not self._measure:
            yield from ((number, None) for number in range(len(coded.units)))
            return
        yield from shown_frames(self._network, self._size, coded.side, coded.units,
                                range(len(coded.units)))

    def _fit(self, stream: bytes, *, halved: bool) -> Generator[None, None, _Coded]:
        """Weights of least cost; yields None after each frame that they are solved on."""
        units = list(obu.temporal_units(stream))
        network = part_of(self._network, halved)
        decoded = list(av1.decode(units, half_size(self._size) if halved else self._size))
        restoration = Restoration(network, self._size, decoded.__getitem__,
                                  [unit.base_q_idx for unit in units])
        statistics = mixing.Statistics(network.candidates)
        tasks = (Task(partial(self._statistics, restoration, n), yields=True)
                 for n in _sampled(len(units)))
        for one in run_tasks(tasks, 4):
            statistics.join(one)
            yield None
        weights, cost = _best_weights(statistics, len(stream))
        return _Coded(SideInformation(weights, halved, bool(self._grain)), units, cost)

    def _statistics(self, restoration: Restoration, number: int) -> mixing.Statistics:
        """Of one frame."""
        folded, corrections = restoration.corrections(number)
        height, width = (FOLD * n for n in folded.shape[1:])
        statistics = mixing.Statistics(len(corrections))
        statistics.add(folded, corrections, mixing.fold(self._originals[number], height, width))
        return statistics


def _sampled(n_frames: int) -> range:
    """Frames that weights are solved on: an odd distance meets all temporal layers."""
    distance = min(n_frames // LEAST_SAMPLED, SAMPLED_SHARE)
    return range(0, n_frames, max(1, distance - 1 + distance % 2))


def _best_weights(statistics: mixing.Statistics, n_bytes: int) -> tuple[np.ndarray | None, float]:
    """Weights of least cost, None for AV1 itself, and the cost.

    Args:
        statistics: of the sampled frames.
        n_bytes: of the stream of AV1.
    """
    def cost(weights: np.ndarray | None, n_side: int) -> float:
        planes = [psnr_of_mse(error / n) for error, n in
                  zip(statistics.errors(weights), statistics.samples, strict=True)]
        return math.log(n_bytes + n_side) - LOG_RATE_PER_DB * weighted_psnr(planes)

    solved = [statistics.solve(n, k) for n in mixing.N_CLASSES
              for k in range(1, statistics.candidates + 1)]
    costs = [(cost(None, 0), None), *((cost(w, coded_bytes(w)), w) for w in solved)]
    best, weights = min(costs, key=lambda one: one[0])
    return weights, best
