"""Memory that a job takes, sampled while it runs."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from contextlib import suppress
from pathlib import Path

_STATUS = "/proc/{}/status"
_LIMIT = "/sys/fs/cgroup/memory.max"
"""Memory of a container on Linux, in bytes, or "max"."""
_INTERVAL = 0.02
"""Seconds between two samples."""


class PeakMemory:
    """Most memory that this process has within a block, beyond what it had before.

    Allocated memory counts, mapped files do not. Memory that was freed before is given back to the
    system first, or the next block would find it there. Other work of the process counts, too, and
    peaks shorter than 20 ms may be missed.

    Attributes:
        bytes: the peak so far; None where the system does not tell (other than Linux).
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="aehub-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        give_back()
        self._before = allocated_bytes()
        if self._before is not None:
            self.bytes = 0
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _sample(self) -> None:
        while True:
            now = allocated_bytes()
            if now is not None and self._before is not None and self.bytes is not None:
                self.bytes = max(self.bytes, now - self._before)
            if self._ended.wait(_INTERVAL):
                return


def give_back() -> None:
    """Give freed memory back to the system, where its C library is one that keeps it."""
    gc.collect(1)  # Of what is new: a whole collection takes longer than many a job.
    with suppress(AttributeError, OSError):  # Of glibc.
        ctypes.CDLL(None).malloc_trim(0)


def allocated_bytes(process: int | None = None) -> int | None:
    """Return the resident memory of a process without mapped files.

    Args:
        process: its number; None is this one.

    Returns:
        Bytes; None if not on Linux, or the process has ended.
    """
    with suppress(OSError, ValueError):
        for line in Path(_STATUS.format(process or "self")).read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None


def machine_bytes() -> int | None:
    """Return the memory of the machine, or of the container if that has less; None if unknown."""
    sizes = list[int]()
    with suppress(AttributeError, OSError, ValueError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):
        sizes.append(int(Path(_LIMIT).read_text()))
    return min(sizes, default=None)
