"""Easing: how the way from one keyframe to the next is spread over time.

Each curve takes the share of time that has passed, 0 to 1, to the share of the way; all begin at 0,
end at 1 and never turn back.

Sources: https://easings.net (sine, quad, cubic, quint) and
https://registry.khronos.org/OpenGL-Refpages/gl4/html/smoothstep.xhtml (smoothstep).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aehub.errors import InputError

Curve = Callable[[np.ndarray], np.ndarray]


def _sine_in(t: np.ndarray) -> np.ndarray:
    return np.asarray(1 - np.cos(t * np.pi / 2))


def _power_in(power: int) -> Curve:
    return lambda t: t**power


def _out(curve: Curve) -> Curve:
    """The curve turned around: fast first, then slow."""
    return lambda t: 1 - curve(1 - t)


def _in_out(curve: Curve) -> Curve:
    """Slow, fast, slow: the curve for the first half, turned around for the second."""
    return lambda t: np.where(t < 0.5, curve(2 * t) / 2, 1 - curve(2 - 2 * t) / 2)


def _family(name: str, curve: Curve) -> dict[str, Curve]:
    return {f"{name}in": curve, f"{name}out": _out(curve), f"{name}in-out": _in_out(curve)}


EASINGS: dict[str, Curve] = {
    "linear": lambda t: t,
    # The plain names are those of a sine: the gentlest.
    **_family("ease-", _sine_in),
    **_family("quad-", _power_in(2)),
    **_family("cubic-", _power_in(3)),
    **_family("quint-", _power_in(5)),
    "smoothstep": lambda t: t * t * (3 - 2 * t),
}
"""Name -> curve, elementwise on arrays."""


def easing(name: str) -> Curve:
    """The curve of that name.

    Raises:
        InputError: there is none.
    """
    if not isinstance(name, str) or name not in EASINGS:
        raise InputError(f"there is no easing {name!r}; known are {', '.join(EASINGS)}.")
    return EASINGS[name]
