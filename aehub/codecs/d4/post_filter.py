"""Post-filter: a small CNN outside the coding loop that reduces coding artefacts, at no bit.

It learns blocking at block edges and ringing around contours. It works at half of luma's
resolution, where a kernel covers both sides of an edge; each position holds four samples of luma
and one of either chroma.

Frames are shown filtered, and referred to unfiltered: a filter in the loop is applied to its own
output again, frame after frame, and smooths detail away.

Every layer commutes with D4. Source: Dai et al. 2017, "A convolutional neural network approach for
post-processing in HEVC intra coding".
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4 import plane_kernels
from aehub.codecs.d4.planes import PlaneBatch
from aehub.codecs.d4.symmetry import A1, B1, REGULAR, block_samples
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import QualityCurve, step_size

HALF_RESOLUTION = block_samples(2) + A1 * 2
"""Representation of a picture at half of luma's resolution: 4 luma samples, 1 of either chroma."""
PREDICTION_CHANNELS = slice(2 * HALF_RESOLUTION.channels, 3 * HALF_RESOLUTION.channels)
"""Inputs of a conditional filter's first layer that hold the difference from the prediction."""
_BLOCK_POSITION = A1 + B1 + A1
"""Position in the 8x8 block: number of edges it lies at, direction of the edge, corner."""
FILTER_INPUTS = HALF_RESOLUTION * 2 + _BLOCK_POSITION
"""Representation of `filter_inputs` without a prediction."""
_SAMPLE_SCALE, STEP_SCALE = 2.0, 0.5
"""Factors of samples and of differences in quantiser steps: inputs have a range of about one."""
_MAX_TEXTURE = 4.0
"""Clip of the scaled difference from the local mean: larger ones carry no more information."""
_WINDOW = 5
"""Side of the window of the local mean, in positions."""


class PostFilter(nn.Module):
    """Correction of decoded planes from their quality, texture, block position and prediction.

    Args:
        fields: width in regular fields of 8 channels.
        layers: hidden layers after the first.
        conditional: inter frames; the difference from the prediction is an input.
    """

    def __init__(self, fields: int, layers: int, conditional: bool = False) -> None:
        super().__init__()
        features = REGULAR * fields
        inputs = HALF_RESOLUTION + FILTER_INPUTS if conditional else FILTER_INPUTS
        self.head, self.head_bias = TiedConv2d(inputs, features), QualityCurve(features)
        self.hidden = nn.ModuleList(TiedConv2d(features, features) for _ in range(layers))
        self.bias = nn.ModuleList(QualityCurve(features) for _ in range(layers))
        self.tail = TiedConv2d(features, HALF_RESOLUTION, scale=0)

    def forward(self, planes: PlaneBatch, quality: Tensor, prediction: PlaneBatch | None = None
                ) -> PlaneBatch:
        """Decoded planes -> filtered planes, not clipped.

        Args:
            planes: in [-0.5, 0.5], sizes multiples of 32 in luma.
            quality: [B] or [1], 0..100.
            prediction: of inter frames.
        """
        steps = 255 / step_size(quality)
        if (prediction is not None and self.head.compute_dtype is None
                and planes.y.dtype == torch.float32 and plane_kernels.fit(*planes, *prediction)):
            return self._compiled(planes, quality, steps, prediction)
        x = filter_inputs(planes, steps * STEP_SCALE, prediction)
        # Activations stay in the type of the convolutions from the first to the last.
        hidden = x.to(self.head.compute_dtype or x.dtype)
        hidden = F.relu_(self.head(hidden, bias=self.head_bias(quality)))
        for layer, bias in zip(self.hidden, self.bias, strict=True):
            hidden = F.relu_(layer(hidden, bias=bias(quality)))
        half = _to_half(planes)
        return _from_half(half + self.tail(hidden).to(half) / steps[:, None, None, None])

    def _compiled(self, planes: PlaneBatch, quality: Tensor, steps: Tensor,
                  prediction: PlaneBatch) -> PlaneBatch:
        """As `forward`, in compiled loops: inter frames in float32 on the CPU, without gradients.

        Intra frames are too rare in a clip, and one alone is decoded without compiled loops.
        """
        # It imports Numba.
        from aehub.codecs.d4 import winograd

        batch, _, height, width = planes.u.shape
        arrays, others = (
            [plane_kernels.rows_of(p) for p in one] for one in (planes, prediction))
        shares, position = _geometry(width)
        channels = -(-self.head.inputs.channels // 4) * 4
        x = winograd.empty(batch, height, width, channels, 0)
        plane_kernels.filter_inputs(
            *arrays, *others, (steps * STEP_SCALE).expand(batch).numpy(), shares, _WINDOW // 2,
            position, _SAMPLE_SCALE, _MAX_TEXTURE, self.head.inputs.channels, x)
        x = winograd.convolved(x, self.head, self.head_bias(quality), 1)
        for n, (layer, bias) in enumerate(zip(self.hidden, self.bias, strict=True)):
            x = winograd.convolved(x, cast(TiedConv2d, layer), bias(quality), n % 2)
        x = winograd.convolved(x, self.tail, None, len(self.hidden) % 2)
        new = PlaneBatch(*(plane.new_empty(plane.shape) for plane in planes))
        plane_kernels.add_correction(*arrays, x, (1 / steps).expand(batch).numpy(),
                                     *(plane_kernels.rows_of(p) for p in new))
        return new


def filter_inputs(planes: PlaneBatch, steps: Tensor, prediction: PlaneBatch | None = None
                  ) -> Tensor:
    """Inputs of the first layer, [B, C, H/2, W/2]: samples, texture, difference from the
    prediction, position in the block; `steps` [B] or [1] is the factor of the middle two."""
    half, steps = _to_half(planes), steps[:, None, None, None]
    texture = (half - _local_mean(planes)) * steps
    inputs = [half * _SAMPLE_SCALE, texture.clamp(-_MAX_TEXTURE, _MAX_TEXTURE)]
    if prediction is not None:
        inputs.append((half - _to_half(prediction)) * steps)
    height, width = half.shape[-2:]
    position = _block_position(height, width, half.device).to(half)
    x = torch.cat([*inputs, position.expand(len(half), -1, -1, -1)], 1)
    return x.contiguous(memory_format=torch.channels_last)


@lru_cache
def _geometry(width: int) -> tuple[np.ndarray, np.ndarray]:
    """One over the columns of the window of the local mean around each position, [width]; position
    in the block, [4, 4, 3]."""
    shares = 1 / np.convolve(np.ones(width), np.ones(_WINDOW), "same")
    position = _block_position(4, 4, torch.device("cpu"))[0].permute(1, 2, 0)
    return shares.astype(np.float32), position.contiguous().numpy()


def _to_half(planes: PlaneBatch) -> Tensor:
    """Planes -> [B, 6, H/2, W/2]."""
    return torch.cat([F.pixel_unshuffle(planes.y, 2), planes.u, planes.v], 1)


def _from_half(half: Tensor) -> PlaneBatch:
    """The inverse of `_to_half`."""
    y, u, v = half.split((4, 1, 1), 1)
    return PlaneBatch(F.pixel_shuffle(y, 2), u, v)


def _local_mean(planes: PlaneBatch) -> Tensor:
    """Mean of the window around each position, of each plane: [B, 6, H/2, W/2]."""
    small = torch.cat([F.avg_pool2d(planes.y, 2), planes.u, planes.v], 1)
    means = F.avg_pool2d(small, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)
    return torch.cat([means[:, :1].expand(-1, 4, -1, -1), means[:, 1:]], 1)


def _block_position(height: int, width: int, device: torch.device) -> Tensor:
    """[1, 3, height, width], periodic with 4x4 positions."""
    down, right = (((torch.arange(n, device=device) + 1) % 4 < 2).float() for n in (height, width))
    down, right = down[:, None].expand(height, width), right.expand(height, width)
    return torch.stack([down + right - 1, down - right, down * right])[None]
