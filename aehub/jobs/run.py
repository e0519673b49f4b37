"""The engine: tasks in, results out as they come, as many in flight as the executor has slots."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aehub.errors import AEHubError, InputError, sentence
from aehub.inputs import named
from aehub.jobs.manifest import Entry, OutputFolder, ResultFolder
from aehub.jobs.plan import FileTask, Job
from aehub.jobs.task import Event, Executor, Failed, Finished, Lost, Outcome, Task, Ticked

DONE, SKIPPED, FAILED, PLANNED = "done", "skipped", "failed", "planned"
"""States of a file."""
_ATTEMPTS = 2
"""Workers that may die of one task."""


def iter_events(tasks: Iterable[Task | Event], executor: Executor) -> Generator[Event, None, None]:
    """Run tasks; yields what happens to them. Closing it leaves those that run to the executor.

    A task is asked for when there is a slot for it, so any number of them takes little memory. The
    task of a worker that died is given to another one, once.

    Args:
        tasks: made as they are asked for; an event among them passes through at its place.
        executor: runs them; not closed here.

    Yields:
        `Ticked`, and one `Finished` or `Failed` of every task.
    """
    waiting, is_more = iter(tasks), True
    running, attempts = dict[int, Task](), dict[int, int]()
    while True:
        while is_more and len(running) < max(1, executor.slots):
            item = next(waiting, None)
            if item is None:
                is_more = False
            elif isinstance(item, Task):
                running[item.number], attempts[item.number] = item, 1
                executor.submit(item)
            else:
                yield item
        if not running:
            return
        for event in executor.wait():
            if isinstance(event, Lost):
                if attempts[event.number] < _ATTEMPTS:
                    attempts[event.number] += 1
                    executor.submit(running[event.number])
                    continue
                event = Failed(event.number, event.reason)
            if not isinstance(event, Ticked):
                del running[event.number], attempts[event.number]
            yield event


def _failed(file: FileTask, error: Exception) -> Failed:
    if isinstance(error, AEHubError):
        return Failed(file.number, error.message, error.option)
    return Failed(file.number, sentence(error))


@dataclass(frozen=True)
class FileResult:
    """A file of a run.

    Attributes:
        source: path of the input, as it was given.
        path: of the result; None if there is none.
        state: "done", "skipped" (it was done before, and is as it was), "failed", or "planned".
        bytes_in: of the input.
        bytes_out: of the result.
        error: sentence on what is wrong, or empty.
        option: a further sentence, on options of the command line.
        values: the result of the command, by stable keys.
    """

    source: str
    path: str | None
    state: str
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""
    option: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The error with its option."""
        return f"{self.error} {self.option}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return plain values with stable keys; those of the command follow."""
        first = {"source": self.source, "path": self.path, "state": self.state,
                 "error": self.message or None, "bytes_in": self.bytes_in}
        return {**first, **{name: value for name, value in self.values.items()
                            if name not in first}}


class FileProgress(NamedTuple):
    """A file that is worked on: its path as given, frames done, frames in total (0 if unknown)."""

    source: str
    done: int
    total: int

    @property
    def share(self) -> float:
        """Share that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class RunProgress(NamedTuple):
    """Progress of a run.

    Attributes:
        done: files done, skipped and failed.
        total: files.
        running: files that are worked on, the first begun first.
        finished: the file of which this tells the end; None if this tells of frames.
    """

    done: int
    total: int
    running: tuple[FileProgress, ...]
    finished: FileResult | None

    @property
    def share(self) -> float:
        """Share of the files that is done, parts of files counted in, 0 to 1."""
        parts = sum(one.share for one in self.running)
        return min(1.0, (self.done + parts) / self.total) if self.total else 1.0


@dataclass(frozen=True)
class RunResult:
    """All files of a run, in the order of the plan.

    Attributes:
        files: of the plan.
        elapsed: seconds the run took.
    """

    files: tuple[FileResult, ...]
    elapsed: float

    def count(self, state: str) -> int:
        """Number of files in a state."""
        return sum(file.state == state for file in self.files)

    @property
    def failed(self) -> int:
        """Number of files that something is wrong with."""
        return self.count(FAILED)

    def to_json(self) -> dict[str, Any]:
        """Return the files, and how many failed."""
        return {"files": [file.to_json() for file in self.files], "failed": self.failed}


def iter_files(job: Job, plan: Sequence[FileTask], executor: Executor,
               folder: OutputFolder | None = None) -> Generator[RunProgress, None, RunResult]:
    """Work on all files of a plan; yields progress. Closing it ends the executor and its work.

    A file with something wrong does not stop the others; the result tells.

    Args:
        job: what is done to each of them.
        plan: of `plan_files`.
        executor: does it; closed at the end.
        folder: of the results, open; None where nothing is written.
    """
    began = time.monotonic()
    run = _Run(job, plan, folder)
    try:
        for event in iter_events(run.tasks(), executor):
            yield run.take(event)
    finally:
        executor.close()
    files = tuple(run.results[task.number] for task in plan)
    return RunResult(files, round(time.monotonic() - began, 3))


class _Run:
    """Files of a plan on their way."""

    def __init__(self, job: Job, plan: Sequence[FileTask], folder: ResultFolder | None) -> None:
        self._job, self._plan, self._folder = job, plan, folder
        self._writer = folder if isinstance(folder, OutputFolder) else None
        self._settings = job.settings
        self._running = dict[int, FileProgress]()
        self.results = dict[int, FileResult]()

    def tasks(self) -> Iterator[Task | Event]:
        """A task for each file, or the event that ends it at once."""
        for file in self._plan:
            try:
                done = self._checked(file)
                if done is None:
                    task = self._task(file)
            except (AEHubError, OSError) as error:
                yield _failed(file, error)
                continue
            if done is not None:
                self.results[file.number] = done
                yield Finished(file.number, Outcome())
                continue
            self._running[file.number] = FileProgress(file.source, 0, 0)
            yield task

    def planned(self, file: FileTask) -> FileResult:
        """The state of a file before a run that does nothing."""
        try:
            done = self._checked(file)
        except (AEHubError, OSError) as error:
            return self._result(file, _failed(file, error))
        path = str(self._folder.path / file.output) if self._folder and file.output else None
        return done or FileResult(file.source, path, PLANNED, file.size)

    def take(self, event: Event) -> RunProgress:
        """Take an event; return the progress after it."""
        file, finished = self._plan[event.number], None
        if isinstance(event, Ticked):
            self._running[file.number] = FileProgress(file.source, event.done, event.total)
        else:
            self._running.pop(file.number, None)
            if file.number not in self.results:
                self.results[file.number] = self._result(file, event)
            finished = self.results[file.number]
        return RunProgress(len(self.results), len(self._plan), tuple(self._running.values()),
                           finished)

    def _checked(self, file: FileTask) -> FileResult | None:
        """The result of an earlier run, if it is as it was.

        Raises:
            AEHubError: the file cannot be worked on.
        """
        if file.error:
            raise InputError(file.error)
        if self._folder is None or not file.output:
            return None
        entry = self._folder.find_done(file.origin, self._settings, (file.size, file.mtime_ns),
                                       file.output)
        if entry is None:
            self._folder.check(file.output)
            return None
        path = str(self._folder.path / entry.output)
        return FileResult(file.source, path, FAILED if entry.error else SKIPPED, file.size,
                          entry.bytes, entry.error, values={**entry.values, "path": path})

    def _task(self, file: FileTask) -> Task:
        arguments = {"source": file.path, **self._job.options}
        if self._writer is not None and file.output:
            arguments["output"] = str(self._writer.stage(file.number, file.output))
        return Task(file.number, self._job.command, arguments)

    def _result(self, file: FileTask, event: Event) -> FileResult:
        if isinstance(event, Finished):
            try:
                return self._finished(file, event.outcome)
            except AEHubError as error:
                event = Failed(file.number, error.message, error.option)
        assert isinstance(event, Failed)
        if self._writer is not None:
            self._writer.discard(file.number)
        return FileResult(file.source, None, FAILED, file.size,
                          error=named(file.source, event.message), option=event.option)

    def _finished(self, file: FileTask, outcome: Outcome) -> FileResult:
        """The result of a file, which is put in its place."""
        error = named(file.source, outcome.error) if outcome.error else ""
        state = FAILED if error else DONE
        if self._writer is None or not file.output:
            return FileResult(file.source, None, state, file.size, error=error,
                              values=outcome.values)
        path = str(self._writer.path / file.output)
        values = {**outcome.values, "path": path}
        entry = self._writer.commit(file.number, Entry(
            file.origin, file.size, file.mtime_ns, self._settings, file.output, 0, "", values,
            error))
        return FileResult(file.source, path, state, file.size, entry.bytes, error, values=values)


def plan_results(job: Job, plan: Sequence[FileTask], folder: ResultFolder | None = None
                 ) -> RunResult:
    """Results of a run that does nothing: each file is planned, was done before, or is wrong.

    Args:
        job: what would be done to each of them.
        plan: of `plan_files`.
        folder: of the results.
    """
    began = time.monotonic()
    run = _Run(job, plan, folder)
    files = tuple(map(run.planned, plan))
    return RunResult(files, round(time.monotonic() - began, 3))
