"""Public functions that make animations, also used by the command line and the page.

As in `aehub.api.compress`, `iter_animate` yields progress; closing it cancels and leaves no file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.animation import latent_walk, sprite_walk
from aehub.animation import recipe as recipes
from aehub.animation.keyframes import Keyframe, gather_keyframes
from aehub.animation.plan import Plan, Settings
from aehub.animation.render import VIDEOS, Target, write
from aehub.errors import InputError, UnknownModel, WeightsError
from aehub.files import check_output, check_path, is_special, open_output, refuse_overwriting
from aehub.hub import resolve_model
from aehub.results import Animated, Progress, ProgressCallback, run_job
from aehub.weights.architectures import (
    COMPRESSION,
    LATENT_ANIMATION,
    SPRITE_ANIMATION,
    architecture,
)
from aehub.weights.device import Device
from aehub.weights.model_folder import tag_of

if TYPE_CHECKING:
    from aehub.codecs.d4.codec import D4Codec
    from aehub.hub.model import Model

    ModelLike = str | os.PathLike[str] | Model | D4Codec

__all__ = ["animate", "iter_animate"]

DEFAULT_MODEL = "emoji-vae"
# Modules with a function plan(model, keyframes, settings) that checks these at once.
_PLANNERS: dict[str, Any] = {COMPRESSION: latent_walk, LATENT_ANIMATION: latent_walk,
                             SPRITE_ANIMATION: sprite_walk}


def animate(output: str | os.PathLike[str], *, progress: ProgressCallback | None = None,
            **options: Any) -> Animated:
    """Make an animation: a walk through the latents of a model, from keyframe to keyframe.

    A recipe beside it, `OUTPUT.recipe.json`, reproduces the frames.

    Args:
        output: path whose suffix selects the format: .mp4, .webm, .mkv, .gif, .webp, .png (APNG, or
            a sheet); a folder of PNGs without one.
        progress: called as `progress(done, total)` in frames.
        options: those of `iter_animate`.

    Returns:
        Properties of the output.

    Raises:
        InputError: a keyframe or an option cannot be used.
        LimitError: there are too many keyframes, or frames, or they are too large.
        ExistsError: the output exists and `force` is not set.

    Example:
        >>> aehub.animate("walk.mp4", model="emoji-vae", seeds=[1, 2, 3], seconds=4, loop=True)
    """
    return run_job(iter_animate(output, **options), progress)


def iter_animate(output: str | os.PathLike[str], *, model: ModelLike | None = None,
                 seeds: Iterable[int] | None = None, keyframes: Iterable[Any] | None = None,
                 clip: Any = None, at: Sequence[str] | None = None,
                 recipe: str | os.PathLike[str] | None = None,
                 contact: str | os.PathLike[str] | None = None, force: bool = False,
                 device: Device = "auto", **settings: Any) -> Generator[Progress, None, Animated]:
    """Run `animate`, yielding a `Progress` after each frame; closing it cancels.

    Keyframes are seeds, then `keyframes`, then frames of the clip; if there are none, a model that
    draws pictures of its own takes the seeds 1 to 4.

    Args:
        output: as `animate`.
        model: name, folder, hub id or a loaded model; by default that of the recipe, or emoji-vae.
        seeds: of pictures that the model draws.
        keyframes: paths of pictures, pictures uint8 [H, W, 3 or 4] or of Pillow, latents float [K],
            seeds.
        clip: path or frames of a clip, for keyframes at the moments `at`.
        at: moments of the clip, such as "1.5" (seconds), "45f" (frames) or "last"; by default its
            first and its last frame.
        recipe: file of an earlier animation to reproduce; it sets everything but the model.
        contact: path of a PNG for a contact sheet of the animation.
        force: overwrite existing files.
        device: where networks run, as `aehub.load`.
        settings: each with a default: `seconds` (4; in total, or a list of one for each
            segment), `fps` (30), `path` ("lerp", "slerp", "spline", or the default of the model),
            `easing` ("linear"), `loop`, `ping_pong`, `truncation` (1.0), `scale` (an integer
            factor on the size), `beside` (a plain cross-fade to the right), `sheet` (one picture of
            all frames, with a JSON beside it); for walking characters, `direction` ("up", "left",
            "down", "right" or "all") and `steps` of a cycle (8).
    """
    began = time.monotonic()
    if recipe is None:
        earlier, chosen = None, _settings(settings)
    else:
        given = dict(seeds=seeds, keyframes=keyframes, clip=clip, at=at, **settings)
        if conflicts := [name for name, value in given.items() if value is not None]:
            raise InputError(f"the recipe sets {', '.join(conflicts)}; "
                             "leave that out, or make a new animation without the recipe.")
        earlier = recipes.read_recipe(check_path(recipe, "recipe"))
        chosen = earlier.settings
    target = Target(_path(output), chosen.sheet, None if contact is None else _path(contact), force)
    recipe_file = recipes.recipe_path(target.output)
    target.check()
    refuse_overwriting(recipe_file, force)
    if earlier is None:
        keys = gather_keyframes(seeds, keyframes, clip, at)
        loaded = resolve_model(DEFAULT_MODEL if model is None else model, device)
    else:
        keys, loaded = earlier.keyframes, _recipe_model(earlier, model, device)
    plan = plan_animation(loaded, keys, chosen)
    text = recipes.recipe_text(loaded.name, tag_of(loaded.config), plan, chosen,
                               recipe_file.absolute().parent)
    yield from write(plan, target, chosen.fps)
    with open_output(recipe_file, force=force) as file:
        file.write(text.encode())
    return _summary(target, recipe_file, loaded.name, plan, chosen.fps, time.monotonic() - began)


def plan_animation(model: Any, keyframes: list[Keyframe], settings: Settings) -> Plan:
    """Return the plan of an animation by any model.

    Raises:
        InputError: a keyframe or a setting does not suit the model.
        LimitError: frames would be too large.
    """
    task = architecture(model.config.get("architecture")).task
    plan: Plan = _PLANNERS[task].plan(model, keyframes, settings)
    return replace(plan, notes=(*(note for key in keyframes for note in key.notes), *plan.notes))


def _path(output: Any) -> Path:
    path = check_output(output, may_be_folder=True)
    if not isinstance(path, Path) or is_special(path):
        raise InputError(f"an animation is written to a file or a folder, and {output} is neither; "
                         "give its path.")
    return path


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings.parse(**given)
    except TypeError as err:
        unknown = sorted(given.keys() - Settings.__dataclass_fields__.keys())
        if not unknown:
            raise
        raise TypeError(f"animate has no option {unknown[0]!r}") from err


def _recipe_model(recipe: recipes.Recipe, model: ModelLike | None, device: Device) -> Any:
    """Load the model of a recipe; other weights would give other frames."""
    try:
        loaded = resolve_model(recipe.model if model is None else model, device)
    except UnknownModel as err:
        raise UnknownModel(f"the recipe was made with {recipe.model[:80]!r}, which is not on this "
                           "machine.", "Name its folder or hub id with --model.") from err
    here = tag_of(loaded.config)
    if here != recipe.tag:
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
