"""Turns of visitors at few slots: whose job is next, how many are before it, and for how long.

Visitors take turns: each has one job started before anybody has two, however many of them wait. A
visitor who comes later begins in the present round, so no stream of new ones keeps others waiting.
"""

from __future__ import annotations

import heapq
import threading
import time
from typing import NamedTuple

from aehub.errors import LimitError, count_text

_EXTRAPOLATED = 0.04
"""Share of a job that must be done before its end is extrapolated; earlier, it would jump."""
_LEAST_SECONDS = 1.0
"""Assumed to be left of a job that takes longer than expected."""


class Place(NamedTuple):
    """Place of a job that waits: jobs before it, and seconds until it begins, as expected now."""

    before: int
    seconds: float


class Ticket:
    """A job that waits for a slot or holds one, until it leaves.

    Args:
        visitor: whose job it is.
        seconds: that it is expected to take.

    Attributes:
        share: of it that is done, 0 to 1.
        is_running: it holds a slot.
        is_over: it has left.
    """

    def __init__(self, visitor: str, seconds: float, arrival: float) -> None:
        self.visitor, self.seconds, self.arrival = visitor, seconds, arrival
        self.share = 0.0
        self.is_running = self.is_over = False
        self.began = 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds until a running job is done: by its progress, or else as expected."""
        elapsed = time.monotonic() - self.began
        left = (elapsed * (1 - self.share) / self.share if self.share > _EXTRAPOLATED
                else self.seconds - elapsed)
        return max(left, _LEAST_SECONDS)


class Scheduler:
    """Gives slots to the jobs of visitors in turn; for any number of threads.

    Args:
        slots: jobs that run at once.
        most_waiting: jobs that may wait.
    """

    def __init__(self, slots: int, most_waiting: int) -> None:
        self.slots, self._most_waiting = slots, most_waiting
        self._changed = threading.Condition()
        # In the order of their arrival.
        self._waiting = list[Ticket]()
        self._running = list[Ticket]()
        # The round that is served, and the one in which each visitor is next.
        self._round = 0.0
        self._next_round = dict[str, float]()

    def enter(self, visitor: str, seconds: float) -> Ticket:
        """Add a job; it begins at once if a slot is free.

        As many places as a visitor has taken are left for others, so nobody fills the queue alone.

        Args:
            visitor: whose job it is.
            seconds: that it is expected to take.

        Raises:
            LimitError: no more jobs may wait, or none of this visitor.
        """
        with self._changed:
            if len(self._running) >= self.slots or self._waiting:
                self._check_room(visitor)
            ticket = Ticket(visitor, seconds, self._round)
            self._waiting.append(ticket)
            self._begin()
            return ticket

    def wait(self, ticket: Ticket, seconds: float) -> bool:
        """Wait until a job holds a slot, at most so many seconds; return whether it does."""
        with self._changed:
            self._changed.wait_for(lambda: ticket.is_running or ticket.is_over, seconds)
            return ticket.is_running

    def place(self, ticket: Ticket) -> Place:
        """Return the place of a job that waits."""
        with self._changed:
            if ticket not in self._waiting:
                return Place(0, 0.0)
            order = [one for _, one in self._order()]
            before = order[:order.index(ticket)]
            free_at = [one.seconds_left for one in self._running]
            free_at += [0.0] * (self.slots - len(free_at))
            heapq.heapify(free_at)
            for one in before:
                heapq.heapreplace(free_at, free_at[0] + one.seconds)
            return Place(len(self._running) + len(before), free_at[0])

    def leave(self, ticket: Ticket) -> None:
        """Take a job away, which waits or runs; its slot is the next one's. Once is enough."""
        with self._changed:
            if ticket.is_over:
                return
            ticket.is_over = True
            if ticket.is_running:
                # A round is over when each visitor with a job has been served.
                visitors = {one.visitor for one in (*self._waiting, *self._running)}
                self._round += 1 / len(visitors)
                self._running.remove(ticket)
                ticket.is_running = False
            else:
                self._waiting.remove(ticket)
            self._begin()
            self._forget()
            self._changed.notify_all()

    def _check_room(self, visitor: str) -> None:
        own = sum(one.visitor == visitor for one in self._waiting)
        free = self._most_waiting - len(self._waiting)
        if free <= 0:
            raise LimitError(f"{count_text(len(self._waiting), 'job')} of visitors wait, and no "
                             f"more than {self._most_waiting} may; try again in a few minutes.")
        if own and own >= free:
            raise LimitError(f"{count_text(own, 'job')} of yours wait already, and the "
                             f"{count_text(free, 'place')} left of {self._most_waiting} "
                             f"{'is' if free == 1 else 'are'} for others; wait until one of yours "
                             "is done, or stop it.")

    def _order(self) -> list[tuple[float, Ticket]]:
        """Jobs that wait, with their rounds, the next one first."""
        following, rounds = dict(self._next_round), list[tuple[float, Ticket]]()
        for ticket in self._waiting:
            number = max(ticket.arrival, following.get(ticket.visitor, 0.0))
            following[ticket.visitor] = number + 1
            rounds.append((number, ticket))
        return sorted(rounds, key=lambda one: one[0])  # Stable: of one round, the first to come.

    def _begin(self) -> None:
        """Start jobs as long as there are slots."""
        while self._waiting and len(self._running) < self.slots:
            number, ticket = self._order()[0]
            self._next_round[ticket.visitor] = number + 1
            self._waiting.remove(ticket)
            self._running.append(ticket)
            ticket.is_running, ticket.began = True, time.monotonic()
            self._changed.notify_all()

    def _forget(self) -> None:
        """Forget visitors who would be served in the present round anyway."""
        busy = {one.visitor for one in (*self._waiting, *self._running)}
        if not busy:
            self._round = 0.0
            self._next_round.clear()
        for visitor in [one for one, number in self._next_round.items()
                        if number <= self._round and one not in busy]:
            del self._next_round[visitor]
