"""Mixture of the restorer's corrections: weights that fit it to a group.

The encoder solves the weights of each plane by least squares, for the whole plane or for classes of
its positions, of the first corrections or of all, and sends them as bytes. They are found from
decoded frames and originals, so the squared error of the frames that they were solved on falls, or
stays that of AV1.

Source: Ding et al. 2022, "Neural adaptive loop filtering for video coding: exploring
multi-hypothesis sample refinement" (weights by least squares).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from aehub.codecs.sandwich.network import FOLD, PARTS, SAMPLES
from aehub.media.picture import YUV420, Picture

N_CLASSES = (1, 2, 4)
"""Numbers of classes that an encoder chooses from."""
UNIT = 1 / 8
"""Step of a weight, set by hand: corrections are scaled to weights of about 1."""
DETAIL_LIMITS = (3, 7, 16)
"""Limits between four classes, in grey levels, set by hand."""
_RIDGE = 1e-4
"""Share of the diagonal that is added to it: candidates that agree share their weight."""


def classify(folded: np.ndarray, n_classes: int) -> np.ndarray:
    """Class of each position by its detail: uint8 [h, w].

    Detail is the range of the samples of luma of 3x3 positions; those of the border repeat.

    Args:
        folded: of the decoded frame, uint8 [6, h, w].
        n_classes: 1, 2 or 4.
    """
    luma = folded[PARTS[0]]
    detail = _extreme(np.maximum, luma.max(0)) - _extreme(np.minimum, luma.min(0))
    fourth = np.searchsorted(DETAIL_LIMITS, detail, "right").astype(np.uint8)
    return fourth // (4 // n_classes)


def _extreme(of: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Maximum or minimum of 3x3 positions."""
    padded = np.pad(values, 1, "edge")
    rows = of(of(padded[:-2], padded[1:-1]), padded[2:])
    found: np.ndarray = of(of(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return found


class Statistics:
    """Sums of products that least squares needs, of each plane and of four classes.

    Args:
        candidates: corrections of each plane.

    Attributes:
        samples: of each plane, so far.
    """

    def __init__(self, candidates: int) -> None:
        n, k = len(PARTS), candidates
        self.candidates = candidates
        self._gram = np.zeros((n, N_CLASSES[-1], k, k))
        self._moment = np.zeros((n, N_CLASSES[-1], k))
        self._energy = np.zeros(n)
        self.samples = np.zeros(n)

    def add(self, folded: np.ndarray, corrections: np.ndarray, original: np.ndarray) -> None:
        """Add a frame.

        Args:
            folded: decoded frame, uint8 [6, h, w].
            corrections: float32 [K, 6, h, w].
            original: uint8 [6, h, w].
        """
        k, classes = self.candidates, classify(folded, N_CLASSES[-1]).ravel()
        proposed = torch.from_numpy(corrections).reshape(k * SAMPLES, -1).T
        error = (original.astype(np.float32) - folded).reshape(SAMPLES, -1).T
        for c in range(N_CLASSES[-1]):
            here = torch.from_numpy(np.flatnonzero(classes == c))
            x, y = proposed[here], torch.from_numpy(error)[here]
            # One product, of which those of different samples are left out, is the fastest way;
            # that of NumPy would start threads of its own.
            gram = (x.T @ x).numpy().reshape(k, SAMPLES, k, SAMPLES)
            moment = (x.T @ y).numpy().reshape(k, SAMPLES, SAMPLES)
            for n, part in enumerate(PARTS):
                for sample in range(part.start, part.stop):
                    self._gram[n, c] += gram[:, sample, :, sample]
                    self._moment[n, c] += moment[:, sample, sample]
        for n, part in enumerate(PARTS):
            self._energy[n] += np.square(error[:, part]).sum(dtype=np.float64)
            self.samples[n] += error[:, part].size

    def join(self, other: Statistics) -> None:
        """Add those of other frames."""
        self._gram += other._gram
        self._moment += other._moment
        self._energy += other._energy
        self.samples += other.samples

    def solve(self, n_classes: int, k: int) -> np.ndarray:
        """Quantised weights of the first `k` corrections: int8 [3, n_classes, k]."""
        gram, moment = self._joined(n_classes, k)
        diagonal = np.einsum("nckk->nck", gram)[..., None] * np.eye(k)
        solved = np.linalg.solve(gram + _RIDGE * diagonal + 1e-9 * np.eye(k), moment[..., None])
        weights = np.clip(np.rint(solved[..., 0] / UNIT), -128, 127).astype(np.int8)
        # Rounding and the range of a byte can cost more than candidates that agree have gained.
        weights[self.errors(weights) > self._energy] = 0
        return weights

    def errors(self, weights: np.ndarray | None) -> np.ndarray:
        """Squared error of each plane with these weights, [3]; of AV1 itself without."""
        if weights is None:
            return self._energy.copy()
        gram, moment = self._joined(*weights.shape[1:])
        w = weights * UNIT
        gained = 2 * (w * moment).sum((1, 2)) - np.einsum("nck,nckj,ncj->n", w, gram, w)
        return self._energy - gained

    def _joined(self, n_classes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (len(PARTS), n_classes, N_CLASSES[-1] // n_classes)
        gram, moment = self._gram[..., :k, :k], self._moment[..., :k]
        return gram.reshape(*shape, k, k).sum(2), moment.reshape(*shape, k).sum(2)


def corrected(folded: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """The restored frame: uint8 [6, h, w].

    Args:
        folded: decoded frame, uint8 [6, h, w].
        corrections: of each class, float32 [n_classes, 6, h, w].
    """
    chosen = corrections[0]
    if len(corrections) > 1:
        chosen = np.choose(classify(folded, len(corrections)), corrections)
    return np.clip(np.rint(folded + chosen), 0, 255).astype(np.uint8)


def fold(planes: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """[6, height / 2, width / 2] of the planes of 4:2:0, in their type, borders repeated up to the
    size."""
    rows, columns = height // FOLD, width // FOLD
    found = np.empty((SAMPLES, rows, columns), planes[0].dtype)
    for plane, part, side in zip(planes, PARTS, (FOLD, 1, 1), strict=True):
        down, right = side * rows - plane.shape[0], side * columns - plane.shape[1]
        padded = np.pad(plane, ((0, down), (0, right)), "edge")
        found[part] = padded.reshape(rows, side, columns, side).transpose(1, 3, 0, 2).reshape(
            -1, rows, columns)
    return found


def unfold(folded: np.ndarray, size: tuple[int, int]) -> Picture:
    """The inverse of `fold`, for a picture of `size` (width, height)."""
    planes = []
    height, width = folded.shape[1:]
    for part, (rows, columns), side in zip(PARTS, YUV420.shapes(size), (FOLD, 1, 1), strict=True):
        whole = folded[part].reshape(side, side, height, width).transpose(2, 0, 3, 1).reshape(
            height * side, width * side)
        planes.append(np.ascontiguousarray(whole[:rows, :columns]))
    return Picture(planes)
