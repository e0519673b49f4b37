"""A character cut out of its picture: the ground is found and left out, every pixel is whole.

The ground is what is transparent, or the one colour that the rim of the picture has; a picture
whose ground is neither is refused, as is one that shows nobody, or several characters.

The model's cell of 64x64 pixels, and how characters of other sizes and places get into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aehub.errors import InputError, LimitError
from aehub.generators.sprite.pixel_art import BACKGROUND, opaque_mask, pack_rgb
from aehub.generators.sprite.stills import SIDE

MAX_SIDE = 4096
"""Pixels of a side of a still."""
LEAST_HEIGHT, LEAST_WIDTH = 10, 4
"""Pixels of the smallest character."""
# Pictures with less of them clear than this have a ground of their own, with rounded corners say.
_LEAST_CLEAR = 0.05
# Cover that cannot be seen.
_FAINT = 16
# Of the rim of a picture, that has the colour of the ground.
_LEAST_GROUND = 0.6
# Grey levels that lossy coding moves a colour by: where it is flat, and next to edges; and how many
# different colours so near to the ground are more than an artist uses.
_FLAT_NOISE, _EDGE_NOISE, _MOST_NEAR = 12, 40, 24
# Frames around each other, the least share of the picture in a frame, and how much of that may
# belong to the frame.
_FRAMES, _FRAMED, _MOST_OPEN = 3, 0.5, 0.03
# What stands apart is another character if it is so large beside the largest.
_LEAST_AREA, _LEAST_LENGTH = 0.3, 0.5
_WIDEST = 1.05


class Cutout(NamedTuple):
    """A character without its ground.

    Attributes:
        colours: uint8 [h, w, 3], no larger than the character.
        shown: bool [h, w], which pixels are its own.
        top, left: where it stands in its picture.
        canvas: (height, width) of its picture.
        notes: sentences about what was done to it.
    """

    colours: np.ndarray
    shown: np.ndarray
    top: int
    left: int
    canvas: tuple[int, int]
    notes: tuple[str, ...] = ()


def cut_out(picture: np.ndarray, name: str = "the still") -> Cutout:
    """The one character of a picture.

    Args:
        picture: uint8 [H, W, 3] in RGB, or [H, W, 4] with coverage.
        name: what to call it in messages.

    Raises:
        InputError: it is no picture, its ground cannot be told, or it shows nobody or several.
        LimitError: it is too large.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise InputError(f"{name} is {picture.dtype} {list(picture.shape)}; give a picture, uint8 "
                         "[height, width, 3 or 4].")
    canvas = picture.shape[0], picture.shape[1]
    if max(canvas) > MAX_SIDE:
        raise LimitError(f"{name} is {canvas[1]}x{canvas[0]}; a still has at most {MAX_SIDE} "
                         "pixels on a side. Make it smaller, or cut it out of its ground.")
    shown, notes = _foreground(picture, name)
    box = _box(shown)
    if box is None:
        raise _no_figure(name)
    _check_figure(shown[box], name)
    return Cutout(picture[box][..., :3], shown[box], box[0].start, box[1].start, canvas, notes)


def _foreground(picture: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(which pixels are no ground, notes)."""
    if picture.shape[2] == 4:
        cover = picture[..., 3]
        most = int(cover.max(initial=0))
        if most < _FAINT:
            raise _no_figure(name)
        shown = cover > most // 2
        if (~shown).mean() >= _LEAST_CLEAR:
            return shown, () if most >= 128 else (
                f"The character of {name} is transparent by {100 - round(most / 2.55)} %; it walks "
                "opaque.",)
        found, notes = _foreground_of_rgb(picture[..., :3], name)
        return found & shown, notes
    return _foreground_of_rgb(picture, name)


def _foreground_of_rgb(picture: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(which pixels of a picture uint8 [H, W, 3] are no ground of one colour, notes)."""
    top = left = 0
    inside = picture
    for _ in range(_FRAMES):
        ground, outside, found = _split_background(inside, name)
        box = _box(~outside)
        # What fills its whole box is another picture in a frame, if it is large.
        if box is None or outside[box].size < _FRAMED * outside.size or (
                outside[box].mean() > _MOST_OPEN):
            break
        top, left, inside = top + box[0].start, left + box[1].start, inside[box]
    shown = np.zeros(picture.shape[:2], bool)
    height, width = found.shape
    shown[top:top + height, left:left + width] = found
    if (ground == BACKGROUND).all():
        return shown, ()
    return shown, (f"The ground of {name}, rgb({', '.join(map(str, ground))}), was left out, with "
                   "all else of that colour.",)


def _split_background(picture: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(colour of the ground, which pixels of it reach the rim, which pixels are none of it)."""
    rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colours, counts = np.unique(rim, axis=0, return_counts=True)
    ground, times = colours[counts.argmax()], int(counts.max())
    apart, rim_apart = (np.abs(some.astype(np.int16) - ground).max(-1) for some in (picture, rim))
    if (rim_apart <= _EDGE_NOISE).mean() < _LEAST_GROUND:
        raise InputError(f"{name} has a ground of several colours, from which the character cannot "
                         "be told; make the ground transparent, or all of one colour.")
    near = np.unique(pack_rgb(picture[apart <= _FLAT_NOISE]))
    is_exact = len(near) <= _MOST_NEAR and times >= _LEAST_GROUND * len(rim)
    outside = np.zeros(apart.shape, bool)
    outside[0] = outside[-1] = outside[:, 0] = outside[:, -1] = True
    outside = _flood_fill(apart <= (0 if is_exact else _EDGE_NOISE), outside)
    if is_exact:
        return ground, outside, apart > 0
    shown = ~outside & (apart > _FLAT_NOISE)
    return ground, outside, shown & _has_adjacent(shown)


def _box(shown: np.ndarray) -> tuple[slice, slice] | None:
    """The rows and columns that hold all that is shown, if there is any."""
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _flood_fill(passable: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Which pixels can be reached from the seeds, up, down, left and right: bool [H, W]."""
    reached = seeds & passable
    blocked = np.pad(~passable, ((0, 1), (0, 1)), constant_values=True)
    # Runs of passable pixels by number, along rows and along columns.
    runs = [blocked.ravel().cumsum().reshape(blocked.shape)[:-1, :-1],
            blocked.T.ravel().cumsum().reshape(blocked.T.shape).T[:-1, :-1]]
    count = 0
    while count < (count := int(reached.sum())):
        for run in runs:
            touched = np.zeros(blocked.size + 1, bool)
            touched[run[reached]] = True
            reached = passable & touched[run]
    return reached


def _has_adjacent(shown: np.ndarray) -> np.ndarray:
    """Which pixels are shown beside at least two others of the eight around them."""
    around = np.pad(shown, 1).astype(np.int8)
    rows = around[:-2] + around[1:-1] + around[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] > 2)


def _check_figure(shown: np.ndarray, name: str) -> None:
    """Refuse what cannot be one standing character."""
    height, width = shown.shape
    if height < LEAST_HEIGHT or width < LEAST_WIDTH:
        raise _no_figure(name)
    beside, above = _count_figures(shown), _count_figures(shown.T)
    if beside * above > 1:
        raise InputError(f"{name} shows {beside * above} figures; a still shows one character. "
                         "Cut one of them out and give that.")
    if width > _WIDEST * height:
        raise InputError(f"what {name} shows is {width} pixels wide and {height} high; give one "
                         "character that stands and faces you.")


def _count_figures(shown: np.ndarray) -> int:
    """How many large things stand beside each other with an empty column between."""
    filled = np.pad(shown.any(0), 1).astype(np.int8)
    ends = np.flatnonzero(np.diff(filled)).reshape(-1, 2)
    parts = [shown[:, begin:end] for begin, end in ends]
    areas = np.array([part.sum() for part in parts])
    lengths = np.array([np.ptp(np.flatnonzero(part.any(1))) + 1 for part in parts])
    return int(((areas >= _LEAST_AREA * areas.max())
                & (lengths >= _LEAST_LENGTH * lengths.max())).sum())


def _no_figure(name: str) -> InputError:
    return InputError(f"there is nobody to be seen in {name}; give a character that stands on a "
                      "transparent ground, or on one of one colour.")


FEET_ROWS = (62, 63, 64)
"""Rows below the feet, as shoes are drawn; bare ones first."""
MIDDLE_COLUMN = SIDE // 2
# Heights of characters in the cell: what most have, and the largest that are not made smaller.
_HEIGHT, _TALLEST = 51, 60
_FRACTIONS = (1, 2, 4)
# Frames of a cell are at most so many times as large as the model's.
_LARGEST = 16


@dataclass(frozen=True)
class Cell:
    """A character in the model's cell.

    Attributes:
        picture: uint8 [64, 64, 4]; alpha is 0 or 255.
        shrink: pixels of the still for one of the model's, each way.
        grow: pixels of the model's for one of the still's.
        is_rough: whether it was enlarged by no whole factor.
        notes: sentences about what was done to the still.
    """

    picture: np.ndarray
    shrink: int = 1
    grow: int = 1
    is_rough: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def from_picture(cls, still: np.ndarray) -> Cell:
        """The cell of a still that the model drew, uint8 [64, 64, 3] on white."""
        return cls(_with_alpha(still, opaque_mask(still)))

    @property
    def side(self) -> int:
        """Pixels of a side of what comes back."""
        return SIDE // self.grow * self.shrink

    def restore(self, frames: np.ndarray) -> np.ndarray:
        """Frames [T, 64, 64, 4] in the size of the still's pixels."""
        frames = frames[:, self.grow // 2::self.grow, self.grow // 2::self.grow]
        return frames.repeat(self.shrink, 1).repeat(self.shrink, 2)


@dataclass(frozen=True)
class Figure:
    """A character in the size that the model draws, not yet in its place.

    Attributes:
        picture: uint8 [h, w, 4], no larger than the character.
        shrink, grow, is_rough, notes: as in `Cell`.
    """

    picture: np.ndarray
    shrink: int
    grow: int
    is_rough: bool
    notes: tuple[str, ...]

    def at(self, feet: int, middle: int) -> Cell:
        """The cell with the character standing on row `feet`, its middle at column `middle`."""
        cell = np.tile(np.array([*BACKGROUND, 0], np.uint8), (SIDE, SIDE, 1))
        height, width = self.picture.shape[:2]
        top, left = feet - height, middle - width // 2
        rows, columns = slice(max(0, top), feet), slice(max(0, left), max(0, left + width))
        cell[rows, columns] = self.picture[max(0, -top):, max(0, -left):][:, :SIDE - max(0, left)]
        return Cell(cell, self.shrink, self.grow, self.is_rough, self.notes)


def size_candidates(cut: Cutout) -> Iterator[Figure]:
    """A character in all the sizes that it may be meant to have, the likeliest first.

    A pixel of pixel art is a square block of whole pixels; then the character is taken as it is,
    or doubled, if that is a height that the model knows. Otherwise the whole picture may have been
    resized, cell and all; or the character was drawn in a size of its own.
    """
    block = _pixel_block(cut)
    picture = _with_alpha(cut.colours, cut.shown)[block // 2::block, block // 2::block]
    height, found = len(picture), False
    if height <= _TALLEST:
        grow = min((n for n in _FRACTIONS if n * height <= _TALLEST),
                   key=lambda n: abs(n * height - _HEIGHT))
        yield Figure(picture.repeat(grow, 0).repeat(grow, 1), min(block, _LARGEST), grow, False,
                     cut.notes)
        found = True
    times = cut.canvas[0] / block / SIDE
    if cut.canvas[0] == cut.canvas[1] and _HEIGHT * 0.8 <= height / times <= SIDE and times != 1:
        yield _resized(cut, times * block)
        found = True
    if not found:
        yield _resized(cut, height * block / _HEIGHT)


def _resized(cut: Cutout, times: float) -> Figure:
    """The character 1 / `times` as large, its pixels those of its picture resized as a whole."""
    rows, columns = (_kept_pixels(begin, length, full, times) for begin, length, full in zip(
        (cut.top, cut.left), cut.shown.shape, cut.canvas, strict=True))
    picture = _with_alpha(cut.colours, cut.shown)[rows][:, columns]
    whole = min(int(times), _LARGEST) if times == int(times) else 1
    note = (f"The character is {cut.shown.shape[0]} pixels high; it walks {len(rows)} high, as the "
            "model draws.",) if times != int(times) else ()
    return Figure(picture, whole, 1, times < 1, (*cut.notes, *note))


def _kept_pixels(begin: int, length: int, full: int, times: float) -> np.ndarray:
    """Which of `length` pixels from `begin` on are left of a side of `full` pixels."""
    middles = ((np.arange(max(1, round(full / times))) + 0.5) * times).astype(int) - begin
    return middles[(middles >= 0) & (middles < length)]


def _pixel_block(cut: Cutout) -> int:
    """Side of the square blocks, all of one colour, that a character is made of."""
    pixels = np.where(cut.shown, pack_rgb(cut.colours), -1)
    ends = [len(pixels), pixels.shape[1], *(edge for axis in (0, 1) for edge in 1 + np.flatnonzero(
        (np.diff(pixels, axis=axis) != 0).any(1 - axis)))]
    common = int(np.gcd.reduce(ends))
    most = len(pixels) // LEAST_HEIGHT
    return max(n for n in range(1, most + 1) if common % n == 0)


def _with_alpha(colours: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4]: the colours where they are shown, clear white elsewhere."""
    picture = np.where(shown[..., None], colours, BACKGROUND)
    return np.concatenate([picture, np.where(shown, 255, 0)[..., None]], -1).astype(np.uint8)
