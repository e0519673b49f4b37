"""The arena: one clip through several autoencoders, at equal bytes or at one quality, measured.

    encode   every model at one quality
    match    for equal bytes: other qualities, until the file has the size wanted
    decode   the file, measured against the clip
    drift    on request: what came back is compressed again, and again
    show     one video of the original and all reconstructions, and a picture to share

A model that fails is listed with its reason, and the others go on.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from aehub.arguments import check_list, check_whole
from aehub.codecs.base import check_quality
from aehub.codecs.rate_control import ENCODES
from aehub.config import DEFAULT_EFFORT, Limits
from aehub.errors import AEHubError, InputError
from aehub.hub import ModelLike
from aehub.media.clip import open_clip
from aehub.media.conversion import to_yuv420
from aehub.media.decoded_clip import DecodedClip
from aehub.media.picture import YUV420, Picture
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import open_writer
from aehub.report.arena_picture import draw_crops
from aehub.report.arena_records import ArenaReport
from aehub.report.arena_run import ModelRun
from aehub.report.playback import stack_planes, stacked_half, with_explicit_colour
from aehub.report.prepare import iter_prepare
from aehub.results import Progress, relayed
from aehub.weights.device import Device

MAX_PASSES = 10
"""Encode-decode passes at most."""
_FAILURES = Exception
"""Errors of one model that do not end the others: those of networks that other people wrote, too.
"""
_Result = TypeVar("_Result")


class ArenaProgress(NamedTuple):
    """Progress: name of the model or "", stage of the module's list, its frames, share of all."""

    model: str
    stage: str
    done: int
    total: int
    share: float


def iter_arena(
    source: str | Path,
    folder: Path,
    models: Sequence[ModelLike],
    *,
    quality: float = 50,
    target_size: int | None = None,
    equal_bytes: bool = True,
    drift_passes: int = 0,
    effort: int = DEFAULT_EFFORT,
    longest: int | None = None,
    trim: TimeSpan | str | None = None,
    limits: Limits | None = None,
    device: Device = "auto",
) -> Generator[ArenaProgress, None, ArenaReport]:
    """Compress one clip with several models and measure what each keeps of it.

    Args:
        source: path of a clip; the results are named after it.
        folder: existing folder for the results; nothing is left there before the end.
        models: names, folders or loaded models, each once.
        quality: 0 to 100, of the first encode of every model.
        target_size: bytes of each file at most, from 1.
        equal_bytes: without a target, bring all files to one size: the geometric mean of those at
            `quality`, or more if a model cannot be so small; otherwise all keep that quality, and
            their sizes differ.
        drift_passes: encode-decode passes, 2 to 10; 0 or 1 leaves them out.
        effort: of the encoder, 0 to 9.
        longest: limit of the longer side in pixels; None keeps the size.
        trim: "A:B" in seconds, or frames with a trailing f.
        limits: the largest clip to accept.
        device: where networks run, as `aehub.load`.

    Raises:
        InputError: the clip or an argument cannot be used.
        LimitError: the clip is larger than `limits`.
        Exception: no model could be used; the error of the first one.
    """
    source, part, names = Path(source), TimeSpan.coerce(trim), _names(models)
    passes = check_whole("drift_passes", drift_passes, 0, MAX_PASSES)
    goal = _Goal(check_quality(quality), equal_bytes or target_size is not None, None
                 if target_size is None else check_whole("target_size", target_size, 1), passes)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        prepared, steps = work / f"{source.stem}.original.mkv", _Steps(names, goal.steps)
        clip = yield from steps.run("", "prepare", iter_prepare(
            source, prepared, longest=longest, trim=part, limits=limits))
        stack.enter_context(closing(clip))
        runs = [ModelRun(name, model, clip, work / f"{source.stem}.{_slug(name)}.aev", effort,
                         device) for name, model in zip(names, models, strict=True)]
        for run in runs:
            stack.callback(run.close)
        target = yield from _iter_stages(runs, goal, steps)
        report = _report(clip, prepared, work / f"{source.stem}.arena.mp4", runs, target)
        decoded = [run.decoded for run in _remaining(runs)]
        yield from steps.run("", "show", _iter_video(report, clip, decoded))
        draw_crops(report, clip, decoded)
        _move(work, folder, {run.output.name for run in _remaining(runs)})
    return report.moved_to(folder)


def _move(work: Path, folder: Path, finished: set[str]) -> None:
    """Move the results to their folder; files of models that failed stay behind."""
    for path in work.iterdir():
        if path.suffix != ".aev" or path.name in finished:
            shutil.move(path, folder / path.name)


class _Goal(NamedTuple):
    """Quality of the first encode, whether files become equally large, their bytes, passes."""

    quality: float
    is_matched: bool
    target: int | None
    passes: int

    @property
    def steps(self) -> int:
        """Steps of one model."""
        return 2 + self.is_matched * (ENCODES - 1) + 2 * max(0, self.passes - 1)


def _iter_stages(runs: Sequence[ModelRun], goal: _Goal, steps: _Steps
                 ) -> Generator[ArenaProgress, None, int | None]:
    """Run all models through the stages; return the bytes that their files were brought to."""
    target = goal.target
    qualities = [goal.quality]
    if goal.is_matched and target is None and goal.quality:
        qualities.append(0)
    for run in runs:
        yield from steps.attempt(run, "encode", partial(run.encode, qualities))
    if goal.is_matched:
        target = target or _common_size(_remaining(runs))
        for run in _remaining(runs):
            yield from steps.attempt(run, "match", partial(run.match, target), ENCODES - 1)
    for run in _remaining(runs):
        yield from steps.attempt(run, "decode", run.decode)
        if goal.passes > 1:
            yield from steps.attempt(run, "drift", partial(run.drift, goal.passes),
                                     2 * goal.passes - 2)
    return target


def _common_size(runs: Sequence[ModelRun]) -> int:
    """Return the geometric mean of the first encodes, at least the largest of all smallest files.
    """
    mean = math.exp(fmean(math.log(run.sizes[0]) for run in runs))
    return max(round(mean), *(min(run.sizes) for run in runs))


def _names(models: Sequence[ModelLike]) -> list[str]:
    """Return the names of the models as they were given; the folder of a path, or of the codec.

    Raises:
        InputError: there is none, or one is given twice.
    """
    names = [str(model) if isinstance(model, str) and not Path(model).is_dir()
             else Path(model).name if isinstance(model, (str, os.PathLike)) else model.name
             for model in check_list("models", models)]
    if not names:
        raise InputError("no model is given; give at least one, such as a name of aehub models.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the model {name} is given twice; give each model once.")
    return names


def _slug(name: str) -> str:
    """Return a file name; a hub id has no two dashes of its own."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "--", name)


class _Steps:
    """Progress over all steps, each of the same share of the time.

    Args:
        names: of the models.
        steps: of each model; reading the clip and drawing the result are one more each.
    """

    def __init__(self, names: Sequence[str], steps: int) -> None:
        self._left = dict.fromkeys(names, steps)
        self._count, self._done, self._share = 2 + len(names) * steps, 0, 0.0

    def run(self, model: str, stage: str, job: Generator[tuple[int, int], None, _Result],
            n_steps: int = 1) -> Generator[ArenaProgress, None, _Result]:
        """Run one stage of a model, of so many steps; the share never decreases."""

        def shown(now: tuple[int, int]) -> ArenaProgress:
            within = min(1.0, now[0] / now[1]) if now[1] else 0.0
            self._share = max(self._share, (self._done + within) / self._count)
            return ArenaProgress(model, stage, *now, self._share)

        yield ArenaProgress(model, stage, 0, 0, self._share)
        result = yield from relayed(job, shown)
        self._done += n_steps
        return result

    def attempt(self, run: ModelRun, stage: str, job: Any, n_steps: int = 1
                ) -> Generator[ArenaProgress, None, None]:
        """Run one stage of a model unless it has failed; an error is kept in `run.error`."""
        if run.error is None:
            try:
                yield from self.run(run.name, stage, job(), n_steps)
                self._left[run.name] -= n_steps
            except _FAILURES as error:
                run.error = error
                self._done += self._left[run.name]


def _remaining(runs: Sequence[ModelRun]) -> list[ModelRun]:
    """Return those that have not failed.

    Raises:
        Exception: all have failed; the error of the first one.
    """
    found = [run for run in runs if run.error is None]
    if not found:
        assert runs[0].error is not None
        raise runs[0].error
    return found


def _report(clip: DecodedClip, prepared: Path, stacked: Path, runs: Sequence[ModelRun],
            target: int | None) -> ArenaReport:
    info = clip.info
    times = [float(time * info.time_base) for time, _ in clip.times]
    return ArenaReport(
        name=prepared.name.removesuffix(".original.mkv"), width=info.width, height=info.height,
        fps=str(info.fps), times=tuple(round(time, 6) for time in times), target_size=target,
        results=tuple(run.result for run in runs if run.result is not None and run.error is None),
        failures={run.name: _sentence(run.error) for run in runs if run.error is not None},
        prepared=prepared, stacked=stacked, row_height=stacked_half(info.height),
        picture=stacked.with_suffix(".png"), notes=info.notes)


def _sentence(error: Exception) -> str:
    if isinstance(error, AEHubError):
        return error.message
    return " ".join(str(error).split())[:200] or type(error).__name__


def _iter_video(report: ArenaReport, clip: DecodedClip, decoded: Sequence[DecodedClip]
                ) -> Generator[Progress, None, None]:
    """Write the original above all reconstructions, each at a multiple of `row_height`."""
    step, facts = report.row_height, with_explicit_colour(clip.info)

    def below(stacked: Picture, part: tuple[int, Picture]) -> Picture:
        return stack_planes(stacked, part[1], part[0] * step)

    tall = replace(facts, height=step * len(decoded) + facts.height, pictures=YUV420)
    with open_clip(clip) as frames, open_writer(report.stacked, info=tall) as writer:
        for number, frame in enumerate(frames):
            parts = enumerate((part[number] for part in decoded), 1)
            first = to_yuv420(frame.picture, facts.colour)
            writer.write(frame._replace(picture=reduce(below, parts, first)))
            yield Progress(number + 1, len(clip))
