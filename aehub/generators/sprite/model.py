"""The loaded sprite model: from one still to a walk cycle in four directions.

    sprites = SpriteAnimator.from_pretrained(folder)
    sheet = sprites.cycles(still)            # uint8 [4, 9, H, W, 4]: up, left, down, right

A still shows one front-facing character on a background that is transparent or of one colour; the
character is cut out, scaled and placed in the model's cell (`cutout.py`).
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
from aehub.generators.sprite.poses import CYCLE, DIRECTIONS, STEPS
from aehub.generators.sprite.stills import HEIGHT, LEFT, SIDE, TOP, WIDTH
from aehub.weights.device import Device, with_inference
from aehub.weights.stored_network import StoredNetwork

# Columns searched to each side for a character's position; more if it is wider than a bare body, in
# pixels.
_REACH, _BODY_WIDTH = 2, 26
# Smallest relative margin of the best position over the second. Measured: at least 0.12 for stills
# like those of training, 0.04 for damaged ones, at most 0.02 for other pictures.
_MIN_MARGIN = 0.03
# To which blurred stills are reduced: the most exact of 24, 40 and 64.
_REDRAWN_COLOURS = 64


class SpriteAnimator(Autoencoder):
    """A loaded `sprite-motion`; safe to use from several threads.

    As an autoencoder it maps front-facing stills to identity latents and back; new characters are
    samples of these.
    """

    network: SpriteNetwork

    def __init__(self, stored: StoredNetwork, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(stored.network, SpriteNetwork):
            raise WeightsError(f"{stored.name} animates no sprites; name a model that does, such "
                               "as sprite-motion.")
        super().__init__(stored, device, dtype)

    def decode(self, latents: Any) -> list[np.ndarray]:
        """Identity latents -> stills, snapped to the dictionary of parts.

        The network decodes a rough still, which is replaced by the nearest parts.

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
                cropped = _crop_view(still)
                cropped[:] = snap_to_parts(self.network.parts, cropped)
        return stills

    @with_inference
    def cycles(self, still: np.ndarray | Cell, steps: int = CYCLE) -> np.ndarray:
        """The walk cycle of a character in four directions.

        Args:
            still: argument or result of `place_still`.
            steps: of a cycle; the model is trained on 8.

        Returns:
            uint8 [4, 1 + steps, S, S, 4], directions as `DIRECTIONS`, first standing; only colours
            of the still, background transparent. S is 64 pixels of the still's own pixel art, the
            height of a character of about 50.

        Raises:
            InputError: the still does not show one character, or `steps` is out of range.
        """
        return self.views(still, DIRECTIONS, range(1 + steps), steps)

    @with_inference
    def frames(self, still: np.ndarray | Cell, direction: str, numbers: Sequence[int],
               steps: int = CYCLE) -> np.ndarray:
        """Some frames of a cycle, uint8 [numbers, H, W, 4]: number 0 stands, 1 to `steps` walk.

        Raises:
            InputError: as `cycles`, or there is no such direction.
        """
        return self.views(still, (direction,), numbers, steps)[0]

    @with_inference
    def views(self, still: np.ndarray | Cell, directions: Sequence[str], numbers: Sequence[int],
              steps: int = CYCLE) -> np.ndarray:
        """The same frames from several directions, uint8 [directions, numbers, H, W, 4].

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
        """Cut out the character of a still and place it in the model's cell.

        Its position is the one at which the bodies of the dictionary fit best; one pixel aside the
        error is clearly larger. A character that no body fits is centred.

        Args:
            still: uint8 [H, W, 3 or 4], of any size, the character anywhere.
            name: for messages.

        Raises:
            InputError: its background has several colours, or it shows no character, or several.
            LimitError: it is too large.
        """
        figures = list(size_candidates(cut_out(still, name)))
        for figure in figures if self._has_parts else ():
            # An object held at one side shifts the middle of the figure.
            reach = max(_REACH, (figure.picture.shape[1] - _BODY_WIDTH) // 2)
            cells = [figure.at(feet, MIDDLE_COLUMN + aside) for aside in range(-reach, reach + 1)
                     for feet in FEET_ROWS]
            errors = [body_error(self.network.parts, _crop_view(over_white(cell.picture)))
                      for cell in cells]
            best, second = np.sort(errors)[:2]
            if second - best >= _MIN_MARGIN * best:
                return self._redraw_blurred(cells[int(np.argmin(errors))])
        cell = figures[0].at(FEET_ROWS[0], MIDDLE_COLUMN)
        return cell if not self._has_parts else replace(cell, notes=(
            *cell.notes, f"{self.name} knows no body like that of {name}, so the result may be "
            "rough; it is trained on front-facing characters of the Liberated Pixel Cup."))

    @property
    def _has_parts(self) -> bool:
        return len(self.network.parts.slot) > 0

    def _redraw_blurred(self, cell: Cell) -> Cell:
        """The cell, redrawn in crisp pixels if lossy coding or resizing has blurred it."""
        mask = cell.picture[..., 3] > 0
        colours = cell.picture[mask][:, :3]
        count = len(np.unique(colours, axis=0))
        if count < MAX_COLOURS and not cell.is_rough:
            return cell
        palette, indices = median_cut(colours, _REDRAWN_COLOURS)
        still = np.full((SIDE, SIDE, 3), 255, np.uint8)
        still[mask] = palette[indices]
        cropped = _crop_view(still)
        cropped[:] = redraw_with_parts(self.network.parts, cropped)
        return replace(Cell.from_picture(still), shrink=cell.shrink, grow=cell.grow, notes=(
            *cell.notes, f"The still is blurred, with {count} colours; it was redrawn from parts "
            "of the model."))

    def _encode_still(self, cell: Cell) -> _EncodedStill:
        picture = to_indexed(cell.picture)
        colours = torch.from_numpy(picture.palette).to(self.device, self.parameter_dtype) / 255
        index = torch.from_numpy(picture.indices).to(self.device)[None].long()
        present = torch.ones((1, len(colours)), dtype=torch.bool, device=self.device)
        return _EncodedStill(cell, picture.palette,
                             self.network.encode_still(index, colours[None], present),
                             self._match_parts(picture))

    def _match_parts(self, picture: IndexedPicture) -> PartRendering | None:
        """The still composed of parts in all key poses, if the model has a dictionary."""
        parts = self.network.parts
        if not self._has_parts:
            return None
        still = IndexedPicture(_crop_view(picture.indices), picture.palette)
        match = match_parts(parts, picture.palette[still.indices])
        below = parts.render_cycle(match.layers, still)
        indices = np.stack([parts.render_cycle(top, still, below) for top in match.candidates])
        return PartRendering(torch.from_numpy(match.row_weights).to(self.device),
                             torch.from_numpy(indices).to(self.device), match.unexplained)

    def _render(self, still: _EncodedStill, direction: str, numbers: Sequence[int], steps: int
                ) -> np.ndarray:
        facing = torch.tensor([DIRECTIONS.index(direction)], device=self.device)
        poses = self.network.cycle_poses(facing, steps)[:, list(numbers)]
        probabilities = self.network.logits(still.features, facing, poses).float().softmax(-1)
        if still.parts:
            probabilities = self.network.combined(probabilities, still.parts, facing, poses)
        chosen = choose_colours(probabilities, still.features.palette.float())
        indices = np.zeros((poses.shape[1], SIDE, SIDE), np.uint8)
        cropped = chosen[0].view(-1, HEIGHT, WIDTH).cpu().numpy().astype(np.uint8)
        indices[:, TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH] = cropped
        alpha = np.where(indices > 0, 255, 0).astype(np.uint8)
        return still.cell.restore(np.concatenate([still.palette[indices], alpha[..., None]], -1))


def check_steps(steps: int) -> None:
    """Refuse a cycle length out of range.

    Raises:
        InputError: it is.
    """
    if not STEPS[0] <= steps <= STEPS[1]:
        raise InputError(f"a cycle of {steps} steps is not possible; give {STEPS[0]} to "
                         f"{STEPS[1]}.")


def _crop_view(picture: np.ndarray) -> np.ndarray:
    """The crop of a picture [S, S, ...] in which characters walk, a view."""
    return picture[TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]


class _EncodedStill(NamedTuple):
    """A still in its cell, with its palette, features and parts."""

    cell: Cell
    palette: np.ndarray
    features: StillFeatures
    parts: PartRendering | None

