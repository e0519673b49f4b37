"""Which part of a clip is wanted: `A:B` in seconds, or in frames with a trailing `f`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from aehub.errors import InputError

_MOMENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)?(f?)")


@dataclass(frozen=True)
class Trim:
    """The frames from `start` up to, not including, `stop`.

    Attributes:
        start: seconds, or a frame number counted from 0.
        stop: likewise; `None` is the end of the clip.
        start_in_frames: `start` counts frames.
        stop_in_frames: `stop` counts frames.

    Example:
        >>> Trim.parse("1.5:90f")
        Trim(start=Fraction(3, 2), stop=Fraction(90, 1), start_in_frames=False, stop_in_frames=True)
    """

    start: Fraction = Fraction(0)
    stop: Fraction | None = None
    start_in_frames: bool = False
    stop_in_frames: bool = False

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
    def parse(cls, text: str) -> Trim:
        """Read `A:B`; either side may be empty.

        Raises:
            InputError: the text has another form, or the end is not after the start.
        """
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

    def has_started(self, index: int, seconds: Fraction) -> bool:
        """Whether frame `index`, shown at `seconds`, is at or after the start."""
        return self.start <= (index if self.start_in_frames else seconds)

    def has_ended(self, index: int, seconds: Fraction) -> bool:
        """Whether frame `index`, shown at `seconds`, is at or after the end."""
        return self.stop is not None and self.stop <= (index if self.stop_in_frames else seconds)

    def span(self, fps: Fraction) -> tuple[Fraction, Fraction | None]:
        """Start and end in seconds, exact for sides in seconds, nominal for sides in frames."""
        start = self.start / fps if self.start_in_frames else self.start
        if self.stop is None:
            return start, None
        return start, self.stop / fps if self.stop_in_frames else self.stop


def _text(moment: Fraction, in_frames: bool) -> str:
    return f"{moment}f" if in_frames else f"{float(moment):g}"


def _malformed(text: str) -> InputError:
    return InputError(
        f"The trim {text!r} is not A:B; give seconds such as 1.5:4, frames such as 30f:90f, "
        "or leave one side empty."
    )
