"""Walks through the latent space of an autoencoder of pictures, between seeds and pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import LatentPath
from aehub.animation.plan import (
    DEFAULT_SIZE,
    Plan,
    Settings,
    frame_positions,
    keyframe_latents,
    path_kind,
    unused_settings_note,
    walk_frame_size,
    walk_frames,
    walk_notes,
)
from aehub.animation.recipe import to_recipe
from aehub.animation.sheet import Tag
from aehub.generators.autoencoder import Autoencoder

SEEDS = (1, 2, 3, 4)
"""Keyframes if none are given."""
# Pictures decoded at once.
_BATCH = 32


def plan(model: Autoencoder, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """A walk from keyframe to keyframe.

    Args:
        model: autoencoder of the latents.
        keyframes: at least two; if there are none, `SEEDS`.
        settings: of the animation.

    Raises:
        InputError: the model does not support a keyframe or a setting.
        LimitError: the pictures would be too large.
    """
    keyframes = keyframes or [Keyframe(f"seed {seed}", seed=seed) for seed in SEEDS]
    seconds = settings.segments(len(keyframes))
    kind = path_kind(settings, len(keyframes), gaussian=model.gaussian, name=model.name)
    latents = keyframe_latents(model, keyframes, settings.truncation)
    # Sheets are for tools, which need the original pixels.
    scale = settings.scale or (1 if settings.sheet else max(1, DEFAULT_SIZE // model.side))
    size = walk_frame_size((model.side * scale, model.side * scale), settings)
    path = LatentPath(latents, seconds, kind=kind, loop=settings.loop)
    positions = frame_positions(settings, seconds)

    unused = ["direction", "steps", *["truncation"] * all(key.seed is None for key in keyframes)]

    def draw(walk: np.ndarray) -> list[np.ndarray]:
        return model.decode(walk.astype(np.float32))

    def frames() -> Iterator[np.ndarray]:
        keys = model.decode(latents) if settings.beside else []
        return walk_frames(path, positions, draw, _BATCH, scale, keys)

    return Plan(len(positions), size, frames, [to_recipe(key, latent) for key, latent in zip(
        keyframes, latents, strict=True)], tags=(Tag("walk", 0, len(positions) - 1),),
                notes=(*walk_notes(settings, kind, len(keyframes)),
                       *unused_settings_note(model.name, settings, unused)))
