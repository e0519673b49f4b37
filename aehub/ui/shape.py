"""Shaping one picture by sliders: latents moved along the directions that matter most."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from aehub.errors import InputError
from aehub.ui.keys import Key, address, directions, drawer, is_crisp

SLIDERS = 8
REACH = 2.0
"""Standard deviations that a slider goes to either side."""
EMPTY = ('<div class="ae-live"><span>Click a picture, then move the sliders: it changes at once.'
         "</span></div>")
_SIDE = 256


def base_of(name: str, seed: int) -> list[float]:
    """Latent of a seed, where the sliders stand at zero."""
    latent: list[float] = drawer(name).sample([seed])[0].tolist()
    return latent


def moved(name: str, base: Sequence[float] | None, values: Sequence[Any]) -> np.ndarray:
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


def picture_of(name: str, latent: np.ndarray) -> np.ndarray:
    """The picture of a latent, uint8 [S, S, 3]."""
    picture: np.ndarray = drawer(name).decode(latent[None])[0]
    return picture


def live(name: str, latent: np.ndarray) -> str:
    """The picture of a latent, for the page."""
    picture = picture_of(name, latent)
    crisp = " crisp" if is_crisp(name) else ""
    return (f'<div class="ae-live{crisp}"><img src="{address(picture, _SIDE)}" '
            f'alt="The shaped picture of {escape(name)}"></div>')


def shaped_key(name: str, latent: np.ndarray) -> Key:
    """The shaped picture as a keyframe."""
    return Key(address(picture_of(name, latent)), "shaped", latent=tuple(map(float, latent)))
