"""Side information at the start of a payload: how a group was coded, and weights of corrections.

    1 byte      bits 0-1: classes of the weights (0: none are sent, 1: one, 2: two, 3: four);
                bit 2: coded at half the size; bit 3: with film grain;
                bits 4-7: number of corrections that have weights
    n bytes     weights: of each plane, of each class, of each correction, signed, in 1/32

`docs/format.md` specifies it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aehub.codecs.sandwich.mixing import N_CLASSES
from aehub.codecs.sandwich.obu import damaged

_CLASSES, _HALVED, _GRAIN, _CORRECTIONS_SHIFT = 0x03, 0x04, 0x08, 4


class SideInformation(NamedTuple):
    """Attributes:
    weights: int8 [3, n_classes, K], of the first K corrections, at most 15; None for none, which
        is AV1 itself.
    halved: AV1 codes the pictures at half their size.
    grain: AV1 synthesises film grain.
    """

    weights: np.ndarray | None = None
    halved: bool = False
    grain: bool = False

    def pack(self) -> bytes:
        """Bytes at the start of the payload."""
        flags = _HALVED * self.halved + _GRAIN * self.grain
        if self.weights is None:
            return bytes((flags,))
        _, n_classes, n_corrections = self.weights.shape
        flags += 1 + N_CLASSES.index(n_classes) + (n_corrections << _CORRECTIONS_SHIFT)
        return bytes((flags,)) + self.weights.tobytes()


def unpack(payload: bytes, candidates: int) -> tuple[SideInformation, bytes]:
    """Side information and the stream of AV1.

    Raises:
        DamagedError: the payload ends before the stream, or its flags contradict each other or
            the number of candidates.
    """
    flags = payload[0] if payload else 0
    n_corrections = flags >> _CORRECTIONS_SHIFT
    if (n_corrections > candidates or bool(n_corrections) != bool(flags & _CLASSES)
            or flags & _HALVED and flags & _GRAIN):
        raise damaged(f"its payload has the flags {flags:#x}")
    weights, begin = None, 1
    if n_corrections:
        shape = (3, N_CLASSES[(flags & _CLASSES) - 1], n_corrections)
        begin += int(np.prod(shape))
        if len(payload) >= begin:
            weights = np.frombuffer(payload[1:begin], np.int8).reshape(shape)
    if len(payload) <= begin:
        raise damaged(f"its {len(payload)} bytes hold no stream of AV1")
    side = SideInformation(weights, bool(flags & _HALVED), bool(flags & _GRAIN))
    return side, payload[begin:]
