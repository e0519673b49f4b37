"""How many threads compute, and that they sleep while they wait for each other.

A network's threads wait for the slowest of them after every layer. By default they spin, and where
another process has one of the cores, they spin most of the time: ten times the work, on all cores.
OpenMP reads how to wait, and how many threads to start, once: when torch is first imported.
`import aehub` therefore says both, unless the user's environment does. Where torch was imported
before aehub, the number is still kept, but threads spin: import aehub first, or set
`OMP_WAIT_POLICY=PASSIVE`.

The number is `AEHUB_THREADS`, and at most that of the machine's cores; without it, every library
takes what it thinks best.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from aehub.config import whole_number
from aehub.errors import InputError

VARIABLE = "AEHUB_THREADS"


def prepare() -> None:
    """Tell the OpenMP runtime, which torch will load, how to wait and how many threads to start."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A value that cannot be used is refused where work begins, not by an import.
    with contextlib.suppress(InputError):
        hold()


def budget() -> int | None:
    """Return how many threads may compute at once, None if nothing is said.

    Raises:
        InputError: `AEHUB_THREADS` is no whole number above zero.
    """
    count = whole_number(os.environ, VARIABLE)
    return None if count is None else min(count, os.cpu_count() or 1)


def at_most(count: int) -> int:
    """Return `count`, or the budget if that is less; raises as `budget`."""
    return min(count, budget() or count)


def share(context: Any) -> None:
    """Hold one codec of FFmpeg, a context of PyAV that is not open yet, to the budget."""
    if (count := budget()) is not None:
        context.thread_count = count


def allow(count: int) -> None:
    """Set the budget of this process, and of those that it starts, to `count` threads."""
    os.environ[VARIABLE] = str(count)
    hold()


def hold() -> None:
    """Hold OpenMP and torch, whether or not it is loaded yet, to the budget; raises as `budget`.

    Whoever opens a codec of FFmpeg gives it the budget with `share`.
    """
    count = budget()
    if count is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "set_num_threads"):
        return
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    if torch.get_num_interop_threads() != count:
        # Refused once such threads run: they are then as many as they were.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(count)
