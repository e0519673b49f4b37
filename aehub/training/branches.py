"""Parts of the coder of predicted frames that add nothing: started anew, or left as they are."""

from __future__ import annotations

import torch

from aehub.models.d4_codec import Coder
from aehub.models.dct import PIXELS
from aehub.models.layers import Transform

_HYPER = "h"


@torch.no_grad()
def forget(coder: Coder, fresh: Coder, anew: str) -> None:
    """Start residual networks, and the means that `anew` names, as in a `fresh` coder.

    Args:
        coder: it is changed.
        fresh: an untrained one of the same shape.
        anew: digits of stages, and an h for what hyper-codes say of means.
    """
    for mine, new in ((coder.analysis, fresh.analysis), (coder.synthesis, fresh.synthesis)):
        new.linear.load_state_dict(mine.linear.state_dict())
        mine.load_state_dict(new.state_dict())
    if _HYPER in anew:
        coder.means.direct.theta.zero_()
        coder.means.unfold.theta.zero_()
    for stage in map(int, anew.replace(_HYPER, "")):
        for name in ("first", "bias", "last"):
            mine, new = (getattr(c.means, name)[stage] for c in (coder, fresh))
            mine.load_state_dict(new.state_dict())


def leave_silent(coder: Coder) -> None:
    """Networks that add nothing are not run if they do not learn."""
    for transform in (coder.analysis, coder.synthesis):
        if not transform.tail.theta.any():
            transform.requires_grad_(False)
            transform.linear.requires_grad_(True)
    means = coder.means
    for first, bias, last in zip(means.first, means.bias, means.last, strict=True):
        if not any(p.any() for p in last.parameters()):
            for part in (first, bias, last):
                part.requires_grad_(False)
    for layer in (means.direct, means.unfold):
        layer.requires_grad_(bool(layer.theta.any()))


@torch.no_grad()
def without_flat_areas(transform: Transform) -> None:
    """A start that does not see how bright a prediction is, only how it differs from place to
    place: brightness is ten times larger and says nothing."""
    dense = transform.head.dense().clone()
    for plane in dense[:, -PIXELS.channels:].split((64, 16, 16), 1):
        plane -= plane.mean((1, 2, 3), keepdim=True)
    transform.head.set_dense(dense)
