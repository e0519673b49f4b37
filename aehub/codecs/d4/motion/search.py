"""Motion estimation in the encoder: block search with rate-distortion cost.

For every 16x16 block of luma and its four 8x8 sub-blocks: coarse search at quarter resolution;
choice among candidates (coarse vector and its median, hints, phase correlation, vectors of adjacent
blocks); search of whole samples around it; half and quarter samples. Every step adds the cost of a
vector's bits to the sum of absolute differences (SAD). All blocks take each step together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.block_matching import BLOCK, COARSE_SCALE, coarse, coarse_search
from aehub.codecs.d4.motion.compensate import PRECISION, interpolation_matrices
from aehub.codecs.d4.settings import SETTINGS, EncoderSettings

# Samples of repeated border around a padded plane: the largest window lies inside it.
_BORDER = 32
# Samples that a camera may pan from a picture to its reference.
_MAX_GLOBAL_MOTION = 160
# Peaks of phase correlation to try, the longest of their vectors in samples, and the least share of
# the picture that must overlap.
_PEAKS, _MAX_SHIFT, _MIN_OVERLAP = 4, 448, 0.125
# Samples searched around the best candidate.
_INTEGER_RANGE = 2


class LumaPlane:
    """A luma plane as motion estimation uses it: padded, downscaled, in blocks."""

    def __init__(self, luma: Tensor) -> None:
        """`luma` [H, W], sides multiples of 32, grey levels."""
        self.luma = luma
        self.coarse_luma = coarse(luma)

    @property
    def device(self) -> torch.device:
        """Device of its samples."""
        return self.luma.device

    @cached_property
    def padded(self) -> Tensor:
        """`luma` with its border repeated by `_BORDER` samples."""
        return F.pad(self.luma[None, None], (_BORDER,) * 4, mode="replicate")[0, 0]

    @cached_property
    def spectrum(self) -> Tensor:
        """Fourier transform of `luma` less its 3x3 mean: flat areas carry no motion."""
        around = F.avg_pool2d(F.pad(self.luma[None, None], (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.fft.rfft2(self.luma - around[0, 0])

    def windows(self, rows: Tensor, columns: Tensor, n: int) -> Tensor:
        """Windows [..., n, n] from these samples on, whatever their shape; the border repeats."""
        height, width = self.luma.shape
        rows = (rows + _BORDER).clamp(0, height + _BORDER)
        columns = (columns + _BORDER).clamp(0, width + _BORDER)
        return self.padded.unfold(0, n, 1).unfold(1, n, 1)[rows, columns]

    @cached_property
    def blocks(self) -> Tensor:
        """[H/16, W/16, 16, 16]."""
        return self.luma.unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).contiguous()


def global_motion(current: LumaPlane, reference: LumaPlane) -> tuple[int, int]:
    """The vector of least difference for the whole picture, in samples: camera pans are long."""
    size = (current.coarse_luma.shape[0] // COARSE_SCALE,
            current.coarse_luma.shape[1] // COARSE_SCALE)
    here, there = (F.adaptive_avg_pool2d(p.coarse_luma[None, None], size)[0, 0]
                   for p in (current, reference))
    radius = min(_MAX_GLOBAL_MOTION // COARSE_SCALE**2, min(size) // 2)
    padded = F.pad(there[None, None], (radius,) * 4, mode="replicate")[0, 0]
    shifted = padded.unfold(0, size[0], 1).unfold(1, size[1], 1)
    cost = (shifted - here).abs().mean((2, 3))
    # Zero is the usual case; noise must not beat it.
    cost[radius, radius] *= 0.98
    down, right = divmod(int(cost.argmin()), cost.shape[1])
    return (down - radius) * COARSE_SCALE**2, (right - radius) * COARSE_SCALE**2


def phase_correlation(current: LumaPlane, reference: LumaPlane) -> list[tuple[int, int]]:
    """Whole-sample vectors (down, right) of the largest peaks of phase correlation, but zero.

    Exact where text scrolls, where search at quarter resolution takes one line for another.

    Source: Kuglin and Hines 1975, "The phase correlation image alignment method".
    """
    height, width = current.luma.shape
    cross = reference.spectrum * current.spectrum.conj_physical()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-3), s=(height, width))
    peaks[0, 0] = -torch.inf
    found = []
    for place in peaks.flatten().topk(_PEAKS).indices.cpu().tolist():
        y, x = divmod(place, width)
        # The transform is periodic: a peak stands for up to four vectors.
        vectors = [(down, right) for down in (y, y - height) for right in (x, x - width)
                   if _overlap_share(height, down) * _overlap_share(width, right) >= _MIN_OVERLAP]
        if vectors:
            found.append(min(vectors, key=lambda m: _difference(current.luma, reference.luma, *m)))
    return found


def _overlap_share(side: int, move: int) -> float:
    """Share of a side in which a picture and its copy moved by `move` overlap; 0 if too far."""
    return max(0.0, 1 - abs(move) / side) if abs(move) <= _MAX_SHIFT else 0.0


def _difference(current: Tensor, reference: Tensor, down: int, right: int) -> float:
    """Mean absolute difference where a picture and the shifted reference overlap."""
    height, width = current.shape
    here = current[max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]
    there = reference[max(0, down):height + min(0, down), max(0, right):width + min(0, right)]
    return float((here - there).abs().mean())


def translated(reference: LumaPlane, down: int, right: int) -> LumaPlane:
    """The reference shifted by a vector in whole samples, its border repeated."""
    height, width = reference.luma.shape
    rows, columns = ((torch.arange(n, device=reference.device) + shift).clamp(0, n - 1)
                     for n, shift in ((height, down), (width, right)))
    return LumaPlane(reference.luma[rows][:, columns])


@dataclass
class SearchResult:
    """Vectors in quarter samples (down, right) and costs of all blocks.

    Attributes:
        vectors: int64 [2, H/16, W/16].
        cost: SAD of each block plus lambda times the bits of its vector, [H/16, W/16].
        sad: of each block alone.
        sub_vectors: int64 [2, H/8, W/8], of least SAD for each sub-block near its block's vector.
        sub_sad: SAD of the sub-blocks alone, [H/8, W/8].
    """

    vectors: Tensor
    cost: Tensor
    sad: Tensor
    sub_vectors: Tensor
    sub_sad: Tensor


def vector_bits(difference: Tensor) -> Tensor:
    """Approximate bits of vector differences [2, ...] in quarter samples."""
    size = difference.abs().to(torch.float32)
    bits = (2 * torch.log2(1 + size)).sum(0) + 2
    return torch.where((difference == 0).all(0), 0.3, bits)


def search(current: LumaPlane, reference: LumaPlane, *, lambda_: float | Tensor, search_range: int,
           hints: list[Tensor]) -> SearchResult:
    """Estimate the motion of all blocks.

    Args:
        current: the picture to predict.
        reference: the decoded picture to predict it from.
        lambda_: SAD per bit, everywhere or [H/16, W/16].
        search_range: of the coarse search, in samples.
        hints: further candidates, int64 [2, H/16, W/16]; the first is the temporal predictor.
    """
    lambda_ = torch.as_tensor(lambda_, dtype=current.luma.dtype, device=current.device).expand(
        current.blocks.shape[:2])
    rough, _ = coarse_search(current.coarse_luma, reference.coarse_luma, lambda_, search_range)
    zero = torch.zeros_like(rough)
    predictor = hints[0] if hints else zero
    fine = [*hints, zero, rough * PRECISION, _median(rough) * PRECISION]
    down, right = global_motion(current, reference)
    if max(abs(down), abs(right)) > search_range // 2:
        moved = translated(reference, down, right)
        around, _ = coarse_search(current.coarse_luma, moved.coarse_luma, lambda_, search_range)
        shift = torch.tensor([down, right], device=rough.device)[:, None, None]
        fine += [(around + shift) * PRECISION, (_median(around) + shift) * PRECISION]
    candidates = [_to_integer(c) for c in fine]
    candidates += [zero.new_tensor(v)[:, None, None].expand_as(zero)
                   for v in phase_correlation(current, reference)]
    best = _best_candidate(current, reference, candidates, lambda_, predictor)
    best = _best_candidate(current, reference, [best, *_adjacent(best)], lambda_, predictor)
    predictions = torch.stack([predictor, _median(best * PRECISION), zero])
    return _refine(current, reference, best, lambda_, predictions)


def _to_integer(vectors: Tensor) -> Tensor:
    """Quarter samples -> whole samples, rounded."""
    return torch.div(vectors + PRECISION // 2, PRECISION, rounding_mode="floor")


def _median(field: Tensor) -> Tensor:
    """Median of each component over 3x3 blocks."""
    padded = F.pad(field[None].float(), (1, 1, 1, 1), mode="replicate")[0]
    near = padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(-2)
    return near.median(-1).values.to(torch.int64)


def _adjacent(field: Tensor) -> list[Tensor]:
    """The field shifted by one block to each side."""
    padded = F.pad(field[None].float(), (1, 1, 1, 1), mode="replicate")[0].to(torch.int64)
    h, w = field.shape[1:]
    return [padded[:, y:y + h, x:x + w] for y, x in ((0, 1), (2, 1), (1, 0), (1, 2))]


def _windows(reference: LumaPlane, vectors: Tensor, margin: int) -> Tensor:
    """Windows of the reference around blocks displaced by whole `vectors`: [H/16, W/16, n, n]."""
    h, w = vectors.shape[1:]
    rows = torch.arange(h, device=vectors.device)[:, None] * BLOCK + vectors[0] - margin
    columns = torch.arange(w, device=vectors.device) * BLOCK + vectors[1] - margin
    return reference.windows(rows, columns, BLOCK + 2 * margin)


def _best_candidate(current: LumaPlane, reference: LumaPlane, candidates: list[Tensor],
                    lambda_: Tensor, predictor: Tensor) -> Tensor:
    """The candidate of least cost for each block, [2, H/16, W/16]."""
    costs = torch.stack([
        (_windows(reference, c, 0) - current.blocks).abs_().sum((-1, -2))
        + lambda_ * vector_bits(c * PRECISION - predictor) for c in candidates])
    at = costs.argmin(0)
    return torch.stack(candidates).gather(0, at[None, None].expand(1, 2, -1, -1))[0]


class _BestSoFar(NamedTuple):
    """Best vectors so far around a whole-sample one, for n blocks.

    Attributes:
        steps: quarter samples from the whole vector, [n, 2].
        cost: SAD with the bits of the vector, [n].
        sad: without them, [n].
        sub_vectors: of the four sub-blocks, [n, 4, 2].
        sub_sad: [n, 4].
    """

    steps: Tensor
    cost: Tensor
    sad: Tensor
    sub_vectors: Tensor
    sub_sad: Tensor


def _refine(current: LumaPlane, reference: LumaPlane, start: Tensor, lambda_: Tensor,
            predictions: Tensor
            ) -> SearchResult:
    """Search whole samples around `start`, then half samples, then quarters."""
    h, w = start.shape[1:]
    blocks = current.blocks.view(h * w, BLOCK, BLOCK)
    predicted = predictions.flatten(2)  # [n, 2, blocks]
    vectors, near, best = _integer_search(blocks, reference, start, lambda_.flatten(), predicted)
    for spacing in (2, 1):
        best = _subsample_search(blocks, near, vectors, best, spacing, lambda_.flatten(), predicted)
    vectors = vectors + best.steps.T
    return SearchResult(vectors.view(2, h, w), best.cost.view(h, w), best.sad.view(h, w),
                        _to_grid(best.sub_vectors.permute(2, 0, 1), h, w),
                        _to_grid(best.sub_sad[None], h, w)[0])


def _integer_search(blocks: Tensor, reference: LumaPlane, start: Tensor, lambda_: Tensor,
                    predicted: Tensor) -> tuple[Tensor, Tensor, _BestSoFar]:
    """Best whole vectors [2, n], in quarter samples, and windows around them, 4 samples wider."""
    field, n_blocks = start.flatten(1), len(blocks)
    margin = _INTEGER_RANGE + 5
    window = _windows(reference, start, margin).reshape(n_blocks, BLOCK + 2 * margin, -1)
    offsets = _square_offsets(_INTEGER_RANGE, field.device)
    near = window[:, margin - _INTEGER_RANGE:margin + _INTEGER_RANGE + BLOCK,
                  margin - _INTEGER_RANGE:margin + _INTEGER_RANGE + BLOCK].unfold(2, BLOCK, 1)
    # Pooling needs them contiguous, side by side; a difference of views is not.
    wide = blocks.new_empty(n_blocks, BLOCK, len(offsets) // near.shape[2], BLOCK)
    sums = torch.cat([
        _sub_block_sads(torch.sub(near[:, y:y + BLOCK], blocks[:, :, None], out=wide).flatten(2))
        for y in range(2 * _INTEGER_RANGE + 1)])
    sub_sad, part_at = sums.min(0)
    moves = field[:, None] * PRECISION + offsets.T[:, :, None] * PRECISION
    cost, at = (sums.sum(-1) + lambda_ * _least_bits(moves, predicted)).min(0)
    centre = offsets[at]
    # Sub-sample search shares one window around the best whole vector.
    n = torch.arange(BLOCK + 2 * 4, device=field.device)
    rows = (centre[:, :1] + margin - 4 + n)[:, :, None]
    columns = (centre[:, 1:] + margin - 4 + n)[:, None]
    every = torch.arange(n_blocks, device=field.device)[:, None, None]
    best = _BestSoFar(field.new_zeros(n_blocks, 2), cost, sums.sum(-1).gather(0, at[None])[0],
                      (field.T[:, None] + offsets[part_at]) * PRECISION, sub_sad)
    return (field + centre.T) * PRECISION, window[every, rows, columns], best


def _subsample_search(blocks: Tensor, near: Tensor, vectors: Tensor, best: _BestSoFar, spacing: int,
                      lambda_: Tensor, predicted: Tensor) -> _BestSoFar:
    """Search the eight vectors around the best so far, `spacing` quarter samples away."""
    offsets = best.steps[:, None] + _square_offsets(1, near.device) * spacing  # [blocks, 9, 2]
    sums = _subsample_sads(near, blocks, best.steps, spacing)
    moves = vectors[:, :, None] + offsets.permute(2, 0, 1)
    total = sums.sum(-1) + lambda_[:, None] * _least_bits(moves, predicted[..., None])
    low, at = total.min(1)
    better = low < best.cost
    difference = sums.sum(-1).gather(1, at[:, None])[:, 0]
    low_part, at_part = sums.min(1)
    improves = low_part < best.sub_sad
    picked = vectors.T[:, None] + offsets.gather(1, at_part[..., None].expand(-1, -1, 2))
    steps = offsets.gather(1, at[:, None, None].expand(-1, -1, 2))[:, 0]
    return _BestSoFar(torch.where(better[:, None], steps, best.steps),
                      torch.where(better, low, best.cost),
                      torch.where(better, difference, best.sad),
                      torch.where(improves[..., None], picked, best.sub_vectors),
                      torch.where(improves, low_part, best.sub_sad))


def _square_offsets(radius: int, device: torch.device) -> Tensor:
    side = torch.arange(-radius, radius + 1, device=device)
    return torch.cartesian_prod(side, side)


def _sub_block_sads(difference: Tensor) -> Tensor:
    """Differences [N, 16, 16 n], n blocks side by side -> SAD of the four sub-blocks [n, N, 4]."""
    count, _, width = difference.shape
    sums = _sads_8x8(difference).view(count, 2, width // BLOCK, 2)
    return sums.permute(2, 0, 1, 3).reshape(-1, count, 4)


def _sads_8x8(difference: Tensor) -> Tensor:
    """SAD of 8x8 samples: [N, H, W] -> [N, H/8, W/8]."""
    return F.avg_pool2d(difference.abs_()[:, None], BLOCK // 2)[:, 0] * (BLOCK // 2)**2


def _to_grid(parts: Tensor, h: int, w: int) -> Tensor:
    """[C, blocks, 4] -> [C, 2h, 2w]."""
    return parts.reshape(-1, h, w, 2, 2).transpose(2, 3).reshape(-1, 2 * h, 2 * w)


def _least_bits(moves: Tensor, predictions: Tensor) -> Tensor:
    """Bits of vectors [2, ...] by the cheapest of the predictions [n, 2, ...]."""
    return torch.stack([vector_bits(moves - p[:, None] if moves.dim() > p.dim() else moves - p)
                        for p in predictions]).min(0).values


def _subsample_sads(near: Tensor, blocks: Tensor, sub: Tensor, spacing: int) -> Tensor:
    """SAD of the sub-blocks [N, 9, 4] at the 3x3 offsets sub + {-spacing, 0, spacing}."""
    taps = _subsample_matrices().to(near)
    steps = torch.arange(-1, 2, device=sub.device) * spacing
    if sub.any():
        down = taps[sub[:, :1] + steps + 4].flatten(1, 2)  # [N, 48, 24]
        right = taps[sub[:, 1:] + steps + 4].flatten(1, 2)
        moved = torch.bmm(torch.bmm(down, near), right.transpose(1, 2))
    else:
        shared = taps[steps + 4].flatten(0, 1).T  # the same for all blocks: two plain products
        moved = (near.transpose(1, 2) @ shared).transpose(1, 2) @ shared
    moved.view(-1, 3, BLOCK, 3, BLOCK).sub_(blocks[:, None, :, None])
    return _sads_8x8(moved).view(-1, 3, 2, 3, 2).permute(0, 1, 3, 2, 4).reshape(-1, 9, 4)


@lru_cache
@torch.inference_mode(False)  # A caller with gradients may be the next to use it.
def _subsample_matrices() -> Tensor:
    """Matrices [9, 16, 24] that shift a row, 4 samples longer at both ends, by -4 .. 4 quarters."""
    phases = interpolation_matrices(False, BLOCK)  # [4, 16, 23], begins 3 samples before
    table = phases.new_zeros(9, BLOCK, BLOCK + 8)
    for quarter in range(-4, 5):
        whole, phase = divmod(quarter, PRECISION)
        begin = 1 + whole
        inside = phases[phase][:, max(0, -begin):BLOCK + 8 - begin]
        table[quarter + 4, :, max(0, begin):max(0, begin) + inside.shape[1]] = inside
    return table


def split_blocks(found: SearchResult, lambda_: float | Tensor,
                 settings: EncoderSettings = SETTINGS) -> Tensor:
    """Vectors of 8x8 blocks int64 [2, H/8, W/8]: four of its own for a block where that pays."""
    whole = found.vectors.repeat_interleave(2, 1).repeat_interleave(2, 2)
    bits = vector_bits(found.sub_vectors - whole)
    h, w = found.cost.shape
    sad, bits = (x.view(h, 2, w, 2).sum((1, 3)) for x in (found.sub_sad, bits))
    cost = sad + lambda_ * (bits + settings.split_bits)
    pays = (cost < found.sad).repeat_interleave(2, 0).repeat_interleave(2, 1)
    return torch.where(pays, found.sub_vectors, whole)
