"""Parts that characters are composed of (bodies, clothes, hair), found in a still by explaining it.

A part is a picture by classes, one for each direction and pose: which pixels it covers, and which
of its colours each of them has. What those colours are is read off the still, or is one of the
palettes the part is known in. A still is explained slot by slot: of all parts that fit there, the
one is taken with which the composed picture is nearest to the still.

Parts are learnt by taking training characters apart (`aehub.training.wardrobe`).

Dimension letters: L parts, N palettes, K classes; P the pixels of the stage in all 36 pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from aehub.models.pixelart import BACKGROUND, Indexed, nearest
from aehub.models.pose import KEYS, N_DIRECTIONS
from aehub.models.still import HEIGHT, WIDTH

SLOTS = ("body", "eyes", "nose", "ears", "legs", "feet", "torso", "suit", "cape", "belt", "beard",
         "head")
"""What is worn where, bottom first; a character has at most one part of each."""
CLASSES = 32
SHAPE = (N_DIRECTIONS, KEYS, HEIGHT, WIDTH)
_FRONT = 2
_STILL = (_FRONT, 0)
_REACH = 2
# Large things first: what they hide is not looked for.
_FIRST = ("body", "head", "torso", "legs", "feet", "suit", "cape", "belt", "beard", "eyes", "nose",
          "ears")
_ROUNDS = 3
# Squared errors count no further than this: a wrong pixel is wrong. A palette that is read off the
# still has to earn what its colours cost. The head's other explanations are weighed by their error.
_MOST, _COLOUR_COST, _LEAST_PIXELS = 6000, 4000, 4
_DOUBT, _OTHERS = 1e5, 10


@dataclass(frozen=True)
class Worn:
    """A part in colours: `colours` uint8 [K, 3]."""

    part: int
    colours: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """What a still shows.

    Attributes:
        ways: of dressing the character, each with its share; the shares sum to 1.
        wrong: share of the still's opaque pixels that the first of the ways does not explain.
    """

    ways: list[tuple[float, list[Worn]]]
    wrong: float


class Parts(nn.Module):
    """The parts, packed.

    Args:
        parts: L.
        palettes: N.
        cover: bytes of all parts' coverage, one bit a pixel of the part's box.
        pixels: how many pixels are covered.
    """

    def __init__(self, parts: int, palettes: int, cover: int, pixels: int) -> None:
        super().__init__()

        def stored(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, dtype=torch.uint8), requires_grad=False)

        self.slot, self.box = stored(parts), stored(parts, 4)
        self.cover, self.classes = stored(cover), stored(pixels)
        self.owner, self.palettes = stored(palettes, 2), stored(palettes, CLASSES, 3)

    @torch.no_grad()
    def fill(self, packed: Packed) -> None:
        """Take what `pack` made."""
        for name, values in packed.items():
            getattr(self, name).copy_(torch.from_numpy(values))

    @cached_property
    def _unpacked(self) -> _Unpacked:
        return _Unpacked(self)

    def explain(self, still: np.ndarray, *, new_colours: bool = True) -> Explanation:
        """Which parts, in which colours, a still shows.

        Args:
            still: uint8 [H, W, 3], the stage on white.
            new_colours: whether parts may have colours that they are not known in.
        """
        return _Search(self._unpacked, still, new_colours).explanation()

    def tidied(self, still: np.ndarray) -> np.ndarray:
        """The still uint8 [H, W, 3] that known parts in their own colours make of a rough one."""
        found = self.explain(still, new_colours=False)
        picture = np.broadcast_to(BACKGROUND, still.shape).copy()
        for one in found.ways[0][1]:
            shown = self._unpacked.shown[one.part][_STILL]
            picture[shown] = one.colours[self._unpacked.classes[one.part][_STILL][shown]]
        return picture

    def drawn(self, worn: Sequence[Worn], still: Indexed) -> np.ndarray:
        """All pictures of a character, as places in the palette of its still: uint8 [4, 9, H, W].

        Seen from the front, a head is that of the still, moved as the part moves.

        Args:
            worn: bottom first.
            still: the stage.
        """
        picture = np.zeros(SHAPE, np.uint8)
        for one in worn:
            shown, classes = self._unpacked.shown[one.part], self._unpacked.classes[one.part]
            picture[shown] = nearest(one.colours, still.palette).astype(np.uint8)[classes[shown]]
        if worn and worn[-1].part in self._unpacked.of_slot["head"]:
            head = self._unpacked.shown[worn[-1].part]
            for pose, way in enumerate(self._unpacked.shifts(worn[-1].part)):
                same = head[_FRONT, pose] & np.roll(head[_STILL], way, (0, 1))
                picture[_FRONT, pose][same] = np.roll(still.places, way, (0, 1))[same]
        return picture


Packed = dict[str, np.ndarray]


def pack(slots: np.ndarray, shown: np.ndarray, classes: np.ndarray, owner: np.ndarray,
         palettes: np.ndarray) -> Packed:
    """Parts as they are stored.

    Args:
        slots: uint8 [L], places in `SLOTS`.
        shown: bool [L, 4, 9, H, W].
        classes: uint8 [L, 4, 9, H, W], below `CLASSES`.
        owner: int [N], whose palettes they are, in order.
        palettes: uint8 [N, K, 3].
    """
    boxes, covers, values = [], [], []
    for cover, own in zip(shown, classes, strict=True):
        box = _box(cover)
        boxes.append(box)
        covers.append(np.packbits(_cut(cover, box)))
        values.append(own[cover])
    return {"slot": slots, "box": np.array(boxes, np.uint8).reshape(-1, 4),
            "cover": np.concatenate(covers), "classes": np.concatenate(values).astype(np.uint8),
            "owner": np.stack([owner >> 8, owner & 255], -1).astype(np.uint8),
            "palettes": palettes}


def _box(cover: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what is covered in any picture."""
    rows, columns = (np.flatnonzero(cover.any(axis)) for axis in ((0, 1, 3), (0, 1, 2)))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _cut(pictures: np.ndarray, box: Sequence[int]) -> np.ndarray:
    top, bottom, left, right = (int(side) for side in box)
    return pictures[:, :, top:bottom, left:right]


class _Unpacked:
    """Parts as arrays: `shown` bool and `classes` uint8, both [L, 4, 9, H, W]; and `palettes` by
    part."""

    def __init__(self, parts: Parts) -> None:
        slot, box, cover, classes, owner, palettes = (
            getattr(parts, name).cpu().numpy()
            for name in ("slot", "box", "cover", "classes", "owner", "palettes"))
        self._shifts: dict[int, list[tuple[int, int]]] = {}
        self.shown = np.zeros((len(slot), *SHAPE), bool)
        self.classes = np.zeros(self.shown.shape, np.uint8)
        bit = pixel = 0
        for number, sides in enumerate(box):
            inside = _cut(self.shown[number], sides)
            size = -(-inside.size // 8)
            bits = np.unpackbits(cover[bit:bit + size])[:inside.size]
            inside[:] = np.resize(bits, inside.shape).astype(bool)
            count = int(inside.sum())
            own = classes[pixel:pixel + count] % CLASSES
            # Files that were tampered with may hold too few.
            self.classes[number][self.shown[number]] = np.resize(own, count)
            bit, pixel = bit + size, pixel + count
        owners = owner[:, 0].astype(int) << 8 | owner[:, 1]
        self.palettes = [palettes[owners == number] for number in range(len(slot))]
        self.of_slot = {name: [int(n) for n in np.flatnonzero(slot == place)
                               if len(self.palettes[n])] for place, name in enumerate(SLOTS)}
        self.still_shown = self.shown[:, _STILL[0], _STILL[1]].reshape(len(slot), -1)
        self.still_classes = self.classes[:, _STILL[0], _STILL[1]].reshape(len(slot), -1)


    def shifts(self, part: int) -> list[tuple[int, int]]:
        """How far down and right a part has moved in each pose seen from the front."""
        if part not in self._shifts:
            poses = np.where(self.shown[part, _FRONT], self.classes[part, _FRONT].astype(int), -1)
            around = range(-_REACH, _REACH + 1)
            ways = sorted(((down, right) for down in around for right in around),
                          key=lambda way: (abs(way[0]) + abs(way[1]), way))
            agreement = [[int(((moved == pose) & (moved >= 0)).sum()) for pose in poses]
                         for moved in (np.roll(poses[0], way, (0, 1)) for way in ways)]
            self._shifts[part] = [ways[n] for n in np.argmax(agreement, 0)]
        return self._shifts[part]


class _Search:
    """Coordinate descent over the slots for one still."""

    def __init__(self, parts: _Unpacked, still: np.ndarray, new_colours: bool) -> None:
        self.new_colours = new_colours
        self.parts, self.still = parts, still.reshape(-1, 3).astype(np.int64)
        self.colours, self.index = np.unique(self.still, axis=0, return_inverse=True)
        self.index = self.index.ravel()
        self.apart = _error(self.colours[:, None], self.colours[None])
        self.worn: dict[str, Worn] = {}
        self._errors: dict[int, np.ndarray] = {}

    def explanation(self) -> Explanation:
        for number in range(_ROUNDS):
            for slot in SLOTS if number else _FIRST:
                self._fill(slot)
        ways = [(0.5, _dressed(self.worn))]
        for share, head in self._heads():
            ways.append((0.5 * share, _dressed(self.worn | {"head": head})))
        drawn = self._below(len(SLOTS))
        opaque = (self.still != BACKGROUND).any(1)
        wrong = (drawn[opaque] != self.still[opaque]).any(1).mean() if opaque.any() else 1.0
        return Explanation(ways, float(wrong))

    def _below(self, place: int) -> np.ndarray:
        """What the slots below a place compose: int64 [P, 3]."""
        picture = np.broadcast_to(BACKGROUND, self.still.shape).astype(np.int64)
        for slot in SLOTS[:place]:
            if slot in self.worn:
                one = self.worn[slot]
                shown = self.parts.still_shown[one.part]
                picture[shown] = one.colours[self.parts.still_classes[one.part][shown]]
        return picture

    def _free(self, place: int) -> np.ndarray:
        """Which pixels no slot above a place covers: bool [P]."""
        covered = np.zeros(len(self.still), bool)
        for slot in SLOTS[place + 1:]:
            if slot in self.worn:
                covered |= self.parts.still_shown[self.worn[slot].part]
        return ~covered

    def _fill(self, slot: str) -> None:
        """The part that explains best, or none, given all other slots."""
        place = SLOTS.index(slot)
        free, error = self._free(place), _error(self._below(place), self.still)
        best, found = 0.0, None
        for part in self.parts.of_slot[slot]:
            counts = self._counts(part, free)
            without = error[free & self.parts.still_shown[part]].sum()
            seen = np.flatnonzero(counts.any(1))
            palettes = self.parts.palettes[part]
            costs = np.einsum("nkc,kc->n", self._error_of(part)[:, seen], counts[seen])
            if len(seen) and without - costs.min() > best:
                best, found = without - costs.min(), Worn(part, palettes[costs.argmin()])
            if self.new_colours and slot != "body":
                cost, colours = self._read_off(part, counts)
                if without - cost > best:
                    best, found = without - cost, Worn(part, colours)
        self.worn.pop(slot, None)
        if found:
            self.worn[slot] = found

    def _error_of(self, part: int) -> np.ndarray:
        """Errors of a part's palettes against the still's colours: [n, K, colours]."""
        if part not in self._errors:
            palettes = self.parts.palettes[part]
            self._errors[part] = _error(palettes[:, :, None], self.colours[None, None])
        return self._errors[part]

    def _counts(self, part: int, free: np.ndarray) -> np.ndarray:
        """How often each class of a part meets each colour of the still: [K, colours]."""
        seen = free & self.parts.still_shown[part]
        pairs = self.parts.still_classes[part][seen].astype(np.int64) * len(self.colours)
        counts = np.bincount(pairs + self.index[seen], minlength=CLASSES * len(self.colours))
        return np.asarray(counts.reshape(CLASSES, len(self.colours)))

    def _read_off(self, part: int, counts: np.ndarray) -> tuple[float, np.ndarray]:
        """(error and cost, colours [K, 3]): each class in the colour that it meets most often.

        Classes that the still does not show differ from the nearest that it shows as they do in the
        part's own palette.
        """
        seen = np.flatnonzero(counts.any(1))
        if counts.sum() < _LEAST_PIXELS:
            return np.inf, self.parts.palettes[part][0]
        most = counts[seen].argmax(1)
        cost = (counts[seen] * self.apart[most]).sum() + _COLOUR_COST * len(seen)
        own = self.parts.palettes[part][0].astype(np.int64)
        near = _error(own[:, None], own[seen][None]).argmin(1)
        colours = self.colours[most][near] + own - own[seen][near]
        colours[seen] = self.colours[most]
        return float(cost), colours.clip(0, 255).astype(np.uint8)

    def _heads(self) -> list[tuple[float, Worn | None]]:
        """Other hair and hats with the shares that their errors leave them."""
        place = SLOTS.index("head")
        free, error = self._free(place), _error(self._below(place), self.still)
        others: list[tuple[float, Worn | None]] = [(float(error[free].sum()), None)]
        for part in self.parts.of_slot["head"]:
            cost, colours = self._read_off(part, self._counts(part, free))
            left = error[free & ~self.parts.still_shown[part]].sum()
            others.append((float(left + cost), Worn(part, colours)))
        others = sorted(others, key=lambda other: other[0])[:_OTHERS]
        shares = np.exp((others[0][0] - np.array([cost for cost, _ in others])) / _DOUBT)
        return list(zip((shares / shares.sum()).tolist(), (one for _, one in others), strict=True))


def _dressed(worn: Mapping[str, Worn | None]) -> list[Worn]:
    """What is worn, bottom first."""
    return [one for slot in SLOTS if (one := worn.get(slot))]


def _error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared error of colours [..., 3], as far as it counts."""
    apart = np.square(a.astype(np.int64) - b.astype(np.int64)).sum(-1)
    return np.minimum(apart, _MOST)
