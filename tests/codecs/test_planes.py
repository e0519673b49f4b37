"""Planes of pictures and the layouts of the networks: compiled loops against torch's operations."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aehub.codecs.d4.planes import PlaneBatch, from_batch, shuffle, unshuffle

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture(autouse=True)
def with_numba() -> None:
    """Loops that give what tensor operations give are used where Numba is imported already."""
    importlib.import_module("numba")


def planes(dtype: torch.dtype) -> PlaneBatch:
    torch.manual_seed(0)
    return PlaneBatch(*(torch.rand(2, 1, n * 8, n * 12, dtype=dtype) - 0.5 for n in (8, 4, 4)))


@types
def test_blocks_become_channels_and_planes_again(dtype: torch.dtype) -> None:
    before = planes(dtype)
    wanted = torch.cat([F.pixel_unshuffle(p, n) for p, n in zip(before, (8, 4, 4), strict=True)], 1)
    with torch.no_grad():
        samples = unshuffle(before)
        after = shuffle(samples)
        others = shuffle(samples.contiguous()), shuffle(wanted)
    assert torch.equal(samples, wanted) and torch.equal(unshuffle(before), wanted)
    assert samples.is_contiguous(memory_format=torch.channels_last)
    for found in (after, *others):
        assert all(map(torch.equal, found, before))


@types
def test_levels_are_rounded_to_the_nearest_and_clipped(dtype: torch.dtype) -> None:
    ramp = torch.linspace(-0.6, 0.6, 32 * 32, dtype=dtype).view(1, 1, 32, 32)
    batch = PlaneBatch(ramp, ramp[..., :16, 16:], ramp[..., 16:, :16].flip(3))
    with torch.no_grad():
        (picture,) = from_batch(batch, (0, 0), (32, 32))
    for found, plane in zip(picture, batch, strict=True):
        exact = ((plane[0, 0] + 0.5) * 255).clamp(0, 255).numpy()
        assert found.dtype == np.uint8 and np.abs(found - exact).max() < 0.5 + 1e-4
