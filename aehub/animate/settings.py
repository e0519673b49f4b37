"""How an animation is made, apart from what it goes through: checked once, before any work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aehub.animate.easing import easing
from aehub.animate.path import check_path
from aehub.clips.timeline import rate_given
from aehub.errors import InputError, LimitError
from aehub.models.pose import DIRECTIONS, STEPS

MAX_SECONDS = 600.0
MIN_FPS, MAX_FPS = Fraction(1, 10), 120
MAX_FRAMES = 18_000
MAX_SIDE = 4096
"""Pixels of a side of what is written."""
MAX_TRUNCATION = 2.0
MAX_SCALE = 64
FLAGS = ("loop", "ping_pong", "beside", "sheet")
"""Settings that are true or false."""


@dataclass(frozen=True)
class Settings:
    """How an animation is made.

    Attributes:
        seconds: of the whole animation, or of each segment between two keyframes.
        fps: frames per second.
        path: "lerp", "slerp", "spline", or None for what suits the model.
        easing: name of a curve.
        loop: go from the last keyframe on to the first.
        ping_pong: go back the way it came.
        truncation: of seeds; below 1 keeps nearer to the mean picture.
        scale: whole factor on the size; None for the largest that stays within 256 pixels, and 1 on
            sheets and for codecs.
        beside: show a plain cross-fade of the same keyframes to the right.
        sheet: write one picture of all frames.
        direction: that characters walk in: "up", "left", "down", "right" or "all".
        steps: of a cycle that characters walk.

    Raises:
        InputError: a value is not possible.
        LimitError: there would be too many frames.
    """

    seconds: float | tuple[float, ...] = 4.0
    fps: Fraction = Fraction(30)
    path: str | None = None
    easing: str = "linear"
    loop: bool = False
    ping_pong: bool = False
    truncation: float = 1.0
    scale: int | None = None
    beside: bool = False
    sheet: bool = False
    direction: str = "down"
    steps: int = 8

    def __post_init__(self) -> None:
        easing(self.easing)
        for name in FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {str(getattr(self, name))[:40]}; give true or "
                                 "false.")
        if self.path is not None:
            check_path(self.path)
        if self.loop and self.ping_pong:
            raise InputError("loop and ping-pong exclude each other, for a ping-pong comes back to "
                             "its first frame by itself; give one of them.")
        if not _is_number(self.truncation) or not 0 <= self.truncation <= MAX_TRUNCATION:
            raise InputError(f"truncation is {self.truncation}; it goes from 0 (always the mean "
                             f"picture) over 1 (as trained) to {MAX_TRUNCATION:g}.")
        if self.scale is not None and (
                type(self.scale) is not int or not 1 <= self.scale <= MAX_SCALE):
            raise InputError(f"scale is {self.scale}; give a whole number from 1 to {MAX_SCALE}.")
        if type(self.steps) is not int or not STEPS[0] <= self.steps <= STEPS[1]:
            raise InputError(f"steps are {self.steps}; give a whole number from {STEPS[0]} to "
                             f"{STEPS[1]}.")
        if not isinstance(self.direction, str) or self.direction not in (*DIRECTIONS, "all"):
            raise InputError(f"there is no direction {self.direction!r}; give one of "
                             f"{', '.join(DIRECTIONS)} or all.")
        self._check_frames()

    def _check_frames(self) -> None:
        if self.total * self.fps < 0.5:
            raise InputError(f"{self.total:g} s at {float(self.fps):g} frames/s are less than a "
                             "frame; give more of either.")
        if self.n_frames > MAX_FRAMES:
            raise LimitError(f"{self.total:g} s at {float(self.fps):g} frames/s are "
                             f"{self.n_frames} frames; an animation has at most {MAX_FRAMES}. "
                             "Shorten it, or give fewer frames per second.")

    @classmethod
    def given(cls, *, seconds: Any = 4.0, fps: Any = 30, **others: Any) -> Settings:
        """Settings from what callers write: numbers, text and lists."""
        many = isinstance(seconds, Sequence) and not isinstance(seconds, str)
        parts = tuple(map(_seconds, seconds)) if many else (_seconds(seconds),)
        if not parts:
            raise InputError("no seconds are given; give a number, or one for each segment.")
        if sum(parts) > MAX_SECONDS:
            raise LimitError(f"the animation would take {sum(parts):g} s; the limit is "
                             f"{MAX_SECONDS:g} s. Shorten it.")
        rate = rate_given(fps)
        if not MIN_FPS <= rate <= MAX_FPS:
            raise LimitError(f"fps is {float(rate):g}; the limit is {MAX_FPS} frames per second, "
                             f"and the least {float(MIN_FPS):g}. Give a rate between.")
        return cls(seconds=parts if many else parts[0], fps=rate, **others)

    @property
    def total(self) -> float:
        """Seconds of the whole animation."""
        return sum(self.seconds) if isinstance(self.seconds, tuple) else self.seconds

    @property
    def n_frames(self) -> int:
        """Frames of the whole animation, at least one."""
        return max(1, round(self.total * self.fps))

    def segments(self, n_keyframes: int) -> list[float]:
        """Seconds of each segment between that many keyframes.

        Raises:
            InputError: there are too few keyframes, or not as many seconds as segments.
        """
        if n_keyframes < 2:
            raise InputError(f"{'one keyframe is' if n_keyframes else 'no keyframes are'} given; a "
                             "walk takes at least two. Give more seeds, pictures or moments of a "
                             "clip.")
        count = n_keyframes if self.loop else n_keyframes - 1
        if not isinstance(self.seconds, tuple):
            return [self.total / count] * count
        if len(self.seconds) != count:
            raise InputError(f"{len(self.seconds)} durations are given for the {count} segments of "
                             f"{n_keyframes} keyframes; give one for each, or one number for all.")
        return list(self.seconds)


def without_effect(model: str, settings: Settings, names: Iterable[str]) -> tuple[str, ...]:
    """A note about settings that were changed though they do not matter.

    Args:
        model: name of the model.
        settings: how an animation is made.
        names: of settings that do not matter.
    """
    usual = Settings()
    given = [name for name in names if getattr(settings, name) != getattr(usual, name)]
    return (f"{' and '.join(given).capitalize()} {'has' if len(given) == 1 else 'have'} no effect "
            f"on what {model} does here.",) if given else ()


def _seconds(value: Any) -> float:
    number = float(value) if _is_number(value) else math.nan
    if not 0 < number <= MAX_SECONDS:
        raise InputError(f"seconds are {str(value)[:40]}; give a number above 0, up to "
                         f"{MAX_SECONDS:g}.")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
