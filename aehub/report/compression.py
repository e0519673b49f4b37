"""The whole job: prepare a clip, compress it, decode and measure it, and run other codecs."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, TypeVar

from aehub.api.compress import iter_compress
from aehub.codecs.base import StandardCodec
from aehub.config import DEFAULT_CODEC, DEFAULT_EFFORT, Limits
from aehub.hub import resolve_codec
from aehub.measure import Comparison, parse_codecs
from aehub.measure.benchmark import iter_compare
from aehub.measure.points import SourceClip
from aehub.media.timestamps import TimeSpan
from aehub.report.matched_size import iter_baselines
from aehub.report.playback import iter_playback
from aehub.report.prepare import iter_prepare
from aehub.report.records import Baseline, CompressionReport
from aehub.results import Progress, relayed

STAGES = ("prepare", "compress", "replay", "neighbours")
_Result = TypeVar("_Result")


class StageProgress(NamedTuple):
    """Progress of a report: a name of `STAGES`, items done in it, items in all (0 if unknown)."""

    name: str
    done: int
    total: int


def iter_report(
    source: str | Path,
    folder: Path,
    *,
    model: str = DEFAULT_CODEC,
    quality: float = 50,
    target_size: int | None = None,
    effort: int = DEFAULT_EFFORT,
    longest: int | None = 640,
    trim: TimeSpan | str | None = None,
    baselines: bool = True,
    limits: Limits | None = None,
) -> Generator[StageProgress, None, CompressionReport]:
    """Compress a clip and gather its report.

    Args:
        source: path of a clip; the results are named after it.
        folder: existing folder for the results.
        model: as `aehub.load`.
        quality: 0 to 100.
        target_size: bytes of the file at most, instead of a quality.
        effort: of the encoder, 0 to 9.
        longest: limit of the longer side in pixels; None keeps the size.
        trim: "A:B" in seconds, or frames with a trailing f.
        baselines: also encode with x264 and AV1 at the same bytes.
        limits: the largest clip to accept.

    Raises:
        InputError: the clip or an argument cannot be used.
        LimitError: the clip is larger than `limits`.
    """
    source = Path(source)
    part, prepared = TimeSpan.coerce(trim), folder / f"{source.stem}.original.mkv"
    stacked, decoded = folder / "stacked.mp4", folder / f"{source.stem}.aehub.mp4"
    packed, source_bytes = folder / f"{source.stem}.aev", source.stat().st_size
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        clip = yield from _timed(
            "prepare", iter_prepare(source, prepared, longest=longest, trim=part, limits=limits),
            seconds)
        stack.enter_context(closing(clip))
        result = yield from _timed(
            "compress", iter_compress(clip, packed, model=model,
                                      quality=quality if target_size is None else None,
                                      target_size=target_size, effort=effort, measure=False,
                                      force=True), seconds)
        playback = yield from _timed("replay", iter_playback(
            clip, packed, stacked, decoded, result.frame_bytes), seconds)
        measured, codec = list[Baseline](), resolve_codec(model)
        standard = codec.standard_name(effort) if isinstance(codec, StandardCodec) else ""
        if baselines:
            measured = yield from _timed("neighbours", iter_baselines(
                SourceClip(source.stem, clip, clip.info), result.bytes - result.audio_bytes,
                standard), seconds)
    return CompressionReport(
        source_bytes=source_bytes, trimmed=part is not None, prepared=prepared,
        stacked=stacked, decoded=decoded, compressed=result, playback=playback,
        baselines=tuple(measured), seconds=seconds, notes=clip.info.notes,
        is_editable=codec.editor is not None, standard=standard)


def iter_comparison(
    source: str | Path, folder: Path, codecs: str, frames: int, *, longest: int | None = None,
    limits: Limits | None = None,
) -> Generator[Progress, None, Comparison]:
    """Measure codecs on the first frames of a clip; yields (points done, points in all).

    Args:
        source: path of a clip.
        folder: existing folder for the working copy.
        codecs: names separated by commas, as `aehub.compare` takes them.
        frames: number of frames to use, from the start.
        longest: limit of the longer side in pixels.
        limits: the largest picture to accept.

    Raises:
        InputError: the clip or a codec cannot be used.
    """
    chosen = parse_codecs(codecs)
    total = sum(len(codec.qualities) for codec in chosen)
    part = TimeSpan(stop=Fraction(frames), stop_in_frames=True)
    copy = folder / f"{Path(source).stem}.mkv"
    preparing = iter_prepare(source, copy, longest=longest, trim=part, limits=limits)
    clip = yield from relayed(preparing, lambda _: Progress(0, total))
    with closing(clip):
        decoded = SourceClip(Path(source).stem, clip, clip.info)
        return (yield from iter_compare([decoded], chosen))


def _timed(
    name: str, job: Generator[tuple[int, int], None, _Result], seconds: dict[str, float]
) -> Generator[StageProgress, None, _Result]:
    """Run one stage: add its name to its progress and store its duration."""
    began = time.monotonic()
    yield StageProgress(name, 0, 0)
    result = yield from relayed(job, lambda now: StageProgress(name, *now))
    seconds[name] = time.monotonic() - began
    return result
