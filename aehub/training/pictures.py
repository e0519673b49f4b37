"""Training material of picture models: a set of small pictures, split by families, and batches.

A folder holds one or more `.npz` files with `images` (uint8 [N, 64, 64, 3]) and `names`, or picture
files whose names tell their family; other sizes are brought to 64x64 on white.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aehub.clips.contents import below, is_hidden, what_is
from aehub.clips.picture import read_picture
from aehub.config import Limits
from aehub.errors import InputError
from aehub.training.augment import altered, composed
from aehub.training.families import family_of, look_alike, part_of

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
        families = np.array([family_of(name) for name in names])
        parts = np.array([part_of(family) for family in families])
        tested = (parts == "test") & ~tones
        self.test, self.test_families = images[tested], families[tested]
        watch = images[(parts == "watch") & ~tones]
        self.watch = watch[~look_alike(watch, self.test)]
        chosen = np.flatnonzero(parts == "training")
        chosen = chosen[~look_alike(images[chosen], np.concatenate([self.test, self.watch]))]
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
            for path in (p for p in below(data) if what_is(p) != "clip"):
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
    """Endless batches for a `DataLoader`: altered training pictures, or held-out ones as they are.

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
            yield [self._watched(number) if held_out else self._altered(seed, number)]

    def _watched(self, number: int) -> np.ndarray:
        pool = self.pictures.watch if len(self.pictures.watch) else self.pictures.plain
        chosen = np.arange(number * self.batch, (number + 1) * self.batch) % len(pool)
        return np.ascontiguousarray(pool[chosen].transpose(0, 3, 1, 2))

    def _altered(self, seed: int, number: int) -> np.ndarray:
        rng = np.random.default_rng((seed, number))
        set_ = self.pictures
        chosen = rng.choice(len(set_.training), self.batch, p=set_._chances)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pictures = torch.from_numpy(set_.training[chosen]).permute(0, 3, 1, 2) / 255
        changed = composed(altered(pictures, generator), generator)
        return np.asarray((changed * 255).round().to(torch.uint8).cpu().numpy())
