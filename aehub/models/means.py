"""The float network that predicts latents: devices may differ by rounding, never in the codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.d4 import REGULAR, Representation
from aehub.models.layers import Curve
from aehub.models.surroundings import full_precision
from aehub.models.tied import TiedConv2d

_PREDICTED_STAGES = (1,)
"""Stages of predicted frames whose means are worth a network; zero is as good for the others."""


class MeanNetwork(nn.Module):
    """Predicts latents (not yet scaled by the gain) from earlier stages and from one of two:
    hyper-latents of frames that stand alone, predictions of predicted frames.

    Args:
        hyper: representation of the hyper-latents.
        stages: for each stage, the representation of the latents known before it (None at first)
            and of those it predicts.
        condition: representation of the predictions; None for frames that stand alone.
    """

    def __init__(self, hyper: Representation,
                 stages: list[tuple[Representation | None, Representation]],
                 condition: Representation | None = None) -> None:
        super().__init__()
        features, hidden = REGULAR * 4, REGULAR * 6
        if condition is None:
            self.direct = TiedConv2d(hyper, stages[0][1].blocks(4), 1, scale=0, exact=True)
            self.unfold = TiedConv2d(hyper, features.blocks(4), 1)
        else:
            self.see = TiedConv2d(condition, features)
        own = range(len(stages)) if condition is None else _PREDICTED_STAGES
        self.first = nn.ModuleDict({
            str(n): TiedConv2d(features if (known := stages[n][0]) is None else features + known,
                               hidden) for n in own})
        self.bias = nn.ModuleDict({str(n): Curve(hidden) for n in own})
        self.last = nn.ModuleDict({str(n): TiedConv2d(hidden, stages[n][1], scale=0) for n in own})

    def features(self, hyper: Tensor, condition: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Hyper-latents [B, 24, h/4, w/4] or predictions -> (direct mean of the low band or None,
        features), at 1/8."""
        if condition is not None:
            return None, F.relu(self.see(condition))
        with full_precision(hyper.device.type):
            direct = F.pixel_shuffle(self.direct(hyper), 4)
        return direct, F.relu(F.pixel_shuffle(self.unfold(hyper), 4))

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
            [B, C', h, w], not in steps; None where none is predicted.
        """
        name, (direct, x) = str(stage), features
        if name not in self.first:
            return None
        if known:
            seen = torch.cat(known, 1)
            x = torch.cat([x, seen / gains[:, :seen.shape[1]]], 1)
        hidden = self.first[name](x, bias=self.bias[name](quality))
        mean: Tensor = self.last[name](F.relu_(hidden))
        return mean if direct is None or stage > 1 else mean + direct
