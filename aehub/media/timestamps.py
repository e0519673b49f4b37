"""When frames are shown: timestamps put right, and the nominal rate.

Which part of a clip is wanted: `A:B` in seconds, or in frames with a trailing `f`.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import TypeVar

from aehub.errors import InputError

DEFAULT_FPS = Fraction(25)
_FASTEST = 1000
_Item = TypeVar("_Item")


def lookahead(items: Iterable[_Item]) -> Iterator[tuple[_Item, _Item | None]]:
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


class PresentationTimes:
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


class MonotonicTimestamps:
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


def parse_rate(fps: Fraction | float | str) -> Fraction:
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


# A side this near to the beginning or end of a frame is put there: half a frame at 24 frames per
# second, so that steady clips stay steady.
_NEAR = Fraction(21, 1000)
# Ticks that a trim in seconds needs, for it may cut a frame that is shown for long.
_FINE = Fraction(1, 1000)
_MOMENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)?(f?)")


@dataclass(frozen=True)
class TimeSpan:
    """What is on screen from `start` to `stop`.

    Attributes:
        start: seconds, or a frame number counted from 0.
        stop: likewise; `None` is the end of the clip.
        start_in_frames: `start` counts frames.
        stop_in_frames: `stop` counts frames.
        exact: sides in seconds are not moved to the border of a frame, be it ever so near.

    Example:
        >>> TimeSpan.parse("1.5:90f")
        Trim(start=Fraction(3, 2), stop=Fraction(90, 1), start_in_frames=False, stop_in_frames=True)
    """

    start: Fraction = Fraction(0)
    stop: Fraction | None = None
    start_in_frames: bool = False
    stop_in_frames: bool = False
    exact: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        comparable = self.start_in_frames == self.stop_in_frames or self.start == 0
        empty = self.stop is not None and comparable and self.stop <= self.start
        if self.start < 0 or empty:
            raise InputError(f"The trim {self} keeps no frame; the end must come after the start.")

    def __str__(self) -> str:
        start = _text(self.start, self.start_in_frames) if self.start else ""
        stop = "" if self.stop is None else _text(self.stop, self.stop_in_frames)
        return f"{start}:{stop}"

    @classmethod
    def parse(cls, text: str) -> TimeSpan:
        """Read `A:B`; either side may be empty.

        Raises:
            InputError: the text has another form, or the end is not after the start.
        """
        if not isinstance(text, str):
            raise _malformed(text)
        sides = [_MOMENT.fullmatch(side.strip()) for side in text.split(":")]
        if len(sides) != 2 or sides[0] is None or sides[1] is None:
            raise _malformed(text)
        (start, start_unit), (stop, stop_unit) = sides[0].groups(), sides[1].groups()
        for number, unit in ((start, start_unit), (stop, stop_unit)):
            if unit and (number is None or "." in number):
                raise _malformed(text)
        return cls(
            Fraction(start or 0),
            None if stop is None else Fraction(stop),
            bool(start_unit),
            bool(stop_unit),
        )

    def frame_interval(
        self, index: int, begin: Fraction, end: Fraction, *, is_last: bool = False
    ) -> tuple[Fraction, Fraction] | None:
        """Return from when to when frame `index` is kept, None where it is not.

        What is on screen in the part is kept, for as long as it is: sides in seconds cut frames.

        Args:
            index: number of the frame.
            begin: when it appears, in seconds.
            end: when the next one replaces it.
            is_last: there is no next one.
        """
        if self.start_in_frames:
            start = begin if self.start <= index else end
        else:
            start = self._within(self.start, begin, end)
            if is_last and start == end:
                start = max(begin, self.start)
        if self.stop is None:
            stop = end
        elif self.stop_in_frames:
            stop = end if index < self.stop else begin
        else:
            stop = self._within(self.stop, begin, end)
            if begin == 0 == stop:
                stop = min(self.stop, end)
        return (start, stop) if start < stop else None

    def _within(self, moment: Fraction, begin: Fraction, end: Fraction) -> Fraction:
        """The moment brought into a frame, and to the nearer end of it if that is near enough."""
        short = self.start > 0 and self.seconds is not None and self.seconds <= 2 * _NEAR
        near = Fraction(0) if self.exact or short else _NEAR
        if end - moment <= min(near, moment - begin):
            return end
        return begin if moment - begin < near else moment

    @classmethod
    def coerce(cls, trim: TimeSpan | str | None) -> TimeSpan | None:
        """The trim that was given, as text or as it is; None, and nothing, keep the whole clip.

        Raises:
            InputError: as `parse`.
        """
        return trim if isinstance(trim, TimeSpan) or trim is None else cls.parse(trim)

    def has_started(self, index: int, seconds: Fraction) -> bool:
        """Whether all from frame `index` on, which appears at `seconds`, is past the start."""
        return self.start <= (index if self.start_in_frames else seconds)

    def has_ended(self, index: int, seconds: Fraction) -> bool:
        """Whether nothing is kept from frame `index` on, which appears at `seconds`."""
        return self.stop is not None and self.stop <= (index if self.stop_in_frames else seconds)

    def tick_division(self, time_base: Fraction) -> int:
        """Return in how many ticks one of `time_base` must be parted for the sides of the trim."""
        seconds = [self.start] if not self.start_in_frames else []
        seconds += [self.stop] if self.stop is not None and not self.stop_in_frames else []
        whole = all((moment / time_base).denominator == 1 for moment in seconds)
        return 1 if whole else max(1, ceil(time_base / _FINE))

    @property
    def seconds(self) -> Fraction | None:
        """How long the part is at most; None where the sides do not tell."""
        told = self.stop is not None and not (self.start_in_frames or self.stop_in_frames)
        return self.stop - self.start if told and self.stop is not None else None

    def expected_frames(self, n_frames: int, fps: Fraction) -> int:
        """Return how many frames of a steady clip are kept, about; at least 1."""
        near = min(_NEAR, 1 / (2 * fps))
        first = self.start if self.start_in_frames else (self.start + near) * fps
        after = Fraction(n_frames)
        if self.stop is not None:
            after = self.stop if self.stop_in_frames else (self.stop - near) * fps
        return max(1, min(n_frames, ceil(after)) - floor(first))


def _text(moment: Fraction, in_frames: bool) -> str:
    return f"{moment}f" if in_frames else f"{float(moment):g}"


def _malformed(text: object) -> InputError:
    return InputError(
        f"The trim {str(text)[:40]!r} is not A:B; give seconds such as 1.5:4, frames such as "
        "30f:90f, or leave one side empty."
    )
