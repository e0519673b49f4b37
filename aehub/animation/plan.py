"""A planned animation: how many frames of which size, and the frames, made one by one as asked.

Each kind of model has a module with a function that makes one (`walk`, `morph`, `stride`), of what
is here; frames are made only while `Plan.frames` is read.

How an animation is made, apart from what it goes through: checked once, before any work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import LatentPath, PathPosition, check_path, easing, path_positions
from aehub.animation.sheet import Tag
from aehub.errors import InputError, LimitError
from aehub.generators.autoencoder import Autoencoder
from aehub.generators.base import enlarge
from aehub.generators.sprite.poses import DIRECTIONS, STEPS
from aehub.media.timestamps import parse_rate

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
    def parse(cls, *, seconds: Any = 4.0, fps: Any = 30, **others: Any) -> Settings:
        """Settings from what callers write: numbers, text and lists."""
        many = isinstance(seconds, Sequence) and not isinstance(seconds, str)
        parts = tuple(map(_seconds, seconds)) if many else (_seconds(seconds),)
        if not parts:
            raise InputError("no seconds are given; give a number, or one for each segment.")
        if sum(parts) > MAX_SECONDS:
            raise LimitError(f"the animation would take {sum(parts):g} s; the limit is "
                             f"{MAX_SECONDS:g} s. Shorten it.")
        rate = parse_rate(fps)
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


def unused_settings_note(model: str, settings: Settings, names: Iterable[str]) -> tuple[str, ...]:
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


SIZE = 256
"""Pixels that a picture is enlarge to, as far as whole factors reach, if nothing is said."""
GAP = 8
"""Pixels between the walk and the cross-fade beside it."""
_WHITE = 255



@dataclass(frozen=True)
class Plan:
    """A planned animation.

    Attributes:
        n_frames: how many frames there will be.
        size: (width, height) of a frame.
        frames: makes them, uint8 [H, W, 3] in RGB, or [H, W, 4] with coverage.
        keyframes: what a recipe has to say of the keyframes to make the same frames again.
        alpha: whether frames have coverage.
        columns: of a sprite sheet; None for what makes it nearly square.
        tags: of a sprite sheet.
        frame_seconds: that a frame of a sheet is shown; None for the rate of the animation.
        notes: sentences about what the user may not expect.
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


def path_kind(settings: Settings, n_keyframes: int, *, gaussian: bool, name: str) -> str:
    """The kind of path: the one wanted, or what suits the model.

    Raises:
        InputError: arcs are wanted where latents do not lie around 0.
    """
    if settings.path == "slerp" and not gaussian:
        raise InputError(f"slerp draws arcs around 0, and the latents of {name} are not drawn from "
                         "a Gaussian around it; use lerp or spline.")
    if settings.path is not None:
        return settings.path
    return "spline" if settings.loop or n_keyframes > 2 else "slerp" if gaussian else "lerp"


def frame_positions(settings: Settings, seconds: list[float]) -> list[PathPosition]:
    """The moments of all frames of a walk through segments of that many seconds."""
    return path_positions(settings.n_frames, seconds, curve=settings.easing, loop=settings.loop,
                   ping_pong=settings.ping_pong)


def walk_frame_size(size: tuple[int, int], settings: Settings) -> tuple[int, int]:
    """(width, height) of a frame of the walk, the cross-fade beside it included.

    Raises:
        LimitError: it is too large.
    """
    width, height = size
    return check_frame_size((2 * width + GAP if settings.beside else width, height))


def check_frame_size(size: tuple[int, int]) -> tuple[int, int]:
    """`size` (width, height), if frames may be so large.

    Raises:
        LimitError: they may not.
    """
    width, height = size
    if max(width, height) > MAX_SIDE:
        raise LimitError(f"frames would be {width}x{height}; the limit is {MAX_SIDE} pixels on a "
                         "side. Give a smaller scale.")
    return width, height


def walk_notes(settings: Settings, kind: str, n_keyframes: int) -> tuple[str, ...]:
    """What a user may not expect of this walk."""
    notes = []
    if settings.loop and kind != "spline" and settings.easing == "linear":
        notes.append(f"A loop of {kind} with linear easing turns sharply at its keyframes; path "
                     "spline, or easing ease-in-out, rounds it.")
    if settings.n_frames < n_keyframes:
        notes.append(f"{settings.n_frames} frames cannot show all {n_keyframes} keyframes; give "
                     "more seconds.")
    return tuple(notes)


def keyframe_latents(model: Autoencoder, keyframes: list[Keyframe], truncation: float
               ) -> np.ndarray:
    """float32 [N, K] of keyframes.

    Raises:
        InputError: one is of another model.
    """
    return np.concatenate([_latents(model, key, truncation) for key in keyframes])


def _latents(model: Autoencoder, key: Keyframe, truncation: float) -> np.ndarray:
    """float32 [1, K] of one keyframe."""
    if key.seed is not None:
        return model.sample([key.seed], truncation)
    if (picture := key.visible()) is not None:
        return model.encode([picture])
    latent = np.asarray(key.latent, np.float32)
    if latent.shape != (model.latent,):
        raise InputError(f"{key.name} has {latent.size} numbers; the latents of {model.name} have "
                         f"{model.latent}.")
    return latent[None]


def walk_frames(path: LatentPath, positions: list[PathPosition],
                draw: Callable[[np.ndarray], Iterable[np.ndarray]], batch: int, scale: int,
                keys: Sequence[np.ndarray] = ()) -> Iterator[np.ndarray]:
    """The frames of a walk, uint8 [H, W, 3].

    Args:
        path: through the latents.
        positions: of all frames.
        draw: makes pictures of latents [N, ...].
        batch: latents decoded at once.
        scale: whole factor on the size.
        keys: pictures of which a plain cross-fade is shown beside the walk; none for no cross-fade.
    """
    for begin in range(0, len(positions), batch):
        part = positions[begin:begin + batch]
        drawn = draw(np.stack([path.at(moment) for moment in part]))
        for moment, picture in zip(part, drawn, strict=True):
            shown = enlarge(picture, scale)
            yield _side_by_side(shown, enlarge(_cross_fade(keys, moment), scale)) if keys else shown


def _cross_fade(keys: Sequence[np.ndarray], moment: PathPosition) -> np.ndarray:
    """A plain cross-fade of two pictures, uint8 [H, W, 3], at a moment of the walk."""
    first, last = keys[moment.segment], keys[(moment.segment + 1) % len(keys)]
    mixed = (1 - moment.share) * first + moment.share * last
    return np.asarray(mixed.round().clip(0, 255).astype(np.uint8))


def _side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one size with a white gap between."""
    gap = np.full((left.shape[0], GAP, left.shape[2]), _WHITE, np.uint8)
    return np.concatenate([left, gap, right], 1)
