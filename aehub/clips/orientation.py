"""How a stored picture must be turned to be shown: eight ways, all exact on planes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aehub.clips.frames import Planes


class Orientation(NamedTuple):
    """First transpose, then mirror left to right, then top to bottom."""

    transpose: bool = False
    mirror: bool = False
    upend: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Shown (width, height) of a stored one."""
        return (height, width) if self.transpose else (width, height)

    def turn(self, planes: Planes) -> Planes:
        """Turn a picture; the planes come back contiguous.

        On odd sizes a mirrored chroma sample keeps its value but covers its neighbour by half:
        4:2:0 cannot say it better.
        """
        if self == Orientation():
            return planes
        return Planes(*(np.ascontiguousarray(self.turn_array(plane)) for plane in planes))

    def turn_array(self, array: np.ndarray) -> np.ndarray:
        """A view of `array` [H, W, ...], turned."""
        if self.transpose:
            array = array.swapaxes(0, 1)
        if self.mirror:
            array = array[:, ::-1]
        return array[::-1] if self.upend else array


def from_matrix(matrix: bytes) -> Orientation:
    """Read the display matrix of a video file: nine int32, of which a b / c d turn the picture.

    A stored point (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Orientation(True, mirror=c < 0, upend=b < 0)
    return Orientation(False, mirror=a < 0, upend=d < 0)


def from_rotation(degrees: int) -> Orientation:
    """Read libavformat's counter-clockwise `degrees`, to the nearest quarter turn."""
    quarter = round(degrees / 90) % 4
    return (
        Orientation(),
        Orientation(True, upend=True),
        Orientation(False, True, True),
        Orientation(True, mirror=True),
    )[quarter]


def from_exif(number: int) -> Orientation:
    """Read the orientation tag of a photograph, 1 to 8; anything else is upright."""
    return {
        2: Orientation(False, mirror=True),
        3: Orientation(False, True, True),
        4: Orientation(False, upend=True),
        5: Orientation(True),
        6: Orientation(True, mirror=True),
        7: Orientation(True, True, True),
        8: Orientation(True, upend=True),
    }.get(number, Orientation())
