"""Choose the device that networks run on, and the type that they compute in."""

from __future__ import annotations

from typing import Any

import torch

from aehub.errors import InputError
from aehub.threads import hold

Device = str | torch.device
"""A device or its name, as `resolve_device` takes it."""
SHORT = (torch.bfloat16, torch.float16)
"""Types that are too short for codes and parameters: only convolutions run in them."""


def resolve_device(given: Device = "auto") -> torch.device:
    """Return the device that a name stands for, and limit torch to the budget of threads.

    Args:
        given: "auto" for a GPU of CUDA if there is one, and the processor otherwise; "cpu", "cuda",
            "cuda:1", "mps"; or a device.

    Raises:
        InputError: there is no such device on this machine, or `AEHUB_THREADS` cannot be used.
    """
    hold()
    if isinstance(given, str) and given == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"the device {str(given)[:80]!r} is not known; give auto, cpu, cuda, "
                         "cuda:0 or mps.") from None
    if device.type == "cpu":
        return torch.device("cpu")
    # An index beyond a byte wraps around in torch, and then the names differ.
    if (device.index or 0) >= _count(device.type) or str(given) != str(device):
        raise InputError(f"the device {str(given)[:80]!r} is not on this machine; give "
                         f"{' or '.join(['auto', 'cpu', *_others()])}.")
    return device


def resolve_dtype(given: torch.dtype) -> torch.dtype:
    """Return the type that float networks shall compute in.

    Raises:
        InputError: networks cannot.
    """
    if given not in (torch.float32, torch.float64, *SHORT):
        raise InputError(f"the dtype {str(given)[:80]} is not one that networks compute in; give "
                         "torch.float32, float64, bfloat16 or float16.")
    return given


def _count(kind: str) -> int:
    """How many devices of a kind other than the processor this machine has."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module: Any = getattr(torch, kind, None)
    available = getattr(module, "is_available", None)
    return int(module.device_count()) if callable(available) and available() else 0


def _others() -> list[str]:
    return [f"{kind}:{n}" for kind in ("cuda", "xpu", "mps") for n in range(_count(kind))]
