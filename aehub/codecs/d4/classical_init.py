"""Step 0 of `d4-codec`: a classical codec, set by hand.

The transforms are block DCTs already. Here the hyper-codes become the mean brightness and colour
of each 32x32 block, and the integer network a neighbour context: the mean level of the codes
around raises the scale of the code to come. What is left to fit to data are base indices.

Predicted frames start as motion-compensated coding of the difference, their scales raised by the
codes around and by the references' codes at the place where the block came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4.entropy_model import FEATURES, HIDDEN, PassScales
from aehub.codecs.d4.integer_conv import KNOTS, IntegerConv2d
from aehub.codecs.d4.network import D4Network, FrameNetwork
from aehub.codecs.d4.symmetry import ORDER
from aehub.codecs.d4.transforms import BlockDct, block_dct, step_size
from aehub.coding.range_coder import N_TABLES, SCALE_MAX, SCALE_MIN

_INDICES_PER_E_FOLD = (N_TABLES - 1) / math.log(SCALE_MAX / SCALE_MIN)
# Levels grow by 4 per octave of a code's size, table indices by this much.
_INDICES_PER_LEVEL = _INDICES_PER_E_FOLD * math.log(2) / 4
# First hidden activations are this many times a mean level; int8 halves them on their way on.
_RESOLUTION = 8
# Hyper-codes: activity of luma is 0 (invariant), its differences these; of chroma the next.
_CHROMA, _DIAGONAL, _SIDES = 1, 12, 14


@torch.no_grad()
def init_classical(model: D4Network) -> None:
    """Set everything of step 0 that does not need data."""
    dct = block_dct()
    flat = [int(c) for c in range(96) if dct.frequency[c] == 0]
    fold = torch.zeros(model.hyper_direct.shape)
    unfold = torch.zeros(model.means.direct.shape)
    for hyper, channel in enumerate(flat):
        fold[hyper, channel] = 1 / 16
        unfold[16 * channel:16 * channel + 16, hyper] = 1
    model.hyper_direct.set_dense(fold)
    model.means.direct.set_dense(unfold)
    _set_base_indices(model, dct, 70.0)
    model.scales.hyper_bias.values[:, :3] = (
        torch.log(200 / _steps() / SCALE_MIN) * _INDICES_PER_E_FOLD).clamp(0, 60)
    _set_contexts(model, dct)


@torch.no_grad()
def init_classical_inter(coder: FrameNetwork) -> None:
    """The same for the coder of predicted frames."""
    dct = block_dct()
    _set_base_indices(coder, dct, 8.0)
    _edit(coder.scales.context, lambda w: _reference_levels(w, dct))
    _edit(coder.scales.unfold, _spread_activity)
    activity = torch.zeros(coder.activity.shape)
    luma = torch.from_numpy(~dct.chroma)
    for hyper, quadrants in _quadrants(0):
        activity[hyper][luma] = quadrants / 64
    activity[_CHROMA][~luma] = 1.5 / 128
    coder.activity.set_dense(activity)
    _set_contexts(coder, dct)


@torch.no_grad()
def tilt_step_sizes(coder: FrameNetwork, amount: float) -> None:
    """Steps of luma that grow with frequency, and base indices that know of it.

    MS-SSIM gives half-scale and quarter-scale structure twelve times the weight of the finest, and
    eyes see that much less noise in it; squared error alone does not ask.

    Args:
        coder: its gains and scales are changed.
        amount: by how much the logarithm of the step grows from flat to the finest diagonal wave.
    """
    dct = block_dct()
    rise = amount * torch.from_numpy(np.where(dct.chroma, 0, dct.frequency / 14 - 0.25)).float()
    coder.gain.values[:, coder.gain.orbits] -= rise
    for number, (begin, end) in enumerate(coder.pass_channels):
        bias = coder.scales.pass_layers(number).last_bias
        bias.values[:, bias.orbits] -= rise[begin:end] * _INDICES_PER_E_FOLD


def _set_contexts(coder: FrameNetwork, dct: BlockDct) -> None:
    for number, (begin, end) in enumerate(coder.pass_channels):
        stage = coder.scales.pass_layers(number)
        known = stage.first.inputs.channels - FEATURES.channels - 1
        if known or coder.conditional:
            _set_context(stage, dct, known, begin, end, coder.conditional)


def _steps() -> Tensor:
    return step_size(torch.linspace(0, 100, KNOTS))[:, None]


def _set_base_indices(coder: FrameNetwork, dct: BlockDct, flat: float) -> None:
    """Scales of natural pictures fall with frequency; steps shrink with quality."""
    scale = flat / (1 + torch.from_numpy(dct.frequency)) ** 1.3
    scale = torch.where(torch.from_numpy(dct.chroma), scale / 4, scale)
    index = torch.log(scale / _steps() / SCALE_MIN) * _INDICES_PER_E_FOLD
    for number, (begin, end) in enumerate(coder.pass_channels):
        bias = coder.scales.pass_layers(number).last_bias
        for channel in range(begin, end):
            bias.values[:, bias.orbits[channel - begin]] = index[:, channel].clamp(0, 60).float()
    coder.scales.hyper_bias.values.fill_(1.0)


def _set_context(stage: PassScales, dct: BlockDct, known: int, begin: int, end: int,
                 conditional: bool) -> None:
    """Four hidden fields carry mean levels of luma and chroma nearby; the last layer adds them."""
    kernel = torch.tensor([[1.0, 2, 1], [2, 2, 2], [1, 2, 1]])
    chroma = torch.from_numpy(dct.chroma[:known])
    high = torch.from_numpy(dct.frequency[:known]) > (3 if known > 30 else 1)
    groups = [~chroma & ~high, ~chroma & high, chroma & ~high, chroma & high]
    offset = FEATURES.channels + 1
    _edit(stage.first, lambda w: _mean_levels(w, groups, kernel, offset))
    if conditional:
        _edit(stage.first, _take_reference_levels)
    _edit(stage.second, _pass_through)

    def add(w: Tensor) -> None:
        slope = 0.7 * _INDICES_PER_LEVEL / (_RESOLUTION / 2) / ORDER
        for channel in range(begin, end):
            mine = (2, 3) if dct.chroma[channel] else (0, 1)
            for field in mine:
                w[channel - begin, ORDER * field:ORDER * (field + 1)] = slope / len(mine)

    _edit(stage.last, add)


def _quadrants(first: int) -> list[tuple[int, Tensor]]:
    """The hyper-codes of four quadrants of a cell: their mean and three differences."""
    plus, minus = torch.ones(2), torch.tensor([1.0, -1.0])
    waves = ((first, plus, plus), (_DIAGONAL, minus, minus), (_SIDES, plus, minus),
             (_SIDES + 1, minus, plus))
    return [(channel, 1.5 / 4 * torch.outer(rows, columns)) for channel, rows, columns in waves]


def _spread_activity(w: Tensor) -> None:
    """The third field of the features carries the activity of luma, the fourth that of chroma."""
    blocks = w.view(FEATURES.channels, 4, 4, -1)
    blocks[2 * ORDER:4 * ORDER] = 0
    for hyper, quadrants in _quadrants(0):
        fine = quadrants.sign().repeat_interleave(2, 0).repeat_interleave(2, 1)
        blocks[2 * ORDER:3 * ORDER, :, :, hyper] = 0.25 * fine
    blocks[3 * ORDER:4 * ORDER, :, :, _CHROMA] = 0.25


def _reference_levels(w: Tensor, dct: BlockDct) -> None:
    """The first two fields of the features carry mean levels of the references' codes."""
    chroma = torch.from_numpy(dct.chroma)
    w[:2 * ORDER] = 0
    for field, group in enumerate((~chroma, chroma)):
        w[ORDER * field:ORDER * (field + 1), :96][:, group, 1, 1] = _RESOLUTION / int(group.sum())


def _take_reference_levels(w: Tensor) -> None:
    """Each hidden field of mean levels adds the references' and the activity of the same planes."""
    own = torch.eye(ORDER) * (100 / 256)
    for field in range(4):
        rows = w[ORDER * field:ORDER * (field + 1)]
        rows[:, :FEATURES.channels] = 0
        for source in (field // 2, 2 + field // 2):
            rows[:, ORDER * source:ORDER * (source + 1), 1, 1] = own


def _mean_levels(w: Tensor, groups: list[Tensor], kernel: Tensor, offset: int) -> None:
    for field, group in enumerate(groups):
        rows = w[ORDER * field:ORDER * (field + 1)]
        rows.zero_()
        share = _RESOLUTION * kernel / kernel.sum() / max(1, int(group.sum()))
        rows[:, offset:][:, group] = share


def _pass_through(w: Tensor) -> None:
    n = 4 * ORDER
    w[:n] = 0
    w[:n, :n, 1, 1] = torch.eye(n) * (127 / 256)
    assert HIDDEN.channels >= n


def _edit(layer: IntegerConv2d, change: Callable[[Tensor], None]) -> None:
    dense = (layer.theta[layer.index] * layer.sign).view(layer.shape)
    change(dense)
    layer.set_dense(dense)
