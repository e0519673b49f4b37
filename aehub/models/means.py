"""The float network that predicts latents: devices may differ by rounding, never in the codes."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.d4 import REGULAR, Representation
from aehub.models.layers import Curve
from aehub.models.surroundings import full_precision
from aehub.models.tied import TiedConv2d


class MeanNetwork(nn.Module):
    """Predicts latents (not yet scaled by the gain) from hyper-latents and earlier stages.

    Args:
        hyper: representation of the hyper-latents.
        stages: for each stage, the representation of the latents known before it (None at first)
            and of those it predicts.
        condition: of what predicted frames are conditioned on.
    """

    def __init__(self, hyper: Representation,
                 stages: list[tuple[Representation | None, Representation]],
                 condition: Representation | None = None) -> None:
        super().__init__()
        features, hidden = REGULAR * 4, REGULAR * 6
        low = stages[0][1]
        self.direct = TiedConv2d(hyper, low.blocks(4), 1, scale=0, exact=True)
        self.unfold = TiedConv2d(hyper, features.blocks(4), 1)
        self.see = None if condition is None else TiedConv2d(condition, features)
        self.first = nn.ModuleList(
            TiedConv2d(features if known is None else features + known, hidden)
            for known, _ in stages
        )
        self.bias = nn.ModuleList(Curve(hidden) for _ in stages)
        self.last = nn.ModuleList(TiedConv2d(hidden, out, scale=0) for _, out in stages)

    def features(self, hyper: Tensor, condition: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Hyper-latents [B, 24, h/4, w/4] -> (direct mean of the low band, features), at 1/8.

        No direct mean where it is zero everywhere.
        """
        direct = None
        if _speaks(self.direct):
            with full_precision(hyper.device.type):
                direct = F.pixel_shuffle(self.direct(hyper), 4)
        if self.see is None or condition is None:
            return direct, F.relu(F.pixel_shuffle(self.unfold(hyper), 4))
        x = self.see(condition)
        if _speaks(self.unfold):
            x = x + F.pixel_shuffle(self.unfold(hyper), 4)
        return direct, F.relu(x)

    def forward(self, stage: int, features: tuple[Tensor | None, Tensor], known: list[Tensor],
                gains: Tensor, quality: Tensor) -> Tensor | None:
        """Means of the latents of a stage.

        Args:
            stage: which one.
            features: of the frame, from `features`.
            known: latents of earlier stages in steps, [B, C', h, w] each, one after another.
            gains: steps per unit of latent, [B, 96, 1, 1] or [B, 96, h, w].
            quality: [B] or [1], 0..100.

        Returns:
            [B, C', h, w], not in steps; None where it is zero everywhere.
        """
        direct, x = features
        direct = direct if stage < 2 else None
        if not _speaks(cast(TiedConv2d, self.last[stage])):
            return direct
        if known:
            seen = torch.cat(known, 1)
            x = torch.cat([x, seen / gains[:, :seen.shape[1]]], 1)
        hidden = self.first[stage](x, bias=self.bias[stage](quality))
        mean: Tensor = self.last[stage](F.relu_(hidden))
        return mean if direct is None else mean + direct


def _speaks(layer: TiedConv2d) -> bool:
    """Whether a layer says anything, or may learn to."""
    learns = torch.is_grad_enabled() and layer.theta.requires_grad
    return learns or bool(layer.theta.any())
