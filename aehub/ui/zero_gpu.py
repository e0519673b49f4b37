"""A GPU for a function on ZeroGPU Spaces, which lend one to a call."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
GPU_SECONDS = 120
"""Longest time a function may hold a ZeroGPU."""


def is_zero_gpu() -> bool:
    """Return whether this is a ZeroGPU Space: other processes than that of the call have no GPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU")) and find_spec("spaces") is not None


def gpu(function: _Function) -> _Function:
    """Request a GPU for a function on ZeroGPU Spaces; return the function itself elsewhere."""
    try:
        spaces: Any = import_module("spaces")
    except ImportError:
        return function
    decorated: _Function = spaces.GPU(duration=GPU_SECONDS)(function)
    return decorated
