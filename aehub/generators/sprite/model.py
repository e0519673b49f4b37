"""Characters in motion: one still picture becomes a walk cycle in four directions.

    sprites = SpriteAnimator.from_pretrained(folder)
    sheet = sprites.cycles(still)            # uint8 [4, 9, H, W, 4]: up, left, down, right

A still shows one front-facing character, on a ground that is transparent or of one colour; it is
found, brought into the model's size and put where the model draws (`cutout.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from aehub.errors import InputError, WeightsError
from aehub.generators.autoencoder import Autoencoder
from aehub.generators.base import over_white
from aehub.generators.sprite.cutout import FEET_ROWS, MIDDLE_COLUMN, Cell, cut_out, size_candidates
from aehub.generators.sprite.network import (
    PartRendering,
    SpriteNetwork,
    StillFeatures,
    choose_colours,
)
from aehub.generators.sprite.part_matching import (
    body_error,
    match_parts,
    redraw_with_parts,
    snap_to_parts,
)
from aehub.generators.sprite.pixel_art import MAX_COLOURS, IndexedPicture, median_cut, to_indexed
from aehub.generators.sprite.poses import CYCLE, DIRECTIONS, N_DIRECTIONS, STEPS
from aehub.generators.sprite.stills import HEIGHT, LEFT, SIDE, TOP, WIDTH
from aehub.weights.device import Device, with_inference
from aehub.weights.stored_network import StoredNetwork

# A character is looked for so many columns to each side, more if it is wider than bare bodies are.
_REACH, _BREADTH = 2, 26
# By how much better than all others one place has to be: the least of the model's own kind is 0.12,
# of damaged ones 0.04, and of other pictures the most is 0.02.
_DISTINCT = 0.03
# That blurred stills are brought to: the most exact of 24, 40 and 64.
_REDRAWN_COLOURS = 64


class SpriteAnimator(Autoencoder):
    """A loaded `sprite-motion`; safe to use from several threads.

    As an autoencoder it turns front-facing stills into identity latents and back: new characters
    are drawn from them.
    """

    network: SpriteNetwork

    def __init__(self, stored: StoredNetwork, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(stored.network, SpriteNetwork):
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
        if self._has_parts:
            for still in stills:
                stage = _stage(still)
                stage[:] = snap_to_parts(self.network.parts, stage)
        return stills

    @with_inference
    def cycles(self, still: np.ndarray | Cell, steps: int = CYCLE) -> np.ndarray:
        """The walk cycle of a character in four directions.

        Args:
            still: as `place_still` takes or gives it.
            steps: of a cycle; the model learnt from 8.

        Returns:
            uint8 [4, 1 + steps, S, S, 4], directions as `DIRECTIONS`, first standing; only colours
            of the still, background transparent. S is 64 pixels of the still's own pixel art, the
            height of a character of about 50.

        Raises:
            InputError: there is no one character in the still, or `steps` is out of range.
        """
        return self.views(still, DIRECTIONS, range(1 + steps), steps)

    @with_inference
    def frames(self, still: np.ndarray | Cell, direction: str, numbers: Sequence[int],
               steps: int = CYCLE) -> np.ndarray:
        """Some frames of a cycle: uint8 [numbers, H, W, 4]; 0 stands, 1 to `steps` walk.

        Raises:
            InputError: as `cycles`, or there is no such direction.
        """
        return self.views(still, (direction,), numbers, steps)[0]

    @with_inference
    def views(self, still: np.ndarray | Cell, directions: Sequence[str], numbers: Sequence[int],
              steps: int = CYCLE) -> np.ndarray:
        """The same frames from several directions, the still read once: [directions, numbers, ...].

        Raises:
            InputError: as `frames`.
        """
        for direction in directions:
            if direction not in DIRECTIONS:
                raise InputError(f"there is no direction {direction!r}; give one of "
                                 f"{', '.join(DIRECTIONS)}.")
        check_steps(steps)
        cell = still if isinstance(still, Cell) else self.place_still(still)
        with self._autocast():
            encoded = self._encode_still(cell)
            views = [self._render(encoded, direction, numbers, steps) for direction in directions]
        return np.stack(views)

    def place_still(self, still: np.ndarray, name: str = "the still") -> Cell:
        """The character of a still, cut out of its ground and standing where the model draws.

        Where that is, the bodies tell that the model knows: a pixel aside, none fits nearly as
        well. What they do not know stands in the middle.

        Args:
            still: uint8 [H, W, 3 or 4], of any size, the character anywhere.
            name: what to call it in messages.

        Raises:
            InputError: its ground cannot be told, or it shows nobody, or several.
            LimitError: it is too large.
        """
        found = list(size_candidates(cut_out(still, name)))
        for figure in found if self._has_parts else ():
            # What is held or worn at one side moves the middle of what is shown.
            reach = max(_REACH, (figure.picture.shape[1] - _BREADTH) // 2)
            cells = [figure.at(feet, MIDDLE_COLUMN + aside) for aside in range(-reach, reach + 1)
                     for feet in FEET_ROWS]
            errors = [body_error(self.network.parts, _stage(over_white(cell.picture)))
                      for cell in cells]
            best, second = np.sort(errors)[:2]
            if second - best >= _DISTINCT * best:
                return self._redraw_blurred(cells[int(np.argmin(errors))])
        cell = found[0].at(FEET_ROWS[0], MIDDLE_COLUMN)
        return cell if not self._has_parts else replace(cell, notes=(
            *cell.notes, f"{self.name} knows no body like that of {name}, so it may come out "
            "roughly; it learnt characters of the Liberated Pixel Cup that face you."))

    @property
    def _has_parts(self) -> bool:
        return len(self.network.parts.slot) > 0

    def _redraw_blurred(self, cell: Cell) -> Cell:
        """The cell in crisp pixels, where lossy coding or resizing has blurred it."""
        shown = cell.picture[..., 3] > 0
        colours = cell.picture[shown][:, :3]
        count = len(np.unique(colours, axis=0))
        if count < MAX_COLOURS and not cell.is_rough:
            return cell
        palette, places = median_cut(colours, _REDRAWN_COLOURS)
        still = np.full((SIDE, SIDE, 3), 255, np.uint8)
        still[shown] = palette[places]
        _stage(still)[:] = redraw_with_parts(self.network.parts, _stage(still))
        return replace(Cell.from_picture(still), shrink=cell.shrink, grow=cell.grow, notes=(
            *cell.notes, f"The still is blurred, with {count} colours; it was drawn anew from the "
            "parts that the model found in it."))

    def _encode_still(self, cell: Cell) -> _EncodedStill:
        picture = to_indexed(cell.picture)
        colours = torch.from_numpy(picture.palette).to(self.device, self.parameter_dtype) / 255
        index = torch.from_numpy(picture.places).to(self.device)[None].long()
        present = torch.ones((1, len(colours)), dtype=torch.bool, device=self.device)
        return _EncodedStill(cell, picture.palette,
                     self.network.encode_still(index, colours[None], present),
                     self._match_parts(picture))

    def _match_parts(self, picture: IndexedPicture) -> PartRendering | None:
        """The still composed of parts the model knows, if it knows any."""
        parts = self.network.parts
        if not self._has_parts:
            return None
        stage = IndexedPicture(_stage(picture.places), picture.palette)
        found = match_parts(parts, picture.palette[stage.places])
        below = parts.render_cycle(found.worn, stage)
        places = np.stack([parts.render_cycle(top, stage, below) for top in found.tops])
        return PartRendering(torch.from_numpy(found.shares).to(self.device),
                     torch.from_numpy(places).to(self.device), found.unexplained)

    def _render(self, still: _EncodedStill, direction: str, numbers: Sequence[int], steps: int
                ) -> np.ndarray:
        facing = torch.tensor([DIRECTIONS.index(direction)], device=self.device)
        poses = self.network.cycle_poses(facing, steps)[:, list(numbers)]
        shares = self.network.logits(still.features, facing, poses).float().softmax(-1)
        if still.parts:
            shares = self.network.combined(shares, still.parts, facing, poses)
        chosen = choose_colours(shares, still.features.palette.float())
        places = np.zeros((poses.shape[1], SIDE, SIDE), np.uint8)
        stage = chosen[0].view(-1, HEIGHT, WIDTH).cpu().numpy().astype(np.uint8)
        places[:, TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH] = stage
        shown = np.where(places > 0, 255, 0).astype(np.uint8)
        return still.cell.restore(
            np.concatenate([still.palette[places], shown[..., None]], -1))


def check_steps(steps: int) -> None:
    """Refuse cycles that are too short or too long.

    Raises:
        InputError: they are.
    """
    if not STEPS[0] <= steps <= STEPS[1]:
        raise InputError(f"a cycle of {steps} steps is not possible; give {STEPS[0]} to "
                         f"{STEPS[1]}.")


def _stage(picture: np.ndarray) -> np.ndarray:
    """The part of a cell in which characters walk, a view."""
    return picture[TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]


class _EncodedStill(NamedTuple):
    """A still that the network has looked at."""

    cell: Cell
    palette: np.ndarray
    features: StillFeatures
    parts: PartRendering | None


assert len(DIRECTIONS) == N_DIRECTIONS
