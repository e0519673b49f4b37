"""The recipe that lies beside an animation: all that is needed to make the same frames again.

    {"format_version": 1, "model": "emoji-vae", "tag": "sha256-...",
     "keyframes": [{"seed": 1}, {"name": "cat.png", "latent": [0.25, ...]}],
     "seconds": 4.0, "fps": "30/1", "path": "spline", "easing": "linear", "loop": true, ...}

A keyframe is a seed; or a picture as the latents it became; or, for codecs, a picture in PNG, or a
file with the SHA-256 it had, its path counted from the folder of the recipe.
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
SUFFIX = ".recipe.json"


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read.

    Attributes:
        model: name of the model.
        tag: of the numbers of the model.
        keyframes: what the walk goes through.
        settings: how.
    """

    model: str
    tag: str
    keyframes: list[Keyframe]
    settings: Settings


def recipe_path(output: Path) -> Path:
    """Where the recipe of an animation lies: beside it, under its name."""
    return output.with_name(output.name + SUFFIX)


def recipe_text(model: str, tag: str | None, plan: Plan, settings: Settings, folder: Path) -> str:
    """The recipe of a plan, as JSON.

    Args:
        model: its name.
        tag: of its numbers.
        plan: what is made.
        settings: how.
        folder: where the recipe will lie; paths of files are counted from it.
    """
    keyframes = [{**key, "file": os.path.relpath(key["file"], folder)} if "file" in key else key
                 for key in plan.keyframes]
    chosen = {**asdict(settings), "fps": f"{settings.fps.numerator}/{settings.fps.denominator}"}
    told = {"format_version": FORMAT_VERSION, "library_name": "aehub", "model": model, "tag": tag,
            "keyframes": keyframes, **chosen}
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in told.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def to_recipe(key: Keyframe, latent: np.ndarray | None = None) -> dict[str, Any]:
    """What a recipe says of a keyframe: the seed, the latent, the file, or the picture as PNG.

    Args:
        key: the keyframe.
        latent: numbers that it became, where they are all that counts.
    """
    if key.seed is not None:
        return {"seed": key.seed}
    if latent is not None:
        # Nine digits bring back every float32.
        return {"name": key.name, "latent": [float(f"{number:.9g}") for number in latent.tolist()]}
    if key.file is not None:
        moment = {"moment": key.moment} if key.moment else {}
        return {"file": str(key.file.resolve()), **moment, "sha256": digest_of(key.file)}
    assert key.picture is not None
    return {"name": key.name,
            "picture": base64.b64encode(write_png("<bytes>", key.picture)).decode()}


def read_recipe(path: Path) -> Recipe:
    """A recipe that `recipe_text` wrote, checked.

    Raises:
        InputError: it is missing, no recipe, newer, or a file that it names has changed.
    """
    told = _object(path)
    if told.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path.name} is a recipe of format {str(told.get('format_version'))[:20]}"
                         f"; this AEHub reads {FORMAT_VERSION}. Upgrade aehub.")
    names = {field.name for field in fields(Settings)}
    chosen = {name: told[name] for name in names & told.keys()}
    entries = told.get("keyframes")
    texts = [told.get("model"), told.get("tag"), chosen.get("easing", "linear")]
    if not isinstance(entries, list) or not all(isinstance(text, str) for text in texts) or any(
            not isinstance(chosen.get(flag, False), bool) for flag in FLAGS):
        raise InputError(f"{path.name} lacks model, tag, keyframes or settings; it is no whole "
                         "recipe.")
    keys = gather_keyframes(None, [_keyframe(entry, path) for entry in entries[:10_000]], None,
                            None)
    return Recipe(str(told["model"]), str(told["tag"]), keys, Settings.parse(**chosen))


def _object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f"the recipe {path} cannot be read: {err.strerror}.") from err
    try:
        told = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise InputError(f"{path.name} is no recipe; give the {SUFFIX} file that lies beside an "
                         "animation.")
    return told


def _keyframe(entry: Any, path: Path) -> Any:
    """What `gather_keyframes` takes for an entry."""
    wrong = InputError(f"{path.name} holds a keyframe {str(entry)[:80]}, which is neither seed, "
                       "latent, picture nor file; it is no whole recipe.")
    if not isinstance(entry, Mapping):
        raise wrong
    name = str(entry.get("name", "a keyframe"))[:80]
    if type(entry.get("seed")) is int:
        return entry["seed"]
    if isinstance(entry.get("file"), str):
        return _of_file(path.parent / entry["file"], entry)
    try:
        if isinstance(entry.get("picture"), str):
            file = io.BytesIO(base64.b64decode(entry["picture"], validate=True))
            with StillImage(file, name, Limits.from_env()) as still:
                return Keyframe(name, picture=still.page(0))
        latent = np.array(entry["latent"], np.float64)
    except (KeyError, TypeError, ValueError, binascii.Error) as err:
        raise wrong from err
    if latent.ndim != 1 or not np.isfinite(latent).all():
        raise wrong
    return Keyframe(name, latent=latent.astype(np.float32))


def _of_file(file: Path, entry: Mapping[str, Any]) -> Keyframe:
    if not file.is_file():
        raise InputError(f"the recipe needs {file}, which does not exist; put it there again.")
    if digest_of(file) != entry.get("sha256"):
        raise InputError(f"{file.name} is not the file that the recipe was made with; put that one "
                         "there again.")
    moment = entry.get("moment")
    if isinstance(moment, str):
        return keyframes_of_clip(file, [moment])[0]
    return Keyframe(file.name, picture=read_picture(file), file=file)
