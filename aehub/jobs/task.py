"""The seam of this package: tasks, events of tasks, and the executor that turns one into the other.

All records are plain values that processes and machines can send to each other. An executor
knows nothing of files, names or manifests: it runs `aehub.jobs.work.perform` on tasks, anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Task:
    """A piece of work for one worker.

    Attributes:
        number: of the task, no two in a run have the same.
        command: key of `aehub.jobs.work.COMMANDS`.
        arguments: of that function, by name.
    """

    number: int
    command: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The result of a task.

    Attributes:
        values: the result, by stable keys.
        error: sentence on what was lost of the input; the intact rest was written.
        data: a result for this program, such as an encoded group.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    data: Any = None


class Ticked(NamedTuple):
    """Progress of a task: frames done, frames in total (0 if unknown); of some commands a record
    of their own that tells more."""

    number: int
    done: int
    total: int
    record: Any = None


class Finished(NamedTuple):
    """A task is done."""

    number: int
    outcome: Outcome


class Failed(NamedTuple):
    """A task cannot be done: a sentence for everybody, and one on options; of an error that nobody
    raised on purpose, its traceback."""

    number: int
    message: str
    option: str = ""
    traceback: str = ""


class Lost(NamedTuple):
    """The worker of a task died; another one may do it. The reason is a sentence."""

    number: int
    reason: str


Event = Ticked | Finished | Failed | Lost


class Cancel(NamedTuple):
    """Asks a worker to end a task as soon as it can; the task then ends with `Failed`."""

    number: int


class Executor(Protocol):
    """Runs tasks side by side.

    Each submitted task ends with exactly one `Finished`, `Failed` or `Lost`, and may give any
    number of `Ticked` before. One thread calls all methods.
    """

    @property
    def slots(self) -> int:
        """Tasks that can run at once, at least 1; it may change while tasks run."""

    def submit(self, task: Task) -> None:
        """Begin a task, at once or as soon as a worker is free; does not wait for one."""
        ...

    def wait(self) -> list[Event]:
        """Wait until something happened to tasks that run; return it in its order, per task."""
        ...

    def close(self) -> None:
        """End all workers and whatever they do; nothing of it is reported any more."""
        ...
