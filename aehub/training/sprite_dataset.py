"""Batches of walk cycles, each in the palette of its own front-facing still."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from aehub.generators.sprite.pixel_art import MAX_COLOURS, nearest_index, to_indexed
from aehub.training.layer_library import DOWN, Characters, LayerLibrary

# One still in ten has more colours, and would double the cost of its batch.
_MAX_COLOURS_OF_STILL = 64


class SpriteBatches:
    """Random frames of random characters: endless batches for a `DataLoader`.

    Batches are lists: still uint8 [B, S, S] (palette indices), palette uint8 [B, K, 3], entries in
    use bool [B, K], direction int64 [1], frames int64 [T] (0 standing, 1..8 the cycle), targets
    uint8 [B, T, S, S] (palette indices), stills uint8 [B, S, S, 3] in their true colours.

    Args:
        characters: walk cycles.
        batch: characters per batch.
        frames: per character.
        library: composes new characters from the layers of the training characters.
        composed: share of composed characters in a batch.
    """

    def __init__(self, characters: Characters, *, batch: int, frames: int,
                 library: LayerLibrary | None = None, composed: float = 0.0) -> None:
        self.characters, self.batch, self.frames = characters, batch, frames
        self.library, self.composed = library, composed if library else 0.0

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        chosen = np.flatnonzero(self.characters.held_out == held_out)
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            direction = int(rng.integers(4))
            frames = np.sort(rng.choice(9, self.frames, replace=False))
            stills: list[np.ndarray] = []
            indices, palettes, targets = [], [], []
            while len(stills) < self.batch:
                if self.library and not held_out and rng.random() < self.composed:
                    still, wanted = self.library.random_character(rng, direction, frames)
                else:
                    cycles = self.characters.cycles[rng.choice(chosen)]
                    still, wanted = cycles[DOWN, 0], cycles[direction][frames]
                picture = to_indexed(still)
                if len(picture.palette) > _MAX_COLOURS_OF_STILL and not held_out:
                    continue
                stills.append(still)
                indices.append(picture.indices)
                palettes.append(picture.palette if held_out else recoloured(picture.palette, rng))
                targets.append(nearest_index(wanted, picture.palette).astype(np.uint8))
            yield [np.stack(indices), *_padded(palettes), np.array([direction]), frames,
                   np.stack(targets), np.stack(stills)]

    def stills(self, *, held_out: bool = False) -> np.ndarray:
        """All front-facing stills, uint8 [N, S, S, 3]."""
        return self.characters.cycles[self.characters.held_out == held_out, DOWN, 0]


def _padded(palettes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Palettes of equal length: (uint8 [B, K, 3], entries in use bool [B, K])."""
    size = max(map(len, palettes))
    palette = np.zeros((len(palettes), size, 3), np.uint8)
    present = np.zeros((len(palettes), size), bool)
    for row, colours in enumerate(palettes):
        palette[row, :len(colours)], present[row, :len(colours)] = colours, True
    return palette, present


def recoloured(palette: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomise the colours of a palette [K, 3]; the background stays white."""
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


assert MAX_COLOURS <= 256, "palette indices are stored as bytes"
