"""Frame times in a file's ticks: a steady clip needs none of them, an unsteady one loses none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from aehub.clips.frames import ClipInfo
from aehub.container import nearest_rate

# With it, 1/(fps step) fits the file head's time base.
_LARGEST_DENOMINATOR = 16_511


@dataclass(frozen=True)
class Clock:
    """Turns source ticks into file ticks.

    A file tick is a whole part of the frame duration, at most as long as the source's tick; a
    frame within one source tick of the steady grid is put on it, for containers such as Matroska
    round steady times to milliseconds.

    Attributes:
        fps: nominal rate as the file can tell it.
        time_base: seconds per file tick.
        step: file ticks per frame of a steady clip.
        source: seconds per source tick.
    """

    fps: Fraction
    time_base: Fraction
    step: int
    source: Fraction

    @classmethod
    def of(cls, info: ClipInfo) -> Clock:
        """The clock for a clip; ticks are not finer than a millionth of a frame."""
        fps = nearest_rate(info.fps).limit_denominator(_LARGEST_DENOMINATOR)
        fps = max(fps, Fraction(1, _LARGEST_DENOMINATOR))
        step = min(10_000, max(1, -int(-1 / (fps * info.time_base) // 1)))
        return cls(fps, 1 / (fps * step), step, info.time_base)

    def ticks(self, time: int) -> int:
        """Source ticks -> file ticks."""
        seconds = time * self.source
        frame = round(seconds * self.fps)
        if abs(seconds - frame / self.fps) <= self.source:
            return frame * self.step
        return round(seconds / self.time_base)

    @property
    def usual(self) -> int:
        """Source ticks of a frame that does not say how long it lasts."""
        return max(1, round(1 / (self.fps * self.source)))

    def relative(self, times: Sequence[int]) -> tuple[int, ...] | None:
        """File ticks of a group's frames -> times after its first; None if they are steady."""
        steps = tuple(time - times[0] for time in times)
        return None if steps == tuple(range(0, len(times) * self.step, self.step)) else steps

    def last(self, times: Sequence[int], end: int) -> int | None:
        """Ticks from a group's last frame to its `end`; None if as long as the one before."""
        usual = times[-1] - times[-2] if len(times) > 1 else self.step
        lasting = max(1, end - times[-1])
        return None if lasting == usual else lasting
