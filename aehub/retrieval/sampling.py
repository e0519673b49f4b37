"""Small pictures of a clip at even times, which fingerprints are computed from.

Of a compressed file key pictures are preferred, decoded small; of any other clip frames are decoded
and averaged. Sides are divided by 8, or by less where less than `LEAST_SIDE` samples would be left.
Of a folder of pictures, which has no times of its own, every picture is taken.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

from aehub.bitstream import FileHeader, Group, is_aev, is_aev_file, key_pictures, open_reader
from aehub.codecs.base import Codec, CodecLoader, Preview, PreviewCodec
from aehub.codecs.decompress import timed_groups
from aehub.errors import InputError
from aehub.files import FilePath
from aehub.media.clip import ClipLike, open_clip
from aehub.media.colour import resolve_unspecified
from aehub.media.conversion import to_format
from aehub.media.orientation import IDENTITY
from aehub.media.picture import YUV420, Picture
from aehub.media.scaling import downscale

STEP, QUERY_STEP = 0.4, 0.1
"""Seconds between two pictures of a clip in an index, and of a query, at least."""
LONGEST_STEP = 1.0
"""Seconds between two pictures of a clip in an index: frames between key pictures are decoded where
these are farther apart."""
LAST_STEP = 0.8
"""Seconds to the next group below which no further key picture of a group is taken: each needs all
key pictures before it."""
LEAST_SIDE = 32
LEAST_PICTURE_SIDE = 8
"""Samples of the shorter side of a clip below which its pictures cannot be told from others."""
_MOST_SAMPLES = 1 << 19
"""Of a small picture: long thin ones are divided by more than their shorter side asks for."""
_TOLERANCE = 1e-3
"""Seconds by which rounded times may be too close."""


class SmallPicture(NamedTuple):
    """A picture of a clip.

    Attributes:
        time: of presentation from the first frame, in seconds.
        picture: small, 8-bit 4:2:0.
        turn: element of `aehub.media.orientation` that turned the picture of the clip.
    """

    time: float
    picture: Picture
    turn: int = IDENTITY


def small_pictures(source: ClipLike, load: CodecLoader, *, dense: bool = False
                   ) -> Iterator[SmallPicture]:
    """Small pictures of a clip in the order of their times.

    Args:
        source: clip, picture or compressed file.
        load: finds the model of a compressed file.
        dense: at the distance of queries instead of that of an index.

    Raises:
        InputError: it cannot be read, holds no picture, or too small ones.
        DamagedError: after what is intact, a compressed file lost something.
    """
    if _is_compressed(source):
        yield from _of_compressed(source, load, dense)
        return
    step = QUERY_STEP if dense else STEP
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        step = 0
    yield from _of_clip(source, step)


def _is_compressed(source: Any) -> TypeGuard[FilePath | BinaryIO]:
    """True if a path, or a file object that can seek and is rewound, holds a compressed file."""
    if isinstance(source, str | os.PathLike):
        return is_aev_file(Path(source))
    if not (hasattr(source, "seekable") and source.seekable()):
        return False
    position = source.tell()
    source.seek(0)
    head = source.read(16)
    found = isinstance(head, bytes) and is_aev(head)
    source.seek(0 if found else position)
    return found


def _check_size(name: str, size: tuple[int, int]) -> None:
    if min(size) < LEAST_PICTURE_SIDE:
        raise InputError(f"{name} has {size[0]}x{size[1]} samples, too few to tell pictures apart; "
                         f"give one of at least {LEAST_PICTURE_SIDE}x{LEAST_PICTURE_SIDE}.")


def _of_clip(source: ClipLike, step: float) -> Iterator[SmallPicture]:
    with open_clip(source) as clip:
        _check_size(clip.name, (clip.info.width, clip.info.height))
        base, colour, last = clip.info.time_base, clip.info.colour, -step
        for frame in clip:
            time = float(frame.time * base)
            if time - last >= step - _TOLERANCE:
                last = time
                picture = to_format(frame.picture, YUV420, colour)
                yield SmallPicture(time, small_picture(picture))


def _of_compressed(source: FilePath | BinaryIO, load: CodecLoader, dense: bool
                   ) -> Iterator[SmallPicture]:
    with open_reader(source) as reader:
        _check_size(reader.name, (reader.header.width, reader.header.height))
        header, codec = reader.header, load(reader.header)
        step = QUERY_STEP if dense else STEP
        longest = QUERY_STEP if dense else LONGEST_STEP
        # The first frame is always taken, a group of its own too.
        n, last = divisor((header.width, header.height)), -longest
        for group, frames in timed_groups(reader):
            times = {frame.number: float(frame.time * header.time_base) for frame in frames}
            end = float((frames[-1].time + frames[-1].duration) * header.time_base)
            chosen = _chosen(times, set(key_pictures(group.header)), last,
                             end - (0 if dense else LAST_STEP), step, longest)
            last = max((times[number] for number in chosen), default=last)
            found = {preview.number: preview for preview in _previews(
                codec, header, group, chosen, n)}
            for number in chosen:
                preview = found[number]
                yield SmallPicture(times[number], preview.picture, preview.turn)


def _chosen(times: dict[int, float], keys: set[int], last: float, last_time: float, step: float,
            longest: float) -> list[int]:
    """Frames at least `step` seconds apart: key pictures, and others after `longest` seconds.

    Args:
        times: of the frames of a group, increasing.
        keys: numbers of its key pictures.
        last: time of the picture before the group.
        last_time: no other picture is taken after one that is as late.
        step: seconds between two pictures, at least.
        longest: seconds to a picture that is no key picture, at least.
    """
    chosen: list[int] = []
    for number, time in times.items():
        if chosen and last >= last_time:
            break
        if time - last >= (step if number in keys else longest) - _TOLERANCE:
            chosen.append(number)
            last = time
    return chosen


def _previews(codec: Codec, header: FileHeader, group: Group, frames: Collection[int], n: int
              ) -> Iterator[Preview]:
    """Frames at 1/n by any codec."""
    if isinstance(codec, PreviewCodec):
        yield from codec.previews(header, group, frames, n)
        return
    scale = Fraction(1, n)
    colour = resolve_unspecified(header.colour, header.width, header.height)
    in_codec = scale if scale in codec.scales else Fraction(1)
    for number, picture in codec.decode_group(header, group, frames, in_codec):
        small = to_format(picture, YUV420, colour)
        if in_codec != scale:
            small = downscale(small, n, group.header.crop)
        yield Preview(number, IDENTITY, small)


def small_picture(picture: Picture) -> Picture:
    """Means of areas of a picture."""
    return downscale(picture, divisor(picture.size))


def divisor(size: tuple[int, int]) -> int:
    """The largest of 8, 4, 2 and 1 that leaves `LEAST_SIDE` samples of the shorter side, or 1; a
    larger one where more than `_MOST_SAMPLES` would be left."""
    width, height = size
    return next((n for n in (8, 4, 2) if min(size) >= n * LEAST_SIDE
                 or width * height * 4 > n * n * _MOST_SAMPLES), 1)
