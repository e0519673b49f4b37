"""Checks of the public functions' arguments, made before any work begins."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from numbers import Integral, Real
from typing import Any

from aehub.errors import InputError


def check_number(name: str, value: Any, low: float, high: float = math.inf, *,
                 above: bool = False) -> float:
    """Return `value` as a float if it is a number from `low` to `high`, numpy's included.

    Args:
        name: of the argument.
        value: of the argument.
        low: smallest allowed value.
        high: largest allowed value.
        above: exclude `low` itself.

    Raises:
        InputError: it is not a finite number within the range.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and low <= number <= high and not (above and number == low):
            return number
    raise InputError(f"{name} is {_repr(value)}; give a number {_range(low, high, above)}.")


def check_whole(name: str, value: Any, low: int, high: float = math.inf) -> int:
    """Return `value` as an int if it is a whole number from `low` to `high`, numpy's included.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return int(value)
    raise InputError(f"{name} is {_repr(value)}; give a whole number {_range(low, high, False)}.")


def check_text(name: str, value: Any, example: str) -> str:
    """Return `value` if it is a string, not blank and without zero bytes.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    raise InputError(f"{name} is {_repr(value)}; give a text such as {example}.")


def check_iterable(name: str, value: Any) -> Iterator[Any]:
    """Return an iterator over `value` if it is an iterable other than a string or path.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, os.PathLike)):
        # An array of no dimension has __iter__ and raises TypeError in it.
        with suppress(TypeError):
            return iter(value)
    raise InputError(f"{name} is {_repr(value)}; give a list.")


def check_list(name: str, value: Any) -> list[Any]:
    """Return the entries of `value` as a list; raises as `check_iterable`."""
    return list(check_iterable(name, value))


def check_function(name: str, value: Any, form: str = "a function of (done, total)") -> None:
    """Check that `value` is callable or None.

    Args:
        name: of the argument.
        value: what was given.
        form: what to give.

    Raises:
        InputError: it is neither.
    """
    if value is not None and not callable(value):
        raise InputError(f"{name} is {_repr(value)}; give {form}.")


def fulfils(value: Any, protocol: type) -> bool:
    """Return whether an object has all members of a protocol; False if it has no method of it.

    Raises:
        InputError: it has some methods, but lacks other members.
    """
    members = [name for name in dir(protocol) if not name.startswith("_")]
    missing = [name for name in members if not hasattr(value, name)]
    if missing and any(callable(getattr(protocol, name)) and hasattr(value, name)
                       for name in members):
        raise InputError(f"{getattr(value, 'name', 'the model')}, a {type(value).__name__}, has no "
                         f"{', '.join(missing)}; give it all members of "
                         f"aehub.{protocol.__name__}: {', '.join(members)}.")
    return not missing


def _repr(value: Any) -> str:
    kinds = (str, bytes, int, float, type(None), list, tuple, dict)
    return repr(value)[:40] if isinstance(value, kinds) else f"a {type(value).__name__}"


def _range(low: float, high: float, above: bool) -> str:
    if high == math.inf:
        return f"above {low:g}" if above else f"of at least {low:g}"
    return f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"
