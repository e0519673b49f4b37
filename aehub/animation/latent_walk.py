"""Walks through the latent space of any autoencoder, from keyframe to keyframe.

A model of small squares walks between pictures that it draws, between yours, or both. A model
without a size of its own, such as a codec, walks between pictures of one size. The latents of a
codec describe local patches, nearly linearly, so its walk is close to a cross-fade of the pictures;
`Settings.beside` shows both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import LatentPath, PathPosition, path_positions
from aehub.animation.plan import (
    DEFAULT_SIZE,
    Plan,
    Settings,
    check_frame_size,
    check_keyframes,
    keyframe_latents,
    path_kind,
    unused_settings_note,
)
from aehub.animation.recipe import to_recipe
from aehub.animation.sheet import Tag
from aehub.errors import InputError, LimitError
from aehub.generators.base import GenerativeModel, LatentModel, enlarge, over_white

SEEDS = (1, 2, 3, 4)
"""Keyframes if none are given, of a model that draws pictures of its own."""
MAX_PIXELS = 16_000_000
"""Pixels of all keyframes together, for models without a size of their own: a codec keeps 1.5
latents for each in memory."""
GAP = 8
"""White pixels between the walk and the cross-fade beside it."""


def plan(model: LatentModel, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """A walk from keyframe to keyframe.

    Args:
        model: autoencoder of the latents.
        keyframes: at least two; if there are none, a `GenerativeModel` draws `SEEDS`.
        settings: of the animation.

    Raises:
        InputError: the model does not support a keyframe or a setting, or has no size of its own
            and the pictures differ in size.
        LimitError: the pictures are or would be too large.
    """
    if not keyframes and isinstance(model, GenerativeModel):
        keyframes = [Keyframe(f"seed {seed}", seed=seed) for seed in SEEDS]
    seconds, n_keyframes = settings.segments(len(keyframes)), len(keyframes)
    kind = path_kind(model, settings, n_keyframes)
    check_keyframes(model, keyframes)
    size = (model.side, model.side) if model.side else _common_size(keyframes)
    scale = settings.scale or _default_scale(model, settings)
    frame_size = _frame_size(size, scale, settings)
    latents = keyframe_latents(model, keyframes, settings.truncation)
    path = LatentPath(latents, seconds, kind=kind, loop=settings.loop)
    positions = path_positions(settings.n_frames, seconds, curve=settings.easing,
                               loop=settings.loop, ping_pong=settings.ping_pong)

    def walk() -> Iterator[np.ndarray]:
        for begin in range(0, len(positions), model.batch):
            part = positions[begin:begin + model.batch]
            pictures = model.to_pictures(np.stack([path.at(at) for at in part]), size)
            yield from (picture for _, picture in zip(part, pictures, strict=True))

    def frames() -> Iterator[np.ndarray]:
        shown = (enlarge(picture, scale) for picture in walk())
        if not settings.beside:
            return shown
        ends = _pictures(keyframes) if model.side is None else model.to_pictures(latents, size)
        faded = (enlarge(_cross_fade(ends, at), scale) for at in positions)
        return map(_side_by_side, shown, faded)

    unused = ["direction", "steps", *["truncation"] * all(key.seed is None for key in keyframes)]
    return Plan(len(positions), frame_size, frames, [
        to_recipe(key, latent if model.latent else None)
        for key, latent in zip(keyframes, latents, strict=True)],
                tags=(Tag("walk", 0, len(positions) - 1),),
                notes=(*_notes(settings, kind, n_keyframes),
                       *unused_settings_note(model.name, settings, unused)))


def _pictures(keyframes: list[Keyframe]) -> list[np.ndarray]:
    """The pictures of keyframes, over white."""
    return [over_white(key.picture) for key in keyframes if key.picture is not None]


def _common_size(keyframes: list[Keyframe]) -> tuple[int, int]:
    """(width, height) that all pictures share."""
    sizes = [picture.shape[1::-1] for picture in _pictures(keyframes)]
    width, height = sizes[0]
    for key, size in zip(keyframes, sizes, strict=True):
        if size != sizes[0]:
            raise InputError(f"{key.name} is {size[0]}x{size[1]}, {keyframes[0].name} "
                             f"{width}x{height}; give pictures of one size.")
    if len(sizes) * height * width > MAX_PIXELS:
        raise LimitError(f"{len(sizes)} keyframes of {width}x{height} are more than {MAX_PIXELS} "
                         "pixels together; give fewer or smaller ones.")
    return width, height


def _default_scale(model: LatentModel, settings: Settings) -> int:
    # Sheets are for tools, which need the original pixels.
    return 1 if settings.sheet or not model.side else max(1, DEFAULT_SIZE // model.side)


def _frame_size(size: tuple[int, int], scale: int, settings: Settings) -> tuple[int, int]:
    """(width, height) of a frame, the cross-fade beside the walk included."""
    width, height = size[0] * scale, size[1] * scale
    return check_frame_size((2 * width + GAP if settings.beside else width, height))


def _notes(settings: Settings, kind: str, n_keyframes: int) -> tuple[str, ...]:
    """Notes about results of this walk that a user may not expect."""
    notes = []
    if settings.loop and kind != "spline" and settings.easing == "linear":
        notes.append(f"A loop of {kind} with linear easing turns sharply at its keyframes; path "
                     "spline, or easing ease-in-out, rounds it.")
    if settings.n_frames < n_keyframes:
        notes.append(f"{settings.n_frames} frames cannot show all {n_keyframes} keyframes; give "
                     "more seconds.")
    return tuple(notes)


def _cross_fade(ends: list[np.ndarray], position: PathPosition) -> np.ndarray:
    """A plain cross-fade of two pictures, uint8 [H, W, 3], at a position of the walk."""
    first, last = ends[position.segment], ends[(position.segment + 1) % len(ends)]
    mixed = (1 - position.share) * first + position.share * last
    return np.asarray(mixed.round().clip(0, 255).astype(np.uint8))


def _side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two pictures of one size with a white gap between them."""
    gap = np.full((left.shape[0], GAP, left.shape[2]), 255, np.uint8)
    return np.concatenate([left, gap, right], 1)
