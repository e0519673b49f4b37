"""Entropy model of `d4-codec` (h_s and context): the mean and the frequency table of each code.

`ScaleNetwork` chooses tables. All its inputs are integers that the decoder already holds:
hyper-codes, quality, codes of earlier passes. Decoded samples never enter, not even rounded, so
encoder and decoder agree on every machine.

    hyper-codes ──1x1──> 4x4 blocks ──> features (32) ──┐
    log levels of earlier codes ────────────────────────┴─3x3──> 64 ──3x3──> 64 ──1x1──> index

`MeanNetwork` predicts latents in float: devices may differ by rounding, but only in pictures,
never in codes. `SparseBlocks` restricts the scale network to the coded cells of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4 import latent_kernels, plane_kernels
from aehub.codecs.d4.integer_conv import (
    ACTIVATION_MAX,
    SHIFT,
    IntegerConv2d,
    QualityBias,
    gradient_clamp,
    in_bytes,
    level_array,
    log_levels,
    requantise,
    shift_down,
)
from aehub.codecs.d4.symmetry import A1, REGULAR, Representation
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import QualityCurve
from aehub.coding.range_coder import N_TABLES
from aehub.weights.device import no_autocast

_INTER_MEANS = (1,)
"""Passes of inter frames whose means are predicted; a network gained nothing in the others."""
N_DISTANCE_CLASSES = 4
"""Distances to the nearest reference that inter frames distinguish: 1, 2, 4, 8 frames or more."""
DistanceClass = int | tuple[int, ...]
"""Class of all frames of a batch, or of each."""
FEATURES = REGULAR * 4
HIDDEN = REGULAR * 8
_CELL = 4
"""Side of a cell of `SparseBlocks` in latent positions: 32 luma samples, one coded-block flag."""
_MAX_DENSITY = 0.4
"""Share of coded cells above which the whole grid is faster, for the margins of cells overlap."""


def distance_class(distance: int) -> int:
    """Class of the distance to the nearest reference: its log2, clipped."""
    return min(distance.bit_length() - 1, N_DISTANCE_CLASSES - 1)


class MeanNetwork(nn.Module):
    """Means of y, before the gain, from the latents of earlier passes and from z (intra frames) or
    the motion-compensated prediction (inter frames).

    Args:
        hyper: representation of z.
        passes: for each pass, the representation of the latents decoded before it (None at first)
            and of those it predicts.
        prediction: representation of the prediction; None for intra frames.
    """

    def __init__(self, hyper: Representation,
                 passes: list[tuple[Representation | None, Representation]],
                 prediction: Representation | None = None) -> None:
        super().__init__()
        features, hidden = REGULAR * 4, REGULAR * 6
        if prediction is None:
            self.direct = TiedConv2d(hyper, passes[0][1].blocks(4), 1, scale=0, exact=True)
            self.unfold = TiedConv2d(hyper, features.blocks(4), 1)
        else:
            self.see = TiedConv2d(prediction, features)
        own = range(len(passes)) if prediction is None else _INTER_MEANS
        self.first = nn.ModuleDict({
            str(n): TiedConv2d(features if (earlier := passes[n][0]) is None
                               else features + earlier, hidden) for n in own})
        self.bias = nn.ModuleDict({str(n): QualityCurve(hidden) for n in own})
        self.last = nn.ModuleDict({str(n): TiedConv2d(hidden, passes[n][1], scale=0) for n in own})

    def features(self, hyper: Tensor, prediction: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """z [B, 24, h/4, w/4] or prediction [B, 96, h, w] -> (direct mean of the low band or None,
        features), at 1/8."""
        if prediction is not None:
            return None, F.relu(self.see(prediction))
        with no_autocast(hyper.device.type):
            direct = F.pixel_shuffle(self.direct(hyper), 4)
        return direct, F.relu(F.pixel_shuffle(self.unfold(hyper), 4))

    def forward(self, number: int, features: tuple[Tensor | None, Tensor], earlier: list[Tensor],
                gains: Tensor, quality: Tensor) -> Tensor | None:
        """Means of the latents of a pass.

        Args:
            number: of the pass.
            features: of the frame, from `features`.
            earlier: latents of earlier passes in steps, [B, C', h, w] each, in channel order.
            gains: steps per unit of latent, [B, 96, 1, 1] or [B, 96, h, w].
            quality: [B] or [1], 0..100.

        Returns:
            [B, C', h, w], not in steps; None where none is predicted.
        """
        name, (direct, x) = str(number), features
        if name not in self.first:
            return None
        if earlier:
            decoded = torch.cat(earlier, 1)
            x = torch.cat([x, decoded / gains[:, :decoded.shape[1]]], 1)
        hidden = self.first[name](x, bias=self.bias[name](quality))
        mean: Tensor = self.last[name](F.relu_(hidden))
        return mean if direct is None or number > 1 else mean + direct


@dataclass(frozen=True, eq=False)
class _Positions:
    index: Tensor  # int64 [n k k]: positions row by row, clamped to the grid
    inside: Tensor | None  # bool [n, k, k]: on the grid; None where all are


class SparseBlocks:
    """Coded cells of frames, cut out with a margin so that layers run on them as a batch.

    Layers see zeros beyond the border of the grid, and activations there have to stay zero:
    `mask_outside`.

    Args:
        coded: float [B, 1, h/4, w/4], 1 where a cell is coded, else 0.

    Source: Ren et al. 2018, "SBNet: sparse blocks network for fast inference".
    """

    def __init__(self, coded: Tensor) -> None:
        self._frames, *places = coded[:, 0].nonzero(as_tuple=True)
        self._rows, self._columns = (_CELL * at for at in places)
        self.count, self.n_frames = len(self._rows), len(coded)
        self.height, self.width = (_CELL * n for n in coded.shape[-2:])
        self._positions: dict[int, _Positions] = {}

    @classmethod
    def of(cls, coded: Tensor) -> SparseBlocks | None:
        """The blocks of these cells; None where the whole grid is faster."""
        return cls(coded) if float(coded.sum()) <= _MAX_DENSITY * coded.numel() else None

    def gather(self, x: Tensor, margin: int) -> Tensor:
        """[B, C, h, w] -> [n, C, 4 + 2 margin, 4 + 2 margin], channels last, zero outside."""
        channels, side = x.shape[1], _CELL + 2 * margin
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        picked = rows.index_select(0, self._at(margin).index.to(x.device))
        blocks = picked.view(self.count, side, side, channels).permute(0, 3, 1, 2)
        return self.mask_outside(blocks, margin)

    def mask_outside(self, blocks: Tensor, margin: int) -> Tensor:
        """Set to zero, in place, what lies outside of the grid."""
        inside = self._at(margin).inside
        if inside is None:
            return blocks
        side = _CELL + 2 * margin
        return blocks.mul_(inside.to(blocks.device).view(self.count, 1, side, side))

    def places(self, margin: int) -> np.ndarray:
        """Numbers of the positions of the blocks, and -1 outside of the grid, on the CPU."""
        side, at = _CELL + 2 * margin, self._at(margin)
        index = at.index.view(self.count, side, side)
        array: np.ndarray = (index if at.inside is None
                             else index.masked_fill(~at.inside, -1)).numpy()
        return array

    def scatter(self, blocks: Tensor) -> Tensor:
        """[n, C, 4, 4] -> [B, C, h, w], zero in cells that are not coded."""
        channels = blocks.shape[1]
        rows = blocks.new_zeros(self.n_frames * self.height * self.width, channels)
        rows[self._at(0).index.to(blocks.device)] = blocks.permute(0, 2, 3, 1).reshape(-1, channels)
        return rows.view(-1, self.height, self.width, channels).permute(0, 3, 1, 2)

    def _at(self, margin: int) -> _Positions:
        if margin not in self._positions:
            offsets = torch.arange(-margin, _CELL + margin, device=self._rows.device)
            rows = (self._rows[:, None] + offsets)[:, :, None]
            columns = (self._columns[:, None] + offsets)[:, None, :]
            near = rows.clamp(0, self.height - 1), columns.clamp(0, self.width - 1)
            inside = (near[0] == rows) & (near[1] == columns)
            first = self._frames[:, None, None] * self.height
            index = ((first + near[0]) * self.width + near[1]).flatten()
            self._positions[margin] = _Positions(index, None if bool(inside.all()) else inside)
        return self._positions[margin]


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    """Compute sums in full float32: neither autocast nor TF32 may round them."""
    with no_autocast(device.type), \
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def _of_classes(layers: nn.ModuleList, classes: DistanceClass, quality: Tensor) -> Tensor:
    """Values [1, C, 1, 1] of one class at a quality, or [B, C, 1, 1] of the class of each frame."""
    if isinstance(classes, int):
        return cast(Tensor, layers[classes](quality))
    return torch.cat([layers[one](quality) for one in classes])


class PassScales(nn.Module):
    """Layers of one pass: features, mask and earlier codes -> index sums of its channels."""

    def __init__(self, earlier: Representation | None, outputs: Representation) -> None:
        super().__init__()
        inputs = FEATURES + A1 if earlier is None else FEATURES + A1 + earlier.magnitudes()
        self.first = IntegerConv2d(inputs, HIDDEN, 3)
        self.first_bias = QualityBias(HIDDEN)
        self.second = IntegerConv2d(HIDDEN, HIDDEN, 3)
        self.second_bias = QualityBias(HIDDEN)
        self.last = IntegerConv2d(HIDDEN, outputs.magnitudes(), 1, scale=0.1)
        self.last_bias = QualityBias(outputs.magnitudes())

    def forward(self, x: Tensor, quality: Tensor, sparse: SparseBlocks | None = None) -> Tensor:
        """Index sums of the whole grid, or of blocks with a margin of 2 around them."""
        padding = None if sparse is None else 0
        x = requantise(self.first(x, bias=self.first_bias(quality), padding=padding))
        x = x if sparse is None else sparse.mask_outside(x, 1)
        x = requantise(self.second(x, bias=self.second_bias(quality), padding=padding))
        return self.last(x, bias=self.last_bias(quality))


def _scale_inputs(features: Tensor, mask: Tensor, earlier: Tensor | None,
                  sparse: SparseBlocks | None) -> Tensor:
    """Inputs of the layers of a pass, in one compiled loop: features, mask, levels of codes."""
    (height, width), batch = mask.shape, len(features)
    codes = (np.empty((1, 0), np.float32) if earlier is None
             else plane_kernels.channels_last(earlier).reshape(-1, earlier.shape[1]))
    place = _places(batch, height, width) if sparse is None else sparse.places(2)
    inputs, out = plane_kernels.new_channels_last(
        features.dtype, batch, features.shape[1] + 1 + codes.shape[1], *features.shape[2:])
    latent_kernels.scale_inputs(
        plane_kernels.channels_last(features), mask.contiguous().numpy().reshape(-1),
        ACTIVATION_MAX, codes, level_array(features.dtype), place, out)
    return inputs


@lru_cache(maxsize=8)
def _places(batch: int, height: int, width: int) -> np.ndarray:
    """Numbers of all positions, for `latent_kernels`."""
    return np.arange(batch * height * width).reshape(batch, height, width)


class ScaleNetwork(nn.Module):
    """Frequency-table index of each code: real-valued in training, its floor when coding.

    Attribute names are the names of the stored tensors: `stages` holds the layers of each pass,
    `kind_bias` and `kind_hyper_bias` those of each distance class.

    Args:
        hyper: representation of the hyper-codes.
        passes: for each pass, the representation of the codes decoded before it (None at first)
            and of the codes it writes.
        context: representation of the temporal context; None for intra frames.
    """

    def __init__(self, hyper: Representation,
                 passes: list[tuple[Representation | None, Representation]],
                 context: Representation | None = None) -> None:
        super().__init__()
        self.hyper_bias = QualityBias(hyper.magnitudes())
        self.unfold = IntegerConv2d(hyper, FEATURES.blocks(4), 1, scale=0.5, signed=True)
        self.unfold_bias = QualityBias(FEATURES)
        self.stages = nn.ModuleList(PassScales(earlier, out) for earlier, out in passes)
        if context is not None:
            self.context = IntegerConv2d(context, FEATURES, 3, scale=0.5)
            self.kind_hyper_bias = nn.ModuleList(
                QualityBias(hyper.magnitudes()) for _ in range(N_DISTANCE_CLASSES))
            self.kind_bias = nn.ModuleList(QualityBias(FEATURES) for _ in range(N_DISTANCE_CLASSES))

    def pass_layers(self, number: int) -> PassScales:
        """The layers of one pass."""
        return cast(PassScales, self.stages[number])

    @property
    def device(self) -> torch.device:
        """Device of this network: the CPU where that of the others is not exact."""
        return self.unfold.theta.device

    def hyper_index(self, quality: Tensor, distance_class: DistanceClass | None = None) -> Tensor:
        """Table index of each hyper-code: quality int64 [B] -> [B, C, 1, 1] (static tables)."""
        caller, quality = quality.device, quality.to(self.device)
        total = self.hyper_bias(quality).clone()
        if distance_class is not None:
            total = total + _of_classes(self.kind_hyper_bias, distance_class, quality)
        return self._index(total).to(caller)

    def features(self, hyper_codes: Tensor, quality: Tensor,
                 temporal: tuple[Tensor, DistanceClass] | None = None,
                 sparse: SparseBlocks | None = None) -> Tensor:
        """Hyper-codes, integers [B, C, h, w] -> activations [B, 32, 4h, 4w].

        Args:
            hyper_codes: integers.
            quality: int64 [B], hundredths.
            temporal: of inter frames, the temporal context, integers 0..31 [B, C', 4h, 4w], and
                the distance class.
            sparse: the coded cells of frames of one distance class; activations are [n, 32, 8, 8]
                then, for `forward` with the same blocks.
        """
        home, quality = self.device, quality.to(self.device)
        with _exact(home):
            x = F.pixel_shuffle(self.unfold(log_levels(hyper_codes.to(home), signed=True)), 4)
            x = x if sparse is None else sparse.gather(x, 2)
            x = x + self.unfold_bias(quality)
            if temporal is not None:
                (context, distance_class), padding = temporal, None
                is_packed = context.dtype == torch.uint8 and in_bytes(context)
                context = context.to(home, torch.uint8 if is_packed else x.dtype)
                if sparse is not None:
                    context, padding = sparse.gather(context, 3), 0
                x = x + self.context(context, padding=padding)
                x = x + _of_classes(self.kind_bias, distance_class, quality)
            x = requantise(x)
            return x if sparse is None else sparse.mask_outside(x, 2)

    def forward(self, number: int, features: Tensor, earlier: Tensor | None, mask: Tensor,
                quality: Tensor, sparse: SparseBlocks | None = None) -> Tensor:
        """Table index of the codes of one pass.

        Args:
            number: of the pass.
            features: activations from `features`.
            earlier: integer codes [B, C, h, w] of earlier passes, zero where not yet decoded.
            mask: [h, w], 1 where this pass writes codes.
            quality: int64 [B], hundredths.
            sparse: as for `features`; the index in other cells is 0.

        Returns:
            [B, C', h, w] in [0, N_TABLES - 1]: real with gradient in training, integers otherwise.
        """
        caller, home, quality = mask.device, self.device, quality.to(self.device)
        with _exact(home):
            if plane_kernels.at_hand(mask, *(() if earlier is None else (earlier,))):
                joined = _scale_inputs(features, mask, earlier, sparse)
                index = self._index(self.pass_layers(number)(joined, quality, sparse))
                return index if sparse is None else sparse.scatter(index)
            plane = (mask.to(home) * ACTIVATION_MAX).to(features.dtype)[None, None]
            if sparse is not None:
                plane = sparse.gather(plane.expand(sparse.n_frames, -1, -1, -1), 2)
            inputs = [features, plane.expand_as(features[:, :1])]
            if earlier is not None:
                earlier = earlier.to(home)
                inputs.append(log_levels(earlier if sparse is None else sparse.gather(earlier, 2)))
            index = self._index(self.pass_layers(number)(torch.cat(inputs, 1), quality, sparse))
            return (index if sparse is None else sparse.scatter(index)).to(caller)

    def _index(self, total: Tensor) -> Tensor:
        if not self.training and not torch.is_grad_enabled():
            return shift_down(total, N_TABLES - 1)
        index = gradient_clamp(total * 2.0**-SHIFT, 0, N_TABLES - 1)
        return index if self.training else index.floor()

    def integer_layers(self) -> dict[str, IntegerConv2d]:
        """Every integer convolution by name."""
        return {n: m for n, m in self.named_modules() if isinstance(m, IntegerConv2d)}

    def constrain(self) -> None:
        """Scale every layer down to its exactness bound."""
        for layer in self.integer_layers().values():
            layer.constrain()
