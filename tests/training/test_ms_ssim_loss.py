"""MS-SSIM as training minimises it is the measure that is reported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from aehub.media.metrics import ms_ssim
from aehub.training.recipes.d4_filter import ms_ssim_loss


def picture(seed: int, side: int = 192) -> np.ndarray:
    """A smooth grey picture with some noise, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / 9
    wave = 128 + 60 * np.sin(x + seed) * np.cos(y / 2) + rng.normal(0, 4, (side, side))
    return wave.clip(0, 255).astype(np.uint8)


def noisy(grey: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, deviation, grey.shape)
    return (grey + noise).clip(0, 255).astype(np.uint8)


def planes(*greys: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(greys)[:, None] / 255 - 0.5).float()


@pytest.mark.parametrize("deviation", [1.0, 8.0, 60.0])
def test_it_is_what_the_metric_says(deviation: float) -> None:
    originals = [picture(0), picture(1)]
    others = [noisy(p, deviation) for p in originals]
    expected = [ms_ssim(a, b) for a, b in zip(originals, others, strict=True)]
    got = 1 - ms_ssim_loss(planes(*originals), planes(*others))
    assert got.tolist() == pytest.approx(expected, abs=1e-4)


def test_small_pictures_are_compared_over_the_scales_that_fit() -> None:
    plain = planes(picture(0, 32))
    small, large = (ms_ssim_loss(plain, planes(noisy(picture(0, 32), d))) for d in (3, 30))
    assert 0 < float(small) < float(large) < 1


def test_its_gradient_leads_to_the_original() -> None:
    plain = planes(picture(0, 64))
    other = planes(noisy(picture(0, 64), 10)).requires_grad_()
    before = ms_ssim_loss(plain, other)
    before.sum().backward()
    assert other.grad is not None
    after = ms_ssim_loss(plain, other.detach() - 0.5 * other.grad / other.grad.abs().max() / 255)
    assert float(after) < float(before.detach())


def test_identical_pictures_differ_by_nothing_and_have_a_gradient() -> None:
    plain = planes(picture(0, 64)).requires_grad_()
    value = ms_ssim_loss(plain.detach(), plain)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert plain.grad is not None and plain.grad.isfinite().all()
