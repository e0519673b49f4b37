"""Memory that a job takes, sampled while it runs."""

from __future__ import annotations

import ctypes
import gc
import threading
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
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
        gc.collect(1)  # Of what is new: a whole collection takes longer than many a job.
        with suppress(AttributeError, OSError):  # Of glibc.
            ctypes.CDLL(None).malloc_trim(0)
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


def allocated_bytes() -> int | None:
    """Return the resident memory of this process without mapped files; None if not on Linux."""
    with suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None
