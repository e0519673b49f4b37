"""A planned animation: how many frames of which size, and the frames, made one by one as asked.

Each kind of model has a module with a function

    plan(model, keyframes, settings) -> Plan

that refuses at once what cannot be done; frames are made only while `Plan.frames` is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from aehub.animate.keyframes import Keyframe
from aehub.animate.settings import Settings
from aehub.animate.sheet import Tag
from aehub.models.architectures import (
    COMPRESSION,
    LATENT_ANIMATION,
    SPRITE_ANIMATION,
    architecture,
)

_PLANNERS = {COMPRESSION: "aehub.animate.morph", LATENT_ANIMATION: "aehub.animate.walk",
             SPRITE_ANIMATION: "aehub.animate.stride"}


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


def planned(model: Any, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """The plan of an animation by any model; see the modules of `_PLANNERS`.

    Raises:
        InputError: a keyframe or a setting does not suit the model.
        LimitError: frames would be too large.
    """
    task = architecture(model.config.get("architecture")).task
    made: Plan = import_module(_PLANNERS[task]).plan(model, keyframes, settings)
    return replace(made, notes=(*(note for key in keyframes for note in key.notes), *made.notes))
