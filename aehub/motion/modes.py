"""Which references blocks use, weighed by what naming them costs beside their neighbours."""

from __future__ import annotations

import numpy as np

from aehub.motion.pyramid import stages
from aehub.motion.symbols import MODES, labels_around

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
