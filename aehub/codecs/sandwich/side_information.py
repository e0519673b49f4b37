"""Side information at the start of a payload: how a group was coded, and weights of corrections.

    1 byte      bits 0-1: classes of the weights (0: none are sent, 1: one, 2: two, 3: four);
                bit 2: coded at half the size; bit 3: with film grain;
                bits 4-7: number of corrections that have weights
    n bytes     weights: of each plane, of each class, of each correction, in 1/8, as differences
                from 1 of the first correction and from 0 of others: Golomb-Rice codes, zero bits
                up to the next byte

`docs/format.md` specifies it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aehub.codecs.sandwich.mixing import N_CLASSES, UNIT
from aehub.codecs.sandwich.obu import damaged

_CLASSES, _HALVED, _GRAIN, _CORRECTIONS_SHIFT = 0x03, 0x04, 0x08, 4
_SUFFIX_BITS = 3
"""Of a Golomb-Rice code, set by hand: weights of corrections have a root mean square of about 1."""
_MOST_CODED = 2 * (128 + round(1 / UNIT))
"""Largest number that a weight in a byte is coded as."""


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
        codes = ("1" * (number >> _SUFFIX_BITS) + "0"
                 + f"{number % (1 << _SUFFIX_BITS):0{_SUFFIX_BITS}b}"
                 for number in _numbers(self.weights).flat)
        bits = np.array(list("".join(codes)), np.uint8)
        return bytes((flags,)) + np.packbits(bits).tobytes()


def coded_bytes(weights: np.ndarray) -> int:
    """Bytes that weights int8 [3, n_classes, K] take."""
    bits = int((_numbers(weights) >> _SUFFIX_BITS).sum()) + (1 + _SUFFIX_BITS) * weights.size
    return -(-bits // 8)


def _predicted(shape: tuple[int, ...]) -> np.ndarray:
    """Weights [3, n_classes, K] of the first correction alone."""
    weights = np.zeros(shape, np.int64)
    weights[..., 0] = round(1 / UNIT)
    return weights


def _numbers(weights: np.ndarray) -> np.ndarray:
    """Differences from `_predicted` as numbers from 0 on: 0, -1, 1, -2, 2, ..."""
    difference = weights - _predicted(weights.shape)
    return np.where(difference < 0, -2 * difference - 1, 2 * difference)


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
        weights, n_bytes = _unpacked(payload[1:], shape)
        begin += n_bytes
    if len(payload) <= begin:
        raise damaged(f"its {len(payload)} bytes hold no stream of AV1")
    side = SideInformation(weights, bool(flags & _HALVED), bool(flags & _GRAIN))
    return side, payload[begin:]


def _unpacked(coded: bytes, shape: tuple[int, int, int]) -> tuple[np.ndarray, int]:
    """Weights, and the bytes that they take."""
    most = -(-_MOST_CODED // (1 << _SUFFIX_BITS)) + 1 + _SUFFIX_BITS
    head = np.frombuffer(coded, np.uint8, min(len(coded), int(np.prod(shape)) * most // 8 + 1))
    bits = "".join(map(str, np.unpackbits(head)))
    numbers, at = [], 0
    for _ in range(int(np.prod(shape))):
        end = bits.find("0", at)
        suffix = bits[end + 1:end + 1 + _SUFFIX_BITS]
        if end < 0 or len(suffix) < _SUFFIX_BITS:
            raise damaged("its payload ends before its weights")
        numbers.append(((end - at) << _SUFFIX_BITS) + int(suffix, 2))
        at = end + 1 + _SUFFIX_BITS
    found = np.array(numbers).reshape(shape)
    weights = _predicted(shape) + np.where(found % 2, -(found + 1) // 2, found // 2)
    if np.any(weights != weights.astype(np.int8)):
        raise damaged("its payload has a weight that is no byte")
    return weights.astype(np.int8), -(-at // 8)
