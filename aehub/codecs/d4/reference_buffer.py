"""Reference buffer: the integer state of coded frames that later frames of a group refer to.

It holds vectors, for temporal prediction of motion, and codes, which the integer network of later
frames gets warped along their vectors in whole 8x8 blocks. Encoder, decoder and transcoder keep the
same buffer; decoded pictures are not part of it, and decoded pixels never enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4 import latent_kernels, plane_kernels
from aehub.codecs.d4.entropy_model import DistanceClass, distance_class
from aehub.codecs.d4.integer_conv import ACTIVATION_MAX, level_array, log_levels
from aehub.codecs.d4.layers import UseCount
from aehub.codecs.d4.motion.coding import TemporalPredictor
from aehub.codecs.d4.motion.compensate import PRECISION, SUB_BLOCK
from aehub.codecs.d4.motion.field import Motion, scale_vectors
from aehub.codecs.d4.network import Codes


def reference_levels(codes: Tensor, context: Tensor | None) -> Tensor:
    """Log-magnitude levels of a frame's codes for later frames: integers 0..31 [B, C + 1, h, w].

    Args:
        codes: of the frame, integers [B, C, h, w].
        context: of the frame; None for an intra frame.

    Returns:
        The levels, not below three quarters of the context's, so that they persist over skipped
        blocks; bytes in compiled loops. The last channel marks intra frames.
    """
    if plane_kernels.at_hand(codes, *(() if context is None else (context,))):
        array = plane_kernels.channels_last(codes)
        levels, out = plane_kernels.new_channels_last(
            torch.uint8, len(codes), codes.shape[1] + 1, *codes.shape[2:])
        latent_kernels.reference_levels(
            array, array[:0] if context is None else plane_kernels.channels_last(context),
            level_array(torch.uint8), ACTIVATION_MAX if context is None else 0, out)
        return levels
    state = log_levels(codes)
    mark = torch.zeros_like(state[:, :1])
    if context is None:
        return torch.cat([state, mark + ACTIVATION_MAX], 1)
    inherited = (context[:, :state.shape[1]] * 0.75).floor()
    return torch.cat([torch.maximum(state, inherited), mark], 1)


def temporal_context(states: Sequence[Tensor], vectors: Tensor, modes: Tensor) -> Tensor:
    """Context of a predicted frame's integer network: integers 0..31 [B, C + 2, h, w].

    Args:
        states: `reference_levels` of the references, [B, C, h, w].
        vectors: integers [B, R, 2, h, w] per 8x8 block.
        modes: integers [B, h/2, w/2] per 16x16 block.

    Returns:
        The states warped along the vectors; the spread of the first vectors over 3x3 blocks, as a
        level (a vector that is not used counts as 0); and 31 where both references are used.
    """
    if plane_kernels.at_hand(*states):
        arrays = [plane_kernels.channels_last(state) for state in states]
        batch, channels, height, width = states[0].shape
        context, out = plane_kernels.new_channels_last(states[0].dtype, batch, channels + 2, height,
                                                       width)
        latent_kernels.temporal_context(
            arrays[0], arrays[-1], vectors.to(torch.int32).contiguous().numpy(),
            modes.to(torch.uint8).contiguous().numpy(), SUB_BLOCK * PRECISION,
            level_array(states[0].dtype), ACTIVATION_MAX, out)
        return context
    used = modes.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    both = used == 3
    # A vector that is not used is not in the stream.
    first = vectors[:, 0].to(states[0].dtype) * (used & 1)
    first = F.pad(first, (1, 1, 1, 1), mode="replicate")
    most = F.max_pool2d(first, 3, 1) + F.max_pool2d(-first, 3, 1)
    spread = log_levels(most.amax(1, keepdim=True))
    return torch.cat([warp_levels(states, vectors, modes), spread,
                      both.to(spread.dtype) * ACTIVATION_MAX], 1)


def warp_levels(states: Sequence[Tensor], vectors: Tensor, modes: Tensor) -> Tensor:
    """Warp states of 8x8 blocks along the vectors, in integers.

    Args:
        states: one or two tensors of integers [B, C, h, w].
        vectors: as for `predict`, rounded to whole blocks.
        modes: as for `predict`; with both references the maximum is taken.
    """
    batch, channels, h, w = states[0].shape
    used = modes.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    # Channels last: the numbers of a block are contiguous and move together.
    first = torch.arange(batch, device=modes.device)[:, None, None] * (h * w)
    warped: list[Tensor] = []
    for number, state in enumerate(states):
        size = SUB_BLOCK * PRECISION
        blocks = vectors[:, number].long()
        # Halves away from zero: symmetric in sign.
        blocks = blocks.sign() * ((blocks.abs() + size // 2) // size)
        rows = (torch.arange(h, device=state.device)[:, None] + blocks[:, 0]).clamp(0, h - 1)
        columns = (torch.arange(w, device=state.device) + blocks[:, 1]).clamp(0, w - 1)
        place = (first + rows * w + columns).flatten()
        flat = state.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, place)
        moved = flat.view(batch, h, w, channels).permute(0, 3, 1, 2)
        warped.append(moved * ((used >> number) & 1))
    return warped[0] if len(warped) == 1 else torch.maximum(*warped)


@dataclass(eq=False)
class _CodedFrame:
    """State of one coded frame.

    Attributes:
        levels: `reference_levels` as uint8; None where no context is asked for.
        vectors: of 16x16 blocks to the first reference; None for an intra frame.
        distance: signed, to that reference, in frames.
    """

    levels: Tensor | None
    vectors: np.ndarray | None
    distance: int


class ReferenceBuffer:
    """Coded frames that later frames may refer to.

    Args:
        uses: of frames by later ones; without, frames are kept until `drop`.
    """

    def __init__(self, uses: UseCount | None = None) -> None:
        self._frames: dict[int, _CodedFrame] = {}
        self._uses, self._dtype = uses, torch.float32

    def temporal_predictors(self, number: int, references: Sequence[int],
                            blocks: tuple[int, int]) -> list[TemporalPredictor]:
        """Temporal predictors of a frame's vectors, one for each of its references.

        The vectors of a reference are scaled by temporal distance; those to the second reference
        are predicted by those to the first, mirrored.

        Args:
            number: of the frame.
            references: the frames it refers to.
            blocks: rows and columns of 16x16 blocks.
        """
        # The later reference's motion passes through this frame.
        moving = [f for r in reversed(references) if (f := self._frames[r]).vectors is not None]
        predictors: list[TemporalPredictor] = []
        for reference in references:
            distance = number - reference
            if predictors:
                predictors.append(partial(scale_vectors, num=distance, den=number - references[0]))
            elif moving and moving[0].vectors is not None:
                predictors.append(scale_vectors(moving[0].vectors, distance, moving[0].distance))
            else:
                predictors.append(np.zeros((2, *blocks), np.int16))
        return predictors

    def context(self, references: Sequence[Sequence[int]], motions: Sequence[Motion]) -> Tensor:
        """Temporal context of frames: integers [B, 99, h, w]; bytes in compiled loops."""
        states = [torch.cat([levels for r in same
                             if (levels := self._frames[r].levels) is not None])
                  for same in zip(*references, strict=True)]
        if not plane_kernels.at_hand(*states):
            states = [state.to(self._dtype) for state in states]
        vectors, modes = motion_tensors(motions, states[0].device)
        return temporal_context(states, vectors, modes)

    def store(self, number: int, codes: Codes | None, references: Sequence[int] = (),
              motion: Motion | None = None, context: Tensor | None = None) -> None:
        """Store a coded frame, if any is still to refer to it; without codes, its vectors only."""
        if self._uses is not None and number not in self._uses:
            return
        levels = None
        if codes is not None:
            self._dtype = codes.latent.dtype
            levels = reference_levels(codes.latent, context).to(torch.uint8)
        vectors = None if motion is None else motion.parents[0]
        distance = number - references[0] if references else 0
        self._frames[number] = _CodedFrame(levels, vectors, distance)

    def release(self, references: Iterable[int]) -> None:
        """Drop frames of which these are the last uses."""
        assert self._uses is not None
        for number in self._uses.release(references):
            del self._frames[number]

    def copy(self) -> ReferenceBuffer:
        """Return an independent copy."""
        other = copy(self)
        other._frames = dict(self._frames)
        return other

    def drop(self, number: int) -> None:
        """Drop a frame."""
        del self._frames[number]


def distance_classes(numbers: Sequence[int], references: Sequence[Sequence[int]]) -> DistanceClass:
    """Class of the distance from each frame to the nearest of its references."""
    classes = tuple(distance_class(min(abs(number - reference) for reference in used))
                    for number, used in zip(numbers, references, strict=True))
    return classes[0] if len(set(classes)) == 1 else classes


def motion_tensors(motions: Sequence[Motion], device: torch.device) -> tuple[Tensor, Tensor]:
    """Vectors [B, R, 2, h, w] and modes [B, h/2, w/2] of frames."""
    vectors = np.stack([motion.vectors for motion in motions]).astype(np.int32)
    modes = np.stack([motion.modes for motion in motions])
    return torch.from_numpy(vectors).to(device), torch.from_numpy(modes).to(device)


def coded_mask(flags: Sequence[np.ndarray], device: torch.device) -> Tensor | None:
    """Flags bool [h/4, w/4] of frames as float [B, 1, h/4, w/4]; None where all cells are coded."""
    stacked = np.stack(flags)
    if stacked.all():
        return None
    return torch.from_numpy(stacked).to(device, torch.float32)[:, None]
