"""Paths through latent space: interpolation between keyframes, easing over time, main directions.

    lerp      straight lines                      w0 = 1 - s, w1 = s
    slerp     arcs, for latents of a Gaussian     w0 = sin((1 - s) a) / sin a, w1 = sin(s a) / sin a
    spline    one smooth curve through all        cubic Hermite, tangents by finite differences

A keyframe may be any array of numbers; all of a walk have one shape. Times count in seconds.
An easing maps the share of a segment's time that has passed, 0 to 1, to the share s of its path;
all begin at 0, end at 1 and never decrease.

Sources: Shoemake, Animating rotation with quaternion curves (SIGGRAPH 1985), for slerp;
https://en.wikipedia.org/wiki/Cubic_Hermite_spline, finite differences, for the spline;
https://easings.net (sine, quad, cubic, quint) and
https://registry.khronos.org/OpenGL-Refpages/gl4/html/smoothstep.xhtml (smoothstep) for easings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aehub.errors import InputError
from aehub.generators.base import GenerativeModel

Curve = Callable[[np.ndarray], np.ndarray]


def _sine_in(t: np.ndarray) -> np.ndarray:
    return np.asarray(1 - np.cos(t * np.pi / 2))


def _power_in(power: int) -> Curve:
    return lambda t: t**power


def _ease_out(curve: Curve) -> Curve:
    """The curve mirrored in time: fast first, then slow."""
    return lambda t: 1 - curve(1 - t)


def _ease_in_out(curve: Curve) -> Curve:
    """The curve for the first half, mirrored for the second: slow, fast, slow."""
    return lambda t: np.where(t < 0.5, curve(2 * t) / 2, 1 - curve(2 - 2 * t) / 2)


def _variants(name: str, curve: Curve) -> dict[str, Curve]:
    return {f"{name}in": curve, f"{name}out": _ease_out(curve),
            f"{name}in-out": _ease_in_out(curve)}


EASINGS: dict[str, Curve] = {
    "linear": lambda t: t,
    # The plain names are those of a sine: the gentlest.
    **_variants("ease-", _sine_in),
    **_variants("quad-", _power_in(2)),
    **_variants("cubic-", _power_in(3)),
    **_variants("quint-", _power_in(5)),
    "smoothstep": lambda t: t * t * (3 - 2 * t),
}
"""Name -> curve, elementwise on arrays."""


def easing(name: str) -> Curve:
    """The easing of that name.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in EASINGS:
        raise InputError(f"there is no easing {name!r}; known are {', '.join(EASINGS)}.")
    return EASINGS[name]


PATHS = ("lerp", "slerp", "spline")
"""Kinds of interpolation."""
# Radians: arcs of less are interpolated linearly, and so are those this near to half a turn, whose
# direction is undefined.
_LEAST_ARC = 1e-4


@dataclass(frozen=True)
class PathPosition:
    """A position on a path: between keyframe `segment` and the next, at `share` of it, 0 to 1."""

    segment: int
    share: float


def path_positions(n_frames: int, seconds: Sequence[float], *, curve: str, loop: bool,
                   ping_pong: bool) -> list[PathPosition]:
    """The position of each frame of a walk.

    Args:
        n_frames: of the whole animation.
        seconds: of each segment; there is one keyframe more, or as many in a loop.
        curve: easing of each segment.
        loop: the last segment leads to the first keyframe, which is not shown again.
        ping_pong: reach the last keyframe at half time, then play the same path backwards.
    """
    ends = np.cumsum(seconds)
    # A loop ends one frame before it repeats; an open walk shows both its ends.
    times = np.arange(n_frames) / (n_frames if loop or ping_pong else max(1, n_frames - 1))
    if ping_pong:
        times = 1 - abs(1 - 2 * times)
    times = times * ends[-1]
    segments = np.minimum(np.searchsorted(ends, times, side="right"), len(ends) - 1)
    begins = np.concatenate([[0.0], ends[:-1]])
    passed = (times - begins[segments]) / np.asarray(seconds)[segments]
    shares = easing(curve)(np.clip(passed, 0, 1))
    return [PathPosition(int(n), float(share)) for n, share in zip(segments, shares, strict=True)]


class LatentPath:
    """An interpolation through keyframes.

    Args:
        keyframes: [N, ...], at least two.
        seconds: of each segment; the spline needs them for its tangents.
        kind: one of `PATHS`.
        loop: whether it leads back to the first keyframe, with a continuous derivative for a
            spline.

    Raises:
        InputError: there is no such kind of path.
    """

    def __init__(self, keyframes: np.ndarray, seconds: Sequence[float], *, kind: str, loop: bool
                 ) -> None:
        check_path(kind)
        self._kind = kind
        self._keys = np.asarray(keyframes, np.float64)
        self._seconds = np.asarray(seconds, np.float64)
        self._next = (np.arange(len(seconds)) + 1) % len(self._keys)
        self._slopes = self._tangents(loop) if kind == "spline" else None

    def at(self, position: PathPosition) -> np.ndarray:
        """The latent at a position, float64 [...]."""
        begin, end = position.segment, int(self._next[position.segment])
        first, last, s = self._keys[begin], self._keys[end], position.share
        if self._kind == "lerp":
            return (1 - s) * first + s * last
        if self._kind == "slerp":
            return slerp(first, last, s)
        assert self._slopes is not None
        leaving, arriving = self._slopes[begin], self._slopes[end]
        length, t = self._seconds[begin], 1 - s
        return (t * t * (1 + 2 * s) * first + s * s * (3 - 2 * s) * last
                + length * s * t * (t * leaving - s * arriving))

    def _tangents(self, loop: bool) -> np.ndarray:
        """Derivative at each keyframe: the finite difference of the adjacent ones."""
        keys, lengths = self._keys, self._seconds.reshape(-1, *[1] * (self._keys.ndim - 1))
        if loop:
            after, before = np.roll(keys, -1, 0), np.roll(keys, 1, 0)
            return (after - before) / (lengths + np.roll(lengths, 1, 0))
        inner = (keys[2:] - keys[:-2]) / (lengths[1:] + lengths[:-1])
        ends = ((keys[1] - keys[0]) / lengths[0], (keys[-1] - keys[-2]) / lengths[-1])
        return np.concatenate([ends[0][None], inner, ends[1][None]])


def slerp(first: np.ndarray, last: np.ndarray, share: float) -> np.ndarray:
    """Spherical interpolation of two latents; the norm is interpolated linearly."""
    lengths = np.linalg.norm(first), np.linalg.norm(last)
    if not all(lengths):
        return np.asarray((1 - share) * first + share * last)
    a, b = first / lengths[0], last / lengths[1]
    angle = float(np.arccos(np.clip(np.vdot(a, b), -1, 1)))
    if min(angle, np.pi - angle) < _LEAST_ARC:
        return np.asarray((1 - share) * first + share * last)
    direction = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return np.asarray(direction * ((1 - share) * lengths[0] + share * lengths[1]))


def check_path(kind: str) -> None:
    """Refuse an unknown kind of path.

    Raises:
        InputError: it is not one of `PATHS`.
    """
    if not isinstance(kind, str) or kind not in PATHS:
        raise InputError(f"there is no path {kind!r}; known are {', '.join(PATHS)}.")


# Latents drawn to estimate mean and spread, and points around which pictures are varied.
_N_DRAWN, _N_BASES = 64, 2


def main_directions(model: GenerativeModel, count: int = 8) -> np.ndarray:
    """Directions of latent space along which pictures change most, the strongest first.

    Each number of a latent is varied by its deviation; the directions are the principal axes of the
    changes of the pictures. Each is as long as one standard deviation of latents the model draws.

    Args:
        model: of the latents.
        count: how many directions, at most as many as a latent has numbers.

    Returns:
        float32 [count, K].
    """
    drawn = model.sample(range(1, _N_DRAWN + 1)).astype(np.float64)
    mean, spread = drawn.mean(0), np.maximum(drawn.std(0), 1e-6)
    change, size = np.zeros((model.latent, model.latent)), (model.side, model.side)
    for base in (mean, *drawn[:_N_BASES - 1]):
        varied = base + np.concatenate([np.zeros((1, model.latent)), np.diag(spread)])
        pictures = np.stack(model.to_pictures(varied.astype(np.float32), size)).astype(np.float64)
        moved = (pictures[1:] - pictures[0]).reshape(model.latent, -1)
        change += moved @ moved.T
    _, axes = np.linalg.eigh(change)
    chosen = axes.T[::-1][:count]
    # The sign of an axis is arbitrary: make its largest number positive on every machine.
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(1)[:, None], 1)
    directions = chosen * np.sign(largest) * spread
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Numbers of a latent may be correlated: the length is the deviation along the direction.
    deviations = ((drawn - mean) @ directions.T).std(0)
    return np.asarray(directions * deviations[:, None], np.float32)
