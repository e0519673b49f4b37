"""Random access to the frames of a `.aev` file through its index."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, groupby
from threading import RLock
from types import TracebackType
from typing import BinaryIO, overload

import numpy as np

from aehub.bitstream import FileHeader, open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.decompress import clip_info, decode_group
from aehub.errors import FormatError, InputError
from aehub.media.colour import to_rgb
from aehub.media.picture import ClipInfo, Planes

# Groups whose frames are kept: two readers may go through one file.
_GROUPS = 2


class _Opened:
    """One group, and its frames that were decoded so far.

    To decode a frame, the frames that it is predicted from are decoded, and the codes of all that
    are written before it are read. The first request out of order decodes just that; after it, all
    frames up to a requested one are decoded in display order, each once.

    Args:
        decode: gives the frames at these places of the group, counted from 0 as they are shown;
            all of them for None.
    """

    def __init__(self, decode: Callable[[Sequence[int] | None], Iterator[Planes]]) -> None:
        self._decode, self._found = decode, dict[int, Planes]()
        self._run: Iterator[Planes] | None = None
        self._next, self._jumped = 0, False

    def frames(self, places: Sequence[int]) -> list[Planes]:
        """The frames at these places."""
        missing = sorted({place for place in places if place not in self._found})
        if missing:
            goes_on = missing == list(range(self._next, self._next + len(missing)))
            if goes_on or self._jumped:
                self._run_to(missing)
            else:
                self._jumped = True
                self._found.update(zip(missing, self._decode(missing), strict=True))
        return [self._found[place] for place in places]

    def _run_to(self, missing: list[int]) -> None:
        if self._run is None:
            self._run = self._decode(None)
        while self._next <= missing[-1]:
            self._found[self._next] = next(self._run)
            self._next += 1


class Archive:
    """An open `.aev` file that behaves like a sequence of frames, uint8 [H, W, 3] in RGB.

    Only what is asked for is decoded, and the frames that it is predicted from; what was decoded
    last is kept. Several threads may use it, one at a time.

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
                 load: Callable[[FileHeader], D4Codec]) -> None:
        self._reader = open_reader(source)
        index = self._reader.index
        if index is None:
            self._reader.close()
            raise InputError("a pipe has no random access; save the file, or use decompress.")
        self._ends = list(accumulate(entry.n_frames for entry in index))
        self._load = load
        self._model: D4Codec | None = None
        self._kept: dict[int, _Opened] = {}
        self._lock = RLock()

    @property
    def info(self) -> ClipInfo:
        """Size, rate and colours."""
        return clip_info(self._reader.header, len(self))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> np.ndarray: ...
    def __getitem__(self, place: int | slice) -> np.ndarray:
        """One frame [H, W, 3], or the frames of a slice [T, H, W, 3]."""
        if not isinstance(place, slice):
            return self._rgb([place + len(self) if place < 0 else place])[0]
        frames = self._rgb(range(*place.indices(len(self))))
        size = (self._reader.header.height, self._reader.header.width, 3)
        return np.stack(frames) if frames else np.empty((0, *size), np.uint8)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._rgb([i])[0] for i in range(len(self)))

    def _rgb(self, numbers: Sequence[int]) -> list[np.ndarray]:
        colour = self.info.colour
        return [to_rgb(planes, colour) for planes in self._planes(numbers)]

    def planes(self, number: int) -> Planes:
        """Frame `number`, from 0, as 4:2:0 planes.

        Raises:
            IndexError: there is no such frame.
            DamagedError: its group is damaged.
        """
        return self._planes([number])[0]

    def _planes(self, numbers: Sequence[int]) -> list[Planes]:
        for number in numbers:
            if not 0 <= number < len(self):
                raise IndexError(
                    f"there is no frame {number}; the clip has {len(self)}, from 0 on.")
        found: list[Planes] = []
        with self._lock:
            for group, part in groupby(numbers, lambda number: bisect_right(self._ends, number)):
                first = self._ends[group - 1] if group else 0
                try:
                    opened = self._group(group)
                    found += opened.frames([number - first for number in part])
                except FormatError:
                    # What is asked for again is decoded again, and says the same.
                    self._kept.pop(group, None)
                    raise
        return found

    def _group(self, number: int) -> _Opened:
        opened = self._kept.pop(number, None)
        if opened is None:
            if self._model is None:
                self._model = self._load(self._reader.header)
            stored = self._reader.group_at(number)
            opened = _Opened(partial(decode_group, self._model, self._reader.header, stored))
            while len(self._kept) >= _GROUPS:
                self._kept.pop(next(iter(self._kept)))
        # The one used last comes last.
        self._kept[number] = opened
        return opened

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reader.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
