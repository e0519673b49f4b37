"""The recipe beside an animation: model, keyframes and settings that make the same frames again.

    {"format_version": 1, "model": "emoji-vae", "tag": "sha256-...",
     "keyframes": [{"seed": 1}, {"name": "cat.png", "latent": [0.25, ...]}],
     "seconds": 4.0, "fps": "30/1", "path": "spline", "easing": "linear", "loop": true, ...}

A keyframe is a seed, or the latent of a picture if it is a vector; or, for other latents and for
sprites, a picture as PNG in Base64, or a file with its SHA-256 and its path relative to the folder
of the recipe.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from aehub.animation.keyframes import (
    Keyframe,
    digest_of,
    gather_keyframes,
    keyframes_of_clip,
    read_picture,
)
from aehub.animation.plan import FLAGS, Plan, Settings
from aehub.config import Limits
from aehub.errors import InputError
from aehub.media.sinks import write_png
from aehub.media.still_images import StillImage

FORMAT_VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
"""Size of a recipe that is read."""
SUFFIX = ".recipe.json"
# Entries of a recipe that are parsed; more keyframes than a walk takes are refused anyway.
_MAX_ENTRIES = 10_000


@dataclass(frozen=True)
class Recipe:
    """A recipe as read from its file.

    Attributes:
        model: name of the model.
        tag: of the model's weights; None for a model that was never stored.
        keyframes: of the walk.
        settings: of the animation.
    """

    model: str
    tag: str | None
    keyframes: list[Keyframe]
    settings: Settings


def recipe_path(output: Path) -> Path:
    """The path of the recipe of an animation: beside it, under its name."""
    return output.with_name(output.name + SUFFIX)


def recipe_text(model: str, tag: str | None, plan: Plan, settings: Settings, folder: Path) -> str:
    """The recipe of a plan, as JSON.

    Args:
        model: its name.
        tag: of its weights.
        plan: of the animation.
        settings: of the animation.
        folder: of the recipe; paths of files are relative to it.
    """
    keyframes = [{**key, "file": os.path.relpath(key["file"], folder)} if "file" in key else key
                 for key in plan.keyframes]
    chosen = {**asdict(settings), "fps": f"{settings.fps.numerator}/{settings.fps.denominator}"}
    entries = {"format_version": FORMAT_VERSION, "library_name": "aehub", "model": model,
               "tag": tag, "keyframes": keyframes, **chosen}
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def to_recipe(key: Keyframe, latent: np.ndarray | None = None) -> dict[str, Any]:
    """A keyframe as an entry of a recipe: the seed, the latent, the file, or the picture as PNG.

    Args:
        key: the keyframe.
        latent: its latent, for models that need nothing else of a picture.
    """
    if key.seed is not None:
        return {"seed": key.seed}
    if latent is not None:
        # Nine significant digits restore every float32 exactly.
        return {"name": key.name, "latent": [float(f"{number:.9g}") for number in latent.tolist()]}
    if key.file is not None:
        moment = {"moment": key.moment} if key.moment else {}
        return {"file": str(key.file.resolve()), **moment, "sha256": digest_of(key.file)}
    assert key.picture is not None
    return {"name": key.name,
            "picture": base64.b64encode(write_png("<bytes>", key.picture)).decode()}


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe that `recipe_text` wrote.

    Raises:
        InputError: it is missing, no recipe or newer, or a file that it names has changed.
    """
    recipe = _read_object(path)
    if recipe.get("format_version") != FORMAT_VERSION:
        version = str(recipe.get("format_version"))[:20]
        raise InputError(f"{path.name} is a recipe of format {version}; this AEHub reads "
                         f"{FORMAT_VERSION}. Upgrade aehub.")
    names = {field.name for field in fields(Settings)}
    chosen = {name: recipe[name] for name in names & recipe.keys()}
    entries = recipe.get("keyframes")
    tag = recipe.get("tag", ...)
    texts = [recipe.get("model"), "" if tag is None else tag, chosen.get("easing", "linear")]
    if not isinstance(entries, list) or not all(isinstance(text, str) for text in texts) or any(
            not isinstance(chosen.get(flag, False), bool) for flag in FLAGS):
        raise InputError(f"{path.name} lacks model, tag, keyframes or settings; give a "
                         "complete recipe.")
    keys = gather_keyframes(
        None, [_keyframe(entry, path) for entry in entries[:_MAX_ENTRIES]], None, None)
    return Recipe(str(recipe["model"]), tag, keys, Settings.parse(**chosen))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f"the recipe {path} cannot be read: {err.strerror}.") from err
    try:
        value = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path.name} is no recipe; give the {SUFFIX} file that lies beside an "
                         "animation.")
    return value


def _keyframe(entry: Any, path: Path) -> Any:
    """The keyframe of an entry, in a form that `gather_keyframes` takes."""
    invalid = InputError(f"{path.name} holds a keyframe {str(entry)[:80]}, which is neither seed, "
                         "latent, picture nor file; give a complete recipe.")
    if not isinstance(entry, Mapping):
        raise invalid
    name = str(entry.get("name", "a keyframe"))[:80]
    if type(entry.get("seed")) is int:
        return entry["seed"]
    if isinstance(entry.get("file"), str):
        return _file_keyframe(path.parent / entry["file"], entry)
    try:
        if isinstance(entry.get("picture"), str):
            file = io.BytesIO(base64.b64decode(entry["picture"], validate=True))
            with StillImage(file, name, Limits.from_env()) as still:
                return Keyframe(name, picture=still.page(0))
        latent = np.array(entry["latent"], np.float64)
    except (KeyError, TypeError, ValueError, binascii.Error) as err:
        raise invalid from err
    if latent.ndim != 1 or not np.isfinite(latent).all():
        raise invalid
    return Keyframe(name, latent=latent.astype(np.float32))


def _file_keyframe(file: Path, entry: Mapping[str, Any]) -> Keyframe:
    if not file.is_file():
        raise InputError(f"the recipe needs {file}, which does not exist; restore it.")
    if digest_of(file) != entry.get("sha256"):
        raise InputError(f"{file.name} has changed since the recipe was made; restore the original "
                         "file.")
    moment = entry.get("moment")
    if isinstance(moment, str):
        return keyframes_of_clip(file, [moment])[0]
    return Keyframe(file.name, picture=read_picture(file), file=file)
