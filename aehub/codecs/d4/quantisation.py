"""Quantisation on a device: RDOQ (`aehub.coding.latent_coder`), texture masking, frame qualities.

RDOQ lowers a code where the bits it saves outweigh the error; the decoder needs no information
about it. Where texture masks errors, lambda may be larger.

Texture masking is an adaptive quantisation: steps grow with the variance of the prediction, by
which SSIM and the eye weigh an error. Both sides have the prediction, so nothing is signalled;
codes stay integers, only the size of a step differs from block to block. Windows are square, so the
map commutes with D4. Source: Wang et al. 2012, "SSIM-motivated rate-distortion optimization for
video coding"; the same purpose as adaptive quantisation in x264, which signals its steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4 import latent_kernels, plane_kernels
from aehub.coding.latent_coder import MAX_OFFSET, rdoq_offsets
from aehub.coding.range_coder import ScaleTables

N_QUALITY_OFFSETS = 64
"""Quality offsets that a frame can signal, in steps of 0.5 below the quality of its group."""
_NOISE_VARIANCE, _NEUTRAL_VARIANCE = 30.0, 300.0
"""Squared grey levels: variance of noise that masks nothing, and variance of a factor of 1."""
_MAX_LOG_FACTOR = math.log(2)


class Quantiser:
    """RDOQ of latents to codes.

    Args:
        tables: frequency tables, for the bits of each magnitude.
        settings: `"lambda"`, steps^2 per bit, as measured for the model (config.json, "encoder").
        device: where latents are.
    """

    def __init__(self, tables: ScaleTables, settings: Mapping[str, float],
                 device: torch.device) -> None:
        self._first, self._later = (torch.from_numpy(offsets).float().to(device) for offsets in
                                    rdoq_offsets(tables, settings.get("lambda", 0.0)))

    def __call__(self, values: Tensor, index: Tensor, lambda_factor: Tensor | None = None
                 ) -> Tensor:
        """Latents minus mean, in steps, and integer table indices -> codes of the same shape.

        `lambda_factor` [B, 1, h, w] multiplies lambda at each position.
        """
        if lambda_factor is None and plane_kernels.fit(values):
            codes, out = plane_kernels.new_channels_last(values.dtype, *values.shape)
            latent_kernels.quantise(
                plane_kernels.channels_last(values), plane_kernels.channels_last(index),
                self._first.numpy(), self._later.numpy(), out)
            return codes
        tables = index.to(torch.int32)
        magnitude = values.abs()
        threshold = torch.where(magnitude < 1.5, self._first[tables], self._later[tables])
        if lambda_factor is not None:
            threshold = (threshold * lambda_factor).clamp(max=MAX_OFFSET)
        codes = (magnitude + 0.5 - threshold.to(values.dtype)).floor().clamp(min=0)
        return codes * values.sign() * (tables > 0)


def texture_masking(prediction: Tensor, exponent: float) -> Tensor:
    """Factor of the quantiser steps: (variance around each block / 300) ^ exponent, 1/2 to 2.

    Args:
        prediction: as `unshuffle` arranges it, [B, 96, h, w].
        exponent: 0 for factors of 1.

    Returns:
        [B, 1, h, w].
    """
    luma = prediction[:, :64].float() * 255
    mean, square = (F.avg_pool2d(x.mean(1, keepdim=True), 3, 1, 1, count_include_pad=False)
                    for x in (luma, luma.square()))
    variance = (square - mean.square()).clamp(min=0)
    log = exponent * torch.log((variance + _NOISE_VARIANCE) / _NEUTRAL_VARIANCE)
    return log.clamp(-_MAX_LOG_FACTOR, _MAX_LOG_FACTOR).exp().to(prediction.dtype)


def masked_gains(gains: Tensor, prediction: Tensor, exponent: float) -> Tensor:
    """Gains [B or 1, C, 1, 1] over the factor of texture masking: [B, C, h, w]."""
    if not plane_kernels.fit(gains, prediction):
        return gains / texture_masking(prediction, exponent)
    batch, _, height, width = prediction.shape
    masked, out = plane_kernels.new_channels_last(gains.dtype, batch, gains.shape[1], height, width)
    latent_kernels.masked_gains(
        plane_kernels.channels_last(prediction), gains.detach()[:, :, 0, 0].contiguous().numpy(),
        *_masking(exponent), out)
    return masked


def masking_shares(means: np.ndarray, squares: np.ndarray, exponent: float) -> np.ndarray:
    """One over the factors of texture masking from statistics of 8x8 blocks alone.

    Args:
        means: of their luma in grey levels, [h, w].
        squares: means of its squares.
        exponent: as for `texture_masking`.
    """
    shares = np.empty_like(means)
    latent_kernels.masking_shares(means, squares, *_masking(exponent), shares)
    return shares


def _masking(exponent: float) -> tuple[float, float, float, float]:
    return exponent, _NOISE_VARIANCE, _NEUTRAL_VARIANCE, _MAX_LOG_FACTOR


def frame_quality(quality: float, quality_offset: int) -> float:
    """Quality of a frame `quality_offset` steps of 0.5 below that of its group."""
    return max(0.0, round(quality - quality_offset / 2, 2))
