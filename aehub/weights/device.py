"""Device and type of networks, and isolation from the torch contexts of the caller.

Inference mode, autocast, and torch's default type and device apply to every function called within
them. A model is loaded once for all later calls, so nothing of the first caller's contexts may
remain in it; and a file must decode to the same pictures in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import torch

from aehub.errors import InputError
from aehub.threads import apply_budget

Device = str | torch.device
"""A device or its name, as `resolve_device` takes it."""
HALF_TYPES = (torch.bfloat16, torch.float16)
"""16-bit types, too short for codes and parameters: only convolutions run in them."""


def resolve_device(name: Device = "auto") -> torch.device:
    """Return the named device, and limit torch to the thread budget.

    Args:
        name: "auto" for a CUDA device if there is one, else the CPU; "cpu", "cuda", "cuda:1",
            "mps"; or a device.

    Raises:
        InputError: there is no such device on this machine, or `AEHUB_THREADS` cannot be used.
    """
    apply_budget()
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"the device {str(name)[:80]!r} is not known; give auto, cpu, cuda, "
                         "cuda:0 or mps.") from None
    if device.type == "cpu":
        return torch.device("cpu")
    # Indices above 255 wrap around in torch; then the names differ.
    if (device.index or 0) >= _count(device.type) or str(name) != str(device):
        raise InputError(f"the device {str(name)[:80]!r} is not on this machine; give "
                         f"{' or '.join(['auto', 'cpu', *_others()])}.")
    return device


def resolve_dtype(dtype: torch.dtype) -> torch.dtype:
    """Validate the type that float networks compute in.

    Raises:
        InputError: it is not one of float32, float64, bfloat16 and float16.
    """
    if dtype not in (torch.float32, torch.float64, *HALF_TYPES):
        raise InputError(f"the dtype {str(dtype)[:80]} is not one that networks compute in; give "
                         "torch.float32, float64, bfloat16 or float16.")
    return dtype


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return True if bfloat16 is faster than float32: a CPU without AVX-512 is 5 times slower."""
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _count(kind: str) -> int:
    """Number of devices of a type other than "cpu" on this machine."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module: Any = getattr(torch, kind, None)
    available = getattr(module, "is_available", None)
    return int(module.device_count()) if callable(available) and available() else 0


def _others() -> list[str]:
    return [f"{kind}:{n}" for kind in ("cuda", "xpu", "mps") for n in range(_count(kind))]


_LOAD_LOCK = RLock()


class _HasDevice(Protocol):
    @property
    def device(self) -> torch.device: ...


_Owner = TypeVar("_Owner", bound=_HasDevice)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Restore torch's defaults in the block: new tensors are ordinary float32 on the CPU.

    For loading and training. The default type belongs to the process, so one thread at a time.
    """
    with _LOAD_LOCK, ExitStack() as stack:
        before = torch.get_default_dtype()
        if before != torch.float32:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(no_autocast("cpu"))
        yield


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Run networks on `device` in the block: no gradients, no autocast."""
    with torch.inference_mode(), no_autocast(device.type):
        yield


def with_inference(work: Callable[Concatenate[_Owner, _Arguments], _Result]
             ) -> Callable[Concatenate[_Owner, _Arguments], _Result]:
    """Decorate a function to run under `inference` on the device of its first argument."""

    @wraps(work)
    def run(owner: _Owner, /, *arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        with inference(owner.device):
            return work(owner, *arguments, **named)

    return run


@contextmanager
def no_autocast(kind: str) -> Iterator[None]:
    """Disable autocast in the block, on the CPU and on devices of this type."""
    with ExitStack() as stack:
        for one in {"cpu", kind}:
            if torch.amp.is_autocast_available(one) and torch.is_autocast_enabled(one):
                stack.enter_context(torch.autocast(one, enabled=False))
        yield
