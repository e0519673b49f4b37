"""Encodes a clip until its size fits, and keeps the file that fits best."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO

from aehub.arguments import check_number, check_whole
from aehub.clips.clip import Clip
from aehub.clips.frames import ClipInfo, Planes
from aehub.codec.compress import Tally
from aehub.codec.latents import check_quality
from aehub.codec.target import TOLERANCE, Trial, first_guess, refine, search
from aehub.errors import InputError
from aehub.files import spool
from aehub.results import Step

# Frames at the beginning that are looked at first, and how long a clip must be for that to pay.
_SAMPLED, _LONG = 9, 18

Sample = Callable[[Sequence[Planes], float, int], float]
Encode = Callable[[Clip, BinaryIO, float], Generator[Step, None, Tally]]


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
        self._files: dict[float, tuple[BinaryIO, ClipInfo, Tally]] = {}

    def run(self) -> Generator[Step, None, tuple[BinaryIO, ClipInfo, Tally, float]]:
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

    def _try(self, quality: float) -> Generator[Step, None, tuple[Trial, float]]:
        file = spool()
        with self._opened() as clip:
            self._files[quality] = file, clip.info, Tally()
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
