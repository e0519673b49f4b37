"""Walks through the latents of an autoencoder of pictures: seeds and pictures become each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import LatentPath
from aehub.animation.plan import (
    SIZE,
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
"""Of the keyframes, if none are given."""
_BATCH = 32


def plan(model: Autoencoder, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """A walk from keyframe to keyframe.

    Args:
        model: whose latents are walked through.
        keyframes: at least two; if there are none, `SEEDS`.
        settings: how.

    Raises:
        InputError: a keyframe or a setting does not suit the model.
        LimitError: the pictures would be too large.
    """
    keyframes = keyframes or [Keyframe(f"seed {seed}", seed=seed) for seed in SEEDS]
    seconds = settings.segments(len(keyframes))
    kind = path_kind(settings, len(keyframes), gaussian=model.gaussian, name=model.name)
    latents = keyframe_latents(model, keyframes, settings.truncation)
    # A sprite tool wants the pixels as they are, an eye wants to see them.
    scale = settings.scale or (1 if settings.sheet else max(1, SIZE // model.side))
    size = walk_frame_size((model.side * scale, model.side * scale), settings)
    path = LatentPath(latents, seconds, kind=kind, loop=settings.loop)
    way = frame_positions(settings, seconds)

    unused = ["direction", "steps", *["truncation"] * all(key.seed is None for key in keyframes)]

    def draw(places: np.ndarray) -> list[np.ndarray]:
        return model.decode(places.astype(np.float32))

    def frames() -> Iterator[np.ndarray]:
        keys = model.decode(latents) if settings.beside else []
        return walk_frames(path, way, draw, _BATCH, scale, keys)

    return Plan(len(way), size, frames, [to_recipe(key, latent) for key, latent in zip(
        keyframes, latents, strict=True)], tags=(Tag("walk", 0, len(way) - 1),),
        notes=(*walk_notes(settings, kind, len(keyframes)),
               *unused_settings_note(model.name, settings, unused)))
