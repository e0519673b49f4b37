"""Worker processes that stay for the next job, for a server: cancelled, measured, replaced.

A task may be cancelled; a worker that does not stop soon is killed. The memory of a worker is
measured while it works, and one that takes too much is killed. A worker that is gone is replaced by
a new one, which loads what jobs need before there is one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any

from aehub.errors import AEHubError, LimitError
from aehub.jobs.processes import Worker
from aehub.jobs.task import Failed, Finished, Lost, Outcome, Task, Ticked
from aehub.report.memory import allocated_bytes

_POLL_SECONDS = 0.1
"""Between two answers of a task that has nothing to tell."""
_WATCH_SECONDS = 0.02
"""Between two measurements of memory: time to allocate some 20 MB on one core."""
_CANCEL_SECONDS = 1.0
"""That a cancelled task gets to close its files; a frame of a large clip takes as long."""
_REST_SECONDS = 1.0
"""After which workers that have nothing to do are looked at."""
_MOST_KEPT = 0.5
"""Share of the memory limit that a worker may keep from one job to the next."""
_MEGABYTE = 1_000_000
_NEW_BYTES = 290 * _MEGABYTE
"""Taken by a new worker with the default model: what has little more is not worth replacing."""


class WorkerError(Exception):
    """An error in a worker that nobody raised on purpose; the message is its traceback."""


class _Busy:
    """A worker, what it is at, and who waits for its end.

    Attributes:
        peak: bytes of memory so far.
        over: bytes for which it was killed; 0 if it was not.
        cancelled_at: time; None if nobody cancelled the task.
    """

    def __init__(self, worker: Worker, task: Task, ended: Callable[[], None]) -> None:
        self.worker, self.task, self.ended = worker, task, ended
        self.peak = self.over = 0
        self.cancelled_at: float | None = None


class WarmWorkers:
    """Workers for tasks of any threads; whoever runs tasks sees to it that there are not too many.

    Args:
        count: workers.
        n_threads: of each.
        memory_bytes: most that a worker may take, all in all; None for no limit. It is not
            measured on other systems than Linux.
        warm_up: command and arguments of a task that a new worker does first.
    """

    def __init__(self, count: int, n_threads: int, memory_bytes: int | None = None,
                 warm_up: tuple[str, Mapping[str, Any]] | None = None) -> None:
        self._count, self._n_threads, self._warm_up = count, n_threads, warm_up
        self.memory_bytes = memory_bytes
        self.peak_bytes = 0
        """Memory of the last task that ended, at its most."""
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._free, self._busy = list[Worker](), list[_Busy]()
        self._wake = threading.Event()
        self._watcher: threading.Thread | None = None
        self._is_closed = False

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that run."""
        with self._lock:
            return [one.process_id for one in (*self._free, *(busy.worker for busy in self._busy))]

    def start(self) -> None:
        """Start the workers that are missing."""
        with self._lock:
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="aehub-watcher",
                                                 daemon=True)
                self._watcher.start()
            while not self._is_closed and len(self._free) + len(self._busy) < self._count:
                worker = Worker(self._n_threads, thrifty=True)
                if self._warm_up is not None:
                    worker.give(Task(next(self._numbers), *self._warm_up))
                    worker.task = None
                self._free.append(worker)

    def run(self, command: str, arguments: Mapping[str, Any], ended: Callable[[], None]
            ) -> Generator[Ticked | None, None, Outcome]:
        """Run a task in a free worker; closing it cancels the task, without waiting for its end.

        Args:
            command: of `aehub.jobs.work.COMMANDS`.
            arguments: of it.
            ended: called once, when the worker does nothing of the task any more.

        Yields:
            Progress, or None, several times a second.

        Raises:
            AEHubError: the task cannot be done, or its worker died.
            LimitError: it took more memory than it may.
            WorkerError: an error that nobody raised on purpose.
        """
        try:
            busy = self._begin(Task(next(self._numbers), command, arguments), ended)
        except BaseException:
            ended()
            raise
        try:
            while True:
                event = self._next(busy)
                if isinstance(event, Ticked | None):
                    yield event
                    continue
                self._end(busy, is_dead=isinstance(event, Lost))
                return self._outcome(busy, event)
        finally:
            with self._lock:
                if busy in self._busy:
                    busy.cancelled_at = time.monotonic()
                    busy.worker.cancel()

    def close(self) -> None:
        """End all workers, at once. Without a lock: a signal may come while one is held."""
        self._is_closed = True
        workers = [*self._free, *(busy.worker for busy in list(self._busy))]
        self._wake.set()
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()

    def _begin(self, task: Task, ended: Callable[[], None]) -> _Busy:
        """Give a task to a worker that lives."""
        self._refresh()
        for _ in range(2 * self._count + 1):
            self.start()
            with self._lock:
                if not self._free:
                    break
                worker = self._free.pop()
                if worker.give(task):
                    busy = _Busy(worker, task, ended)
                    self._busy.append(busy)
                    self._wake.set()
                    return busy
        raise AEHubError("the server is ending, or cannot start a process for this job; try again "
                         "in a minute.")

    def _next(self, busy: _Busy) -> Ticked | Finished | Failed | Lost | None:
        """The next event of a task; None if there is none yet, or one of another task."""
        try:
            if not busy.worker.connection.poll(_POLL_SECONDS):
                return None
        except OSError:  # The server has closed it.
            return Lost(busy.task.number, "")
        event = busy.worker.receive()
        if event is None:
            return Lost(busy.task.number, "")
        if event.number != busy.task.number:
            # Of the warming up.
            busy.worker.task = busy.task
            return None
        return event

    def _outcome(self, busy: _Busy, event: Finished | Failed | Lost) -> Outcome:
        if isinstance(event, Finished):
            return event.outcome
        if isinstance(event, Failed):
            if event.traceback:
                raise WorkerError(event.traceback)
            raise AEHubError(event.message, event.option)
        if busy.over and self.memory_bytes:
            raise LimitError(
                f"the job took {-(-busy.over // _MEGABYTE)} MB of memory and this server gives one "
                f"{self.memory_bytes / _MEGABYTE:.0f} MB; make the picture smaller, or take a "
                "shorter part.")
        ending = busy.worker.ending()
        how = f"ended {ending}" if ending else "was killed, as happens where memory runs out"
        raise AEHubError(f"the process of this job {how}; try it once more, and if that happens "
                         "again, with a smaller picture or a shorter part.")

    def _end(self, busy: _Busy, *, is_dead: bool) -> None:
        """The worker is free, or gone."""
        with self._lock:
            if busy not in self._busy:
                return
            self._busy.remove(busy)
            self.peak_bytes = busy.peak
            if not is_dead:
                self._free.append(busy.worker)
        if is_dead:
            busy.worker.join()
        busy.ended()
        if is_dead:
            self.start()

    def _watch(self) -> None:
        """Measure workers that work, and see to those whose task was cancelled."""
        while not self._is_closed:
            with self._lock:
                working = list(self._busy)
            if not working:
                if not self._wake.wait(_REST_SECONDS):
                    with suppress(OSError):
                        self._refresh()
                    self._wake.wait()
                self._wake.clear()
                continue
            for busy in working:
                self._measure(busy)
                if busy.cancelled_at is not None:
                    # Whatever goes wrong with one, the others are still watched.
                    with suppress(OSError):
                        self._await_end(busy, busy.cancelled_at)
            time.sleep(_WATCH_SECONDS)

    def _refresh(self) -> None:
        """Replace free workers that keep so much memory that the next job would have too little."""
        if self.memory_bytes is None:
            return
        with self._lock:
            most = max(_MOST_KEPT * self.memory_bytes, 1.5 * _NEW_BYTES)
            full = [one for one in self._free if (allocated_bytes(one.process_id) or 0) > most]
            self._free = [one for one in self._free if one not in full]
        for worker in full:
            worker.kill()
            worker.join()
        if full:
            self.start()

    def _measure(self, busy: _Busy) -> None:
        taken = allocated_bytes(busy.worker.process_id) or 0
        busy.peak = max(busy.peak, taken)
        if self.memory_bytes and taken > self.memory_bytes and not busy.over:
            busy.over = taken
            busy.worker.kill()

    def _await_end(self, busy: _Busy, cancelled_at: float) -> None:
        """Take events of a cancelled task; kill its worker if that goes on too long."""
        while busy.worker.connection.poll():
            event = busy.worker.receive()
            if event is None or isinstance(event, Lost):
                self._end(busy, is_dead=True)
                return
            if event.number == busy.task.number and not isinstance(event, Ticked):
                self._end(busy, is_dead=False)
                return
        if time.monotonic() - cancelled_at > _CANCEL_SECONDS:
            busy.worker.kill()
            self._end(busy, is_dead=True)
