"""Pairs of views of the same picture, for contrastive learning: endless batches.

A view is a window of a frame as `aehub.retrieval` sees it, SIDE x SIDE samples of luma and of both
chroma planes. The first of a pair is plain; the second comes from a frame near in time and is
changed as copies are: cropped, in other colours, grey, blurred, compressed, noisy, with text or a
border over it. Changes are made at twice the size, then averaged.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from aehub.errors import InputError
from aehub.media.orientation import ORDER
from aehub.retrieval.network import SIDE
from aehub.training.data import FrameStore, StoredClip, is_held_out

_WORK = 2 * SIDE
_NEAR = 6
"""Frames between the two of a pair at most: a quarter of a second."""
_LEAST_WINDOW, _LEAST_CROP = 0.45, 0.65
"""Sides of the window in the frame, and of the changed view in the window, at least."""
_WORDS = "the of and a to in is you that it he was for on are as with his they SALE NEWS LIVE 2026"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the sides."""


class ViewPairs:
    """Batches of pairs of views, each pair of another source.

    Args:
        store: decoded frames.
        batch: pairs per batch; fewer where there are fewer sources.
        turns: orientations that each batch looks at.
        held_out: share of the sources that are held out.

    Raises:
        InputError: there are fewer than two sources to train on, or to hold out.
    """

    def __init__(self, store: FrameStore, *, batch: int, turns: int, held_out: float) -> None:
        self.store, self.batch, self.turns, self.notes = store, batch, turns, store.notes
        self._clips: dict[bool, dict[str, list[StoredClip]]] = {False: {}, True: {}}
        for clip in store.clips:
            out = is_held_out(clip.source, held_out)
            self._clips[out].setdefault(clip.source, []).append(clip)
        if (least := min(map(len, self._clips.values()))) < 2:
            raise InputError(f"of the sources of the data {least} are to train on or held out; "
                             "give pictures and clips of more different names.")
        self._font = ImageFont.load_default()

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on: uint8 [N, 2, 3, S, S] views, int64 [G] orientations."""
        clips = list(self._clips[held_out].values())
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            chosen = rng.permutation(len(clips))[:self.batch]
            views = np.stack([self._pair(clips[source], rng) for source in chosen])
            yield [views, rng.permutation(ORDER)[:self.turns]]

    def _pair(self, clips: list[StoredClip], rng: np.random.Generator) -> np.ndarray:
        clip = clips[rng.integers(len(clips))]
        at = int(rng.integers(clip.n_frames))
        near = int(np.clip(at + rng.integers(-_NEAR, _NEAR + 1), 0, clip.n_frames - 1))
        window = _box_in((0, 0, 1, 1), rng, 1 if rng.random() < 0.5 else _LEAST_WINDOW)
        plain = self._cut(clip, at, window)
        crop = _box_in(window, rng, 1 if rng.random() < 0.25 else _LEAST_CROP)
        changed = self._changed(self._cut(clip, near, crop), rng)
        return np.stack([_halved(plain), _halved(changed)])

    def _cut(self, clip: StoredClip, frame: int, box: Box) -> np.ndarray:
        """float32 [3, 2S, 2S], 0..255."""
        planes = self.store.planes(clip, frame)
        return np.stack([_resized(plane, box) for plane in planes])

    def _changed(self, view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each change with its own probability, in the order in which copies undergo them."""
        changes = ((0.3, self._written_over), (0.15, _bordered), (0.6, _with_gamma),
                   (0.6, _with_contrast), (0.5, _with_hue), (0.25, _grey), (0.3, _blurred),
                   (0.3, _noisy), (0.3, _compressed))
        for share, change in changes:
            if rng.random() < share:
                view = change(view, rng).clip(0, 255)
        return view

    def _written_over(self, view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mask = Image.new("L", (_WORK, _WORK))
        draw = ImageDraw.Draw(mask)
        words = _WORDS.split()
        for _ in range(int(rng.integers(1, 4))):
            text = " ".join(rng.choice(words, int(rng.integers(1, 5))))
            place = float(rng.uniform(-8, _WORK * 0.8)), float(rng.uniform(0, _WORK - 8))
            draw.text(place, text, 255, self._font.font_variant(size=int(rng.integers(6, 18)))
                      if isinstance(self._font, ImageFont.FreeTypeFont) else self._font)
        if rng.random() < 0.3:
            top = int(rng.integers(_WORK))
            draw.rectangle((0, top, _WORK, top + int(rng.integers(4, 14))), 255)
        alpha = np.asarray(mask, np.float32) / 255 * rng.uniform(0.6, 1)
        colour = np.array([rng.choice([16, 235, rng.uniform(0, 255)]), 128, 128], np.float32)
        if rng.random() < 0.3:
            colour[1:] = rng.uniform(64, 192, 2)
        return view * (1 - alpha) + colour[:, None, None] * alpha


def _box_in(box: Box, rng: np.random.Generator, least: float) -> Box:
    """A random box in another one, of at least that share of its sides."""
    left, top, right, bottom = box
    scale = rng.uniform(least, 1)
    width, height = ((right - left) * min(1, scale * rng.uniform(0.93, 1.07)),
                     (bottom - top) * scale)
    x, y = (rng.uniform(0, room) for room in (right - left - width, bottom - top - height))
    return left + x, top + y, left + x + width, top + y + height


def _resized(plane: np.ndarray, box: Box) -> np.ndarray:
    height, width = plane.shape
    pixels = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize((_WORK, _WORK), Image.Resampling.BILINEAR, box=pixels),
                      np.float32)


def _bordered(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bars of one colour at two opposite sides."""
    bar = int(rng.integers(2, _WORK // 6))
    view = view.copy()
    if rng.random() < 0.5:
        view = view.swapaxes(1, 2)
    colour = np.array([rng.choice([0, 16, 255]), 128, 128], np.float32)[:, None, None]
    view[:, :bar], view[:, -bar:] = colour, colour
    return view


def _with_gamma(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    luma = 255 * (view[:1] / 255) ** np.exp(rng.uniform(-0.6, 0.6))
    return np.concatenate([luma, view[1:]])


def _with_contrast(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    luma = (view[:1] - 128) * rng.uniform(0.6, 1.4) + 128 + rng.uniform(-40, 40)
    return np.concatenate([luma, view[1:]])


def _with_hue(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle, saturation = rng.normal(0, 0.6), rng.uniform(0.4, 1.6)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    chroma = saturation * np.tensordot(turned, view[1:] - 128, 1) + 128
    return np.concatenate([view[:1], chroma])


def _grey(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([view[:1], np.full_like(view[1:], 128)])


def _blurred(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    blur = ImageFilter.GaussianBlur(rng.uniform(0.4, 2.0))
    return np.stack([np.asarray(Image.fromarray(plane.astype(np.float32)).convert("L").filter(blur),
                                np.float32) for plane in view])


def _noisy(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return view + rng.normal(0, rng.uniform(2, 16), view.shape)


def _compressed(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As JPEG shows it."""
    image = Image.fromarray(view.transpose(1, 2, 0).round().astype(np.uint8), "YCbCr")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(8, 50)))
    decoded = Image.open(file)
    decoded.draft("YCbCr", decoded.size)
    return np.asarray(decoded.convert("YCbCr"), np.float32).transpose(2, 0, 1)


def _halved(view: np.ndarray) -> np.ndarray:
    """float [3, 2S, 2S] -> uint8 [3, S, S], means of 2x2."""
    means = view.reshape(3, SIDE, 2, SIDE, 2).mean((2, 4))
    return (means + 0.5).clip(0, 255).astype(np.uint8)
