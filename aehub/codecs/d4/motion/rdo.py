"""The search's vectors, weighed again by what writing them costs.

The search does not know how vectors are predicted when they are written. Here every block in turn
of the pyramid's stages is offered the vectors that cost next to nothing: the one predicted from its
neighbours, its base, none, and neighbours' own, written already or only found so far. All blocks of
a stage decide together.

Blocks reach over their neighbours (OBMC), so each is weighed with its margins, by the share that it
has in the prediction there: a flat block beside text has the text's vector, or blurs it.
Source: Orchard and Sullivan 1994, "Overlapped block motion compensation", windowed estimation.

Which references blocks use, weighed by what naming them costs beside their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4.motion.coding import (
    TemporalPredictor,
    block_medians,
    merge_candidates,
    predict_deltas,
    residual_bits,
)
from aehub.codecs.d4.motion.compensate import (
    OBMC_MARGIN,
    PRECISION,
    interpolation_matrices,
    obmc_window,
)
from aehub.codecs.d4.motion.field import (
    MAX_VECTOR,
    Motion,
    from_sub_blocks,
    median_of_four,
    to_sub_blocks,
)
from aehub.codecs.d4.motion.search import BLOCK, LumaPlane
from aehub.codecs.d4.motion.symbols import MODES, labels_around, scan_passes

# Bits, about: as predicted, as the base, zero, as a neighbour.
_PREDICTED, _BASE, _ZERO, _MERGED = 0.5, 3.0, 6.0, 4.0


@dataclass(frozen=True)
class Lagrangian:
    """Squared error that one bit outweighs, and the difference from which error grows linearly.

    Everywhere, or of each block: [H/16, W/16].
    """

    lambda_: float | np.ndarray
    huber_knee: float | np.ndarray


def refine_vectors(current: LumaPlane, references: Sequence[LumaPlane], motion: Motion,
                   temporal_predictors: Sequence[TemporalPredictor],
           lagrangian: Lagrangian) -> Motion:
    """Give up vectors that are not worth their bits.

    Args:
        current: the picture.
        references: decoded pictures.
        motion: what the search found.
        temporal_predictors: what vectors are expected to be, as for `MotionCoder.write`.
        lagrangian: what bits are worth.
    """
    vectors = motion.vectors.copy()
    rows, columns = motion.modes.shape
    place = torch.arange(rows * columns, device=current.device)
    blocks = current.windows(place // columns * BLOCK - OBMC_MARGIN,
                             place % columns * BLOCK - OBMC_MARGIN,
                             BLOCK + 2 * OBMC_MARGIN)
    moved = [_moved(r, v) for r, v in zip(references, motion.parents, strict=True)]
    for r, reference in enumerate(references):
        base = temporal_predictors[r]
        if callable(base):
            base = base(block_medians(vectors[0]))
        live = motion.uses[r] & ~motion.split[r]
        other = None if len(references) == 1 else moved[1 - r]
        alone = torch.from_numpy((motion.modes == 1 << r).ravel()).to(current.device)
        field = _Field(reference, blocks, other, alone, lagrangian)
        settled = field.refine(median_of_four(to_sub_blocks(vectors[r])), np.clip(base, -MAX_VECTOR,
                                                                                  MAX_VECTOR), live,
                               ~motion.uses[r])
        four = to_sub_blocks(vectors[r])
        split = motion.split[r][..., None]
        vectors[r] = from_sub_blocks(np.where(split, four, settled[..., None]).astype(np.int16))
        moved[r] = _moved(reference, block_medians(vectors[r]))
    return Motion(vectors, motion.modes, motion.coded_flags)


class _Field:
    """Decides the vectors to one reference."""

    def __init__(self, reference: LumaPlane, blocks: Tensor, other: Tensor | None, alone: Tensor,
                 lagrangian: Lagrangian) -> None:
        self.reference, self.blocks = reference, blocks
        self.lambda_, self.huber_knee = (np.broadcast_to(x, reference.blocks.shape[:2]).ravel()
                                   for x in (lagrangian.lambda_, lagrangian.huber_knee))
        self.other, self.alone = other, alone
        self.fade = obmc_window(BLOCK).to(blocks)

    def refine(self, vectors: np.ndarray, base: np.ndarray, live: np.ndarray, idle: np.ndarray
               ) -> np.ndarray:
        """Vectors [2, n, m] -> vectors; those of `live` blocks are chosen.

        Those of `idle` blocks, which do not use the reference, are not written: their neighbours
        will know them as predicted.
        """
        rows, columns = live.shape
        base = base.astype(np.int32)
        deltas = (vectors - base).reshape(2, -1)
        # Of what is not written nothing may depend.
        beside = np.where(_beside(idle[None]), vectors, _beside(vectors)).reshape(4, 2, -1)
        flat, chosen, idle = base.reshape(2, -1), live.ravel(), idle.ravel()
        for scan_pass in scan_passes(rows, columns):
            predicted, _ = predict_deltas(deltas, scan_pass)
            unknown = idle[scan_pass.cells]
            deltas[:, scan_pass.cells[unknown]] = predicted[:, unknown]
            inside = chosen[scan_pass.cells]
            cells = scan_pass.cells[inside]
            if len(cells):
                near = [n[:, inside] for n in merge_candidates(deltas, scan_pass, predicted)]
                deltas[:, cells] = self._choose(cells, deltas[:, cells], predicted[:, inside],
                                                flat[:, cells], near, beside[..., cells], columns)
        return np.clip(deltas + flat, -MAX_VECTOR, MAX_VECTOR).reshape(2, rows, columns)

    def _choose(self, cells: np.ndarray, own: np.ndarray, predicted: np.ndarray, base: np.ndarray,
                near: list[np.ndarray], beside: np.ndarray, columns: int) -> np.ndarray:
        free = np.stack([own, *(beside - base)])
        residual = free - predicted
        bits = np.where((residual == 0).all(1), _PREDICTED,
                        residual_bits(residual.swapaxes(0, 1).reshape(2, -1)).reshape(5, -1))
        offers = np.stack([predicted, np.zeros_like(own), -base, *near, *free])
        cheap = np.array([_PREDICTED, _BASE, _ZERO, *[_MERGED] * len(near)])
        offered = np.concatenate([np.broadcast_to(cheap[:, None], (len(cheap), len(cells))), bits])
        # Many are the same vector; what is left of all of them takes one step.
        first = (offers[:, None] == offers).all(2).argmax(1)
        new = first == np.arange(len(offers))[:, None]
        error = np.empty(new.shape, np.float32)
        vectors = (offers + base).swapaxes(0, 1)[:, new]
        # What neighbours do may lead out of range where the base is another.
        beyond = np.abs(vectors).max(0) > MAX_VECTOR
        error[new] = self._error(np.broadcast_to(cells, new.shape)[new], vectors, columns)
        error[new] = np.where(beyond, np.inf, error[new])
        costs = np.take_along_axis(error, first, 0) + self.lambda_[cells] * offered
        return np.take_along_axis(offers, costs.argmin(0)[None, None], 0)[0]

    def _error(self, cells: np.ndarray, vectors: np.ndarray, columns: int) -> np.ndarray:
        """Error of some blocks, predicted with these vectors."""
        places = torch.from_numpy(cells).to(self.blocks.device)
        found = _pick(self.reference, places // columns, places % columns,
                      torch.from_numpy(np.clip(vectors, -MAX_VECTOR, MAX_VECTOR)).to(places.device))
        if self.other is not None:
            mean = (found + self.other[places]) / 2
            found = torch.where(self.alone[places][:, None, None], found, mean)
        error = (found - self.blocks[places]).abs()
        huber_knee = torch.from_numpy(self.huber_knee[cells]).to(error)[:, None, None]
        # Small differences stay and count squared; larger ones are coded, which grows more slowly.
        low = torch.minimum(error, huber_knee)
        total: np.ndarray = (low * (2 * error - low) * self.fade).sum((1, 2)).cpu().numpy()
        return total


def _beside(field: np.ndarray) -> np.ndarray:
    """What [c, n, m] holds above, below, left and right: [4, c, n, m]; at the border its own."""
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)), "edge")
    return np.stack([padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2],
                     padded[:, 1:-1, 2:]])


def _moved(reference: LumaPlane, field: np.ndarray) -> Tensor:
    """Prediction of all blocks by vectors [2, n, m]: [blocks, side, side]."""
    rows, columns = field.shape[1:]
    place = torch.arange(rows * columns, device=reference.device)
    return _pick(reference, place // columns, place % columns,
                 torch.from_numpy(field.astype(np.int64).reshape(2, -1)).to(place.device))


def _pick(reference: LumaPlane, rows: Tensor, columns: Tensor, vectors: Tensor) -> Tensor:
    """Blocks at these places moved by vectors [2, k] in quarter samples: [k, side, side]."""
    side = BLOCK + 2 * OBMC_MARGIN
    table = interpolation_matrices(False, side).to(reference.luma)
    n = table.shape[2]
    before = (n - BLOCK) // 2
    step = torch.div(vectors, PRECISION, rounding_mode="floor").long()
    phase = vectors.long() - step * PRECISION
    found = reference.windows(rows * BLOCK + step[0] - before, columns * BLOCK + step[1] - before,
                              n)
    return torch.bmm(torch.bmm(table[phase[0]], found), table[phase[1]].transpose(1, 2))


# Labels like the neighbours' are worth more than their own bits: blocks that follow know them.
# Chosen on training clips.
_WEIGHT = 2.0


def choose_modes(costs: np.ndarray, lambda_: np.ndarray) -> np.ndarray:
    """Modes uint8 [h / 2, w / 2] of a frame with two references.

    Args:
        costs: of the first reference, the second and the mean of both, [3, h / 2, w / 2].
        lambda_: what one bit costs, [h / 2, w / 2].
    """
    shares = np.array(MODES)
    bits = -np.log2(shares / shares.sum(1, keepdims=True))
    flat, flat_lambda = costs.reshape(3, -1), _WEIGHT * lambda_.ravel()
    labels = np.zeros(flat.shape[1], np.intp)
    for scan_pass in scan_passes(*lambda_.shape):
        around = labels_around(labels, scan_pass)
        total = flat[:, scan_pass.cells] + flat_lambda[scan_pass.cells] * bits[around].T
        labels[scan_pass.cells] = total.argmin(0)
    return (labels + 1).astype(np.uint8).reshape(lambda_.shape)
