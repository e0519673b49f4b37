"""Characters taken apart into the layers they were composed of, and new ones composed of those.

Of each training character the archive names the layers, bottom first, but shows only the result.
Where two characters share a layer, what is alike in them is that layer; where the layers below are
known, what differs from them is what lies above. A few rounds of that give most of all layers, and
with them any number of characters whose motion is known.

Layers of characters, told from pictures of characters that wear them.

Of each layer only its users are known. Where they agree and others do not, that is the layer;
where the layers below are known, what differs from them lies above. A few rounds of that.

Walk cycles of characters, and which of them training may see.

The material is an archive of walk cycles, `walk` uint8 [N, 4, 9, 64, 64, 3] on white (directions
up, left, down, right; standing, then eight steps) with `names` and `layers` (the files each was
composed of). Held out are some characters, and all of some hair styles: by hash, so that no list
of them has to be kept.
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

_ROUNDS = 8
# A layer shows where its users agree on a colour that others seldom have there. Clothes hide most
# of a body, so of its users few agree.
_AGREE_ON_LAYER, _AGREE_BODY, _SELDOM, _OTHERS = 0.5, 0.12, 0.5, 60
_LEAST_USERS = 3
# Where hair has, in more than this share of its users, the colour of their skin, it is their skin.
_SKIN = 0.6
_HEADS_OF_THEIR_OWN = ("orc", "skeleton")


def style_of(layer: str) -> str:
    """What layers that differ in colour only share: bodies, hair, beards and capes come in many
    colours."""
    folders = layer.removesuffix(".png").split("/")
    if folders[0] in ("hair", "facial"):
        return "/".join(folders[:3])
    if folders[0] == "body" and len(folders) == 3:
        other = [kind for kind in _HEADS_OF_THEIR_OWN if kind in folders[2]]
        return "/".join([*folders[:2], *other])
    return "/".join(folders[:-1]) if "cape" in folders else layer


def slot_of(layer: str) -> str:
    """Where a layer is worn, one of `SLOTS`."""
    folders = layer.split("/")
    if folders[0] == "body":
        return folders[2] if len(folders) > 3 else "body"
    if folders[0] == "torso":
        return "cape" if "cape" in folders else "torso"
    named = {"formal_male_no_th-sh": "suit", "facial": "beard"}
    return named.get(folders[0], folders[0])


def taken_apart(pictures: np.ndarray, worn: list[list[int]], names: list[str], white: int
                ) -> tuple[np.ndarray, np.ndarray]:
    """(shown bool [L, P], colour uint16 [L, P]) of layers, from pictures uint16 [N, P]."""
    shown, places = _first_guess(pictures, worn, names, white)
    styles = sorted({style_of(name) for name in names})
    style = np.array([styles.index(style_of(name)) for name in names])
    for _ in range(_ROUNDS):
        shown, places = _round(pictures, worn, style, white, shown, places)
    for number, name in enumerate(styles):
        if name.startswith("hair/"):
            _return_skin(pictures, worn, np.flatnonzero(style == number), shown, places)
    return shown, places


def _return_skin(pictures: np.ndarray, worn: list[list[int]], layers: np.ndarray,
                 shown: np.ndarray, places: np.ndarray) -> None:
    """Where hair of a style has the colour of whoever wears it, most often, it is their skin that
    shows; in place.

    Most hair hides the head, so what little hair leaves free belongs to no body yet.
    """
    users = [(number, layer) for layer in layers for number, some in enumerate(worn)
             if layer in some]
    seen, skin = (np.zeros(shown.shape[1], np.int32) for _ in range(2))
    for number, layer in users:
        body = worn[number][0]
        seen += shown[layer]
        skin += shown[layer] & np.isin(pictures[number], np.unique(places[body][shown[body]]))
    bare = skin > _SKIN * np.maximum(seen, 1)
    for number, layer in users:
        body = worn[number][0]
        fresh = bare & shown[layer] & ~shown[body]
        places[body][fresh] = pictures[number][fresh]
        shown[body] |= fresh
    shown[layers] &= ~bare


def _first_guess(pictures: np.ndarray, worn: list[list[int]], names: list[str], white: int
                 ) -> tuple[np.ndarray, np.ndarray]:
    shown = np.zeros((len(names), pictures.shape[1]), bool)
    places = np.zeros(shown.shape, np.uint16)
    users = defaultdict(list)
    for character, layers in enumerate(worn):
        for layer in layers:
            users[layer].append(character)
    rng = np.random.default_rng(0)
    for layer, some in users.items():
        if len(some) < _LEAST_USERS:
            continue
        colour, share = _most_frequent(pictures[some])
        rest = np.setdiff1d(np.arange(len(worn)), some)
        rest = rng.choice(rest, min(_OTHERS, len(rest)), replace=False)
        elsewhere = (pictures[rest] == colour).mean(0)
        is_body = names[layer].startswith("body/") and names[layer].count("/") == 2
        least = _AGREE_BODY if is_body else _AGREE_ON_LAYER
        shown[layer] = (colour != white) & (share >= least) & (elsewhere < _SELDOM * share)
        places[layer] = colour
    return shown, places


def _most_frequent(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the most frequent value, its share) of each column."""
    ordered = np.sort(rows, 0)
    run = np.ones(ordered.shape, np.int16)
    for number in range(1, len(rows)):
        run[number] += np.where(ordered[number] == ordered[number - 1], run[number - 1], 0)
    longest = run.argmax(0)[None]
    value, length = (np.take_along_axis(a, longest, 0)[0] for a in (ordered, run))
    return value, length / len(rows)


def _round(pictures: np.ndarray, worn: list[list[int]], style: np.ndarray, white: int,
           shown: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ask every character about every layer: does it differ from what lies below, and how?"""
    n_styles, size = int(style.max()) + 1, pictures.shape[1]
    differs, seen = (np.zeros((n_styles, size), np.int16) for _ in range(2))
    colour, lead = np.zeros(shown.shape, np.uint16), np.zeros(shown.shape, np.int16)
    for picture, layers in zip(pictures, worn, strict=True):
        covered = [np.zeros(size, bool)]
        for layer in reversed(layers[1:]):
            covered.append(covered[-1] | shown[layer])
        below = np.full(size, white, np.uint16)
        for layer, above in zip(layers, reversed(covered), strict=True):
            other = (picture != below) & ~above
            differs[style[layer]] += other
            seen[style[layer]] += ~above
            _vote(colour[layer], lead[layer], picture, other)
            below = np.where(shown[layer], places[layer], below)
    opaque = (2 * differs > seen)[style] & (lead > 0) & (colour != white)
    return opaque, colour


def _vote(colour: np.ndarray, lead: np.ndarray, picture: np.ndarray, where: np.ndarray) -> None:
    """Boyer and Moore's majority vote, one voter at a time, in place."""
    agrees = where & (picture == colour)
    fresh = where & ~agrees & (lead == 0)
    lead += agrees
    lead -= where & ~agrees & ~fresh
    colour[fresh] = picture[fresh]
    lead[fresh] = 1


DOWN = 2
_HAIR_SHARE, _CHARACTER_SHARE = 14, 9


@dataclass(frozen=True)
class Characters:
    """Walk cycles.

    Attributes:
        walk: uint8 [N, 4, 9, S, S, 3] on white.
        names: of the characters.
        layers: the files each was composed of, bottom first, joined by " | ".
        unseen_hair: bool [N], whose hair style is never trained on.
        held_out: bool [N], that are never trained on, unseen hair included.
    """

    walk: np.ndarray
    names: list[str]
    layers: list[str]
    unseen_hair: np.ndarray
    held_out: np.ndarray

    @classmethod
    def read(cls, data: Path) -> Characters:
        """The one archive with walk cycles in a folder, or that archive itself.

        Raises:
            InputError: there is none.
        """
        found = [data]
        if data.is_dir():
            found = sorted(p for p in data.glob("*walk*.npz") if not is_hidden(p))
        if len(found) != 1:
            raise InputError(f"{data} holds {len(found)} archives named *walk*.npz; give the one "
                             "with walk cycles.")
        with np.load(found[0], allow_pickle=False) as archive:
            if "walk" not in archive:
                raise InputError(f"{found[0].name} holds no array 'walk' of walk cycles.")
            walk, names = archive["walk"], [str(name) for name in archive["names"]]
            layers = [str(some) for some in archive["layers"]]
            styles = [hair_style(some) for some in layers]
        unseen = np.array([_share(f"hair {style}") < _HAIR_SHARE and bool(style)
                           for style in styles])
        apart = np.array([_share(f"character {name}") < _CHARACTER_SHARE for name in names])
        return cls(walk, names, layers, unseen, unseen | apart)


def hair_style(layers: str) -> str:
    """The hair style among the files a character is composed of; empty if it has none."""
    for path in layers.split(" | "):
        if path.startswith("hair/"):
            return path.split("/")[2].removesuffix(".png")
    return ""


def _share(text: str) -> int:
    """A number 0..99 that only depends on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % 100


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
        colours, pictures = np.unique(pack_rgb(stage), return_inverse=True)

        def make(folder: Path) -> None:
            worn = [[numbers[layer] for layer in some] for some in layers]
            white = int(np.searchsorted(colours, pack_rgb(BACKGROUND)))
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
        return cls(shown, places, unpack_rgb(colours), names, parts, builds)

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
        """The layers as `sprite.parts` has them: one part for all of a style, in as many
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
        return nearest_index(picture, kept).astype(np.uint8)

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
