"""Example clips, and the finished result that the page opens on.

Clips are made at first use: pans over photographs of scikit-image that may be passed on, and one
drawn animation.

    cat       Stefan van der Walt; CC0
    coffee    Rachel Michetti; CC0
    tissue    Center for Microscopy and Molecular Imaging; no known copyright restrictions
    marbles   drawn here

The opening is recorded by `python docs/measure/opening.py` and served as files, never computed.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from aehub.errors import InputError
from aehub.report.records import CompressionReport
from aehub.ui import results
from aehub.ui.formatting import bytes_text, seconds_text
from aehub.ui.result_folders import private_folder

FPS = 24
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
"""Names the cache of drawn clips: another version of this file may draw them differently."""
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Example:
    """An example clip.

    Attributes:
        name: of its file, without suffix.
        label: text of its button.
        frames: number of frames, at `FPS`.
        draw: returns the picture at time t in [0, 1), uint8 [H, W, 3].
    """

    name: str
    label: str
    frames: int
    draw: Callable[[float], np.ndarray]


def _view(
    picture: Image.Image, x: float, y: float, wide: float, size: tuple[int, int]
) -> np.ndarray:
    """Crop `wide` pixels around (x, y), sub-pixel exact, and resize to `size` (width, height)."""
    high = wide * size[1] / size[0]
    box = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box).convert("RGB"))


@lru_cache
def _picture(name: str) -> Image.Image:
    try:
        from skimage import data
    except ImportError:
        raise InputError("the examples need scikit-image; run: pip install scikit-image") from None
    return Image.fromarray(getattr(data, name)())


def _cat(t: float) -> np.ndarray:
    """Pan there and back at one speed, for playing in a loop."""
    s = 1 - abs(1 - 2 * t)
    return _view(_picture("chelsea"), 200 + 50 * s, 150, 380, (480, 272))


def _coffee(t: float) -> np.ndarray:
    return _view(_picture("coffee"), 210 + 180 * t, 205, 400, (384, 216))


def _tissue(t: float) -> np.ndarray:
    return _view(_picture("immunohistochemistry"), 200 + 110 * t, 230, 384, (384, 216))


def _marbles(t: float) -> np.ndarray:
    """Draw shaded balls that circle over a chequered floor, seen from above."""
    side = 256
    y, x = np.mgrid[:side, :side].astype(np.float32)
    turn = 2 * np.pi * t
    floor = ((x + 20 * np.sin(turn)) // 32 + (y + 20 * np.cos(turn)) // 32) % 2
    out = np.stack([226 - 40 * floor, 220 - 34 * floor, 206 - 20 * floor], -1)
    out *= (1 - 0.0011 * np.hypot(x - side / 2, y - side / 2))[..., None]
    colours = ((225, 78, 62), (52, 120, 214), (242, 177, 52), (60, 160, 110), (140, 90, 200))
    for number, colour in enumerate(colours):
        angle = turn + 2 * np.pi * number / len(colours)
        reach, r = 74 + 14 * np.sin(2 * turn + number), 30 + 3 * number
        cx, cy = side / 2 + reach * np.cos(angle), side / 2 + reach * np.sin(angle)
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
        Example("cat", "Cat", 72, _cat),
        Example("coffee", "Coffee", 48, _coffee),
        Example("tissue", "Tissue", 48, _tissue),
        Example("marbles", "Marbles", 48, _marbles),
    )
}

HARD_EXAMPLE_NOTE = "Marbles: flat graphics, hard for this model."
"""Caption: the example that shows a weakness of the model."""
CREDITS = ("Photographs of the examples: Cat by Stefan van der Walt, Coffee by Rachel Michetti, "
           "both CC0; Tissue by the Center for Microscopy and Molecular Imaging, no known "
           "copyright restrictions.")


def clip(name: str) -> Path:
    """Return the path of an example, lossless; it is made if it does not exist yet.

    Raises:
        InputError: the name is unknown, or scikit-image is missing.
    """
    from aehub.media.clip import open_clip
    from aehub.media.writer import open_writer

    example = _find(name)
    path = private_folder(f"aehub-examples-{VERSION}") / f"{name}.mkv"
    with _LOCK:
        if not path.exists():
            frames = (example.draw(index / example.frames) for index in range(example.frames))
            with open_clip(frames, fps=FPS) as drawn, open_writer(path, info=drawn.info) as writer:
                for frame in drawn:
                    writer.write(frame)
    return path


@lru_cache
def thumbnail(name: str) -> bytes:
    """Return a JPEG of an example, at most 256 pixels wide."""
    picture = Image.fromarray(_find(name).draw(0.55))
    picture.thumbnail((256, 192))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _find(name: str) -> Example:
    if name not in EXAMPLES:
        raise InputError(f"there is no example {name!r}; known are {', '.join(EXAMPLES)}.")
    return EXAMPLES[name]


OPENING_NAME = "cat"
OPENING_CAPTION = "An example made before, from a photograph by Stefan van der Walt (CC0)."
OPENING_URL = "ae/opening"
"""URL of its files, relative to the page."""
OPENING_REPORT, OPENING_POSTER = "report.json", "poster.jpg"
OPENING_FOLDER = Path(__file__).parent / "assets" / "opening"


@lru_cache
def opening_report() -> CompressionReport:
    """Return the recorded report, its files in `OPENING_FOLDER`; the original is not stored."""
    record = json.loads((OPENING_FOLDER / OPENING_REPORT).read_text(encoding="utf-8"))
    return CompressionReport.from_record(record, OPENING_FOLDER)


def opening_aev() -> Path:
    """Return the path of the compressed file of the opening."""
    return Path(str(opening_report().compressed.path))


def opening_file(name: str) -> Path | None:
    """Return a file of the opening; None for names that are not served."""
    served = {opening_aev().name, opening_report().stacked.name, OPENING_POSTER}
    return OPENING_FOLDER / name if name in served else None


def opening_overview() -> str:
    """Return the player, whose divider moves by itself, and the numbers; HTML."""
    made, name, poster = opening_report(), opening_aev().name, f"{OPENING_URL}/{OPENING_POSTER}"
    size = bytes_text(made.compressed.bytes)
    above = (results.wipe_player(made, OPENING_URL, more=f' poster="{poster}" sweep')
             + f'<p class="ae-made">{OPENING_CAPTION} <a href="#clip">Drop your own clip</a>, or '
             f'take <a href="{OPENING_URL}/{name}" download>{name}, {size}</a>.</p>')
    length = ("Length", seconds_text(made.playback.seconds), "played in a loop")
    return results.report_html(made, above, length, kind="lossless,")


def opening_figures() -> str:
    """Return the other codecs at the same size and the curves over time; HTML."""
    return results.figures(opening_report())
