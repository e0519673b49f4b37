"""The cells of a grid that a network is run on where most cells want nothing of it.

Each wanted cell of 4x4 places is cut out with what a convolution sees around it, so that the tiles
go through the layers as a batch of small pictures. What a layer would see beyond the border of the
grid is zero there and has to stay zero: `hidden`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 4
# Tiles overlap: where more is wanted, the whole grid is quicker.
MOST = 0.4


@dataclass(frozen=True, eq=False)
class _Places:
    index: Tensor  # int64 [n k k]: number of a place, row by row, the nearest one where outside
    inside: Tensor | None  # bool [n, k, k]: it is on the grid; None where all are


class Tiles:
    """Wanted cells.

    Args:
        cells: float [1, 1, h/4, w/4], 1 where a cell is wanted, else 0.
    """

    def __init__(self, cells: Tensor) -> None:
        self._rows, self._columns = (SIDE * at for at in cells[0, 0].nonzero(as_tuple=True))
        self.count = len(self._rows)
        self.height, self.width = (SIDE * n for n in cells.shape[-2:])
        self._places: dict[int, _Places] = {}

    @classmethod
    def of(cls, cells: Tensor) -> Tiles | None:
        """The tiles of these cells, None where it is not worth the trouble."""
        return cls(cells) if float(cells.sum()) <= MOST * cells.numel() else None

    def cut(self, x: Tensor, margin: int) -> Tensor:
        """[1, C, h, w] -> [n, C, 4 + 2 margin, 4 + 2 margin], channels last, zero outside."""
        channels, side = x.shape[1], SIDE + 2 * margin
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        picked = rows.index_select(0, self._at(margin).index.to(x.device))
        tiles = picked.view(self.count, side, side, channels).permute(0, 3, 1, 2)
        return self.hidden(tiles, margin)

    def hidden(self, tiles: Tensor, margin: int) -> Tensor:
        """Tiles with zeros where they lie outside of the grid; the given ones are changed."""
        inside = self._at(margin).inside
        if inside is None:
            return tiles
        side = SIDE + 2 * margin
        return tiles.mul_(inside.to(tiles.device).view(self.count, 1, side, side))

    def paste(self, tiles: Tensor) -> Tensor:
        """[n, C, 4, 4] -> [1, C, h, w], zero where no cell is wanted."""
        channels = tiles.shape[1]
        rows = tiles.new_zeros(self.height * self.width, channels)
        rows[self._at(0).index.to(tiles.device)] = tiles.permute(0, 2, 3, 1).reshape(-1, channels)
        return rows.view(1, self.height, self.width, channels).permute(0, 3, 1, 2)

    def _at(self, margin: int) -> _Places:
        if margin not in self._places:
            reach = torch.arange(-margin, SIDE + margin, device=self._rows.device)
            rows = (self._rows[:, None] + reach)[:, :, None]
            columns = (self._columns[:, None] + reach)[:, None, :]
            near = rows.clamp(0, self.height - 1), columns.clamp(0, self.width - 1)
            inside = (near[0] == rows) & (near[1] == columns)
            index = (near[0] * self.width + near[1]).flatten()
            self._places[margin] = _Places(index, None if bool(inside.all()) else inside)
        return self._places[margin]
