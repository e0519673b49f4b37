"""Frames of an animation into a file: video, or pictures that move, exact to the pixel.

All are streamed through the writers of clips, `.mp4` and `.webm` over white. `.gif`, `.webp`,
`.png` (APNG) and folders of PNGs keep every pixel and what is transparent; a GIF whose frames have
more than 256 colours in all gets near ones.

A plan becomes a file: an animation, a folder of pictures, or a sprite sheet with its JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from aehub.animation.plan import Plan
from aehub.animation.sheet import contact_sheet, sheet_json, sprite_sheet
from aehub.errors import InputError, LimitError
from aehub.files import refuse_overwriting, written
from aehub.generators.base import over_white
from aehub.media.colour import from_rgb
from aehub.media.picture import ClipInfo, Colour
from aehub.media.sinks import write_png
from aehub.media.writer import open_writer
from aehub.results import Step

VIDEOS, PICTURES = (".mp4", ".webm", ".mkv"), (".gif", ".webp", ".png")
_COLOUR = Colour(1, False, 1, 1)


class Renderer:
    """Takes frames in order; the size of the animation is that of the first.

    Attributes:
        count: frames so far.
    """

    def __init__(self, path: Path, fps: Fraction, opened: ExitStack) -> None:
        """Made by `open_renderer`."""
        self._path, self._fps, self._opened, self.count = path, fps, opened, 0
        self._is_video = path.suffix.lower() in VIDEOS

    def write(self, picture: np.ndarray) -> None:
        """Add a frame, uint8 [H, W, 3] or [H, W, 4]; all of one size."""
        if self._is_video:
            # Players want even sizes.
            rows, columns = (side % 2 for side in picture.shape[:2])
            picture = np.pad(over_white(picture), ((0, rows), (0, columns), (0, 0)), "edge")
        if not self.count:
            height, width, channels = picture.shape
            info = ClipInfo(width, height, self._fps, 1 / self._fps, _COLOUR)
            self._writer = self._opened.enter_context(open_writer(
                self._path, info=info, channels=0 if self._is_video else channels))
        self._writer.put(from_rgb(picture, _COLOUR) if self._is_video else picture, self.count)
        self.count += 1


@contextmanager
def open_renderer(path: Path, fps: Fraction) -> Iterator[Renderer]:
    """A file that is there, whole, when the block ends well, and not at all otherwise.

    Args:
        path: its suffix chooses the format; without one it is a folder of PNGs.
        fps: frames a second.

    Raises:
        InputError: the suffix is not known, or frames differ in size.
    """
    check_suffix(path)
    with ExitStack() as opened:
        renderer = Renderer(path, fps, opened)
        yield renderer
        if not renderer.count:
            raise InputError("an animation without frames is not written.")


def check_suffix(path: Path) -> None:
    """Refuse a name whose suffix stands for no format.

    Raises:
        InputError: it does.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in (*VIDEOS, *PICTURES):
        known = ", ".join((*VIDEOS, *PICTURES))
        raise InputError(f"an animation cannot be written as {suffix}; use {known}, or no suffix "
                         "for a folder of PNGs.")


CONTACT_FRAMES, CONTACT_COLUMNS = 32, 8
MAX_SHEET = 16384
"""Pixels of a side of a sheet."""


@dataclass(frozen=True)
class Target:
    """Where an animation goes.

    Attributes:
        output: the file, or a folder of pictures where it has no suffix.
        is_sheet: whether one picture of all frames is wanted.
        contact: a second file for a contact sheet.
        force: overwrite what is there.
    """

    output: Path
    is_sheet: bool = False
    contact: Path | None = None
    force: bool = False

    @property
    def json_path(self) -> Path | None:
        """The JSON beside a sprite sheet."""
        return self.output.with_suffix(".json") if self.is_sheet else None

    def check(self) -> None:
        """Refuse before the work what cannot be written.

        Raises:
            InputError: a suffix does not suit, or a folder is missing.
            ExistsError: something is there and `force` is not set.
        """
        for path, what in ((self.output if self.is_sheet else None, "sheet"),
                           (self.contact, "contact sheet")):
            if path is not None and path.suffix.lower() != ".png":
                raise InputError(f"a {what} is a PNG picture, and {path.name} is not; give a name "
                                 "that ends in .png.")
        if self.contact is not None and self.contact.resolve() == self.output.resolve():
            raise InputError(f"the contact sheet would take the place of {self.output.name}; give "
                             "it another name.")
        if not self.is_sheet:
            check_suffix(self.output)
        refuse_overwriting(self.output, self.force, is_folder=not self.output.suffix)
        for path in (self.json_path, self.contact):
            if path is not None:
                refuse_overwriting(path, self.force)


def write(plan: Plan, target: Target, fps: Fraction) -> Generator[Step, None, None]:
    """Write all frames, yielding a step after each; closing it leaves no file.

    Raises:
        InputError: the format is unknown, or the output cannot be written.
        LimitError: the output would be too large.
    """
    wanted = evenly_spaced(plan.n_frames, CONTACT_FRAMES) if target.contact else set()
    kept: list[np.ndarray] = []
    frames = _kept(plan.frames(), wanted, kept)
    if target.json_path is None:
        with open_renderer(target.output, fps) as renderer:
            for number, frame in enumerate(frames, 1):
                renderer.write(frame)
                yield Step(number, plan.n_frames)
    else:
        yield from _sheet(plan, frames, target, target.json_path, fps)
    if target.contact is not None:
        _save(contact_sheet(kept, CONTACT_COLUMNS), target.contact, target.force)


def evenly_spaced(n_frames: int, most: int) -> set[int]:
    """Numbers of at most that many frames, spread over the whole animation."""
    count = min(n_frames, most)
    return {round(number * (n_frames - 1) / max(1, count - 1)) for number in range(count)}


def _kept(frames: Iterator[np.ndarray], wanted: set[int], kept: list[np.ndarray]
          ) -> Iterator[np.ndarray]:
    for number, frame in enumerate(frames):
        if number in wanted:
            kept.append(frame)
        yield frame


def _sheet(plan: Plan, frames: Iterator[np.ndarray], target: Target, beside: Path, fps: Fraction
           ) -> Generator[Step, None, None]:
    width, height = plan.size
    columns = plan.columns or max(1, round(math.sqrt(plan.n_frames * height / width)))
    rows = -(-plan.n_frames // columns)
    if max(columns * width, rows * height) > MAX_SHEET:
        raise LimitError(f"a sheet of {plan.n_frames} frames of {width}x{height} would be "
                         f"{columns * width}x{rows * height}; the limit is {MAX_SHEET} pixels on a "
                         "side. Give fewer frames, or a smaller scale.")
    cells = np.zeros((rows * columns, height, width, 4), np.uint8)
    for number, frame in enumerate(frames):
        cells[number, ..., :frame.shape[2]] = frame
        if frame.shape[2] == 3:
            cells[number, ..., 3] = 255
        yield Step(number + 1, plan.n_frames)
    cells = cells.reshape(rows, columns, height, width, 4)
    rate = fps if plan.frame_seconds is None else 1 / Fraction(str(plan.frame_seconds))
    # Milliseconds that never drift.
    ends = [round(1000 * number / rate) for number in range(plan.n_frames + 1)]
    lasting = [end - begin for begin, end in pairwise(ends)]
    names = [f"{target.output.stem} {number}" for number in range(plan.n_frames)]
    metadata = sheet_json(target.output.name, cells.shape, names, lasting, plan.tags)
    with written(beside, force=target.force) as file:
        file.write(json.dumps(metadata, indent=1).encode())
    _save(sprite_sheet(cells), target.output, target.force)


def _save(picture: np.ndarray, path: Path, force: bool) -> None:
    with written(path, force=force) as file:
        write_png(file, picture)
