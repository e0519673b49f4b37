"""The integer network of `d4-codec`: which table each code is written with.

Every input is an integer the decoder already holds: hyper-codes, quality, codes of earlier stages.
Decoded pixels never enter, not even rounded, so encoder and decoder agree on every machine.

    hyper-codes --1x1--> 4x4 blocks --> features (32) --+
    codes so far, as levels ----------------------------+--3x3--> 64 --3x3--> 64 --1x1--> index
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.d4 import A1, REGULAR, Representation
from aehub.models.integer import (
    ACTIVATION_MAX,
    SHIFT,
    IntegerConv2d,
    QualityBias,
    bounded,
    levels,
    requantise,
)
from aehub.models.surroundings import full_precision
from aehub.models.tiles import Tiles

N_SCALES = 64
# Distances to the nearest reference that predicted frames tell apart: 1, 2, 4, 8 frames or more.
N_KINDS = 4
FEATURES = REGULAR * 4
HIDDEN = REGULAR * 8


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Full float32: neither autocast nor TF32 may round the sums."""
    with full_precision(device.type), \
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


class StageScales(nn.Module):
    """Features and known codes of one stage -> index sums of its channels."""

    def __init__(self, known: Representation | None, outputs: Representation) -> None:
        super().__init__()
        inputs = FEATURES + A1 if known is None else FEATURES + A1 + known.magnitudes()
        self.first = IntegerConv2d(inputs, HIDDEN, 3)
        self.first_bias = QualityBias(HIDDEN)
        self.second = IntegerConv2d(HIDDEN, HIDDEN, 3)
        self.second_bias = QualityBias(HIDDEN)
        self.last = IntegerConv2d(HIDDEN, outputs.magnitudes(), 1, scale=0.1)
        self.last_bias = QualityBias(outputs.magnitudes())

    def forward(self, x: Tensor, quality: Tensor, tiles: Tiles | None = None) -> Tensor:
        """Of the whole grid, or of tiles with a margin of 2 around them."""
        padding = None if tiles is None else 0
        x = requantise(self.first(x, bias=self.first_bias(quality), padding=padding))
        x = x if tiles is None else tiles.hidden(x, 1)
        x = requantise(self.second(x, bias=self.second_bias(quality), padding=padding))
        return self.last(x, bias=self.last_bias(quality))


class ScaleNetwork(nn.Module):
    """Real-valued table index in training, its floor when coding.

    Args:
        hyper: representation of the hyper-codes.
        stages: for each stage, the representation of the codes known before it (None at first)
            and of the codes it writes.
        context: representation of what predicted frames see of their references' codes.
    """

    def __init__(self, hyper: Representation,
                 stages: list[tuple[Representation | None, Representation]],
                 context: Representation | None = None) -> None:
        super().__init__()
        self.hyper_bias = QualityBias(hyper.magnitudes())
        self.unfold = IntegerConv2d(hyper, FEATURES.blocks(4), 1, scale=0.5)
        self.unfold_bias = QualityBias(FEATURES)
        self.stages = nn.ModuleList(StageScales(known, out) for known, out in stages)
        if context is not None:
            self.context = IntegerConv2d(context, FEATURES, 3, scale=0.5)
            self.kind_hyper_bias = nn.ModuleList(
                QualityBias(hyper.magnitudes()) for _ in range(N_KINDS))
            self.kind_bias = nn.ModuleList(QualityBias(FEATURES) for _ in range(N_KINDS))

    def stage(self, number: int) -> StageScales:
        """The layers of one stage."""
        return cast(StageScales, self.stages[number])

    @property
    def device(self) -> torch.device:
        """Where this network runs: not with the others, if their device is not exact."""
        return self.unfold.theta.device

    def hyper_index(self, quality: Tensor, kind: int | None = None) -> Tensor:
        """Table index of each hyper-code: quality int64 [B] -> [B, C, 1, 1] (static tables)."""
        away, quality = quality.device, quality.to(self.device)
        total = self.hyper_bias(quality)
        if kind is not None:
            total = total + self.kind_hyper_bias[kind](quality)
        return self._index(total).to(away)

    def features(self, hyper_codes: Tensor, quality: Tensor,
                 given: tuple[Tensor, int] | None = None, tiles: Tiles | None = None) -> Tensor:
        """Hyper-codes, integers [B, C, h, w] -> activations [B, 32, 4h, 4w].

        Args:
            hyper_codes: integers.
            quality: int64 [B], hundredths.
            given: context, integers 0..31 [B, C', 4h, 4w], and kind of a predicted frame.
            tiles: cells that are wanted, of one frame; the answer is [n, 32, 8, 8] then, for
                `forward` with the same tiles.
        """
        home, quality = self.device, quality.to(self.device)
        with _exact(home):
            x = F.pixel_shuffle(self.unfold(levels(hyper_codes.to(home), signed=True)), 4)
            x = x if tiles is None else tiles.cut(x, 2)
            x = x + self.unfold_bias(quality)
            if given is not None:
                (context, kind), padding = given, None
                context = context.to(home, x.dtype)
                if tiles is not None:
                    context, padding = tiles.cut(context, 3), 0
                x = x + self.context(context, padding=padding) + self.kind_bias[kind](quality)
            x = requantise(x)
            return x if tiles is None else tiles.hidden(x, 2)

    def forward(self, stage: int, features: Tensor, known: Tensor | None, mask: Tensor,
                quality: Tensor, tiles: Tiles | None = None) -> Tensor:
        """Table index of the codes of one stage.

        Args:
            stage: which one.
            features: activations from `features`.
            known: integer codes [B, C, h, w] of earlier stages, zero where not yet known.
            mask: [h, w], 1 where this stage writes codes.
            quality: int64 [B], hundredths.
            tiles: as for `features`; the index of cells that are not wanted is 0.

        Returns:
            [B, C', h, w] in [0, N_SCALES - 1]: real with gradient in training, integers otherwise.
        """
        away, home, quality = mask.device, self.device, quality.to(self.device)
        with _exact(home):
            plane = (mask.to(home) * ACTIVATION_MAX).to(features.dtype)[None, None]
            plane = plane if tiles is None else tiles.cut(plane, 2)
            parts = [features, plane.expand_as(features[:, :1])]
            if known is not None:
                known = known.to(home)
                parts.append(levels(known if tiles is None else tiles.cut(known, 2)))
            index = self._index(self.stage(stage)(torch.cat(parts, 1), quality, tiles))
            return (index if tiles is None else tiles.paste(index)).to(away)

    def _index(self, total: Tensor) -> Tensor:
        index = bounded(total * 2.0**-SHIFT, 0, N_SCALES - 1)
        return index if self.training else index.floor()

    def integer_layers(self) -> dict[str, IntegerConv2d]:
        """Every integer convolution by name, for bounds and probes."""
        return {n: m for n, m in self.named_modules() if isinstance(m, IntegerConv2d)}

    def constrain(self) -> None:
        """Keep every layer inside its exactness bound."""
        for layer in self.integer_layers().values():
            layer.constrain()
