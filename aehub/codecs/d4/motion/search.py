"""Motion estimation in the encoder: block search with rate-distortion cost.

For every 16x16 block of luma: coarse search at quarter resolution; choice among candidates (coarse
vector and its median, hints, phase correlation, vectors of adjacent blocks); search of whole
samples around it; half and quarter samples. Every step adds the cost of a vector's bits to the sum
of absolute differences (SAD). It runs on the CPU, in compiled loops (`kernels`). No block gets four
vectors, though the format allows them: on training clips they cost 0.7 % of the rate since vectors
are refined at length (`rdo`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from aehub.codecs.block_matching import BLOCK, COARSE_SCALE, coarse, coarse_search
from aehub.codecs.d4.motion import kernels
from aehub.codecs.d4.motion.compensate import PRECISION, filter_taps
from aehub.codecs.d4.settings import SETTINGS, EncoderSettings
from aehub.compiled import compiled

# log2(1 + n) of every component of a vector difference.
_LOG2 = np.log2(1 + np.arange(1 << 14)).astype(np.float32)


class LumaPlane:
    """A luma plane as motion estimation uses it.

    Args:
        luma: float32 [H, W], sides multiples of 32, grey levels.
    """

    def __init__(self, luma: np.ndarray) -> None:
        self.luma = luma
        self.coarse_luma = coarse(luma)

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of 16x16 blocks."""
        return self.luma.shape[0] // BLOCK, self.luma.shape[1] // BLOCK

    @cached_property
    def spectrum(self) -> np.ndarray:
        """Fourier transform of `luma` less its 3x3 mean: flat areas carry no motion."""
        detail = np.empty_like(self.luma)
        _subtract_mean(self.luma, detail)
        return torch.fft.rfft2(torch.from_numpy(detail)).numpy()


@compiled
def _subtract_mean(luma: np.ndarray, detail: np.ndarray) -> None:
    """Set `detail` to a plane less its 3x3 mean."""
    height, width = luma.shape
    one = np.uintp(1)
    line, factor, last = np.empty(width, np.float32), np.float32(1 / 9), np.uintp(width - 1)
    for row in range(height):
        above, here = np.uintp(max(row - 1, 0)), np.uintp(row)
        below = np.uintp(min(row + 1, height - 1))
        for x in range(np.uintp(width)):
            line[x] = luma[above, x] + luma[here, x] + luma[below, x]
        for x in range(one, last):
            detail[here, x] = luma[here, x] - factor * (line[x - one] + line[x] + line[x + one])
        detail[here, 0] = luma[here, 0] - factor * (line[0] + line[0] + line[1])
        detail[here, last] = luma[here, last] - factor * (line[last - one] + 2 * line[last])


@compiled
def _cross_phases(reference: np.ndarray, current: np.ndarray, phases: np.ndarray) -> None:
    """Set `phases` to the cross spectrum of two pictures with magnitudes of 1."""
    least = np.float32(1e-6)
    for y in range(phases.shape[0]):
        for x in range(phases.shape[1]):
            a, b, c, d = (reference[y, x].real, reference[y, x].imag, current[y, x].real,
                          current[y, x].imag)
            real, imag = a * c + b * d, b * c - a * d
            factor = np.float32(1) / np.sqrt(max(real * real + imag * imag, least))
            phases[y, x] = complex(real * factor, imag * factor)


def global_motion(current: LumaPlane, reference: LumaPlane, longest: int) -> tuple[int, int]:
    """The vector of least difference for the whole picture, in samples, up to `longest`."""
    here, there = (_mean_blocks(plane.coarse_luma) for plane in (current, reference))
    radius = min(longest // COARSE_SCALE**2, min(here.shape) // 2)
    cost = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    _add_differences(here, np.pad(there, radius, "edge"), cost)
    # Zero is the usual case; noise must not beat it.
    cost[radius, radius] *= 0.98
    down, right = divmod(int(cost.argmin()), cost.shape[1])
    return (down - radius) * COARSE_SCALE**2, (right - radius) * COARSE_SCALE**2


@compiled
def _add_differences(here: np.ndarray, there: np.ndarray, cost: np.ndarray) -> None:
    """Add to cost [2 r + 1, 2 r + 1] the absolute differences from each shift of a padded plane."""
    for down in range(cost.shape[0]):
        for right in range(cost.shape[1]):
            total, a, b = np.float32(0), np.uintp(down), np.uintp(right)
            for y in range(np.uintp(here.shape[0])):
                for x in range(np.uintp(here.shape[1])):
                    total += abs(there[a + y, b + x] - here[y, x])
            cost[down, right] += total


def _mean_blocks(small: np.ndarray) -> np.ndarray:
    height, width = (n // COARSE_SCALE for n in small.shape)
    return small.reshape(height, COARSE_SCALE, width, COARSE_SCALE).mean((1, 3))


def phase_correlation(current: LumaPlane, reference: LumaPlane, count: int,
                      settings: EncoderSettings) -> list[tuple[int, int]]:
    """Whole-sample vectors (down, right) of the `count` largest peaks of phase correlation, but
    zero.

    Exact where text scrolls, where search at quarter resolution takes one line for another.

    Source: Kuglin and Hines 1975, "The phase correlation image alignment method".
    """
    height, width = current.luma.shape
    phases = np.empty_like(current.spectrum)
    _cross_phases(reference.spectrum, current.spectrum, phases)
    peaks = torch.fft.irfft2(torch.from_numpy(phases), (height, width)).flatten()
    peaks[0] = -math.inf
    found = []
    for place in peaks.topk(count).indices.tolist():
        y, x = divmod(place, width)
        # The transform is periodic: a peak stands for up to four vectors.
        vectors = [(down, right) for down in (y, y - height) for right in (x, x - width)
                   if max(abs(down), abs(right)) <= settings.longest_shift
                   and ((1 - abs(down) / height) * (1 - abs(right) / width)
                        >= settings.least_overlap)]
        if vectors:
            found.append(min(vectors, key=lambda m: _difference(current.luma, reference.luma, *m)))
    return found


def _difference(current: np.ndarray, reference: np.ndarray, down: int, right: int) -> float:
    """Mean absolute difference where a picture and the shifted reference overlap, in every fourth
    row."""
    height, width = current.shape
    here = current[max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]
    there = reference[max(0, down):height + min(0, down), max(0, right):width + min(0, right)]
    return float(np.abs(here[::4] - there[::4]).mean())


def _translated(small: np.ndarray, down: int, right: int) -> np.ndarray:
    """A coarse plane shifted by a vector in its samples, its border repeated."""
    height, width = small.shape
    rows, columns = (np.clip(np.arange(n) + shift, 0, n - 1)
                     for n, shift in ((height, down), (width, right)))
    return small[rows][:, columns]


@dataclass
class SearchResult:
    """Vectors in quarter samples (down, right) and costs of all blocks.

    Attributes:
        vectors: int64 [2, H/16, W/16].
        cost: SAD of each block plus lambda times the bits of its vector, [H/16, W/16].
        sad: of each block alone.
    """

    vectors: np.ndarray
    cost: np.ndarray
    sad: np.ndarray

    @property
    def sub_block_vectors(self) -> np.ndarray:
        """Vectors of 8x8 blocks, as `Motion` has them: int16 [2, H/8, W/8]."""
        return self.vectors.astype(np.int16).repeat(2, 1).repeat(2, 2)

    @classmethod
    def empty(cls, h: int, w: int) -> SearchResult:
        """A result to be filled."""
        return cls(np.zeros((2, h, w), np.int64), np.zeros((h, w), np.float32),
                   np.zeros((h, w), np.float32))


def search(current: LumaPlane, reference: LumaPlane, *, lambda_: float | np.ndarray,
           search_range: int, hints: list[np.ndarray], peaks: int = SETTINGS.peaks,
           settings: EncoderSettings = SETTINGS) -> SearchResult:
    """Estimate the motion of all blocks.

    Args:
        current: the picture to predict.
        reference: the decoded picture to predict it from.
        lambda_: SAD per bit, everywhere or [H/16, W/16].
        search_range: of the coarse search, in samples.
        hints: further candidates, int64 [2, H/16, W/16]; the first is the temporal predictor.
        peaks: of phase correlation to try.
        settings: what is looked for, and how far.
    """
    shape = current.blocks
    lambda_ = np.ascontiguousarray(np.broadcast_to(lambda_, shape), np.float32)
    rough, _ = coarse_search(current.coarse_luma, reference.coarse_luma, lambda_, search_range)
    zero = np.zeros_like(rough)
    predictor = np.ascontiguousarray(hints[0]) if hints else zero
    fine = [*hints, zero, rough * PRECISION, _median(rough) * PRECISION]
    down, right = (global_motion(current, reference, settings.longest_pan)
                   if settings.longest_pan else (0, 0))
    if max(abs(down), abs(right)) > search_range // 2:
        moved = _translated(reference.coarse_luma, down // COARSE_SCALE, right // COARSE_SCALE)
        around, _ = coarse_search(current.coarse_luma, moved, lambda_, search_range)
        shift = np.array([down, right])[:, None, None]
        fine += [(around + shift) * PRECISION, (_median(around) + shift) * PRECISION]
    candidates = [(c + PRECISION // 2) // PRECISION for c in fine]
    if peaks:
        candidates += [np.broadcast_to(np.array(v)[:, None, None], zero.shape)
                       for v in phase_correlation(current, reference, peaks, settings)]
    best = _best_candidate(current, reference, candidates, lambda_, predictor)
    best = _best_candidate(current, reference, [best, *_adjacent(best)], lambda_, predictor)
    result = SearchResult.empty(*shape)
    predictions = np.stack([predictor, _median(best * PRECISION), zero])
    kernels.run_parts(
        kernels.refine_blocks, shape[0], current.luma, reference.luma, best,
        settings.skip_bits, settings.integer_range, np.array(settings.fractions, np.int64),
        lambda_, predictions, filter_taps(False), _LOG2, result.vectors,
        result.cost, result.sad)
    return result


def _best_candidate(current: LumaPlane, reference: LumaPlane, candidates: list[np.ndarray],
                    lambda_: np.ndarray, predictor: np.ndarray) -> np.ndarray:
    """The candidate of least cost for each block, [2, H/16, W/16]."""
    chosen = np.zeros_like(candidates[0])
    kernels.run_parts(kernels.choose_candidates, len(lambda_), current.luma, reference.luma,
                      np.stack(candidates), lambda_, predictor, _LOG2, chosen)
    return chosen


def _median(field: np.ndarray) -> np.ndarray:
    """Median of each component over 3x3 blocks."""
    medians = np.empty_like(field)
    _median_of_nine(np.pad(field, ((0, 0), (1, 1), (1, 1)), "edge"), medians)
    return medians


@compiled
def _median_of_nine(padded: np.ndarray, medians: np.ndarray) -> None:
    near = np.empty(9, padded.dtype)
    for c in range(medians.shape[0]):
        for i in range(medians.shape[1]):
            for j in range(medians.shape[2]):
                for k in range(9):
                    # Insertion sort.
                    value, at = padded[c, i + k // 3, j + k % 3], k
                    while at > 0 and near[at - 1] > value:
                        near[at] = near[at - 1]
                        at -= 1
                    near[at] = value
                medians[c, i, j] = near[4]


def _adjacent(field: np.ndarray) -> list[np.ndarray]:
    """The field shifted by one block to each side."""
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)), "edge")
    h, w = field.shape[1:]
    return [padded[:, y:y + h, x:x + w] for y, x in ((0, 1), (2, 1), (1, 0), (1, 2))]
