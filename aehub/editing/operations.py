"""Operations of an edit, as objects and as text: `Rotate(90)`, `rotate 90`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from numbers import Integral
from typing import Any, ClassVar

from aehub.arguments import check_list
from aehub.errors import InputError
from aehub.media.orientation import ELEMENTS, IDENTITY, compose
from aehub.media.scaling import check_scale
from aehub.media.timestamps import TimeSpan

_DIRECTIONS = ("horizontal", "vertical")
_FORMS = "rotate 90, flip horizontal, flip vertical, transpose, trim 1:2.5, reverse, scale 1/2"
_SCALES = (Fraction(1, 2), Fraction(2))


@dataclass(frozen=True)
class Rotate:
    """Turn the picture clockwise by a multiple of 90 degrees."""

    degrees: int

    def __post_init__(self) -> None:
        is_integer = isinstance(self.degrees, Integral) and not isinstance(self.degrees, bool)
        if not is_integer or self.degrees % 90:
            raise InputError(f"a rotation by {self.degrees!r} degrees is not possible without "
                             "decoding; give a multiple of 90.")

    def __str__(self) -> str:
        return f"rotate {self.degrees}"

    @property
    def element(self) -> str:
        """Key in `aehub.media.orientation.ELEMENTS`."""
        quarter = self.degrees % 360
        return f"rotate-{quarter}" if quarter else "identity"


@dataclass(frozen=True)
class Flip:
    """Mirror the picture: "horizontal" swaps left and right, "vertical" top and bottom."""

    direction: str

    def __post_init__(self) -> None:
        if not isinstance(self.direction, str) or self.direction not in _DIRECTIONS:
            raise InputError(f"the flip {self.direction!r} is not known; give horizontal (left "
                             "and right change places) or vertical (top and bottom do).")

    def __str__(self) -> str:
        return f"flip {self.direction}"

    @property
    def element(self) -> str:
        """Key in `aehub.media.orientation.ELEMENTS`."""
        return f"flip-{self.direction}"


@dataclass(frozen=True)
class Transpose:
    """Swap rows and columns: mirror the picture at its main diagonal."""

    element: ClassVar[str] = "transpose"

    def __str__(self) -> str:
        return "transpose"


@dataclass(frozen=True)
class Trim:
    """Keep the part "A:B": seconds, or frames with a trailing f."""

    part: str

    def __post_init__(self) -> None:
        TimeSpan.parse(self.part)

    def __str__(self) -> str:
        return f"trim {self.part}"


@dataclass(frozen=True)
class Reverse:
    """Play backward."""

    def __str__(self) -> str:
        return "reverse"


@dataclass(frozen=True)
class Scale:
    """Halve or double both sides: 1/2 or 2, a number or a text. Pictures are encoded again."""

    scale: Fraction | float | str

    def __post_init__(self) -> None:
        if check_scale(self.scale) not in _SCALES:
            raise InputError(f"an edit to the scale {self.scale} is not possible; give 1/2 or 2.")

    def __str__(self) -> str:
        return f"scale {check_scale(self.scale)}"


Turn = Rotate | Flip | Transpose
Operation = Rotate | Flip | Transpose | Trim | Reverse | Scale


def check_operations(operations: Any) -> list[Operation]:
    """Return the operations as a list.

    Raises:
        InputError: they are not a list of operations.
    """
    checked = check_list("operations", operations)
    for operation in checked:
        if not isinstance(operation, Operation):
            raise InputError(f"the operation {str(operation)[:40]!r} is not known; give Rotate, "
                             "Flip, Transpose, Trim, Reverse or Scale of aehub.")
    return checked


def element(operations: Iterable[Operation]) -> int:
    """Return the element of D4 that composes all turns among the operations, 0 if there is none."""
    total = IDENTITY
    for operation in operations:
        if isinstance(operation, Turn):
            total = compose(ELEMENTS[operation.element], total)
    return total


def scale_of(operations: Iterable[Operation]) -> Fraction:
    """Return the product of all scales among the operations, 1 if there is none.

    Raises:
        InputError: pictures are not decoded to it.
    """
    factors = [check_scale(operation.scale) for operation in operations
               if isinstance(operation, Scale)]
    return check_scale(prod(factors, start=Fraction(1)))


def parse(text: str) -> list[Operation]:
    """Parse operations in the form of `str`, separated by commas.

    Raises:
        InputError: one of them is unknown, or its value is invalid.

    Example:
        >>> parse("rotate 90, trim 10f:20f")
        [Rotate(degrees=90), Trim(part='10f:20f')]
    """
    return [_parsed(" ".join(words.split())) for words in text.split(",") if words.strip()]


def _parsed(words: str) -> Operation:
    name, _, value = words.partition(" ")
    match name.lower():
        case "rotate" if value.removeprefix("-").isdecimal():
            return Rotate(int(value))
        case "flip":
            return Flip(value)
        case "trim":
            return Trim(value)
        case "scale" if value:
            return Scale(value)
        case "transpose" if not value:
            return Transpose()
        case "reverse" if not value:
            return Reverse()
    raise InputError(f"the operation {words!r} is not known; write operations like {_FORMS}.")
