"""Example clips, made at first use: pans over public-domain pictures, and a drawn animation.

    hubble    NASA; public domain
    coffee    Rachel Michetti; CC0
    marbles   drawn here
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from aehub.errors import InputError
from aehub.ui.jobs import private_folder

SIDE, FRAMES, FPS = 256, 48, 24
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Example:
    """A clip of the project's own; `draw` gives the picture at time t in [0, 1)."""

    name: str
    label: str
    draw: Callable[[float], np.ndarray]


def _smooth(t: float) -> float:
    return t * t * (3 - 2 * t)


def _view(picture: Image.Image, x: float, y: float, size: float) -> np.ndarray:
    """The square of `size` pixels centred on (x, y), at the examples' size, sub-pixel exact."""
    box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    seen = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(seen.convert("RGB"))


@lru_cache
def _picture(name: str) -> Image.Image:
    try:
        from skimage import data
    except ImportError:
        raise InputError("the examples need scikit-image; run: pip install scikit-image") from None
    return Image.fromarray(getattr(data, name)())


def _coffee(t: float) -> np.ndarray:
    s = _smooth(t)
    return _view(_picture("coffee"), 250 + 110 * s, 200 + 20 * s, 396 - 150 * s)


def _hubble(t: float) -> np.ndarray:
    s = _smooth(t)
    return _view(_picture("hubble_deep_field"), 320 + 330 * s, 340 + 190 * s, 420 - 110 * s)


def _marbles(t: float) -> np.ndarray:
    """Shaded balls that circle over a chequered floor, seen from above."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    turn = 2 * np.pi * t
    floor = ((x + 20 * np.sin(turn)) // 32 + (y + 20 * np.cos(turn)) // 32) % 2
    out = np.stack([226 - 40 * floor, 220 - 34 * floor, 206 - 20 * floor], -1)
    out *= (1 - 0.0011 * np.hypot(x - SIDE / 2, y - SIDE / 2))[..., None]
    colours = ((225, 78, 62), (52, 120, 214), (242, 177, 52), (60, 160, 110), (140, 90, 200))
    for number, colour in enumerate(colours):
        angle = turn + 2 * np.pi * number / len(colours)
        reach, r = 74 + 14 * np.sin(2 * turn + number), 30 + 3 * number
        cx, cy = SIDE / 2 + reach * np.cos(angle), SIDE / 2 + reach * np.sin(angle)
        shade = np.clip(1 - np.hypot(x - cx - 9, y - cy - 12) / (1.25 * r), 0, 1)[..., None]
        out *= 1 - 0.7 * np.minimum(1, 2 * shade)
        u, v = (x - cx) / r, (y - cy) / r
        height = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        light = np.clip(-0.45 * u - 0.55 * v + 0.7 * height, 0, 1)
        ball = light[..., None] * np.array(colour, np.float32) + 235 * (light**28)[..., None]
        edge = np.clip((1 - np.hypot(u, v)) * r, 0, 1)[..., None]
        out = out * (1 - edge) + (ball + 14) * edge
    return np.clip(out, 0, 255).astype(np.uint8)


EXAMPLES = {
    example.name: example
    for example in (
        Example("coffee", "Coffee", _coffee),
        Example("hubble", "Deep field", _hubble),
        Example("marbles", "Marbles", _marbles),
    )
}


def clip(name: str) -> Path:
    """The example of that name, without loss, made if it is not there yet.

    Raises:
        InputError: there is no such example, or scikit-image is missing.
    """
    from aehub.clips import open_clip, open_writer

    example = _named(name)
    path = private_folder("aehub-examples") / f"{name}.mkv"
    with _LOCK:
        if not path.exists():
            frames = (example.draw(index / FRAMES) for index in range(FRAMES))
            with open_clip(frames, fps=FPS) as drawn, open_writer(path, info=drawn.info) as writer:
                for frame in drawn:
                    writer.write(frame)
    return path


@lru_cache
def thumbnail(name: str) -> bytes:
    """A small JPEG of the example, 192x192."""
    picture = Image.fromarray(_named(name).draw(0.55)).resize((192, 192))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _named(name: str) -> Example:
    if name not in EXAMPLES:
        raise InputError(f"there is no example {name!r}; known are {', '.join(EXAMPLES)}.")
    return EXAMPLES[name]
