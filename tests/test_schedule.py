"""Tasks side by side: order of results, errors, closing, one worker."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from threading import Barrier, Event, Timer, current_thread

import pytest

from aehub import threads
from aehub.errors import DamagedError
from aehub.schedule import AHEAD, Schedule, Task, run_tasks


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setenv(threads.VARIABLE, "2")


def given(value: object, seconds: float = 0.0) -> Callable[[], object]:
    """A step that takes a while."""
    return lambda: (time.sleep(seconds), value)[1]


def test_results_come_in_the_order_given_whatever_ends_first() -> None:
    tasks = [Task(given(n, 0.02 if n % 3 == 0 else 0), yields=n % 4 != 1) for n in range(60)]
    assert list(run_tasks(tasks)) == [n for n in range(60) if n % 4 != 1]
    assert list(run_tasks([])) == []


def test_tasks_that_need_nothing_of_each_other_run_at_once() -> None:
    meet = Barrier(2)
    tasks = [Task(partial(meet.wait, 30), yields=True) for _ in range(8)]
    assert sorted(run_tasks(tasks)) == [0] * 4 + [1] * 4


def test_a_task_begins_when_all_before_it_are_done() -> None:
    done: list[int] = []
    tasks: list[Task] = []

    def step(number: int, before: tuple[int, ...]) -> None:
        assert set(before) <= set(done)
        time.sleep(0.001 * (number * 7 % 5))
        done.append(number)

    for number in range(40):
        before = tuple(n for n in (number - 1 - number % 3, number // 2) if 0 <= n < number)
        tasks.append(Task(partial(step, number, before), [tasks[n] for n in before]))
    assert list(run_tasks(tasks)) == []
    assert sorted(done) == list(range(40))


def test_an_error_comes_at_its_place_and_what_depends_on_it_does_not_run() -> None:
    ran: list[str] = []

    def fails() -> None:
        raise DamagedError("a frame is lost.")

    first = Task(given("first", 0.05), yields=True)
    lost = Task(fails)
    after = Task(partial(ran.append, "after"), [first, lost])
    tasks = [first, lost, after, Task(partial(ran.append, "later"), [after]),
             Task(given("other"), yields=True)]
    results = run_tasks(tasks)
    assert next(results) == "first"
    with pytest.raises(DamagedError, match="a frame is lost"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert ran == []


def test_closing_begins_nothing_further_and_waits_for_what_runs() -> None:
    ran: list[str] = []
    begun, end = [Event(), Event()], Event()

    def slow(number: int) -> None:
        begun[number].set()
        assert end.wait(30)
        ran.append("slow")

    held = [Task(partial(slow, number)) for number in range(2)]
    tasks = [Task(given("first"), yields=True), *held,
             *(Task(partial(ran.append, "queued")) for _ in range(3)),
             Task(partial(ran.append, "after"), held)]
    results = run_tasks(tasks)
    assert next(results) == "first"
    assert all(event.wait(30) for event in begun)
    timer = Timer(0.1, end.set)
    timer.start()
    results.close()
    assert ran == ["slow", "slow"]
    # Nor does it later: the threads are free again.
    threads.pool().submit(given(None)).result(30)
    assert ran == ["slow", "slow"]


def test_no_more_tasks_are_begun_ahead_than_memory_is_meant_for() -> None:
    drawn: list[int] = []
    end = Event()

    def tasks() -> Iterator[Task]:
        for number in range(10 * AHEAD):
            drawn.append(number)
            yield Task(partial(end.wait, 30), yields=True)

    results = run_tasks(tasks())
    Timer(0.2, end.set).start()
    assert next(results)
    assert len(drawn) <= AHEAD
    results.close()


def test_an_abandoned_iterator_is_collected_within_a_task_of_its_own() -> None:
    abandoned, meet = Event(), Barrier(2)

    def collect() -> None:
        assert abandoned.wait(30)
        gc.collect()

    class Holder:
        def __init__(self) -> None:
            self.itself, self.results = self, run_tasks(
                [Task(given("first"), yields=True), *(Task(collect) for _ in range(9))])
            next(self.results)

    gc.disable()
    try:
        Holder()
        abandoned.set()
        # Both threads are free again.
        jobs = [threads.pool().submit(meet.wait, 30) for _ in range(2)]
        assert sorted(job.result() for job in jobs) == [0, 1]
    finally:
        gc.enable()


def test_an_interruption_ends_what_runs_where_it_is_asked_for() -> None:
    ran: list[str] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    tasks = [Task(interrupted), Task(partial(ran.append, "other"))]
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(tasks, side_by_side=False))
    assert ran == []


def here() -> str:
    return current_thread().name


def named(n: int) -> list[Task]:
    return [Task(here, yields=True) for _ in range(n)]


def test_one_worker_runs_them_where_they_are_asked_for_and_none_ahead() -> None:
    ran: list[int] = []
    with threads.one_thread():
        assert set(run_tasks(named(5))) == {here()}
        results = run_tasks(Task(lambda n=n: ran.append(n), yields=True) for n in range(5))
        next(results)
        next(results)
        results.close()
    assert ran == [0, 1]
    assert set(run_tasks(named(5), side_by_side=False)) == {here()}
    assert here() not in set(run_tasks(named(5)))


def test_tasks_of_a_task_run_in_its_thread_so_that_none_waits_for_a_free_one() -> None:
    tasks = [Task(lambda: {here(), *run_tasks(named(3))}, yields=True) for _ in range(6)]
    assert [len(names) for names in run_tasks(tasks)] == [1] * 6


def test_a_task_that_a_closed_schedule_never_began_is_not_waited_for() -> None:
    schedule, begun = Schedule(), Event()
    first = schedule.add(Task(lambda: (begun.set(), time.sleep(0.1))))
    second = schedule.add(Task(given(2), [first]))
    begun.wait()
    schedule.close()
    with pytest.raises(CancelledError):
        schedule.take(second)
