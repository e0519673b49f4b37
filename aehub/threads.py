"""Thread budget of a process: who computes side by side, and how threads wait.

The OpenMP threads of a network wait for the slowest of them after every layer. By default they
spin, and if another process occupies one of the cores, they spin most of the time: ten times the
processor time. OpenMP reads the wait policy and the number of threads once, when torch is first
imported, so `import aehub` sets both, unless the environment does. Where torch was imported before
aehub nothing changes how threads wait any more; but what runs in `pool` or within `one_thread`
computes a network in one OpenMP thread, which waits for nobody.

The budget is `AEHUB_THREADS`, limited to the cores of the process; without it, every library uses
its own default.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import lru_cache
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread, current_thread, local
from typing import TYPE_CHECKING, Any, TypeVar

from aehub.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_Item = TypeVar("_Item")

VARIABLE = "AEHUB_THREADS"
_QUOTA = "/sys/fs/cgroup/cpu.max"
"""Processor time of a container on Linux: microseconds in every period of so many, or "max"."""
_LOCK = Lock()
_OF_THREAD = local()


def configure_openmp() -> None:
    """Set the wait policy and the number of threads of OpenMP, before torch loads its runtime."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if _quota() is not None:
        # OpenMP counts the cores of the machine.
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
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
    return None if count is None else min(count, cores())


def cores() -> int:
    """Return the number of cores that this process may use: of its affinity and container."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return min(count, _quota() or count)


@lru_cache(maxsize=1)
def _quota() -> int | None:
    """Cores' worth of processor time that the container has, rounded up; None without a limit."""
    with contextlib.suppress(OSError, ValueError), open(_QUOTA, encoding="ascii") as file:
        quota, period = map(int, file.read().split())
        return max(1, -(-quota // period))
    return None


def workers() -> int:
    """Return the number of threads that compute side by side: the budget, or `cores`."""
    return capped(cores())


def free_workers() -> int:
    """Return the number of threads among which the calling thread may share its work.

    One where it `computes_alone`: others compute beside it already.
    """
    return 1 if computes_alone() else workers()


def computes_alone() -> bool:
    """Return whether the calling thread is one of `pool`, or within `one_thread`."""
    return getattr(_OF_THREAD, "is_single", False)


def pool() -> ThreadPoolExecutor:
    """Return the threads of this process that compute side by side, `workers()` of them.

    Each computes in one OpenMP thread. A job must not wait for another job: all threads may be
    taken.
    """
    # Threads of a parent do not live on in a fork; torch, once loaded, must be told by each thread.
    return _pool(os.getpid(), workers(), "torch" in sys.modules)


@lru_cache(maxsize=1)
def _pool(process: int, count: int, with_torch: bool) -> ThreadPoolExecutor:
    # Imported here: `import aehub` does without.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, "aehub-worker", _compute_alone)


def _compute_alone() -> None:
    _OF_THREAD.is_single = True
    _set_threads_of_this_one(1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one OpenMP thread in the block; other threads of the process are not concerned."""
    torch: Any = sys.modules.get("torch")
    before = getattr(_OF_THREAD, "is_single", False), torch.get_num_threads() if torch else 1
    _compute_alone()
    try:
        yield
    finally:
        _OF_THREAD.is_single = before[0]
        _set_threads_of_this_one(before[1])


def _set_threads_of_this_one(count: int) -> None:
    """Set the number of OpenMP threads of work that the calling thread begins."""
    torch: Any = sys.modules.get("torch")
    # Asked first: a thread takes over the number of the process at its first question.
    if torch is None or torch.get_num_threads() == count:
        return
    with _LOCK:
        # torch changes the number of later threads too; only a new thread can tell and restore it.
        of_process: list[int] = []
        _in_a_new_thread(lambda: of_process.append(torch.get_num_threads()))
        torch.set_num_threads(count)
        _in_a_new_thread(lambda: torch.set_num_threads(of_process[0]))


def _in_a_new_thread(action: Callable[[], None]) -> None:
    thread = Thread(target=action)
    thread.start()
    thread.join()


def ahead(items: Iterable[_Item], bound: int) -> Generator[_Item, None, None]:
    """Iterate in a thread of its own, up to `bound` items ahead of the caller.

    An error is raised where the item would have come. Closing waits until the thread has closed
    `items`; so does the exit of the process. With a bound of 0 or a budget of one thread there is
    no other thread.
    """
    if bound == 0 or free_workers() == 1:
        yield from items
        return
    # At the end of the process modules are cleared before iterators that are left open are closed.
    maker, unregister = _Maker(items, bound), atexit.unregister
    atexit.register(maker.close)
    try:
        maker.start()
        while item := maker.made.get():
            maker.room.release()
            yield item.pop()
        if maker.error is not None:
            raise maker.error
    finally:
        unregister(maker.close)
        maker.close()
        # Its traceback leads back to this frame.
        maker.error = None


class _Maker(Thread):
    """The thread of `ahead`; an empty list after its last item."""

    def __init__(self, items: Iterable[Any], bound: int) -> None:
        # Other threads than daemons are awaited at the exit before anything could close them.
        super().__init__(name="aehub-ahead", daemon=True)
        self.room, self.made = Semaphore(bound), SimpleQueue[list[Any]]()
        self.error: BaseException | None = None
        self._items, self._is_closed = iter(items), False

    def run(self) -> None:
        try:
            while self.room.acquire() and not self._is_closed:
                self.made.put([next(self._items)])
        except StopIteration:
            pass
        except BaseException as error:
            self.error = error
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
            self.made.put([])

    def close(self) -> None:
        self._is_closed = True
        self.room.release()
        # The garbage collector may close an iterator in any thread: one that this thread waits for
        # must not wait for it.
        if self.is_alive() and self is not current_thread() and not computes_alone():
            self.join()


def capped(count: int) -> int:
    """Return `count`, limited to the budget; raises as `budget`."""
    return min(count, budget() or count)


def limit_codec_threads(context: Any) -> None:
    """Limit the threads of a codec, a PyAV context that is not open yet, to the budget, or to what
    the container has."""
    if budget() is not None or _quota() is not None:
        context.thread_count = workers()


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
