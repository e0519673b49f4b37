"""Public functions that make animations, also used by the command line and the page.

As in `aehub.api.compress`, `iter_animate` yields progress; closing it cancels and leaves no file.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from aehub.animation import latent_walk, sprite_walk
from aehub.animation import recipe as recipes
from aehub.animation.keyframes import Keyframe, KeyframeLike, gather_keyframes
from aehub.animation.plan import Plan, Settings
from aehub.animation.render import VIDEOS, Target, write
from aehub.arguments import fulfils
from aehub.config import DEFAULT_GENERATOR
from aehub.errors import InputError, ModelError, UnknownModel, WeightsError
from aehub.files import (
    FilePath,
    check_output,
    check_path,
    is_special,
    open_output,
    refuse_overwriting,
)
from aehub.generators.base import LatentModel
from aehub.hub import ModelLike, resolve_model
from aehub.results import Animated, Progress, ProgressCallback, run_job
from aehub.weights.architectures import PLANNERS, architecture_of
from aehub.weights.device import Device
from aehub.weights.model_folder import tag_of

__all__ = ["animate", "iter_animate"]

# Modules with a function plan(model, keyframes, settings) that checks these at once.
_PLANNERS: dict[str, Any] = dict(zip(PLANNERS, (latent_walk, sprite_walk), strict=True))


def animate(output: FilePath, *, model: ModelLike | LatentModel | None = None,
            seeds: Iterable[int] | None = None, keyframes: Iterable[KeyframeLike] | None = None,
            clip: FilePath | np.ndarray | Sequence[np.ndarray] | None = None,
            at: Sequence[str] | None = None, seconds: float | Sequence[float] | None = None,
            fps: Fraction | float | str | None = None, path: str | None = None,
            easing: str | None = None, loop: bool | None = None, ping_pong: bool | None = None,
            truncation: float | None = None, scale: int | None = None, beside: bool | None = None,
            sheet: bool | None = None, direction: str | None = None, steps: int | None = None,
            contact: FilePath | None = None, recipe: FilePath | None = None, force: bool = False,
            device: Device = "auto", progress: ProgressCallback | None = None) -> Animated:
    """Make an animation: a walk through the latents of a model, from keyframe to keyframe.

    A recipe is written beside it, `OUTPUT.recipe.json`. None selects the default.

    Args:
        output: path; .mp4, .webm, .mkv, .gif, .webp, .png (APNG, or a sheet), or a folder of PNGs.
        model: name, folder, hub id or a loaded model; by default that of the recipe, or emoji-vae.
        seeds: of pictures that the model draws, 0 to 2^63 - 1; 1 to 4 without any keyframe.
        keyframes: after the seeds: paths of pictures, pictures uint8 [H, W, 3 or 4] or of Pillow,
            latents float [K], seeds; at most 256 in all.
        clip: path or frames of a clip, for keyframes at the moments `at`.
        at: "1.5" (seconds), "45f" (frames) or "last"; by default the first and the last frame.
        seconds: above 0, up to 600 in total, or a list of one for each segment; by default 4.
        fps: frames per second, 0.1 to 120, or text such as "30000/1001"; by default 30.
        path: "lerp", "slerp" or "spline"; by default that which suits the model.
        easing: timing of each segment, such as "ease-in-out"; by default "linear".
        loop: continue from the last keyframe to the first; by default False.
        ping_pong: play forwards, then backwards; by default False.
        truncation: of seeds, 0 to 2; below 1 nearer to the mean picture; by default 1.
        scale: whole factor on the size, 1 to 64; by default 1 for sheets and for models that keep
            the size of your pictures, otherwise up to 256 pixels.
        beside: show a plain cross-fade of the keyframes to the right; by default False.
        sheet: write one picture of all frames, and a JSON beside it; by default False.
        direction: of characters: "up", "left", "right", "all", or "down", the default.
        steps: frames of a walk cycle of characters, 2 to 64; by default 8.
        contact: path of a PNG for a contact sheet of the animation.
        recipe: file of an earlier animation to make again, instead of everything from `seeds` to
            `steps`.
        force: overwrite existing files.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in frames.

    Returns:
        Properties of the output.

    Raises:
        InputError: a keyframe or an option cannot be used.
        LimitError: there are too many keyframes, or frames, or they are too large.
        ExistsError: the output exists and `force` is not set.

    Example:
        >>> aehub.animate("walk.mp4", model="emoji-vae", seeds=[1, 2, 3], seconds=4, loop=True)
    """
    return run_job(iter_animate(
        output, model=model, seeds=seeds, keyframes=keyframes, clip=clip, at=at, seconds=seconds,
        fps=fps, path=path, easing=easing, loop=loop, ping_pong=ping_pong, truncation=truncation,
        scale=scale, beside=beside, sheet=sheet, direction=direction, steps=steps, contact=contact,
        recipe=recipe, force=force, device=device), progress)


def iter_animate(
    output: FilePath, *, model: ModelLike | LatentModel | None = None,
    seeds: Iterable[int] | None = None, keyframes: Iterable[KeyframeLike] | None = None,
    clip: FilePath | np.ndarray | Sequence[np.ndarray] | None = None,
    at: Sequence[str] | None = None, seconds: float | Sequence[float] | None = None,
    fps: Fraction | float | str | None = None,
    path: str | None = None, easing: str | None = None, loop: bool | None = None,
    ping_pong: bool | None = None, truncation: float | None = None, scale: int | None = None,
    beside: bool | None = None, sheet: bool | None = None, direction: str | None = None,
    steps: int | None = None, contact: FilePath | None = None, recipe: FilePath | None = None,
    force: bool = False, device: Device = "auto"
) -> Generator[Progress, None, Animated]:
    """Run `animate`, yielding a `Progress` after each frame; closing it cancels.

    Arguments, defaults and errors are those of `animate`.
    """
    began = time.monotonic()
    sources = dict(seeds=seeds, keyframes=keyframes, clip=clip, at=at)
    settings = dict(seconds=seconds, fps=fps, path=path, easing=easing, loop=loop,
                    ping_pong=ping_pong, truncation=truncation, scale=scale, beside=beside,
                    sheet=sheet, direction=direction, steps=steps)
    earlier = None if recipe is None else _read_recipe(recipe, {**sources, **settings})
    chosen = earlier.settings if earlier else Settings.parse(
        **{name: value for name, value in settings.items() if value is not None})
    target = Target(_path(output), chosen.sheet, None if contact is None else _path(contact), force)
    recipe_file = recipes.recipe_path(target.output)
    target.check()
    refuse_overwriting(recipe_file, force)
    if earlier is None:
        keys = gather_keyframes(seeds, keyframes, clip, at)
        loaded = resolve_model(DEFAULT_GENERATOR if model is None else model, device)
    else:
        keys, loaded = earlier.keyframes, _recipe_model(earlier, model, device)
    plan = plan_animation(loaded, keys, chosen)
    text = recipes.recipe_text(loaded.name, _tag(loaded), plan, chosen,
                               recipe_file.absolute().parent)
    yield from write(plan, target, chosen.fps)
    with open_output(recipe_file, force=force) as file:
        file.write(text.encode())
    return _summary(target, recipe_file, loaded.name, plan, chosen.fps, time.monotonic() - began)


def plan_animation(model: LatentModel, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """Return the plan of an animation by any model.

    Raises:
        ModelError: the model does not animate.
        InputError: a keyframe or a setting does not suit the model.
        LimitError: frames would be too large.
    """
    plan: Plan = _planner(model).plan(model, keyframes, settings)
    return replace(plan, notes=(*(note for key in keyframes for note in key.notes), *plan.notes))


def _planner(model: Any) -> Any:
    """The planner of the model's architecture; a model of none walks."""
    record = architecture_of(model)
    planner = latent_walk if record is None else _PLANNERS.get(record.planner)
    if planner is None or not fulfils(model, LatentModel):
        raise ModelError(f"{getattr(model, 'name', type(model).__name__)} has no latents to walk "
                         f"through; name a model that animates, such as {DEFAULT_GENERATOR}.")
    return planner


def _tag(model: Any) -> str | None:
    """The tag of a loaded model; None for one that was never stored."""
    config = getattr(model, "config", None)
    return tag_of(config) if isinstance(config, Mapping) else None


def _read_recipe(recipe: FilePath, options: Mapping[str, Any]) -> recipes.Recipe:
    """Read a recipe; options that were given beside it are refused."""
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError(f"the recipe sets {', '.join(given)}; "
                         "leave that out, or make a new animation without the recipe.")
    return recipes.read_recipe(check_path(recipe, "recipe"))


def _path(output: Any) -> Path:
    path = check_output(output, may_be_folder=True)
    if not isinstance(path, Path) or is_special(path):
        raise InputError(f"an animation is written to a file or a folder, and {output} is neither; "
                         "give its path.")
    return path


def _recipe_model(recipe: recipes.Recipe, model: ModelLike | LatentModel | None,
                  device: Device) -> Any:
    """Load the model of a recipe; other weights would give other frames."""
    try:
        loaded = resolve_model(recipe.model if model is None else model, device)
    except UnknownModel as err:
        raise UnknownModel(f"the recipe was made with {recipe.model[:80]!r}, which is not on this "
                           "machine.", "Name its folder or hub id with --model.") from err
    here = _tag(loaded)
    if recipe.tag is None and loaded.name != recipe.model:
        raise InputError(f"the recipe was made with {recipe.model[:80]!r}, and {loaded.name} is "
                         "another model; give the model that it was made with.")
    if recipe.tag is not None and here != recipe.tag:
        raise WeightsError(f"the recipe was made with the weights {recipe.tag[:80]} of "
                           f"{recipe.model[:80]}, {loaded.name} here has {here}.", "Name the right "
                           f"ones with --model, such as aehub/{recipe.model[:80]}@{recipe.tag[:80]}"
                           ".")
    return loaded


def _summary(target: Target, recipe: Path, model: str, plan: Plan, fps: Fraction,
             elapsed: float) -> Animated:
    output = target.output
    is_covered = plan.alpha and output.suffix.lower() in VIDEOS
    notes = ("Videos have no transparency: transparent parts were laid over white.",) * is_covered
    files = output.iterdir() if output.is_dir() else [output]
    if plan.frame_seconds is not None:
        fps = 1 / Fraction(str(plan.frame_seconds))
    return Animated(
        path=str(output), model=model, bytes=sum(path.stat().st_size for path in files),
        frames=plan.n_frames, width=plan.size[0], height=plan.size[1],
        fps=f"{fps.numerator}/{fps.denominator}", seconds=round(float(plan.n_frames / fps), 6),
        elapsed=round(elapsed, 3), recipe=str(recipe),
        sheet=str(target.json_path) if target.json_path else None,
        notes=(*plan.notes, *notes))
