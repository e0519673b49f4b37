"""What the frames of a group know of each other in integers: where blocks came from, and codes.

Encoder, decoder and editor keep the same chain; pictures are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from aehub.codec.structure import kind_of
from aehub.models.d4_codec import Codes
from aehub.motion.context import context_of, seen
from aehub.motion.field import Motion, scaled
from aehub.motion.vectors import Base


@dataclass(eq=False)
class _Past:
    """One coded frame: its codes and their context, and its first vectors over so many frames."""

    known: tuple[Tensor, Tensor | None] | Tensor
    flow: np.ndarray | None
    span: int

    @property
    def state(self) -> Tensor:
        """Its codes as later frames' context; half of all frames are never asked."""
        if isinstance(self.known, tuple):
            self.known = seen(*self.known)
        return self.known


class Chain:
    """The coded frames that others may still refer to."""

    def __init__(self) -> None:
        self._past: dict[int, _Past] = {}

    def bases(self, number: int, references: Sequence[int], blocks: tuple[int, int]) -> list[Base]:
        """What the vectors of a frame are expected to be, for each of its references.

        Motion goes on as it went in a reference; the way to the second reference mirrors the way
        to the first.

        Args:
            number: of the frame.
            references: the frames it refers to.
            blocks: rows and columns of 16x16 blocks.
        """
        # The later reference's motion passes through this frame.
        moving = [self._past[r] for r in reversed(references) if self._past[r].flow is not None]
        bases: list[Base] = []
        for reference in references:
            distance = number - reference
            if bases:
                bases.append(partial(scaled, num=distance, den=number - references[0]))
            elif moving and moving[0].flow is not None:
                bases.append(scaled(moving[0].flow, distance, moving[0].span))
            else:
                bases.append(np.zeros((2, *blocks), np.int16))
        return bases

    def context(self, references: Sequence[int], motion: Motion) -> Tensor:
        """What the integer network sees of the references: integers [1, 99, h, w]."""
        states = [self._past[r].state for r in references]
        vectors, modes = motion_tensors(motion, states[0].device)
        return context_of(states, vectors, modes)

    def remember(self, number: int, codes: Codes, references: Sequence[int] = (),
                 motion: Motion | None = None, context: Tensor | None = None) -> None:
        """Keep what later frames may want to know of this one."""
        flow = None if motion is None else motion.parents[0]
        span = number - references[0] if references else 0
        self._past[number] = _Past((codes.latent, context), flow, span)

    def copy(self) -> Chain:
        """A chain of the same frames that goes its own way."""
        other = Chain()
        other._past = dict(self._past)
        return other

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all other frames."""
        self._past = {n: self._past[n] for n in numbers if n in self._past}


def kind(number: int, references: Sequence[int]) -> int:
    """The kind of a predicted frame that its networks are told."""
    return kind_of(min(abs(number - reference) for reference in references))


def motion_tensors(motion: Motion, device: torch.device) -> tuple[Tensor, Tensor]:
    """Vectors [1, R, 2, h, w] and modes [1, h/2, w/2] of one frame."""
    vectors = torch.from_numpy(motion.vectors.astype(np.int32)).to(device)[None]
    return vectors, torch.from_numpy(motion.modes).to(device)[None]


def coded_places(motion: Motion, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where codes are written: float [1, 1, h/4, w/4] for hyper-codes, [1, 1, h, w] for latents."""
    cells = torch.from_numpy(motion.coded).to(device, torch.float32)[None, None]
    return cells, cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
