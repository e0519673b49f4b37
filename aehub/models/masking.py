"""Texture masking: where the prediction is busy, errors are seen less, and steps are larger.

What SSIM and eyes weigh an error against is the variance around it. Both sides know the prediction,
so nothing is written; codes stay integers, only what one step stands for differs from block to
block. Windows are square, so the map turns with the picture.

Source: Wang et al. 2012, "SSIM-motivated rate-distortion optimization for video coding"; the same
purpose as adaptive quantisation in x264, which writes its steps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Squared grey levels: noise that masks nothing, and the variance where steps stay as they are.
_FLOOR, _USUAL = 30.0, 300.0
_MOST = math.log(2)


def masking(pixels: Tensor, exponent: float) -> Tensor:
    """By which factor steps grow: (variance around each block / usual) ^ exponent, 1/2 to 2.

    Args:
        pixels: the prediction as `pixels_of` lays it out, [B, 96, h, w].
        exponent: 0 for factors of 1.

    Returns:
        [B, 1, h, w].
    """
    luma = pixels[:, :64].float() * 255
    mean, square = (F.avg_pool2d(x.mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)
                    for x in (luma, luma.square()))
    variance = (square - mean.square()).clamp(min=0)
    log = exponent * torch.log((variance + _FLOOR) / _USUAL)
    return log.clamp(-_MOST, _MOST).exp().to(pixels.dtype)
