"""Frames of an animation into a file: video, or pictures that move, exact to the pixel.

All are streamed through the writers of clips, `.mp4` and `.webm` over white. `.gif`, `.webp`,
`.png` (APNG) and folders of PNGs keep every pixel and what is transparent; a GIF whose frames have
more than 256 colours in all gets near ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from aehub.animate.square import over_white
from aehub.clips.colour import from_rgb
from aehub.clips.frames import ClipInfo, Colour
from aehub.clips.writer import open_writer
from aehub.errors import InputError

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
