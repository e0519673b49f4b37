"""Turns of visitors: who is next, which place is told, and that nobody waits for ever."""

from __future__ import annotations

import random
import threading

import pytest

from aehub.errors import LimitError
from aehub.jobs.scheduler import Scheduler, Ticket


def served(scheduler: Scheduler, tickets: list[Ticket]) -> str:
    """Finish what runs, one after another; return the visitors in their order."""
    order = ""
    while running := [ticket for ticket in tickets if ticket.is_running]:
        order += running[0].visitor
        scheduler.leave(running[0])
    return order


def entered(scheduler: Scheduler, visitors: str, seconds: float = 10) -> list[Ticket]:
    return [scheduler.enter(visitor, seconds) for visitor in visitors]


@pytest.mark.parametrize(("arriving", "order"), [
    ("aaaaaaaaaab", "abaaaaaaaaa"),
    ("aaabbb", "ababab"),
    ("aaabbc", "abcaba"),
    ("abc", "abc"),
])
def test_a_pile_of_one_visitor_delays_another_by_one_job(arriving: str, order: str) -> None:
    scheduler = Scheduler(1, 30)
    assert served(scheduler, entered(scheduler, arriving)) == order


def test_a_stream_of_new_visitors_does_not_keep_one_waiting() -> None:
    scheduler = Scheduler(1, 30)
    first = entered(scheduler, "aaa")
    newcomers = [str(number) for number in range(10)]
    tickets, order = list(first), ""
    for newcomer in newcomers:
        tickets.append(scheduler.enter(newcomer, 10))
        (running,) = [ticket for ticket in tickets if ticket.is_running]
        order += running.visitor
        scheduler.leave(running)
    assert order.count("a") == 3, order


def test_what_was_stopped_while_it_waited_costs_its_visitor_no_turn() -> None:
    scheduler = Scheduler(1, 30)
    a = entered(scheduler, "aaaa")
    b = entered(scheduler, "bbb")
    scheduler.leave(a[1])
    scheduler.leave(a[2])
    assert served(scheduler, [*a, *b]) == "ababb"


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_the_place_is_the_number_of_jobs_that_do_begin_before(slots: int) -> None:
    draw = random.Random(slots)
    scheduler = Scheduler(slots, 30)
    tickets = entered(scheduler, "".join(draw.choice("abc") for _ in range(14)))
    told = {ticket: scheduler.place(ticket).before for ticket in tickets if not ticket.is_running}
    before, begun = {ticket: 0 for ticket in told}, {*tickets} - {*told}
    for ticket in told:
        before[ticket] = len(begun)
    while running := [ticket for ticket in tickets if ticket.is_running]:
        scheduler.leave(draw.choice(running))
        for ticket in tickets:
            if ticket.is_running and ticket not in begun:
                for waiting in told:
                    before[waiting] += not (waiting.is_running or waiting.is_over)
                begun.add(ticket)
    assert told == before


def test_the_place_counts_down_and_its_seconds_follow_the_jobs_before() -> None:
    scheduler = Scheduler(1, 30)
    a, b, c = entered(scheduler, "abc", seconds=40)
    places = [scheduler.place(c)]
    scheduler.leave(a)
    places.append(scheduler.place(c))
    scheduler.leave(b)
    assert [place.before for place in places] == [2, 1] and c.is_running
    assert [round(place.seconds) for place in places] == [80, 40]


def test_the_seconds_follow_the_progress_of_what_runs() -> None:
    scheduler = Scheduler(1, 30)
    a, b = entered(scheduler, "ab", seconds=1000)
    a.began -= 30
    a.share = 0.75
    assert round(scheduler.place(b).seconds) == 10


def test_two_slots_halve_the_wait() -> None:
    scheduler = Scheduler(2, 30)
    *_, last = entered(scheduler, "abcde", seconds=10)
    place = scheduler.place(last)
    assert (place.before, round(place.seconds)) == (4, 20)


def test_nobody_fills_the_queue_alone_and_a_full_one_says_so() -> None:
    scheduler = Scheduler(1, 4)
    entered(scheduler, "aaa")
    with pytest.raises(LimitError, match="2 jobs of yours wait already, and the 2 places left of 4"
                                         " are for others"):
        scheduler.enter("a", 1)
    entered(scheduler, "bc")
    with pytest.raises(LimitError, match="4 jobs of visitors wait, and no more than 4 may"):
        scheduler.enter("d", 1)


def test_a_single_place_to_wait_can_be_taken() -> None:
    scheduler = Scheduler(1, 1)
    assert len(entered(scheduler, "aa")) == 2


def test_leaving_twice_frees_one_slot() -> None:
    scheduler = Scheduler(1, 30)
    a, b, c = entered(scheduler, "abc")
    scheduler.leave(a)
    scheduler.leave(a)
    assert b.is_running and not c.is_running


def test_whoever_waits_is_woken_by_the_slot() -> None:
    scheduler = Scheduler(1, 30)
    a, b = entered(scheduler, "ab")
    assert not scheduler.wait(b, 0.01)
    threading.Timer(0.05, scheduler.leave, [a]).start()
    assert scheduler.wait(b, 30)
