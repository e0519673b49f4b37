"""Paths through keyframes: where a walk is at each moment.

    lerp      straight lines                      w0 = 1 - s, w1 = s
    slerp     arcs, for latents of a Gaussian     w0 = sin((1 - s) a) / sin a, w1 = sin(s a) / sin a
    spline    one smooth curve through all        cubic Hermite, tangents across the neighbours

A keyframe may be any array of numbers; all of a walk have one shape. Times count in seconds.

Sources: Shoemake, Animating rotation with quaternion curves (SIGGRAPH 1985), for slerp;
https://en.wikipedia.org/wiki/Cubic_Hermite_spline, finite differences, for the spline.

Easing: how the way from one keyframe to the next is spread over time.

Each curve takes the share of time that has passed, 0 to 1, to the share of the way; all begin at 0,
end at 1 and never turn back.

Sources: https://easings.net (sine, quad, cubic, quint) and
https://registry.khronos.org/OpenGL-Refpages/gl4/html/smoothstep.xhtml (smoothstep).

The directions of a latent space along which pictures change most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aehub.errors import InputError
from aehub.generators.autoencoder import Autoencoder

Curve = Callable[[np.ndarray], np.ndarray]


def _sine_in(t: np.ndarray) -> np.ndarray:
    return np.asarray(1 - np.cos(t * np.pi / 2))


def _power_in(power: int) -> Curve:
    return lambda t: t**power


def _out(curve: Curve) -> Curve:
    """The curve turned around: fast first, then slow."""
    return lambda t: 1 - curve(1 - t)


def _in_out(curve: Curve) -> Curve:
    """Slow, fast, slow: the curve for the first half, turned around for the second."""
    return lambda t: np.where(t < 0.5, curve(2 * t) / 2, 1 - curve(2 - 2 * t) / 2)


def _family(name: str, curve: Curve) -> dict[str, Curve]:
    return {f"{name}in": curve, f"{name}out": _out(curve), f"{name}in-out": _in_out(curve)}


EASINGS: dict[str, Curve] = {
    "linear": lambda t: t,
    # The plain names are those of a sine: the gentlest.
    **_family("ease-", _sine_in),
    **_family("quad-", _power_in(2)),
    **_family("cubic-", _power_in(3)),
    **_family("quint-", _power_in(5)),
    "smoothstep": lambda t: t * t * (3 - 2 * t),
}
"""Name -> curve, elementwise on arrays."""


def easing(name: str) -> Curve:
    """The curve of that name.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in EASINGS:
        raise InputError(f"there is no easing {name!r}; known are {', '.join(EASINGS)}.")
    return EASINGS[name]


PATHS = ("lerp", "slerp", "spline")
# Arcs of less than this many radians are drawn straight; so are those of half a turn, for there is
# no saying which way they go.
_STRAIGHT = 1e-4


@dataclass(frozen=True)
class PathPosition:
    """One moment of a walk: on the way from keyframe `segment` to the next, `share` of it done."""

    segment: int
    share: float


def path_positions(n_frames: int, seconds: Sequence[float], *, curve: str, loop: bool,
                   ping_pong: bool) -> list[PathPosition]:
    """When and where each frame of a walk is.

    Args:
        n_frames: of the whole animation.
        seconds: of each segment, there being one more keyframe, or as many in a loop.
        curve: easing of each segment.
        loop: the last segment leads to the first keyframe, which is not shown again.
        ping_pong: after the last keyframe the walk goes back the same way, in as many seconds.
    """
    ends = np.cumsum(seconds)
    # A loop ends one frame before it begins again; an open walk shows both its ends.
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
    """A way through keyframes.

    Args:
        keyframes: [N, ...], at least two.
        seconds: of each segment; the spline needs them for its tangents.
        kind: one of `PATHS`.
        loop: whether it leads back to the first keyframe, also in speed where it is a spline.

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

    def at(self, moment: PathPosition) -> np.ndarray:
        """The place at a moment, float64 [...]."""
        here, there = moment.segment, int(self._next[moment.segment])
        first, last, s = self._keys[here], self._keys[there], moment.share
        if self._kind == "lerp":
            return (1 - s) * first + s * last
        if self._kind == "slerp":
            return slerp(first, last, s)
        assert self._slopes is not None
        leaving, arriving = self._slopes[here], self._slopes[there]
        length, t = self._seconds[here], 1 - s
        return (t * t * (1 + 2 * s) * first + s * s * (3 - 2 * s) * last
                + length * s * t * (t * leaving - s * arriving))

    def _tangents(self, loop: bool) -> np.ndarray:
        """Speed at each keyframe: from the one before to the one after, over the time between."""
        keys, lengths = self._keys, self._seconds.reshape(-1, *[1] * (self._keys.ndim - 1))
        if loop:
            after, before = np.roll(keys, -1, 0), np.roll(keys, 1, 0)
            return (after - before) / (lengths + np.roll(lengths, 1, 0))
        inner = (keys[2:] - keys[:-2]) / (lengths[1:] + lengths[:-1])
        ends = ((keys[1] - keys[0]) / lengths[0], (keys[-1] - keys[-2]) / lengths[-1])
        return np.concatenate([ends[0][None], inner, ends[1][None]])


def slerp(first: np.ndarray, last: np.ndarray, share: float) -> np.ndarray:
    """The place on the arc from one latent to another; its distance from 0 changes evenly."""
    lengths = np.linalg.norm(first), np.linalg.norm(last)
    if not all(lengths):
        return np.asarray((1 - share) * first + share * last)
    a, b = first / lengths[0], last / lengths[1]
    angle = float(np.arccos(np.clip(np.vdot(a, b), -1, 1)))
    if min(angle, np.pi - angle) < _STRAIGHT:
        return np.asarray((1 - share) * first + share * last)
    direction = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return np.asarray(direction * ((1 - share) * lengths[0] + share * lengths[1]))


def check_path(kind: str) -> None:
    """Refuse a kind of path that there is not.

    Raises:
        InputError: there is none of that name.
    """
    if not isinstance(kind, str) or kind not in PATHS:
        raise InputError(f"there is no path {kind!r}; known are {', '.join(PATHS)}.")


_SEEDS = 64
_BASES = 2


def main_directions(model: Autoencoder, count: int = 8) -> np.ndarray:
    """Directions that matter most, the strongest first.

    Pictures are moved along each number of their latents; the principal axes of how they change
    are the directions. Each is as long as one standard deviation of latents that the model draws.

    Args:
        model: whose latents are looked at.
        count: how many directions, at most as many as a latent has numbers.

    Returns:
        float32 [count, K].
    """
    drawn = model.sample(range(1, _SEEDS + 1)).astype(np.float64)
    mean, spread = drawn.mean(0), np.maximum(drawn.std(0), 1e-6)
    change = np.zeros((model.latent, model.latent))
    for base in (mean, *drawn[:_BASES - 1]):
        places = base + np.concatenate([np.zeros((1, model.latent)), np.diag(spread)])
        pictures = np.stack(model.decode(places.astype(np.float32))).astype(np.float64)
        moved = (pictures[1:] - pictures[0]).reshape(model.latent, -1)
        change += moved @ moved.T
    _, axes = np.linalg.eigh(change)
    chosen = axes.T[::-1][:count]
    # An axis may be turned around; its largest number shall be positive, everywhere.
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(1)[:, None], 1)
    ways = chosen * np.sign(largest) * spread
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    # Numbers of a latent may hang together: what counts is how far drawn ones reach along a way.
    reach = ((drawn - mean) @ ways.T).std(0)
    return np.asarray(ways * reach[:, None], np.float32)
