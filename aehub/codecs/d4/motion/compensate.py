"""Motion-compensated prediction: blocks of decoded frames, moved by quarter samples.

Luma is moved in blocks of 8x8 with eight taps, chroma in 4x4 with four taps and eighths, as in HEVC
(H.265 8.5.3.3.3). The filters of mirrored phases mirror each other, so a turned picture moved by
turned vectors is the turned prediction. References are never rounded.

Blocks overlap: each is moved with a margin around it, and margins fade into each other, so that
no edges appear between blocks with different vectors (overlapped block motion compensation,
Orchard and Sullivan 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4.planes import PlaneBatch

SUB_BLOCK = 8
# Vectors count quarters of a luma sample.
PRECISION = 4
# Samples of luma by which blocks reach over their neighbours: the margins of a block of 8x8 meet in
# its middle. Without, files are 3.6 % larger at the same PSNR.
OBMC_MARGIN = 4

_LUMA_TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0), (-1, 4, -10, 58, 17, -5, 1, 0), (-1, 4, -11, 40, 40, -11, 4, -1))
_CHROMA_TAPS = ((0, 64, 0, 0), (-2, 58, 10, -2), (-4, 54, 16, -2), (-6, 46, 28, -4), (-4, 36, 36,
                                                                                      -4))


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def interpolation_matrices(chroma: bool, side: int) -> Tensor:
    """For each phase the matrix [side, side + taps - 1] that moves a row of samples by it."""
    half = _CHROMA_TAPS if chroma else _LUMA_TAPS
    taps = len(half[0])
    # Phase 0 of the mirror image would begin one sample later: it is not mirrored.
    rows = [*half, *(row[::-1] for row in half[-2:0:-1])]
    matrix = torch.zeros(len(rows), side, side + taps - 1, dtype=torch.float32, device="cpu")
    for phase, row in enumerate(rows):
        for i in range(side):
            matrix[phase, i, i:i + taps] = matrix.new_tensor(row) / 64
    return matrix


class _Windows(torch.autograd.Function):
    """Square windows of planes [B, H, W] at places [k] -> [k, n, n]."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, picture: Tensor, rows: Tensor, columns: Tensor, n: int
                ) -> Tensor:
        ctx.save_for_backward(picture, rows, columns)
        ctx.geometry = (planes.shape, n)
        return planes.unfold(1, n, 1).unfold(2, n, 1)[picture, rows, columns]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (picture, rows, columns), ((batch, height, width), n) = ctx.saved_tensors, ctx.geometry
        first = picture * height + rows
        inside = torch.arange(n, device=rows.device)
        places = (first[..., None, None] + inside[:, None]) * width
        places = places + columns[..., None, None] + inside
        total = grads[0].new_zeros(batch * height * width)
        total.index_add_(0, places.reshape(-1), grads[0].reshape(-1))
        return total.view(batch, height, width), None, None, None, None


class _Blocks(NamedTuple):
    """Some blocks of pictures, int64 [k] each: of which picture, which row and column of blocks."""

    picture: Tensor
    row: Tensor
    column: Tensor

    @classmethod
    def where(cls, chosen: Tensor) -> _Blocks:
        """Those where [B, h, w] is true."""
        return cls(*chosen.nonzero(as_tuple=True))


def _interpolate(planes: Tensor, blocks: _Blocks, vectors: Tensor, side: int,
                 chroma: bool) -> Tensor:
    """Move blocks of planes, with their margins; outside, the border repeats.

    Args:
        planes: [B, H, W], float.
        blocks: which ones.
        vectors: integers [B, 2, h, w], (down, right) in quarters of a luma sample, one per block.
        side: of a block in samples of luma.
        chroma: the planes have half of luma's resolution: blocks of half the side, eighths of a
            sample.

    Returns:
        [k, n, n], n a block's side and two margins.
    """
    margin = _margin(chroma)
    side, phases = (side // 2, 2 * PRECISION) if chroma else (side, PRECISION)
    wide = side + 2 * margin
    table = interpolation_matrices(chroma, wide).to(planes)
    n = table.shape[2]
    before = (n - wide) // 2 + margin
    own = vectors[blocks.picture, :, blocks.row, blocks.column].long()  # [k, 2]
    whole = torch.div(own, phases, rounding_mode="floor")
    phase = own - whole * phases
    height, width = planes.shape[-2:]
    # Beyond n samples outside everything is border.
    padded = F.pad(planes[:, None], (n, n, n, n), mode="replicate")[:, 0]
    rows = (blocks.row * side + whole[:, 0] - before + n).clamp(0, height + n)
    columns = (blocks.column * side + whole[:, 1] - before + n).clamp(0, width + n)
    picked: Tensor = _Windows.apply(padded, blocks.picture, rows, columns, n)
    return torch.bmm(torch.bmm(table[phase[:, 0]], picked), table[phase[:, 1]].transpose(1, 2))


def _margin(chroma: bool) -> int:
    return OBMC_MARGIN // 2 if chroma else OBMC_MARGIN


def _blend(blocks: Tensor, chosen: Tensor, chroma: bool) -> Tensor:
    """Blocks with margins [k, n, n] where [B, h, w] is true, margins fading into each other, and
    nothing elsewhere: [B, H, W].

    Beyond the border there is nothing to fade into.
    """
    shape = (*chosen.shape, *blocks.shape[1:])
    if len(blocks) == chosen.numel():
        blocks = blocks.view(shape)
    else:
        every = blocks.new_zeros(shape)
        every[chosen] = blocks
        blocks = every
    _, h, w, n, _ = shape
    margin = _margin(chroma)
    side = n - 2 * margin
    fade = _obmc_ramp(side, margin).to(blocks)
    total = _overlap_add(blocks * fade[:, None] * fade, margin)
    down, right = (_ramp_sums(side, margin, count).to(blocks) for count in (h, w))
    return total / (down[:, None] * right)


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def _obmc_ramp(side: int, margin: int) -> Tensor:
    """How a block counts along a line through it and its margins; neighbours add up to 1."""
    rise = (torch.arange(2 * margin, dtype=torch.float32, device="cpu") + 0.5) / (2 * margin)
    return torch.cat([rise, rise.new_ones(side - 2 * margin), rise.flip(0)])


def obmc_window(side: int) -> Tensor:
    """Weights of a block of luma and its margins in the prediction: [n, n]."""
    fade = _obmc_ramp(side, OBMC_MARGIN)
    return fade[:, None] * fade


def _overlap_add(blocks: Tensor, margin: int) -> Tensor:
    """[B, h, w, n, n] -> [B, H, W], the sum where blocks lie upon each other."""
    batch, h, w, n, _ = blocks.shape
    side = n - 2 * margin
    size = (h * side + 2 * margin, w * side + 2 * margin)
    columns = blocks.flatten(3).flatten(1, 2).transpose(1, 2)
    total = F.fold(columns, size, n, stride=side)[:, 0]
    return total[:, margin:-margin, margin:-margin]


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def _ramp_sums(side: int, margin: int, count: int) -> Tensor:
    """What the blocks of a line add up to at each sample: less than 1 at the borders."""
    blocks = _obmc_ramp(side, margin).expand(1, 1, count, -1)
    total = F.fold(blocks[0].transpose(1, 2), (1, count * side + 2 * margin),
                   (1, side + 2 * margin), stride=(1, side))
    return total[0, 0, 0, margin:-margin]


def predict(references: Sequence[PlaneBatch], vectors: Tensor, modes: Tensor) -> PlaneBatch:
    """Predict pictures from decoded ones.

    Args:
        references: one or two batches of planes, float.
        vectors: integers [B, R, 2, h, w] per 8x8 block of luma.
        modes: integers [B, h/2, w/2] per 16x16 block: 1 the first reference, 2 the second, 3 the
            mean of both.
    """
    luma = predict_planes([r.y[:, 0] for r in references], vectors, modes)
    colours = predict_planes(
        [torch.cat([r.u, r.v], 1).flatten(0, 1) for r in references],
        vectors.repeat_interleave(2, 0), modes.repeat_interleave(2, 0), chroma=True)
    u, v = colours.unflatten(0, (-1, 2)).unbind(1)
    return PlaneBatch(luma[:, None], u[:, None], v[:, None])


def predict_planes(references: Sequence[Tensor], vectors: Tensor, modes: Tensor, *,
                   chroma: bool = False) -> Tensor:
    """Predict planes [B, H, W] of one kind.

    Args:
        references: one or two, [B, H, W].
        vectors: as for `predict`.
        modes: as for `predict`.
        chroma: the planes have half of luma's resolution.
    """
    # Four parts with one vector overlap each other with what is the same: they move as one.
    whole = vectors[..., ::2, ::2]
    differ = (vectors != _upsampled(whole)).any(2).float()
    differ = F.max_pool2d(differ, 2).bool()
    uses = torch.stack([modes & 1 << r != 0 for r in range(len(references))], 1)
    split = (differ & uses).any(1)

    def moved(blocks: _Blocks, vectors: Tensor, modes: Tensor, side: int) -> Tensor:
        found = [_interpolate(r, blocks, v, side, chroma)
                 for r, v in zip(references, vectors.unbind(1), strict=True)]
        if len(found) == 1:
            return found[0]
        shares = found[0].new_tensor([0.0, 1.0, 0.0, 0.5])
        share = shares[modes[blocks.picture, blocks.row, blocks.column].long()]
        return torch.lerp(found[1], found[0], share[:, None, None])

    picture = _blend(moved(_Blocks.where(~split), whole, modes, 2 * SUB_BLOCK), ~split, chroma)
    if split.any():
        parts = _upsampled(split)
        blocks = moved(_Blocks.where(parts), vectors, _upsampled(modes), SUB_BLOCK)
        picture = picture + _blend(blocks, parts, chroma)
    return picture


def _upsampled(field: Tensor) -> Tensor:
    """Each number of the last two dimensions four times."""
    return field.repeat_interleave(2, -2).repeat_interleave(2, -1)
