"""Walks through the latents of an autoencoder of pictures: seeds and pictures become each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aehub.animate import keyframes as kinds
from aehub.animate.model import Autoencoder
from aehub.animate.path import Moment, Path, moments
from aehub.animate.plan import Plan
from aehub.animate.render import enlarged
from aehub.animate.settings import MAX_SIDE, Settings, without_effect
from aehub.animate.sheet import Tag
from aehub.errors import InputError, LimitError

SIZE = 256
"""Pixels that a picture is enlarged to, as far as whole factors reach, if nothing is said."""
SEEDS = (1, 2, 3, 4)
"""Of the keyframes, if none are given."""
GAP = 8
"""Pixels between the walk and the cross-fade beside it."""
_BATCH = 32
_WHITE = 255


def plan(model: Autoencoder, keyframes: list[kinds.Keyframe], settings: Settings) -> Plan:
    """A walk from keyframe to keyframe.

    Args:
        model: whose latents are walked through.
        keyframes: at least two; if there are none, `SEEDS`.
        settings: how.

    Raises:
        InputError: a keyframe or a setting does not suit the model.
        LimitError: the pictures would be too large.
    """
    keyframes = keyframes or [kinds.Keyframe(f"seed {seed}", seed=seed) for seed in SEEDS]
    seconds = settings.segments(len(keyframes))
    kind = path_of(settings, len(keyframes), gaussian=model.gaussian, name=model.name)
    latents = latents_of(model, keyframes, settings.truncation)
    # A sprite tool wants the pixels as they are, an eye wants to see them.
    scale = settings.scale or (1 if settings.sheet else max(1, SIZE // model.side))
    size = framed((model.side * scale, model.side * scale), settings)
    path = Path(latents, seconds, kind=kind, loop=settings.loop)
    way = way_of(settings, seconds)

    unused = ["direction", "steps", *["truncation"] * all(key.seed is None for key in keyframes)]

    def frames() -> Iterator[np.ndarray]:
        keys = model.decode(latents) if settings.beside else []
        for begin in range(0, len(way), _BATCH):
            part = way[begin:begin + _BATCH]
            places = np.stack([path.at(moment) for moment in part]).astype(np.float32)
            for moment, picture in zip(part, model.decode(places), strict=True):
                shown = enlarged(picture, scale)
                yield beside(shown, enlarged(faded(keys, moment), scale)) if keys else shown

    return Plan(len(way), size, frames, [told(key, latent) for key, latent in zip(
        keyframes, latents, strict=True)], tags=(tag_of(settings, len(way)),),
        notes=(*notes_of(settings, kind, len(keyframes)),
               *without_effect(model.name, settings, unused)))


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


def tag_of(settings: Settings, n_frames: int) -> Tag:
    """The one run of frames that a walk is."""
    return Tag("walk", 0, n_frames - 1)


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


def faded(keys: list[np.ndarray], moment: Moment) -> np.ndarray:
    """A plain cross-fade of two pictures, uint8 [H, W, 3], at a moment of the walk."""
    first, last = keys[moment.segment], keys[(moment.segment + 1) % len(keys)]
    mixed = (1 - moment.share) * first + moment.share * last
    return np.asarray(mixed.round().clip(0, 255).astype(np.uint8))


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one size with a white gap between."""
    gap = np.full((left.shape[0], GAP, left.shape[2]), _WHITE, np.uint8)
    return np.concatenate([left, gap, right], 1)


def latents_of(model: Autoencoder, keyframes: list[kinds.Keyframe], truncation: float
               ) -> np.ndarray:
    """float32 [N, K] of keyframes.

    Raises:
        InputError: one is of another model.
    """
    return np.concatenate([_latents(model, key, truncation) for key in keyframes])


def _latents(model: Autoencoder, key: kinds.Keyframe, truncation: float) -> np.ndarray:
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


def told(key: kinds.Keyframe, latent: np.ndarray) -> dict[str, Any]:
    """What a recipe says of a keyframe: the seed, or the numbers that a picture became."""
    if key.seed is not None:
        return {"seed": key.seed}
    # Nine digits bring back every float32.
    return {"name": key.name, "latent": [float(f"{number:.9g}") for number in latent.tolist()]}
