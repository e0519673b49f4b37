"""Flat cells of intra frames: 32x32 blocks of one colour, for which no code is written.

Letterbox bars, backgrounds of slides and sprites. A frame has one colour, and a flag for each cell:
flat cells show the colour exactly. Transforms see their latents as those of a flat picture, so that
blocks beside them are decoded as if they were coded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4 import symmetry
from aehub.codecs.d4.motion.symbols import code_labels
from aehub.codecs.d4.network import FrameNetwork
from aehub.codecs.d4.planes import GRID, PlaneBatch, unshuffle
from aehub.coding.symbol_coder import SymbolReader, SymbolWriter

_KIND = 2
"""Kind of the tables `cells`, after those of frames with one and two references."""
_LEVELS = 256


class FlatCells(NamedTuple):
    """Flat cells of a frame.

    Attributes:
        coded: bool [h/4, w/4], cells that are not flat.
        colour: of the others, as samples of Y, U and V, 0 to 255.
    """

    coded: np.ndarray
    colour: tuple[int, int, int]

    def turn(self, g: int) -> FlatCells:
        """Return the cells of the frame turned by element `g` of `aehub.codecs.d4.symmetry`."""
        return FlatCells(np.ascontiguousarray(symmetry.turn(self.coded, g)), self.colour)

    def fill(self, planes: PlaneBatch) -> PlaneBatch:
        """Set the flat cells of decoded planes [1, 1, H, W] to the colour."""
        coded = torch.from_numpy(self.coded).to(planes.y.device)
        filled = []
        for plane, level, side in zip(planes, self.colour, (GRID, GRID // 2, GRID // 2),
                                      strict=True):
            mask = coded.repeat_interleave(side, 0).repeat_interleave(side, 1)
            filled.append(torch.where(mask, plane, plane.new_tensor(level / 255 - 0.5)))
        return PlaneBatch(*filled)

    def latents(self, network: FrameNetwork, quality: Tensor) -> Tensor:
        """y of a picture of this colour, in steps: [1, 96, 1, 1]."""
        side = 3 * GRID
        planes = PlaneBatch(*(
            quality.new_full((1, 1, side // n, side // n), level / 255 - 0.5)
            for n, level in zip((1, 2, 2), self.colour, strict=True)))
        middle = side // 16
        y = network.analysis(unshuffle(planes), quality)[:, :, middle:middle + 1, middle:middle + 1]
        return y * network.gains(quality)


def find_flat_cells(planes: PlaneBatch, tolerance: float) -> FlatCells | None:
    """Find the cells of a frame that differ from its most frequent flat colour by a tolerance.

    Args:
        planes: of the frame, [1, 1, H, W].
        tolerance: in grey levels.

    Returns:
        None where there are none.
    """
    ends = []
    for plane, side in zip(planes, (GRID, GRID // 2, GRID // 2), strict=True):
        cells = ((plane[0, 0] + 0.5) * 255).unflatten(0, (-1, side)).unflatten(2, (-1, side))
        ends.append(torch.stack([cells.amin((1, 3)), cells.amax((1, 3))]))
    low, high = torch.stack(ends, 1).cpu().numpy()  # [3, h/4, w/4] each
    flat = (high - low <= tolerance).all(0)
    if not flat.any():
        return None
    colours, counts = np.unique(np.rint((low + high) / 2)[:, flat], axis=1, return_counts=True)
    colour = colours[:, counts.argmax()]
    given = colour[:, None, None]
    coded = (np.maximum(high - given, given - low) > tolerance).any(0)
    return None if coded.all() else FlatCells(coded, tuple(colour.astype(int).tolist()))


def write_flat_cells(coder: SymbolWriter, shape: tuple[int, ...], cells: FlatCells | None) -> None:
    """Write flags as labels of a grid of `shape`, then the colour if any cell is flat."""
    coded = np.ones(shape, np.int32) if cells is None else cells.coded.astype(np.int32)
    code_labels(coder, "cells", (1, shape[0], shape[1]), coded[None], _KIND)
    if cells is not None:
        coder.uniform(np.array(cells.colour, np.int32), 3, _LEVELS)


def read_flat_cells(coder: SymbolReader, shape: tuple[int, ...]) -> FlatCells | None:
    """Read what `write_flat_cells` wrote."""
    coded = code_labels(coder, "cells", (1, shape[0], shape[1]), None, _KIND)[0].astype(bool)
    if coded.all():
        return None
    y, u, v = coder.uniform(None, 3, _LEVELS).tolist()
    return FlatCells(coded, (y, u, v))
