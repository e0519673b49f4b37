"""Frozen layers cache values derived from their parameters while these cannot change."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aehub.codecs.d4.integer_conv import IntegerConv2d
from aehub.codecs.d4.symmetry import REGULAR
from aehub.codecs.d4.tied_conv import Freezable, TiedConv2d, freeze
from aehub.codecs.d4.transforms import QualityCurve

QUALITY = torch.tensor([50.0])
LAYERS: dict[str, tuple[Callable[[], Freezable], Callable[[Freezable], Tensor]]] = {
    "TiedConv2d": (lambda: TiedConv2d(REGULAR, REGULAR), lambda layer: layer.weight()),
    "IntegerConv2d": (lambda: IntegerConv2d(REGULAR, REGULAR), lambda layer: layer.weight()),
    "QualityCurve": (lambda: QualityCurve(REGULAR, start=1.0), lambda layer: layer(QUALITY)),
}
every_layer = pytest.mark.parametrize(("make", "use"), LAYERS.values(), ids=list(LAYERS))


def zeroed(layer: Freezable) -> None:
    """As training scripts do it: behind the back of torch's own version counter."""
    for parameter in layer.parameters():
        parameter.data.zero_()


@every_layer
@torch.no_grad()
def test_a_layer_that_was_used_may_be_changed(
    make: Callable[[], Freezable], use: Callable[[Freezable], Tensor]
) -> None:
    layer = make()
    assert use(layer).any()
    zeroed(layer)
    assert not use(layer).any()


@every_layer
@torch.no_grad()
def test_a_frozen_layer_computes_once_until_it_may_have_changed(
    make: Callable[[], Freezable], use: Callable[[Freezable], Tensor]
) -> None:
    layer = make().requires_grad_(False)
    freeze(layer)
    assert use(layer) is use(layer)
    other = copy.deepcopy(layer)
    zeroed(other)
    assert use(layer).any() and not use(other).any()
    kept = use(layer)
    assert use(layer.double()).dtype == torch.float64
    assert torch.allclose(use(layer.float()), kept)
    layer.load_state_dict(other.state_dict())
    assert not use(layer).any() and use(layer) is use(layer)
    layer.requires_grad_(True)
    assert use(layer) is not use(layer)
    layer.requires_grad_(False)
    assert use(layer) is use(layer)
    layer.train()
    assert use(layer) is not use(layer)


@every_layer
def test_gradients_reach_the_parameters_of_a_frozen_layer(
    make: Callable[[], Freezable], use: Callable[[Freezable], Tensor]
) -> None:
    layer = make().requires_grad_(False)
    freeze(layer)
    with torch.inference_mode():
        use(layer)
    layer.requires_grad_(True)
    use(layer).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
