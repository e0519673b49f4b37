"""Rendering of a plan to a video, an animated image, a folder of pictures, or a sprite sheet.

Frames are streamed through the writers of clips. Videos (`.mp4`, `.webm`, `.mkv`) show transparent
parts over white. `.gif`, `.webp`, `.png` (APNG) and folders of PNGs keep every pixel and alpha; a
GIF whose frames have more than 256 colours in all is quantised to 256.
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
from aehub.files import open_output, refuse_overwriting
from aehub.generators.base import over_white
from aehub.media.colour import from_rgb
from aehub.media.picture import ClipInfo, Colour
from aehub.media.sinks import write_png
from aehub.media.writer import open_writer
from aehub.results import Progress

VIDEOS, PICTURES = (".mp4", ".webm", ".mkv"), (".gif", ".webp", ".png")
"""Suffixes of animations."""
CONTACT_FRAMES, CONTACT_COLUMNS = 32, 8
"""Most frames of a contact sheet, and its columns."""
MAX_SHEET = 16384
"""Pixels on a side of a sheet."""
# RGB is converted to BT.709, limited range.
_COLOUR = Colour(1, False, 1, 1)


class Renderer:
    """Writer of frames in order; the size of the animation is that of the first.

    Attributes:
        count: frames written.
    """

    def __init__(self, path: Path, fps: Fraction, stack: ExitStack) -> None:
        """For `open_renderer`; the stack closes the file."""
        self._path, self._fps, self._stack, self.count = path, fps, stack, 0
        self._is_video = path.suffix.lower() in VIDEOS

    def write(self, picture: np.ndarray) -> None:
        """Add a frame, uint8 [H, W, 3] or [H, W, 4]; all of one size."""
        if self._is_video:
            # 4:2:0 video needs even sizes.
            rows, columns = (side % 2 for side in picture.shape[:2])
            picture = np.pad(over_white(picture), ((0, rows), (0, columns), (0, 0)), "edge")
        if not self.count:
            height, width, channels = picture.shape
            info = ClipInfo(width, height, self._fps, 1 / self._fps, _COLOUR)
            self._writer = self._stack.enter_context(open_writer(
                self._path, info=info, channels=0 if self._is_video else channels))
        self._writer.put(from_rgb(picture, _COLOUR) if self._is_video else picture, self.count)
        self.count += 1


@contextmanager
def open_renderer(path: Path, fps: Fraction) -> Iterator[Renderer]:
    """Open a renderer; its file appears, complete, only if the block ends without an error.

    Args:
        path: its suffix selects the format; without one it is a folder of PNGs.
        fps: frames per second.

    Raises:
        InputError: the suffix is unknown, or frames differ in size.
    """
    check_suffix(path)
    with ExitStack() as stack:
        renderer = Renderer(path, fps, stack)
        yield renderer
        if not renderer.count:
            raise InputError("the animation has no frames; give more seconds or a higher rate.")


def check_suffix(path: Path) -> None:
    """Refuse a path whose suffix is no supported format.

    Raises:
        InputError: it is none.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in (*VIDEOS, *PICTURES):
        known = ", ".join((*VIDEOS, *PICTURES))
        raise InputError(f"an animation cannot be written as {suffix}; use {known}, or no suffix "
                         "for a folder of PNGs.")



@dataclass(frozen=True)
class Target:
    """The files of an animation.

    Attributes:
        output: the file, or a folder of pictures if it has no suffix.
        is_sheet: whether to write one picture of all frames.
        contact: a second file for a contact sheet.
        force: overwrite existing files.
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
        """Refuse, before the work, outputs that cannot be written.

        Raises:
            InputError: a suffix is not supported, or a folder is missing.
            ExistsError: a file exists and `force` is not set.
        """
        for path, kind in ((self.output if self.is_sheet else None, "sheet"),
                           (self.contact, "contact sheet")):
            if path is not None and path.suffix.lower() != ".png":
                raise InputError(f"a {kind} is a PNG picture, and {path.name} is not; give a name "
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


def write(plan: Plan, target: Target, fps: Fraction) -> Generator[Progress, None, None]:
    """Write all frames, yielding a step after each; closing it leaves no file.

    Raises:
        InputError: the format is unknown, or the output cannot be written.
        LimitError: the output would be too large.
    """
    numbers = evenly_spaced(plan.n_frames, CONTACT_FRAMES) if target.contact else set()
    contact_frames: list[np.ndarray] = []
    frames = _collecting(plan.frames(), numbers, contact_frames)
    if target.json_path is None:
        with open_renderer(target.output, fps) as renderer:
            for number, frame in enumerate(frames, 1):
                renderer.write(frame)
                yield Progress(number, plan.n_frames)
    else:
        yield from _write_sheet(plan, frames, target, target.json_path, fps)
    if target.contact is not None:
        _write_png(contact_sheet(contact_frames, CONTACT_COLUMNS), target.contact, target.force)


def evenly_spaced(n_frames: int, most: int) -> set[int]:
    """Numbers of at most `most` frames, evenly spaced over the whole animation."""
    count = min(n_frames, most)
    return {round(number * (n_frames - 1) / max(1, count - 1)) for number in range(count)}


def _collecting(frames: Iterator[np.ndarray], numbers: set[int], collected: list[np.ndarray]
                ) -> Iterator[np.ndarray]:
    """The same frames; those with the given numbers are appended to `collected`."""
    for number, frame in enumerate(frames):
        if number in numbers:
            collected.append(frame)
        yield frame


def _write_sheet(plan: Plan, frames: Iterator[np.ndarray], target: Target, json_path: Path,
                 fps: Fraction) -> Generator[Progress, None, None]:
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
        yield Progress(number + 1, plan.n_frames)
    cells = cells.reshape(rows, columns, height, width, 4)
    rate = fps if plan.frame_seconds is None else 1 / Fraction(str(plan.frame_seconds))
    # Durations in whole milliseconds whose rounding errors do not add up.
    ends = [round(1000 * number / rate) for number in range(plan.n_frames + 1)]
    durations_ms = [end - begin for begin, end in pairwise(ends)]
    names = [f"{target.output.stem} {number}" for number in range(plan.n_frames)]
    metadata = sheet_json(target.output.name, cells.shape, names, durations_ms, plan.tags)
    with open_output(json_path, force=target.force) as file:
        file.write(json.dumps(metadata, indent=1).encode())
    _write_png(sprite_sheet(cells), target.output, target.force)


def _write_png(picture: np.ndarray, path: Path, force: bool) -> None:
    with open_output(path, force=force) as file:
        write_png(file, picture)
