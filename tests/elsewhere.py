"""A second device on a machine that has none: its tensors lie in memory, and never mix.

torch calls it "meta". Where a GPU's tensors would meet the processor's, it raises, and so does
`.numpy()`; everything else is computed as the processor does it, so results can be compared bit by
bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
_CPU = torch.device("cpu")
_MOVES = {"aten::to", "aten::_to_copy", "aten::copy_"}


class Far(Tensor):
    """A tensor of the other device."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Far:
        return Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=NAME)

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
                           ) -> Any:
        return _run(function, args, kwargs or {})


class _Machine(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None
                           ) -> Any:
        return _run(function, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Numbers written in Python: torch makes nothing of them on "meta"."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None
                           ) -> Any:
        kwargs = dict(kwargs or {})
        place = kwargs.get("device")
        if function is Tensor.new_tensor and isinstance(args[0], Far):
            return torch.tensor(args[1], dtype=args[0].dtype, device=_CPU).to(NAME)
        if function in (torch.tensor, torch.as_tensor) and place is not None:
            return function(*args, **{**kwargs, "device": _CPU}).to(place)
        return function(*args, **kwargs)


@contextmanager
def another_device() -> Iterator[str]:
    """The name of a device that exists within the block."""
    with _Literals(), _Machine():
        yield NAME


def _run(function: Any, args: Any, kwargs: Any) -> Any:
    leaves = tree_leaves((args, kwargs))
    given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    far = [leaf for leaf in given if isinstance(leaf, Far)]
    near = [leaf for leaf in given if not isinstance(leaf, Far) and leaf.dim()]
    name = function.name().split(".")[0]
    if far and near and name not in _MOVES:
        raise RuntimeError(f"{name} mixes devices: {[tuple(t.shape) for t in near]}")
    wanted = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    # Beside a device that is named, the result is where the last tensor given is: `to` takes two.
    is_far = wanted[0].type == NAME if wanted else bool(given) and isinstance(given[-1], Far)
    if name == "aten::copy_":
        is_far = isinstance(given[0], Far)
    plain_args, plain_kwargs = tree_map(_plain, (args, kwargs))
    result = function(*plain_args, **plain_kwargs)
    known = {id(leaf.held): leaf for leaf in far}

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else Far(leaf)

    return tree_map(wrapped, result) if is_far else result


def _plain(leaf: Any) -> Any:
    if isinstance(leaf, Far):
        return leaf.held
    return _CPU if isinstance(leaf, torch.device) else leaf
