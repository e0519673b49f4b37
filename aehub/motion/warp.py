"""Motion-compensated prediction: blocks of decoded frames, moved by quarter samples.

Luma is moved in blocks of 8x8 with eight taps, chroma in 4x4 with four taps and eighths, as in HEVC
(H.265 8.5.3.3.3). The filters of mirrored phases mirror each other, so a turned picture moved by
turned vectors is the turned prediction. References are never rounded.

Blocks may overlap: each is moved with a margin around it, and margins fade into each other, so that
no edges appear between blocks with different vectors (overlapped block motion compensation,
Orchard and Sullivan 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.models.planes import PlaneBatch

BLOCK = 8
# Vectors count quarters of a luma sample.
PRECISION = 4

_LUMA = (
    (0, 0, 0, 64, 0, 0, 0, 0), (-1, 4, -10, 58, 17, -5, 1, 0), (-1, 4, -11, 40, 40, -11, 4, -1))
_CHROMA = ((0, 64, 0, 0), (-2, 58, 10, -2), (-4, 54, 16, -2), (-6, 46, 28, -4), (-4, 36, 36, -4))


@lru_cache
def filters(chroma: bool, side: int) -> Tensor:
    """For each phase the matrix [side, side + taps - 1] that moves a row of samples by it."""
    half = _CHROMA if chroma else _LUMA
    taps = len(half[0])
    # Phase 0 of the mirror image would begin one sample later: it is not mirrored.
    rows = [*half, *(row[::-1] for row in half[-2:0:-1])]
    matrix = torch.zeros(len(rows), side, side + taps - 1)
    for phase, row in enumerate(rows):
        for i in range(side):
            matrix[phase, i, i:i + taps] = torch.tensor(row) / 64
    return matrix


class _Windows(torch.autograd.Function):
    """Square windows of planes [B, H, W] at places [B, h, w] -> [B, h, w, n, n]."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, rows: Tensor, columns: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(rows, columns)
        ctx.geometry = (planes.shape, n)
        batch = torch.arange(len(planes), device=planes.device)[:, None, None]
        return planes.unfold(1, n, 1).unfold(2, n, 1)[batch, rows, columns]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (rows, columns), ((batch, height, width), n) = ctx.saved_tensors, ctx.geometry
        first = torch.arange(batch, device=rows.device)[:, None, None] * height + rows
        inside = torch.arange(n, device=rows.device)
        places = (first[..., None, None] + inside[:, None]) * width
        places = places + columns[..., None, None] + inside
        total = grads[0].new_zeros(batch * height * width)
        total.index_add_(0, places.reshape(-1), grads[0].reshape(-1))
        return total.view(batch, height, width), None, None, None


def windows(planes: Tensor, rows: Tensor, columns: Tensor, n: int) -> Tensor:
    """Windows of n x n samples from (rows, columns) on; outside, the border repeats.

    Args:
        planes: [B, H, W].
        rows: int64 [B, h, w], any value.
        columns: likewise.
        n: side of a window.

    Returns:
        [B, h, w, n, n].
    """
    height, width = planes.shape[-2:]
    # Beyond n samples outside everything is border.
    padded = F.pad(planes[:, None], (n, n, n, n), mode="replicate")[:, 0]
    rows, columns = (rows + n).clamp(0, height + n), (columns + n).clamp(0, width + n)
    picked: Tensor = _Windows.apply(padded, rows, columns, n)
    return picked


def move(planes: Tensor, vectors: Tensor, *, chroma: bool = False, margin: int = 0) -> Tensor:
    """Move blocks of planes.

    Args:
        planes: [B, H, W], float.
        vectors: integers [B, 2, h, w], (down, right) in quarters of a luma sample, one per block.
        chroma: the planes have half of luma's resolution: blocks of 4x4, eighths of a sample.
        margin: samples around each block that are moved with it.

    Returns:
        [B, h, w, n, n], n a block's side and two margins.
    """
    side, phases = (BLOCK // 2, 2 * PRECISION) if chroma else (BLOCK, PRECISION)
    wide = side + 2 * margin
    table = filters(chroma, wide).to(planes)
    n = table.shape[2]
    before = (n - wide) // 2 + margin
    batch, _, h, w = vectors.shape
    whole = torch.div(vectors, phases, rounding_mode="floor").long()
    phase = (vectors.long() - whole * phases)
    rows = torch.arange(h, device=planes.device)[:, None] * side + whole[:, 0] - before
    columns = torch.arange(w, device=planes.device) * side + whole[:, 1] - before
    picked = windows(planes, rows, columns, n).flatten(0, 2)
    down, right = table[phase[:, 0].reshape(-1)], table[phase[:, 1].reshape(-1)]
    moved = torch.bmm(torch.bmm(down, picked), right.transpose(1, 2))
    return moved.view(batch, h, w, wide, wide)


def lay(blocks: Tensor, margin: int = 0) -> Tensor:
    """Blocks with margins [B, h, w, n, n] side by side, margins fading into each other: [B, H, W].

    Beyond the border there is nothing to fade into.
    """
    batch, h, w, n, _ = blocks.shape
    side = n - 2 * margin
    if not margin:
        return blocks.transpose(2, 3).reshape(batch, h * side, w * side)
    fade = _fade(side, margin).to(blocks)
    total = _added(blocks * fade[:, None] * fade, margin)
    down, right = (_line(side, margin, count).to(blocks) for count in (h, w))
    return total / (down[:, None] * right)


@lru_cache
def _fade(side: int, margin: int) -> Tensor:
    """How a block counts along a line through it and its margins; neighbours add up to 1."""
    rise = (torch.arange(2 * margin) + 0.5) / (2 * margin)
    return torch.cat([rise, torch.ones(side - 2 * margin), rise.flip(0)])


def _added(blocks: Tensor, margin: int) -> Tensor:
    """[B, h, w, n, n] -> [B, H, W], the sum where blocks lie upon each other."""
    batch, h, w, n, _ = blocks.shape
    side = n - 2 * margin
    size = (h * side + 2 * margin, w * side + 2 * margin)
    columns = blocks.flatten(3).flatten(1, 2).transpose(1, 2)
    total = F.fold(columns, size, n, stride=side)[:, 0]
    return total[:, margin:-margin, margin:-margin]


@lru_cache
def _line(side: int, margin: int, count: int) -> Tensor:
    """What the blocks of a line add up to at each sample: less than 1 at the borders."""
    blocks = _fade(side, margin).expand(1, 1, count, -1)
    total = F.fold(blocks[0].transpose(1, 2), (1, count * side + 2 * margin),
                   (1, side + 2 * margin), stride=(1, side))
    return total[0, 0, 0, margin:-margin]


def predict(references: Sequence[PlaneBatch], vectors: Tensor, modes: Tensor, overlap: int = 0
            ) -> PlaneBatch:
    """Predict pictures from decoded ones.

    Args:
        references: one or two batches of planes, float.
        vectors: integers [B, R, 2, h, w] per 8x8 block of luma.
        modes: integers [B, h/2, w/2] per 16x16 block: 1 the first reference, 2 the second, 3 the
            mean of both.
        overlap: samples of luma by which blocks reach over their neighbours, even, up to 4.
    """
    luma = predict_planes([r.y[:, 0] for r in references], vectors, modes, overlap)
    colours = predict_planes(
        [torch.cat([r.u, r.v], 1).flatten(0, 1) for r in references],
        vectors.repeat_interleave(2, 0), modes.repeat_interleave(2, 0), overlap // 2, chroma=True)
    u, v = colours.unflatten(0, (-1, 2)).unbind(1)
    return PlaneBatch(luma[:, None], u[:, None], v[:, None])


def predict_planes(references: Sequence[Tensor], vectors: Tensor, modes: Tensor, margin: int, *,
                   chroma: bool = False) -> Tensor:
    """Predict planes [B, H, W] of one kind.

    Args:
        references: one or two, [B, H, W].
        vectors: as for `predict`.
        modes: as for `predict`.
        margin: samples by which blocks reach over their neighbours.
        chroma: as for `move`.
    """
    moved = [move(r, v, chroma=chroma, margin=margin)
             for r, v in zip(references, vectors.unbind(1), strict=True)]
    if len(moved) == 1:
        return lay(moved[0], margin)
    share = torch.tensor([0.0, 1.0, 0.0, 0.5]).to(moved[0])[modes.long()]
    share = share.repeat_interleave(2, 1).repeat_interleave(2, 2)[..., None, None]
    return lay(torch.lerp(moved[1], moved[0], share), margin)
