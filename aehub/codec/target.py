"""The quality that makes a file of a wanted size, in at most four encodes.

The logarithm of the size of the pictures is nearly linear in quality, so a secant on it converges
in two or three steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aehub.errors import InputError

ENCODES = 4
TOLERANCE = 0.03
# Aim here within the tolerance: as far from missing it as from overshooting.
_AIM = 0.985
# Octaves of size per unit of quality, before two encodes have told.
_SLOPE = 0.055
_TYPICAL_BPP_AT_0 = 0.06


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
    return _clip(math.log2(bits / _TYPICAL_BPP_AT_0) / _SLOPE)


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
    # The last encode must tell the floor if nothing fitted so far.
    if len(trials) == ENCODES - 1 and best is None:
        return None, 0.0
    return None, _next(trials, target)


def _next(trials: list[Trial], target: int) -> float:
    wanted = math.log2(max(1.0, _AIM * target - trials[-1].other))
    points = sorted((math.log2(max(1, t.pictures)), t.quality) for t in trials)
    slope = _SLOPE
    if len(points) > 1:
        nearest = sorted(points, key=lambda p: abs(p[0] - wanted))[:2]
        (size_a, quality_a), (size_b, quality_b) = sorted(nearest)
        if quality_b > quality_a and size_b > size_a:
            slope = (size_b - size_a) / (quality_b - quality_a)
    size, quality = min(points, key=lambda p: abs(p[0] - wanted))
    following = _clip(quality + (wanted - size) / slope)
    tried = {t.quality for t in trials}
    return following if following not in tried else _clip(following + (1 if wanted > size else -1))


def _clip(quality: float) -> float:
    return round(min(100.0, max(0.0, quality)), 2)
