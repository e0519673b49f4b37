"""Training material for sprites: walk cycles, each by the palette of its own front-facing still.

The material is an archive of walk cycles, `walk` uint8 [N, 4, 9, 64, 64, 3] on white (directions
up, left, down, right; standing, then eight steps) with `names` and `layers` (the files each was
composed of). Held out are some characters, and all of some hair styles: by hash, so that no list
of them has to be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aehub.errors import InputError
from aehub.models.pixelart import MAX_COLOURS, indexed, nearest

DOWN = 2
_HAIR_SHARE, _CHARACTER_SHARE = 14, 9
# One still of ten has more colours; it would make its whole batch twice as costly.
_MOST_COLOURS = 64


@dataclass(frozen=True)
class Characters:
    """Walk cycles.

    Attributes:
        walk: uint8 [N, 4, 9, S, S, 3] on white.
        names: of the characters.
        unseen_hair: bool [N], whose hair style is never trained on.
        held_out: bool [N], that are never trained on, unseen hair included.
    """

    walk: np.ndarray
    names: list[str]
    unseen_hair: np.ndarray
    held_out: np.ndarray

    @classmethod
    def read(cls, data: Path) -> Characters:
        """The one archive with walk cycles in a folder, or that archive itself.

        Raises:
            InputError: there is none.
        """
        found = sorted(data.glob("*walk*.npz")) if data.is_dir() else [data]
        if len(found) != 1:
            raise InputError(f"{data} holds {len(found)} archives named *walk*.npz; give the one "
                             "with walk cycles.")
        with np.load(found[0], allow_pickle=False) as archive:
            if "walk" not in archive:
                raise InputError(f"{found[0].name} holds no array 'walk' of walk cycles.")
            walk, names = archive["walk"], [str(name) for name in archive["names"]]
            styles = [hair_style(str(layers)) for layers in archive["layers"]]
        unseen = np.array([_share(f"hair {style}") < _HAIR_SHARE and bool(style)
                           for style in styles])
        apart = np.array([_share(f"character {name}") < _CHARACTER_SHARE for name in names])
        return cls(walk, names, unseen, unseen | apart)


def hair_style(layers: str) -> str:
    """The hair style among the files a character is composed of; empty if it has none."""
    for path in layers.split(" | "):
        if path.startswith("hair/"):
            return path.split("/")[2].removesuffix(".png")
    return ""


def _share(text: str) -> int:
    """A number 0..99 that only depends on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % 100


class Sprites:
    """Random frames of random characters: endless batches for a `DataLoader`.

    Batches are lists: still uint8 [B, S, S] and palette uint8 [B, K, 3] (its places), slots in use
    bool [B, K], direction int64 [1], frames int64 [T] (0 standing, 1..8 the cycle), targets uint8
    [B, T, S, S] (places in the palette), stills uint8 [B, S, S, 3] in their true colours.

    Args:
        characters: walk cycles.
        batch: characters in a batch.
        frames: of each.
    """

    def __init__(self, characters: Characters, *, batch: int, frames: int) -> None:
        self.characters, self.batch, self.frames = characters, batch, frames
        self._stills = [indexed(sheet[DOWN, 0]) for sheet in characters.walk]
        self._targets = np.stack([nearest(sheet, still.palette).astype(np.uint8) for sheet, still in
                                  zip(characters.walk, self._stills, strict=True)])

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        few = np.array([len(still.palette) <= _MOST_COLOURS for still in self._stills])
        chosen = np.flatnonzero((self.characters.held_out == held_out) & (few | held_out))
        number = first
        while True:
            rng = np.random.default_rng((seed, number))
            some = rng.choice(chosen, self.batch)
            direction = int(rng.integers(4))
            frames = np.sort(rng.choice(9, self.frames, replace=False))
            palettes = [self._stills[n].palette for n in some]
            if not held_out:
                palettes = [recoloured(palette, rng) for palette in palettes]
            slots = max(map(len, palettes))
            palette = np.zeros((self.batch, slots, 3), np.uint8)
            present = np.zeros((self.batch, slots), bool)
            for row, colours in enumerate(palettes):
                palette[row, :len(colours)], present[row, :len(colours)] = colours, True
            yield [np.stack([self._stills[n].places for n in some]), palette, present,
                   np.array([direction]), frames,
                   self._targets[some, direction][:, frames],
                   self.characters.walk[some, DOWN, 0]]
            number += 1

    def stills(self, *, held_out: bool = False) -> np.ndarray:
        """All front-facing stills, uint8 [N, S, S, 3]."""
        return self.characters.walk[self.characters.held_out == held_out, DOWN, 0]


def recoloured(palette: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The palette [K, 3] as another artist might have chosen it; the background stays white."""
    if rng.random() < 0.25:
        return palette
    colours = palette[1:].astype(np.float32) / 255
    if rng.random() < 0.6:
        colours = colours[:, rng.permutation(3)]
    colours = colours ** np.exp(rng.normal(0, 0.2))
    grey = colours.mean(1, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(0.4, 1.4)
    colours = colours * rng.uniform(0.8, 1.15, 3) + rng.normal(0, 0.01, colours.shape)
    changed = palette.copy()
    changed[1:] = np.clip(np.rint(255 * colours), 0, 254)
    return changed


assert MAX_COLOURS <= 256, "a place in a palette is a byte"
