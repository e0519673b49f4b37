"""Tasks that depend on each other, run side by side in the threads of the process.

    schedule = Schedule()
    read = schedule.add(Task(...))
    show = schedule.add(Task(..., after=[read]))
    picture = schedule.take(show)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from heapq import heappop, heappush
from itertools import count
from threading import Condition
from typing import Any

from aehub import threads

AHEAD = 48
"""Tasks that `run_tasks` begins before the result of the first of them is taken, by default."""


class Task:
    """A step of work.

    Args:
        run: does it; returns the result.
        after: tasks that come before it.
        yields: `run_tasks` gives its result.
        rank: of the tasks that can begin, those of the lowest rank begin first.

    Attributes:
        result: of `run`, until it is taken.
    """

    def __init__(self, run: Callable[[], Any], after: Iterable[Task] = (), *, yields: bool = False,
                 rank: int = 0) -> None:
        self.run, self.after, self.yields, self.rank = run, tuple(after), yields, rank
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.followers: list[Task] = []
        self.missing = 0


class Schedule:
    """Tasks, each run when those before it are done.

    Args:
        side_by_side: use several threads; without, or with one worker thread, tasks run when they
            are added. A GPU is better kept to one thread.
    """

    def __init__(self, *, side_by_side: bool = True) -> None:
        self._inline = not side_by_side or threads.free_workers() == 1
        self._changed, self._running, self._closed = Condition(), 0, False
        # Tasks that can begin, by rank and then in the order in which they could.
        self._ready: list[tuple[int, int, Task]] = []
        self._order = count()

    def add(self, task: Task) -> Task:
        """Add a task; those that it comes after have been added."""
        with self._changed:
            missing = [before for before in task.after if not before.done]
            task.missing = len(missing)
            for before in missing:
                before.followers.append(task)
        if not missing:
            self._begin(task)
        return task

    def take(self, task: Task) -> Any:
        """Wait for a task and return its result.

        Raises:
            BaseException: what the task raised, or one that it comes after.
            CancelledError: the schedule was closed before the task began.
        """
        with self._changed:
            self._changed.wait_for(lambda: task.done or (self._closed and not self._running))
            if not task.done:
                raise CancelledError("the schedule was closed before this task began")
        if task.error is not None:
            raise task.error
        result, task.result = task.result, None
        return result

    def close(self) -> None:
        """Begin no other task, and wait for those that run.

        A thread of the pool does not wait: the garbage collector, which runs in any thread, may
        close an iterator that was abandoned, even within a task of it.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if not threads.computes_alone():
                self._changed.wait_for(lambda: not self._running)

    def _begin(self, task: Task) -> None:
        if self._inline:
            self._run(task)
            return
        with self._changed:
            heappush(self._ready, (task.rank, next(self._order), task))
        try:
            threads.pool().submit(self._run_first)
        except RuntimeError:
            # The process ends; threads that wait for the task are to end with it.
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    def _run_first(self) -> None:
        with self._changed:
            *_, task = heappop(self._ready)
        self._run(task)

    def _run(self, task: Task) -> None:
        with self._changed:
            if self._closed:
                return
            self._running += 1
        error = next((before.error for before in task.after if before.error), None)
        result = None
        if error is None:
            try:
                result = task.run()
            except BaseException as raised:  # noqa: BLE001 - it is raised where the result is taken
                error = raised
        with self._changed:
            task.result, task.error, task.done = result, error, True
            followers, task.followers = task.followers, []
            del task.run, task.after  # They hold what the task worked on.
            self._running -= 1
            ready = []
            for follower in followers:
                follower.missing -= 1
                if not follower.missing:
                    ready.append(follower)
            self._changed.notify_all()
        if self._inline and error is not None and not isinstance(error, Exception):
            raise error  # Ctrl-C in the thread that asks for it.
        for follower in ready:
            self._begin(follower)


def run_tasks(tasks: Iterable[Task], ahead: int = AHEAD, *, side_by_side: bool = True
              ) -> Iterator[Any]:
    """Run tasks; yields results in the order given. Closing the iterator drops those not begun.

    Args:
        tasks: each after those it depends on.
        ahead: tasks that may begin before the result of the first of them is taken: bounds memory.
        side_by_side: as for `Schedule`.

    Raises:
        BaseException: what a task raised, at its place in the order.
    """
    schedule, waiting = Schedule(side_by_side=side_by_side), deque[Task]()
    try:
        for task in tasks:
            waiting.append(schedule.add(task))
            while waiting and (len(waiting) >= ahead or waiting[0].done):
                yield from _wanted(schedule, waiting.popleft())
        while waiting:
            yield from _wanted(schedule, waiting.popleft())
    finally:
        schedule.close()


def _wanted(schedule: Schedule, task: Task) -> Iterator[Any]:
    result = schedule.take(task)
    if task.yields:
        yield result
