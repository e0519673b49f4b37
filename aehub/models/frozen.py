"""Layers that cache values derived from their parameters, while these are constant.

Tied weights are expanded, and curves over quality are evaluated; both would take much of a small
picture's time. Code that loads a network to use it calls `freeze`, and from then on each layer
computes them once. Copies of a frozen network are not frozen, nor is a network that
is put into training mode, or whose parameters require gradients: those may be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Layer = TypeVar("_Layer", bound="Freezable")

# Of one layer, such as its numbers at the qualities that a clip's frames have.
_MOST = 32


class Freezable(nn.Module):
    """A layer that derives larger values from its parameters.

    Attributes:
        frozen: its parameters are constant, apart from their device and type.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self._kept: dict[Hashable, Tensor] = {}

    def kept(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return what `make` returns; the cached value, if frozen and without gradients.

        Args:
            key: of what is made, among all that this layer keeps.
            make: makes it of the parameters.
        """
        if not self.frozen or torch.is_grad_enabled():
            return make()
        if any(own is not None and own.requires_grad for own in self._parameters.values()):
            self.forget()
            return make()
        # Never asked twice: another thread may have begun a new dictionary in between.
        found = self._kept.get(key)
        if found is None:
            found = make()
            if len(self._kept) >= _MOST:
                self.forget()
            self._kept[key] = found
        return found

    def forget(self) -> None:
        """Clear the cache, for the parameters have changed."""
        self._kept = {}

    def train(self: _Layer, mode: bool = True) -> _Layer:
        """Put the layer into training mode, in which nothing is kept, or into evaluation mode."""
        if mode:
            self.frozen = False
            self.forget()
        return super().train(mode)

    def _apply(self: _Layer, *arguments: Any, **options: Any) -> _Layer:
        self.forget()
        return super()._apply(*arguments, **options)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self.forget()
        super()._load_from_state_dict(*arguments, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "frozen": False, "_kept": {}}


def freeze(network: nn.Module) -> None:
    """Let the layers of a network cache what they derive from their parameters."""
    for module in network.modules():
        if isinstance(module, Freezable):
            module.frozen = True
