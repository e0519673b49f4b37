"""Random access to the frames of a `.aev` file by its index."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate, groupby
from threading import RLock
from types import TracebackType
from typing import overload

import numpy as np

from aehub.bitstream import Group, dependency_closure, open_reader
from aehub.codecs.base import Codec, CodecLoader, LatentCodec, SegmentLatents
from aehub.codecs.decompress import clip_info, decode_group
from aehub.errors import FormatError, InputError
from aehub.files import FileLike
from aehub.media.conversion import to_rgb
from aehub.media.picture import ClipInfo, Picture

# Groups whose decoded frames are cached: enough for two threads at different places of one file.
_CACHED_GROUPS = 2


class _DecodedGroup:
    """Decoded frames of one group.

    A request out of order decodes the frames that it needs and no others. Once such requests have
    decoded as many frames as the group has, all frames up to a requested one are decoded in display
    order, each once: no sequence of requests takes more than twice the time of the whole group.

    Args:
        group: header and payload.
        decode: decodes the frames at these positions in display order, counted from 0.
    """

    def __init__(self, group: Group,
                 decode: Callable[[Group, Sequence[int]], Iterator[Picture]]) -> None:
        self._group, self._decode = group, decode
        self._frames = dict[int, Picture]()
        self._sequence: Iterator[Picture] | None = None
        self._next, self._budget = 0, group.header.n_frames

    def frames(self, positions: Sequence[int]) -> list[Picture]:
        """The frames at these positions."""
        missing = sorted({position for position in positions if position not in self._frames})
        if missing:
            order = self._group.header.display_order
            needed = dependency_closure(self._group.header, [order[p] for p in missing])
            in_sequence = missing == list(range(self._next, self._next + len(missing)))
            # A single first frame, such as a preview, need not be the begin of a sequence.
            goes_on = in_sequence and missing[-1] > 0
            if goes_on or len(needed) > self._budget:
                self._decode_up_to(missing)
            else:
                self._budget -= len(needed)
                self._frames.update(zip(missing, self._decode(self._group, missing), strict=True))
                self._next += in_sequence
        return [self._frames[position] for position in positions]

    def _decode_up_to(self, missing: list[int]) -> None:
        if self._sequence is None:
            self._sequence = self._decode(
                self._group, range(self._next, self._group.header.n_shown))
        while self._next <= missing[-1]:
            self._frames[self._next] = next(self._sequence)
            self._next += 1


class Archive:
    """An open `.aev` file that behaves like a sequence of frames, uint8 [H, W, 3] in RGB.

    Requested frames are decoded, and the frames that they depend on; the last two groups are
    cached. Several threads may use it, one at a time.

    Args:
        source: path or seekable stream.
        load: finds the model that a file header names.
        scale: of the frames, one of `aehub.media.scaling.SCALES`.

    Raises:
        InputError: the source is a pipe.

    Example:
        >>> with aehub.open("clip.aev") as clip:
        ...     print(len(clip), clip[-1].shape, clip[10:20].shape)
    """

    def __init__(self, source: FileLike, load: CodecLoader, scale: Fraction = Fraction(1)) -> None:
        self._reader, self._scale = open_reader(source), scale
        index = self._reader.index
        if index is None:
            self._reader.close()
            raise InputError("a pipe has no random access; save the file, or use decompress.")
        self._index = index
        self._ends = list(accumulate(entry.n_frames for entry in index))
        self._load = load
        self._codec: Codec | None = None
        self._cache: dict[int, _DecodedGroup] = {}
        self._lock = RLock()

    @property
    def info(self) -> ClipInfo:
        """Size, rate and colours."""
        return clip_info(self._reader.header, len(self), scale=self._scale)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, key: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: slice) -> np.ndarray: ...
    def __getitem__(self, key: int | slice) -> np.ndarray:
        """One frame [H, W, 3], or the frames of a slice [T, H, W, 3]."""
        if not isinstance(key, slice):
            return self._rgb([key + len(self) if key < 0 else key])[0]
        frames = self._rgb(range(*key.indices(len(self))))
        info = self.info
        return np.stack(frames) if frames else np.empty((0, info.height, info.width, 3), np.uint8)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._rgb([i])[0] for i in range(len(self)))

    def _rgb(self, numbers: Sequence[int]) -> list[np.ndarray]:
        colour = self.info.colour
        return [to_rgb(picture, colour) for picture in self._pictures(numbers)]

    def latents(self) -> Iterator[SegmentLatents]:
        """Dequantised latents of each group, by models that quantise them.

        Yields:
            `values`, float32 [T', C, h, w] of each segment of a group, and `n_frames` of each.

        Raises:
            InputError: the model codes no latents of a network.
        """
        if self._codec is None:
            self._codec = self._load(self._reader.header)
        codec = self._codec
        if not isinstance(codec, LatentCodec):
            raise InputError(f"{codec.name} codes no latents that networks are trained on; "
                             "give a file of an autoencoder of diffusers or of the TAESD family.")
        entries = self._reader.index or ()
        return (codec.latents(self._reader.header, self._reader.group_at(number))
                for number in range(len(entries)))

    def time(self, number: int) -> Fraction:
        """Presentation time of frame `number`, from 0, in seconds.

        Raises:
            IndexError: there is no such frame.
        """
        self._check(number)
        group = bisect_right(self._ends, number)
        with self._lock:
            entry, header = self._index[group], self._reader.group_at(group).header
        file_header = self._reader.header
        durations = header.durations(file_header.frame_ticks)
        earlier = header.display_order[:number - (self._ends[group - 1] if group else 0)]
        return (entry.start + sum(durations[n] for n in earlier)) * file_header.time_base

    def picture(self, number: int) -> Picture:
        """Frame `number`, from 0, in the format of the file.

        Raises:
            IndexError: there is no such frame.
            DamagedError: its group is damaged.
        """
        return self._pictures([number])[0]

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no frame {number}; the clip has {len(self)}, from 0 on.")

    def _pictures(self, numbers: Sequence[int]) -> list[Picture]:
        for number in numbers:
            self._check(number)
        pictures: list[Picture] = []
        with self._lock:
            for group, part in groupby(numbers, lambda number: bisect_right(self._ends, number)):
                first = self._ends[group - 1] if group else 0
                try:
                    decoded = self._group(group)
                    pictures += decoded.frames([number - first for number in part])
                except FormatError:
                    # A second request decodes again and raises the same error.
                    self._cache.pop(group, None)
                    raise
        return pictures

    def _group(self, number: int) -> _DecodedGroup:
        decoded = self._cache.pop(number, None)
        if decoded is None:
            if self._codec is None:
                self._codec = self._load(self._reader.header)
            decoded = _DecodedGroup(self._reader.group_at(number),
                                    partial(decode_group, self._codec, self._reader.header,
                                            scale=self._scale))
            while len(self._cache) >= _CACHED_GROUPS:
                self._cache.pop(next(iter(self._cache)))
        # Least recently used first.
        self._cache[number] = decoded
        return decoded

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reader.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
