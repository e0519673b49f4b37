"""Step 0 of `d4-codec`: a classical codec, set by hand.

The transforms are block DCTs already. Here the hyper-codes become the mean brightness and colour
of each 32x32 block, and the integer network a neighbour context: the mean level of the codes
around raises the scale of the code to come. What is left to fit to data are base indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from aehub.entropy import N_TABLES, SCALE_MAX, SCALE_MIN
from aehub.models.d4 import ORDER
from aehub.models.d4_codec import D4Codec, step
from aehub.models.dct import Start, start
from aehub.models.integer import KNOTS, IntegerConv2d
from aehub.models.scales import FEATURES, HIDDEN, StageScales

_INDICES_PER_E_FOLD = (N_TABLES - 1) / math.log(SCALE_MAX / SCALE_MIN)
# Levels grow by 4 per octave of a code's size, table indices by this much.
_INDICES_PER_LEVEL = _INDICES_PER_E_FOLD * math.log(2) / 4
# First hidden activations are this many times a mean level; int8 halves them on their way on.
_RESOLUTION = 8


@torch.no_grad()
def set_classical_start(model: D4Codec) -> None:
    """Set everything of step 0 that does not need data."""
    dct = start()
    flat = [int(c) for c in range(96) if dct.frequency[c] == 0]
    fold = torch.zeros(model.hyper_direct.shape)
    unfold = torch.zeros(model.means.direct.shape)
    for hyper, channel in enumerate(flat):
        fold[hyper, channel] = 1 / 16
        unfold[16 * channel:16 * channel + 16, hyper] = 1
    model.hyper_direct.set_dense(fold)
    model.means.direct.set_dense(unfold)
    _set_base_indices(model, dct)
    for number, (begin, end) in enumerate(model.ranges):
        stage = model.scales.stage(number)
        known = stage.first.inputs.channels - FEATURES.channels - 1
        if known:
            _set_context(stage, dct, known, begin, end)


def _set_base_indices(model: D4Codec, dct: Start) -> None:
    """Scales of natural pictures fall with frequency; steps shrink with quality."""
    steps = step(torch.linspace(0, 100, KNOTS))[:, None]
    scale = 70 / (1 + torch.from_numpy(dct.frequency)) ** 1.3
    scale = torch.where(torch.from_numpy(dct.chroma), scale / 4, scale)
    index = torch.log(scale / steps / SCALE_MIN) * _INDICES_PER_E_FOLD
    for number, (begin, end) in enumerate(model.ranges):
        bias = model.scales.stage(number).last_bias
        for channel in range(begin, end):
            bias.values[:, bias.slots[channel - begin]] = index[:, channel].clamp(0, 60).float()
    model.scales.hyper_bias.values.fill_(1.0)
    model.scales.hyper_bias.values[:, :3] = (
        torch.log(200 / steps / SCALE_MIN) * _INDICES_PER_E_FOLD).clamp(0, 60)


def _set_context(stage: StageScales, dct: Start, known: int, begin: int, end: int) -> None:
    """Four hidden fields carry mean levels of luma and chroma nearby; the last layer adds them."""
    kernel = torch.tensor([[1.0, 2, 1], [2, 2, 2], [1, 2, 1]])
    chroma = torch.from_numpy(dct.chroma[:known])
    high = torch.from_numpy(dct.frequency[:known]) > (3 if known > 30 else 1)
    groups = [~chroma & ~high, ~chroma & high, chroma & ~high, chroma & high]
    offset = FEATURES.channels + 1
    _edit(stage.first, lambda w: _mean_levels(w, groups, kernel, offset))
    _edit(stage.second, _pass_through)

    def add(w: Tensor) -> None:
        slope = 0.7 * _INDICES_PER_LEVEL / (_RESOLUTION / 2) / ORDER
        for channel in range(begin, end):
            mine = (2, 3) if dct.chroma[channel] else (0, 1)
            for field in mine:
                w[channel - begin, ORDER * field:ORDER * (field + 1)] = slope / len(mine)

    _edit(stage.last, add)


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
