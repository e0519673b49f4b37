"""The quality that makes a file of a wanted size, in at most four encodes.

The logarithm of the size of the pictures is nearly linear in log2(60 + quality), so a secant on it
converges in two or three steps.

Encodes a clip until its size fits, and keeps the file that fits best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO

from aehub.arguments import check_number, check_whole
from aehub.codecs.compress import EncodingStats
from aehub.codecs.d4.codec import check_quality
from aehub.errors import InputError
from aehub.files import spool
from aehub.media.clip import Clip
from aehub.media.picture import ClipInfo, Planes
from aehub.results import Progress

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


# Frames at the beginning that are looked at first, and how long a clip must be for that to pay.
_SAMPLED, _LONG = 9, 18

Sample = Callable[[Sequence[Planes], float, int], float]
Encode = Callable[[Clip, BinaryIO, float], Generator[Progress, None, EncodingStats]]


def one_goal(quality: Any, size: Any, kbps: Any) -> tuple[float, int | None, float | None]:
    """Quality, size and rate, of which one is given: quality 50 is meant if none is.

    Raises:
        InputError: several are given, or one cannot be used.
    """
    given = {"quality": quality, "target_size": size, "target_kbps": kbps}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)} exclude each other; give one of them.")
    return (check_quality(50 if quality is None else quality),
            None if size is None else check_whole("target_size", size, 1),
            None if kbps is None else check_number("target_kbps", kbps, 0, above=True))


class Trials:
    """At most four encodes of one clip; a context manager that forgets their files.

    Args:
        opened: opens the clip, once for each encode.
        encode: writes a clip to a stream at a quality, yielding as it goes.
        sample: bytes that so many frames would take at a quality, going by a few.
        size: bytes of the whole file at most, or None.
        kbps: else its average rate without audio at most.
    """

    def __init__(self, opened: Callable[[], Clip], encode: Encode, sample: Sample,
                 size: int | None, kbps: float | None) -> None:
        self._opened, self._encode, self._sample = opened, encode, sample
        self._size, self._kbps = size, kbps
        self._files: dict[float, tuple[BinaryIO, ClipInfo, EncodingStats]] = {}

    def run(self) -> Generator[Progress, None, tuple[BinaryIO, ClipInfo, EncodingStats, float]]:
        """Yield the steps of every encode; return (file, facts, tally, quality) of the best.

        Raises:
            InputError: even the smallest file is larger; the sentence says how large it is.
        """
        trials: list[Trial] = []
        quality: float | None = self._first()
        chosen: Trial | None = None
        while chosen is None:
            assert quality is not None
            trial, seconds = yield from self._try(quality)
            trials.append(trial)
            chosen, quality = search(self._target(seconds), trials)
        file, info, tally = self._files[chosen.quality]
        file.seek(0)
        target = self._target(seconds)
        if chosen.size < (1 - TOLERANCE) * target and chosen.quality == 100:
            info = replace(info, notes=(*info.notes, (
                f"the best quality, 100, takes {chosen.size} bytes; the target allows {target}.")))
        return file, info, tally, chosen.quality

    def _first(self) -> float:
        """The quality to try first; what the beginning of a longer clip takes makes it better."""
        with self._opened() as clip:
            n_frames = clip.info.n_frames or 100
            target = self._target(float(n_frames / clip.info.fps))
            pixels = clip.info.width * clip.info.height * n_frames
            guess = first_guess(target, pixels)
            if n_frames < _LONG:
                return guess
            frames = [frame.planes for frame in islice(clip, _SAMPLED)]
        return refine(target, guess, lambda quality: self._sample(frames, quality, n_frames))

    def _target(self, seconds: float) -> int:
        if self._size is not None:
            return self._size
        assert self._kbps is not None
        return int(self._kbps * 125 * seconds)

    def _try(self, quality: float) -> Generator[Progress, None, tuple[Trial, float]]:
        file = spool()
        with self._opened() as clip:
            self._files[quality] = file, clip.info, EncodingStats()
            tally = yield from self._encode(clip, file, quality)
            self._files[quality] = file, clip.info, tally
        sound = tally.audio_bytes
        counted = sound if self._size is not None else 0
        return Trial(quality, tally.bytes - sound, counted), tally.seconds

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for file, _, _ in self._files.values():
            file.close()
