"""MS-SSIM that gradients run through; `aehub.metrics.ms_ssim` is the measure."""

from __future__ import annotations

import torch
from torch import Tensor

from aehub.metrics import scale_similarities
from aehub.models.surroundings import full_precision

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
        pair = (255 * pictures[:, 0].float() - 0.5 for pictures in (reference, decoded))
        total, weights = torch.zeros(()), 0.0
        for weight, similarity in scale_similarities(*pair):
            total = total + weight * torch.log(similarity.clamp(min=_FLOOR))
            weights += weight
        return -torch.expm1(total / weights)
