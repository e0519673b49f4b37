"""Rate-distortion refinement of the motion field, and decision of the prediction modes.

Motion search does not know the spatial prediction of vectors. Here the blocks of each scan pass,
all at once, choose again among vectors that cost few bits: the prediction, the temporal predictor,
zero, merge candidates, and the vectors of adjacent blocks, refined already or still as searched.

Blocks overlap (OBMC), so each is weighed with its margins, by its share in the prediction there: a
flat block beside text takes the text's vector, or blurs it.
Source: Orchard and Sullivan 1994, "Overlapped block motion compensation", windowed estimation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aehub.codecs.d4.motion import kernels
from aehub.codecs.d4.motion.coding import (
    TemporalPredictor,
    block_medians,
    merge_candidates,
    predict_deltas,
    residual_bits,
)
from aehub.codecs.d4.motion.compensate import (
    OBMC_MARGIN,
    filter_taps,
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
from aehub.codecs.d4.settings import SETTINGS, EncoderSettings


@dataclass(frozen=True)
class Lagrangian:
    """Weight of rate against distortion, everywhere or of each block: [H/16, W/16].

    Attributes:
        lambda_: squared error per bit.
        huber_knee: absolute difference from which distortion grows linearly: small differences
            stay, larger ones are coded.
    """

    lambda_: float | np.ndarray
    huber_knee: float | np.ndarray


def refine_vectors(current: LumaPlane, references: Sequence[LumaPlane], motion: Motion,
                   predictors: Sequence[TemporalPredictor], lagrangian: Lagrangian,
                   settings: EncoderSettings = SETTINGS) -> Motion:
    """Replace vectors that are not worth their bits; split blocks keep theirs.

    Args:
        current: the picture.
        references: decoded pictures.
        motion: from motion search.
        predictors: temporal predictors, as for `MotionCoder.write`.
        lagrangian: weight of a bit.
        settings: bits of vectors.
    """
    vectors = motion.vectors.copy()
    none = np.zeros((2, *motion.modes.shape), np.int64)
    targets = _compensate_all(current, none)
    compensated = [_compensate_all(r, v) for r, v in zip(references, motion.parents, strict=True)]
    for r, reference in enumerate(references):
        predictor = predictors[r]
        temporal = predictor(block_medians(vectors[0])) if callable(predictor) else predictor
        four, split = to_sub_blocks(vectors[r]), motion.split[r]
        other = None if len(references) == 1 else compensated[1 - r]
        alone = (motion.modes == 1 << r).ravel()
        refiner = _VectorRefiner(reference, targets, other, alone, lagrangian, settings)
        refined = refiner.refine(median_of_four(four), np.clip(temporal, -MAX_VECTOR, MAX_VECTOR),
                                 motion.uses[r] & ~split, ~motion.uses[r])
        vectors[r] = from_sub_blocks(
            np.where(split[..., None], four, refined[..., None]).astype(np.int16))
        compensated[r] = _compensate_all(reference, block_medians(vectors[r]))
    return Motion(vectors, motion.modes, motion.coded_flags)


class _VectorRefiner:
    """Refinement of the vectors to one reference.

    Args:
        reference: decoded picture.
        targets: blocks of the current picture with margins, [blocks, side, side].
        other: prediction of the blocks from the other reference, the same shape, or None.
        alone: bool [blocks], blocks that use this reference only.
        lagrangian: weight of a bit.
        settings: bits of vectors.
    """

    def __init__(self, reference: LumaPlane, targets: np.ndarray, other: np.ndarray | None,
                 alone: np.ndarray,
                 lagrangian: Lagrangian, settings: EncoderSettings) -> None:
        self.settings = settings
        self.reference, self.targets = reference, targets
        self.lambda_, self.huber_knee = (
            np.broadcast_to(x, reference.blocks).ravel().astype(np.float32)
            for x in (lagrangian.lambda_, lagrangian.huber_knee))
        self.other, self.alone = targets[:0] if other is None else other, alone
        self.window = obmc_window(BLOCK).numpy()

    def refine(self, vectors: np.ndarray, temporal: np.ndarray, refinable: np.ndarray,
               unused: np.ndarray) -> np.ndarray:
        """Vectors [2, n, m] -> vectors; only those of `refinable` blocks are chosen.

        `unused` blocks do not use the reference: their vectors are not coded, so adjacent blocks
        get them as predicted.
        """
        rows, columns = refinable.shape
        temporal = temporal.astype(np.int32)
        deltas = (vectors - temporal).reshape(2, -1)
        # Nothing may depend on vectors that are not coded.
        beside = np.where(_beside(unused[None]), vectors, _beside(vectors)).reshape(4, 2, -1)
        flat, chosen, unused = temporal.reshape(2, -1), refinable.ravel(), unused.ravel()
        for scan_pass in scan_passes(rows, columns):
            predicted, _ = predict_deltas(deltas, scan_pass)
            skipped = unused[scan_pass.cells]
            deltas[:, scan_pass.cells[skipped]] = predicted[:, skipped]
            inside = chosen[scan_pass.cells]
            cells = scan_pass.cells[inside]
            if len(cells):
                merge = [m[:, inside] for m in merge_candidates(deltas, scan_pass, predicted)]
                deltas[:, cells] = self._choose(cells, deltas[:, cells], predicted[:, inside],
                                                flat[:, cells], merge, beside[..., cells], columns)
        return np.clip(deltas + flat, -MAX_VECTOR, MAX_VECTOR).reshape(2, rows, columns)

    def _choose(self, cells: np.ndarray, own: np.ndarray, predicted: np.ndarray,
                temporal: np.ndarray, merge: list[np.ndarray], beside: np.ndarray, columns: int
                ) -> np.ndarray:
        """Deltas [2, k] of least cost of the blocks `cells`."""
        settings = self.settings
        free = np.stack([own, *(beside - temporal)])
        residual = free - predicted
        free_bits = np.where((residual == 0).all(1), settings.predicted_bits,
                             residual_bits(residual.swapaxes(0, 1).reshape(2, -1)).reshape(5, -1))
        candidates = np.stack([predicted, np.zeros_like(own), -temporal, *merge, *free])
        fixed_bits = np.array([settings.predicted_bits, settings.temporal_bits, settings.zero_bits,
                               *[settings.merge_bits] * len(merge)])
        bits = np.concatenate([np.broadcast_to(fixed_bits[:, None], (len(fixed_bits), len(cells))),
                               free_bits])
        # Adjacent deltas may leave the range where the temporal predictor is another.
        chosen = np.zeros(len(cells), np.int64)
        kernels.run_parts(
            kernels.choose_vectors, len(cells), self.reference.luma, cells, columns,
            candidates + temporal, (self.lambda_[cells] * bits).astype(np.float32), MAX_VECTOR,
            filter_taps(False), self.targets, self.other, self.alone, self.huber_knee, self.window,
            chosen)
        return np.take_along_axis(candidates, chosen[None, None], 0)[0]


def _beside(field: np.ndarray) -> np.ndarray:
    """[c, n, m] -> [4, c, n, m]: the cells above, below, left and right, repeated at the border."""
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)), "edge")
    return np.stack([padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2],
                     padded[:, 1:-1, 2:]])


def _compensate_all(reference: LumaPlane, field: np.ndarray) -> np.ndarray:
    """Prediction of all blocks by vectors [2, n, m]: [blocks, side, side]."""
    flat = field.reshape(2, -1)
    return _compensate(reference, np.arange(flat.shape[1]), flat)


def _compensate(reference: LumaPlane, cells: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Blocks, with margins, by vectors [2, k] in quarter samples: [k, side, side]."""
    side = BLOCK + 2 * OBMC_MARGIN
    blocks = np.zeros((len(cells), side, side), np.float32)
    kernels.interpolate_blocks(
        reference.luma, np.ascontiguousarray(cells, np.int64), reference.blocks[1],
        np.ascontiguousarray(vectors, np.int64), filter_taps(False), blocks)
    return blocks


def choose_modes(costs: np.ndarray, lambda_: np.ndarray, settings: EncoderSettings = SETTINGS
                 ) -> np.ndarray:
    """Decide prediction modes uint8 [h / 2, w / 2] of a frame with two references.

    Args:
        costs: of the first reference, the second and the mean of both, [3, h / 2, w / 2].
        lambda_: cost of one bit, [h / 2, w / 2].
        settings: weight of the modes' bits.
    """
    counts = np.array(MODES)
    bits = -np.log2(counts / counts.sum(1, keepdims=True))
    flat, bit_cost = costs.reshape(3, -1), settings.mode_lambda_factor * lambda_.ravel()
    labels = np.zeros(flat.shape[1], np.intp)
    for scan_pass in scan_passes(*lambda_.shape):
        contexts = labels_around(labels, scan_pass)
        total = flat[:, scan_pass.cells] + bit_cost[scan_pass.cells] * bits[contexts].T
        labels[scan_pass.cells] = total.argmin(0)
    return (labels + 1).astype(np.uint8).reshape(lambda_.shape)
