"""Rounding by rate and distortion: a code is lowered where the bits it saves outweigh the error.

Between magnitudes k - 1 and k the cheaper choice changes where

    (v - (k - 1))^2 + lambda bits(k - 1) = (v - k)^2 + lambda bits(k)
    v = k - 1/2 + lambda / 2 (bits(k) - bits(k - 1))        [v in steps, lambda in steps^2 per bit]

The decoder knows nothing of it. Two thresholds per table suffice: below and above 1. Where texture
masks errors, lambda may be larger.

Source: H. Everett 1963 (Lagrange multipliers); as in the "trellis" of x264, without the trellis.

Texture masking: where the prediction is busy, errors are seen less, and steps are larger.

What SSIM and eyes weigh an error against is the variance around it. Both sides know the prediction,
so nothing is written; codes stay integers, only what one step stands for differs from block to
block. Windows are square, so the map turns with the picture.

Source: Wang et al. 2012, "SSIM-motivated rate-distortion optimization for video coding"; the same
purpose as adaptive quantisation in x264, which writes its steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.coding.range_coder import N_TABLES, ScaleTables, max_magnitude

_LIMIT = 0.45


class Quantiser:
    """Rounds latents to codes.

    Args:
        tables: frequency tables, for the bits.
        settings: `"lambda"`, steps^2 per bit, as measured for the model (config.json, "encoder").
        device: where latents are.
    """

    def __init__(self, tables: ScaleTables, settings: Mapping[str, float],
                 device: torch.device) -> None:
        weight = settings.get("lambda", 0.0)
        first = np.zeros(N_TABLES)
        later = np.zeros(N_TABLES)
        for index in range(1, N_TABLES):
            bits = tables.magnitude_bits(index)
            first[index] = weight / 2 * (bits[1] - bits[0])
            reach = min(max_magnitude(index), 8)
            later[index] = weight / 2 * float(np.diff(bits[1:reach + 1]).mean())
        self._first = torch.from_numpy(first.clip(0, _LIMIT)).float().to(device)
        self._later = torch.from_numpy(later.clip(0, _LIMIT)).float().to(device)

    def __call__(self, values: Tensor, index: Tensor, weight: Tensor | None = None) -> Tensor:
        """Latents minus mean, in steps, and integer table indices -> codes of the same shape.

        `weight` multiplies lambda, place by place: [B, 1, h, w].
        """
        tables = index.to(torch.int32)
        magnitude = values.abs()
        threshold = torch.where(magnitude < 1.5, self._first[tables], self._later[tables])
        if weight is not None:
            threshold = (threshold * weight).clamp(max=_LIMIT)
        codes = (magnitude + 0.5 - threshold.to(values.dtype)).floor().clamp(min=0)
        return codes * values.sign() * (tables > 0)


# Squared grey levels: noise that masks nothing, and the variance where steps stay as they are.
_FLOOR, _USUAL = 30.0, 300.0
_MOST = math.log(2)


def texture_masking(pixels: Tensor, exponent: float) -> Tensor:
    """By which factor steps grow: (variance around each block / usual) ^ exponent, 1/2 to 2.

    Args:
        pixels: the prediction as `unshuffle` lays it out, [B, 96, h, w].
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
