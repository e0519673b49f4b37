"""Settings and plans of animations, and the functions that both planners share.

A plan knows the number and the size of its frames; the frames are computed only while `Plan.frames`
is read. `latent_walk` plans for any `LatentModel`, `sprite_walk` walk cycles of characters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import check_path, easing
from aehub.animation.sheet import Tag
from aehub.errors import InputError, LimitError
from aehub.generators.base import GenerativeModel, LatentModel, over_white
from aehub.generators.sprite.poses import DIRECTIONS, STEPS
from aehub.media.timestamps import parse_rate

MAX_SECONDS = 600.0
"""Length of an animation."""
MIN_FPS, MAX_FPS = Fraction(1, 10), 120
MAX_FRAMES = 18_000
"""Of an animation: `MAX_SECONDS` at 30 frames/s."""
MAX_SIDE = 4096
"""Pixels on a side of a frame."""
MAX_TRUNCATION = 2.0
MAX_SCALE = 64
FLAGS = ("loop", "ping_pong", "beside", "sheet")
"""Boolean settings."""
DEFAULT_SIZE = 256
"""Pixels up to which pictures are enlarged by a whole factor if no scale is given."""


@dataclass(frozen=True)
class Settings:
    """Settings of an animation, checked once, before any work.

    Attributes:
        seconds: of the whole animation, or of each segment between two keyframes.
        fps: frames per second.
        path: "lerp", "slerp", "spline", or None for the default of `path_kind`.
        easing: one of `EASINGS`.
        loop: continue from the last keyframe to the first.
        ping_pong: play forwards, then backwards.
        truncation: factor on sampled latents, relative to their mean; less variety below 1.
        scale: whole factor on the size; None for the largest that stays within `DEFAULT_SIZE`, and
            1 for sheets and codecs.
        beside: show a plain cross-fade of the same keyframes to the right.
        sheet: write one picture of all frames.
        direction: of sprites: "up", "left", "down", "right" or "all".
        steps: of a walk cycle of sprites.

    Raises:
        InputError: a value is out of range.
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
            raise InputError("loop and ping-pong exclude each other, because a ping-pong returns "
                             "to its first frame anyway; give one of them.")
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
    def parse(cls, *, seconds: Any = 4.0, fps: Any = 30, **others: Any) -> Settings:
        """Settings from arguments of callers: numbers, text and lists."""
        is_list = isinstance(seconds, Sequence) and not isinstance(seconds, str)
        parts = tuple(map(_seconds, seconds)) if is_list else (_seconds(seconds),)
        if not parts:
            raise InputError("no seconds are given; give a number, or one for each segment.")
        if sum(parts) > MAX_SECONDS:
            raise LimitError(f"the animation would take {sum(parts):g} s; the limit is "
                             f"{MAX_SECONDS:g} s. Shorten it.")
        rate = parse_rate(fps)
        if not MIN_FPS <= rate <= MAX_FPS:
            raise LimitError(f"fps is {float(rate):g}; the limit is {MAX_FPS} frames per second, "
                             f"and the minimum {float(MIN_FPS):g}. Give a rate in between.")
        return cls(seconds=parts if is_list else parts[0], fps=rate, **others)

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


def unused_settings_note(model: str, settings: Settings, names: Iterable[str]) -> tuple[str, ...]:
    """A note about settings that differ from their defaults but have no effect.

    Args:
        model: name of the model.
        settings: of the animation.
        names: of settings without effect.
    """
    default = Settings()
    unused = [name for name in names if getattr(settings, name) != getattr(default, name)]
    if not unused:
        return ()
    verb = "has" if len(unused) == 1 else "have"
    return (f"{' and '.join(unused).capitalize()} {verb} no effect on what {model} does here.",)


def _seconds(value: Any) -> float:
    number = float(value) if _is_number(value) else math.nan
    if not 0 < number <= MAX_SECONDS:
        raise InputError(f"seconds are {str(value)[:40]}; give a number above 0, up to "
                         f"{MAX_SECONDS:g}.")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Plan:
    """A planned animation.

    Attributes:
        n_frames: number of frames.
        size: (width, height) of a frame.
        frames: computes them, uint8 [H, W, 3] in RGB, or [H, W, 4] with alpha.
        keyframes: entries of the recipe, from which the same frames can be made again.
        alpha: whether frames have an alpha channel.
        columns: of a sprite sheet; None for a nearly square sheet.
        tags: of a sprite sheet.
        frame_seconds: duration of a frame of a sheet; None for the rate of the animation.
        notes: sentences about results that the user may not expect.
    """

    n_frames: int
    size: tuple[int, int]
    frames: Callable[[], Iterator[np.ndarray]]
    keyframes: list[dict[str, Any]]
    alpha: bool = False
    columns: int | None = None
    tags: tuple[Tag, ...] = ()
    frame_seconds: float | None = None
    notes: tuple[str, ...] = ()


def path_kind(model: LatentModel, settings: Settings, n_keyframes: int) -> str:
    """The kind of path: the one set, or the default for the model and the number of keyframes.

    Raises:
        InputError: slerp is set, but the latents are not Gaussian around 0.
    """
    if settings.path == "slerp" and not model.gaussian:
        raise InputError(f"slerp draws arcs around 0, and the latents of {model.name} are not "
                         "drawn from a Gaussian around it; use lerp or spline.")
    if settings.path is not None:
        return settings.path
    return "spline" if settings.loop or n_keyframes > 2 else "slerp" if model.gaussian else "lerp"


def check_frame_size(size: tuple[int, int]) -> tuple[int, int]:
    """`size` (width, height), checked.

    Raises:
        LimitError: a side is longer than `MAX_SIDE`.
    """
    width, height = size
    if max(width, height) > MAX_SIDE:
        raise LimitError(f"frames would be {width}x{height}; the limit is {MAX_SIDE} pixels on a "
                         "side. Give a smaller scale.")
    return width, height


def keyframe_latents(model: LatentModel, keyframes: list[Keyframe], truncation: float
                     ) -> np.ndarray:
    """Latents [N, ...] of keyframes that `check_keyframes` took."""
    return np.concatenate([_latents(model, key, truncation) for key in keyframes])


def check_keyframes(model: LatentModel, keyframes: list[Keyframe]) -> None:
    """Refuse keyframes that the model has no latents of.

    Raises:
        InputError: there is a seed but the model draws no pictures, or a latent that is none of
            its own, or a picture that is transparent everywhere.
    """
    for key in keyframes:
        if key.visible_picture() is not None:
            continue
        known = (model.latent is not None if key.seed is None
                 else isinstance(model, GenerativeModel))
        if model.side is None or not known:
            raise InputError(f"{model.name} walks only between pictures, and {key.name} is a "
                             f"{'latent' if key.seed is None else 'seed'}; give pictures, or a "
                             "clip.", "They are named with --keyframe and --clip.")
        if key.latent is not None and key.latent.shape != (model.latent,):
            raise InputError(f"{key.name} has {key.latent.size} numbers; the latents of "
                             f"{model.name} have {model.latent}.")


def _latents(model: LatentModel, key: Keyframe, truncation: float) -> np.ndarray:
    """[1, ...] of one keyframe."""
    if key.picture is not None:
        return model.to_latents([over_white(key.picture)])
    if key.latent is not None:
        return key.latent[None]
    assert isinstance(model, GenerativeModel) and key.seed is not None
    return model.sample([key.seed], truncation)
