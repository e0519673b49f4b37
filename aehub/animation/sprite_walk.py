"""Walk cycles of sprites: a still, or sampled characters, in one direction or in all four.

Several seeds are a walk through identity latents: the character changes while it walks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from aehub.animation.keyframes import Keyframe
from aehub.animation.path import LatentPath, path_positions
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
from aehub.animation.sheet import Tag, cycle_tags
from aehub.errors import InputError
from aehub.generators.base import enlarge
from aehub.generators.sprite.cutout import Cell
from aehub.generators.sprite.model import SpriteAnimator
from aehub.generators.sprite.poses import DIRECTIONS

STEP_SECONDS = 0.1
"""Duration of a step of a cycle, whatever the frame rate."""
SEEDS = (1, 2)
"""Keyframes if none are given."""


def plan(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """A walk cycle, or a sheet of cycles; the animation ends where a cycle ends, so it can repeat.

    Args:
        model: of sprites.
        keyframes: one still, or seeds and identity latents; if there are none, `SEEDS`.
        settings: of the animation.

    Raises:
        InputError: keyframes or a setting are not supported.
        LimitError: frames would be too large.
    """
    keys = keyframes or [Keyframe(f"seed {seed}", seed=seed) for seed in SEEDS]
    _check(model, keys, settings)
    if not settings.sheet:
        return _plan_cycles(model, keys, settings)
    sheet = _plan_sheet(model, keys[:1], settings)
    return sheet if len(keyframes) < 2 else replace(sheet, notes=(
        f"A sheet of {model.name} shows one character, {keys[0].name}; the other "
        f"{len(keyframes) - 1} were left out.", *sheet.notes))


def _check(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings) -> None:
    stills = [key for key in keyframes if key.picture is not None]
    if stills and len(keyframes) > 1:
        raise InputError(f"{len(keyframes)} keyframes are given, {stills[0].name} among them; "
                         f"{model.name} takes one still at a time. Leave the others out, or "
                         "give seeds only.")
    if settings.beside or settings.ping_pong:
        raise InputError(f"{model.name} makes walk cycles, which have no cross-fade and do not "
                         "play backwards; leave beside and ping-pong out.")
    if isinstance(settings.seconds, tuple) and len(settings.seconds) > len(keyframes) == 1:
        raise InputError(f"{len(settings.seconds)} durations are given, but one keyframe has no "
                         "segments; give one number.")
    if not stills:
        check_keyframes(model, keyframes)


def _unused(keyframes: list[Keyframe], settings: Settings) -> list[str]:
    """Names of settings that have no effect here."""
    return [*["path", "easing"] * (len(keyframes) == 1),
            *["direction", "seconds", "fps"] * settings.sheet,
            *["truncation"] * (keyframes[0].seed is None and len(keyframes) == 1)]


def _plan_cycles(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings) -> Plan:
    steps = settings.steps
    directions = DIRECTIONS if settings.direction == "all" else (settings.direction,)
    cycles = max(1, round(settings.total / (steps * STEP_SECONDS)))
    n_steps = cycles * steps
    n_frames = max(1, round(n_steps * STEP_SECONDS * settings.fps))
    stills = _stills(model, keyframes, settings, n_steps)
    scale = settings.scale or max(1, DEFAULT_SIZE // stills[0].side)

    def render(still: Cell, numbers: Sequence[int]) -> list[np.ndarray]:
        views = model.views(still, directions, numbers, steps)
        return [enlarge(frame, scale) for frame in np.concatenate(list(views), 2)]

    def frames() -> Iterator[np.ndarray]:
        # The cycle of one still repeats, so it is rendered once.
        cycle = render(stills[0], range(1, 1 + steps)) if len(stills) == 1 else []
        last, frame = -1, None
        for number in range(n_frames):
            step = int(number / (settings.fps * STEP_SECONDS)) % n_steps
            if step != last:
                last = step
                frame = (cycle[step % steps] if cycle
                         else render(stills[step], [1 + step % steps])[0])
            assert frame is not None
            yield frame

    side, seconds = stills[0].side * scale, n_steps * STEP_SECONDS
    notes = [] if abs(seconds - settings.total) < STEP_SECONDS / 2 else [
        f"It lasts {seconds:g} s, whole cycles of {steps} steps, so that it can be repeated."]
    return Plan(n_frames, check_frame_size((side * len(directions), side)), frames,
                _recipe_keyframes(model, keyframes, settings), alpha=True,
                tags=(Tag(f"walk {settings.direction}", 0, n_frames - 1),),
                notes=(*notes, *_notes(model, keyframes, settings, stills)))


def _plan_sheet(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """A sheet of standing and the steps of a cycle, one row per direction."""
    scale = settings.scale or 1
    stills = _stills(model, keyframes, settings, 1)
    columns = 1 + settings.steps

    def frames() -> Iterator[np.ndarray]:
        for row in model.cycles(stills[0], settings.steps):
            yield from (enlarge(frame, scale) for frame in row)

    side = stills[0].side * scale
    return Plan(len(DIRECTIONS) * columns, check_frame_size((side, side)), frames,
                _recipe_keyframes(model, keyframes, settings), alpha=True, columns=columns,
                tags=cycle_tags(DIRECTIONS, columns), frame_seconds=STEP_SECONDS,
                notes=_notes(model, keyframes, settings, stills))


def _notes(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings, stills: list[Cell]
           ) -> tuple[str, ...]:
    return (*stills[0].notes,
            *unused_settings_note(model.name, settings, _unused(keyframes, settings)))


def _stills(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings, n_steps: int
            ) -> list[Cell]:
    """The still of every step; only one if all are the same."""
    if keyframes[0].picture is not None:
        return [model.place_still(keyframes[0].picture, keyframes[0].name)]
    latents = keyframe_latents(model, keyframes, settings.truncation)
    if len(keyframes) == 1:
        return [Cell.from_picture(still) for still in model.decode(latents)]
    seconds = settings.segments(len(keyframes))
    kind = path_kind(model, settings, len(keyframes))
    path = LatentPath(latents, seconds, kind=kind, loop=settings.loop)
    positions = path_positions(n_steps, seconds, curve=settings.easing, loop=settings.loop,
                               ping_pong=False)
    walk = np.stack([path.at(position) for position in positions]).astype(np.float32)
    return [Cell.from_picture(still) for still in model.decode(walk)]


def _recipe_keyframes(model: SpriteAnimator, keyframes: list[Keyframe], settings: Settings
                      ) -> list[dict[str, Any]]:
    if keyframes[0].picture is not None:
        return [to_recipe(keyframes[0])]
    latents = keyframe_latents(model, keyframes, settings.truncation)
    return [to_recipe(key, latent) for key, latent in zip(keyframes, latents, strict=True)]
