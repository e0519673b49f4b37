"""Frames of an animation into a file: video, or pictures that move, exact to the pixel.

`.mp4` and `.webm` are streamed through the writers of clips, over white. `.gif`, `.webp`, `.png`
(APNG) and folders of PNGs keep every pixel and what is transparent; a GIF whose frames have more
than 255 colours in all gets the nearest ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from aehub.clips import Colour, open_writer
from aehub.clips.colour import from_rgb
from aehub.clips.frames import ClipInfo, Frame
from aehub.clips.writer import ClipWriter
from aehub.errors import InputError, LimitError
from aehub.files import Stage, check_folder
from aehub.models.pixelart import coloured, numbered

VIDEOS, PICTURES = (".mp4", ".webm", ".mkv"), (".gif", ".webp", ".png")
MAX_VALUES = 1 << 30
"""Bytes of all frames of a moving picture, which are kept until its end."""
_COLOUR = Colour(1, False, 1, 1)
# The place of what is transparent in the palette of a GIF.
_CLEAR = 255
# Browsers show GIF frames of less than 20 ms for 100 ms.
_SHORTEST_MS = {".gif": 20}
_GRID_MS = {".gif": 10}


class Renderer(Protocol):
    """Takes frames in order."""

    def write(self, picture: np.ndarray) -> None:
        """Add a frame, uint8 [H, W, 3] or [H, W, 4]; all of one size."""


@contextmanager
def open_renderer(path: Path, fps: Fraction) -> Iterator[Renderer]:
    """A file that is there, whole, when the block ends well, and not at all otherwise.

    Args:
        path: its suffix chooses the format; without one it is a folder of PNGs.
        fps: frames a second.

    Raises:
        InputError: the suffix is not known, or frames differ in size.
        LimitError: a moving picture is too large.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        video = _Video(path, fps)
        try:
            yield video
            video.close()
        except BaseException:
            video.abort()
            raise
        return
    check_suffix(path)
    if not suffix:
        check_folder(path)
    with Stage(path) as stage:
        pictures: _Pictures = _Moving(suffix, fps) if suffix else _Folder(stage.path)
        yield pictures
        pictures.finish(stage.path)


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


def check_size(suffix: str, n_values: int) -> None:
    """Refuse a moving picture whose frames, so many bytes in all, would not fit into memory.

    Raises:
        LimitError: they would not.
    """
    if suffix in PICTURES and n_values > MAX_VALUES:
        raise LimitError(f"the animation is more than {MAX_VALUES} bytes of pixels, too much "
                         f"for {suffix}; write .mp4, or make it shorter or smaller.")


def over_white(picture: np.ndarray) -> np.ndarray:
    """A frame without transparency, uint8 [H, W, 3]."""
    if picture.shape[-1] == 3:
        return picture
    cover = picture[..., 3:].astype(np.uint16)
    mixed = (picture[..., :3] * cover + 255 * (255 - cover) + 127) // 255
    return np.asarray(mixed.astype(np.uint8))


def enlarged(picture: np.ndarray, times: int) -> np.ndarray:
    """A frame with every pixel a square of `times` x `times`."""
    return picture.repeat(times, 0).repeat(times, 1) if times > 1 else picture


class _Video:
    """A clip whose size is that of its first frame, made even: players want that."""

    def __init__(self, path: Path, fps: Fraction) -> None:
        self._path, self._fps, self._count = path, fps, 0
        self._writer: ClipWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        picture = over_white(picture)
        height, width = picture.shape[:2]
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        if self._writer is None:
            info = ClipInfo(picture.shape[1], picture.shape[0], self._fps, 1 / self._fps, _COLOUR)
            self._writer = open_writer(self._path, info=info)
        self._writer.write(Frame(from_rgb(picture, _COLOUR), self._count))
        self._count += 1

    def close(self) -> None:
        if self._writer is None:
            raise InputError("an animation without frames is not written.")
        self._writer.close()

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()


class _Pictures:
    """Frames written by Pillow."""

    def write(self, picture: np.ndarray) -> None:
        raise NotImplementedError

    def finish(self, path: Path) -> None:
        raise NotImplementedError


class _Folder(_Pictures):
    """000000.png, 000001.png and so on."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0
        path.mkdir()

    def write(self, picture: np.ndarray) -> None:
        Image.fromarray(picture).save(self._path / f"{self._count:06d}.png", compress_level=3)
        self._count += 1

    def finish(self, path: Path) -> None:
        if not self._count:
            raise InputError("an animation without frames is not written.")


class _Moving(_Pictures):
    """GIF, WebP or APNG, kept until its end: the palette of a GIF depends on all frames."""

    def __init__(self, suffix: str, fps: Fraction) -> None:
        self._suffix, self._fps = suffix, fps
        self._frames: list[np.ndarray] = []
        self._values = 0

    def write(self, picture: np.ndarray) -> None:
        self._values += picture.size
        check_size(self._suffix, self._values)
        self._frames.append(picture.copy())

    def finish(self, path: Path) -> None:
        if not self._frames:
            raise InputError("an animation without frames is not written.")
        lasting = durations(len(self._frames), self._fps, self._suffix)
        kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[self._suffix]
        if self._suffix == ".gif":
            images = _paletted(self._frames)
            options = {"disposal": 2, "optimize": False}
        else:
            images = [Image.fromarray(frame) for frame in self._frames]
            options = ({"lossless": True, "method": 0} if self._suffix == ".webp"
                       else {"disposal": 1, "blend": 0, "compress_level": 3})
        with path.open("wb") as stream:
            images[0].save(stream, kind, save_all=True, append_images=images[1:],
                           duration=lasting, loop=0, **options)


def durations(count: int, fps: Fraction, suffix: str = "") -> list[int]:
    """Milliseconds of each frame: whole steps of what a format can say, never drifting."""
    grid, shortest = _GRID_MS.get(suffix, 1), _SHORTEST_MS.get(suffix, 1)
    ends = [round(Fraction(1000 * (n + 1)) / fps / grid) * grid for n in range(count)]
    return [max(shortest, end - begin) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _paletted(frames: list[np.ndarray]) -> list[Image.Image]:
    """Frames by one palette of 255 colours and a transparent one."""
    solid = [np.ascontiguousarray(frame[..., :3]) for frame in frames]
    clear = [frame[..., 3] < 128 if frame.shape[-1] == 4 else None for frame in frames]
    palette, is_whole = _palette(solid, clear)
    guide = Image.new("P", (1, 1))
    guide.putpalette(palette.tobytes())
    images = []
    for colours, holes in zip(solid, clear, strict=True):
        if is_whole:
            # `palette` is sorted, and every colour but that of what is clear is in it.
            found = np.searchsorted(numbered(palette), numbered(colours))
            places = np.minimum(found, len(palette) - 1).astype(np.uint8)
        else:
            image = Image.fromarray(colours).quantize(palette=guide, dither=Image.Dither.NONE)
            places = np.asarray(image).copy()
        if holes is not None:
            places[holes] = _CLEAR
        image = Image.fromarray(places)
        image.putpalette([*palette.tobytes(), *([255] * (768 - palette.size))])
        if holes is not None:
            image.info["transparency"] = _CLEAR
        images.append(image)
    return images


def _palette(solid: list[np.ndarray], clear: list[np.ndarray | None]) -> tuple[np.ndarray, bool]:
    """At most 255 colours, uint8 [K, 3]: those that stand for all best; whether they are all."""
    shown = [colours.reshape(-1, 3) if holes is None else colours[~holes]
             for colours, holes in zip(solid, clear, strict=True)]
    seen = np.unique(np.concatenate([np.unique(numbered(one)) for one in shown]))
    if len(seen) <= _CLEAR:
        return coloured(seen), True
    some = np.concatenate(shown)
    some = some[::max(1, len(some) // 500_000)]
    image = Image.fromarray(some[None]).quantize(_CLEAR, Image.Quantize.MEDIANCUT)
    return np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:_CLEAR], False
