"""Paths through keyframes: where a walk is at each moment.

    lerp      straight lines                      w0 = 1 - s, w1 = s
    slerp     arcs, for latents of a Gaussian     w0 = sin((1 - s) a) / sin a, w1 = sin(s a) / sin a
    spline    one smooth curve through all        cubic Hermite, tangents across the neighbours

A keyframe may be any array of numbers; all of a walk have one shape. Times count in seconds.

Sources: Shoemake, Animating rotation with quaternion curves (SIGGRAPH 1985), for slerp;
https://en.wikipedia.org/wiki/Cubic_Hermite_spline, finite differences, for the spline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aehub.animate.easing import easing
from aehub.errors import InputError

PATHS = ("lerp", "slerp", "spline")
# Arcs of less than this many radians are drawn straight; so are those of half a turn, for there is
# no saying which way they go.
_STRAIGHT = 1e-4


@dataclass(frozen=True)
class Moment:
    """One moment of a walk: on the way from keyframe `segment` to the next, `share` of it done."""

    segment: int
    share: float


def moments(n_frames: int, seconds: Sequence[float], *, curve: str, loop: bool, ping_pong: bool
            ) -> list[Moment]:
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
    return [Moment(int(n), float(share)) for n, share in zip(segments, shares, strict=True)]


class Path:
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

    def at(self, moment: Moment) -> np.ndarray:
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
