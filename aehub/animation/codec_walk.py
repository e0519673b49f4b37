"""Walks through the latent space of a codec, from one picture to the next.

The latents of a codec describe local patches, nearly linearly, so such a walk is close to a
cross-fade of the pictures; `Settings.beside` shows both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import LatentPath
from aehub.animation.plan import (
    Plan,
    Settings,
    frame_positions,
    path_kind,
    unused_settings_note,
    walk_frame_size,
    walk_frames,
    walk_notes,
)
from aehub.animation.recipe import to_recipe
from aehub.animation.sheet import Tag
from aehub.codecs.d4.codec import D4Codec
from aehub.errors import InputError, LimitError
from aehub.generators.base import over_white
from aehub.media.colour import from_rgb, rgb_colour, to_rgb

QUALITY = 90.0
"""Quality at which pictures are coded: below it latents lack detail, above it nothing visible is
gained."""
MAX_PIXELS = 16_000_000
"""Pixels of all keyframes together; each becomes 1.5 latents in memory."""
# Pictures decoded at once.
_BATCH = 8


def plan(model: D4Codec, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """A walk between pictures of one size, for example frames of a clip.

    Args:
        model: codec of the latents.
        keyframes: at least two pictures of one size.
        settings: of the animation.

    Raises:
        InputError: a keyframe is no picture, or of another size; or a setting is not supported.
        LimitError: the pictures are too large, or too many.
    """
    seconds = settings.segments(len(keyframes))
    kind = path_kind(settings, len(keyframes), gaussian=False, name=model.name)
    pictures = [over_white(_picture(model, key)) for key in keyframes]
    height, width = _size(keyframes, pictures)
    scale = settings.scale or 1
    size = walk_frame_size((width * scale, height * scale), settings)
    colour = rgb_colour(height)
    latents = torch.cat([model.encode_latents([from_rgb(picture, colour)], QUALITY)
                         for picture in pictures])
    path = LatentPath(latents.float().cpu().numpy(), seconds, kind=kind, loop=settings.loop)
    positions = frame_positions(settings, seconds)

    def draw(walk: np.ndarray) -> Iterator[np.ndarray]:
        decoded = model.decode_latents(torch.from_numpy(walk), QUALITY, (width, height))
        return (to_rgb(planes, colour) for planes in decoded)

    def frames() -> Iterator[np.ndarray]:
        keys = pictures if settings.beside else ()
        return walk_frames(path, positions, draw, _BATCH, scale, keys)

    return Plan(len(positions), size, frames, [to_recipe(key) for key in keyframes],
                tags=(Tag("walk", 0, len(positions) - 1),), notes=(
                    *walk_notes(settings, kind, len(keyframes)), *unused_settings_note(
                        model.name, settings, ["direction", "steps", "truncation"])))


def _picture(model: D4Codec, key: Keyframe) -> np.ndarray:
    if (picture := key.visible_picture()) is None:
        raise InputError(f"{model.name} walks only between pictures, and {key.name} is a "
                         f"{'seed' if key.seed is not None else 'latent'}; give pictures, or a "
                         "clip.", "They are named with --keyframe and --clip.")
    return picture


def _size(keyframes: list[Keyframe], pictures: list[np.ndarray]) -> tuple[int, int]:
    """(height, width) that all pictures share."""
    height, width = pictures[0].shape[:2]
    for key, picture in zip(keyframes, pictures, strict=True):
        if picture.shape[:2] != (height, width):
            raise InputError(f"{key.name} is {picture.shape[1]}x{picture.shape[0]}, "
                             f"{keyframes[0].name} {width}x{height}; give pictures of one size.")
    if len(pictures) * height * width > MAX_PIXELS:
        raise LimitError(f"{len(pictures)} keyframes of {width}x{height} are more than "
                         f"{MAX_PIXELS} pixels together; give fewer or smaller ones.")
    return height, width
