"""One picture's codes between the networks and the range coder."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from aehub.models.d4_codec import Stage

Walk = Generator[tuple[Stage, Tensor, Tensor], Tensor, tuple[Tensor, Tensor]]
Choose = Callable[[Stage, Tensor, Tensor], Tensor]


def drive(walk: Walk, choose: Choose) -> tuple[Tensor, Tensor]:
    """Run a walk whose codes are at hand: `choose(stage, mean, index)` gives those of a stage."""
    asked = next(walk)
    while True:
        try:
            asked = walk.send(choose(*asked))
        except StopIteration as end:
            return cast(tuple[Tensor, Tensor], end.value)


def flat(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> [n] in that order of axes, whatever the memory layout."""
    return whole(values, dtype).ravel()


def whole(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> the same as an array in that order of axes."""
    return np.ascontiguousarray(values.cpu().numpy(), dtype)


def shaped(values: np.ndarray, like: Tensor) -> Tensor:
    """The inverse of `flat`: [n] -> float tensor of the shape, type and device of `like`."""
    codes = torch.from_numpy(values).to(like.device, like.dtype).view(like.shape)
    return codes.contiguous(memory_format=torch.channels_last)
