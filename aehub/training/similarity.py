"""MS-SSIM that gradients run through; `aehub.metrics.ms_ssim` is the measure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.metrics import SCALE_WEIGHTS, TAPS
from aehub.models.surroundings import full_precision

_C1, _C2 = 0.01**2, 0.03**2
_FLOOR = 1e-4


def dissimilarity(reference: Tensor, decoded: Tensor) -> Tensor:
    """1 - MS-SSIM of luma pictures, over those of the five scales that hold an 11x11 window.

    Args:
        reference: [B, 1, H, W] in [-0.5, 0.5], short side at least 11.
        decoded: the same shape.

    Returns:
        [B]; similarities of a scale below 1e-4 count as that, so that logarithms stay finite.

    Source: Wang, Simoncelli and Bovik 2003.
    """
    # Differences of squares would drown in bfloat16.
    with full_precision(reference.device.type):
        pair = torch.stack([reference, decoded]).float()
        total, weights = pair.new_zeros(pair.shape[1]), 0.0
        for number, weight in enumerate(SCALE_WEIGHTS):
            last = number + 1 == len(SCALE_WEIGHTS) or min(pair.shape[-2:]) < 22
            similarity = _similarity(pair, with_luminance=last)
            total = total + weight * torch.log(similarity.clamp(min=_FLOOR))
            weights += weight
            if last:
                break
            pair = F.avg_pool2d(pair.flatten(0, 1), 2).unflatten(0, (2, -1))
        return -torch.expm1(total / weights)


def _similarity(pair: Tensor, *, with_luminance: bool) -> Tensor:
    """Mean contrast-structure term of [2, B, 1, H, W], times the luminance term if asked: [B]."""
    a, b = pair
    mean_a, mean_b, squares, product = _blur(torch.stack([a, b, a * a + b * b, a * b]))
    means = mean_a.square() + mean_b.square()
    terms = (2 * (product - mean_a * mean_b) + _C2) / (squares - means + _C2)
    if with_luminance:
        # Variances do not change with an offset: only here is black 0.
        mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
        means = mean_a.square() + mean_b.square()
        terms = terms * (2 * mean_a * mean_b + _C1) / (means + _C1)
    return terms.mean((1, 2, 3))


def _blur(maps: Tensor) -> Tensor:
    """The Gaussian window where it fits: [..., H, W] -> [..., H - 10, W - 10].

    Products with band matrices: a quarter of the time of convolutions of one channel.
    """
    down, right = (_band(n, maps) for n in maps.shape[-2:])
    return down @ maps @ right.T


def _band(size: int, like: Tensor) -> Tensor:
    """[size - 10, size], the window at every place."""
    n = size - len(TAPS) + 1
    band = like.new_zeros(n, size)
    for k, tap in enumerate(TAPS.tolist()):
        band.diagonal(k).fill_(tap)
    return band
