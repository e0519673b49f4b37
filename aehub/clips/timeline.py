"""When frames are shown: timestamps put right, and the nominal rate."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

from aehub.errors import InputError

DEFAULT_FPS = Fraction(25)
_FASTEST = 1000
_Item = TypeVar("_Item")


def with_next(items: Iterable[_Item]) -> Iterator[tuple[_Item, _Item | None]]:
    """Give each item with the one after it; the last with None.

    An error that ends the items comes after the last of them.
    """
    iterator = iter(items)
    last: _Item | None = None
    failure: Exception | None = None
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        if last is not None:
            yield last, item
        last = item
    if last is not None:
        yield last, None
    if failure is not None:
        raise failure


class DisplayTimes:
    """The times of decoded frames where packets may only say when they are decoded.

    AVI counts its chunks, and files converted from it repeat that: where pictures predicted from
    both sides make the decoder reorder them, the k-th frame shown has the k-th time. Times that go
    backward from packet to packet are those of the pictures themselves.

    Args:
        reorders: frames may come in another order than their packets.
        counted: times are known to count packets.
    """

    def __init__(self, reorders: bool, *, counted: bool = False) -> None:
        self._waiting: list[int] = []
        self._latest: int | None = None
        self._begins = True
        self._sorts, self._counted = reorders or counted, counted

    def packet(self, time: int | None) -> None:
        """Note the time of a packet that goes to the decoder."""
        if not self._sorts or time is None:
            return
        if self._latest is not None and time < self._latest and not self._counted:
            self._sorts = False
        self._latest = time
        heapq.heappush(self._waiting, time)

    def frame(self, pts: int | None) -> int | None:
        """Return when the next frame is shown, whose packet said `pts`."""
        if self._begins and pts is not None and not self._counted:
            # Packets before the first frame that can be decoded show nothing.
            self._waiting = [time for time in self._waiting if time >= pts]
            heapq.heapify(self._waiting)
        self._begins = False
        return heapq.heappop(self._waiting) if self._sorts and self._waiting else pts


class Clock:
    """Makes times start at 0 and strictly increase.

    Args:
        step: ticks of one frame at the nominal rate.
        zero: timestamp of the first frame of the clip.
    """

    def __init__(self, step: int, zero: int = 0) -> None:
        self._step = max(1, step)
        self._zero = zero
        self._last = -1

    def tick(self, pts: int | None) -> int:
        """The time of the next frame, whose file says `pts` (`None`: nothing)."""
        follows = self._last + self._step if self._last >= 0 else 0
        time = follows if pts is None else pts - self._zero
        if time <= self._last:
            if self._last - time < self._step:
                # Doubled, or out of order by a hair: the next timestamp is right again.
                time = self._last + 1
            else:
                # The clock of the file was set back; all that follows moves with it.
                self._zero -= follows - time
                time = follows
        self._last = max(time, 0)
        return self._last


def rate_given(fps: Fraction | float | str) -> Fraction:
    """Read a rate given by a caller, such as `25`, `29.97` or `"30000/1001"`.

    Containers hold fractions of small whole numbers, so one near to it is taken of any other.

    Raises:
        InputError: it is no number above 0 and up to 1000.
    """
    try:
        rate = Fraction(str(fps)).limit_denominator(10_000)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _FASTEST:
        raise InputError(f"The rate {fps} is not between 0 and {_FASTEST} frames per second.")
    return rate


def clean_rate(rate: Fraction) -> Fraction:
    """Snap a measured rate to n or n * 1000/1001 where it differs by less than 0.02 %."""
    for scale in (Fraction(1), Fraction(1000, 1001)):
        standard = Fraction(round(rate / scale)) * scale
        if standard and abs(rate / standard - 1) < Fraction(1, 5000):
            return standard
    return 1 / (1 / rate).limit_denominator(10_000) if rate < 1 else rate.limit_denominator(10_000)


def is_plausible(rate: Fraction | None) -> bool:
    """Whether a header's rate can be one: files without a rate often state 1000 or 90000."""
    return rate is not None and 0 < rate < _FASTEST


def agree(first: Fraction, second: Fraction) -> bool:
    """Whether two rates differ by less than 1 %."""
    return abs(first / second - 1) < Fraction(1, 100)
