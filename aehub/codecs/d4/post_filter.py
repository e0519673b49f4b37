"""The post-filter: what a decoder can mend in a decoded picture without a single bit.

Coding leaves edges between blocks and ringing around contours, at places and in directions that a
network can learn. It works at half of luma's resolution, where a kernel sees both sides of an edge
as neighbours; each position holds four samples of luma and one of either chroma.

Frames are shown as it leaves them, and referred to as they were before: a filter in the loop meets
its own results again, frame after frame, and smooths them away.

Every layer commutes with D4. Source: Dai et al. 2017, "A convolutional neural network approach for
post-processing in HEVC intra coding".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.planes import PlaneBatch
from aehub.codecs.d4.symmetry import A1, B1, REGULAR, pixels
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import QualityCurve, step_size

HALF = pixels(2) + A1 * 2
PREDICTED = slice(2 * HALF.channels, 3 * HALF.channels)
"""Which inputs of a conditional filter's first layer show its prediction."""
# Where a position lies in its 8x8 block: beside how many edges, beside which, in a corner.
_PLACE = A1 + B1 + A1
# Pictures and quantiser steps in about the range of one; texture of more steps is all alike.
_PICTURE, _STEPS, _MOST = 2.0, 0.5, 4.0
_AROUND = 5


class PostFilter(nn.Module):
    """Adds to decoded planes what their quality, texture, blocks and prediction say is missing.

    Args:
        fields: width in regular fields of 8 channels.
        layers: hidden layers after the first.
        conditional: for predicted frames; sees what was added to their prediction.
    """

    def __init__(self, fields: int, layers: int, conditional: bool = False) -> None:
        super().__init__()
        features = REGULAR * fields
        inputs = HALF * (3 if conditional else 2) + _PLACE
        self.head, self.head_bias = TiedConv2d(inputs, features), QualityCurve(features)
        self.hidden = nn.ModuleList(TiedConv2d(features, features) for _ in range(layers))
        self.bias = nn.ModuleList(QualityCurve(features) for _ in range(layers))
        self.tail = TiedConv2d(features, HALF, scale=0)

    def forward(self, planes: PlaneBatch, quality: Tensor, prediction: PlaneBatch | None = None
                ) -> PlaneBatch:
        """Decoded planes -> the same, mended; not clipped.

        Args:
            planes: in [-0.5, 0.5], sizes multiples of 32 in luma.
            quality: [B] or [1], 0..100.
            prediction: of predicted frames.
        """
        half = _half(planes)
        steps = (255 / step_size(quality))[:, None, None, None]
        seen = [half * _PICTURE, ((half - _smooth(planes)) * (steps * _STEPS)).clamp(-_MOST, _MOST)]
        if prediction is not None:
            seen.append((half - _half(prediction)) * (steps * _STEPS))
        height, width = half.shape[-2:]
        place = _place(height, width, half.device).to(half).expand(len(half), -1, -1, -1)
        x = torch.cat([*seen, place], 1).contiguous(memory_format=torch.channels_last)
        hidden = F.relu_(self.head(x, bias=self.head_bias(quality)))
        for layer, bias in zip(self.hidden, self.bias, strict=True):
            hidden = F.relu_(layer(hidden, bias=bias(quality)))
        return _whole(half + self.tail(hidden).to(half.dtype) / steps)


def _half(planes: PlaneBatch) -> Tensor:
    """Planes -> [B, 6, H/2, W/2]."""
    return torch.cat([F.pixel_unshuffle(planes.y, 2), planes.u, planes.v], 1)


def _whole(half: Tensor) -> PlaneBatch:
    """The inverse of `_half`."""
    y, u, v = half.split((4, 1, 1), 1)
    return PlaneBatch(F.pixel_shuffle(y, 2), u, v)


def _smooth(planes: PlaneBatch) -> Tensor:
    """Means around each position, of each plane: [B, 6, H/2, W/2]."""
    small = torch.cat([F.avg_pool2d(planes.y, 2), planes.u, planes.v], 1)
    means = F.avg_pool2d(small, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    return torch.cat([means[:, :1].expand(-1, 4, -1, -1), means[:, 1:]], 1)


def _place(height: int, width: int, device: torch.device) -> Tensor:
    """[1, 3, height, width], the same for every 4x4 positions."""
    down, right = (((torch.arange(n, device=device) + 1) % 4 < 2).float() for n in (height, width))
    down, right = down[:, None].expand(height, width), right.expand(height, width)
    return torch.stack([down + right - 1, down - right, down * right])[None]
