"""Tasks that depend on each other, run side by side in the threads of the process.

    read = Task(lambda: ...)
    show = Task(lambda: ..., after=[read], yields=True)
    for picture in run_tasks([read, show]): ...
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Condition
from typing import Any

from aehub import threads

AHEAD = 48
"""Tasks that are begun before the result of the first of them is taken: bounds memory."""


class Task:
    """A step of work.

    Args:
        run: does it; returns the result.
        after: tasks that come before it.
        yields: `run_tasks` gives its result.
    """

    def __init__(self, run: Callable[[], Any], after: Iterable[Task] = (), *, yields: bool = False
                 ) -> None:
        self.run, self.after, self.yields = run, tuple(after), yields
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.followers: list[Task] = []
        self.missing = 0


def run_tasks(tasks: Iterable[Task], *, side_by_side: bool = True) -> Iterator[Any]:
    """Run tasks, each when those before it are done; yields results in the order given.

    With one worker thread they run in the thread of the caller. Closing the iterator drops the
    tasks that have not begun.

    Args:
        tasks: each after those it depends on.
        side_by_side: use several threads; a GPU is better kept to one.

    Raises:
        BaseException: what a task raised, at its place in the order.
    """
    if not side_by_side or threads.free_workers() == 1:
        for task in tasks:
            result = task.run()
            if task.yields:
                yield result
        return
    schedule, waiting = _Schedule(), deque[Task]()
    try:
        for task in tasks:
            schedule.add(task)
            waiting.append(task)
            while waiting and (len(waiting) >= AHEAD or waiting[0].done):
                yield from schedule.take(waiting.popleft())
        while waiting:
            yield from schedule.take(waiting.popleft())
    finally:
        schedule.close()


class _Schedule:
    def __init__(self) -> None:
        self._changed, self._running, self._closed = Condition(), 0, False

    def add(self, task: Task) -> None:
        with self._changed:
            missing = [before for before in task.after if not before.done]
            task.missing = len(missing)
            for before in missing:
                before.followers.append(task)
            if not missing:
                self._submit(task)

    def take(self, task: Task) -> Iterator[Any]:
        """Wait for a task; yield its result if it is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: task.done)
        if task.error is not None:
            raise task.error
        result, task.result = task.result, None
        if task.yields:
            yield result

    def close(self) -> None:
        """Begin no other task, and wait for those that run."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._running)

    def _submit(self, task: Task) -> None:
        self._running += 1
        threads.pool().submit(self._run, task)

    def _run(self, task: Task) -> None:
        error = next((before.error for before in task.after if before.error), None)
        result = None
        if error is None and not self._closed:
            try:
                result = task.run()
            except BaseException as raised:  # noqa: BLE001 - it is raised where the result is taken
                error = raised
        with self._changed:
            task.result, task.error, task.done = result, error, True
            del task.run, task.after  # They hold what the task worked on.
            self._running -= 1
            for follower in task.followers:
                follower.missing -= 1
                if not follower.missing and not self._closed:
                    self._submit(follower)
            self._changed.notify_all()
