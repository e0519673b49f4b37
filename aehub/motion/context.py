"""What the integer network may know of earlier frames: their codes, moved along the vectors.

Only integers: codes, and vectors in whole blocks. Decoded pixels never enter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.models.integer import ACTIVATION_MAX, levels
from aehub.motion.warp import BLOCK, PRECISION


def seen(codes: Tensor, context: Tensor | None) -> Tensor:
    """The state that a frame leaves: integers 0..31 [B, C + 1, h, w].

    Args:
        codes: of the frame, integers [B, C, h, w].
        context: of the frame; None for one that stands alone.

    Returns:
        The levels of the codes, not below three quarters of the references': a block that is
        skipped is not forgotten at once. The last channel marks codes of a frame that stands alone.
    """
    state = levels(codes)
    mark = torch.zeros_like(state[:, :1])
    if context is None:
        return torch.cat([state, mark + ACTIVATION_MAX], 1)
    known = context[:, :state.shape[1]]
    return torch.cat([torch.maximum(state, (known * 0.75).floor()), mark], 1)


def context_of(states: Sequence[Tensor], vectors: Tensor, modes: Tensor) -> Tensor:
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
    spread = levels(most.amax(1, keepdim=True))
    return torch.cat([carry(states, vectors, modes), spread,
                      both.to(spread.dtype) * ACTIVATION_MAX], 1)


def carry(states: Sequence[Tensor], vectors: Tensor, modes: Tensor) -> Tensor:
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
        size = BLOCK * PRECISION
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
