"""The benchmark: every clip through every codec at every quality, and the names of codecs."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import av

from aehub.arguments import check_function, check_list, check_whole
from aehub.errors import AEHubError, InputError, LimitError
from aehub.files import FilePath, check_path
from aehub.hub import list_models
from aehub.inputs import expand
from aehub.measure import image_codecs, video_codecs
from aehub.measure.comparison import Comparison
from aehub.measure.model_codec import ModelCodec
from aehub.measure.points import (
    BenchmarkCodec,
    ClipMeasurer,
    ClipShape,
    Encoded,
    Failure,
    Measured,
    Point,
    SourceClip,
)
from aehub.media.clip import open_clip
from aehub.media.decoded_clip import DecodedClip
from aehub.media.file_type import list_folder, names_text
from aehub.media.metrics import Distortion
from aehub.results import Progress, ProgressCallback, run_job

# Errors of clips and codecs; any other exception is a bug and ends the run.
_EXPECTED_ERRORS = (AEHubError, av.FFmpegError, OSError, ValueError, MemoryError)
_PRESETS = "ultrafast|superfast|veryfast|faster|fast|medium|slow|slower|veryslow|placebo"
_PATTERNS = (
    (rf"x264-({_PRESETS})", video_codecs.x264),
    (rf"x264-({_PRESETS})-bf0", lambda preset: video_codecs.x264(preset, b_frames=False)),
    (rf"x265-({_PRESETS})", video_codecs.x265),
    (r"svtav1-([0-9]|1[0-3])", lambda preset: video_codecs.svtav1(int(preset))),
    ("vp9", video_codecs.vp9),
    ("jpeg", image_codecs.jpeg),
    ("webp", image_codecs.webp),
    ("avif", image_codecs.avif),
)


def parse_codecs(text: str, *, models: Sequence[str] | None = None) -> list[BenchmarkCodec]:
    """Parse comma-separated codec names, in the order given.

    Args:
        text: e.g. `d4-codec,x264-medium,svtav1-6`. `x264-PRESET`, `x264-PRESET-bf0` (no
            bidirectional frames), `x265-PRESET`, `svtav1-0` to `svtav1-13`, `vp9`, `jpeg`,
            `webp`, `avif`, a model, or anything with a slash (a model's folder or hub id).
        models: names of models without a slash; by default those that are known and compress.

    Raises:
        InputError: a name is unknown, given twice, or missing.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("no codec is named; give comma-separated names, such as x264-medium,avif.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"codec '{name}' is named twice; name each codec once.")
    if models is None:
        models = [entry.name for entry in list_models() if entry.compresses]
    return [_codec_named(name, models) for name in names]


def _codec_named(name: str, models: Sequence[str]) -> BenchmarkCodec:
    if name in models or "/" in name:
        return ModelCodec(name)
    for pattern, build in _PATTERNS:
        if match := re.fullmatch(pattern, name):
            return build(*match.groups())
    raise InputError(
        f"codec '{name}' is unknown; known are {', '.join(models)}, x264-PRESET[-bf0], "
        "x265-PRESET (presets ultrafast to placebo), svtav1-0 to svtav1-13, vp9, jpeg, webp, avif."
    )


def compare(
    sources: Iterable[FilePath | SourceClip],
    codecs: str | Sequence[BenchmarkCodec],
    *,
    frames: int | None = None,
    stills: bool = False,
    anchor: str | None = None,
    measurer: ClipMeasurer | None = None,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """Measure rate and distortion of codecs side by side.

    A clip or codec that fails is listed in `failures` of the result, and the rest is measured.

    Args:
        sources: paths of clips or folders of clips, or clips in memory; in lossy ones the artefacts
            of another codec are part of the reference.
        codecs: comma-separated names, such as "d4-codec,x264-medium,svtav1-6" (see
            `aehub.measure.parse_codecs`), or codecs.
        frames: use only so many frames of each clip, its first ones, from 1; by default all.
        stills: use only the first frame of each clip, for picture codecs.
        anchor: codec that BD-rates are relative to; by default `x264-medium` (for stills `jpeg`)
            if it is among the codecs, else the first codec.
        measurer: measures paths of clips elsewhere (`aehub.jobs.comparisons`), with the same
            codecs; speeds are then those of clips that are measured side by side.
        progress: called as `progress(done, total)` in points, after each point.

    Returns:
        The points, their Bjøntegaard rate differences and the failures.

    Raises:
        InputError: a codec or the anchor is unknown, or a clip is missing.
        AEHubError: nothing could be measured; the first failure is raised.

    Example:
        >>> comparison = compare(["clip.mkv"], "x264-medium,svtav1-6")  # doctest: +SKIP
        >>> print(comparison.table())  # doctest: +SKIP
    """
    check_function("measurer", measurer, "a function that measures clips")
    sources = check_list("sources", sources)
    chosen = _checked_codecs(codecs)
    anchor = _anchor_of([codec.name for codec in chosen], anchor, stills=stills)
    n_frames = 1 if stills else frames
    if n_frames is not None:
        n_frames = check_whole("frames", n_frames, 1)
    notes: list[str] = []
    paths = [clip for source in sources for found in _expanded(source)
             for clip in _clips_of(found, notes)]
    if not paths:
        raise InputError("no clip is given; give at least one.")
    for codec in chosen:
        if isinstance(codec, ModelCodec):
            codec.check()
    if measurer is not None:
        job = _iter_assembled(measurer([check_path(path, "clip") for path in paths], n_frames),
                              chosen, anchor, len(paths))
    else:
        clips = (_load_or_fail(path, n_frames) for path in paths)
        job = iter_compare(clips, chosen, anchor, n_clips=len(paths))
    return replace(run_job(job, progress), notes=tuple(notes))


def iter_compare(
    clips: Iterable[SourceClip | Failure], codecs: Sequence[BenchmarkCodec],
    anchor: str | None = None, *, n_clips: int = 1,
) -> Generator[Progress, None, Comparison]:
    """Measure clips; yields (points done, total points) after each point.

    Args:
        clips: decoded, or the failure to load them.
        codecs: that code every clip.
        anchor: as in `compare`.
        n_clips: number of clips.

    Raises:
        Exception: nothing was measured; the first failure is raised.
    """
    total = n_clips * sum(len(codec.qualities) for codec in codecs)
    shapes: list[ClipShape] = []
    points: list[Point] = []
    failures: list[Failure] = []
    for clip in clips:
        if isinstance(clip, SourceClip):
            clip = _with_unique_name(clip, [shape.name for shape in shapes])
            shapes.append(ClipShape.of(clip))
        for result in [clip] if isinstance(clip, Failure) else _measure_or_fail(clip, codecs):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                points.append(result)
                yield Progress(len(points), total)
    return _comparison(codecs, anchor, shapes, points, failures)


def measure_file(path: Path, codecs: Sequence[BenchmarkCodec], frames: int | None = None
                 ) -> Generator[Progress, None, Measured]:
    """Measure the clip of a file, or its first `frames` frames; yields the points done.

    Errors are failures in the result. They can be sent to another process.
    """
    clip = _load_or_fail(path, frames)
    shape = ClipShape.of(clip) if isinstance(clip, SourceClip) else None
    results: list[Point | Failure] = []
    for result in [clip] if isinstance(clip, Failure) else _measure_or_fail(clip, codecs):
        if isinstance(result, Failure) and not isinstance(result.error, AEHubError):
            result = result._replace(error=InputError(result.reason))
        results.append(result)
        yield Progress(sum(isinstance(one, Point) for one in results), 0)
    return Measured(shape, tuple(results))


def _iter_assembled(measured: Iterable[int | tuple[int, Measured]],
                    codecs: Sequence[BenchmarkCodec], anchor: str | None, n_clips: int
                    ) -> Generator[Progress, None, Comparison]:
    """Put clips together that were measured elsewhere, in their order."""
    total = n_clips * sum(len(codec.qualities) for codec in codecs)
    found: dict[int, Measured] = {}
    for item in measured:
        if isinstance(item, int):
            yield Progress(item, total)
        else:
            found[item[0]] = item[1]
    shapes: list[ClipShape] = []
    points: list[Point] = []
    failures: list[Failure] = []
    for _, (shape, results) in sorted(found.items()):
        if shape is not None:
            shape = shape._replace(name=_unique_name(shape.name, [one.name for one in shapes]))
            shapes.append(shape)
        for result in results:
            name = result.clip if shape is None else shape.name
            if isinstance(result, Failure):
                failures.append(result._replace(clip=name))
            else:
                points.append(replace(result, clip=name))
    return _comparison(codecs, anchor, shapes, points, failures)


def _comparison(codecs: Sequence[BenchmarkCodec], anchor: str | None, shapes: Sequence[ClipShape],
                points: Sequence[Point], failures: Sequence[Failure]) -> Comparison:
    if failures and not points:
        raise failures[0].error
    measured = {point.clip for point in points}
    return Comparison(
        anchor=_anchor_of([codec.name for codec in codecs], anchor, stills=False),
        clips=tuple(shape for shape in shapes if shape.name in measured),
        settings={codec.name: codec.settings for codec in codecs}, points=tuple(points),
        ours=tuple(codec.name for codec in codecs if isinstance(codec, ModelCodec)),
        failures=tuple(failures))


def _checked_codecs(given: Any) -> list[BenchmarkCodec]:
    if isinstance(given, str):
        return parse_codecs(given)
    codecs = check_list("codecs", given)
    for codec in codecs:
        if not hasattr(codec, "encode"):
            raise InputError(f"codecs contain {str(codec)[:40]!r}, which is no codec; give a text "
                             "such as x264-medium,svtav1-6.")
    if not codecs:
        raise InputError("no codec is given; give at least one, such as x264-medium.")
    return codecs


def _measure_or_fail(source: SourceClip, codecs: Iterable[BenchmarkCodec]
                     ) -> Iterator[Point | Failure]:
    """As `measure`, but an error of a codec becomes a failure, and the next codec follows."""
    for codec in codecs:
        try:
            yield from measure(source, [codec])
        except _EXPECTED_ERRORS as error:
            yield Failure(source.name, codec.name, error)


def _load_or_fail(path: FilePath | SourceClip, n_frames: int | None) -> SourceClip | Failure:
    """Load the first `n_frames` frames of a clip, or return the failure."""
    if isinstance(path, SourceClip):
        return SourceClip(path.name, path.frames[:n_frames], path.info)
    try:
        return load(path, frames=n_frames)
    except _EXPECTED_ERRORS as error:
        return Failure(Path(path).stem, None, error)


def measure(source: SourceClip, codecs: Iterable[BenchmarkCodec]) -> Iterator[Point]:
    """Measure one clip, a point at a time; closing the iterator ends it.

    Raises:
        InputError: the clip has no frames, or a codec cannot code it.
        AEHubError: a codec returns another number of frames.
    """
    if not source.frames:
        raise InputError(f"{source.name} has no frames; give a clip with at least one.")
    for codec in codecs:
        for quality in codec.qualities:
            encoded = codec.encode(source.frames, source.info, quality)
            distortion, decode_seconds = _distortion_of(codec.name, source, encoded)
            yield Point(
                clip=source.name,
                codec=codec.name,
                quality=quality,
                bytes=encoded.n_bytes,
                bits_per_pixel=8 * encoded.n_bytes / sum(f[0].size for f in source.frames),
                kbps=8e-3 * encoded.n_bytes * float(source.info.fps) / len(source.frames),
                psnr=distortion.psnr,
                ms_ssim=distortion.ms_ssim,
                encode_seconds=encoded.seconds,
                decode_seconds=decode_seconds,
            )


def _expanded(source: FilePath | SourceClip) -> list[FilePath | SourceClip]:
    """The paths that a pattern stands for; anything else as it is."""
    return [source] if isinstance(source, SourceClip) else [*expand(check_path(source, "clip"))]


def _clips_of(source: FilePath | SourceClip, notes: list[str]) -> list[FilePath | SourceClip]:
    """List the clips of a folder, with a note on other files; a folder of pictures is one clip.

    Raises:
        InputError: the file does not exist.
    """
    if not isinstance(source, SourceClip) and not check_path(source, "clip").exists():
        raise InputError(f"{source} does not exist; check the path.")
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        pictures, clips, others = list_folder(Path(source))
        if clips and (pictures or others):
            notes.append(f"Left out of {Path(source).name}, for they are no clips: "
                         f"{names_text([*pictures, *others])}.")
        return [*clips] or [source]
    return [source]


def load(path: FilePath, *, frames: int | None = None) -> SourceClip:
    """Decode a clip, or its first `frames` frames, into a temporary file.

    Raises:
        InputError: it cannot be read.
        LimitError: the temporary folder has no room for its frames.
    """
    with open_clip(path) as clip:
        decoded = DecodedClip(clip.name, clip.info)
        for frame in islice(clip, frames):
            try:
                decoded.add(frame)
            except LimitError as error:
                raise LimitError(error.message, "frames=N (--frames N) measures only the first N "
                                 f"of each clip. {error.option}".rstrip()) from error
        decoded.finish(clip.info)
    return SourceClip(Path(path).stem, decoded, decoded.info)


def _distortion_of(name: str, source: SourceClip, encoded: Encoded) -> tuple[Distortion, float]:
    """(distortion of the decoded frames, seconds spent in the decoder)."""
    distortion, seconds = Distortion(), 0.0
    decoded = iter(encoded.decoded)
    while True:
        start = time.perf_counter()
        planes = next(decoded, None)
        seconds += time.perf_counter() - start
        if planes is None:
            break
        if distortion.n_frames < len(source.frames):
            distortion.add(source.frames[distortion.n_frames], planes)
        else:
            raise AEHubError(f"{name} returned more than the {len(source.frames)} frames given.")
    if distortion.n_frames < len(source.frames):
        raise AEHubError(
            f"{name} returned {distortion.n_frames} of the {len(source.frames)} frames given."
        )
    return distortion, seconds


def _anchor_of(names: Sequence[str], wanted: str | None, *, stills: bool) -> str:
    if wanted is None:
        usual = "jpeg" if stills else "x264-medium"
        return usual if usual in names else names[0]
    if not isinstance(wanted, str) or wanted not in names:
        raise InputError(f"anchor '{str(wanted)[:80]}' is not among the codecs {', '.join(names)}; "
                         "add it.")
    return wanted


def _with_unique_name(source: SourceClip, taken: Sequence[str]) -> SourceClip:
    return SourceClip(_unique_name(source.name, taken), source.frames, source.info)


def _unique_name(wanted: str, taken: Sequence[str]) -> str:
    """A name that is not taken: files of several folders may share one."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name
