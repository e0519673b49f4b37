"""Limits on clips, each with an `AEHUB_*` variable; models used by default; the version."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from aehub.errors import InputError

_Number = TypeVar("_Number", int, float)

DEFAULT_CODEC = "d4-codec"
"""Model that compresses where none is named."""
SMALLEST_CODEC = "sandwich-av1"
"""Model of the smallest files, where it is installed."""
DEFAULT_EFFORT, MAX_EFFORT = 5, 9
"""Effort of encoders: 0 is the fastest, the largest takes whatever time makes files smaller."""
DEFAULT_GENERATOR = "emoji-vae"
"""Model that animates where none is named."""
DEFAULT_FINGERPRINT = "fingerprint"
"""Model that an index is made with where none is named."""
_TRIM_TOLERANCE = 0.04
"""Seconds by which a trimmed clip may exceed a limit: a frame at 25 frames per second."""


def exceeds_duration(seconds: Fraction | float, limit: float) -> bool:
    """Return whether a clip is longer than `limit` seconds.

    Trims snap to the nearest frame boundary at either end, so a duration may exceed the limit by
    less than `_TRIM_TOLERANCE`.
    """
    return round(float(seconds), 6) >= round(limit + _TRIM_TOLERANCE, 6)


@dataclass(frozen=True)
class Limits:
    """Largest accepted clip; `None` means no limit.

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
        """Read the limits from `environ` (default: the process environment).

        Raises:
            InputError: a variable is not a number above zero.
        """
        environ = os.environ if environ is None else environ
        pixels = positive_integer(environ, "AEHUB_MAX_PIXELS")
        return cls(
            max_pixels=cls.max_pixels if pixels is None else pixels,
            max_frames=positive_integer(environ, "AEHUB_MAX_FRAMES"),
            max_seconds=_read_setting(environ, "AEHUB_MAX_SECONDS", float, "a number"),
        )


def positive_integer(environ: Mapping[str, str], name: str) -> int | None:
    """Return the variable `name` as an integer of at least 1; None if it is unset or empty.

    Raises:
        InputError: it is not a whole number above zero.
    """
    return _read_setting(environ, name, int, "a whole number")


def _read_setting(
    environ: Mapping[str, str], name: str, kind: type[_Number], wanted: str
) -> _Number | None:
    """Return the value of one variable, `None` if unset or empty."""
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = kind(0)
    if not value > 0:
        raise InputError(f"{name} is {text[:40]!r}; give {wanted} above zero, or unset it.")
    return value


__version__ = "0.1.0"
