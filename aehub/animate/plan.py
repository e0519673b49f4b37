"""A planned animation: how many frames of which size, and the frames, made one by one as asked.

Each kind of model has a module with a function that makes one (`walk`, `morph`, `stride`), of what
is here; frames are made only while `Plan.frames` is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aehub.animate.keyframes import Keyframe
from aehub.animate.model import Autoencoder
from aehub.animate.path import Moment, Path, moments
from aehub.animate.settings import MAX_SIDE, Settings
from aehub.animate.sheet import Tag
from aehub.animate.square import enlarged
from aehub.errors import InputError, LimitError

SIZE = 256
"""Pixels that a picture is enlarged to, as far as whole factors reach, if nothing is said."""
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
        step_seconds: that a frame of a sheet is shown; None for the rate of the animation.
        notes: sentences about what the user may not expect.
    """

    n_frames: int
    size: tuple[int, int]
    frames: Callable[[], Iterator[np.ndarray]]
    keyframes: list[dict[str, Any]]
    alpha: bool = False
    columns: int | None = None
    tags: tuple[Tag, ...] = ()
    step_seconds: float | None = None
    notes: tuple[str, ...] = ()


def path_of(settings: Settings, n_keyframes: int, *, gaussian: bool, name: str) -> str:
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


def way_of(settings: Settings, seconds: list[float]) -> list[Moment]:
    """The moments of all frames of a walk through segments of that many seconds."""
    return moments(settings.n_frames, seconds, curve=settings.easing, loop=settings.loop,
                   ping_pong=settings.ping_pong)


def framed(size: tuple[int, int], settings: Settings) -> tuple[int, int]:
    """(width, height) of a frame of the walk, the cross-fade beside it included.

    Raises:
        LimitError: it is too large.
    """
    width, height = size
    return check_side((2 * width + GAP if settings.beside else width, height))


def check_side(size: tuple[int, int]) -> tuple[int, int]:
    """`size` (width, height), if frames may be so large.

    Raises:
        LimitError: they may not.
    """
    width, height = size
    if max(width, height) > MAX_SIDE:
        raise LimitError(f"frames would be {width}x{height}; the limit is {MAX_SIDE} pixels on a "
                         "side. Give a smaller scale.")
    return width, height


def notes_of(settings: Settings, kind: str, n_keyframes: int) -> tuple[str, ...]:
    """What a user may not expect of this walk."""
    notes = []
    if settings.loop and kind != "spline" and settings.easing == "linear":
        notes.append(f"A loop of {kind} with linear easing turns sharply at its keyframes; path "
                     "spline, or easing ease-in-out, rounds it.")
    if settings.n_frames < n_keyframes:
        notes.append(f"{settings.n_frames} frames cannot show all {n_keyframes} keyframes; give "
                     "more seconds.")
    return tuple(notes)


def latents_of(model: Autoencoder, keyframes: list[Keyframe], truncation: float
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


def walked(path: Path, way: list[Moment], draw: Callable[[np.ndarray], Iterable[np.ndarray]],
           batch: int, scale: int, keys: Sequence[np.ndarray] = ()) -> Iterator[np.ndarray]:
    """The frames of a walk, uint8 [H, W, 3].

    Args:
        path: through the latents.
        way: the moments of all frames.
        draw: makes pictures of places [N, ...].
        batch: places that are drawn at once.
        scale: whole factor on the size.
        keys: pictures of which a plain cross-fade is shown beside the walk; none for no cross-fade.
    """
    for begin in range(0, len(way), batch):
        part = way[begin:begin + batch]
        drawn = draw(np.stack([path.at(moment) for moment in part]))
        for moment, picture in zip(part, drawn, strict=True):
            shown = enlarged(picture, scale)
            yield _beside(shown, enlarged(_faded(keys, moment), scale)) if keys else shown


def _faded(keys: Sequence[np.ndarray], moment: Moment) -> np.ndarray:
    """A plain cross-fade of two pictures, uint8 [H, W, 3], at a moment of the walk."""
    first, last = keys[moment.segment], keys[(moment.segment + 1) % len(keys)]
    mixed = (1 - moment.share) * first + moment.share * last
    return np.asarray(mixed.round().clip(0, 255).astype(np.uint8))


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one size with a white gap between."""
    gap = np.full((left.shape[0], GAP, left.shape[2]), _WHITE, np.uint8)
    return np.concatenate([left, gap, right], 1)
