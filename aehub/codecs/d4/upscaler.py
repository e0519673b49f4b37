"""Learned scaling to twice the size: a residual CNN that adds to Lanczos interpolation.

It works at half of luma's resolution, as the post-filter does, and sees what that sees: samples,
texture in quantiser steps, position in the 8x8 block. Each position becomes 4x4 samples of luma and
2x2 of either chroma. The last layer is initialised to zero: step 0 is Lanczos interpolation.

Every layer commutes with D4. Source: Shi et al. 2016, "Real-time single image and video
super-resolution using an efficient sub-pixel convolutional neural network".
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.planes import PlaneBatch, clipped
from aehub.codecs.d4.post_filter import FILTER_INPUTS, STEP_SCALE, filter_inputs
from aehub.codecs.d4.symmetry import REGULAR, block_samples
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import QualityCurve, ResidualBlock, step_size
from aehub.media.scaling import lanczos_taps

ARGUMENTS = {"fields": (1, 16), "blocks": (0, 8)}
"""Arguments of the network and their ranges."""
_DOUBLED = block_samples(4) + block_samples(2) * 2
"""Output of a position: 16 samples of luma, 4 of either chroma."""


class Upscaler(nn.Module):
    """Planes of a decoded picture -> planes of twice the size.

    Args:
        fields: width in regular fields of 8 channels.
        blocks: residual blocks of two layers.
    """

    def __init__(self, fields: int = 6, blocks: int = 3) -> None:
        super().__init__()
        features = REGULAR * fields
        self.config = {"fields": fields, "blocks": blocks}
        self.head, self.head_bias = TiedConv2d(FILTER_INPUTS, features), QualityCurve(features)
        self.blocks = nn.ModuleList(ResidualBlock(features) for _ in range(blocks))
        self.tail = TiedConv2d(features, _DOUBLED, scale=0)

    def forward(self, planes: PlaneBatch, quality: Tensor) -> PlaneBatch:
        """Decoded planes, as shown -> planes of twice the size, clipped.

        Args:
            planes: in [-0.5, 0.5], sizes multiples of 32 in luma.
            quality: of the frame, [B] or [1], 0..100.
        """
        steps = 255 / step_size(quality)
        x = filter_inputs(planes, steps * STEP_SCALE)
        hidden = self.head(x, bias=self.head_bias(quality))
        for block in self.blocks:
            hidden = block(hidden, quality)
        y, u, v = self.tail(F.relu(hidden)).split((16, 4, 4), 1)
        correction = F.pixel_shuffle(y, 4), F.pixel_shuffle(u, 2), F.pixel_shuffle(v, 2)
        scale = steps[:, None, None, None]
        return clipped(PlaneBatch(*(a + b / scale for a, b in zip(
            interpolated(planes), correction, strict=True))))


def interpolated(planes: PlaneBatch) -> PlaneBatch:
    """Planes of twice the size by Lanczos interpolation, unclipped; borders repeat."""
    kernel = _kernel().to(planes.y)
    return PlaneBatch(*(
        F.pixel_shuffle(F.conv2d(F.pad(plane, (3, 3, 3, 3), mode="replicate"), kernel), 2)
        for plane in planes))


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def _kernel() -> Tensor:
    """[4, 1, 7, 7]: the four samples around each position."""
    taps = lanczos_taps()
    phases = np.append(taps, 0), np.append(0, taps[::-1])
    return torch.from_numpy(np.stack([np.outer(down, right) for down in phases
                                      for right in phases])[:, None]).float()
