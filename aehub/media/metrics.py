"""Quality and rate metrics: PSNR, MS-SSIM, and the Bjøntegaard rate difference.

All work on the source's own planes, so no colour conversion affects a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from aehub.errors import InputError
from aehub.media.picture import YUV420, Picture, PictureFormat

MAX_DB = 100.0
"""Quality of identical pictures: infinity cannot be averaged, plotted or written as JSON."""

MS_SSIM_SHORT_SIDE = 176
"""Smallest side of a picture, in luma samples, whose fifth scale still holds one 11x11 window."""

# Weights of MS-SSIM's scales, the finest first; taps of SSIM's Gaussian window, sigma 1.5.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS = [math.exp(-(k**2) / (2 * 1.5**2)) for k in range(-5, 6)]
_TAPS = [tap / sum(_TAPS) for tap in _TAPS]
# Rows of windows computed at a time.
_STRIP_ROWS = 64
# Stabilising constants of SSIM for samples scaled to 8 bits.
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class Distortion:
    """Distortion of a decoded clip, accumulated frame by frame.

    Args:
        with_ms_ssim: also measure MS-SSIM, which takes ten times as long as PSNR.
    """

    def __init__(self, *, with_ms_ssim: bool = True) -> None:
        self._with_ms_ssim = with_ms_ssim
        self._mses: list[list[float]] = []
        self._format = YUV420
        self._ms_ssims: list[float | None] = []

    def add(self, reference: Picture, decoded: Picture) -> None:
        """Add one frame; all frames of a clip have one size and one format.

        Raises:
            InputError: the two pictures differ in size or format.
        """
        if reference.format != decoded.format:
            raise InputError(f"a picture of {decoded.format} cannot be measured against one of "
                             f"{reference.format}; convert one of them.")
        if any(a.shape != b.shape for a, b in zip(reference, decoded, strict=True)):
            raise InputError(
                "a {}x{} picture cannot be measured against one of {}x{}; decode without scaling "
                "or cropping.".format(*decoded.size, *reference.size)
            )
        self._format = reference.format
        self._mses.append([_mse(a, b) for a, b in zip(reference, decoded, strict=True)])
        self._ms_ssims.append(
            ms_ssim(reference[0], decoded[0], self._format) if self._with_ms_ssim else None)

    def extend(self, later: Distortion) -> None:
        """Add the frames of another part of the clip, which was measured in the same way."""
        self._format = later._format
        self._mses += later._mses
        self._ms_ssims += later._ms_ssims

    @property
    def n_frames(self) -> int:
        """Number of frames added."""
        return len(self._mses)

    @property
    def psnr_planes(self) -> tuple[float, ...]:
        """PSNR of each plane in dB from the mean squared error over the clip, at most 100."""
        self._refuse_empty()
        columns = zip(*self._mses, strict=True)
        return tuple(psnr_of_mse(sum(column) / self.n_frames, self._format.peak)
                     for column in columns)

    @property
    def psnr(self) -> float:
        """(6Y + U + V) / 8 of `psnr_planes` in dB; the mean of planes that are not Y, U and V."""
        return weighted_psnr(self.psnr_planes, self._format)

    @property
    def ms_ssim(self) -> float | None:
        """Mean MS-SSIM of the first plane over the frames; None below 176 samples on a side."""
        self._refuse_empty()
        values = [value for value in self._ms_ssims if value is not None]
        return sum(values) / len(values) if values else None

    @property
    def frame_psnrs(self) -> list[float]:
        """`psnr` of each frame, for plots over time."""
        peak = self._format.peak
        return [weighted_psnr([psnr_of_mse(mse, peak) for mse in mses], self._format)
                for mses in self._mses]

    def _refuse_empty(self) -> None:
        if not self._mses:
            raise InputError("nothing was measured: the clip has no frames; give at least one.")


def psnr_of_mse(mse: float, peak: int = YUV420.peak) -> float:
    """PSNR in dB of a mean squared error of samples with this peak, at most `MAX_DB`."""
    return MAX_DB if mse <= 0 else min(MAX_DB, 10 * math.log10(peak**2 / mse))


def ms_ssim_db(value: float) -> float:
    """-10 log10(1 - MS-SSIM), which spreads the useful values over a scale like dB, at most 100."""
    return MAX_DB if value >= 1 else min(MAX_DB, -10 * math.log10(1 - value))


def ms_ssim(reference: np.ndarray, decoded: np.ndarray, format: PictureFormat = YUV420
            ) -> float | None:
    """Multi-scale structural similarity of two luma planes.

    Five scales, an 11x11 Gaussian window of sigma 1.5 where it fits wholly, 2x2 means between
    scales (an odd last row or column is left out), negative similarities taken as 0.

    Args:
        reference: [H, W], of the type of the format.
        decoded: the same shape.
        format: of the samples, whose range is scaled to that of 8 bits.

    Returns:
        At most 1 (identical); None where the short side is below 176 samples.

    Source: Wang, Simoncelli and Bovik, Asilomar 2003.
    """
    if min(reference.shape) < MS_SSIM_SHORT_SIDE:
        return None
    lowest, scale = np.float32(format.lowest), np.float32(YUV420.peak / format.peak)
    pair = ((plane.astype(np.float32) - lowest) * scale - 128 for plane in (reference, decoded))
    return math.prod(max(float(similarity), 0.0) ** weight
                     for weight, similarity in scale_similarities(*pair))


def scale_similarities(a: Any, b: Any) -> Iterator[tuple[float, Any]]:
    """Yield (weight, mean similarity [...]) of each scale that holds a window, the finest first.

    Args:
        a: levels less 128, float32 [..., H, W], an array or a tensor. Variances do not change with
            an offset, and small numbers cost less of float32's mantissa.
        b: the same shape.
    """
    for number, weight in enumerate(_SCALE_WEIGHTS, 1):
        last = number == len(_SCALE_WEIGHTS) or min(a.shape[-2:]) < 22
        yield weight, _similarity(a, b, with_luminance=last)
        if last:
            return
        a, b = _halve(a), _halve(b)


class RateDifference(NamedTuple):
    """Percent more (+) or fewer (-) bits at the same quality; None with a `reason`.

    `low` and `high` bound the range of quality that both curves share.
    """

    percent: float | None
    low: float = math.nan
    high: float = math.nan
    reason: str = ""


def bd_rate(
    anchor: Iterable[tuple[float, float]], test: Iterable[tuple[float, float]]
) -> RateDifference:
    """Bjøntegaard difference of rate: the mean distance of two curves along the rate axis.

    Logarithms of the rates are interpolated over quality by monotone piecewise cubics and
    averaged over the range of quality that both curves cover.

    Args:
        anchor: (rate, quality) points in any order; rates in any one unit, above 0.
        test: the same of the curve under test.

    Returns:
        -50 if the test needs half the bits everywhere; `percent` None and a reason if a curve has
        fewer than two distinct qualities, or the ranges do not overlap.

    Source: Bjøntegaard, VCEG-M33 (2001), with the piecewise cubics of JCTVC-L1100.

    Example:
        >>> anchor = [(100, 30.0), (200, 33.0), (400, 36.0)]
        >>> round(bd_rate(anchor, [(bits / 2, psnr) for bits, psnr in anchor]).percent, 6)
        -50.0
    """
    curves = [_curve(points) for points in (anchor, test)]
    for name, (qualities, _) in zip(("anchor", "test"), curves, strict=True):
        if len(qualities) < 2:
            return RateDifference(None, reason=f"the {name} curve has fewer than two qualities")
    low = max(qualities[0] for qualities, _ in curves)
    high = min(qualities[-1] for qualities, _ in curves)
    if high <= low:
        spans = " and ".join(f"{q[0]:.2f} to {q[-1]:.2f}" for q, _ in curves)
        return RateDifference(None, reason=f"the curves share no quality: {spans}")
    means = [_integral(*curve, low, high) / (high - low) for curve in curves]
    return RateDifference(100 * math.expm1(means[1] - means[0]), float(low), float(high))


def pchip(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Monotone piecewise cubic through (x, y), evaluated at `at`.

    Args:
        x: [N] strictly increasing, N >= 2.
        y: [N].
        at: values within [x[0], x[-1]].

    Source: Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5 (1984); ends as in SLATEC PCHIM.
    """
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    d = _pchip_derivatives(h, slope)
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    t = (at - x[k]) / h[k]
    left = (1 - t) ** 2 * ((1 + 2 * t) * y[k] + t * h[k] * d[k])
    return left + t**2 * ((3 - 2 * t) * y[k + 1] - (1 - t) * h[k] * d[k + 1])


def weighted_psnr(planes: Sequence[float], format: PictureFormat = YUV420) -> float:
    """PSNR of a picture in dB from those of its planes: (6 Y + U + V) / 8, or their mean."""
    if format.is_yuv:
        return (6 * planes[0] + planes[1] + planes[2]) / 8
    return sum(planes) / len(planes)


def _mse(a: np.ndarray, b: np.ndarray) -> float:
    # Squares of 16-bit differences need more than 32 bits.
    difference = a.astype(np.int32 if a.itemsize == 1 else np.int64) - b
    return int(np.sum(difference * difference, dtype=np.int64)) / a.size


def _similarity(a: Any, b: Any, *, with_luminance: bool) -> Any:
    """Mean contrast-structure term of [..., H, W], times the luminance term if asked: [...]."""
    height, width = (size - 10 for size in a.shape[-2:])
    total = 0.0
    # Strips stay in the cache: half the time at 1080p. Gradients need few operations.
    rows = _STRIP_ROWS if isinstance(a, np.ndarray) else height
    for top in range(0, height, rows):
        strips = (maps[..., top : top + rows + 10, :] for maps in (a, b))
        total = total + _terms(*strips, with_luminance=with_luminance).sum((-2, -1))
    return total / (height * width)


def _terms(a: Any, b: Any, *, with_luminance: bool) -> Any:
    """Similarity of each window: twice [..., H, W] -> [..., H - 10, W - 10]."""
    mean_a, mean_b, mean_squares, mean_product = map(_blur, (a, b, a * a + b * b, a * b))
    squares, product = mean_a * mean_a + mean_b * mean_b, mean_a * mean_b
    terms = (2 * (mean_product - product) + _C2) / (mean_squares - squares + _C2)
    if with_luminance:
        mean_a, mean_b = mean_a + 128, mean_b + 128
        terms = terms * ((2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1))
    return terms


def _blur(maps: Any) -> Any:
    """Gaussian filter where the window fits: [..., H, W] -> [..., H - 10, W - 10].

    Sums of shifted slices: a third of the time of a torch convolution with one channel.
    """
    for axis in (-2, -1):
        spans = [slice(k, k + maps.shape[axis] - 10) for k in range(11)]
        windows = [maps[..., span, :] if axis == -2 else maps[..., span] for span in spans]
        total = _TAPS[5] * windows[5]
        for k in range(5):
            total = total + _TAPS[k] * (windows[k] + windows[10 - k])
        maps = total
    return maps


def _halve(maps: Any) -> Any:
    """Means of 2x2 samples: [..., H, W] -> [..., H // 2, W // 2]."""
    even = maps[..., : maps.shape[-2] // 2 * 2, : maps.shape[-1] // 2 * 2]
    rows = even[..., 0::2, :] + even[..., 1::2, :]
    return (rows[..., 0::2] + rows[..., 1::2]) * 0.25


def _curve(points: Iterable[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(increasing qualities, log rates), with the lowest rate of each quality."""
    lowest: dict[float, float] = {}
    for rate, quality in points:
        lowest[quality] = min(rate, lowest.get(quality, math.inf))
    qualities = sorted(lowest)
    return np.array(qualities), np.log([lowest[quality] for quality in qualities])


def _integral(x: np.ndarray, y: np.ndarray, low: float, high: float) -> float:
    """Integral of the piecewise cubic: two Gauss points a piece are exact for a cubic."""
    knots = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    middle, half = (knots[1:] + knots[:-1]) / 2, np.diff(knots) / 2
    ends = half / math.sqrt(3)
    return float(np.sum(half * (pchip(x, y, middle - ends) + pchip(x, y, middle + ends))))


def _pchip_derivatives(h: np.ndarray, slope: np.ndarray) -> np.ndarray:
    if len(h) == 1:
        return np.array([slope[0], slope[0]])
    d = np.zeros(len(h) + 1)
    for k in range(1, len(h)):
        before, after = slope[k - 1], slope[k]
        if before * after > 0:
            w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
            d[k] = (w1 + w2) / (w1 / before + w2 / after)
    d[0] = _end_derivative(h[0], h[1], slope[0], slope[1])
    d[-1] = _end_derivative(h[-1], h[-2], slope[-1], slope[-2])
    return d


def _end_derivative(h0: float, h1: float, slope0: float, slope1: float) -> float:
    """Three-point derivative at an end, limited to the sign and three times the end slope."""
    d = ((2 * h0 + h1) * slope0 - h0 * slope1) / (h0 + h1)
    if d * slope0 <= 0:
        return 0.0
    if slope0 * slope1 <= 0 and abs(d) > 3 * abs(slope0):
        return 3 * slope0
    return d
