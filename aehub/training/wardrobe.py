"""Characters taken apart into the layers they were composed of, and new ones composed of those.

Of each training character the archive names the layers, bottom first, but shows only the result.
Where two characters share a layer, what is alike in them is that layer; where the layers below are
known, what differs from them is what lies above. A few rounds of that give most of all layers, and
with them any number of characters whose motion is known.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aehub.models.parts import CLASSES, SLOTS, Packed, pack
from aehub.models.pixelart import BACKGROUND, coloured, nearest, numbered
from aehub.models.still import HEIGHT, LEFT, SIDE, TOP, WIDTH
from aehub.training.cache import Cache
from aehub.training.characters import DOWN, Characters
from aehub.training.layers import slot_of, style_of, taken_apart

# A class goes with a colour that it meets in most places, of so many at least.
_AGREE, _LEAST_MET = 0.5, 8
_CHANGE = 0.6
# Of how characters are taken apart.
_VERSION = 1
# What is changed as one, bottom first: noses and ears have the colour of their body.
_PARTS = (("body",), ("legs",), ("feet",), ("torso", "formal_male_no_th-sh"), ("belt",),
          ("facial", "hair", "head"))


@dataclass(frozen=True)
class Wardrobe:
    """Layers, and which of them characters wear.

    Attributes:
        shown: bool [L, 4, 9, H, W], where each layer has colour, on the stage.
        places: uint16 [L, 4, 9, H, W], which colour.
        colours: uint8 [K, 3].
        names: of the layers' files.
        worn: layers of each character by part, bottom first, as numbers.
        build_of: which characters' parts fit each other, one number per character.
    """

    shown: np.ndarray
    places: np.ndarray
    colours: np.ndarray
    names: list[str]
    worn: list[list[list[int]]]
    build_of: np.ndarray

    @classmethod
    def of(cls, characters: Characters, cache: Cache) -> Wardrobe:
        """Take training characters apart, once.

        Args:
            characters: with their layers.
            cache: that keeps the result.
        """
        training = np.flatnonzero(~characters.held_out)
        layers = [characters.layers[n].split(" | ") for n in training]
        names = sorted({layer for some in layers for layer in some})
        numbers = {name: number for number, name in enumerate(names)}
        stage = characters.walk[training][..., TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH, :]
        colours, pictures = np.unique(numbered(stage), return_inverse=True)

        def make(folder: Path) -> None:
            worn = [[numbers[layer] for layer in some] for some in layers]
            white = int(np.searchsorted(colours, numbered(BACKGROUND)))
            shown, places = taken_apart(pictures.reshape(len(stage), -1).astype(np.uint16), worn,
                                         names, white)
            np.savez_compressed(folder / "wardrobe.npz", shown=shown, places=places)

        walks = hashlib.sha256(np.ascontiguousarray(stage).data).hexdigest()
        kept = cache.kept("wardrobe", {"version": _VERSION, "layers": layers, "walks": walks}, make)
        with np.load(kept / "wardrobe.npz", allow_pickle=False) as archive:
            shown, places = (archive[name].reshape(-1, *stage.shape[1:-1])
                             for name in ("shown", "places"))
        parts = [[[numbers[layer] for layer in some if layer.split("/")[0] in part]
                  for part in _PARTS] for some in layers]
        builds = np.array(["/male/" in some[0] for some in layers], int)
        return cls(shown, places, coloured(colours), names, parts, builds)

    def moving(self, rng: np.random.Generator, direction: int, frames: np.ndarray
               ) -> tuple[np.ndarray, np.ndarray]:
        """A new character: (its still uint8 [S, S, 3], the frames asked for [T, S, S, 3])."""
        layers = self._dressed(rng)
        return self.frames(layers, DOWN, np.array([0]))[0], self.frames(layers, direction, frames)

    def frames(self, layers: list[int], direction: int, frames: np.ndarray) -> np.ndarray:
        """The layers upon each other on white: uint8 [T, S, S, 3]."""
        picture = np.broadcast_to(BACKGROUND, (len(frames), SIDE, SIDE, 3)).copy()
        stage = picture[:, TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]
        for layer in layers:
            shown = self.shown[layer, direction, frames]
            stage[shown] = self.colours[self.places[layer, direction, frames][shown]]
        return picture

    def parts(self) -> Packed:
        """The layers as `aehub.models.parts` knows them: one part for all of a style, in as many
        palettes as it has layers."""
        styles: dict[str, list[int]] = defaultdict(list)
        for layer, name in enumerate(self.names):
            if self.shown[layer].any():
                styles[style_of(name)].append(layer)
        kinds, shown, classes, owner, palettes = [], [], [], [], []
        for part, layers in enumerate(styles.values()):
            cover, own = self._common(layers)
            kinds.append((SLOTS.index(slot_of(self.names[layers[0]])), self._fits(layers)))
            shown.append(cover)
            classes.append(own)
            for layer in layers:
                owner.append(part)
                palettes.append(self._palette(layer, cover, own))
        return pack(np.array(kinds, np.uint8), np.stack(shown), np.stack(classes),
                    np.array(owner), np.stack(palettes))

    def _fits(self, layers: list[int]) -> int:
        """The builds of those who wear one of the layers, a bit for each."""
        builds = {int(build) for some, build in zip(self.worn, self.build_of, strict=True)
                  if any(layer in part for part in some for layer in layers)}
        return sum(1 << build for build in builds)

    def _common(self, layers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(where layers of a style show, their classes), both [4, 9, H, W]; they vote.

        What one layer never shows, since something always hides it, another may.
        """
        richest = max(layers, key=lambda layer: int(self.shown[layer].sum()))
        cover, classes = self.shown[richest], self._classes(richest)
        votes = np.zeros((CLASSES, cover.size), np.uint16)
        for layer in layers:
            counts = self._met(layer, cover, classes)
            of_colour = counts.argmax(0)
            # A colour that goes with no class in particular strayed in from something else.
            known = counts.max(0) > _AGREE * np.maximum(counts.sum(0), _LEAST_MET)
            places = self.places[layer].ravel()
            here = np.flatnonzero(self.shown[layer].ravel() & known[places])
            votes[of_colour[places[here]], here] += 1
        return ((votes.max(0) > 0).reshape(cover.shape),
                votes.argmax(0).astype(np.uint8).reshape(cover.shape))

    def _classes(self, layer: int) -> np.ndarray:
        """A layer by its own colours, the most frequent ones: uint8 [4, 9, H, W]."""
        cover, picture = self.shown[layer], self.colours[self.places[layer]]
        colours, counts = np.unique(self.places[layer][cover], return_counts=True)
        kept = self.colours[colours[np.argsort(-counts)][:CLASSES]]
        return nearest(picture, kept).astype(np.uint8)

    def _met(self, layer: int, cover: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """How often each class meets each colour of a layer: [K, colours]."""
        both = cover & self.shown[layer]
        pairs = classes[both].astype(np.int64) * len(self.colours) + self.places[layer][both]
        counts = np.bincount(pairs, minlength=CLASSES * len(self.colours))
        return np.asarray(counts.reshape(CLASSES, -1))

    def _palette(self, layer: int, cover: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The colour that a layer has most often where each class is: uint8 [K, 3]."""
        return self.colours[self._met(layer, cover, classes).argmax(1)]

    def _dressed(self, rng: np.random.Generator) -> list[int]:
        """Layers of a new character, bottom first: each part is likely another character's."""
        base = int(rng.integers(len(self.worn)))
        fitting = np.flatnonzero(self.build_of == self.build_of[base])
        layers: list[int] = []
        for part in range(len(_PARTS)):
            giver = int(rng.choice(fitting)) if rng.random() < _CHANGE else base
            layers += self.worn[giver][part]
        return layers
