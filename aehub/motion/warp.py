"""Motion-compensated prediction: blocks of decoded frames, moved by quarter samples.

Luma is moved in blocks of 8x8 with eight taps, chroma in 4x4 with four taps and eighths, as in HEVC
(H.265 8.5.3.3.3). The filters of mirrored phases mirror each other, so a turned picture moved by
turned vectors is the turned prediction. References are never rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.models.d4_codec import PlaneBatch

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


def move(planes: Tensor, vectors: Tensor, *, chroma: bool = False) -> Tensor:
    """Move blocks of planes.

    Args:
        planes: [B, H, W], float.
        vectors: integers [B, 2, h, w], (down, right) in quarters of a luma sample, one per block.
        chroma: the planes have half of luma's resolution: blocks of 4x4, eighths of a sample.

    Returns:
        [B, H, W].
    """
    side, phases = (BLOCK // 2, 2 * PRECISION) if chroma else (BLOCK, PRECISION)
    table = filters(chroma, side).to(planes)
    n = table.shape[2]
    before = (n - side) // 2
    batch, _, h, w = vectors.shape
    whole = torch.div(vectors, phases, rounding_mode="floor").long()
    phase = (vectors.long() - whole * phases)
    rows = torch.arange(h, device=planes.device)[:, None] * side + whole[:, 0] - before
    columns = torch.arange(w, device=planes.device) * side + whole[:, 1] - before
    picked = windows(planes, rows, columns, n).flatten(0, 2)
    down, right = table[phase[:, 0].reshape(-1)], table[phase[:, 1].reshape(-1)]
    moved = torch.bmm(torch.bmm(down, picked), right.transpose(1, 2))
    return moved.view(batch, h, w, side, side).transpose(2, 3).reshape(batch, h * side, w * side)


def predict(references: Sequence[PlaneBatch], vectors: Tensor, modes: Tensor) -> PlaneBatch:
    """Predict pictures from decoded ones.

    Args:
        references: one or two batches of planes, float.
        vectors: integers [B, R, 2, h, w] per 8x8 block of luma.
        modes: integers [B, h/2, w/2] per 16x16 block: 1 the first reference, 2 the second, 3 the
            mean of both.
    """
    moved = [PlaneBatch(move(r.y[:, 0], v)[:, None], *_move_chroma(r, v))
             for r, v in zip(references, vectors.unbind(1), strict=True)]
    if len(moved) == 1:
        return moved[0]
    share = torch.tensor([0.0, 1.0, 0.0, 0.5]).to(moved[0].y)[modes.long()][:, None]
    planes = []
    for a, b in zip(*moved, strict=True):
        n = a.shape[-1] // modes.shape[-1]
        planes.append(torch.lerp(b, a, share.repeat_interleave(n, 2).repeat_interleave(n, 3)))
    return PlaneBatch(*planes)


def _move_chroma(planes: PlaneBatch, vectors: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([planes.u, planes.v], 1).flatten(0, 1)
    moved = move(both, vectors.repeat_interleave(2, 0), chroma=True)
    u, v = moved.view(-1, 2, *moved.shape[1:]).unbind(1)
    return u[:, None], v[:, None]
