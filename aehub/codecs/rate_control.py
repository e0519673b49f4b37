"""Rate control: the quality at which a file has a wanted size, in four encodes as a rule.

The logarithm of the size of the pictures is nearly linear in log2(60 + quality), so the secant
method on it converges in two or three steps. The encode that fits best is the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO

from aehub.arguments import check_number, check_whole
from aehub.codecs.base import check_quality
from aehub.codecs.compress import EncodingStats
from aehub.errors import InputError
from aehub.files import spool
from aehub.media.clip import Clip
from aehub.media.picture import ClipInfo, Picture
from aehub.results import Progress

# Most encodes, and the share of the target that may stay unused.
ENCODES = 4
TOLERANCE = 0.03
# Most encodes where so large a share would stay unused after four: codecs and clips of which the
# size follows another curve than the usual one.
MAX_ENCODES = 8
UNUSUAL = 0.1
# Difference of quality below which no better one is looked for.
_FINEST = 0.1
# Share of the target to aim at: the middle of the tolerance.
_AIM = 0.985
# Of the third encode if nothing fits yet: the last one can then come closer.
_SAFE_AIM = 0.96
# Usual curve, log2(size) = a + _OCTAVES * log2(1 + quality / _BEND), and bits per pixel at quality
# 0: measured with `d4-codec` on lossless clips of many kinds; other codecs begin with it too.
_OCTAVES, _BEND, _MIN_BPP = 4.17, 60.0, 0.006
# Frames at the beginning that are sampled first, and how long a clip must be for that to pay.
_SAMPLED, _MIN_SAMPLED_CLIP = 9, 18


@dataclass(frozen=True)
class Trial:
    """One encode: bytes of its pictures and of the rest of the file."""

    quality: float
    pictures: int
    other: int

    @property
    def size(self) -> int:
        return self.pictures + self.other


def first_guess(target: int, pixels: int) -> float:
    """Quality at which a clip of `pixels` in all usually takes `target` bytes."""
    bits = max(1e-6, 8 * target / pixels)
    return _quality(math.log2(bits / _MIN_BPP))


def refine_guess(target: int, guess: float, estimate: Callable[[float], float]) -> float:
    """Refine the first quality by encodes of a part of the clip at three qualities.

    Args:
        target: bytes wanted.
        guess: quality to begin with.
        estimate: bytes of the clip at a quality, extrapolated from the part.
    """
    wanted = math.log2(max(1.0, _AIM * target))
    points: list[tuple[float, float]] = []
    for _ in range(3):
        points.append((math.log2(max(1.0, estimate(guess))), _octaves(guess)))
        guess = _quality(_interpolate(points, wanted))
    return guess


def next_step(target: int, trials: list[Trial]) -> tuple[Trial | None, float | None]:
    """Decide after the encodes so far: (chosen, None) to stop, or (None, next quality).

    Args:
        target: bytes of the whole file at most.
        trials: at least one; more than `MAX_ENCODES` are not asked for.

    Raises:
        InputError: even quality 0 is larger; the sentence says how large.
    """
    best = max((t for t in trials if t.size <= target), key=lambda t: t.size, default=None)
    if best is not None:
        usual = best.size >= (1 - UNUSUAL) * target
        if (best.size >= (1 - TOLERANCE) * target or best.quality == 100
                or len(trials) >= (ENCODES if usual else MAX_ENCODES)):
            return best, None
    last = trials[-1]
    if last.quality == 0 and last.size > target:
        raise InputError(f"the target is {target} bytes; the smallest file of this clip, at "
                         f"quality 0, has {last.size}. Allow more, or trim the clip.")
    following = _next(trials, target)
    low = max((t.quality for t in trials if t.size <= target), default=-math.inf)
    high = min((t.quality for t in trials if t.size > target), default=math.inf)
    if high - low < _FINEST or any(following == t.quality for t in trials):
        # Sizes may leap from one quality to the next.
        return (best, None) if best is not None else (None, 0.0)
    # If nothing fits so far, the last encode has to find the smallest size.
    return None, 0.0 if len(trials) == ENCODES - 1 and best is None else following


def _next(trials: list[Trial], target: int) -> float:
    low = max((t.quality for t in trials if t.size <= target), default=0.0)
    high = min((t.quality for t in trials if t.size > target), default=100.0)
    safe = len(trials) == ENCODES - 2 and all(t.size > target for t in trials)
    aim = (_SAFE_AIM if safe else _AIM) * target
    wanted = math.log2(max(1.0, aim - trials[-1].other))
    points = [(math.log2(max(1, t.pictures)), _octaves(t.quality)) for t in trials]
    following = _quality(_interpolate(points, wanted))
    tried = {t.quality for t in trials}
    inside = low <= following <= high and following not in tried
    return following if inside else _clip((low + high) / 2)


def _interpolate(points: list[tuple[float, float]], wanted: float) -> float:
    """Octaves at log2 size `wanted`, by the usual curve, a line or a parabola through points."""
    points = sorted(points, key=lambda p: abs(p[0] - wanted))
    (size_a, octaves_a), *others = points
    octaves = octaves_a + wanted - size_a
    if others:
        size_b, octaves_b = others[0]
        if (size_a - size_b) * (octaves_a - octaves_b) > 0:
            octaves = octaves_a + (wanted - size_a) * (octaves_a - octaves_b) / (size_a - size_b)
    if len(others) > 1:
        below = max((p for p in points if p[0] <= wanted), default=(-math.inf, -math.inf))
        above = min((p for p in points if p[0] > wanted), default=(math.inf, math.inf))
        curved = _parabola(points[:3], wanted)
        if curved is not None and below[1] < curved < above[1]:
            return curved
    return octaves


def _parabola(points: list[tuple[float, float]], wanted: float) -> float | None:
    """Octaves at `wanted` on the parabola through three points (log2 size, octaves)."""
    total = 0.0
    for size, octaves in points:
        others = [other for other, _ in points if other != size]
        if len(others) < len(points) - 1:
            return None
        total += octaves * math.prod((wanted - o) / (size - o) for o in others)
    return total


def _octaves(quality: float) -> float:
    """Usual log2 of the size at a quality over that at quality 0."""
    return _OCTAVES * math.log2(1 + quality / _BEND)


def _quality(octaves: float) -> float:
    return _clip(_BEND * (2 ** (min(octaves, 20.0) / _OCTAVES) - 1))


def _clip(quality: float) -> float:
    return round(min(100.0, max(0.0, quality)), 2)


Estimate = Callable[[Sequence[Picture], ClipInfo, float, int], float]
Encode = Callable[[Clip, BinaryIO, float], Generator[Progress, None, EncodingStats]]


def check_goal(quality: Any, size: Any, kbps: Any) -> tuple[float, int | None, float | None]:
    """Quality, size and rate, of which one may be given; quality 50 by default.

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


class RateControl:
    """The encodes of one clip; a context manager that deletes their files.

    Args:
        open_clip: opens the clip, once for each encode.
        encode: writes a clip to a stream at a quality, yielding progress.
        estimate: bytes of a clip from its first pictures, its properties, a quality and its number
            of frames.
        size: bytes of the whole file at most, or None.
        kbps: average rate without audio at most, where no size is given.
    """

    def __init__(self, open_clip: Callable[[], Clip], encode: Encode, estimate: Estimate,
                 size: int | None, kbps: float | None) -> None:
        self._open_clip, self._encode, self._estimate = open_clip, encode, estimate
        self._size, self._kbps = size, kbps
        self._files: dict[float, tuple[BinaryIO, ClipInfo, EncodingStats]] = {}

    def run(self) -> Generator[Progress, None, tuple[BinaryIO, ClipInfo, EncodingStats, float]]:
        """Yield the progress of every encode; return (file, clip info, stats, quality) of the best.

        Raises:
            InputError: even the smallest file is larger; the sentence says how large it is.
        """
        trials: list[Trial] = []
        quality: float | None = self._first_quality()
        chosen: Trial | None = None
        while chosen is None:
            assert quality is not None
            trial, seconds = yield from self._try(quality)
            trials.append(trial)
            chosen, quality = next_step(self._target(seconds), trials)
        file, info, stats = self._files[chosen.quality]
        file.seek(0)
        target = self._target(seconds)
        if chosen.size < (1 - TOLERANCE) * target:
            found = ("the best quality, 100," if chosen.quality == 100 else
                     f"quality {chosen.quality:g}, the closest of {len(trials)} encodes,")
            info = replace(info, notes=(*info.notes, (
                f"{found} takes {chosen.size} bytes; the target allows {target}.")))
        return file, info, stats, chosen.quality

    def _first_quality(self) -> float:
        """Quality of the first encode, refined by the first frames of longer clips."""
        with self._open_clip() as clip:
            n_frames = clip.info.n_frames or 100
            target = self._target(float(n_frames / clip.info.fps))
            pixels = clip.info.width * clip.info.height * n_frames
            guess = first_guess(target, pixels)
            if n_frames < _MIN_SAMPLED_CLIP:
                return guess
            pictures = [frame.picture for frame in islice(clip, _SAMPLED)]
            info = clip.info
        return refine_guess(target, guess,
                            lambda quality: self._estimate(pictures, info, quality, n_frames))

    def _target(self, seconds: float) -> int:
        if self._size is not None:
            return self._size
        assert self._kbps is not None
        return int(self._kbps * 125 * seconds)

    def _try(self, quality: float) -> Generator[Progress, None, tuple[Trial, float]]:
        file = spool()
        with self._open_clip() as clip:
            self._files[quality] = file, clip.info, EncodingStats()
            stats = yield from self._encode(clip, file, quality)
            self._files[quality] = file, clip.info, stats
        audio = stats.audio_bytes
        counted = audio if self._size is not None else 0
        return Trial(quality, stats.bytes - audio, counted), stats.seconds

    def __enter__(self) -> RateControl:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for file, _, _ in self._files.values():
            file.close()
