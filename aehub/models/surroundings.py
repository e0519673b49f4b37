"""Shield loading and computing from the torch contexts that a caller may have entered.

Inference mode, autocast, and torch's default type and device apply to every function called within
them. A model is loaded once for all later calls, so nothing of the first caller's contexts may stay
in it; and a file decodes to the same pictures in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import RLock
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import torch

_LOADING = RLock()


class _Placed(Protocol):
    @property
    def device(self) -> torch.device: ...


_Owner = TypeVar("_Owner", bound=_Placed)
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@contextmanager
def plain() -> Iterator[None]:
    """Restore torch's defaults in the block: new tensors are ordinary float32 on the processor.

    For loading and training; the default type is of the process, so only one thread at a time.
    """
    with _LOADING, ExitStack() as stack:
        before = torch.get_default_dtype()
        if before != torch.float32:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(full_precision("cpu"))
        yield


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """Run networks on `device` in the block: no gradients, no autocast."""
    with torch.inference_mode(), full_precision(device.type):
        yield


def computes(work: Callable[Concatenate[_Owner, _Given], _Result]
             ) -> Callable[Concatenate[_Owner, _Given], _Result]:
    """Run a function under `computing`, on the device of its first argument."""

    @wraps(work)
    def run(owner: _Owner, /, *given: _Given.args, **named: _Given.kwargs) -> _Result:
        with computing(owner.device):
            return work(owner, *given, **named)

    return run


@contextmanager
def full_precision(kind: str) -> Iterator[None]:
    """Disable autocast in the block, on the processor and on devices of this kind."""
    with ExitStack() as stack:
        for one in {"cpu", kind}:
            if torch.amp.is_autocast_available(one) and torch.is_autocast_enabled(one):
                stack.enter_context(torch.autocast(one, enabled=False))
        yield
