"""Latents as bits: prediction, contexts and adaptive tables, all in integers.

A latent frame [C, h, w] is coded in scan passes, all channels of a pass together. A code is
predicted from the code at its place in the latent frame before, and from adjacent codes, by what
these differ from their own such prediction; the weights of a channel are written with the frame.
The table of a residual goes by the magnitude to expect: from residuals beside it, from those at its
place in the frame before, and from all channels there.

    group:  frames of a segment, number of the step of each channel
    frame:  weights | in each pass: magnitudes, signs, excess of large magnitudes

Source: context modelling as in M. Weinberger et al. 2000 (LOCO-I), in the scan passes of
`aehub.coding.scan_order`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aehub.coding.adaptive_tables import (
    INCREMENT,
    MIN_COUNT,
    AdaptiveTables,
    read_uniform,
    write_uniform,
)
from aehub.coding.range_coder import range_decoder, range_encoder, stream_of
from aehub.coding.scan_order import ScanPass, scan_passes
from aehub.coding.symbol_coder import SymbolCoder, SymbolReader, SymbolWriter, Tables

N_STEPS = 256
"""Quantiser steps: number n is 2^((n - 128) / 16) standard deviations."""
MAX_SEGMENT = 1 << 12
"""Frames of a segment are fewer than this."""
MAX_CODE = 1 << 20
"""Largest magnitude of a code."""
_COARSEST = 2.0
"""Step at quality 0; it halves every 16 of quality."""
# Magnitudes with a symbol of their own; the next one is the escape.
_ESCAPE = 15
_MAX_EXCESS_BITS = 21
# Weights of predictions are eighths.
_WEIGHTS = 9
# Fixed point of mean magnitudes.
_ONE = 64
# Expected magnitude from which each table is used, in 64ths: 2.5 tables an octave.
_THRESHOLDS = np.array([2, 3, 4, 6, 8, 10, 13, 18, 23, 31, 41, 53, 70, 93, 123, 162, 213, 281, 371,
                        490, 646, 853, 1125, 1485, 1959, 2585, 3411, 4501, 5940, 7838])
# Shares of what a magnitude is expected from: the mean of the channel, residuals beside it, all
# channels there; then, in the frame before, its place, the four around it, all channels there.
# Chosen on latents of training clips by TAEF2, as are the dead zones.
_MEAN, _BESIDE, _ALL_BESIDE, _BEFORE, _AROUND_BEFORE, _ALL_BEFORE = 4, 4, 16, 2, 2, 2
# Distance of thresholds from the middle of two magnitudes, in steps: of 1, and of larger ones.
_DEAD_ZONE, _LATER_DEAD_ZONE = 0.25, 0.15
# Codes of a channel after which the older half of its mean is forgotten.
_MEMORY = 4096


def step_numbers(quality: float, sensitivity: np.ndarray) -> np.ndarray:
    """Numbers of the steps of all channels, int32 [C].

    Args:
        quality: 0..100.
        sensitivity: squared error of the picture by that of a latent, of each channel: [C],
            relative to each other. Steps are inverse to its root, at most 4 times the mean one.
    """
    share = np.sqrt(sensitivity.mean() / np.maximum(sensitivity, sensitivity.mean() / 16))
    steps = _COARSEST * 2 ** (-quality / 16) * share
    numbers = 128 + 16 * np.log2(steps)
    return np.rint(numbers).clip(0, N_STEPS - 1).astype(np.int32)


def steps_of(numbers: np.ndarray) -> np.ndarray:
    """Steps of these numbers in standard deviations: float32 [C]."""
    return np.exp2((numbers - 128) / 16).astype(np.float32)


def initial_tables() -> Tables:
    """Tables at the beginning of a group, by their names in docs/format.md."""
    middles = [1, *((low + high) // 2 for low, high in zip(_THRESHOLDS, _THRESHOLDS[1:])),
               int(_THRESHOLDS[-1])]
    # Geometric: 16 occurrences, in exact integers.
    magnitudes = [[16 * INCREMENT * _ONE * int(m) ** n // (_ONE + int(m)) ** (n + 1)
                   for n in range(_ESCAPE)] + [MIN_COUNT] for m in middles]
    weights = np.full((_WEIGHTS, _WEIGHTS), INCREMENT // 2) + 8 * INCREMENT * np.eye(_WEIGHTS)
    excess = [8 * INCREMENT >> n for n in range(1, _MAX_EXCESS_BITS + 1)]
    return {name: AdaptiveTables(np.maximum(np.array(counts, np.int64), MIN_COUNT))
            for name, counts in (("magnitude", magnitudes), ("weight", weights),
                                 ("excess", [excess]))}


class LatentFrameCoder:
    """Coding loop of the latent frames of a group, for any symbol coder.

    Args:
        coder: writes, reads or counts.
        channels: C.
    """

    def __init__(self, coder: SymbolCoder, channels: int) -> None:
        self._coder, self._channels = coder, channels
        self._codes = self._residuals = np.zeros((channels, 0), np.int32)
        self._weights = np.zeros((2, channels), np.uint8)
        # Sums of magnitudes and their numbers, for the mean of each channel.
        self._sums, self._counts = np.full((2, channels), 8, np.int64)

    def code(self, to_write: np.ndarray | None, height: int, width: int) -> np.ndarray:
        """Code a latent frame.

        Args:
            to_write: latents in steps, [C, h, w]; None where they are read.
            height: h.
            width: w.

        Returns:
            The codes, int32 [C, h, w].

        Raises:
            ValueError: a magnitude exceeds `MAX_CODE`.
        """
        size = self._channels, height * width
        values = None if to_write is None else to_write.reshape(size)
        if values is not None and np.abs(values).max(initial=0) > MAX_CODE:
            raise ValueError(f"a latent exceeds {MAX_CODE} steps")
        has_before = self._codes.shape == size
        before = self._codes if has_before else np.zeros(size, np.int32)
        passes = scan_passes(height, width)
        wanted = None if values is None else _fit_weights(values, before, passes, self._weights)
        self._weights = np.stack([
            self._coder.symbols("weight", None if wanted is None else wanted[at],
                                self._weights[at]).astype(np.uint8) for at in range(2)])
        of_before, of_beside = self._weights.astype(np.int32)[..., None]
        predicted = (of_before * before + 4) >> 3
        expected = self._expected_before(height, width) if has_before else None
        differences, residuals = np.zeros(size, np.int32), np.zeros(size, np.int32)
        for scan_pass in passes:
            cells = scan_pass.cells
            beside = np.zeros((self._channels, len(cells)), np.int32)
            if scan_pass.n_known[0]:
                adjacent = differences[:, scan_pass.adjacent_filled].sum(1)
                beside = (of_beside * adjacent + 16) >> 5
            base = predicted[:, cells] + beside
            tables = self._tables(scan_pass, residuals, expected)
            target = None if values is None else _quantised(values[:, cells] - base)
            coded = self._code_residuals(target, tables).reshape(base.shape)
            residuals[:, cells], differences[:, cells] = np.abs(coded), beside + coded
            self._count(residuals[:, cells])
        self._codes, self._residuals = predicted + differences, residuals
        if np.abs(self._codes).max(initial=0) > MAX_CODE:
            raise ValueError(f"a code exceeds {MAX_CODE}")
        return self._codes.reshape(-1, height, width)

    def _tables(self, scan_pass: ScanPass, residuals: np.ndarray,
                before: tuple[np.ndarray, int] | None) -> np.ndarray:
        """Table of each residual of a pass, uint8 [C k], by the magnitude to expect."""
        mean = (_ONE * self._sums // self._counts)[:, None]
        expected, shares = _MEAN * mean, _MEAN
        if scan_pass.n_known[0]:
            beside = residuals[:, scan_pass.adjacent_filled].sum(1, dtype=np.int64)
            activity = 16 * _ONE * beside.sum(0) // np.maximum(1, 4 * mean.sum())
            expected = (expected + _BESIDE * _ONE // 4 * beside
                        + _ALL_BESIDE * (activity * mean >> 4))
            shares += _BESIDE + _ALL_BESIDE
        if before is not None:
            expected, shares = expected + before[0][:, scan_pass.cells], shares + before[1]
        expected = np.broadcast_to(expected, (self._channels, len(scan_pass.cells)))
        return np.searchsorted(_THRESHOLDS, expected.ravel() // shares, "right").astype(np.uint8)

    def _expected_before(self, height: int, width: int) -> tuple[np.ndarray, int]:
        """Magnitude to expect by the residuals of the frame before, [C, h w], and its share."""
        here = self._residuals.astype(np.int64)
        framed = np.pad(here.reshape(-1, height, width), ((0, 0), (1, 1), (1, 1)), "edge")
        around = (framed[:, :-2, 1:-1] + framed[:, 2:, 1:-1] + framed[:, 1:-1, :-2]
                  + framed[:, 1:-1, 2:]).reshape(here.shape)
        mean = (_ONE * self._sums // self._counts)[:, None]
        activity = (16 * _ONE * ((4 * here + around) // 8).sum(0)) // np.maximum(1, mean.sum())
        expected = (_BEFORE * _ONE * here + _AROUND_BEFORE * _ONE // 4 * around
                    + _ALL_BEFORE * (activity * mean >> 4))
        return expected, _BEFORE + _AROUND_BEFORE + _ALL_BEFORE

    def _count(self, magnitudes: np.ndarray) -> None:
        """Let the means of channels follow the magnitudes [C, k] of a pass."""
        self._sums += magnitudes.sum(1)
        self._counts += magnitudes.shape[1]
        full = self._counts > _MEMORY
        self._sums[full] >>= 1
        self._counts[full] >>= 1

    def _code_residuals(self, to_write: np.ndarray | None, tables: np.ndarray) -> np.ndarray:
        """Code residuals int32 [n] by their tables."""
        def of(make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
            return None if to_write is None else make(to_write.ravel()).astype(np.int32)

        coded = self._coder.symbols(
            "magnitude", of(lambda values: np.abs(values).clip(max=_ESCAPE)), tables).copy()
        large, some = (coded == _ESCAPE).nonzero()[0], coded.nonzero()[0]
        if len(some):
            signs = self._coder.uniform(of(lambda values: values[some] < 0), len(some), 2)
        if len(large):
            # Excess from 1 on: its number of bits, then those below the first.
            bits = self._coder.symbols(
                "excess", of(lambda values: _bit_length(_excess(values[large])) - 1),
                np.zeros(len(large), np.uint8))
            excess, longer = (1 << bits).astype(np.int32), bits.nonzero()[0]
            if len(longer):
                sizes = excess[longer]
                excess[longer] += self._coder.uniform(
                    of(lambda values: _excess(values[large[longer]]) - sizes), len(longer), sizes)
            coded[large] = _ESCAPE - 1 + excess
        if len(some):
            coded[some] *= 1 - 2 * signs
        return coded


def _excess(values: np.ndarray) -> np.ndarray:
    return np.abs(values) - (_ESCAPE - 1)


def _bit_length(values: np.ndarray) -> np.ndarray:
    """Bits of positive integers up to 2^24, exact in float64."""
    return np.frexp(values.astype(np.float64))[1]


def _quantised(values: np.ndarray) -> np.ndarray:
    """Residuals in steps -> integers, with a dead zone: int32 of the same shape."""
    magnitude = np.abs(values)
    offset = 0.5 - np.where(magnitude < 1.5, _DEAD_ZONE, _LATER_DEAD_ZONE)
    return (np.sign(values) * np.floor(magnitude + offset)).astype(np.int32)


def _fit_weights(values: np.ndarray, before: np.ndarray, passes: tuple[ScanPass, ...],
                 last: np.ndarray) -> np.ndarray:
    """Weights of both predictions by least squares, int32 [2, C]; those of the frame before where
    they differ by an eighth at most, which costs least."""
    fitted = np.zeros(last.shape)
    noise = 1 / 12  # Of quantisation, in the codes that predict.
    fitted[0] = (values * before).sum(1) / ((before ** 2).sum(1) + noise * values.shape[1])
    fitted[0] = _kept(fitted[0], last[0])
    differences = values - fitted[0][:, None] / 8 * before
    product, square = np.zeros((2, len(values)))
    for scan_pass in passes[-2:]:
        if scan_pass.n_known[0]:
            mean = differences[:, scan_pass.adjacent_filled].mean(1)
            product += (mean * differences[:, scan_pass.cells]).sum(1)
            square += (mean ** 2).sum(1) + noise / 4 * mean.shape[1]
    fitted[1] = _kept(product / np.maximum(square, 1e-9), last[1])
    return fitted.astype(np.int32)


def _kept(weights: np.ndarray, last: np.ndarray) -> np.ndarray:
    eighths = np.rint(8 * weights).clip(0, _WEIGHTS - 1)
    return np.where(np.abs(eighths - last) <= 1, last, eighths)


class LatentFrameWriter:
    """Writer of the latent frames of a group.

    Args:
        channels: of the latents.
    """

    def __init__(self, channels: int) -> None:
        self._coder = range_encoder()
        self._frames = LatentFrameCoder(SymbolWriter(self._coder, initial_tables()), channels)

    @property
    def words(self) -> int:
        """Length of the stream if it ended here, in words of 32 bits."""
        return int(self._coder.num_words())

    def write_head(self, segment: int, numbers: np.ndarray) -> None:
        """Write the frames of a segment and the numbers of the steps, int32 [C]."""
        write_uniform(self._coder, np.array([segment], np.int32), MAX_SEGMENT)
        write_uniform(self._coder, numbers, N_STEPS)

    def write(self, values: np.ndarray) -> np.ndarray:
        """Quantise and write latents in steps, [C, h, w]; returns the codes, int32 [C, h, w].

        Raises:
            ValueError: a magnitude exceeds `MAX_CODE`.
        """
        return self._frames.code(values, *values.shape[1:])

    def finish(self) -> bytes:
        """Return the stream."""
        return stream_of(self._coder)


class LatentFrameReader:
    """Reader of what `LatentFrameWriter` wrote.

    Args:
        channels: of the latents.
        stream: the bytes.

    Raises:
        ValueError: they are no stream.
    """

    def __init__(self, channels: int, stream: bytes) -> None:
        self._coder, self._channels = range_decoder(stream, loops=True), channels
        self._frames = LatentFrameCoder(SymbolReader(self._coder, initial_tables()), channels)

    def read_head(self) -> tuple[int, np.ndarray]:
        """Read the frames of a segment and the numbers of the steps, int32 [C]."""
        segment = int(read_uniform(self._coder, 1, MAX_SEGMENT)[0])
        return segment, read_uniform(self._coder, self._channels, N_STEPS)

    def read(self, height: int, width: int) -> np.ndarray:
        """Read the codes of a latent frame, int32 [C, h, w].

        Raises:
            ValueError: the stream is damaged.
            AssertionError: likewise.
        """
        return self._frames.code(None, height, width)
