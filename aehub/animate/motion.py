"""Characters in motion: one still picture becomes a walk cycle in four directions.

    sprites = Sprites.from_pretrained(folder)
    sheet = sprites.cycles(still)            # uint8 [4, 9, H, W, 4]: up, left, down, right

A still is front-facing, on a transparent or white background, in a cell of 64x64 pixels or of a
size that whole-number scaling turns into that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from aehub.animate.model import Autoencoder
from aehub.errors import InputError, WeightsError
from aehub.models.explanation import explain, tidied
from aehub.models.network import StoredNetwork
from aehub.models.pixelart import Indexed, indexed
from aehub.models.pose import CYCLE, N_DIRECTIONS
from aehub.models.sprite import Drawn, Known, SpriteMotion, choose
from aehub.models.still import HEIGHT, LEFT, SIDE, TOP, WIDTH

DIRECTIONS = ("up", "left", "down", "right")
STEPS = (2, 64)
"""Fewest and most steps of a cycle."""
_LARGEST = 1024


class Sprites(Autoencoder):
    """A loaded `sprite-motion`; safe to use from several threads.

    As an autoencoder it turns front-facing stills into identity latents and back: new characters
    are drawn from them.
    """

    network: SpriteMotion

    def __init__(self, stored: StoredNetwork, device: torch.device | str = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(stored.network, SpriteMotion):
            raise WeightsError(f"{stored.name} animates no sprites; name a model that does, such "
                               "as sprite-motion.")
        super().__init__(stored, device, dtype)

    def decode(self, latents: Any) -> list[np.ndarray]:
        """Identity latents -> stills, in whole parts of characters.

        The network draws a rough still; what is shown are the known parts nearest to it.

        Args:
            latents: [T, K], an array or a tensor.

        Returns:
            uint8 [S, S, 3] each, on white.

        Raises:
            InputError: they are not latents of this model.
        """
        stills = super().decode(latents)
        if len(self.network.parts.slot):
            for still in stills:
                stage = still[TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]
                stage[:] = tidied(self.network.parts, stage)
        return stills

    @torch.inference_mode()
    def cycles(self, still: np.ndarray, steps: int = CYCLE) -> np.ndarray:
        """The walk cycle of a character in four directions.

        Args:
            still: front-facing, uint8 [H, W, 4], or [H, W, 3] on white.
            steps: of a cycle; the model learnt from 8.

        Returns:
            uint8 [4, 1 + steps, H, W, 4], directions as `DIRECTIONS`, first standing; only colours
            of the still, background transparent.

        Raises:
            InputError: the still is of another size, or `steps` is out of range.
        """
        return self.views(still, DIRECTIONS, range(1 + steps), steps)

    @torch.inference_mode()
    def frames(self, still: np.ndarray, direction: str, numbers: Sequence[int],
               steps: int = CYCLE) -> np.ndarray:
        """Some frames of a cycle: uint8 [numbers, H, W, 4]; 0 stands, 1 to `steps` walk.

        Raises:
            InputError: as `cycles`, or there is no such direction.
        """
        return self.views(still, (direction,), numbers, steps)[0]

    @torch.inference_mode()
    def views(self, still: np.ndarray, directions: Sequence[str], numbers: Sequence[int],
              steps: int = CYCLE) -> np.ndarray:
        """The same frames from several directions, the still read once: [directions, numbers, ...].

        Raises:
            InputError: as `frames`.
        """
        for direction in directions:
            if direction not in DIRECTIONS:
                raise InputError(f"there is no direction {direction!r}; give one of "
                                 f"{', '.join(DIRECTIONS)}.")
        read = self._read(self.check(still, steps), still)
        return np.stack([self._seen(read, direction, numbers, steps) for direction in directions])

    def check(self, still: np.ndarray, steps: int = CYCLE) -> Cell:
        """Refuse what cannot be animated, before any work; returns the cell of the still.

        Raises:
            InputError: the still is of another size, or `steps` is out of range.
        """
        if not STEPS[0] <= steps <= STEPS[1]:
            raise InputError(f"a cycle of {steps} steps is not possible; give {STEPS[0]} to "
                             f"{STEPS[1]}.")
        return Cell.of(still)

    def _read(self, cell: Cell, still: np.ndarray) -> _Read:
        picture = indexed(cell.reduced(still))
        colours = torch.from_numpy(picture.palette).to(self.device)[None] / 255
        index = torch.from_numpy(picture.places).to(self.device)[None].long()
        present = torch.ones(colours.shape[:2], dtype=torch.bool, device=self.device)
        return _Read(cell, picture.palette,
                     self.network.read(index, colours.to(self.dtype), present),
                     self._drawn(picture))

    def _drawn(self, picture: Indexed) -> Drawn | None:
        """The still composed of parts the model knows, if it knows any."""
        parts = self.network.parts
        if not len(parts.slot):
            return None
        stage = Indexed(picture.places[TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH], picture.palette)
        found = explain(parts, picture.palette[stage.places])
        below = parts.drawn(found.worn, stage)
        places = np.stack([parts.drawn(top, stage, below) for top in found.tops])
        return Drawn(torch.from_numpy(found.shares).to(self.device),
                     torch.from_numpy(places).to(self.device), found.wrong)

    def _seen(self, read: _Read, direction: str, numbers: Sequence[int], steps: int) -> np.ndarray:
        facing = torch.tensor([DIRECTIONS.index(direction)], device=self.device)
        poses = self.network.cycle(facing, steps)[:, list(numbers)]
        shares = self.network.scores(read.known, facing, poses).float().softmax(-1)
        if read.drawn:
            shares = self.network.informed(shares, read.drawn, facing, poses)
        chosen = choose(shares, read.known.palette.float())
        places = np.zeros((poses.shape[1], SIDE, SIDE), np.uint8)
        stage = chosen[0].view(-1, HEIGHT, WIDTH).cpu().numpy().astype(np.uint8)
        places[:, TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH] = stage
        shown = np.where(places > 0, 255, 0).astype(np.uint8)
        return read.cell.restored(
            np.concatenate([read.palette[places], shown[..., None]], -1))


class Cell:
    """How a cell of some size maps to the model's cell of 64x64 pixels and back."""

    def __init__(self, side: int) -> None:
        # Pixels of the picture for one of the model's, or the other way round.
        self.shrink, self.grow = max(1, side // SIDE), max(1, SIDE // side)

    @classmethod
    def of(cls, still: np.ndarray) -> Cell:
        """The cell of a still.

        Raises:
            InputError: it is no picture, or whole numbers do not scale it to 64x64.
        """
        if still.dtype != np.uint8 or still.ndim != 3 or still.shape[2] not in (3, 4):
            raise InputError(f"a still is {still.dtype} {list(still.shape)}; give a picture, uint8 "
                             "[height, width, 3 or 4].")
        height, width = still.shape[:2]
        fits = height == width >= SIDE // 4 and (SIDE % height == 0 or height % SIDE == 0)
        if not fits or height > _LARGEST:
            raise InputError(f"the still is {width}x{height}; sprites are squares of {SIDE // 4}, "
                             f"{SIDE // 2}, {SIDE} or a multiple of {SIDE} pixels up to "
                             f"{_LARGEST}. Put it into such a cell, feet near the bottom.")
        return cls(height)

    def reduced(self, still: np.ndarray) -> np.ndarray:
        """The still in 64x64 pixels."""
        middle = self.shrink // 2
        still = still[middle::self.shrink, middle::self.shrink]
        return still.repeat(self.grow, 0).repeat(self.grow, 1)

    def restored(self, frames: np.ndarray) -> np.ndarray:
        """Frames [T, 64, 64, 4] in the size of the still."""
        frames = frames[:, self.grow // 2::self.grow, self.grow // 2::self.grow]
        return frames.repeat(self.shrink, 1).repeat(self.shrink, 2)


class _Read(NamedTuple):
    """A still that the network has looked at."""

    cell: Cell
    palette: np.ndarray
    known: Known
    drawn: Drawn | None


assert len(DIRECTIONS) == N_DIRECTIONS
