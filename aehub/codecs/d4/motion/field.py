"""Motion of a predicted frame: prediction modes, vectors and coded-block flags of its blocks.

`Motion.turn` is exact for all rotations and flips of the square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aehub.codecs.d4 import symmetry

MAX_VECTOR = 2048
"""Largest magnitude of a component: 512 luma samples."""

FIRST, SECOND, BOTH = 1, 2, 3
"""Prediction modes: bit r is set where reference r is used."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Motion of a predicted frame.

    A 16x16 block is *split* where its four vectors of a reference that it uses differ.

    Attributes:
        vectors: int16 [R, 2, h, w] for R references (1 or 2), (down, right) in quarter luma
            samples, one per 8x8 block of luma; h and w are multiples of 4; the block at (y, x) is
            predicted from (y, x) + vector in the reference. Magnitudes up to `MAX_VECTOR`.
        modes: prediction modes uint8 [h / 2, w / 2] per 16x16 block: `FIRST`, `SECOND`, or `BOTH`
            for the mean of both. With one reference all are `FIRST`.
        coded_flags: bool [h / 4, w / 4] per 32x32 block; where it is not set, all codes of the
            block are zero and none is written.
        forms: coding form of each reference's vectors in the stream that they were read from, so
            that they are written again in the same one; None for other motion.
    """

    vectors: np.ndarray
    modes: np.ndarray
    coded_flags: np.ndarray
    forms: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        references, components, h, w = self.vectors.shape
        if references not in (1, 2) or components != 2 or h % 4 or w % 4 or not h or not w:
            raise ValueError(f"vectors of shape {self.vectors.shape} are not [1 or 2, 2, 4n, 4m]")
        if self.modes.shape != (h // 2, w // 2) or self.coded_flags.shape != (h // 4, w // 4):
            raise ValueError(
                f"modes {self.modes.shape} and coded flags {self.coded_flags.shape} do not fit "
                f"{h}x{w} vectors"
            )

    @classmethod
    def zero(cls, shape: tuple[int, int], n_references: int) -> Motion:
        """Zero vectors, all references used, no coded blocks; `shape` is (h, w)."""
        h, w = shape
        return cls(
            np.zeros((n_references, 2, h, w), np.int16),
            np.full((h // 2, w // 2), BOTH if n_references == 2 else FIRST, np.uint8),
            np.zeros((h // 4, w // 4), bool),
        )

    @property
    def n_references(self) -> int:
        """Number of references: 1 or 2."""
        return len(self.vectors)

    @property
    def uses(self) -> np.ndarray:
        """Blocks that use each reference: bool [R, h / 2, w / 2]."""
        return np.stack([self.modes >> r & 1 for r in range(self.n_references)]).astype(bool)

    @property
    def parents(self) -> np.ndarray:
        """Vectors of 16x16 blocks, the median of their four: int16 [R, 2, h / 2, w / 2]."""
        return median_of_four(to_sub_blocks(self.vectors)).astype(np.int16)

    @property
    def split(self) -> np.ndarray:
        """Blocks whose four vectors to a reference in use differ: bool [R, h / 2, w / 2]."""
        four = to_sub_blocks(self.vectors)
        return (four != four[..., :1]).any(axis=(1, -1)) & self.uses

    def turn(self, g: int) -> Motion:
        """Return the motion of the frame turned by element `g` of `aehub.codecs.d4.symmetry`."""
        return Motion(
            turn_vectors(self.vectors, g),
            np.ascontiguousarray(symmetry.turn(self.modes, g)),
            np.ascontiguousarray(symmetry.turn(self.coded_flags, g)),
            self.forms,
        )


def turn_vectors(field: np.ndarray, g: int) -> np.ndarray:
    """Transform vectors [..., 2, h, w] of (down, right): both positions and components."""
    # The pair E of d4 is (right, down): a wave across columns turns as the direction right does.
    pair = symmetry.E.act(field[..., ::-1, :, :], g)
    return np.ascontiguousarray(pair[..., ::-1, :, :])


def to_sub_blocks(field: np.ndarray) -> np.ndarray:
    """[..., h, w] -> [..., h / 2, w / 2, 4]: the four 8x8 blocks of each 16x16 block."""
    h, w = field.shape[-2:]
    blocks = field.reshape(*field.shape[:-2], h // 2, 2, w // 2, 2).swapaxes(-2, -3)
    return blocks.reshape(*blocks.shape[:-2], 4)


def from_sub_blocks(four: np.ndarray) -> np.ndarray:
    """[..., n, m, 4] -> [..., 2 n, 2 m]: the inverse of `to_sub_blocks`."""
    *rest, n, m, _ = four.shape
    return four.reshape(*rest, n, m, 2, 2).swapaxes(-2, -3).reshape(*rest, 2 * n, 2 * m)


def median_of_four(four: np.ndarray) -> np.ndarray:
    """Median of the last axis of four integers: the mean of the middle two, int32."""
    a, b, c, d = (four[..., n].astype(np.int32) for n in range(4))
    low, high = np.minimum(np.minimum(a, b), np.minimum(c, d)), np.maximum(
        np.maximum(a, b), np.maximum(c, d))
    total = a + b + c + d - low - high
    # Cut at zero, so that it commutes with a change of sign.
    return (total + (total < 0)) >> 1


def scale_vectors(field: np.ndarray, num: int, den: int) -> np.ndarray:
    """Scale vectors by num / den, for a reference at another temporal distance.

    Args:
        field: int16, any shape.
        num: any integer; negative for the opposite direction in time.
        den: any integer but 0.

    Returns:
        int16, rounded to the nearest integer, halves away from zero, and kept within `MAX_VECTOR`.
    """
    magnitude = (2 * np.abs(field.astype(np.int64)) * abs(num) + abs(den)) // (2 * abs(den))
    sign = np.sign(field) * (1 if (num < 0) == (den < 0) else -1)
    return (np.minimum(magnitude, MAX_VECTOR) * sign).astype(np.int16)


def check_motion(motion: Motion) -> None:
    """Refuse motion that the stream cannot hold.

    Raises:
        ValueError: a component is beyond `MAX_VECTOR`, or a mode names no reference of the frame.
    """
    reach = int(np.abs(motion.vectors.astype(np.int32)).max())
    if reach > MAX_VECTOR:
        raise ValueError(f"a vector of {reach} quarter samples; at most {MAX_VECTOR} are allowed")
    modes = np.unique(motion.modes).tolist()
    known = (FIRST,) if motion.n_references == 1 else (FIRST, SECOND, BOTH)
    if not set(modes) <= set(known):
        raise ValueError(f"modes {modes} for {motion.n_references} references; {known} are known")
