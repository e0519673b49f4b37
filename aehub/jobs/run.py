"""The engine: tasks in, results out as they come, as many in flight as the executor has slots."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aehub.errors import AEHubError, InputError, sentence
from aehub.inputs import named
from aehub.jobs.manifest import Entry, OutputFolder, ResultFolder
from aehub.jobs.plan import FileTask, Job, as_it_is
from aehub.jobs.task import Event, Executor, Failed, Finished, Lost, Outcome, Task, Ticked

DONE, SKIPPED, FAILED, PLANNED = "done", "skipped", "failed", "planned"
"""States of a file."""
_ATTEMPTS = 2
"""Workers that may die of one task."""


def _nothing(_: Any) -> None:
    pass


def iter_events(tasks: Iterable[Task | Event], executor: Executor, *,
                commit: Callable[[list[Event]], None] = _nothing,
                before_retry: Callable[[Task], None] = _nothing) -> Generator[Event, None, None]:
    """Run tasks; yields what happens to them. Closing it leaves those that run to the executor.

    A task is asked for when there is a slot for it, so any number of them takes little memory. The
    task of a worker that died is given to another one, once.

    Args:
        tasks: made as they are asked for; an event among them passes through at its place.
        executor: runs them; not closed here.
        commit: called with all that happened at the same time, before it is yielded.
        before_retry: called before a task is given to another worker.

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
        events = executor.wait()
        commit(events)
        for event in events:
            if isinstance(event, Lost):
                if attempts[event.number] < _ATTEMPTS:
                    attempts[event.number] += 1
                    before_retry(running[event.number])
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
        for event in iter_events(run.tasks(), executor, commit=run.commit, before_retry=run.clear):
            yield run.take(event)
    finally:
        executor.close()
    files = tuple(run.results[task.number] for task in plan)
    return RunResult(files, round(time.monotonic() - began, 3))


class _Run:
    """Files of a plan on their way."""

    def __init__(self, job: Job, plan: Sequence[FileTask], folder: ResultFolder | None) -> None:
        self._job, self._plan, self._folder = job, list(plan), folder
        self._writer = folder if isinstance(folder, OutputFolder) else None
        self._settings = job.settings
        self._running = dict[int, FileProgress]()
        self._n_ended = 0
        self.results = dict[int, FileResult]()

    def tasks(self) -> Iterator[Task | Event]:
        """A task for each file, or the event that ends it at once."""
        for number, planned in enumerate(self._plan):
            self._plan[number] = file = as_it_is(planned)
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
            self._n_ended += 1
        return RunProgress(self._n_ended, len(self._plan), tuple(self._running.values()),
                           finished)

    def commit(self, events: Sequence[Event]) -> None:
        """Put the results that are done at the same time in their places, together."""
        if self._writer is None:
            return
        noted = self._writer.commit({
            file.number: self._entry(file, event.outcome, str(self._writer.path / file.output))
            for event in events if isinstance(event, Finished)
            and (file := self._plan[event.number]).output})
        for number, one in noted.items():
            file = self._plan[number]
            self.results[number] = (
                FileResult(file.source, one.values["path"], FAILED if one.error else DONE,
                           file.size, one.bytes, one.error, values=one.values)
                if isinstance(one, Entry) else self._result(file, _failed(file, one)))

    def clear(self, task: Task) -> None:
        """Delete what a worker that died left of a task."""
        if self._writer is not None and "output" in task.arguments:
            # If that fails, so does the worker, with a sentence.
            with suppress(AEHubError):
                self._writer.stage(task.number, self._plan[task.number].output)

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
            self._folder.check(file.origin, file.output)
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
        """The result of a file that failed, or of which nothing is written."""
        if isinstance(event, Finished):
            error = _loss(file, event.outcome)
            return FileResult(file.source, None, FAILED if error else DONE, file.size, error=error,
                              values=event.outcome.values)
        assert isinstance(event, Failed)
        if self._writer is not None:
            self._writer.discard(file.number)
        return FileResult(file.source, None, FAILED, file.size,
                          error=named(file.source, event.message), option=event.option)

    def _entry(self, file: FileTask, outcome: Outcome, path: str) -> Entry:
        """The entry of a result, before its size and checksum are known."""
        return Entry(file.origin, file.size, file.mtime_ns, self._settings, file.output, 0, "",
                     {**outcome.values, "path": path}, _loss(file, outcome))


def _loss(file: FileTask, outcome: Outcome) -> str:
    return named(file.source, outcome.error) if outcome.error else ""


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
