"""Motion-compensated prediction: overlapped blocks of decoded frames at quarter-sample vectors.

Luma is interpolated in blocks of 8x8 with eight taps, chroma in 4x4 with four taps and eighths, by
the filters of HEVC (H.265 8.5.3.3.3). Filters of mirrored phases mirror each other, so rotated and
flipped pictures and vectors give the rotated and flipped prediction. References are not rounded.

Blocks overlap: each is predicted with a margin around it, and margins are blended, so that no edges
appear between blocks with different vectors (overlapped block motion compensation, OBMC; Orchard
and Sullivan 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4.motion import kernels
from aehub.codecs.d4.planes import PlaneBatch

# Luma samples along a side of the smallest block.
SUB_BLOCK = 8
# Vectors are in quarters of a luma sample.
PRECISION = 4
# Luma samples by which blocks overlap adjacent ones: the margins into a block of 8x8 meet in its
# middle. Without overlap files are 3.6 % larger at the same PSNR.
OBMC_MARGIN = 4

_LUMA_TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0), (-1, 4, -10, 58, 17, -5, 1, 0), (-1, 4, -11, 40, 40, -11, 4, -1))
_CHROMA_TAPS = ((0, 64, 0, 0), (-2, 58, 10, -2), (-4, 54, 16, -2), (-6, 46, 28, -4), (-4, 36, 36,
                                                                                      -4))


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def interpolation_matrices(chroma: bool, side: int) -> Tensor:
    """For each phase the matrix [side, side + taps - 1] that interpolates a row of samples."""
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
    """Square windows of planes [B, H, W] at positions [k] -> [k, n, n], with gradient."""

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
    """Some blocks of a batch, int64 [k] each: picture, row and column of blocks."""

    picture: Tensor
    row: Tensor
    column: Tensor

    @classmethod
    def where(cls, chosen: Tensor) -> _Blocks:
        """The blocks where [B, h, w] is true."""
        return cls(*chosen.nonzero(as_tuple=True))


def _interpolate(planes: Tensor, blocks: _Blocks, vectors: Tensor, side: int,
                 chroma: bool) -> Tensor:
    """Interpolate blocks of planes, with their margins, at vectors; outside, the border repeats.

    Args:
        planes: [B, H, W], float.
        blocks: to predict.
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
    integer = torch.div(own, phases, rounding_mode="floor")
    phase = own - integer * phases
    height, width = planes.shape[-2:]
    # Further than n samples outside, all is border.
    padded = F.pad(planes[:, None], (n, n, n, n), mode="replicate")[:, 0]
    rows = (blocks.row * side + integer[:, 0] - before + n).clamp(0, height + n)
    columns = (blocks.column * side + integer[:, 1] - before + n).clamp(0, width + n)
    picked: Tensor = _Windows.apply(padded, blocks.picture, rows, columns, n)
    return torch.bmm(torch.bmm(table[phase[:, 0]], picked), table[phase[:, 1]].transpose(1, 2))


def _margin(chroma: bool) -> int:
    return OBMC_MARGIN // 2 if chroma else OBMC_MARGIN


def _blend(blocks: Tensor, chosen: Tensor, chroma: bool) -> Tensor:
    """Blend blocks with margins [k, n, n], those where [B, h, w] is true, into planes [B, H, W].

    Zero where no block lies; weights are normalised at the border.
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
    ramp = _obmc_ramp(side, margin).to(blocks)
    total = _overlap_add(blocks * ramp[:, None] * ramp, margin)
    down, right = (_ramp_sums(side, margin, count).to(blocks) for count in (h, w))
    return total / (down[:, None] * right)


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def _obmc_ramp(side: int, margin: int) -> Tensor:
    """Weights along a line through a block and its margins; adjacent blocks add up to 1."""
    rise = (torch.arange(2 * margin, dtype=torch.float32, device="cpu") + 0.5) / (2 * margin)
    return torch.cat([rise, rise.new_ones(side - 2 * margin), rise.flip(0)])


def obmc_window(side: int) -> Tensor:
    """Weights of a luma block and its margins in the prediction: [n, n]."""
    ramp = _obmc_ramp(side, OBMC_MARGIN)
    return ramp[:, None] * ramp


def _overlap_add(blocks: Tensor, margin: int) -> Tensor:
    """Sum of overlapping blocks [B, h, w, n, n] -> [B, H, W]."""
    batch, h, w, n, _ = blocks.shape
    side = n - 2 * margin
    size = (h * side + 2 * margin, w * side + 2 * margin)
    columns = blocks.flatten(3).flatten(1, 2).transpose(1, 2)
    total = F.fold(columns, size, n, stride=side)[:, 0]
    return total[:, margin:-margin, margin:-margin]


@lru_cache
@torch.inference_mode(False)  # Training may be the next to use it.
def _ramp_sums(side: int, margin: int, count: int) -> Tensor:
    """Sum of the weights along a line of blocks at each sample: less than 1 at the borders."""
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
    y, u, v = (predict_planes([plane[:, 0] for plane in planes], vectors, modes, chroma=chroma)
               for planes, chroma in zip(zip(*references, strict=True), (False, True, True),
                                         strict=True))
    return PlaneBatch(y[:, None], u[:, None], v[:, None])


def predict_planes(references: Sequence[Tensor], vectors: Tensor, modes: Tensor, *,
                   chroma: bool = False) -> Tensor:
    """Predict planes [B, H, W] of one kind.

    Args:
        references: one or two, [B, H, W].
        vectors: as for `predict`.
        modes: as for `predict`.
        chroma: the planes have half of luma's resolution.
    """
    if references[0].device.type == "cpu" and not references[0].requires_grad:
        return _predict_compiled(references, vectors, modes, chroma)
    # Four sub-blocks with one vector overlap with equal samples: they are predicted as one block.
    block_vectors = vectors[..., ::2, ::2]
    differ = (vectors != _upsampled(block_vectors)).any(2).float()
    differ = F.max_pool2d(differ, 2).bool()
    uses = torch.stack([modes & 1 << r != 0 for r in range(len(references))], 1)
    split = (differ & uses).any(1)

    def predicted(blocks: _Blocks, vectors: Tensor, modes: Tensor, side: int) -> Tensor:
        each = [_interpolate(r, blocks, v, side, chroma)
                for r, v in zip(references, vectors.unbind(1), strict=True)]
        if len(each) == 1:
            return each[0]
        shares = each[0].new_tensor([0.0, 1.0, 0.0, 0.5])
        share = shares[modes[blocks.picture, blocks.row, blocks.column].long()]
        return torch.lerp(each[1], each[0], share[:, None, None])

    blocks = predicted(_Blocks.where(~split), block_vectors, modes, 2 * SUB_BLOCK)
    picture = _blend(blocks, ~split, chroma)
    if split.any():
        sub_blocks = _upsampled(split)
        blocks = predicted(_Blocks.where(sub_blocks), vectors, _upsampled(modes), SUB_BLOCK)
        picture = picture + _blend(blocks, sub_blocks, chroma)
    return picture


def _predict_compiled(references: Sequence[Tensor], vectors: Tensor, modes: Tensor, chroma: bool
                      ) -> Tensor:
    """As `predict_planes`, on the CPU and without gradients."""
    side = SUB_BLOCK if chroma else 2 * SUB_BLOCK
    first, last = (r.contiguous().numpy() for r in (references[0], references[-1]))
    taps = filter_taps(chroma).astype(first.dtype)
    total = np.zeros(first.shape, first.dtype)
    numbers = vectors.to(torch.int32).contiguous().numpy(), modes.to(torch.uint8).numpy()
    for one, other, field, used, plane in zip(first, last, *numbers, total, strict=True):
        kernels.predict_plane(one, other, field, used, taps, side, _margin(chroma), plane)
    return torch.from_numpy(total)


@lru_cache
def filter_taps(chroma: bool) -> np.ndarray:
    """Taps of each phase, float32 [phases, taps]; dyadic, so exact in any type."""
    return interpolation_matrices(chroma, 1)[:, 0].contiguous().numpy()


def _upsampled(field: Tensor) -> Tensor:
    """Repeat each number of the last two dimensions in 2x2."""
    return field.repeat_interleave(2, -2).repeat_interleave(2, -1)
