"""Float layers of the codecs: numbers that follow quality, residual blocks, transforms.

All commute with D4. Dimension letters as in `aehub.models.d4_codec`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.d4 import REGULAR, Representation
from aehub.models.integer import KNOTS, ByQuality
from aehub.models.surroundings import full_precision
from aehub.models.tied import TiedConv2d


def step(quality: Tensor) -> Tensor:
    """Quantiser step in grey levels at quality 0..100: 128 at 0, halved every 16.7, 2 at 100."""
    return 128 * torch.exp2(-6 * quality / 100)


class Curve(ByQuality):
    """A learned number per channel as a piecewise linear function of quality (0..100).

    Channels that turns permute share it: both of an E pair, all eight of a regular field.
    """

    slots: Tensor

    def __init__(self, channels: Representation, *, start: float = 0.0) -> None:
        super().__init__()
        slots = torch.as_tensor(channels.slots())
        self.register_buffer("slots", slots, persistent=False)
        self.values = nn.Parameter(torch.full((KNOTS, int(slots.max()) + 1), start))

    def at(self, quality: Tensor) -> Tensor:
        """[B] -> [B, C, 1, 1]."""
        place = quality.to(self.values.dtype)[:, None] * (KNOTS - 1) / 100
        knots = torch.arange(KNOTS, device=quality.device)
        hats = (1 - (place - knots).abs()).clamp(min=0)
        return (hats @ self.values)[:, self.slots, None, None]


class Block(nn.Module):
    """Residual branch whose strength depends on quality: x + conv(relu(conv(x) a + b))."""

    def __init__(self, features: Representation) -> None:
        super().__init__()
        self.first = TiedConv2d(features, features)
        self.second = TiedConv2d(features, features, scale=0.3)
        self.gain, self.bias = Curve(features, start=1.0), Curve(features)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        hidden = self.first(F.relu(x), self.gain(quality), self.bias(quality))
        return self.second(F.relu_(hidden)).add_(x)


class LinearTransform(nn.Module):
    """Analysis or synthesis as one convolution, which starts as the given matrix."""

    def __init__(self, inputs: Representation, outputs: Representation, matrix: Tensor) -> None:
        super().__init__()
        self.linear = TiedConv2d(inputs, outputs, exact=True)
        dense = torch.zeros(self.linear.shape)
        dense[:, :, 1, 1] = matrix.float()
        self.linear.set_dense(dense)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        # Latents in steps reach hundreds; bfloat16 would round them by more than a step.
        with full_precision(x.device.type):
            linear: Tensor = self.linear(x.to(self.linear.theta.dtype))
        return linear


class Transform(LinearTransform):
    """Linear path plus a residual network whose last layer starts at zero."""

    def __init__(self, inputs: Representation, outputs: Representation, matrix: Tensor, *,
                 fields: int, blocks: int) -> None:
        super().__init__(inputs, outputs, matrix)
        features = REGULAR * fields
        self.head = TiedConv2d(inputs, features)
        self.head_gain = Curve(features, start=1.0)
        self.head_bias = Curve(features)
        self.blocks = nn.ModuleList(Block(features) for _ in range(blocks))
        self.tail = TiedConv2d(features, outputs, scale=0)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        hidden = self.head(x, self.head_gain(quality), self.head_bias(quality))
        for block in self.blocks:
            hidden = block(hidden, quality)
        return self.tail(F.relu_(hidden)) + super().forward(x, quality)
