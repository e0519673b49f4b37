"""Training data of picture models: a set of small pictures, its splits, and augmented batches.

A folder holds one or more `.npz` files with `images` (uint8 [N, 64, 64, 3]) and `names`, or picture
files whose names tell what they show; other sizes are scaled to 64x64 on white.

A set of emoji holds the same drawing many times: skin tones, genders, colours, hours of a clock.
All variants of a drawing are held out together, by a hash of their base name, and near-duplicates
of held-out pictures are removed from training by comparing pixels.
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

SIDE = 64
_TONES = "EMOJI MODIFIER FITZPATRICK"
# Sampling weight of a skin-tone variant, against 1 for others: most pictures have five of them.
_TONE_WEIGHT = 0.15
_LIMITS = Limits(max_pixels=64_000_000)

TEST_SHARE, VALIDATION_SHARE = 0.10, 0.05
"""Shares of the base names: for the numbers of the card, and for the held-out cost in training."""
MAX_SQUARED_ERROR = 0.01
"""Mean squared error in [0, 1] below which two pictures are near-duplicates."""
MIN_CORRELATION = 0.93
"""Correlation of brightness above which two pictures differ in colour only."""

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
# Skin tones, the joiner, gender signs and the variation selector in file names.
_VARIANT_CODES = re.compile(r"(?<![0-9a-f])(1f3f[b-f]|200d|2640|2642|fe0f)(?![0-9a-f])")

# Probabilities of the augmentations, and the share of composed pictures in a batch.
_WARP, _SWAP, _MIX, _GAMMA, _COMPOSED = 0.5, 0.25, 0.3, 0.3, 0.125


class PictureSet:
    """Pictures in three splits that share no base name and no near-duplicates.

    Args:
        images: uint8 [N, 64, 64, 3].
        names: what each picture shows; they decide the split.
        notes: sentences about files that could not be read.

    Raises:
        InputError: no picture is left to train on.
    """

    def __init__(self, images: np.ndarray, names: list[str], notes: Sequence[str] = ()) -> None:
        self.notes = list(notes)
        tones = np.array([_TONES in name for name in names], bool)
        bases = np.array([base_name(name) for name in names])
        splits = np.array([split_of(base) for base in bases])
        tested = (splits == "test") & ~tones
        self.test, self.test_names = images[tested], bases[tested]
        validation = images[(splits == "validation") & ~tones]
        self.validation = validation[~near_duplicates(validation, self.test)]
        chosen = np.flatnonzero(splits == "training")
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
        """Read the pictures below a folder.

        Raises:
            InputError: there are none, or an archive has another layout.
        """
        archives = sorted(path for path in data.rglob("*.npz") if not is_hidden(path))
        images, names, notes = [], [], list[str]()
        for path in archives:
            stored, stored_names = _archive(path)
            images.append(stored)
            names += stored_names
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
        batch: number of pictures per batch.
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
        mixed = composed(augmented(pictures, generator), generator)
        return np.asarray((mixed * 255).round().to(torch.uint8).cpu().numpy())


def base_name(name: str) -> str:
    """Name shared by all variants of a picture.

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


def split_of(base: str) -> str:
    """"test", "validation" or "training": a hash of the base name decides, so it never changes."""
    fraction = int(hashlib.sha256(base.encode()).hexdigest()[:8], 16) / 2**32
    return ("test" if fraction < TEST_SHARE else
            "validation" if fraction < TEST_SHARE + VALIDATION_SHARE else "training")


def near_duplicates(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Find pictures that look like any of the others or like its mirror image.

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
    """Brightness [N, H W] of mean 0 and norm 1."""
    grey = pictures.astype(np.float32).mean(3).reshape(len(pictures), -1)
    grey -= grey.mean(1, keepdims=True)
    return np.asarray(grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6))


def augmented(pictures: Tensor, generator: Generator) -> Tensor:
    """Mirror, rotate, scale, shift and recolour pictures [B, 3, S, S] in [0, 1], each by itself."""
    mirrored = torch.rand(len(pictures), generator=generator) < 0.5
    pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
    warped = torch.rand(len(pictures), generator=generator) < _WARP
    pictures = pictures.clone()
    pictures[warped] = _warped(pictures[warped], generator)
    return _recoloured(pictures, generator)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _warped(pictures: Tensor, generator: Generator) -> Tensor:
    """Rotate by up to 17 degrees, scale by 0.75 to 1.15, shift by up to 4 pixels; white outside."""
    n = len(pictures)
    angle = _uniform(n, -0.3, 0.3, generator)
    scale = _uniform(n, 0.75, 1.15, generator)
    stretch = torch.exp(_uniform(n, -0.12, 0.12, generator))
    x, y = (_uniform(n, -0.12, 0.12, generator) for _ in "xy")
    cos, sin = angle.cos() / scale, angle.sin() / scale
    matrix = torch.stack([torch.stack([cos * stretch, sin, x], 1),
                          torch.stack([-sin, cos / stretch, y], 1)], 1)
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    # Samples outside of the picture are 0, so white must be 0 here.
    return 1 - F.grid_sample(1 - pictures, grid, "bicubic", align_corners=False).clamp(0, 1)


def _recoloured(pictures: Tensor, generator: Generator) -> Tensor:
    """Swap and mix channels and apply a gamma; white stays white."""
    n = len(pictures)
    order = torch.rand(n, 3, generator=generator).argsort(1)
    swapped = torch.rand(n, 1, 1, generator=generator) < _SWAP
    matrix = torch.where(swapped, F.one_hot(order, 3).float(), torch.eye(3))
    mixed = torch.rand(n, 1, 1, generator=generator) < _MIX
    matrix = matrix + 0.25 * torch.rand(n, 3, 3, generator=generator) * mixed
    matrix = matrix / matrix.sum(2, keepdim=True)
    pictures = torch.einsum("bij,bjhw->bihw", matrix, pictures)
    toned = torch.rand(n, generator=generator) < _GAMMA
    gamma = torch.exp(_uniform(n, -0.3, 0.3, generator) * toned)
    return pictures.clamp(1e-4, 1) ** gamma[:, None, None, None]


def composed(pictures: Tensor, generator: Generator) -> Tensor:
    """Make the first eighth of a batch halves of two pictures, or one picture over another."""
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
        window = pictures[:n, :, y:y + half, x:x + half]
        drawn = small.amin(1, keepdim=True) < 0.97
        pictures[:n, :, y:y + half, x:x + half] = torch.where(drawn, small, window)
    return pictures
