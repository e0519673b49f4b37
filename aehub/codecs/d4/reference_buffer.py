"""What the frames of a group know of each other in integers: where blocks came from, and codes.

Encoder, decoder and editor keep the same chain; pictures are not part of it.

What the integer network may know of earlier frames: their codes, moved along the vectors.

Only integers: codes, and vectors in whole blocks. Decoded pixels never enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4.integer_conv import ACTIVATION_MAX, log_levels
from aehub.codecs.d4.motion.coding import TemporalPredictor
from aehub.codecs.d4.motion.compensate import PRECISION, SUB_BLOCK
from aehub.codecs.d4.motion.field import Motion, scale_vectors
from aehub.codecs.d4.network import Codes
from aehub.codecs.gop import distance_class


def reference_levels(codes: Tensor, context: Tensor | None) -> Tensor:
    """The state that a frame leaves: integers 0..31 [B, C + 1, h, w].

    Args:
        codes: of the frame, integers [B, C, h, w].
        context: of the frame; None for one that stands alone.

    Returns:
        The levels of the codes, not below three quarters of the references': a block that is
        skipped is not forgotten at once. The last channel marks codes of a frame that stands alone.
    """
    state = log_levels(codes)
    mark = torch.zeros_like(state[:, :1])
    if context is None:
        return torch.cat([state, mark + ACTIVATION_MAX], 1)
    known = context[:, :state.shape[1]]
    return torch.cat([torch.maximum(state, (known * 0.75).floor()), mark], 1)


def temporal_context(states: Sequence[Tensor], vectors: Tensor, modes: Tensor) -> Tensor:
    """What a predicted frame's integer network sees: integers 0..31 [B, C + 2, h, w].

    Args:
        states: of the references, [B, C, h, w].
        vectors: integers [B, R, 2, h, w] per 8x8 block.
        modes: integers [B, h/2, w/2] per 16x16 block.

    Returns:
        The references' states, moved; how far the first vectors around differ, as a level (0 is
        taken where the first is not used); and 31 where both references are used.
    """
    used = modes.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    both = used == 3
    # A vector that is not used is not in the file.
    first = vectors[:, 0].to(states[0].dtype) * (used & 1)
    first = F.pad(first, (1, 1, 1, 1), mode="replicate")
    most = F.max_pool2d(first, 3, 1) + F.max_pool2d(-first, 3, 1)
    spread = log_levels(most.amax(1, keepdim=True))
    return torch.cat([warp_levels(states, vectors, modes), spread,
                      both.to(spread.dtype) * ACTIVATION_MAX], 1)


def warp_levels(states: Sequence[Tensor], vectors: Tensor, modes: Tensor) -> Tensor:
    """Move what is known per 8x8 block along the vectors, in integers.

    Args:
        states: one or two tensors of integers [B, C, h, w].
        vectors: as for `predict`; each block takes from the one nearest to where it points.
        modes: as for `predict`; with both references the larger number counts.
    """
    batch, channels, h, w = states[0].shape
    used = modes.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    # Channels last: a block's numbers lie together and are moved together.
    first = torch.arange(batch, device=modes.device)[:, None, None] * (h * w)
    carried: list[Tensor] = []
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
        carried.append(moved * ((used >> number) & 1))
    return carried[0] if len(carried) == 1 else torch.maximum(*carried)


@dataclass(eq=False)
class _CodedFrame:
    """One coded frame: its codes and their context, and its first vectors over so many frames."""

    source: tuple[Tensor, Tensor | None] | Tensor
    flow: np.ndarray | None
    span: int

    @property
    def state(self) -> Tensor:
        """Its codes as later frames' context; half of all frames are never asked."""
        if isinstance(self.source, tuple):
            self.source = reference_levels(*self.source)
        return self.source


class ReferenceBuffer:
    """The coded frames that others may still refer to."""

    def __init__(self) -> None:
        self._frames: dict[int, _CodedFrame] = {}

    def temporal_predictors(self, number: int, references: Sequence[int],
                            blocks: tuple[int, int]) -> list[TemporalPredictor]:
        """What the vectors of a frame are expected to be, for each of its references.

        Motion goes on as it went in a reference; the way to the second reference mirrors the way
        to the first.

        Args:
            number: of the frame.
            references: the frames it refers to.
            blocks: rows and columns of 16x16 blocks.
        """
        # The later reference's motion passes through this frame.
        moving = [self._frames[r] for r in reversed(references) if self._frames[r].flow is not None]
        temporal_predictors: list[TemporalPredictor] = []
        for reference in references:
            distance = number - reference
            if temporal_predictors:
                temporal_predictors.append(partial(scale_vectors, num=distance,
                                                   den=number - references[0]))
            elif moving and moving[0].flow is not None:
                temporal_predictors.append(scale_vectors(moving[0].flow, distance, moving[0].span))
            else:
                temporal_predictors.append(np.zeros((2, *blocks), np.int16))
        return temporal_predictors

    def context(self, references: Sequence[int], motion: Motion) -> Tensor:
        """What the integer network sees of the references: integers [1, 99, h, w]."""
        states = [self._frames[r].state for r in references]
        vectors, modes = motion_tensors(motion, states[0].device)
        return temporal_context(states, vectors, modes)

    def store(self, number: int, codes: Codes, references: Sequence[int] = (),
                 motion: Motion | None = None, context: Tensor | None = None) -> None:
        """Keep what later frames may want to know of this one."""
        flow = None if motion is None else motion.parents[0]
        span = number - references[0] if references else 0
        self._frames[number] = _CodedFrame((codes.latent, context), flow, span)

    def copy(self) -> ReferenceBuffer:
        """A chain of the same frames that goes its own way."""
        other = ReferenceBuffer()
        other._frames = dict(self._frames)
        return other

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all other frames."""
        self._frames = {n: self._frames[n] for n in numbers if n in self._frames}


def kind(number: int, references: Sequence[int]) -> int:
    """The kind of a predicted frame that its networks are told."""
    return distance_class(min(abs(number - reference) for reference in references))


def motion_tensors(motion: Motion, device: torch.device) -> tuple[Tensor, Tensor]:
    """Vectors [1, R, 2, h, w] and modes [1, h/2, w/2] of one frame."""
    vectors = torch.from_numpy(motion.vectors.astype(np.int32)).to(device)[None]
    return vectors, torch.from_numpy(motion.modes).to(device)[None]


def coded_masks(motion: Motion, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where codes are written: float [1, 1, h/4, w/4] for hyper-codes, [1, 1, h, w] for latents."""
    cells = torch.from_numpy(motion.coded_flags).to(device, torch.float32)[None, None]
    return cells, cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
