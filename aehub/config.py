"""Settings a user may change, each with a generous default and an `AEHUB_*` variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from aehub.errors import InputError

_ROUNDED_SECONDS = 0.04


def too_long(seconds: Fraction | float, most: float) -> bool:
    """Whether a clip lasts longer than `most` seconds.

    Trims go to the border of a frame where one is near, at either end: that does not count.
    """
    return round(float(seconds), 6) >= round(most + _ROUNDED_SECONDS, 6)


@dataclass(frozen=True)
class Limits:
    """The largest clip that is accepted; `None` means no limit.

    Attributes:
        max_pixels: pixels of one picture (`AEHUB_MAX_PIXELS`).
        max_frames: frames read from one clip, after trimming (`AEHUB_MAX_FRAMES`).
        max_seconds: seconds read from one clip, after trimming (`AEHUB_MAX_SECONDS`).
    """

    max_pixels: int = 8192 * 8192
    max_frames: int | None = None
    max_seconds: float | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Limits:
        """Take the limits from `environ` (default: the process environment).

        Raises:
            InputError: a variable is not a number above zero.
        """
        environ = os.environ if environ is None else environ
        pixels = whole_number(environ, "AEHUB_MAX_PIXELS")
        return cls(
            max_pixels=cls.max_pixels if pixels is None else pixels,
            max_frames=whole_number(environ, "AEHUB_MAX_FRAMES"),
            max_seconds=_number(environ, "AEHUB_MAX_SECONDS"),
        )


def whole_number(environ: Mapping[str, str], name: str) -> int | None:
    """Return the value of the variable `name`, from 1 on; None when it is unset or empty.

    Raises:
        InputError: it is no whole number above zero.
    """
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise InputError(f"{name} is {text[:40]!r}; give a whole number above zero, or unset it.")
    return value


def _number(environ: Mapping[str, str], name: str) -> float | None:
    """The value of one variable, None when unset or empty."""
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise InputError(f"{name} is {text[:40]!r}; give a number above zero, or unset it.")
    return value
