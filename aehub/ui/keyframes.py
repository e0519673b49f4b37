"""Keyframes of an animation: the grid of candidates, the timeline, and latent sliders."""

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
from aehub.config import DEFAULT_GENERATOR
from aehub.errors import InputError, LimitError
from aehub.generators.base import GenerativeModel
from aehub.media.file_type import content_of
from aehub.ui.limits import PageLimits

LOCAL_STATES = ("bundled", "cached")
"""States of models that are on this machine."""
CANDIDATES = 18
"""Candidates on a page of the grid."""
MAX_KEYFRAMES = 32
SLIDERS = 8
SLIDER_RANGE = 2.0
"""Standard deviations that a slider moves a latent to either side."""
LIVE_EMPTY = ('<div class="ae-live"><span>Click a picture, then move the sliders: it changes at '
              "once.</span></div>")
_THUMBNAIL_SIDE, _LIVE_SIDE = 96, 256
_PIXEL_ART_SIDE = 64
"""Below this side in pixels, pictures are enlarged with hard edges."""
# Sends the number of the clicked button with the click event.
JS_PICK = """element.addEventListener('click', (event) => {
  const hit = event.target.closest('button[data-number]');
  if (hit) trigger('click', {number: Number(hit.dataset.number),
                               earlier: hit.classList.contains('earlier')});
});"""


@dataclass(frozen=True)
class Key:
    """A keyframe on the timeline, defined by exactly one of seed, latent and file.

    Attributes:
        picture: thumbnail, as a data URL.
        label: text below it.
        seed: of a picture sampled from the model.
        latent: of the model.
        file: path of a picture.
    """

    picture: str
    label: str
    seed: int | None = None
    latent: tuple[float, ...] | None = None
    file: str | None = None

    @property
    def as_keyframe(self) -> Any:
        """Return the keyframe as `aehub.animate` takes it: seed, latent, or the picture of a file.

        Raises:
            InputError: the file has been deleted.
        """
        if self.file is None:
            return self.seed if self.latent is None else np.array(self.latent, np.float32)
        if not Path(self.file).is_file():
            raise InputError(f"the picture {self.label} is not on this server any more: files are "
                             "deleted after some time. Remove the keyframe and drop the picture "
                             "again.")
        return Keyframe(self.label, picture=read_picture(Path(self.file)))


def animation_models() -> list[str]:
    """List the models on this machine that animate, generative models first."""
    entries = [entry for entry in hub.list_models(states=LOCAL_STATES) if entry.planner]
    entries.sort(key=lambda entry: (entry.name != DEFAULT_GENERATOR, entry.compresses,
                                    entry.planner != "walk"))
    return [entry.name for entry in entries]


def entry_of(name: str | None) -> hub.ModelEntry | None:
    """Return the entry of a model on this machine; None if it is not here."""
    return next((entry for entry in hub.list_models(states=LOCAL_STATES) if entry.name == name),
                None)


def draws_characters(name: str | None) -> bool:
    """Tell if a model on this machine animates walking characters."""
    entry = entry_of(name)
    return entry is not None and entry.planner == "cycle"


def load_generator(name: str) -> GenerativeModel:
    """Load a model that generates pictures.

    Raises:
        InputError: the model generates none, or is not on this machine.
    """
    if entry_of(name) is None:
        raise InputError(f"the model {str(name)[:80]} is not on this machine; choose one of "
                         f"{', '.join(animation_models())}, or download it in the tab Models.")
    loaded = hub.load(name)
    if not isinstance(loaded, GenerativeModel):
        raise InputError(f"{name} generates no pictures; add two pictures or a clip.")
    return loaded


def decoded(model: GenerativeModel, latents: np.ndarray) -> list[np.ndarray]:
    """Return the square pictures of latents, uint8 [S, S, 3] each."""
    return model.to_pictures(latents, (model.side, model.side))


def is_pixel_art(name: str) -> bool:
    """Tell if pictures of a model are pixel art, to be enlarged with hard edges."""
    return draws_characters(name) or load_generator(name).side < _PIXEL_ART_SIDE


@lru_cache(maxsize=8)
def directions(name: str) -> np.ndarray:
    """Return the latent directions that change the picture most, float32 [at most 8, K]."""
    return main_directions(load_generator(name))


def data_url(picture: np.ndarray, side: int = _THUMBNAIL_SIDE) -> str:
    """Return a picture as a data URL, scaled down to at most `side` pixels."""
    image = Image.fromarray(picture)
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def seed_keys(name: str, seeds: Sequence[int]) -> list[Key]:
    """Return keyframes of seeds, decoded by a model."""
    model = load_generator(name)
    pictures = decoded(model, model.sample(seeds))
    return [Key(data_url(picture), f"seed {seed}", seed=seed)
            for seed, picture in zip(seeds, pictures, strict=True)]


def file_keys(paths: Sequence[str], folder: Path, limits: PageLimits) -> list[Key]:
    """Return keyframes of pictures; a clip gives its first and last frame.

    Args:
        paths: of pictures and clips, distinguished by their content.
        folder: for frames of clips.
        limits: of the page.

    Raises:
        InputError: a file is neither picture nor clip, or above the limits, or there are too many.
    """
    if len(paths) > MAX_KEYFRAMES:
        raise LimitError(f"{len(paths)} files are given and the timeline holds {MAX_KEYFRAMES} "
                         "keyframes; leave some out.")
    keys = []
    for number, path in enumerate(map(Path, paths)):
        for frame in _frames(path, limits):
            assert frame.picture is not None
            place = path
            if frame.moment:
                place = folder / f"{number}-{frame.moment}.png"
                Image.fromarray(frame.picture).save(place)
            keys.append(Key(data_url(frame.picture), frame.name, file=str(place)))
    return keys


def _frames(path: Path, limits: PageLimits) -> list[Keyframe]:
    """Read a picture, or the first and the last frame of a clip."""
    if content_of(path) in ("clip", ""):
        return keyframes_of_clip(path, None, limits.clip)
    return [Keyframe(path.name, picture=read_picture(path, limits.picture))]


def grid_html(keys: Sequence[Key], *, crisp: bool) -> str:
    """Return the candidates as buttons."""
    cells = "".join(
        f'<button type="button" data-number="{key.seed}" aria-label="Add {escape(key.label)} to '
        f'the timeline" title="{escape(key.label)}"><img src="{key.picture}" alt=""></button>'
        for key in keys)
    return f'<div class="ae-grid{" crisp" if crisp else ""}">{cells}</div>'


def timeline_html(keys: Sequence[Key]) -> str:
    """Return the timeline: keyframes in order, each with a button that removes it and, except for
    the first, one that moves it one earlier."""
    if not keys:
        return ('<div class="ae-strip empty">Click two or more pictures above; they become '
                "keyframes here.</div>")
    cells = "".join(
        f'<li><img src="{key.picture}" alt="{escape(key.label)}"><span>{escape(key.label)}</span>'
        f'<button type="button" data-number="{number}" aria-label="Remove keyframe '
        f'{number + 1}">×</button>' + _earlier(number) + "</li>" for number, key in enumerate(keys))
    return f'<ol class="ae-strip">{cells}</ol>'


def _earlier(number: int) -> str:
    if not number:
        return ""
    return (f'<button type="button" class="earlier" data-number="{number}" '
            f'aria-label="Move keyframe {number + 1} one earlier">‹</button>')


def seed_latent(name: str, seed: int) -> list[float]:
    """Return the latent of a seed, the origin of the sliders."""
    latent: list[float] = load_generator(name).sample([seed])[0].tolist()
    return latent


def shifted_latent(name: str, base: Sequence[float] | None, values: Sequence[Any]) -> np.ndarray:
    """Return a latent moved along the main directions by slider values, float32 [K].

    Raises:
        InputError: no picture is picked, or it is of another model.
    """
    if not base:
        raise InputError("there is no picture to shape yet; click one of the candidates.")
    axes = directions(name)
    if len(base) != axes.shape[1]:
        raise InputError(f"the picture is of another model than {name}; click a candidate again.")
    weights = np.array([value or 0 for value in values[:len(axes)]], np.float32)
    return np.asarray(np.array(base, np.float32) + weights @ axes[:len(weights)])


def decode_latent(name: str, latent: np.ndarray) -> np.ndarray:
    """Decode a latent, uint8 [S, S, 3]."""
    return decoded(load_generator(name), latent[None])[0]


def live_html(name: str, latent: np.ndarray) -> str:
    """Return the picture of a latent as HTML."""
    picture = decode_latent(name, latent)
    crisp = " crisp" if is_pixel_art(name) else ""
    return (f'<div class="ae-live{crisp}"><img src="{data_url(picture, _LIVE_SIDE)}" '
            f'alt="The shaped picture of {escape(name)}"></div>')


def shaped_key(name: str, latent: np.ndarray) -> Key:
    """Return a keyframe of a latent chosen by sliders."""
    return Key(data_url(decode_latent(name, latent)), "shaped", latent=tuple(map(float, latent)))
