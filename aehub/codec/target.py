"""The quality that makes a file of a wanted size, in at most four encodes.

The logarithm of the size of the pictures is nearly linear in log2(60 + quality), so a secant on it
converges in two or three steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from aehub.errors import InputError

ENCODES = 4
TOLERANCE = 0.03
# Aim here within the tolerance: as far from missing it as from overshooting.
_AIM = 0.985
# Of the third encode if nothing fitted yet: then the last one can be spent on coming closer.
_SAFE_AIM = 0.96
# Measured on lossless clips of many kinds; one encode of the clip at hand moves the curve, two
# bend it.
_OCTAVES, _BEND = 4.17, 60.0
# Bits per pixel of a clip at quality 0.
_BPP = 0.006


@dataclass(frozen=True)
class Trial:
    """One encode: the size of its pictures and what else is in the file, in bytes."""

    quality: float
    pictures: int
    other: int

    @property
    def size(self) -> int:
        return self.pictures + self.other


def first_guess(target: int, pixels: int) -> float:
    """Quality at which a clip of so many pixels in all usually takes `target` bytes."""
    bits = max(1e-6, 8 * target / pixels)
    return _quality(math.log2(bits / _BPP))


def refine(target: int, guess: float, estimate: Callable[[float], float]) -> float:
    """A better first quality, from what a small part of the clip takes at three qualities.

    Args:
        target: bytes wanted.
        guess: quality to begin with.
        estimate: bytes that the clip would take at a quality, going by the part.
    """
    wanted = math.log2(max(1.0, _AIM * target))
    points: list[tuple[float, float]] = []
    for _ in range(3):
        points.append((math.log2(max(1.0, estimate(guess))), _octaves(guess)))
        guess = _quality(_place(points, wanted))
    return guess


def search(target: int, trials: list[Trial]) -> tuple[Trial | None, float | None]:
    """What to do after the trials so far: (chosen, None) to stop, or (None, quality to try next).

    Args:
        target: bytes of the whole file at most.
        trials: at least one; at most four are asked for.

    Raises:
        InputError: even quality 0 is larger; the sentence says how large.
    """
    best = max((t for t in trials if t.size <= target), key=lambda t: t.size, default=None)
    if best is not None and (best.size >= (1 - TOLERANCE) * target or best.quality == 100
                             or len(trials) >= ENCODES):
        return best, None
    last = trials[-1]
    if last.quality == 0 and last.size > target:
        raise InputError(f"the target is {target} bytes; the smallest file of this clip, at "
                         f"quality 0, has {last.size}. Allow more, or trim the clip.")
    following = _next(trials, target)
    if any(following == t.quality for t in trials):
        # Hundredths of quality are as fine as it gets.
        return (best, None) if best is not None else (None, 0.0)
    # The last encode must tell the floor if nothing fitted so far.
    return None, 0.0 if len(trials) == ENCODES - 1 and best is None else following


def _next(trials: list[Trial], target: int) -> float:
    low = max((t.quality for t in trials if t.size <= target), default=0.0)
    high = min((t.quality for t in trials if t.size > target), default=100.0)
    safe = len(trials) == ENCODES - 2 and all(t.size > target for t in trials)
    aim = (_SAFE_AIM if safe else _AIM) * target
    wanted = math.log2(max(1.0, aim - trials[-1].other))
    points = [(math.log2(max(1, t.pictures)), _octaves(t.quality)) for t in trials]
    following = _quality(_place(points, wanted))
    tried = {t.quality for t in trials}
    inside = low <= following <= high and following not in tried
    return following if inside else _clip((low + high) / 2)


def _place(points: list[tuple[float, float]], wanted: float) -> float:
    """Where the size is `wanted`: by the usual curve, a line, or a parabola, as points allow."""
    points = sorted(points, key=lambda p: abs(p[0] - wanted))
    (size_a, place_a), *others = points
    place = place_a + wanted - size_a
    if others:
        size_b, place_b = others[0]
        if (size_a - size_b) * (place_a - place_b) > 0:
            place = place_a + (wanted - size_a) * (place_a - place_b) / (size_a - size_b)
    if len(others) > 1:
        below = max((p for p in points if p[0] <= wanted), default=(-math.inf, -math.inf))
        above = min((p for p in points if p[0] > wanted), default=(math.inf, math.inf))
        curved = _parabola(points[:3], wanted)
        if curved is not None and below[1] < curved < above[1]:
            return curved
    return place


def _parabola(points: list[tuple[float, float]], wanted: float) -> float | None:
    """The place of `wanted` on the parabola through three (size, place)."""
    total = 0.0
    for size, place in points:
        others = [other for other, _ in points if other != size]
        if len(others) < len(points) - 1:
            return None
        total += place * math.prod((wanted - o) / (size - o) for o in others)
    return total


def _octaves(quality: float) -> float:
    """How many times the size doubles from quality 0 to this one, usually."""
    return _OCTAVES * math.log2(1 + quality / _BEND)


def _quality(octaves: float) -> float:
    return _clip(_BEND * (2 ** (min(octaves, 20.0) / _OCTAVES) - 1))


def _clip(quality: float) -> float:
    return round(min(100.0, max(0.0, quality)), 2)
