"""PartDictionary that characters are composed of: bodies, clothes, hair.

A part is a picture by classes, one for each direction and pose: which pixels it covers, and which
of its colours each of them has. What those colours are is read off the still, or is one of the
palettes the part is known in (`aehub.generators.sprite.part_matching`).

PartDictionary are learnt by taking training characters apart (`aehub.training.layer_library`).

Dimension letters: L parts, N palettes, K classes; P the pixels of the stage in all 36 pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from aehub.generators.sprite.pixel_art import BACKGROUND, IndexedPicture, luma, nearest_index
from aehub.generators.sprite.poses import N_DIRECTIONS, N_KEY_POSES
from aehub.generators.sprite.stills import HEIGHT, WIDTH

SLOTS = ("body", "eyes", "nose", "ears", "legs", "feet", "torso", "suit", "cape", "belt", "beard",
         "hair", "head")
"""What is worn where, bottom first; a character has at most one part of each."""
HAIR_AND_HATS = ("hair", "head")
"""The slots of hair and hats."""
CLASSES = 32
CYCLE_SHAPE = (N_DIRECTIONS, N_KEY_POSES, HEIGHT, WIDTH)
_FRONT = 2
STILL_POSE = (_FRONT, 0)
_REACH = 2


@dataclass(frozen=True)
class ColouredPart:
    """A part in colours: `colours` uint8 [K, 3]."""

    part: int
    colours: np.ndarray


class PartDictionary(nn.Module):
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

        self.slot, self.fits, self.box = stored(parts), stored(parts), stored(parts, 4)
        self.cover, self.classes = stored(cover), stored(pixels)
        self.owner, self.palettes = stored(palettes, 2), stored(palettes, CLASSES, 3)

    @torch.no_grad()
    def fill(self, packed: Packed) -> None:
        """Take what `pack` made."""
        for name, values in packed.items():
            getattr(self, name).copy_(torch.from_numpy(values))

    @cached_property
    def unpacked(self) -> UnpackedParts:
        """The parts as arrays, unpacked once."""
        return UnpackedParts(self)

    def render_still(self, worn: Sequence[ColouredPart]) -> np.ndarray:
        """A character as in its still, in the colours of the parts: uint8 [H, W, 3] on white."""
        picture = np.broadcast_to(BACKGROUND, (HEIGHT, WIDTH, 3)).copy()
        for one in worn:
            shown, classes = (values[one.part][STILL_POSE] for values in (self.unpacked.shown,
                                                                     self.unpacked.classes))
            picture[shown] = one.colours[classes[shown]]
        return picture

    def render_cycle(self, worn: Sequence[ColouredPart], still: IndexedPicture,
                     below: np.ndarray | None = None) -> np.ndarray:
        """All pictures of a character, as places in the palette of its still: uint8 [4, 9, H, W].

        Seen from the front, hair and hats are those of the still, moved as the part moves.

        Args:
            worn: bottom first.
            still: the stage.
            below: what they are drawn upon, nothing by default.
        """
        picture = np.zeros(CYCLE_SHAPE, np.uint8) if below is None else below.copy()
        # What a part covers is no background, however bright.
        colours = still.palette[1:] if len(still.palette) > 1 else still.palette
        for one in worn:
            shown, classes = self.unpacked.shown[one.part], self.unpacked.classes[one.part]
            places = nearest_index(one.colours, colours) + len(still.palette) - len(colours)
            picture[shown] = places.astype(np.uint8)[classes[shown]]
        for one in worn:
            if one.part in self.unpacked.tops:
                shown = self.unpacked.shown[one.part]
                for pose, way in enumerate(self.unpacked.shifts(one.part)):
                    same = shown[_FRONT, pose] & np.roll(shown[STILL_POSE], way, (0, 1))
                    picture[_FRONT, pose][same] = np.roll(still.places, way, (0, 1))[same]
        return picture


Packed = dict[str, np.ndarray]


def pack(kinds: np.ndarray, shown: np.ndarray, classes: np.ndarray, owner: np.ndarray,
         palettes: np.ndarray) -> Packed:
    """PartDictionary as they are stored.

    Args:
        kinds: uint8 [L, 2], the place in `SLOTS` and a bit for each build of body that wears it.
        shown: bool [L, 4, 9, H, W].
        classes: uint8 [L, 4, 9, H, W], below `CLASSES`.
        owner: int [N], whose palettes they are, in order.
        palettes: uint8 [N, K, 3].
    """
    boxes, covers, values = [], [], []
    for cover, own in zip(shown, classes, strict=True):
        box = _box(cover)
        boxes.append(box)
        covers.append(np.packbits(_crop(cover, box)))
        values.append(own[cover])
    return {"slot": kinds[:, 0], "fits": kinds[:, 1],
            "box": np.array(boxes, np.uint8).reshape(-1, 4),
            "cover": np.concatenate(covers), "classes": np.concatenate(values).astype(np.uint8),
            "owner": np.stack([owner >> 8, owner & 255], -1).astype(np.uint8),
            "palettes": palettes}


def _box(cover: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what is covered in any picture."""
    rows, columns = (np.flatnonzero(cover.any(axis)) for axis in ((0, 1, 3), (0, 1, 2)))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _crop(pictures: np.ndarray, box: Sequence[int]) -> np.ndarray:
    top, bottom, left, right = (int(side) for side in box)
    return pictures[:, :, top:bottom, left:right]


class UnpackedParts:
    """The parts as arrays: `shown` bool and `classes` uint8, both [L, 4, 9, H, W]; `palettes` by
    part."""

    def __init__(self, parts: PartDictionary) -> None:
        slot, self.fits, box, cover, classes, owner, palettes = (
            getattr(parts, name).cpu().numpy()
            for name in ("slot", "fits", "box", "cover", "classes", "owner", "palettes"))
        self._shifts: dict[int, list[tuple[int, int]]] = {}
        self._class_luma: dict[int, np.ndarray] = {}
        self.shown = np.zeros((len(slot), *CYCLE_SHAPE), bool)
        self.classes = np.zeros(self.shown.shape, np.uint8)
        bit = pixel = 0
        for number, sides in enumerate(box):
            inside = _crop(self.shown[number], sides)
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
        self.still_shown = self.shown[:, STILL_POSE[0], STILL_POSE[1]].reshape(len(slot), -1)
        self.still_classes = self.classes[:, STILL_POSE[0], STILL_POSE[1]].reshape(len(slot), -1)
        self.tops = {part for name in HAIR_AND_HATS for part in self.of_slot[name]}
        self.hair_region = self.still_shown[self.of_slot["hair"]].any(0)

    def class_luma(self, part: int) -> np.ndarray:
        """How bright each class is among those of its part, 0..1, over all its palettes: [K]."""
        if part not in self._class_luma:
            worn = np.unique(self.classes[part][self.shown[part]])
            bright = luma(self.palettes[part].astype(np.float64))
            low, high = (edge(bright[:, worn], 1, keepdims=True) for edge in (np.min, np.max))
            self._class_luma[part] = np.median((bright - low) / np.maximum(1, high - low), 0)
        return self._class_luma[part]

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
