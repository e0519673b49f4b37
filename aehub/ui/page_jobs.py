"""Jobs of the page: each visitor's turn, the place while waiting, the work in worker processes.

    request -> turn      visitors take turns at few slots       (aehub/jobs/scheduler.py)
    turn -> worker       a process with its models loaded       (aehub/jobs/warm_workers.py)

On a ZeroGPU Space, where only the function that asked for the GPU has it, the work runs there.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from aehub import threads
from aehub.config import DEFAULT_CODEC
from aehub.errors import AEHubError, LimitError, count_text
from aehub.jobs.scheduler import Place, Scheduler
from aehub.jobs.task import Event, Failed, Finished, Outcome, Task, Ticked
from aehub.jobs.warm_workers import WarmWorkers, WorkerError
from aehub.jobs.work import perform
from aehub.report.memory import machine_bytes
from aehub.results import run_job
from aehub.ui.formatting import duration_text, progress_card
from aehub.ui.zero_gpu import gpu, is_zero_gpu

Outputs = Callable[[str], Any]
"""HTML of a card -> outputs of the event."""
_THREADS_PER_JOB = 4
"""Where there are more threads, jobs run side by side: the work of one seldom fills eight."""
_MEMORY_SHARE = 0.75
"""Of the machine's memory for jobs; the rest is for the server and the system."""
_PLACE_SECONDS = 0.4
"""Between two looks at a place in the queue."""
_SHOWN_SECONDS = 0.1
"""Between two updates of a card; more would only load the connection."""
_GUESSED_SECONDS = 5.0
"""Of a job, before one of its kind was measured."""
_WEIGHT = 0.5
"""Of a new measurement in the moving average, as in `Throughput`."""
_MEGABYTE = 1_000_000


class Request(Protocol):
    """The part of a request of Gradio that names the visitor.

    Gradio itself is imported later than this, after its settings are checked.
    """

    session_hash: str | None


class Size(NamedTuple):
    """Size of what a job works on.

    Attributes:
        pixels: of a picture that is coded or decoded.
        frames: of them.
    """

    pixels: int
    frames: int = 1


class _Footprint(NamedTuple):
    """Bytes that a command takes for each pixel of a picture: at one frame, and for each further
    frame up to `_FRAMES_HELD`."""

    first: float
    further: float = 0.0


_FOOTPRINTS = {
    "report": _Footprint(450, 25), "arena": _Footprint(450, 25), "decompress": _Footprint(370),
    "edit": _Footprint(60),
}
"""Least memory of commands beyond that of a new worker, measured with the default model
(docs/measure/job_memory.py). What takes more than was estimated is ended while it runs."""
_FRAMES_HELD = 40
_NEW_WORKER_BYTES = 290_000_000
"""Memory of a worker that has loaded the default model."""


def memory_estimate(command: str, size: Size) -> int:
    """Return the bytes that a worker takes for a job; 0 if unknown."""
    if command not in _FOOTPRINTS:
        return 0
    first, further = _FOOTPRINTS[command]
    each = first + further * (min(size.frames, _FRAMES_HELD) - 1)
    return _NEW_WORKER_BYTES + round(each * size.pixels)


class PageJobs:
    """Heavy jobs of all visitors; light work does not pass here.

    Args:
        slots: jobs that run at once; 0 is one for every four threads of the budget.
        most_waiting: jobs that may wait.
        memory_mb: most memory of the process of a job, in MB; 0 is a share of the machine's.
    """

    def __init__(self, slots: int = 0, most_waiting: int = 24, memory_mb: int = 0) -> None:
        budget = threads.workers()
        slots = min(slots, budget) or max(1, budget // _THREADS_PER_JOB)
        self.scheduler = Scheduler(slots, most_waiting)
        memory = memory_mb * _MEGABYTE or int(
            _MEMORY_SHARE * (machine_bytes() or 0) / slots) or None
        self.workers = None if is_zero_gpu() else WarmWorkers(
            slots, budget // slots, memory, ("warm-up", {"model": DEFAULT_CODEC}))
        self._memory_bytes = memory
        self._seconds = dict[str, float]()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the workers, so that the first job finds one that is ready."""
        if self.workers is not None:
            self.workers.start()

    def close(self) -> None:
        """End the workers and whatever they do."""
        if self.workers is not None:
            self.workers.close()

    def turn(self, request: Request | None, command: str, outputs: Outputs, *,
             size: Size | None = None, progress: Any = None, seconds: float | None = None
             ) -> Turn:
        """Enter a job of a visitor; used as a context, it leaves when that ends.

        Args:
            request: whose session is the visitor; None is the server itself.
            command: that is the most of it, of `aehub.jobs.work.COMMANDS`.
            outputs: makes outputs of the event from the HTML of a card.
            size: of what it works on.
            progress: of Gradio, which tells programs the place.
            seconds: that it is expected to take; by default, as long as others of its kind.

        Raises:
            LimitError: it would take too much memory, or too many jobs wait.
        """
        self._check_memory(command, size)
        kind, amount = command, 1.0
        if size is not None:
            kind, amount = f"{command} of pixels", size.pixels * size.frames / 1e6
        if seconds is None:
            with self._lock:
                rate = self._seconds.get(kind)
            seconds = _GUESSED_SECONDS if rate is None else rate * amount
        visitor = (request.session_hash if request is not None else None) or ""
        return Turn(self, visitor, seconds, outputs, progress,
                    lambda took: self._learn(kind, took / amount))

    def _check_memory(self, command: str, size: Size | None) -> None:
        estimate = 0 if size is None else memory_estimate(command, size)
        if size is not None and self._memory_bytes and estimate > self._memory_bytes:
            raise LimitError(
                f"the job would take some {estimate / _MEGABYTE:.0f} MB of memory, with pictures "
                f"of {size.pixels / 1e6:.1f} megapixels, and this server "
                f"gives one {self._memory_bytes / _MEGABYTE:.0f} MB; make the picture smaller.",
                "AEHUB_MAX_MEMORY_MB raises the limit.")

    def _learn(self, kind: str, rate: float) -> None:
        with self._lock:
            before = self._seconds.get(kind, rate)
            self._seconds[kind] = before + _WEIGHT * (rate - before)


class Turn:
    """A job of a visitor: waits for its turn, then works in it.

    Its slot is free as soon as nothing of it runs any more: at the end of the context, or, where a
    task was cancelled, when its worker has stopped.
    """

    def __init__(self, jobs: PageJobs, visitor: str, seconds: float, outputs: Outputs,
                 progress: Any, learn: Callable[[float], None]) -> None:
        self._scheduler, self._workers = jobs.scheduler, jobs.workers
        self._outputs, self._progress, self._learn = outputs, progress, learn
        self._folder: Path | None = None
        self._lock = threading.Lock()
        self._is_working = self._is_closed = False
        self._ticket = self._scheduler.enter(visitor, seconds)

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None and self._ticket.is_running:
            self._learn(time.monotonic() - self._ticket.began)
        with self._lock:
            self._is_closed = True
            if self._is_working:
                return
        self._scheduler.leave(self._ticket)

    def wait(self) -> Iterator[Any]:
        """Yield outputs with the place until it is the job's turn."""
        shown = ""
        while not self._scheduler.wait(self._ticket, _PLACE_SECONDS if shown else 0):
            title, note = place_text(self._scheduler.place(self._ticket))
            if self._progress is not None:
                self._progress(None, desc=f"{title}, {note}")
            shown = progress_card(title, note)
            yield self._outputs(shown)

    def run(self, command: str, arguments: Mapping[str, Any], card: Callable[[Any], str],
            folder: Path | None = None) -> Generator[Any, None, Outcome]:
        """Run a command in a worker, yielding outputs with its progress; closing cancels it.

        Args:
            command: of `aehub.jobs.work.COMMANDS`.
            arguments: of it.
            card: makes the HTML of a card from a record of progress.
            folder: of its results; deleted once more when a cancelled task has stopped.

        Raises:
            AEHubError: it cannot be done, or its worker died.
        """
        with self._lock:
            self._is_working, self._folder = True, folder
        arguments = _plain(arguments)
        job = (self._run_here(command, arguments) if self._workers is None
               else self._workers.run(command, arguments, self._ended))
        shown_at, latest, html = 0.0, None, ""
        with closing(job):
            while True:
                try:
                    ticked = next(job)
                except StopIteration as end:
                    outcome: Outcome = end.value
                    break
                latest = ticked or latest
                if ticked is not None:
                    html = card(ticked.record or ticked)
                    self._ticket.share = _share(ticked)
                # Also without progress: whoever cancels is heard between two answers.
                if html and time.monotonic() - shown_at > _SHOWN_SECONDS:
                    shown_at = time.monotonic()
                    yield self._outputs(html)
        if outcome.error:
            raise AEHubError(outcome.error)
        return outcome

    def _ended(self) -> None:
        """Nothing of the task runs any more."""
        with self._lock:
            self._is_working = False
            if not self._is_closed:
                return
        if self._folder is not None:
            # The worker may have written into it after it was deleted.
            shutil.rmtree(self._folder, ignore_errors=True)
        self._scheduler.leave(self._ticket)

    def _run_here(self, command: str, arguments: Mapping[str, Any]
                  ) -> Generator[Ticked | None, None, Outcome]:
        try:
            with closing(_performed(Task(0, command, arguments))) as job:
                for event in job:
                    if isinstance(event, Finished):
                        return event.outcome
                    yield event
            raise AEHubError("the job ended without a result; try it once more.")
        finally:
            self._ended()


class TurnByTurn:
    """An `Executor` whose tasks take turns with the jobs of visitors, one after another.

    Args:
        jobs: of the page.
    """

    slots = 1

    def __init__(self, jobs: PageJobs) -> None:
        self._jobs, self._tasks = jobs, deque[Task]()

    def submit(self, task: Task) -> None:
        """Begin a task, which runs while its end is waited for."""
        self._tasks.append(task)

    def wait(self) -> list[Event]:
        """Run a task to its end."""
        task = self._tasks.popleft()
        try:
            with self._turn(task.command) as turn:
                for _ in turn.wait():
                    pass
                job = turn.run(task.command, task.arguments, lambda progress: "")
                return [Finished(task.number, run_job(job, None))]
        except AEHubError as error:
            return [Failed(task.number, error.message, error.option)]
        except WorkerError as error:
            # One task does not stop the others.
            sys.stderr.write(str(error))
            return [Failed(task.number, "it broke off unexpectedly; the server's log says why.")]

    def _turn(self, command: str) -> Turn:
        """Enter a job as soon as there is room for it: nobody is there to try again."""
        while True:
            with suppress(LimitError):
                return self._jobs.turn(None, command, lambda card: None)
            time.sleep(_PLACE_SECONDS)

    def close(self) -> None:
        """Forget the tasks."""
        self._tasks.clear()


def place_text(place: Place) -> tuple[str, str]:
    """Return a place in words: "2 jobs before yours", "about 40 s"."""
    return f"{count_text(place.before, 'job')} before yours", duration_text(place.seconds)


def _plain(value: Any) -> Any:
    """A value with strings of Gradio's own classes made plain: a worker would import Gradio."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _share(ticked: Ticked) -> float:
    """Share of the job that is done; 0 if unknown."""
    share = getattr(ticked.record, "share", None)
    if share is None:
        share = ticked.done / ticked.total if ticked.total else 0.0
    return float(share)


@gpu
def _performed(task: Task) -> Generator[Ticked | Finished, None, None]:
    """Run a task in this thread."""
    job = perform(task)
    try:
        while True:
            yield Ticked(task.number, *next(job))
    except StopIteration as end:
        yield Finished(task.number, end.value)
    finally:
        job.close()
