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
    Base,
    middle_vectors,
    neighbours,
    predict_deltas,
    residual_bits,
)
from aehub.codecs.d4.motion.compensate import OVERLAP, PRECISION, fade_of, filters
from aehub.codecs.d4.motion.field import LIMIT, Motion, middle, quarters, whole
from aehub.codecs.d4.motion.search import BLOCK, Plane
from aehub.codecs.d4.motion.symbols import MODES, labels_around, stages

# Bits, about: as predicted, as the base, zero, as a neighbour.
_PREDICTED, _BASE, _ZERO, _MERGED = 0.5, 3.0, 6.0, 4.0


@dataclass(frozen=True)
class Price:
    """Squared error that one bit outweighs, and the difference from which error grows linearly.

    Everywhere, or of each block: [H/16, W/16].
    """

    per_bit: float | np.ndarray
    knee: float | np.ndarray


def settle(current: Plane, references: Sequence[Plane], motion: Motion, bases: Sequence[Base],
           price: Price) -> Motion:
    """Give up vectors that are not worth their bits.

    Args:
        current: the picture.
        references: decoded pictures.
        motion: what the search found.
        bases: what vectors are expected to be, as for `MotionCoder.write`.
        price: what bits are worth.
    """
    vectors = motion.vectors.copy()
    rows, columns = motion.modes.shape
    place = torch.arange(rows * columns, device=current.device)
    blocks = current.windows(place // columns * BLOCK - OVERLAP, place % columns * BLOCK - OVERLAP,
                             BLOCK + 2 * OVERLAP)
    moved = [_moved(r, v) for r, v in zip(references, motion.parents, strict=True)]
    for r, reference in enumerate(references):
        base = bases[r]
        if callable(base):
            base = base(middle_vectors(vectors[0]))
        live = motion.uses[r] & ~motion.split[r]
        other = None if len(references) == 1 else moved[1 - r]
        alone = torch.from_numpy((motion.modes == 1 << r).ravel()).to(current.device)
        field = _Field(reference, blocks, other, alone, price)
        settled = field.settle(middle(quarters(vectors[r])), np.clip(base, -LIMIT, LIMIT), live,
                               ~motion.uses[r])
        four = quarters(vectors[r])
        split = motion.split[r][..., None]
        vectors[r] = whole(np.where(split, four, settled[..., None]).astype(np.int16))
        moved[r] = _moved(reference, middle_vectors(vectors[r]))
    return Motion(vectors, motion.modes, motion.coded)


class _Field:
    """Decides the vectors to one reference."""

    def __init__(self, reference: Plane, blocks: Tensor, other: Tensor | None, alone: Tensor,
                 price: Price) -> None:
        self.reference, self.blocks = reference, blocks
        self.per_bit, self.knee = (np.broadcast_to(x, reference.blocks.shape[:2]).ravel()
                                   for x in (price.per_bit, price.knee))
        self.other, self.alone = other, alone
        self.fade = fade_of(BLOCK).to(blocks)

    def settle(self, vectors: np.ndarray, base: np.ndarray, live: np.ndarray, idle: np.ndarray
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
        for stage in stages(rows, columns):
            predicted, _ = predict_deltas(deltas, stage)
            unknown = idle[stage.cells]
            deltas[:, stage.cells[unknown]] = predicted[:, unknown]
            inside = chosen[stage.cells]
            cells = stage.cells[inside]
            if len(cells):
                near = [n[:, inside] for n in neighbours(deltas, stage, predicted)]
                deltas[:, cells] = self._choose(cells, deltas[:, cells], predicted[:, inside],
                                                flat[:, cells], near, beside[..., cells], columns)
        return np.clip(deltas + flat, -LIMIT, LIMIT).reshape(2, rows, columns)

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
        beyond = np.abs(vectors).max(0) > LIMIT
        error[new] = self._error(np.broadcast_to(cells, new.shape)[new], vectors, columns)
        error[new] = np.where(beyond, np.inf, error[new])
        costs = np.take_along_axis(error, first, 0) + self.per_bit[cells] * offered
        return np.take_along_axis(offers, costs.argmin(0)[None, None], 0)[0]

    def _error(self, cells: np.ndarray, vectors: np.ndarray, columns: int) -> np.ndarray:
        """Error of some blocks, predicted with these vectors."""
        places = torch.from_numpy(cells).to(self.blocks.device)
        found = _pick(self.reference, places // columns, places % columns,
                      torch.from_numpy(np.clip(vectors, -LIMIT, LIMIT)).to(places.device))
        if self.other is not None:
            mean = (found + self.other[places]) / 2
            found = torch.where(self.alone[places][:, None, None], found, mean)
        error = (found - self.blocks[places]).abs()
        knee = torch.from_numpy(self.knee[cells]).to(error)[:, None, None]
        # Small differences stay and count squared; larger ones are coded, which grows more slowly.
        low = torch.minimum(error, knee)
        total: np.ndarray = (low * (2 * error - low) * self.fade).sum((1, 2)).cpu().numpy()
        return total


def _beside(field: np.ndarray) -> np.ndarray:
    """What [c, n, m] holds above, below, left and right: [4, c, n, m]; at the border its own."""
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)), "edge")
    return np.stack([padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2],
                     padded[:, 1:-1, 2:]])


def _moved(reference: Plane, field: np.ndarray) -> Tensor:
    """Prediction of all blocks by vectors [2, n, m]: [blocks, side, side]."""
    rows, columns = field.shape[1:]
    place = torch.arange(rows * columns, device=reference.device)
    return _pick(reference, place // columns, place % columns,
                 torch.from_numpy(field.astype(np.int64).reshape(2, -1)).to(place.device))


def _pick(reference: Plane, rows: Tensor, columns: Tensor, vectors: Tensor) -> Tensor:
    """Blocks at these places moved by vectors [2, k] in quarter samples: [k, side, side]."""
    side = BLOCK + 2 * OVERLAP
    table = filters(False, side).to(reference.luma)
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


def choose_modes(costs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Modes uint8 [h / 2, w / 2] of a frame with two references.

    Args:
        costs: of the first reference, the second and the mean of both, [3, h / 2, w / 2].
        weight: what one bit costs, [h / 2, w / 2].
    """
    shares = np.array(MODES)
    bits = -np.log2(shares / shares.sum(1, keepdims=True))
    flat, per_bit = costs.reshape(3, -1), _WEIGHT * weight.ravel()
    labels = np.zeros(flat.shape[1], np.intp)
    for stage in stages(*weight.shape):
        around = labels_around(labels, stage)
        total = flat[:, stage.cells] + per_bit[stage.cells] * bits[around].T
        labels[stage.cells] = total.argmin(0)
    return (labels + 1).astype(np.uint8).reshape(weight.shape)
