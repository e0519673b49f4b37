"""SVT-AV1 as a library among others: quiet, and at the priority of the rest of the process."""

from __future__ import annotations

import os
from pathlib import Path

import av

_THREADS = Path("/proc/self/task")


def open_svt(context: av.VideoCodecContext) -> None:
    """Open an encoder of SVT-AV1, without its banner and without real-time priority.

    Run as root it gives the thread that opens it, and all its own, real-time priority (FIFO, 99)
    and leaves them there: whatever waits by spinning in that process afterwards starves the
    machine.
    """
    # The banner goes past every log handler and heeds only this.
    os.environ.setdefault("SVT_LOG", "1")
    if not hasattr(os, "sched_getscheduler") or not _THREADS.exists():
        context.open()
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = _threads()
    context.open()
    for thread in _threads() - before | {0}:
        try:
            os.sched_setscheduler(thread, policy, parameters)
        except ProcessLookupError:
            continue  # It ended meanwhile.


def _threads() -> set[int]:
    return {int(path.name) for path in _THREADS.iterdir()}
