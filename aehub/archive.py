"""Random access to the frames of a `.aev` file through its index."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from types import TracebackType
from typing import BinaryIO, overload

import numpy as np

from aehub.clips.colour import to_rgb
from aehub.clips.frames import ClipInfo, Planes
from aehub.codec.decompress import clip_info, decode_group
from aehub.codec.model import Codec
from aehub.container import FileHead, open_reader
from aehub.errors import FormatError, InputError


class Archive:
    """An open `.aev` file that behaves like a sequence of frames, uint8 [H, W, 3] in RGB.

    Only the groups asked for are decoded; the last one is kept.

    Args:
        source: path or seekable stream.
        load: finds the model that a file head names.

    Raises:
        InputError: the source is a pipe.

    Example:
        >>> with aehub.open("clip.aev") as clip:
        ...     print(len(clip), clip[-1].shape, clip[10:20].shape)
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO,
                 load: Callable[[FileHead], Codec]) -> None:
        self._reader = open_reader(source)
        index = self._reader.index
        if index is None:
            self._reader.close()
            raise InputError("a pipe has no random access; save the file, or use decompress.")
        self._ends = list(accumulate(entry.n_frames for entry in index))
        self._load = load
        self._model: Codec | None = None
        self._kept: tuple[int, list[Planes]] = (-1, [])

    @property
    def info(self) -> ClipInfo:
        """Size, rate and colours."""
        return clip_info(self._reader.head, len(self))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> np.ndarray: ...
    def __getitem__(self, place: int | slice) -> np.ndarray:
        """One frame [H, W, 3], or the frames of a slice [T, H, W, 3]."""
        if isinstance(place, slice):
            frames = [self._rgb(i) for i in range(*place.indices(len(self)))]
            size = (self._reader.head.height, self._reader.head.width, 3)
            return np.stack(frames) if frames else np.empty((0, *size), np.uint8)
        return self._rgb(place + len(self) if place < 0 else place)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._rgb(i) for i in range(len(self)))

    def _rgb(self, number: int) -> np.ndarray:
        return to_rgb(self.planes(number), self.info.colour)

    def planes(self, number: int) -> Planes:
        """Frame `number`, from 0, as 4:2:0 planes.

        Raises:
            IndexError: there is no such frame.
            DamagedError: its group is damaged.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there is no frame {number}; the clip has {len(self)}, from 0 on.")
        group = bisect_right(self._ends, number)
        if self._kept[0] != group:
            if self._model is None:
                self._model = self._load(self._reader.head)
            stored = self._reader.group_at(group)
            self._rest = decode_group(self._model, self._reader.head, stored)
            self._kept = group, []
        first = self._ends[group - 1] if group else 0
        kept = self._kept[1]
        try:
            while len(kept) <= number - first:
                kept.append(next(self._rest))
        except FormatError:
            # What is asked for again is decoded again, and says the same.
            self._kept = -1, []
            raise
        return kept[number - first]

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
