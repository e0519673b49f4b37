"""Presentation times of frames, nominal frame rates, and time spans `A:B` for trimming."""

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
_MAX_FPS = 1000
# Sides of a span this near to the beginning or end of a frame are moved there: half a frame at 24
# frames per second, so that steady clips stay steady.
_SNAP_SECONDS = Fraction(21, 1000)
# Longest tick in seconds for spans with sides in seconds, which may cut frames of long duration.
_MAX_TICK = Fraction(1, 1000)
_MOMENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)?(f?)")
_Item = TypeVar("_Item")


def lookahead(items: Iterable[_Item]) -> Iterator[tuple[_Item, _Item | None]]:
    """Yield each item with the next one; the last with None.

    An error raised by `items` is raised after the last of them.
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
    """Presentation times of decoded frames, also where packets carry decoding times only.

    AVI counts its chunks, and files converted from it keep these times: where B-frames make the
    decoder reorder pictures, the k-th frame shown has the k-th time. Times that decrease from
    packet to packet are true presentation times.

    Args:
        reorders: the stream has B-frames, so frames may leave the decoder in another order.
        counted: times are known to count packets.
    """

    def __init__(self, reorders: bool, *, counted: bool = False) -> None:
        self._waiting: list[int] = []
        self._latest: int | None = None
        self._is_first = True
        self._sorts, self._counted = reorders or counted, counted

    def add_packet(self, time: int | None) -> None:
        """Take the time of a packet that goes to the decoder."""
        if not self._sorts or time is None:
            return
        if self._latest is not None and time < self._latest and not self._counted:
            self._sorts = False
        self._latest = time
        heapq.heappush(self._waiting, time)

    def next_frame(self, pts: int | None) -> int | None:
        """Return the presentation time of the next frame, whose packet has `pts`."""
        if self._is_first and pts is not None and not self._counted:
            # Packets before the first frame that can be decoded show nothing.
            self._waiting = [time for time in self._waiting if time >= pts]
            heapq.heapify(self._waiting)
        self._is_first = False
        return heapq.heappop(self._waiting) if self._sorts and self._waiting else pts


class MonotonicTimestamps:
    """Timestamps made to start at 0 and strictly increase.

    Args:
        frame_ticks: duration of a frame at the nominal rate.
        zero: timestamp of the first frame of the clip.
    """

    def __init__(self, frame_ticks: int, zero: int = 0) -> None:
        self._frame_ticks = max(1, frame_ticks)
        self._zero = zero
        self._last = -1

    def next_time(self, pts: int | None) -> int:
        """Return the time of the next frame, whose timestamp in the file is `pts` or missing."""
        following = self._last + self._frame_ticks if self._last >= 0 else 0
        time = following if pts is None else pts - self._zero
        if time <= self._last:
            if self._last - time < self._frame_ticks:
                # A duplicate, or less than a frame back: the next timestamp is right again.
                time = self._last + 1
            else:
                # The clock of the file was set back; all later times move with it.
                self._zero -= following - time
                time = following
        self._last = max(time, 0)
        return self._last


def parse_rate(fps: Fraction | float | str) -> Fraction:
    """Read a frame rate such as `25`, `29.97` or `"30000/1001"`.

    Containers hold fractions of small integers, so any other rate becomes the nearest of them.

    Raises:
        InputError: it is no number above 0 and at most 1000.
    """
    try:
        rate = Fraction(str(fps)).limit_denominator(10_000)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= _MAX_FPS:
        raise InputError(f"The rate {fps} is not between 0 and {_MAX_FPS} frames per second.")
    return rate


def clean_rate(rate: Fraction) -> Fraction:
    """Snap a measured rate to n or n * 1000/1001 where it differs by less than 0.02 %."""
    for scale in (Fraction(1), Fraction(1000, 1001)):
        standard = Fraction(round(rate / scale)) * scale
        if standard and abs(rate / standard - 1) < Fraction(1, 5000):
            return standard
    return 1 / (1 / rate).limit_denominator(10_000) if rate < 1 else rate.limit_denominator(10_000)


def is_plausible(rate: Fraction | None) -> bool:
    """True if a header's rate can be a frame rate; files without one often state 1000 or 90000."""
    return rate is not None and 0 < rate < _MAX_FPS


def rates_agree(first: Fraction, second: Fraction) -> bool:
    """True if two rates differ by less than 1 %."""
    return abs(first / second - 1) < Fraction(1, 100)


@dataclass(frozen=True)
class TimeSpan:
    """A part of a clip: all that is on screen from `start` to `stop`.

    Attributes:
        start: seconds, or a frame number counted from 0.
        stop: likewise; `None` is the end of the clip.
        start_in_frames: `start` counts frames.
        stop_in_frames: `stop` counts frames.
        exact: sides in seconds are never moved to a frame boundary.

    Example:
        >>> TimeSpan.parse("1.5:90f")
        TimeSpan(start=Fraction(3, 2), stop=Fraction(90, 1), start_in_frames=False,
                 stop_in_frames=True)
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
        """Read `A:B` in seconds, or frames with a trailing `f`; either side may be empty.

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
        """Return (begin, end) of the part of frame `index` inside the span, None if it is outside.

        Sides in seconds cut the durations of frames.

        Args:
            index: number of the frame.
            begin: its presentation time in seconds.
            end: presentation time of the next frame.
            is_last: there is no next frame.
        """
        if self.start_in_frames:
            start = begin if self.start <= index else end
        else:
            start = self._snapped(self.start, begin, end)
            if is_last and start == end:
                start = max(begin, self.start)
        if self.stop is None:
            stop = end
        elif self.stop_in_frames:
            stop = end if index < self.stop else begin
        else:
            stop = self._snapped(self.stop, begin, end)
            if begin == 0 == stop:
                stop = min(self.stop, end)
        return (start, stop) if start < stop else None

    def _snapped(self, moment: Fraction, begin: Fraction, end: Fraction) -> Fraction:
        """Clamp a moment to a frame, and move it to an end of the frame within `_SNAP_SECONDS`."""
        seconds = self.seconds
        is_short = self.start > 0 and seconds is not None and seconds <= 2 * _SNAP_SECONDS
        snap = Fraction(0) if self.exact or is_short else _SNAP_SECONDS
        if end - moment <= min(snap, moment - begin):
            return end
        return begin if moment - begin < snap else moment

    @classmethod
    def coerce(cls, trim: TimeSpan | str | None) -> TimeSpan | None:
        """Parse a trim given as text; a span and None (the whole clip) pass unchanged.

        Raises:
            InputError: as `parse`.
        """
        return trim if isinstance(trim, TimeSpan) or trim is None else cls.parse(trim)

    def has_started(self, index: int, seconds: Fraction) -> bool:
        """True if all from frame `index` on, shown at `seconds`, is past the start."""
        return self.start <= (index if self.start_in_frames else seconds)

    def has_ended(self, index: int, seconds: Fraction) -> bool:
        """True if nothing from frame `index` on, shown at `seconds`, is inside the span."""
        return self.stop is not None and self.stop <= (index if self.stop_in_frames else seconds)

    def tick_division(self, time_base: Fraction) -> int:
        """Return into how many ticks one of `time_base` is divided to hold the sides exactly."""
        seconds = [self.start] if not self.start_in_frames else []
        seconds += [self.stop] if self.stop is not None and not self.stop_in_frames else []
        are_ticks = all((moment / time_base).denominator == 1 for moment in seconds)
        return 1 if are_ticks else max(1, ceil(time_base / _MAX_TICK))

    @property
    def seconds(self) -> Fraction | None:
        """Longest possible duration; None if the end is open or a side counts frames."""
        if self.stop is None or self.start_in_frames or self.stop_in_frames:
            return None
        return self.stop - self.start

    def expected_frames(self, n_frames: int, fps: Fraction) -> int:
        """Estimate the frames inside the span for a clip of constant rate; at least 1."""
        snap = min(_SNAP_SECONDS, 1 / (2 * fps))
        first = self.start if self.start_in_frames else (self.start + snap) * fps
        after = Fraction(n_frames)
        if self.stop is not None:
            after = self.stop if self.stop_in_frames else (self.stop - snap) * fps
        return max(1, min(n_frames, ceil(after)) - floor(first))


def _text(moment: Fraction, in_frames: bool) -> str:
    return f"{moment}f" if in_frames else f"{float(moment):g}"


def _malformed(text: object) -> InputError:
    return InputError(
        f"The trim {str(text)[:40]!r} is not A:B; give seconds such as 1.5:4, frames such as "
        "30f:90f, or leave one side empty."
    )
