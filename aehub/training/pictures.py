"""Training dataset of picture models: a set of small pictures, split by families, and batches.

A folder holds one or more `.npz` files with `images` (uint8 [N, 64, 64, 3]) and `names`, or picture
files whose names tell their family; other sizes are brought to 64x64 on white.

Ways to make a picture another one that could be in the same set. White is the ground.

All take pictures [B, 3, S, S] in [0, 1] and a generator, and return the same.

Which pictures of a set are variants of one another, and which of them training may see.

A set of emoji holds the same drawing many times: skin tones, genders, colours, hours of a clock.
Whole families are held out, by a hash of what their members share, and what still looks like a
held-out picture is left out of training by looking at the pixels.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from aehub.config import Limits
from aehub.errors import InputError
from aehub.media.clip import read_picture
from aehub.media.file_type import content_of, is_hidden, iter_media_files

_WARP_PROBABILITY, _RECOLOURED, _MIXED, _TONED, _COMPOSED = 0.5, 0.25, 0.3, 0.3, 0.125


def augmented(pictures: Tensor, generator: Generator) -> Tensor:
    """Mirrored, turned, scaled, moved and recoloured at random, each picture by itself."""
    mirrored = torch.rand(len(pictures), generator=generator) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    moved = torch.rand(len(pictures), generator=generator) < _WARP_PROBABILITY
    pictures = pictures.clone()
    pictures[moved] = _warped(pictures[moved], generator)
    return _recoloured(pictures, generator)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _warped(pictures: Tensor, generator: Generator) -> Tensor:
    """Turned by up to 17 degrees, 0.75 to 1.15 times as large, up to 4 pixels away."""
    n = len(pictures)
    angle = _uniform(n, -0.3, 0.3, generator)
    scale = _uniform(n, 0.75, 1.15, generator)
    stretch = torch.exp(_uniform(n, -0.12, 0.12, generator))
    x, y = (_uniform(n, -0.12, 0.12, generator) for _ in "xy")
    cos, sin = angle.cos() / scale, angle.sin() / scale
    matrix = torch.stack([torch.stack([cos * stretch, sin, x], 1),
                          torch.stack([-sin, cos / stretch, y], 1)], 1)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    # Outside of the picture is 0, so white must be.
    return 1 - F.grid_sample(1 - pictures, grid, "bicubic", align_corners=False).clamp(0, 1)


def _recoloured(pictures: Tensor, generator: Generator) -> Tensor:
    """Channels swapped, mixed and darkened or lightened; white stays white."""
    n = len(pictures)
    order = torch.rand(n, 3, generator=generator).argsort(1)
    swapped = torch.rand(n, 1, 1, generator=generator) < _RECOLOURED
    matrix = torch.where(swapped, F.one_hot(order, 3).float(), torch.eye(3))
    mixed = torch.rand(n, 1, 1, generator=generator) < _MIXED
    matrix = matrix + 0.25 * torch.rand(n, 3, 3, generator=generator) * mixed
    matrix = matrix / matrix.sum(2, keepdim=True)
    pictures = torch.einsum("bij,bjhw->bihw", matrix, pictures)
    toned = torch.rand(n, generator=generator) < _TONED
    gamma = torch.exp(_uniform(n, -0.3, 0.3, generator) * toned)
    return pictures.clamp(1e-4, 1) ** gamma[:, None, None, None]


def composed(pictures: Tensor, generator: Generator) -> Tensor:
    """The first eighth of a batch becomes halves of two pictures, or one upon another."""
    n = math.floor(len(pictures) * _COMPOSED)
    pictures = pictures.clone()
    others = pictures[torch.randperm(len(pictures), generator=generator)[:n]]
    half = pictures.shape[-1] // 2
    kind = float(torch.rand((), generator=generator))
    if kind < 0.4:
        pictures[:n, :, :, half:] = others[:, :, :, half:]
    elif kind < 0.7:
        pictures[:n, :, half:] = others[:, :, half:]
    elif n:
        small = F.interpolate(others, scale_factor=0.5, mode="area")
        y, x = torch.randint(0, half + 1, (2,), generator=generator).tolist()
        place = pictures[:n, :, y:y + half, x:x + half]
        drawn = small.amin(1, keepdim=True) < 0.97
        pictures[:n, :, y:y + half, x:x + half] = torch.where(drawn, small, place)
    return pictures


TEST_SHARE, VALIDATION_SHARE = 0.10, 0.05
"""Of the families: for the numbers on the card, and for the held-out cost during training."""
MAX_SQUARED_ERROR = 0.01
"""Mean squared error in [0, 1] below which two pictures show the same."""
MIN_CORRELATION = 0.93
"""Correlation of brightness above which one picture is another in other colours."""

_VARIANT_PARTS = ("ZERO WIDTH JOINER", "EMOJI MODIFIER", "VARIATION SELECTOR", "FEMALE SIGN",
                  "MALE SIGN", "BLACK RIGHTWARDS ARROW")
_SERIES = ("KEYCAP", "MOON", "ARROW ABOVE", "CLOCK FACE", "REGIONAL INDICATOR", "SQUARED", "DIGIT",
          "ARROW", "TRIANGLE", "MEDAL", "GLOBE", "ARROWS")
_PEOPLE = frozenset("MAN WOMAN BOY GIRL ADULT CHILD PERSON MENS WOMANS WOMENS MANS".split())
_VARIANT_WORDS = frozenset(
    "BLACK WHITE RED BLUE GREEN YELLOW ORANGE PURPLE BROWN LARGE SMALL MEDIUM HEAVY ZERO ONE TWO "
    "THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE OCLOCK THIRTY FIRST SECOND THIRD LEFT "
    "RIGHT UP DOWN LEFTWARDS RIGHTWARDS UPWARDS DOWNWARDS POINTING OPEN CLOSED OLDER YOUNGER OLD "
    "WITH AND OF FOR IN".split())
# Skin tones, the joiner, gender signs and the variation selector, as files are named by them.
_VARIANT_CODES = re.compile(r"(?<![0-9a-f])(1f3f[b-f]|200d|2640|2642|fe0f)(?![0-9a-f])")


def base_name(name: str) -> str:
    """What the variants of a picture share.

    Args:
        name: Unicode names joined by " + ", or the name of a file.

    Example:
        >>> base_name("RUNNER + ZERO WIDTH JOINER + FEMALE SIGN")
        'RUNNER'
        >>> base_name("emoji_u1f3c3_1f3fb_200d_2640")
        'EMOJI U1F3C3'
    """
    name = _VARIANT_CODES.sub("", name).replace("_", " ").strip().upper()
    parts = [part.strip() for part in name.split(" + ")]
    others = [part for part in parts[1:] if not part.startswith(_VARIANT_PARTS)]
    for kind in _SERIES:
        if any(re.search(rf"\b{kind}\b", part) for part in (parts[0], *others)):
            return kind
    base = others[0] if others and parts[0] in _PEOPLE else parts[0]
    words = {"PERSON" if word in _PEOPLE else word for word in re.split(r"[ -]+", base)}
    return " ".join(sorted(words - _VARIANT_WORDS)) or base


def split_of(family: str) -> str:
    """"test", "watch" or "training": decided by the family alone, so it never moves."""
    place = int(hashlib.sha256(family.encode()).hexdigest()[:8], 16) / 2**32
    return ("test" if place < TEST_SHARE else
            "watch" if place < TEST_SHARE + VALIDATION_SHARE else "training")


def near_duplicates(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which pictures show the same as any of the others, or its mirror image.

    Args:
        pictures: uint8 [N, H, W, 3].
        others: uint8 [M, H, W, 3].

    Returns:
        bool [N].
    """
    if not len(others) or not len(pictures):
        return np.zeros(len(pictures), bool)
    both = np.concatenate([others, others[:, :, ::-1]])
    a, b = (p.reshape(len(p), -1).astype(np.float32) / 255 for p in (pictures, both))
    distance = (np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T) / a.shape[1]
    c, d = (_normalised_brightness(p) for p in (pictures, both))
    return np.asarray((distance.min(1) < MAX_SQUARED_ERROR) | ((c @ d.T).max(1) > MIN_CORRELATION))


def _normalised_brightness(pictures: np.ndarray) -> np.ndarray:
    """Brightness [N, H W] of mean 0 and length 1."""
    grey = pictures.astype(np.float32).mean(3).reshape(len(pictures), -1)
    grey -= grey.mean(1, keepdims=True)
    return np.asarray(grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6))


SIDE = 64
_TONES = "EMOJI MODIFIER FITZPATRICK"
# Of a skin-tone variant, when the picture itself counts 1: each picture has five of them.
_TONE_WEIGHT = 0.15
_LIMITS = Limits(max_pixels=64_000_000)


class PictureSet:
    """Pictures split into three parts that share no family and nothing that looks alike.

    Args:
        images: uint8 [N, 64, 64, 3].
        names: what each shows; decides its family.

    Raises:
        InputError: no picture is left to train on.
    """

    def __init__(self, images: np.ndarray, names: list[str], notes: Sequence[str] = ()) -> None:
        self.notes = list(notes)
        """Which files could not be read."""
        tones = np.array([_TONES in name for name in names], bool)
        families = np.array([base_name(name) for name in names])
        parts = np.array([split_of(family) for family in families])
        tested = (parts == "test") & ~tones
        self.test, self.test_names = images[tested], families[tested]
        watch = images[(parts == "watch") & ~tones]
        self.validation = watch[~near_duplicates(watch, self.test)]
        chosen = np.flatnonzero(parts == "training")
        held_out = np.concatenate([self.test, self.validation])
        chosen = chosen[~near_duplicates(images[chosen], held_out)]
        if not len(chosen):
            raise InputError(f"none of {len(names)} pictures is left to train on; give more, of "
                             "different things.")
        self.training, tones = images[chosen], tones[chosen]
        self.plain = self.training[~tones] if (~tones).any() else self.training
        """Training pictures without skin-tone variants, uint8 [N, 64, 64, 3]."""
        weights = np.where(tones, _TONE_WEIGHT, 1.0)
        self._chances = weights / weights.sum()

    @classmethod
    def open(cls, data: Path) -> PictureSet:
        """The pictures below a folder.

        Raises:
            InputError: there are none, or a file of pictures has another layout.
        """
        archives = sorted(path for path in data.rglob("*.npz") if not is_hidden(path))
        images, names, notes = [], [], list[str]()
        for path in archives:
            found, of_found = _archive(path)
            images.append(found)
            names += of_found
        if not archives:
            for path in (p for p in iter_media_files(data) if content_of(p) != "clip"):
                try:
                    images.append(_picture(path)[None])
                except InputError as error:
                    notes.append(f"{path.relative_to(data)} was left out: {error}")
                else:
                    names.append(path.stem)
        if not images:
            raise InputError(f"{data} holds no picture that can be read; name a folder of PNG "
                             "files, or of .npz files with images and names.")
        return cls(np.concatenate(images), names, notes)


def _archive(path: Path) -> tuple[np.ndarray, list[str]]:
    wrong = InputError(f"{path.name} does not hold images uint8 [N, {SIDE}, {SIDE}, 3] and as many "
                       "names; name another folder with --data.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            images, names = stored["images"], [str(name) for name in stored["names"]]
    except (KeyError, OSError, ValueError) as err:
        raise wrong from err
    if images.dtype != np.uint8 or images.shape != (len(names), SIDE, SIDE, 3):
        raise wrong
    return images, names


def _picture(path: Path) -> np.ndarray:
    """uint8 [64, 64, 3] on white."""
    picture = Image.fromarray(read_picture(path, _LIMITS)).convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    small = square.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small)


class PictureBatches:
    """Endless batches for a `DataLoader`: augmented training pictures, or held-out originals.

    Args:
        pictures: the set.
        batch: pictures per batch.
    """

    def __init__(self, pictures: PictureSet, *, batch: int) -> None:
        self.pictures, self.batch = pictures, batch
        self.notes = pictures.notes

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on: [uint8 [B, 3, 64, 64]]."""
        torch.set_num_threads(1)
        for number in count(first):
            yield [self._validation_batch(number) if held_out
                   else self._training_batch(seed, number)]

    def _validation_batch(self, number: int) -> np.ndarray:
        pool = self.pictures.validation if len(self.pictures.validation) else self.pictures.plain
        chosen = np.arange(number * self.batch, (number + 1) * self.batch) % len(pool)
        return np.ascontiguousarray(pool[chosen].transpose(0, 3, 1, 2))

    def _training_batch(self, seed: int, number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number))
        set_ = self.pictures
        chosen = rng.choice(len(set_.training), self.batch, p=set_._chances)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pictures = torch.from_numpy(set_.training[chosen]).permute(0, 3, 1, 2) / 255
        changed = composed(augmented(pictures, generator), generator)
        return np.asarray((changed * 255).round().to(torch.uint8).cpu().numpy())
