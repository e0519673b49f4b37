"""Layers of the training characters, reconstructed from walk cycles, and new ones made of them.

The data is an archive of walk cycles: `walk` uint8 [N, 4, 9, 64, 64, 3] on white (directions up,
left, down, right; standing, then eight steps) with `names` and `layers` (the files each character
was composed of, bottom first). It shows only the composed characters, never a layer alone. A layer
is estimated from the characters that wear it: where they agree and others do not, that is the
layer; where the layers below are known, what differs from them lies above. A few rounds recover
most of all layers, and with them any number of characters whose motion is known.

Some characters, and all characters of some hair styles, are held out. A hash of the name decides,
so that no list has to be kept.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aehub.errors import InputError
from aehub.generators.sprite.parts import CLASSES, SLOTS, Packed, pack
from aehub.generators.sprite.pixel_art import BACKGROUND, nearest_index, pack_rgb, unpack_rgb
from aehub.generators.sprite.stills import HEIGHT, LEFT, SIDE, TOP, WIDTH
from aehub.media.file_type import is_hidden
from aehub.training.data import Cache

DOWN = 2
"""The direction that faces the viewer."""

# Percent of hair styles, and of characters, that are held out.
_HELD_OUT_HAIR, _HELD_OUT_CHARACTERS = 14, 9
# Version of the separation of layers, for the cache.
_VERSION = 1
_ROUNDS = 8
# Initially a pixel belongs to a layer where its users agree on a colour that is at most half as
# frequent among 60 others. Clothes hide most of a body, so of its users few agree.
_MIN_AGREEMENT, _MIN_BODY_AGREEMENT, _MAX_ELSEWHERE, _N_OTHERS = 0.5, 0.12, 0.5, 60
_MIN_USERS = 3
# Share of its users for which a pixel of hair has the colour of their skin, above which it is skin.
_MIN_SKIN_SHARE = 0.6
_HEAD_KINDS = ("orc", "skeleton")
# A colour belongs to a class that it meets at this share of pixels, of 8 at least.
_MIN_CLASS_SHARE, _MIN_CLASS_COUNT = 0.5, 8
# Probability that a part of a new character is taken from another one.
_SWAP_PROBABILITY = 0.6
# Parts that are exchanged as one, bottom first: noses and ears have the colour of their body.
_PARTS = (("body",), ("legs",), ("feet",), ("torso", "formal_male_no_th-sh"), ("belt",),
          ("facial", "hair", "head"))


@dataclass(frozen=True)
class Characters:
    """Walk cycles of characters.

    Attributes:
        cycles: uint8 [N, 4, 9, S, S, 3] on white.
        names: of the characters.
        layers: the files each was composed of, bottom first, joined by " | ".
        unseen_hair: bool [N], True if the hair style is never trained on.
        held_out: bool [N], True if the character is never trained on, unseen hair included.
    """

    cycles: np.ndarray
    names: list[str]
    layers: list[str]
    unseen_hair: np.ndarray
    held_out: np.ndarray

    @classmethod
    def read(cls, data: Path) -> Characters:
        """Read the only archive of walk cycles in a folder, or that archive itself.

        Raises:
            InputError: there is none.
        """
        paths = [data]
        if data.is_dir():
            paths = sorted(p for p in data.glob("*walk*.npz") if not is_hidden(p))
        if len(paths) != 1:
            raise InputError(f"{data} holds {len(paths)} archives named *walk*.npz; give the one "
                             "with walk cycles.")
        with np.load(paths[0], allow_pickle=False) as archive:
            if "walk" not in archive:
                raise InputError(f"{paths[0].name} holds no array 'walk' of walk cycles; give "
                                 "another archive.")
            cycles, names = archive["walk"], [str(name) for name in archive["names"]]
            layers = [str(files) for files in archive["layers"]]
            styles = [hair_style(files) for files in layers]
        unseen = np.array([_hash_percent(f"hair {style}") < _HELD_OUT_HAIR and bool(style)
                           for style in styles])
        held_out = np.array([_hash_percent(f"character {name}") < _HELD_OUT_CHARACTERS
                             for name in names])
        return cls(cycles, names, layers, unseen, unseen | held_out)


def hair_style(layers: str) -> str:
    """Hair style among the files a character is composed of; empty if it has none."""
    for path in layers.split(" | "):
        if path.startswith("hair/"):
            return path.split("/")[2].removesuffix(".png")
    return ""


def _hash_percent(text: str) -> int:
    """Hash of a text, 0..99."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % 100


@dataclass(frozen=True)
class LayerLibrary:
    """Layers, and which of them each training character wears.

    Attributes:
        mask: bool [L, 4, 9, H, W], the opaque pixels of each layer within the cropped cell.
        index: uint16 [L, 4, 9, H, W], their colours, as indices into `colours`.
        colours: uint8 [K, 3].
        names: of the layers' files.
        outfits: layers of each character by part, bottom first, as numbers.
        build_of: body build of each character; parts fit other characters of the same build.
    """

    mask: np.ndarray
    index: np.ndarray
    colours: np.ndarray
    names: list[str]
    outfits: list[list[list[int]]]
    build_of: np.ndarray

    @classmethod
    def build(cls, characters: Characters, cache: Cache) -> LayerLibrary:
        """Separate the layers of the training characters, or read them from the cache."""
        training = np.flatnonzero(~characters.held_out)
        outfits = [characters.layers[n].split(" | ") for n in training]
        names = sorted({layer for outfit in outfits for layer in outfit})
        numbers = {name: number for number, name in enumerate(names)}
        cropped = characters.cycles[training][..., TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH, :]
        colours, pictures = np.unique(pack_rgb(cropped), return_inverse=True)

        def make(folder: Path) -> None:
            worn = [[numbers[layer] for layer in outfit] for outfit in outfits]
            white = int(np.searchsorted(colours, pack_rgb(BACKGROUND)))
            flat = pictures.reshape(len(cropped), -1).astype(np.uint16)
            mask, index = separate_layers(flat, worn, names, white)
            np.savez_compressed(folder / "layers.npz", mask=mask, index=index)

        cycles = hashlib.sha256(np.ascontiguousarray(cropped).data).hexdigest()
        inputs = {"version": _VERSION, "layers": outfits, "cycles": cycles}
        folder = cache.get_or_make("layers", inputs, make)
        with np.load(folder / "layers.npz", allow_pickle=False) as archive:
            mask, index = (archive[name].reshape(-1, *cropped.shape[1:-1])
                           for name in ("mask", "index"))
        by_part = [[[numbers[layer] for layer in outfit if layer.split("/")[0] in part]
                    for part in _PARTS] for outfit in outfits]
        builds = np.array(["/male/" in outfit[0] for outfit in outfits], int)
        return cls(mask, index, unpack_rgb(colours), names, by_part, builds)

    def random_character(self, rng: np.random.Generator, direction: int, frames: np.ndarray
                         ) -> tuple[np.ndarray, np.ndarray]:
        """Compose a new character: (still uint8 [S, S, 3], requested frames [T, S, S, 3])."""
        layers = self._random_outfit(rng)
        return self.compose(layers, DOWN, np.array([0]))[0], self.compose(layers, direction, frames)

    def compose(self, layers: list[int], direction: int, frames: np.ndarray) -> np.ndarray:
        """Draw layers over each other on white: uint8 [T, S, S, 3]."""
        picture = np.broadcast_to(BACKGROUND, (len(frames), SIDE, SIDE, 3)).copy()
        cropped = picture[:, TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]
        for layer in layers:
            mask = self.mask[layer, direction, frames]
            cropped[mask] = self.colours[self.index[layer, direction, frames][mask]]
        return picture

    def packed_parts(self) -> Packed:
        """Pack the layers for `sprite.parts`: one part per style, with a palette per layer."""
        styles: dict[str, list[int]] = defaultdict(list)
        for layer, name in enumerate(self.names):
            if self.mask[layer].any():
                styles[style_of(name)].append(layer)
        kinds, masks, classes, owner, palettes = [], [], [], [], []
        for part, layers in enumerate(styles.values()):
            mask, class_map = self._merge_style(layers)
            slot = SLOTS.index(slot_of(self.names[layers[0]]))
            kinds.append((slot, self._builds_wearing(layers)))
            masks.append(mask)
            classes.append(class_map)
            for layer in layers:
                owner.append(part)
                palettes.append(self._palette(layer, mask, class_map))
        return pack(np.array(kinds, np.uint8), np.stack(masks), np.stack(classes),
                    np.array(owner), np.stack(palettes))

    def _builds_wearing(self, layers: list[int]) -> int:
        """Builds of the characters that wear one of the layers, a bit for each."""
        builds = {int(build) for outfit, build in zip(self.outfits, self.build_of, strict=True)
                  if any(layer in part for part in outfit for layer in layers)}
        return sum(1 << build for build in builds)

    def _merge_style(self, layers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(mask, colour classes) of a style, both [4, 9, H, W], by a vote of its layers.

        Pixels that are always hidden in one layer may be visible in another.
        """
        richest = max(layers, key=lambda layer: int(self.mask[layer].sum()))
        mask, classes = self.mask[richest], self._colour_classes(richest)
        votes = np.zeros((CLASSES, mask.size), np.uint16)
        for layer in layers:
            counts = self._colour_counts(layer, mask, classes)
            class_of_colour = counts.argmax(0)
            # A colour without a dominant class strayed in from another layer.
            valid = counts.max(0) > _MIN_CLASS_SHARE * np.maximum(counts.sum(0), _MIN_CLASS_COUNT)
            index = self.index[layer].ravel()
            pixels = np.flatnonzero(self.mask[layer].ravel() & valid[index])
            votes[class_of_colour[index[pixels]], pixels] += 1
        return ((votes.max(0) > 0).reshape(mask.shape),
                votes.argmax(0).astype(np.uint8).reshape(mask.shape))

    def _colour_classes(self, layer: int) -> np.ndarray:
        """A layer quantised to its most frequent colours: uint8 [4, 9, H, W]."""
        mask, picture = self.mask[layer], self.colours[self.index[layer]]
        colours, counts = np.unique(self.index[layer][mask], return_counts=True)
        frequent = self.colours[colours[np.argsort(-counts)][:CLASSES]]
        return nearest_index(picture, frequent).astype(np.uint8)

    def _colour_counts(self, layer: int, mask: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Pixels by class and colour of a layer: [K, colours]."""
        both = mask & self.mask[layer]
        pairs = classes[both].astype(np.int64) * len(self.colours) + self.index[layer][both]
        counts = np.bincount(pairs, minlength=CLASSES * len(self.colours))
        return np.asarray(counts.reshape(CLASSES, -1))

    def _palette(self, layer: int, mask: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The most frequent colour of a layer in each class: uint8 [K, 3]."""
        return self.colours[self._colour_counts(layer, mask, classes).argmax(1)]

    def _random_outfit(self, rng: np.random.Generator) -> list[int]:
        """Draw the layers of a new character, bottom first, most parts from other characters."""
        base = int(rng.integers(len(self.outfits)))
        fitting = np.flatnonzero(self.build_of == self.build_of[base])
        layers: list[int] = []
        for part in range(len(_PARTS)):
            donor = int(rng.choice(fitting)) if rng.random() < _SWAP_PROBABILITY else base
            layers += self.outfits[donor][part]
        return layers


def style_of(layer: str) -> str:
    """Name shared by layers that differ in colour only, as bodies, hair, beards and capes do."""
    folders = layer.removesuffix(".png").split("/")
    if folders[0] in ("hair", "facial"):
        return "/".join(folders[:3])
    if folders[0] == "body" and len(folders) == 3:
        other = [kind for kind in _HEAD_KINDS if kind in folders[2]]
        return "/".join([*folders[:2], *other])
    return "/".join(folders[:-1]) if "cape" in folders else layer


def slot_of(layer: str) -> str:
    """The slot that a layer is worn in, one of `SLOTS`."""
    folders = layer.split("/")
    if folders[0] == "body":
        return folders[2] if len(folders) > 3 else "body"
    if folders[0] == "torso":
        return "cape" if "cape" in folders else "torso"
    named = {"formal_male_no_th-sh": "suit", "facial": "beard"}
    return named.get(folders[0], folders[0])


def separate_layers(pictures: np.ndarray, worn: list[list[int]], names: list[str], white: int
                ) -> tuple[np.ndarray, np.ndarray]:
    """Estimate layers from the characters that wear them.

    Args:
        pictures: colour indices uint16 [N, P].
        worn: layers of each character, bottom first.
        names: of the layers.
        white: colour index of the background.

    Returns:
        (mask bool [L, P], colour index uint16 [L, P]).
    """
    mask, index = _initial_layers(pictures, worn, names, white)
    styles = sorted({style_of(name) for name in names})
    style = np.array([styles.index(style_of(name)) for name in names])
    for _ in range(_ROUNDS):
        mask, index = _refine_layers(pictures, worn, style, white, mask, index)
    for number, name in enumerate(styles):
        if name.startswith("hair/"):
            _restore_skin(pictures, worn, np.flatnonzero(style == number), mask, index)
    return mask, index


def _restore_skin(pictures: np.ndarray, worn: list[list[int]], layers: np.ndarray,
                  mask: np.ndarray, index: np.ndarray) -> None:
    """Move pixels of a hair style that mostly have the wearer's skin colour to the body, in place.

    Most hair hides the head, so skin beside short hair belongs to no body yet.
    """
    users = [(number, layer) for layer in layers for number, outfit in enumerate(worn)
             if layer in outfit]
    total, skin = (np.zeros(mask.shape[1], np.int32) for _ in range(2))
    for number, layer in users:
        body = worn[number][0]
        total += mask[layer]
        skin += mask[layer] & np.isin(pictures[number], np.unique(index[body][mask[body]]))
    is_skin = skin > _MIN_SKIN_SHARE * np.maximum(total, 1)
    for number, layer in users:
        body = worn[number][0]
        new = is_skin & mask[layer] & ~mask[body]
        index[body][new] = pictures[number][new]
        mask[body] |= new
    mask[layers] &= ~is_skin


def _initial_layers(pictures: np.ndarray, worn: list[list[int]], names: list[str], white: int
                    ) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((len(names), pictures.shape[1]), bool)
    index = np.zeros(mask.shape, np.uint16)
    users = defaultdict(list)
    for character, layers in enumerate(worn):
        for layer in layers:
            users[layer].append(character)
    rng = np.random.default_rng(0)
    for layer, wearers in users.items():
        if len(wearers) < _MIN_USERS:
            continue
        colour, share = _most_frequent(pictures[wearers])
        rest = np.setdiff1d(np.arange(len(worn)), wearers)
        rest = rng.choice(rest, min(_N_OTHERS, len(rest)), replace=False)
        elsewhere = (pictures[rest] == colour).mean(0)
        is_body = names[layer].startswith("body/") and names[layer].count("/") == 2
        least = _MIN_BODY_AGREEMENT if is_body else _MIN_AGREEMENT
        mask[layer] = (colour != white) & (share >= least) & (elsewhere < _MAX_ELSEWHERE * share)
        index[layer] = colour
    return mask, index


def _most_frequent(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the most frequent value, its share) of each column, by run lengths of sorted rows."""
    ordered = np.sort(rows, 0)
    run = np.ones(ordered.shape, np.int16)
    for number in range(1, len(rows)):
        run[number] += np.where(ordered[number] == ordered[number - 1], run[number - 1], 0)
    longest = run.argmax(0)[None]
    value, length = (np.take_along_axis(a, longest, 0)[0] for a in (ordered, run))
    return value, length / len(rows)


def _refine_layers(pictures: np.ndarray, worn: list[list[int]], style: np.ndarray, white: int,
                   mask: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let the visible pixels of every character vote on the masks and colours of its layers.

    A pixel votes for a layer if it differs from the layers below.
    """
    n_styles, size = int(style.max()) + 1, pictures.shape[1]
    differs, visible = (np.zeros((n_styles, size), np.int16) for _ in range(2))
    colour, lead = np.zeros(mask.shape, np.uint16), np.zeros(mask.shape, np.int16)
    for picture, layers in zip(pictures, worn, strict=True):
        covered = [np.zeros(size, bool)]
        for layer in reversed(layers[1:]):
            covered.append(covered[-1] | mask[layer])
        below = np.full(size, white, np.uint16)
        for layer, above in zip(layers, reversed(covered), strict=True):
            other = (picture != below) & ~above
            differs[style[layer]] += other
            visible[style[layer]] += ~above
            _vote(colour[layer], lead[layer], picture, other)
            below = np.where(mask[layer], index[layer], below)
    opaque = (2 * differs > visible)[style] & (lead > 0) & (colour != white)
    return opaque, colour


def _vote(colour: np.ndarray, lead: np.ndarray, picture: np.ndarray, voting: np.ndarray) -> None:
    """Add one voter to Boyer and Moore's majority vote of each pixel, in place."""
    agrees = voting & (picture == colour)
    new = voting & ~agrees & (lead == 0)
    lead += agrees
    lead -= voting & ~agrees & ~new
    colour[new] = picture[new]
    lead[new] = 1
