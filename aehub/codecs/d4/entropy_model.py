"""The integer network of `d4-codec`: which table each code is written with.

Every input is an integer the decoder already holds: hyper-codes, quality, codes of earlier stages.
Decoded pixels never enter, not even rounded, so encoder and decoder agree on every machine.

    hyper-codes --1x1--> 4x4 blocks --> features (32) --+
    codes so far, as levels ----------------------------+--3x3--> 64 --3x3--> 64 --1x1--> index

The float network that predicts latents: devices may differ by rounding, never in the codes.

The cells of a grid that a network is run on where most cells want nothing of it.

Each wanted cell of 4x4 places is cut out with what a convolution sees around it, so that the tiles
go through the layers as a batch of small pictures. What a layer would see beyond the border of the
grid is zero there and has to stay zero: `hidden`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.integer_conv import (
    ACTIVATION_MAX,
    SHIFT,
    IntegerConv2d,
    QualityBias,
    gradient_clamp,
    log_levels,
    requantise,
)
from aehub.codecs.d4.symmetry import A1, REGULAR, Representation
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import QualityCurve
from aehub.coding.range_coder import N_TABLES
from aehub.weights.device import no_autocast

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
        self.bias = nn.ModuleDict({str(n): QualityCurve(hidden) for n in own})
        self.last = nn.ModuleDict({str(n): TiedConv2d(hidden, stages[n][1], scale=0) for n in own})

    def features(self, hyper: Tensor, condition: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Hyper-latents [B, 24, h/4, w/4] or predictions -> (direct mean of the low band or None,
        features), at 1/8."""
        if condition is not None:
            return None, F.relu(self.see(condition))
        with no_autocast(hyper.device.type):
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


SIDE = 4
# SparseBlocks overlap: where more is wanted, the whole grid is quicker.
MOST = 0.4


@dataclass(frozen=True, eq=False)
class _Places:
    index: Tensor  # int64 [n k k]: number of a place, row by row, the nearest one where outside
    inside: Tensor | None  # bool [n, k, k]: it is on the grid; None where all are


class SparseBlocks:
    """Wanted cells.

    Args:
        cells: float [1, 1, h/4, w/4], 1 where a cell is wanted, else 0.
    """

    def __init__(self, cells: Tensor) -> None:
        self._rows, self._columns = (SIDE * at for at in cells[0, 0].nonzero(as_tuple=True))
        self.count = len(self._rows)
        self.height, self.width = (SIDE * n for n in cells.shape[-2:])
        self._places: dict[int, _Places] = {}

    @classmethod
    def of(cls, cells: Tensor) -> SparseBlocks | None:
        """The tiles of these cells, None where it is not worth the trouble."""
        return cls(cells) if float(cells.sum()) <= MOST * cells.numel() else None

    def cut(self, x: Tensor, margin: int) -> Tensor:
        """[1, C, h, w] -> [n, C, 4 + 2 margin, 4 + 2 margin], channels last, zero outside."""
        channels, side = x.shape[1], SIDE + 2 * margin
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        picked = rows.index_select(0, self._at(margin).index.to(x.device))
        tiles = picked.view(self.count, side, side, channels).permute(0, 3, 1, 2)
        return self.hidden(tiles, margin)

    def hidden(self, tiles: Tensor, margin: int) -> Tensor:
        """Tiles with zeros where they lie outside of the grid; the given ones are changed."""
        inside = self._at(margin).inside
        if inside is None:
            return tiles
        side = SIDE + 2 * margin
        return tiles.mul_(inside.to(tiles.device).view(self.count, 1, side, side))

    def paste(self, tiles: Tensor) -> Tensor:
        """[n, C, 4, 4] -> [1, C, h, w], zero where no cell is wanted."""
        channels = tiles.shape[1]
        rows = tiles.new_zeros(self.height * self.width, channels)
        rows[self._at(0).index.to(tiles.device)] = tiles.permute(0, 2, 3, 1).reshape(-1, channels)
        return rows.view(1, self.height, self.width, channels).permute(0, 3, 1, 2)

    def _at(self, margin: int) -> _Places:
        if margin not in self._places:
            reach = torch.arange(-margin, SIDE + margin, device=self._rows.device)
            rows = (self._rows[:, None] + reach)[:, :, None]
            columns = (self._columns[:, None] + reach)[:, None, :]
            near = rows.clamp(0, self.height - 1), columns.clamp(0, self.width - 1)
            inside = (near[0] == rows) & (near[1] == columns)
            index = (near[0] * self.width + near[1]).flatten()
            self._places[margin] = _Places(index, None if bool(inside.all()) else inside)
        return self._places[margin]


# Distances to the nearest reference that predicted frames tell apart: 1, 2, 4, 8 frames or more.
N_DISTANCE_CLASSES = 4
FEATURES = REGULAR * 4
HIDDEN = REGULAR * 8


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Full float32: neither autocast nor TF32 may round the sums."""
    with no_autocast(device.type), \
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


class PassScales(nn.Module):
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

    def forward(self, x: Tensor, quality: Tensor, tiles: SparseBlocks | None = None) -> Tensor:
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
        self.stages = nn.ModuleList(PassScales(known, out) for known, out in stages)
        if context is not None:
            self.context = IntegerConv2d(context, FEATURES, 3, scale=0.5)
            self.kind_hyper_bias = nn.ModuleList(
                QualityBias(hyper.magnitudes()) for _ in range(N_DISTANCE_CLASSES))
            self.kind_bias = nn.ModuleList(QualityBias(FEATURES) for _ in range(N_DISTANCE_CLASSES))

    def pass_layers(self, number: int) -> PassScales:
        """The layers of one stage."""
        return cast(PassScales, self.stages[number])

    @property
    def device(self) -> torch.device:
        """Where this network runs: not with the others, if their device is not exact."""
        return self.unfold.theta.device

    def hyper_index(self, quality: Tensor, distance_class: int | None = None) -> Tensor:
        """Table index of each hyper-code: quality int64 [B] -> [B, C, 1, 1] (static tables)."""
        away, quality = quality.device, quality.to(self.device)
        total = self.hyper_bias(quality)
        if distance_class is not None:
            total = total + self.kind_hyper_bias[distance_class](quality)
        return self._index(total).to(away)

    def features(self, hyper_codes: Tensor, quality: Tensor,
                 given: tuple[Tensor, int] | None = None, tiles: SparseBlocks | None = None
                 ) -> Tensor:
        """Hyper-codes, integers [B, C, h, w] -> activations [B, 32, 4h, 4w].

        Args:
            hyper_codes: integers.
            quality: int64 [B], hundredths.
            given: context, integers 0..31 [B, C', 4h, 4w], and distance_class of a predicted frame.
            tiles: cells that are wanted, of one frame; the answer is [n, 32, 8, 8] then, for
                `forward` with the same tiles.
        """
        home, quality = self.device, quality.to(self.device)
        with _exact(home):
            x = F.pixel_shuffle(self.unfold(log_levels(hyper_codes.to(home), signed=True)), 4)
            x = x if tiles is None else tiles.cut(x, 2)
            x = x + self.unfold_bias(quality)
            if given is not None:
                (context, distance_class), padding = given, None
                context = context.to(home, x.dtype)
                if tiles is not None:
                    context, padding = tiles.cut(context, 3), 0
                x = x + self.context(context, padding=padding)
                x = x + self.kind_bias[distance_class](quality)
            x = requantise(x)
            return x if tiles is None else tiles.hidden(x, 2)

    def forward(self, stage: int, features: Tensor, known: Tensor | None, mask: Tensor,
                quality: Tensor, tiles: SparseBlocks | None = None) -> Tensor:
        """Table index of the codes of one stage.

        Args:
            stage: which one.
            features: activations from `features`.
            known: integer codes [B, C, h, w] of earlier stages, zero where not yet known.
            mask: [h, w], 1 where this stage writes codes.
            quality: int64 [B], hundredths.
            tiles: as for `features`; the index of cells that are not wanted is 0.

        Returns:
            [B, C', h, w] in [0, N_TABLES - 1]: real with gradient in training, integers otherwise.
        """
        away, home, quality = mask.device, self.device, quality.to(self.device)
        with _exact(home):
            plane = (mask.to(home) * ACTIVATION_MAX).to(features.dtype)[None, None]
            plane = plane if tiles is None else tiles.cut(plane, 2)
            parts = [features, plane.expand_as(features[:, :1])]
            if known is not None:
                known = known.to(home)
                parts.append(log_levels(known if tiles is None else tiles.cut(known, 2)))
            index = self._index(self.pass_layers(stage)(torch.cat(parts, 1), quality, tiles))
            return (index if tiles is None else tiles.paste(index)).to(away)

    def _index(self, total: Tensor) -> Tensor:
        index = gradient_clamp(total * 2.0**-SHIFT, 0, N_TABLES - 1)
        return index if self.training else index.floor()

    def integer_layers(self) -> dict[str, IntegerConv2d]:
        """Every integer convolution by name, for bounds and probes."""
        return {n: m for n, m in self.named_modules() if isinstance(m, IntegerConv2d)}

    def constrain(self) -> None:
        """Keep every layer inside its exactness bound."""
        for layer in self.integer_layers().values():
            layer.constrain()
