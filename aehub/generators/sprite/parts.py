"""The dictionary of parts that characters are composed of: bodies, clothes, hair.

A part is an indexed picture for each direction and pose: the mask of its pixels, and the colour
class of each. The colours of the classes are observed in the still, or are one of the stored
palettes of the part (`aehub.generators.sprite.part_matching`).

Parts are extracted from training characters (`aehub.training.layer_library`).

Dimension letters: L parts, N palettes, K colour classes; H, W = 56, 48 the crop.
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
"""Slots of parts, bottom layer first; a character has at most one part per slot."""
HAIR_AND_HATS = ("hair", "head")
"""The slots of hair and hats."""
CLASSES = 32
"""Colour classes of a part."""
CYCLE_SHAPE = (N_DIRECTIONS, N_KEY_POSES, HEIGHT, WIDTH)
"""All pictures of a character, [4, 9, H, W]."""
_FRONT = 2
STILL_POSE = (_FRONT, 0)
"""Indices of the still among them: seen from the front, standing."""
# Largest shift of a part between poses in pixels.
_MAX_SHIFT = 2


@dataclass(frozen=True)
class ColouredPart:
    """A part with the colours of its classes, uint8 [K, 3]."""

    part: int
    colours: np.ndarray


class PartDictionary(nn.Module):
    """All parts, packed.

    Args:
        parts: L.
        palettes: N.
        cover: bytes of the masks of all parts, one bit per pixel of the part's bounding box.
        pixels: number of pixels in all masks.
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
        """Copy the arrays of `pack` into the parameters."""
        for name, values in packed.items():
            getattr(self, name).copy_(torch.from_numpy(values))

    @cached_property
    def unpacked(self) -> UnpackedParts:
        """The parts as arrays, unpacked at first use."""
        return UnpackedParts(self)

    def render_still(self, layers: Sequence[ColouredPart]) -> np.ndarray:
        """The still of a character in the colours of its parts, uint8 [H, W, 3] on white."""
        picture = np.broadcast_to(BACKGROUND, (HEIGHT, WIDTH, 3)).copy()
        for layer in layers:
            mask, classes = (values[layer.part][STILL_POSE]
                             for values in (self.unpacked.masks, self.unpacked.classes))
            picture[mask] = layer.colours[classes[mask]]
        return picture

    def render_cycle(self, layers: Sequence[ColouredPart], still: IndexedPicture,
                     below: np.ndarray | None = None) -> np.ndarray:
        """All pictures of a character, indexed by the palette of its still: uint8 [4, 9, H, W].

        Seen from the front, hair and hats are those of the still, shifted with the part.

        Args:
            layers: bottom first.
            still: its crop.
            below: pictures to draw on; background by default.
        """
        picture = np.zeros(CYCLE_SHAPE, np.uint8) if below is None else below.copy()
        # A pixel of a part is never background, however bright.
        colours = still.palette[1:] if len(still.palette) > 1 else still.palette
        for layer in layers:
            mask, classes = self.unpacked.masks[layer.part], self.unpacked.classes[layer.part]
            indices = nearest_index(layer.colours, colours) + len(still.palette) - len(colours)
            picture[mask] = indices.astype(np.uint8)[classes[mask]]
        for layer in layers:
            if layer.part in self.unpacked.hair_and_hats:
                mask = self.unpacked.masks[layer.part]
                for pose, shift in enumerate(self.unpacked.shifts(layer.part)):
                    common = mask[_FRONT, pose] & np.roll(mask[STILL_POSE], shift, (0, 1))
                    picture[_FRONT, pose][common] = np.roll(still.indices, shift, (0, 1))[common]
        return picture


Packed = dict[str, np.ndarray]


def pack(kinds: np.ndarray, masks: np.ndarray, classes: np.ndarray, owner: np.ndarray,
         palettes: np.ndarray) -> Packed:
    """Parts in the form in which `PartDictionary` stores them.

    Args:
        kinds: uint8 [L, 2], index into `SLOTS`, and a bit for each build of body that fits.
        masks: bool [L, 4, 9, H, W].
        classes: uint8 [L, 4, 9, H, W], below `CLASSES`.
        owner: int [N], the part of each palette, in order.
        palettes: uint8 [N, K, 3].
    """
    boxes, covers, values = [], [], []
    for mask, part_classes in zip(masks, classes, strict=True):
        box = _bounding_box(mask)
        boxes.append(box)
        covers.append(np.packbits(_crop(mask, box)))
        values.append(part_classes[mask])
    return {"slot": kinds[:, 0], "fits": kinds[:, 1],
            "box": np.array(boxes, np.uint8).reshape(-1, 4),
            "cover": np.concatenate(covers), "classes": np.concatenate(values).astype(np.uint8),
            "owner": np.stack([owner >> 8, owner & 255], -1).astype(np.uint8),
            "palettes": palettes}


def _bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a part in all its pictures."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in ((0, 1, 3), (0, 1, 2)))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _crop(pictures: np.ndarray, box: Sequence[int]) -> np.ndarray:
    top, bottom, left, right = (int(side) for side in box)
    return pictures[:, :, top:bottom, left:right]


class UnpackedParts:
    """The parts as arrays.

    Attributes:
        masks, classes: bool and uint8 [L, 4, 9, H, W].
        still_masks, still_classes: those of the still, [L, H * W].
        palettes: of each part, uint8 [n, K, 3].
        fits: uint8 [L], a bit for each build of body.
        of_slot: parts with a palette, by slot.
        hair_and_hats: parts of these slots.
        hair_region: bool [H * W], pixels that any hair covers in the still.
    """

    def __init__(self, parts: PartDictionary) -> None:
        slot, self.fits, box, cover, classes, owner, palettes = (
            getattr(parts, name).cpu().numpy()
            for name in ("slot", "fits", "box", "cover", "classes", "owner", "palettes"))
        self._shifts: dict[int, list[tuple[int, int]]] = {}
        self._class_luma: dict[int, np.ndarray] = {}
        self.masks = np.zeros((len(slot), *CYCLE_SHAPE), bool)
        self.classes = np.zeros(self.masks.shape, np.uint8)
        byte = pixel = 0
        for number, sides in enumerate(box):
            mask = _crop(self.masks[number], sides)
            size = -(-mask.size // 8)
            bits = np.unpackbits(cover[byte:byte + size])[:mask.size]
            mask[:] = np.resize(bits, mask.shape).astype(bool)
            count = int(mask.sum())
            part_classes = classes[pixel:pixel + count] % CLASSES
            # A manipulated file may hold too few.
            self.classes[number][self.masks[number]] = np.resize(part_classes, count)
            byte, pixel = byte + size, pixel + count
        owners = owner[:, 0].astype(int) << 8 | owner[:, 1]
        self.palettes = [palettes[owners == number] for number in range(len(slot))]
        self.of_slot = {name: [int(n) for n in np.flatnonzero(slot == index)
                               if len(self.palettes[n])] for index, name in enumerate(SLOTS)}
        self.still_masks = self.masks[:, STILL_POSE[0], STILL_POSE[1]].reshape(len(slot), -1)
        self.still_classes = self.classes[:, STILL_POSE[0], STILL_POSE[1]].reshape(len(slot), -1)
        self.hair_and_hats = {part for name in HAIR_AND_HATS for part in self.of_slot[name]}
        self.hair_region = self.still_masks[self.of_slot["hair"]].any(0)

    def class_luma(self, part: int) -> np.ndarray:
        """Relative luma of each class of a part, 0..1, median over its palettes: [K]."""
        if part not in self._class_luma:
            used = np.unique(self.classes[part][self.masks[part]])
            values = luma(self.palettes[part].astype(np.float64))
            low, high = (edge(values[:, used], 1, keepdims=True) for edge in (np.min, np.max))
            self._class_luma[part] = np.median((values - low) / np.maximum(1, high - low), 0)
        return self._class_luma[part]

    def shifts(self, part: int) -> list[tuple[int, int]]:
        """Shift (down, right) of a part relative to the still, in each pose seen from the front."""
        if part not in self._shifts:
            poses = np.where(self.masks[part, _FRONT], self.classes[part, _FRONT].astype(int), -1)
            offsets = range(-_MAX_SHIFT, _MAX_SHIFT + 1)
            candidates = sorted(((down, right) for down in offsets for right in offsets),
                                key=lambda shift: (abs(shift[0]) + abs(shift[1]), shift))
            agreement = [[int(((moved == pose) & (moved >= 0)).sum()) for pose in poses]
                         for moved in (np.roll(poses[0], shift, (0, 1)) for shift in candidates)]
            self._shifts[part] = [candidates[n] for n in np.argmax(agreement, 0)]
        return self._shifts[part]
