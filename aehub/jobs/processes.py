"""Worker processes of this machine: the executor that needs nothing else.

Each worker has its share of the thread budget, so that all of them together compute in no more
threads than one process would. A worker ends with its parent, however that ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from types import ModuleType

from aehub import threads
from aehub.jobs.task import Cancel, Event, Failed, Finished, Lost, Task, Ticked
from aehub.report.memory import give_back
from aehub.results import relayed, run_job

_TICK_SECONDS = 0.1
"""Between two messages of progress of a worker."""
_PATIENCE = 5.0
"""Seconds that a worker gets to end when it is asked to."""
# What `_without_main` changes is of the whole process.
_STARTING = threading.Lock()


class LocalProcesses:
    """Worker processes, each started when there is work for it: an `Executor`.

    Args:
        workers: processes at most, from 1; more than the thread budget allows are not started.
    """

    def __init__(self, workers: int) -> None:
        budget = threads.workers()
        self._count = max(1, min(workers, budget))
        self.n_threads = budget // self._count
        """Threads of each worker."""
        self._workers = list[Worker]()
        self._queue = deque[Task]()
        # Of tasks that could not be given to anybody.
        self._events = list[Event]()

    @property
    def slots(self) -> int:
        """Number of workers."""
        return self._count

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that run."""
        return [worker.process_id for worker in self._workers]

    def submit(self, task: Task) -> None:
        """Begin a task, at once or as soon as a worker is free."""
        self._queue.append(task)
        self._assign()

    def wait(self) -> list[Event]:
        """Wait until something happened to tasks that run, and return it."""
        events, self._events = self._events, []
        while not events:
            ready = wait([worker.connection for worker in self._workers])
            for worker in [one for one in self._workers if one.connection in ready]:
                event = worker.receive()
                if isinstance(event, Lost) or event is None:
                    self._workers.remove(worker)
                if event is not None:
                    events.append(event)
            self._assign()
            events += self._events
            self._events = []
        return events

    def close(self) -> None:
        """End all workers."""
        workers, self._workers = self._workers, []
        self._queue.clear()
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.join()

    def _assign(self) -> None:
        """Give waiting tasks to free workers, and start one where none is free."""
        while self._queue:
            free = next((worker for worker in self._workers if worker.task is None), None)
            if free is None:
                if len(self._workers) >= self._count:
                    return
                free = Worker(self.n_threads)
                self._workers.append(free)
            task = self._queue.popleft()
            if not free.give(task):
                self._workers.remove(free)
                self._events.append(Lost(task.number, free.reason()))


class Worker:
    """A process and the task that it works on.

    Args:
        n_threads: in which it computes.
        thrifty: give memory back to the system after each task.

    Attributes:
        task: that it works on.
        connection: to the process; ready to be read when there is an event.
    """

    def __init__(self, n_threads: int, *, thrifty: bool = False) -> None:
        self.task: Task | None = None
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # A daemon: it ends with this process, also where nobody closes it.
        self._process = context.Process(target=_work, args=(theirs, n_threads, thrifty),
                                        daemon=True, name="aehub-worker")
        with _STARTING, _without_main(), _interrupts_blocked():
            self._process.start()
        # Or the end of the worker would not be noticed.
        theirs.close()

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid or 0

    def give(self, task: Task) -> bool:
        """Send a task; False if the worker is dead."""
        try:
            self.connection.send(task)
        except OSError:
            return False
        self.task = task
        return True

    def receive(self) -> Event | None:
        """The next event; None if the worker died and had no task."""
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):
            lost, self.task = self.task, None
            return None if lost is None else Lost(lost.number, self.reason())
        if not isinstance(event, Ticked):
            self.task = None
        return event

    def cancel(self) -> None:
        """Ask it to end its task, which then ends with `Failed`."""
        if self.task is not None:
            with suppress(OSError):
                self.connection.send(Cancel(self.task.number))

    def reason(self) -> str:
        """Sentence on why the worker died."""
        ending = self.ending()
        if not ending:
            return ("its worker process was killed, as happens where memory runs out; give it "
                    "fewer workers, or a shorter or smaller clip.")
        return (f"its worker process ended {ending}; the same command tries again, and "
                "fewer workers take less memory.")

    def ending(self) -> str:
        """Words on how a worker died, such as "with code 1"; empty if it was killed (SIGKILL)."""
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        if code is not None and code < 0 and -code == getattr(signal, "SIGKILL", 9):
            return ""
        return _ending(code)

    def end(self) -> None:
        """Ask it to end, whatever it does."""
        with suppress(OSError):
            self._process.terminate()
        self.connection.close()

    def kill(self) -> None:
        """End it at once; what it wrote stays unfinished."""
        self._process.kill()

    def join(self) -> None:
        """Wait until it has ended; kill it if that takes long."""
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with code {code}"


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the main module of this one again: a script of somebody's, or
    the page. Tasks name nothing of it."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: the terminal sends it to all of them, and this
    one ends the others."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, n_threads: int, thrifty: bool) -> None:
    """Body of a worker: tasks in, events out, until the parent closes the connection or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before torch is loaded.
    threads.set_budget(n_threads)
    inbox, cancelled = SimpleQueue[Task](), set[int]()
    threading.Thread(target=_receive, args=(connection, inbox, cancelled), daemon=True).start()
    while True:
        task = inbox.get()
        # Of a parent that is gone; `_receive` ends this process then.
        with suppress(OSError):
            connection.send(_result(connection, task, cancelled))
        cancelled.discard(task.number)
        if thrifty:
            give_back()


def _receive(connection: Connection, inbox: SimpleQueue[Task], cancelled: set[int]) -> None:
    """Receive tasks while others run, and notice at once when the parent is gone."""
    try:
        while True:
            message: Task | Cancel = connection.recv()
            if isinstance(message, Cancel):
                cancelled.add(message.number)
            else:
                inbox.put(message)
    except (EOFError, OSError):
        pass
    except Exception:  # noqa: BLE001 - a message that cannot be read, of a task that would never end
        traceback.print_exc()
    # Nobody waits for the task any more, and its thread may be anywhere.
    os._exit(1)


def _result(connection: Connection, task: Task, cancelled: set[int]) -> Finished | Failed:
    from aehub.jobs.work import performed

    job = performed(task, _TICK_SECONDS, lambda: task.number in cancelled)
    return run_job(relayed(job, connection.send), None)
