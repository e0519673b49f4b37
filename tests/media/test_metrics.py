from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.errors import InputError
from aehub.media.metrics import MAX_DB, Distortion, bd_rate, ms_ssim, ms_ssim_db, pchip
from aehub.media.picture import Picture

ANCHOR = [(1000.0, 28.0), (2000.0, 31.5), (4100.0, 35.0), (9000.0, 39.0)]


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes with some grain, uint8 [height, width]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    wave = 60 * np.sin(x / 9 + seed) * np.cos(y / 14) + 40 * ((x // 20 + y // 20) % 2)
    return np.clip(110 + wave + rng.normal(0, 6, (height, width)), 0, 255).astype(np.uint8)


def noisy(plane: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, plane.shape)
    return np.clip(np.rint(plane + noise), 0, 255).astype(np.uint8)


def flat(y: int, u: int, v: int, width: int = 20, height: int = 10) -> Picture:
    chroma = (-(-height // 2), -(-width // 2))
    return Picture((
        np.full((height, width), y, np.uint8),
        np.full(chroma, u, np.uint8),
        np.full(chroma, v, np.uint8),
    ))


def plain_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """The paper's formula in float64 with no tricks: every window is summed by itself."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(taps, taps) / taps.sum() ** 2

    def mean(x: np.ndarray) -> np.ndarray:
        return np.einsum(
            "hwij,ij->hw", np.lib.stride_tricks.sliding_window_view(x, (11, 11)), window
        )

    a, b, product = a.astype(float), b.astype(float), 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        ma, mb = mean(a), mean(b)
        va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        term = (2 * cov + 58.5225) / (va + vb + 58.5225)
        if scale == 4:
            term = term * (2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025)
        product *= max(term.mean(), 0) ** weight
        a, b = (x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2] for x in (a, b))
        a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
    return product


def test_psnr_weighs_luma_six_to_one_to_one() -> None:
    distortion = Distortion()
    distortion.add(flat(100, 100, 100), flat(110, 101, 105))
    expected = [20 * math.log10(255 / step) for step in (10, 1, 5)]
    assert distortion.psnr_planes == pytest.approx(expected)
    assert distortion.psnr == pytest.approx((6 * expected[0] + expected[1] + expected[2]) / 8)


def test_psnr_comes_from_the_squared_error_of_the_whole_clip_not_the_mean_of_psnrs() -> None:
    distortion = Distortion()
    distortion.add(flat(100, 100, 100), flat(102, 102, 102))
    distortion.add(flat(100, 100, 100), flat(120, 120, 120))
    assert distortion.psnr == pytest.approx(10 * math.log10(255**2 / ((4 + 400) / 2)))
    assert distortion.frame_psnrs == pytest.approx([20 * math.log10(255 / d) for d in (2, 20)])


def test_differences_do_not_wrap_around_in_eight_bits() -> None:
    distortion = Distortion()
    distortion.add(flat(0, 255, 0), flat(255, 0, 255))
    assert distortion.psnr == 0


def test_identical_clips_have_a_finite_quality() -> None:
    distortion = Distortion()
    luma = picture(176, 176)
    planes = Picture((luma, luma[::2, ::2], luma[::2, ::2]))
    distortion.add(planes, planes)
    assert (distortion.psnr, distortion.ms_ssim) == (MAX_DB, pytest.approx(1))
    assert ms_ssim_db(1.0) == MAX_DB


def test_pictures_of_unlike_sizes_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="20x10.*22x10"):
        Distortion().add(flat(1, 1, 1, width=22), flat(1, 1, 1, width=20))


def test_a_clip_without_frames_has_no_quality() -> None:
    with pytest.raises(InputError, match="no frames"):
        _ = Distortion().psnr


@pytest.mark.parametrize("size", [(176, 176), (352, 288), (213, 191)])
@pytest.mark.parametrize("sigma", [2, 30])
def test_ms_ssim_equals_the_papers_formula(size: tuple[int, int], sigma: float) -> None:
    a = picture(*size)
    b = noisy(a, sigma)
    assert ms_ssim(a, b) == pytest.approx(plain_ms_ssim(a, b), abs=2e-6)


def test_ms_ssim_equals_pytorch_msssim() -> None:
    theirs = pytest.importorskip("pytorch_msssim")
    torch = pytest.importorskip("torch")
    a = picture(352, 288)
    for sigma in (1, 8, 60):
        b = noisy(a, sigma)
        tensors = [torch.from_numpy(x).float()[None, None] for x in (a, b)]
        expected = theirs.ms_ssim(*tensors, data_range=255).item()
        assert ms_ssim(a, b) == pytest.approx(expected, abs=1e-5)


def test_opposite_pictures_have_a_real_ms_ssim() -> None:
    a = picture(200, 200)
    assert ms_ssim(a, 255 - a) == 0


def test_ms_ssim_of_the_clip_is_the_mean_over_frames() -> None:
    distortion, luma = Distortion(), picture(192, 176)
    frames = []
    for sigma in (5, 25):
        chroma, worse = luma[::2, ::2], noisy(luma, sigma)
        distortion.add(Picture((luma, chroma, chroma)), Picture((worse, chroma, chroma)))
        frames.append(ms_ssim(luma, worse))
    assert distortion.ms_ssim == pytest.approx(np.mean(np.array(frames, float)))


def test_small_pictures_have_no_ms_ssim() -> None:
    a = picture(400, 175)
    assert ms_ssim(a, a) is None
    distortion = Distortion()
    distortion.add(Picture((a, a[::2, ::2], a[::2, ::2])), Picture((a, a[::2, ::2], a[::2, ::2])))
    assert distortion.ms_ssim is None


def test_ms_ssim_of_a_cif_frame_is_quick() -> None:
    a = picture(352, 288)
    b = noisy(a, 5)
    times = []
    for _ in range(5):
        start = time.process_time()
        ms_ssim(a, b)
        times.append(time.process_time() - start)
    assert min(times) < 0.05


def test_half_the_rate_everywhere_is_minus_fifty_percent() -> None:
    result = bd_rate(ANCHOR, [(bits / 2, quality) for bits, quality in ANCHOR])
    assert result.percent == pytest.approx(-50)
    assert (result.low, result.high) == (28, 39)


def test_the_order_of_points_does_not_matter() -> None:
    test = [(1500.0, 30.0), (3000.0, 33.0), (6000.0, 36.0)]
    assert bd_rate(ANCHOR[::-1], test[::-1]) == bd_rate(ANCHOR, test)


@given(st.floats(0.1, 10), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_scaled_rate_is_found_in_any_overlap(factor: float, cut: float) -> None:
    # On a straight line in log-rate the difference is the factor, wherever the curves are cut.
    line = [(100 * 2 ** (quality / 3), quality) for quality in (27.0, 30.0, 34.0, 40.0)]
    test = [(factor * 100 * 2 ** (q / 3), q) for q in (25.0 + cut, 29.0 + cut, 36.0 + cut)]
    assert bd_rate(line, test).percent == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_curves_without_common_quality_have_no_difference_but_a_reason() -> None:
    result = bd_rate(ANCHOR, [(10, 20.0), (20, 25.0)])
    assert result.percent is None
    assert "28.00 to 39.00 and 20.00 to 25.00" in result.reason


def test_a_single_point_is_no_curve() -> None:
    assert "test curve has fewer than two" in bd_rate(ANCHOR, [(1000, 30.0), (1200, 30.0)]).reason


# Rounded: scipy's own slopes overflow between values that differ by less than 1e-307.
RISES = st.floats(-3, 3).map(lambda rise: round(rise, 9))


@given(
    st.lists(st.tuples(st.floats(0.1, 5), RISES), min_size=2, max_size=8),
    st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_pchip_equals_scipys(steps: list[tuple[float, float]], where: float) -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    x, y = np.cumsum(steps, axis=0).T
    at = x[0] + where * (x[-1] - x[0])
    expected = interpolate.PchipInterpolator(x, y)(at)
    assert pchip(x, y, np.array([at]))[0] == pytest.approx(float(expected), abs=1e-9)


def test_bd_rate_equals_the_integral_of_scipys_curves() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    test = [(700.0, 27.0), (1900.0, 32.5), (3000.0, 34.0), (12000.0, 42.0)]
    areas = [
        interpolate.PchipInterpolator([q for _, q in c], np.log([r for r, _ in c])).integrate(
            28, 39
        )
        for c in (ANCHOR, test)
    ]
    expected = 100 * math.expm1((areas[1] - areas[0]) / 11)
    assert bd_rate(ANCHOR, test).percent == pytest.approx(expected)
