"""Clips that `sandwich-av1` is trained on: recordings, and windows that move over pictures.

Photos are sharper than most recordings at hand, which were coded before, and pages of text are
rare among them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aehub.media.picture import Picture
from aehub.training.data import FrameStore, StoredClip

LEAST_SIDE = 96
"""Least side of a clip, in luma samples."""
_MAX_SIZE = 448, 256
"""Largest width and height of what a window over a picture shows."""
_SMALLER_SHARE, _MAX_SHRINK = 0.4, 2.0
"""Share of the recordings that are made smaller, and by how much at most."""
_NOISY_SHARE, _NOISE = 0.5, (0.5, 4.0)
"""Share of the clips with noise, and its standard deviation in luma."""
_TEXT_SHARE, _PAGE_SHARE = 0.35, 0.5
"""Share of the pictures with text, and share of these whose background is plain."""
_MAX_SPEED, _MAX_ZOOM = 6.0, 0.01
"""Of a window: samples a frame, and growth a frame."""
_STILL_SHARE = 0.15
"""Share of the windows that do not move."""


class TrainingClip(NamedTuple):
    """Attributes:
    pictures: 4:2:0, with sides that are multiples of 4.
    noise: standard deviation in luma of the noise that was added, in grey levels.
    """

    pictures: list[Picture]
    noise: float


def is_usable(clip: StoredClip, n_frames: int) -> bool:
    """Return True for pictures, and clips of `n_frames` or more, that are large enough."""
    return min(clip.width, clip.height) >= LEAST_SIDE and (clip.n_frames == 1
                                                          or clip.n_frames >= n_frames)


def training_clip(store: FrameStore, clip: StoredClip, n_frames: int, rng: np.random.Generator
                  ) -> TrainingClip:
    """A clip of at most `n_frames` frames, made of a recording or a picture."""
    if clip.n_frames == 1:
        pictures = _moving_window(store.planes(clip, 0), n_frames, rng)
    else:
        pictures = _recording(store, clip, n_frames, rng)
    noise = round(rng.uniform(*_NOISE), 2) if rng.random() < _NOISY_SHARE else 0.0
    noisy = [_with_noise(p, noise, rng) for p in pictures] if noise else pictures
    return TrainingClip(noisy, noise)


def _recording(store: FrameStore, clip: StoredClip, n_frames: int, rng: np.random.Generator
               ) -> list[Picture]:
    """The first frames, some made smaller."""
    shrink = rng.uniform(1, _MAX_SHRINK) if rng.random() < _SMALLER_SHARE else 1.0
    shrink = max(1.0, min(shrink, clip.width / LEAST_SIDE, clip.height / LEAST_SIDE))
    size = _multiples_of_4(clip.width / shrink, clip.height / shrink)
    box = (0.0, 0.0, size[0] * shrink, size[1] * shrink)
    return [_resized(store.planes(clip, t), box, size) for t in range(min(n_frames, clip.n_frames))]


def _moving_window(picture: Picture, n_frames: int, rng: np.random.Generator) -> list[Picture]:
    """Frames that a window over the picture shows, in which it moves and grows."""
    if rng.random() < _TEXT_SHARE:
        picture = _with_text(picture, rng)
    whole = np.array(picture.size, float)
    size = _multiples_of_4(*np.minimum(whole, _MAX_SIZE))
    largest = float((whole / size).min())
    zoom = 1 + rng.random() * (largest - 1)
    begin = rng.random(2) * (whole - np.multiply(size, zoom))
    moves = rng.random() >= _STILL_SHARE
    speed = moves * rng.uniform(-1, 1, 2) * _MAX_SPEED * rng.random()
    growth = moves * rng.uniform(-1, 1) * _MAX_ZOOM * (rng.random() < 0.5)
    pictures = []
    for t in range(n_frames):
        now = float(np.clip(zoom * (1 + growth) ** t, min(1.0, largest), largest))
        span = np.multiply(size, now)
        corner = _reflected(begin + t * speed * zoom, whole - span)
        pictures.append(_resized(picture, (*corner, *np.minimum(corner + span, whole)), size))
    return pictures


def _reflected(at: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Positions that turn back at 0 and at `end`."""
    end = np.maximum(end, 1e-6)
    return np.asarray(end - np.abs(end - at % (2 * end)))


def _multiples_of_4(width: float, height: float) -> tuple[int, int]:
    return int(width) // 4 * 4, int(height) // 4 * 4


def _resized(picture: Picture, box: tuple[float, ...], size: tuple[int, int]) -> Picture:
    """The part in `box` (left, top, right, bottom, in luma samples) at another size."""
    if box == (0.0, 0.0, *picture.size) and size == picture.size:
        return picture
    planes = []
    for plane, part in zip(picture, (1, 2, 2), strict=True):
        height, width = plane.shape
        left, top, right, bottom = (side / part for side in box)
        image = Image.fromarray(np.ascontiguousarray(plane)).resize(
            (size[0] // part, size[1] // part), Image.Resampling.LANCZOS,
            (left, top, min(right, width), min(bottom, height)))
        planes.append(np.asarray(image))
    return Picture(planes)


def _with_text(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lines of random words on the picture, or on a plain page."""
    width, height = picture.size
    planes = [plane.copy() for plane in picture]
    if rng.random() < _PAGE_SHARE:
        for plane, low, high in zip(planes, (16, 96, 96), (236, 161, 161), strict=True):
            plane[:] = rng.integers(low, high)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    size = float(rng.integers(9, 48))
    font, line = ImageFont.load_default(size), int(size * rng.uniform(1.1, 2.0))
    letters = np.array(list(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-:;!?"))
    for top in range(int(rng.integers(line)), height, line):
        words = ["".join(rng.choice(letters, rng.integers(2, 10)))
                 for _ in range(2 + width // (3 * line))]
        draw.text((int(rng.integers(-line, width // 3)), top), " ".join(words), 255, font)
    half = mask.resize((planes[1].shape[1], planes[1].shape[0]), Image.Resampling.BOX)
    is_dark = planes[0].mean() < 128
    levels = (rng.integers(180, 240) if is_dark else rng.integers(16, 70),
              *(rng.integers(64, 193, 2) if rng.random() < 0.5 else (128, 128)))
    shares = [np.asarray(m, np.float32) / 255 for m in (mask, half, half)]
    return Picture(np.rint(plane + share * (float(level) - plane)).astype(np.uint8)
                   for plane, share, level in zip(planes, shares, levels, strict=True))


def _with_noise(picture: Picture, deviation: float, rng: np.random.Generator) -> Picture:
    """Add noise of a camera: of half the deviation in chroma."""
    planes = []
    for plane, share in zip(picture, (1, 0.5, 0.5), strict=True):
        noise = rng.standard_normal(plane.shape, np.float32) * deviation * share
        planes.append(np.clip(np.rint(plane + noise), 0, 255).astype(np.uint8))
    return Picture(planes)
