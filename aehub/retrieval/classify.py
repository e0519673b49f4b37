"""Classification by example: a ridge regression on few clips of each label, and "none of these".

    clip ──small pictures─┬─appearance: colours, patterns, motion─┐
                          └─fingerprint network: mean vector──────┴─> parts ──> scores of labels

Every part is the same, bit by bit, for all eight orientations, and so are the scores. What the
examples do not determine is set by constants, which were chosen on the training clips of
`d4-codec` with their repositories as labels (`docs/measure/classification.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aehub.codecs.base import CodecLoader
from aehub.errors import InputError
from aehub.media.clip import ClipLike
from aehub.retrieval.appearance import Appearance
from aehub.retrieval.fingerprint import FingerprintModel
from aehub.retrieval.sampling import SmallPicture, small_pictures

Parts = Sequence[np.ndarray | None]
"""Parts of a clip: those of `Appearance`, then the mean vector; float64 [n] each, of length 1."""

_PART_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5)
"""Of each part after it is scaled to unit variance; vectors tell copies rather than kinds."""
_RIDGE = 0.2
"""Of the mean squared length of the examples' parts."""
_SHARPNESSES = np.geomspace(1, 64, 25)
_SHARPNESS = 6.0
"""Factor of scores before their softmax, where examples are too few to choose it."""
_LEAST_LEFT_OUT = 6
"""Examples with another one of their label, from which on they choose the sharpness."""
_TYPICAL = (0.585, 0.049, 0.073, 0.162, 0.106, 0.927)
"""Of each part, one minus the inner product of those of two clips of different sources, in the
mean over the training clips: the distance of two clips that have nothing in common is about 1."""
_FARTHEST, _WIDTH = 0.65, 0.06
"""Distance from the nearest example at which "none of these" is as likely as not, where examples
are too few to choose it, and the change that makes it `e` times more likely."""
_PRIOR = 8
"""Examples with another one of their label that count as much as `_FARTHEST` in the threshold."""
_REFUSED = 0.1
"""Share of the examples that the threshold may call unlike the others."""


class Prediction(NamedTuple):
    """Label of a clip.

    Attributes:
        label: None if the clip is unlike all examples.
        confidence: probability of that answer, in [0, 1].
        scores: probability of each label; with that of none of them they sum to 1.
    """

    label: str | None
    confidence: float
    scores: dict[str, float]


def clip_parts(source: ClipLike, model: FingerprintModel, load: CodecLoader) -> Parts:
    """Parts of a clip, picture or compressed file.

    Args:
        source: read once, in the order of its pictures.
        model: gives the vectors.
        load: finds the model of a compressed file.

    Raises:
        InputError: it cannot be read, or holds no picture.
    """
    appearance = Appearance()

    def pictures() -> Iterator[SmallPicture]:
        for small in small_pictures(source, load):
            appearance.add(small)
            yield small

    vectors = model.fingerprints(pictures()).vectors.astype(np.float64)
    if not len(vectors):
        raise InputError("it holds no picture; give a clip or a picture.")
    mean = vectors.mean(0)
    length = np.sqrt((mean * mean).sum())
    return [*appearance.parts(), mean / length if length else None]


class Classifier:
    """Labels of clips, learned from a few examples of each.

    Args:
        labels: of the examples.
        examples: as many parts.

    Attributes:
        labels: the different ones, in order.
    """

    def __init__(self, labels: Sequence[str], examples: Sequence[Parts]) -> None:
        self.labels = sorted(set(labels))
        self._examples = list(examples)
        self._rows = np.array([self.labels.index(label) for label in labels])
        self._means, self._scales = self._standardisation()
        rows = np.stack([self._standardised(parts) for parts in examples])
        products = rows @ rows.T
        ridge = _RIDGE * np.trace(products) / len(rows) + 1e-9
        targets = np.eye(len(self.labels))[self._rows]
        self._prior = targets.mean(0)
        inverse = np.linalg.inv(products + ridge * np.eye(len(rows)))
        self._directions = rows.T @ (inverse @ (targets - self._prior))
        self._sharpness, self._threshold = _SHARPNESS, _FARTHEST
        n_others = np.bincount(self._rows)[self._rows] - 1
        count = int((n_others > 0).sum())
        if count:
            chosen = self._chosen_threshold(n_others > 0)
            self._threshold = (count * chosen + _PRIOR * _FARTHEST) / (count + _PRIOR)
        if count >= _LEAST_LEFT_OUT and len(self.labels) > 1:
            hat = products @ inverse
            # The residual of ridge regression without an example, from that with it.
            left_out = targets - (targets - self._prior - hat @ (targets - self._prior)) / (
                1 - np.diag(hat))[:, None].clip(1e-6)
            self._sharpness = _chosen_sharpness(left_out[n_others > 0], self._rows[n_others > 0])

    def predict(self, parts: Parts) -> Prediction:
        """Label of a clip, from its parts."""
        scores = self._standardised(parts) @ self._directions + self._prior
        shares = _softmax(scores * self._sharpness)
        nearest = min(_distance(parts, other) for other in self._examples)
        known = 1 / (1 + np.exp((nearest - self._threshold) / _WIDTH))
        named = {label: float(known * share) for label, share in
                 zip(self.labels, shares, strict=True)}
        if known < 0.5:
            return Prediction(None, float(1 - known), named)
        best = self.labels[int(shares.argmax())]
        return Prediction(best, named[best], named)

    def _standardisation(self) -> tuple[list[np.ndarray | None], list[float]]:
        """Mean of each part over the examples that have it, and the factor to unit variance."""
        means: list[np.ndarray | None] = []
        scales = []
        for number, weight in enumerate(_PART_WEIGHTS):
            seen = [part for parts in self._examples if (part := parts[number]) is not None]
            mean = np.mean(seen, axis=0) if seen else None
            variance = np.square(np.stack(seen) - mean).sum(1).mean() if seen else 0.0
            means.append(mean)
            scales.append(weight / np.sqrt(variance) if variance > 1e-12 else 0.0)
        return means, scales

    def _standardised(self, parts: Parts) -> np.ndarray:
        """float64 [n]: one after the other; parts that a clip lacks are those of the mean."""
        rows = [np.zeros_like(mean) if part is None else scale * (part - mean)
                for part, mean, scale in zip(parts, self._means, self._scales, strict=True)
                if mean is not None]
        return np.concatenate(rows)

    def _chosen_threshold(self, usable: np.ndarray) -> float:
        """Distance that best separates examples left out from those whose label is left out.

        At most `_REFUSED` of the former are beyond it; with one label there are only those.
        """
        table = np.array([[_distance(one, other) for other in self._examples]
                          for one in self._examples])
        np.fill_diagonal(table, np.inf)
        known = np.sort(table.min(1)[usable])
        least = float(known[len(known) - 1 - int(_REFUSED * len(known))])
        if len(self.labels) == 1:
            return least + _WIDTH
        table[self._rows[:, None] == self._rows] = np.inf
        foreign = table.min(1)
        candidates = np.array([one for one in (*known, *foreign) if one >= least])
        gain = [(known <= one).mean() + (foreign > one).mean() for one in candidates]
        return float(candidates[int(np.argmax(gain))])


def _distance(one: Parts, other: Parts) -> float:
    """Mean distance of the parts that both clips have; 0 for the same clip, about 1 for others."""
    both = [(1 - (a * b).sum()) / typical
            for a, b, typical in zip(one, other, _TYPICAL, strict=True)
            if a is not None and b is not None]
    return float(np.mean(both)) if both else 1.0


def _softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _chosen_sharpness(scores: np.ndarray, rows: np.ndarray) -> float:
    """Factor that makes the labels of examples most likely, by scores that are free of them.

    As in Platt 1999 a little is left to the other labels, so that few examples make none certain.
    """
    rest = 1 / (len(rows) + 2)
    wanted = np.full(scores.shape, rest / (scores.shape[1] - 1))
    wanted[np.arange(len(rows)), rows] = 1 - rest
    likelihoods = [(wanted * np.log(_softmax(scores * factor) + 1e-9)).sum()
                   for factor in _SHARPNESSES]
    return float(_SHARPNESSES[int(np.argmax(likelihoods))])
