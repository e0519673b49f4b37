"""The part of a clip that a search found, beside the query: turned like it, and played in step.

The part is decoded and turned in pixels, whatever its format, and both are written as videos of
the same rate and length that any browser plays; pictures as JPEG.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from aehub.api.compress import iter_decompress_to
from aehub.api.compress import open as open_archive
from aehub.api.edit import edit
from aehub.bitstream import is_aev_file
from aehub.bitstream.validation import info
from aehub.editing.operations import Trim
from aehub.errors import InputError
from aehub.media.clip import Clip, open_clip
from aehub.media.conversion import to_rgb
from aehub.media.file_type import content_of
from aehub.media.orientation import ELEMENTS, turn
from aehub.media.scaling import SCALES, scaled_size
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import open_writer
from aehub.report.prepare import fit_size
from aehub.results import Match, Progress
from aehub.retrieval.matching import EDITS

SIDE, THUMBNAIL_SIDE = 480, 192
"""Pixels of the longer side of a video, and of a thumbnail, at most."""
MAX_SECONDS = 8
"""Length of the videos, at most: seconds of work on a small machine."""
_MAX_FPS = 30
_MIN_SECONDS = 0.2
"""Shorter parts are shown as pictures."""
_ALIGNED, _REACH, _GRAIN = 1.0, 0.3, 1 / 60
"""Seconds of both parts by which they are aligned to a frame, farthest offset, and its steps."""
_SAME = 0.9
"""Share of the difference below which another offset is better."""
_GREY_SIDE = 32
_MARGIN = Fraction(1, 2)
"""Seconds that are read beyond a part: its last frame begins before its end."""


@dataclass(frozen=True)
class Pair:
    """Files of a pair, in one folder.

    Attributes:
        query: name of the video or picture of the query.
        found: name of that of the part.
        moving: they are videos.
        seconds: length of the videos.
    """

    query: str
    found: str
    moving: bool
    seconds: float


def turn_of(match: Match) -> int:
    """Element of `aehub.media.orientation` that turns the file of a match into the query."""
    return EDITS.index(match.orientation)


def iter_pair(query: Path, match: Match, folder: Path) -> Generator[Progress, None, Pair]:
    """Write the matching parts of a query and of a file; closing it stops the work.

    Args:
        query: clip, picture or compressed file.
        match: as `aehub.search` returns it.
        folder: for the files, which are named after the kind.

    Returns:
        The files, videos if both parts last.

    Raises:
        InputError: a file cannot be read any more.
    """
    length = match.query_end - match.query_start
    moving = min(length, match.end - match.start) >= _MIN_SECONDS and not any(
        content_of(path) == "picture" for path in (query, Path(match.path)))
    seconds = min(length, MAX_SECONDS) if moving else 0.0
    if moving and match.speed > 0:
        match = replace(match, start=match.start + _offset(query, match, folder))
    with ExitStack() as stack:
        clips = [stack.enter_context(_opened(path, start, start + shown, folder, SIDE))
                 for path, start, shown in (
                     (query, match.query_start, seconds),
                     (Path(match.path), *_shown_part(match, seconds)))]
        rate = min(float(clips[0].info.fps), _MAX_FPS)
        count = max(1, round(seconds * rate))
        pace = abs(match.speed) or 1.0
        ends, turns = ("jpg", "mp4")[moving], (ELEMENTS["identity"], turn_of(match))
        done = 0
        for clip, g, speed, name in zip(clips, turns, (1.0, pace), ("query", "found"), strict=True):
            pictures: Iterator[np.ndarray] = _at(clip, [n / rate * speed for n in range(count)], g)
            if name == "found" and match.speed < 0:
                pictures = reversed(list(pictures))
            for _ in _written(pictures, folder / f"{name}.{ends}", rate, moving):
                done += 1
                yield Progress(done, 2 * count)
    return Pair(f"query.{ends}", f"found.{ends}", moving, count / rate if moving else 0.0)


def write_turned_part(source: Path, video: Path, element: str) -> Path:
    """Write the middle half of a clip as mp4, turned.

    Args:
        source: path of a clip whose length is known.
        video: mp4 to write.
        element: name in `aehub.media.orientation.ELEMENTS`.

    Returns:
        `video`.
    """
    with open_clip(source) as clip:
        rate, count = float(clip.info.fps), clip.info.n_frames or 1
        times = [number / rate for number in range(count // 4, count - count // 4)]
        pictures = _at(clip, times, ELEMENTS[element])
        for _ in _written(pictures, video, rate, moving=True):
            pass
    return video


def _offset(query: Path, match: Match, folder: Path) -> float:
    """Seconds by which a part begins later than the match says: matches are found by pictures that
    are farther apart than frames."""
    earlier = min(_REACH, match.start)
    length = min(_ALIGNED, match.query_end - match.query_start)
    at = np.linspace(0, length, 8, endpoint=False)
    with _opened(query, match.query_start, match.query_start + length, folder, SIDE) as clip:
        wanted = np.stack([_grey(picture) for picture in _at(clip, list(at), 0)])
    begin, step = match.start - earlier, _GRAIN
    count = int((earlier + length * match.speed + _REACH) / step)
    with _opened(Path(match.path), begin, begin + count * step, folder, SIDE) as clip:
        greys = np.stack([_grey(picture) for picture in _at(
            clip, [number * step for number in range(count)], turn_of(match))])
    rows = np.rint((earlier + at * match.speed) / step).astype(int)
    shifts = np.arange(-int(earlier / step), int(_REACH / step) + 1)
    places = np.clip(rows[None] + shifts[:, None], 0, count - 1)
    differences = np.abs(greys[places] - wanted[None]).mean((1, 2, 3))
    best, zero = int(differences.argmin()), int(np.flatnonzero(shifts == 0)[0])
    if differences[best] >= _SAME * differences[zero]:
        return 0.0
    # Several steps show the same frame: the middle one.
    same = np.flatnonzero(differences <= differences[best] * 1.001)
    return float(shifts[same[len(same) // 2]] * step)


def _grey(picture: np.ndarray) -> np.ndarray:
    """float32 [S, S]: luma about its mean."""
    small = Image.fromarray(picture).convert("L").resize((_GREY_SIDE,) * 2, Image.Resampling.BOX)
    values = np.asarray(small, np.float32)
    return np.asarray(values - values.mean())


def _shown_part(match: Match, seconds: float) -> tuple[float, float]:
    """Start and length of the part of the file that is shown in so many seconds of the query."""
    length = min(seconds * (abs(match.speed) or 1.0), match.end - match.start)
    backward = match.speed < 0 and length > 0
    return (match.end - length if backward else match.start), length


def thumbnail(match: Match, file: Path) -> None:
    """Write the first frame of a match as JPEG, as it is in its file.

    Raises:
        InputError: the file cannot be read any more.
    """
    path = Path(match.path)
    if is_aev_file(path):
        picture = _frame_at(path, match.start, THUMBNAIL_SIDE)
    else:
        with _opened(path, match.start, match.start, file.parent, THUMBNAIL_SIDE) as clip:
            picture = Image.fromarray(next(iter(_at(clip, [0.0], ELEMENTS["identity"]))))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    picture.save(file, "JPEG", quality=85)


def _frame_at(path: Path, seconds: float, side: int) -> Image.Image:
    """The frame of a compressed file on screen at a time, decoded at a small scale."""
    facts = info(path)
    with open_archive(path, scale=_scale((facts["width"], facts["height"]), side)) as archive:
        later = bisect_right(range(len(archive)), seconds + 1e-3,
                             key=lambda number: float(archive.time(number)))
        picture, clip = Image.fromarray(archive[max(later - 1, 0)]), archive.info
        return picture.resize(fit_size(clip.width, clip.height, side, clip.pixel_aspect))


@contextmanager
def _opened(path: Path, start: float, stop: float, folder: Path, side: int) -> Iterator[Clip]:
    """Open a part of a clip; a compressed file is decoded into `folder` first, at a small scale."""
    begin = Fraction(str(round(max(start, 0.0), 3)))
    part = TimeSpan(begin, begin + Fraction(str(round(stop - start, 3))) + _MARGIN)
    with ExitStack() as stack:
        if is_aev_file(path):
            trimmed, decoded = (folder / f"{path.stem}.part.{end}" for end in ("aev", "mkv"))
            stack.callback(decoded.unlink, missing_ok=True)
            facts = info(path)
            part = _within(part, float(facts["seconds"]))
            edit(path, trimmed, [Trim(str(part))], force=True)
            try:
                scale = _scale((facts["width"], facts["height"]), side)
                for _ in iter_decompress_to(trimmed, decoded, scale=scale, force=True):
                    pass
            finally:
                trimmed.unlink(missing_ok=True)
            path, part = decoded, TimeSpan()
        try:
            clip = stack.enter_context(open_clip(path, trim=part))
        except InputError:
            # The file states no length, and ends before; a picture lasts for no time at all.
            clip = stack.enter_context(open_clip(path))
        yield clip


def _within(part: TimeSpan, seconds: float) -> TimeSpan:
    """A part that begins inside a clip."""
    latest = max(Fraction(0), Fraction(str(round(seconds, 3))) - Fraction(1, 10))
    begin = min(part.start, latest)
    return TimeSpan(begin, begin + (part.stop or 0) - part.start)


def _scale(size: tuple[int, int], side: int) -> Fraction:
    """The smallest scale that leaves `side` samples of the longer side, or 1."""
    enough = [scale for scale in SCALES if scale <= 1 and max(scaled_size(size, scale)) >= side]
    return min(enough, default=Fraction(1))


def _at(clip: Clip, times: Sequence[float], g: int) -> Iterator[np.ndarray]:
    """Pictures of a clip on screen at increasing times, uint8 [H, W, 3], turned by element `g`."""
    base, frames = clip.info.time_base, iter(clip)
    width, height = fit_size(clip.info.width, clip.info.height, SIDE, clip.info.pixel_aspect)
    size = (width // 2 * 2 or 2, height // 2 * 2 or 2)
    frame = next(frames)
    after = next(frames, None)
    shown, number = None, -1
    for time in times:
        while after is not None and float(after.time * base) <= time + 1e-3:
            frame, after = after, next(frames, None)
        if shown is None or number != frame.time:
            picture = Image.fromarray(to_rgb(frame.picture, clip.info.colour))
            turned = turn(np.moveaxis(np.asarray(picture.resize(size)), 2, 0), g)
            shown, number = np.ascontiguousarray(np.moveaxis(turned, 0, 2)), frame.time
        yield shown


def _written(pictures: Iterator[np.ndarray], file: Path, fps: float, moving: bool
             ) -> Iterator[None]:
    """Write pictures as a video, or the first one as JPEG; yields after each."""
    if not moving:
        Image.fromarray(next(iter(pictures))).save(file, "JPEG", quality=90)
        yield
        return
    with open_clip(pictures, fps=fps) as clip, open_writer(file, info=clip.info) as writer:
        for frame in clip:
            writer.write(frame)
            yield
