"""Training material for sprites: walk cycles, each by the palette of its own front-facing still."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from aehub.generators.sprite.pixel_art import MAX_COLOURS, nearest_index, to_indexed
from aehub.training.layer_library import DOWN, Characters, Wardrobe

# One still of ten has more colours; it would make its whole batch twice as costly.
_MOST_COLOURS = 64


class Sprites:
    """Random frames of random characters: endless batches for a `DataLoader`.

    Batches are lists: still uint8 [B, S, S] and palette uint8 [B, K, 3] (its places), slots in use
    bool [B, K], direction int64 [1], frames int64 [T] (0 standing, 1..8 the cycle), targets uint8
    [B, T, S, S] (places in the palette), stills uint8 [B, S, S, 3] in their true colours.

    Args:
        characters: walk cycles.
        batch: characters in a batch.
        frames: of each.
        wardrobe: composes new characters of the layers of those in training.
        composed: share of such among the characters of a batch.
    """

    def __init__(self, characters: Characters, *, batch: int, frames: int,
                 wardrobe: Wardrobe | None = None, composed: float = 0.0) -> None:
        self.characters, self.batch, self.frames = characters, batch, frames
        self.wardrobe, self.composed = wardrobe, composed if wardrobe else 0.0

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        chosen = np.flatnonzero(self.characters.held_out == held_out)
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            direction = int(rng.integers(4))
            frames = np.sort(rng.choice(9, self.frames, replace=False))
            stills: list[np.ndarray] = []
            places, palettes, targets = [], [], []
            while len(stills) < self.batch:
                if self.wardrobe and not held_out and rng.random() < self.composed:
                    still, shown = self.wardrobe.moving(rng, direction, frames)
                else:
                    walk = self.characters.walk[rng.choice(chosen)]
                    still, shown = walk[DOWN, 0], walk[direction][frames]
                found = to_indexed(still)
                if len(found.palette) > _MOST_COLOURS and not held_out:
                    continue
                stills.append(still)
                places.append(found.places)
                palettes.append(found.palette if held_out else recoloured(found.palette, rng))
                targets.append(nearest_index(shown, found.palette).astype(np.uint8))
            yield [np.stack(places), *_stacked(palettes), np.array([direction]), frames,
                   np.stack(targets), np.stack(stills)]

    def stills(self, *, held_out: bool = False) -> np.ndarray:
        """All front-facing stills, uint8 [N, S, S, 3]."""
        return self.characters.walk[self.characters.held_out == held_out, DOWN, 0]


def _stacked(palettes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(palettes uint8 [B, K, 3], slots in use bool [B, K])."""
    slots = max(map(len, palettes))
    palette = np.zeros((len(palettes), slots, 3), np.uint8)
    present = np.zeros((len(palettes), slots), bool)
    for row, colours in enumerate(palettes):
        palette[row, :len(colours)], present[row, :len(colours)] = colours, True
    return palette, present


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
