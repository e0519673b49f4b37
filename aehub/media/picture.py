"""Pictures: named planes and their format, frames with times, H.273 colour tags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from aehub.errors import InputError

MIN_BITS, MAX_BITS = 8, 16
MAX_PLANES = 16
MAX_PLANE_NAME = 8
MAX_SUBSAMPLING = 16


class PlaneFormat(NamedTuple):
    """One plane of a picture.

    Attributes:
        name: such as "Y", "R" or "B04", 1 to 8 letters, digits and underscores.
        across: columns of the picture per sample, 1 to 16; 2 for the chroma of 4:2:0.
        down: rows of the picture per sample, 1 to 16.
    """

    name: str
    across: int = 1
    down: int = 1


@dataclass(frozen=True)
class PictureFormat:
    """Planes of a picture and the range of their samples.

    Attributes:
        planes: 1 to 16; the first one has a sample for every pixel.
        bits: of a sample, 8 to 16.
        signed: samples go from -2^(bits - 1); otherwise from 0.

    Raises:
        InputError: a value is outside these limits.
    """

    planes: tuple[PlaneFormat, ...]
    bits: int = 8
    signed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "planes", tuple(PlaneFormat(*plane) for plane in self.planes))
        if type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS:
            raise InputError(f"samples have {self.bits} bits; give {MIN_BITS} to {MAX_BITS}.")
        if not 1 <= len(self.planes) <= MAX_PLANES:
            raise InputError(f"a picture has {len(self.planes)} planes; give 1 to {MAX_PLANES}.")
        if self.planes[0][1:] != (1, 1):
            raise InputError(f"the first plane of a picture, {self.planes[0].name[:40]}, is "
                             "subsampled; give one with a sample for every pixel.")
        for name, *subsampling in self.planes:
            if not 1 <= len(name) <= MAX_PLANE_NAME or not (
                    name.isascii() and name.replace("_", "0").isalnum()):
                raise InputError(f"a plane is named {name[:40]!r}; use 1 to {MAX_PLANE_NAME} "
                                 "letters, digits and underscores.")
            if not all(1 <= n <= MAX_SUBSAMPLING for n in subsampling):
                raise InputError(f"the plane {name} is subsampled by {subsampling}; give 1 to "
                                 f"{MAX_SUBSAMPLING}.")

    def __str__(self) -> str:
        """Such as "8-bit Y U/2x2 V/2x2": names, and subsampling across and down."""
        names = (name if (across, down) == (1, 1) else f"{name}/{across}x{down}"
                 for name, across, down in self.planes)
        return " ".join([f"{'signed ' * self.signed}{self.bits}-bit", *names])

    @property
    def transposed(self) -> PictureFormat:
        """Format of a picture whose rows became columns: 4:2:2 becomes 4:4:0."""
        return replace(self, planes=tuple(PlaneFormat(name, down, across)
                                          for name, across, down in self.planes))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples: uint8, int8, uint16 or int16."""
        return np.dtype(f"{'i' if self.signed else 'u'}{1 if self.bits == 8 else 2}")

    @property
    def lowest(self) -> int:
        """Smallest sample."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def peak(self) -> int:
        """Largest sample less the smallest one, 2^bits - 1: the peak of PSNR."""
        return (1 << self.bits) - 1

    @property
    def is_yuv(self) -> bool:
        """True for one luma and two chroma planes, by their names."""
        return [plane.name for plane in self.planes] == ["Y", "U", "V"]

    def shapes(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each plane of a picture of `size` (width, height)."""
        width, height = size
        return tuple((-(-height // plane.down), -(-width // plane.across))
                     for plane in self.planes)

    def n_samples(self, size: tuple[int, int]) -> int:
        """Samples of all planes of a picture of `size` (width, height)."""
        return sum(rows * columns for rows, columns in self.shapes(size))


YUV420 = PictureFormat((PlaneFormat("Y"), PlaneFormat("U", 2, 2), PlaneFormat("V", 2, 2)))
"""8-bit 4:2:0, the format of most video."""
RGB = PictureFormat((PlaneFormat("R"), PlaneFormat("G"), PlaneFormat("B")))
"""8 bits of red, green and blue, which most autoencoders of pictures take."""


class Picture(tuple[np.ndarray, ...]):
    """Planes of one picture, arrays [rows, columns] of `format.dtype`, with their format.

    In 4:2:0: Y [H, W]; U, V [ceil(H/2), ceil(W/2)], the source's own values, limited or full
    range: see `Colour`.

    Args:
        planes: in the order of the format.
        format: of the planes.

    Example:
        >>> y = np.zeros((4, 6), np.uint8)
        >>> Picture([y, y[::2, ::2], y[::2, ::2]]).size
        (6, 4)
    """

    format: PictureFormat

    def __new__(cls, planes: Iterable[np.ndarray], format: PictureFormat = YUV420) -> Picture:
        picture = super().__new__(cls, planes)
        picture.format = format
        return picture

    @classmethod
    def from_samples(cls, samples: np.ndarray, size: tuple[int, int],
                     format: PictureFormat = YUV420) -> Picture:
        """The picture whose planes lie one after the other, row by row; they are views.

        Args:
            samples: [N] with N = `format.n_samples(size)`.
            size: (width, height).
            format: of the planes.
        """
        planes, begin = [], 0
        for rows, columns in format.shapes(size):
            end = begin + rows * columns
            planes.append(samples[begin:end].reshape(rows, columns))
            begin = end
        return cls(planes, format)

    def check(self) -> None:
        """Validate planes that somebody else made.

        Raises:
            InputError: a plane is of another shape or type than the format tells, or a sample lies
                outside its range.
        """
        form = self.format
        if not all(isinstance(plane, np.ndarray) for plane in self):
            raise InputError("a picture has planes that are no arrays; give arrays of NumPy.")
        is_plane = len(self) > 0 and self[0].ndim == 2 and self[0].size > 0
        if not is_plane or [plane.shape for plane in self] != list(form.shapes(self.size)):
            raise InputError(f"a picture of {form} has planes of {[p.shape for p in self]}; give "
                             f"{len(form.planes)} of [rows, columns], the first one of the whole "
                             "size, the others divided by their subsampling and rounded up.")
        for plane, (name, *_) in zip(self, form.planes, strict=True):
            if plane.dtype != form.dtype:
                raise InputError(f"the plane {name} of a picture of {form} is {plane.dtype}; give "
                                 f"{form.dtype}.")
            low, high = int(plane.min()), int(plane.max())
            if low < form.lowest or high > form.lowest + form.peak:
                raise InputError(f"the plane {name} has samples from {low} to {high}; those of "
                                 f"{form} go from {form.lowest} to {form.lowest + form.peak}.")

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.format

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in samples of the first plane."""
        return self[0].shape[1], self[0].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all planes."""
        return sum(plane.nbytes for plane in self)


class Frame(NamedTuple):
    """A picture with its presentation time and duration in ticks of `ClipInfo.time_base`.

    `time` counts from the first frame. A `duration` of None lasts until the next frame, and for
    the last frame `ClipInfo.frame_ticks`.
    """

    picture: Picture
    time: int
    duration: int | None = None


class Colour(NamedTuple):
    """Colour description of the planes, as H.273 code points (the numbers video files carry).

    `matrix` 1 is BT.709, 5 and 6 are BT.601, 2 is unspecified: BT.601 here, for
    `colour.resolve_unspecified` has put 1 where players assume BT.709.
    """

    matrix: int = 2
    full_range: bool = False
    primaries: int = 2
    transfer: int = 2


def add_note(notes: list[str], sentence: str) -> None:
    """Append a sentence to `notes` unless it is there already."""
    if sentence not in notes:
        notes.append(sentence)


@dataclass(frozen=True)
class ClipInfo:
    """Properties of a clip, known before its frames are read.

    Attributes:
        width: shown width in luma samples, after rotation.
        height: shown height in luma samples, after rotation.
        fps: nominal frames per second, e.g. 30000/1001.
        time_base: seconds per tick of `Frame.time`.
        colour: meaning of the planes.
        pictures: format of the pictures.
        pixel_aspect: width of a pixel over its height.
        n_frames: expected number of frames, None if the file states none; a hint only.
        source_bytes: size of the input file, None for arrays and pipes.
        plays: number of times an animation is played, 0 for ever.
        notes: sentences about changes made while reading (10-bit to 8, alpha over white, ...).
    """

    width: int
    height: int
    fps: Fraction
    time_base: Fraction
    colour: Colour = Colour()
    pictures: PictureFormat = YUV420
    pixel_aspect: Fraction = Fraction(1)
    n_frames: int | None = None
    source_bytes: int | None = None
    plays: int = 0
    notes: tuple[str, ...] = ()

    @property
    def frame_ticks(self) -> int:
        """Duration of a frame at the nominal rate in ticks, at least 1."""
        return max(1, round(1 / (self.fps * self.time_base)))
