"""A comparison of codecs on a small working copy, point by point."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

from aehub.clips.trim import Trim
from aehub.compare import Comparison, parse_codecs
from aehub.compare.measurement import iter_compare, load
from aehub.config import Limits
from aehub.results import Step
from aehub.review.working import iter_prepare, named_as


def iter_comparison(
    source: str | Path, folder: Path, codecs: str, frames: int, *, longest: int | None = None,
    limits: Limits | None = None,
) -> Generator[Step, None, Comparison]:
    """Measure codecs on the first frames of a clip; yields (points done, points in all).

    Args:
        source: path of a clip.
        folder: where the working copy goes.
        codecs: names between commas, as `aehub.compare` takes them.
        frames: frames to use, from the start.
        longest: most pixels along the longer side.
        limits: the largest picture to accept.

    Raises:
        InputError: the clip or a codec cannot be used.
    """
    chosen = parse_codecs(codecs)
    total = sum(len(codec.qualities) for codec in chosen)
    part = Trim(stop=Fraction(frames), stop_in_frames=True)
    copy = folder / f"{Path(source).stem}.mkv"
    for _ in iter_prepare(source, copy, longest=longest, trim=part, limits=limits):
        yield Step(0, total)
    with named_as(Path(source), copy):
        clip = load(copy)
    return (yield from iter_compare([clip], chosen))
