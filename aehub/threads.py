"""Thread budget of a process, and passive waiting of OpenMP threads.

The threads of a network wait for the slowest of them after every layer. By default they spin, and
if another process occupies one of the cores, they spin most of the time: ten times the processor
time. OpenMP reads the wait policy and the number of threads once, when torch is first imported, so
`import aehub` sets both, unless the environment does. If torch was imported before aehub, the
number is still set, but threads spin: import aehub first, or set `OMP_WAIT_POLICY=PASSIVE`.

The budget is `AEHUB_THREADS`, limited to the machine's cores; without it, every library uses its
own default.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from aehub.errors import InputError

VARIABLE = "AEHUB_THREADS"


def configure_openmp() -> None:
    """Set the wait policy and the number of threads of OpenMP, before torch loads its runtime."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # An invalid value is refused when work begins, not by an import.
    with contextlib.suppress(InputError):
        apply_budget()


def budget() -> int | None:
    """Return the largest number of computing threads, None if `AEHUB_THREADS` is not set.

    Raises:
        InputError: `AEHUB_THREADS` is not a whole number above zero.
    """
    if not os.environ.get(VARIABLE):
        return None
    # Imported here: it needs dataclasses, which `import aehub` avoids.
    from aehub.config import positive_integer

    count = positive_integer(os.environ, VARIABLE)
    return None if count is None else min(count, os.cpu_count() or 1)


def capped(count: int) -> int:
    """Return `count`, limited to the budget; raises as `budget`."""
    return min(count, budget() or count)


def limit_codec_threads(context: Any) -> None:
    """Limit the threads of a codec, a PyAV context that is not open yet, to the budget."""
    if (count := budget()) is not None:
        context.thread_count = count


def set_budget(count: int) -> None:
    """Set the budget of this process and of its child processes to `count` threads."""
    os.environ[VARIABLE] = str(count)
    apply_budget()


def apply_budget() -> None:
    """Apply the budget to OpenMP and torch, loaded or not; raises as `budget`.

    Codecs of FFmpeg are limited one by one, by `limit_codec_threads`.
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
        # Refused once such threads run; their number then stays as it was.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(count)
