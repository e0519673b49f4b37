"""Keyframes as visitors see them: a grid of candidates, and the strip of those they chose.

Shaping one picture by sliders: latents moved along the directions that matter most.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aehub import hub
from aehub.animation.keyframes import Keyframe, keyframes_of_clip, read_picture
from aehub.animation.path import main_directions
from aehub.api.animate import DEFAULT_MODEL
from aehub.errors import InputError, LimitError
from aehub.media.file_type import content_of
from aehub.ui.limits import PageLimits
from aehub.weights.architectures import COMPRESSION, LATENT_ANIMATION, SPRITE_ANIMATION

ANIMATION_TASKS = (LATENT_ANIMATION, SPRITE_ANIMATION, COMPRESSION)
LOCAL_STATES = ("bundled", "cached")
"""States of models that are on this machine."""
CANDIDATES = 18
MAX_KEYFRAMES = 32
_THUMBNAIL_SIDE = 96
# Pictures of fewer pixels a side consist of squares that are meant to be seen.
_PIXEL_ART_SIDE = 64
# Clicks on a piece of the grid or the strip tell which one it was.
JS_PICK = """element.addEventListener('click', (event) => {
  const hit = event.target.closest('button[data-number]');
  if (hit) trigger('click', {number: Number(hit.dataset.number),
                               earlier: hit.classList.contains('earlier')});
});"""


@dataclass(frozen=True)
class Key:
    """A keyframe on the timeline; one of seed, latent and file is given.

    Attributes:
        picture: what is shown of it, as an address.
        label: a word for it.
        seed: of a picture that the model draws.
        latent: numbers of the model.
        file: path of a picture.
    """

    picture: str
    label: str
    seed: int | None = None
    latent: tuple[float, ...] | None = None
    file: str | None = None

    @property
    def as_keyframe(self) -> Any:
        """The keyframe as `aehub.animate` takes it; of a file the picture, for a recipe to hold it.

        Raises:
            InputError: the file was deleted meanwhile.
        """
        if self.file is None:
            return self.seed if self.latent is None else np.array(self.latent, np.float32)
        if not Path(self.file).is_file():
            raise InputError(f"the picture {self.label} is not on this server any more, for files "
                             "are deleted after some time; take it out and drop it again.")
        return Keyframe(self.label, picture=read_picture(Path(self.file)))


def animation_models() -> list[str]:
    """Names of the models on this machine that animate: those that draw pictures first."""
    entries = hub.list_models(states=LOCAL_STATES)
    names = [entry.name for task in ANIMATION_TASKS for entry in entries if entry.task == task]
    return sorted(names, key=lambda name: name != DEFAULT_MODEL)


def task_of(name: str) -> str:
    """The task of a model on this machine; empty if it is not here."""
    return next((entry.task for entry in hub.list_models(states=LOCAL_STATES)
                 if entry.name == name), "")


def load_generator(name: str) -> Any:
    """The model of that name, if it draws pictures of its own.

    Raises:
        InputError: it draws none, or is not on this machine.
    """
    task = task_of(name)
    if not task:
        raise InputError(f"the model {str(name)[:80]} is not on this machine; choose one of "
                         f"{', '.join(animation_models())}, or download it in the tab Models.")
    if task == COMPRESSION:
        raise InputError(f"{name} draws no pictures of its own; add two pictures or a clip.")
    return hub.load(name)


def is_pixel_art(name: str) -> bool:
    """Whether the pictures of a model are drawn pixel by pixel, and shown so when enlarged."""
    return task_of(name) == SPRITE_ANIMATION or load_generator(name).side < _PIXEL_ART_SIDE


@lru_cache(maxsize=8)
def directions(name: str) -> np.ndarray:
    """The directions of a model that matter most, float32 [at most 8, K]."""
    return main_directions(load_generator(name))


def data_url(picture: np.ndarray, side: int = _THUMBNAIL_SIDE) -> str:
    """A picture as an address that holds it, made smaller if need be."""
    image = Image.fromarray(picture)
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def seed_keys(name: str, seeds: Sequence[int]) -> list[Key]:
    """Keyframes of seeds, as a model draws them."""
    model = load_generator(name)
    pictures = model.decode(model.sample(seeds))
    return [Key(data_url(picture), f"seed {seed}", seed=seed)
            for seed, picture in zip(seeds, pictures, strict=True)]


def file_keys(paths: Sequence[str], folder: Path, limits: PageLimits) -> list[Key]:
    """Keyframes of pictures; a clip gives its first and last frame.

    Args:
        paths: of pictures and clips, told apart by their content.
        folder: for frames of clips.
        limits: of the page.

    Raises:
        InputError: a file is neither, or is larger than the page takes, or there are too many.
    """
    if len(paths) > MAX_KEYFRAMES:
        raise LimitError(f"{len(paths)} files are given and the timeline holds {MAX_KEYFRAMES} "
                         "keyframes; leave some out.")
    found = []
    for number, path in enumerate(map(Path, paths)):
        for frame in _frames(path, limits):
            assert frame.picture is not None
            place = path
            if frame.moment:
                place = folder / f"{number}-{frame.moment}.png"
                Image.fromarray(frame.picture).save(place)
            found.append(Key(data_url(frame.picture), frame.name, file=str(place)))
    return found


def _frames(path: Path, limits: PageLimits) -> list[Keyframe]:
    """A picture, or the first and the last frame of a clip."""
    if content_of(path) in ("clip", ""):
        return keyframes_of_clip(path, None, limits.clip)
    return [Keyframe(path.name, picture=read_picture(path, limits.picture))]


def grid_html(keys: Sequence[Key], *, crisp: bool) -> str:
    """Candidates to click on."""
    cells = "".join(
        f'<button type="button" data-number="{key.seed}" aria-label="Add {escape(key.label)} to '
        f'the timeline" title="{escape(key.label)}"><img src="{key.picture}" alt=""></button>'
        for key in keys)
    return f'<div class="ae-grid{" crisp" if crisp else ""}">{cells}</div>'


def timeline_html(keys: Sequence[Key]) -> str:
    """The timeline: chosen keyframes in order, each with a cross to take it out and, but for the
    first, an arrow that puts it one earlier."""
    if not keys:
        return ('<div class="ae-strip empty">Click two or more pictures above; they become '
                "keyframes here.</div>")
    cells = "".join(
        f'<li><img src="{key.picture}" alt="{escape(key.label)}"><span>{escape(key.label)}</span>'
        f'<button type="button" data-number="{number}" aria-label="Take keyframe {number + 1} '
        'out">×</button>' + _earlier(number) + "</li>" for number, key in enumerate(keys))
    return f'<ol class="ae-strip">{cells}</ol>'


def _earlier(number: int) -> str:
    if not number:
        return ""
    return (f'<button type="button" class="earlier" data-number="{number}" '
            f'aria-label="Put keyframe {number + 1} one earlier">‹</button>')


SLIDERS = 8
SLIDER_RANGE = 2.0
"""Standard deviations that a slider goes to either side."""
LIVE_EMPTY = ('<div class="ae-live"><span>Click a picture, then move the sliders: it changes at '
              "once.</span></div>")
_LIVE_SIDE = 256


def seed_latent(name: str, seed: int) -> list[float]:
    """Latent of a seed, where the sliders stand at zero."""
    latent: list[float] = load_generator(name).sample([seed])[0].tolist()
    return latent


def shifted_latent(name: str, base: Sequence[float] | None, values: Sequence[Any]) -> np.ndarray:
    """The latent that sliders show, float32 [K].

    Raises:
        InputError: no picture was picked, or it is of another model.
    """
    if not base:
        raise InputError("there is no picture to shape yet; click one of the candidates.")
    axes = directions(name)
    if len(base) != axes.shape[1]:
        raise InputError(f"the picture is of another model than {name}; click a candidate again.")
    steps = np.array([value or 0 for value in values[:len(axes)]], np.float32)
    return np.asarray(np.array(base, np.float32) + steps @ axes[:len(steps)])


def decode_latent(name: str, latent: np.ndarray) -> np.ndarray:
    """The picture of a latent, uint8 [S, S, 3]."""
    picture: np.ndarray = load_generator(name).decode(latent[None])[0]
    return picture


def live_html(name: str, latent: np.ndarray) -> str:
    """The picture of a latent, for the page."""
    picture = decode_latent(name, latent)
    crisp = " crisp" if is_pixel_art(name) else ""
    return (f'<div class="ae-live{crisp}"><img src="{data_url(picture, _LIVE_SIDE)}" '
            f'alt="The shaped picture of {escape(name)}"></div>')


def shaped_key(name: str, latent: np.ndarray) -> Key:
    """The shaped picture as a keyframe."""
    return Key(data_url(decode_latent(name, latent)), "shaped", latent=tuple(map(float, latent)))
