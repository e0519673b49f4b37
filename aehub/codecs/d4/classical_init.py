"""Initialisation of `d4-codec` as a classical codec, before training.

The transforms are block DCTs already. Here the hyper-codes become the mean luma and chroma of each
32x32 block, and the scale network a context model: the mean log level of the surrounding codes
raises the scale of a code. Only base indices are left to fit to data.

Inter frames are initialised as motion-compensated residual coding, scales raised by the surrounding
codes and by the references' codes where the block was predicted from.
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
from aehub.codecs.d4.transforms import BlockDct, block_dct, step_size
from aehub.coding.range_coder import N_TABLES, SCALE_MAX, SCALE_MIN
from aehub.media.orientation import ORDER

_INDICES_PER_E_FOLD = (N_TABLES - 1) / math.log(SCALE_MAX / SCALE_MIN)
"""Table indices per factor e of the scale."""
_INDICES_PER_LEVEL = _INDICES_PER_E_FOLD * math.log(2) / 4
"""Table indices per log level: levels grow by 4 per octave of a code's magnitude."""
_RESOLUTION = 8
"""First hidden activations are this many times a mean level; int8 weights halve them after that."""
_CHROMA, _DIAGONAL, _SIDES = 1, 12, 14
"""Hyper-codes of inter frames: activity of chroma, and differences of luma's between quadrants
along the diagonals (B2) and the sides (an E pair). That of luma itself is 0."""


@torch.no_grad()
def init_classical(model: D4Network) -> None:
    """Initialise the networks of intra frames, as far as that needs no data."""
    dct = block_dct()
    dc = [int(c) for c in range(96) if dct.frequency[c] == 0]
    fold = torch.zeros(model.hyper_direct.shape)
    unfold = torch.zeros(model.means.direct.shape)
    for hyper, channel in enumerate(dc):
        fold[hyper, channel] = 1 / 16
        unfold[16 * channel:16 * channel + 16, hyper] = 1
    model.hyper_direct.set_dense(fold)
    model.means.direct.set_dense(unfold)
    _set_base_indices(model, dct, 70.0)
    model.scales.hyper_bias.values[:, :3] = (
        torch.log(200 / _steps() / SCALE_MIN) * _INDICES_PER_E_FOLD).clamp(0, 60)
    _set_contexts(model, dct)


@torch.no_grad()
def init_classical_inter(network: FrameNetwork) -> None:
    """Initialise the networks of inter frames."""
    dct = block_dct()
    _set_base_indices(network, dct, 8.0)
    _edit(network.scales.context, lambda w: _reference_levels(w, dct))
    _edit(network.scales.unfold, _spread_activity)
    activity = torch.zeros(network.activity.shape)
    luma = torch.from_numpy(~dct.chroma)
    for hyper, quadrants in _quadrants(0):
        activity[hyper][luma] = quadrants / 64
    activity[_CHROMA][~luma] = 1.5 / 128
    network.activity.set_dense(activity)
    _set_contexts(network, dct)


@torch.no_grad()
def tilt_step_sizes(network: FrameNetwork, amount: float) -> None:
    """Let quantiser steps of luma grow with frequency, and adapt the base indices.

    MS-SSIM gives half-scale and quarter-scale structure twelve times the weight of the finest, and
    noise there is that much more visible; squared error alone makes no difference.

    Args:
        network: its gains and scales are changed.
        amount: growth of the logarithm of the step from DC to the highest diagonal frequency.
    """
    dct = block_dct()
    rise = amount * torch.from_numpy(np.where(dct.chroma, 0, dct.frequency / 14 - 0.25)).float()
    network.gain.values[:, network.gain.orbits] -= rise
    for number, (begin, end) in enumerate(network.pass_channels):
        bias = network.scales.pass_layers(number).last_bias
        bias.values[:, bias.orbits] -= rise[begin:end] * _INDICES_PER_E_FOLD


def _set_contexts(network: FrameNetwork, dct: BlockDct) -> None:
    for number, (begin, end) in enumerate(network.pass_channels):
        layers = network.scales.pass_layers(number)
        earlier = layers.first.inputs.channels - FEATURES.channels - 1
        if earlier or network.conditional:
            _set_context(layers, dct, earlier, begin, end, network.conditional)


def _steps() -> Tensor:
    return step_size(torch.linspace(0, 100, KNOTS))[:, None]


def _set_base_indices(network: FrameNetwork, dct: BlockDct, dc_scale: float) -> None:
    """Set base indices: scales of natural pictures fall with frequency, steps with quality."""
    scale = dc_scale / (1 + torch.from_numpy(dct.frequency)) ** 1.3
    scale = torch.where(torch.from_numpy(dct.chroma), scale / 4, scale)
    index = torch.log(scale / _steps() / SCALE_MIN) * _INDICES_PER_E_FOLD
    for number, (begin, end) in enumerate(network.pass_channels):
        bias = network.scales.pass_layers(number).last_bias
        for channel in range(begin, end):
            bias.values[:, bias.orbits[channel - begin]] = index[:, channel].clamp(0, 60).float()
    network.scales.hyper_bias.values.fill_(1.0)


def _set_context(layers: PassScales, dct: BlockDct, earlier: int, begin: int, end: int,
                 conditional: bool) -> None:
    """Let four hidden fields carry mean levels of nearby luma and chroma, added by the last layer.

    Args:
        layers: of a pass.
        dct: order of the channels.
        earlier: channels decoded before this pass.
        begin: first channel of this pass.
        end: after its last channel.
        conditional: of inter frames.
    """
    kernel = torch.tensor([[1.0, 2, 1], [2, 2, 2], [1, 2, 1]])
    chroma = torch.from_numpy(dct.chroma[:earlier])
    high = torch.from_numpy(dct.frequency[:earlier]) > (3 if earlier > 30 else 1)
    groups = [~chroma & ~high, ~chroma & high, chroma & ~high, chroma & high]
    offset = FEATURES.channels + 1
    _edit(layers.first, lambda w: _mean_levels(w, groups, kernel, offset))
    if conditional:
        _edit(layers.first, _take_reference_levels)
    _edit(layers.second, _pass_through)

    def add(w: Tensor) -> None:
        slope = 0.7 * _INDICES_PER_LEVEL / (_RESOLUTION / 2) / ORDER
        for channel in range(begin, end):
            fields = (2, 3) if dct.chroma[channel] else (0, 1)
            for field in fields:
                w[channel - begin, ORDER * field:ORDER * (field + 1)] = slope / len(fields)

    _edit(layers.last, add)


def _quadrants(first: int) -> list[tuple[int, Tensor]]:
    """Hyper-codes of the mean of a cell's four quadrants and of three differences between them."""
    plus, minus = torch.ones(2), torch.tensor([1.0, -1.0])
    patterns = ((first, plus, plus), (_DIAGONAL, minus, minus), (_SIDES, plus, minus),
                (_SIDES + 1, minus, plus))
    return [(channel, 1.5 / 4 * torch.outer(rows, columns)) for channel, rows, columns in patterns]


def _spread_activity(w: Tensor) -> None:
    """Let the third field of the features carry the activity of luma, the fourth that of chroma."""
    blocks = w.view(FEATURES.channels, 4, 4, -1)
    blocks[2 * ORDER:4 * ORDER] = 0
    for hyper, quadrants in _quadrants(0):
        fine = quadrants.sign().repeat_interleave(2, 0).repeat_interleave(2, 1)
        blocks[2 * ORDER:3 * ORDER, :, :, hyper] = 0.25 * fine
    blocks[3 * ORDER:4 * ORDER, :, :, _CHROMA] = 0.25


def _reference_levels(w: Tensor, dct: BlockDct) -> None:
    """Let the first two fields of the features carry mean levels of the references' codes."""
    chroma = torch.from_numpy(dct.chroma)
    w[:2 * ORDER] = 0
    for field, group in enumerate((~chroma, chroma)):
        w[ORDER * field:ORDER * (field + 1), :96][:, group, 1, 1] = _RESOLUTION / int(group.sum())


def _take_reference_levels(w: Tensor) -> None:
    """Add the references' mean levels and the activity of the same planes to each hidden field."""
    weights = torch.eye(ORDER) * (100 / 256)
    for field in range(4):
        rows = w[ORDER * field:ORDER * (field + 1)]
        rows[:, :FEATURES.channels] = 0
        for source in (field // 2, 2 + field // 2):
            rows[:, ORDER * source:ORDER * (source + 1), 1, 1] = weights


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
