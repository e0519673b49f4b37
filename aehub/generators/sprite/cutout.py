"""Segmentation of a character from its background, and its placement in the model's cell.

The background is transparent, or the one colour that the border of the picture has; pictures with
another background, without a character or with several are refused. Every pixel is either character
or background. The character is then scaled and placed in a cell of 64x64 pixels.
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
"""Pixels on a side of a still."""
MIN_HEIGHT, MIN_WIDTH = 10, 4
"""Pixels of the smallest character."""
FEET_ROWS = (62, 63, 64)
"""Rows below the feet, as shoes are drawn; bare feet first."""
MIDDLE_COLUMN = SIDE // 2
"""Column of the middle of a character in the cell."""
# Pictures of which less is transparent have an opaque background, for example with rounded corners.
_MIN_TRANSPARENT = 0.05
# Alpha below this is invisible.
_MIN_ALPHA = 16
# Smallest share of the border of a picture that has the colour of the background.
_MIN_BORDER_SHARE = 0.6
# Errors of lossy coding in grey levels, in flat areas and next to edges; and the most colours this
# near to the background in lossless pixel art.
_FLAT_NOISE, _EDGE_NOISE, _MAX_NEAR_COLOURS = 12, 40, 24
# Nested frames that are removed; smallest share of the picture inside a frame; and the largest
# share of its inside that may have the colour of the frame.
_MAX_FRAMES, _MIN_INSIDE, _MAX_OPEN = 3, 0.5, 0.03
# A separate component is another character if it has these shares of the largest area and height.
_MIN_AREA, _MIN_LENGTH = 0.3, 0.5
# Largest width of a character over its height.
_MAX_ASPECT = 1.05
# Heights of characters in the cell in pixels: the most frequent, and the largest not scaled down.
_HEIGHT, _MAX_HEIGHT = 51, 60
# Whole factors by which small characters are enlarged.
_FACTORS = (1, 2, 4)
# Frames are enlarged at most by this factor.
_MAX_ENLARGEMENT = 16


class Cutout(NamedTuple):
    """A character without its background.

    Attributes:
        colours: uint8 [h, w, 3], the bounding box of the character.
        mask: bool [h, w], its pixels.
        top, left: position of the box in the picture.
        canvas: (height, width) of the picture.
        notes: sentences about changes to the character.
    """

    colours: np.ndarray
    mask: np.ndarray
    top: int
    left: int
    canvas: tuple[int, int]
    notes: tuple[str, ...] = ()


def cut_out(picture: np.ndarray, name: str = "the still") -> Cutout:
    """Cut out the one character of a picture.

    Args:
        picture: uint8 [H, W, 3] in RGB, or [H, W, 4] with alpha.
        name: for messages.

    Raises:
        InputError: it is no picture, its background has several colours, or it shows no character
            or several.
        LimitError: it is too large.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise InputError(f"{name} is {picture.dtype} {list(picture.shape)}; give a picture, uint8 "
                         "[height, width, 3 or 4].")
    canvas = picture.shape[0], picture.shape[1]
    if max(canvas) > MAX_SIDE:
        raise LimitError(f"{name} is {canvas[1]}x{canvas[0]}; a still has at most {MAX_SIDE} "
                         "pixels on a side. Make it smaller, or crop it to the character.")
    mask, notes = _foreground(picture, name)
    box = _bounding_box(mask)
    if box is None:
        raise _no_figure(name)
    _check_figure(mask[box], name)
    return Cutout(picture[box][..., :3], mask[box], box[0].start, box[1].start, canvas, notes)


def _foreground(picture: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(mask of the character, notes)."""
    if picture.shape[2] == 4:
        alpha = picture[..., 3]
        max_alpha = int(alpha.max(initial=0))
        if max_alpha < _MIN_ALPHA:
            raise _no_figure(name)
        mask = alpha > max_alpha // 2
        if (~mask).mean() >= _MIN_TRANSPARENT:
            return mask, () if max_alpha >= 128 else (
                f"The character of {name} is transparent by {100 - round(max_alpha / 2.55)} %; it "
                "walks opaque.",)
        rgb_mask, notes = _foreground_of_rgb(picture[..., :3], name)
        return rgb_mask & mask, notes
    return _foreground_of_rgb(picture, name)


def _foreground_of_rgb(picture: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(mask of the character of a picture uint8 [H, W, 3] on one colour, notes)."""
    top = left = 0
    inside = picture
    for _ in range(_MAX_FRAMES):
        background, outside, found = _split_background(inside, name)
        box = _bounding_box(~outside)
        # A large component that fills its bounding box is another picture in a frame.
        if box is None or outside[box].size < _MIN_INSIDE * outside.size or (
                outside[box].mean() > _MAX_OPEN):
            break
        top, left, inside = top + box[0].start, left + box[1].start, inside[box]
    mask = np.zeros(picture.shape[:2], bool)
    height, width = found.shape
    mask[top:top + height, left:left + width] = found
    if (background == BACKGROUND).all():
        return mask, ()
    return mask, (f"The background of {name}, rgb({', '.join(map(str, background))}), was removed, "
                  "with all other pixels of that colour.",)


def _split_background(picture: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(colour of the background, mask of its part at the border, mask of the character)."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colours, counts = np.unique(border, axis=0, return_counts=True)
    background, count = colours[counts.argmax()], int(counts.max())
    distance, border_distance = (np.abs(pixels.astype(np.int16) - background).max(-1)
                                 for pixels in (picture, border))
    if (border_distance <= _EDGE_NOISE).mean() < _MIN_BORDER_SHARE:
        raise InputError(f"{name} has a background of several colours, from which the character "
                         "cannot be separated; make the background transparent, or one colour.")
    near = np.unique(pack_rgb(picture[distance <= _FLAT_NOISE]))
    is_exact = len(near) <= _MAX_NEAR_COLOURS and count >= _MIN_BORDER_SHARE * len(border)
    outside = np.zeros(distance.shape, bool)
    outside[0] = outside[-1] = outside[:, 0] = outside[:, -1] = True
    outside = _flood_fill(distance <= (0 if is_exact else _EDGE_NOISE), outside)
    if is_exact:
        return background, outside, distance > 0
    mask = ~outside & (distance > _FLAT_NOISE)
    return background, outside, mask & _has_adjacent(mask)


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The rows and columns of the bounding box of a mask, if it is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _flood_fill(passable: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The pixels connected with the seeds (4-connectivity), bool [H, W]."""
    reached = seeds & passable
    blocked = np.pad(~passable, ((0, 1), (0, 1)), constant_values=True)
    # Numbers of runs of passable pixels, along rows and along columns.
    runs = [blocked.ravel().cumsum().reshape(blocked.shape)[:-1, :-1],
            blocked.T.ravel().cumsum().reshape(blocked.T.shape).T[:-1, :-1]]
    count = 0
    while count < (count := int(reached.sum())):
        for run in runs:
            touched = np.zeros(blocked.size + 1, bool)
            touched[run[reached]] = True
            reached = passable & touched[run]
    return reached


def _has_adjacent(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask of whose eight adjacent ones at least two are in it."""
    around = np.pad(mask, 1).astype(np.int8)
    rows = around[:-2] + around[1:-1] + around[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] > 2)


def _check_figure(mask: np.ndarray, name: str) -> None:
    """Refuse a mask that cannot be one standing character."""
    height, width = mask.shape
    if height < MIN_HEIGHT or width < MIN_WIDTH:
        raise _no_figure(name)
    columns, rows = _count_figures(mask), _count_figures(mask.T)
    if columns * rows > 1:
        raise InputError(f"{name} shows {columns * rows} figures; a still shows one character. "
                         "Cut one of them out and give that.")
    if width > _MAX_ASPECT * height:
        raise InputError(f"the figure in {name} is {width} pixels wide and {height} high; give one "
                         "character that stands and faces you.")


def _count_figures(mask: np.ndarray) -> int:
    """The number of large components separated by empty columns."""
    filled = np.pad(mask.any(0), 1).astype(np.int8)
    ends = np.flatnonzero(np.diff(filled)).reshape(-1, 2)
    parts = [mask[:, begin:end] for begin, end in ends]
    areas = np.array([part.sum() for part in parts])
    lengths = np.array([np.ptp(np.flatnonzero(part.any(1))) + 1 for part in parts])
    return int(((areas >= _MIN_AREA * areas.max())
                & (lengths >= _MIN_LENGTH * lengths.max())).sum())


def _no_figure(name: str) -> InputError:
    return InputError(f"no character is found in {name}; give one that stands on a background that "
                      "is transparent or of one colour.")


@dataclass(frozen=True)
class Cell:
    """A character in the model's cell.

    Attributes:
        picture: uint8 [64, 64, 4]; alpha is 0 or 255.
        shrink: pixels of the still per pixel of the cell, in each direction.
        grow: pixels of the cell per pixel of the still.
        is_rough: whether it was enlarged by a fractional factor.
        notes: sentences about changes to the still.
    """

    picture: np.ndarray
    shrink: int = 1
    grow: int = 1
    is_rough: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def from_picture(cls, still: np.ndarray) -> Cell:
        """The cell of a still decoded by the model, uint8 [64, 64, 3] on white."""
        return cls(_with_alpha(still, opaque_mask(still)))

    @property
    def side(self) -> int:
        """Pixels on a side of restored frames."""
        return SIDE // self.grow * self.shrink

    def restore(self, frames: np.ndarray) -> np.ndarray:
        """Resample frames [T, 64, 64, 4] to the pixel size of the still."""
        frames = frames[:, self.grow // 2::self.grow, self.grow // 2::self.grow]
        return frames.repeat(self.shrink, 1).repeat(self.shrink, 2)


@dataclass(frozen=True)
class Figure:
    """A character in the scale of the cell, not yet placed in it.

    Attributes:
        picture: uint8 [h, w, 4], the bounding box of the character.
        shrink, grow, is_rough, notes: as in `Cell`.
    """

    picture: np.ndarray
    shrink: int
    grow: int
    is_rough: bool
    notes: tuple[str, ...]

    def at(self, feet: int, middle: int) -> Cell:
        """The cell with the character standing on row `feet`, centred at column `middle`."""
        cell = np.tile(np.array([*BACKGROUND, 0], np.uint8), (SIDE, SIDE, 1))
        height, width = self.picture.shape[:2]
        top, left = feet - height, middle - width // 2
        rows, columns = slice(max(0, top), feet), slice(max(0, left), max(0, left + width))
        cell[rows, columns] = self.picture[max(0, -top):, max(0, -left):][:, :SIDE - max(0, left)]
        return Cell(cell, self.shrink, self.grow, self.is_rough, self.notes)


def size_candidates(cut: Cutout) -> Iterator[Figure]:
    """A character in its possible scales, the most likely first.

    A pixel of pixel art may be a square block of pixels: the character is reduced by that block,
    and enlarged by a whole factor if it is small for the model. Otherwise the whole picture may be
    a resized cell; or, if neither applies, the character is scaled to the usual height.
    """
    block = _pixel_block(cut)
    picture = _with_alpha(cut.colours, cut.mask)[block // 2::block, block // 2::block]
    height, is_scaled = len(picture), False
    if height <= _MAX_HEIGHT:
        grow = min((n for n in _FACTORS if n * height <= _MAX_HEIGHT),
                   key=lambda n: abs(n * height - _HEIGHT))
        enlarged = picture.repeat(grow, 0).repeat(grow, 1)
        yield Figure(enlarged, min(block, _MAX_ENLARGEMENT), grow, False, cut.notes)
        is_scaled = True
    factor = cut.canvas[0] / block / SIDE
    is_square = cut.canvas[0] == cut.canvas[1]
    if is_square and _HEIGHT * 0.8 <= height / factor <= SIDE and factor != 1:
        yield _resized(cut, factor * block)
        is_scaled = True
    if not is_scaled:
        yield _resized(cut, height * block / _HEIGHT)


def _resized(cut: Cutout, factor: float) -> Figure:
    """The character reduced by `factor`, sampled as if its whole picture were resized."""
    rows, columns = (_sampled_pixels(begin, length, full, factor) for begin, length, full in zip(
        (cut.top, cut.left), cut.mask.shape, cut.canvas, strict=True))
    picture = _with_alpha(cut.colours, cut.mask)[rows][:, columns]
    is_whole = factor == int(factor)
    shrink = min(int(factor), _MAX_ENLARGEMENT) if is_whole else 1
    note = () if is_whole else (
        f"The character is {cut.mask.shape[0]} pixels high; it was resized to {len(rows)} pixels "
        "high, the scale of the model.",)
    return Figure(picture, shrink, 1, factor < 1, (*cut.notes, *note))


def _sampled_pixels(begin: int, length: int, full: int, factor: float) -> np.ndarray:
    """Indices into `length` pixels from `begin` on, if a side of `full` pixels is reduced."""
    centres = ((np.arange(max(1, round(full / factor))) + 0.5) * factor).astype(int) - begin
    return centres[(centres >= 0) & (centres < length)]


def _pixel_block(cut: Cutout) -> int:
    """Side of the square blocks of one colour of which a character consists."""
    pixels = np.where(cut.mask, pack_rgb(cut.colours), -1)
    ends = [len(pixels), pixels.shape[1], *(edge for axis in (0, 1) for edge in 1 + np.flatnonzero(
        (np.diff(pixels, axis=axis) != 0).any(1 - axis)))]
    common = int(np.gcd.reduce(ends))
    largest = len(pixels) // MIN_HEIGHT
    return max(n for n in range(1, largest + 1) if common % n == 0)


def _with_alpha(colours: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4]: the colours inside the mask, transparent white elsewhere."""
    picture = np.where(mask[..., None], colours, BACKGROUND)
    return np.concatenate([picture, np.where(mask, 255, 0)[..., None]], -1).astype(np.uint8)
