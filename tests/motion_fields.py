"""Synthetic motion for tests: noise, and scenes with a pan, a moving object and static ground."""

from __future__ import annotations

import numpy as np

from aehub.codecs.d4.motion.field import Motion, scale_vectors


def speckled(seed: int, cells: tuple[int, int], n_references: int, reach: int = 9) -> Motion:
    """Noise everywhere; `cells` is the number of 32x32 blocks (down, right)."""
    rng = np.random.default_rng(seed)
    n, m = cells
    vectors = rng.integers(-reach, reach + 1, (n_references, 2, 4 * n, 4 * m)).astype(np.int16)
    modes = rng.integers(1, 4 if n_references == 2 else 2, (2 * n, 2 * m)).astype(np.uint8)
    return Motion(vectors, modes, rng.random(cells) < 0.5)


def scene(seed: int, cells: tuple[int, int], n_references: int) -> Motion:
    """A slow zoom and pan, a block of other motion, some noise, a few blocks split."""
    rng = np.random.default_rng(seed)
    n, m = cells
    down, right = np.mgrid[: 2 * n, : 2 * m]
    pan, zoom = rng.integers(-12, 13, 2), rng.uniform(-0.6, 0.6)
    field = np.stack([zoom * (down - n) + pan[0], zoom * (right - m) + pan[1]]).round()
    thing = (abs(down - n) < n / 2) & (abs(right - m / 2) < m / 3)
    field = np.where(thing, rng.integers(-40, 41, (2, 1, 1)), field)
    field += (rng.random(field.shape) < 0.1) * rng.integers(-3, 4, field.shape)
    parts = field.astype(np.int16).repeat(2, 1).repeat(2, 2)
    torn = (rng.random((1, 2 * n, 2 * m)) < 0.08).repeat(2, 1).repeat(2, 2)
    parts += (torn * rng.integers(-5, 6, parts.shape)).astype(np.int16)
    vectors = np.stack([parts, scale_vectors(parts, -1, 1)])[:n_references]
    modes = np.where(thing, rng.integers(1, 4), 3).astype(np.uint8)
    coded = thing.reshape(n, 2, m, 2).any(axis=(1, 3))
    return Motion(vectors, modes if n_references == 2 else np.ones_like(modes), coded)


def nothing(motion: Motion) -> list[np.ndarray]:
    """Temporal predictors of no motion."""
    return [np.zeros((2, *motion.modes.shape), np.int16)] * motion.n_references


def same(one: Motion, other: Motion) -> None:
    assert np.array_equal(one.vectors, other.vectors)
    assert np.array_equal(one.modes, other.modes)
    assert np.array_equal(one.coded_flags, other.coded_flags)
