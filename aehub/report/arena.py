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
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import av
import numpy as np

from aehub.api.compress import iter_compress
from aehub.arguments import check_list, check_whole
from aehub.bitstream import open_reader
from aehub.codecs.base import Codec, check_quality
from aehub.codecs.decompress import decode_frames
from aehub.codecs.rate_control import ENCODES, UNUSUAL, Trial, next_step
from aehub.config import DEFAULT_EFFORT, Limits
from aehub.errors import AEHubError, InputError
from aehub.hub import ModelLike, load_for_file, resolve_codec
from aehub.media.clip import open_clip
from aehub.media.conversion import to_rgb, to_yuv420
from aehub.media.decoded_clip import DecodedClip
from aehub.media.metrics import Distortion, psnr_of_mse
from aehub.media.picture import YUV420, Frame, Picture
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import open_writer
from aehub.report.arena_picture import draw_crops
from aehub.report.arena_records import ArenaReport, Reconstruction
from aehub.report.memory import PeakMemory
from aehub.report.playback import stack_planes, stacked_half, with_explicit_colour
from aehub.report.prepare import iter_prepare
from aehub.results import Progress, relayed
from aehub.weights.device import Device

MAX_PASSES = 10
"""Encode-decode passes at most."""
_FAILURES = (AEHubError, av.FFmpegError, OSError, RuntimeError, ValueError, MemoryError)
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
        runs = [_Run(name, model, clip, work / f"{source.stem}.{_slug(name)}.aev", effort, device)
                for name, model in zip(names, models, strict=True)]
        for run in runs:
            stack.callback(run.close)
        target = yield from _iter_stages(runs, goal, steps)
        report = _report(clip, prepared, work / f"{source.stem}.arena.mp4", runs, target)
        decoded = [run.decoded for run in _remaining(runs)]
        yield from steps.run("", "show", _iter_video(report, clip, decoded))
        draw_crops(report, clip, decoded)
        for path in work.iterdir():
            shutil.move(path, folder / path.name)
    return report.moved_to(folder)


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


def _iter_stages(runs: Sequence[_Run], goal: _Goal, steps: _Steps
                 ) -> Generator[ArenaProgress, None, int | None]:
    """Run all models through the stages; return the bytes that their files were brought to."""
    target = goal.target
    qualities = [goal.quality, 0.0] if goal.is_matched and not target else [goal.quality]
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


def _common_size(runs: Sequence[_Run]) -> int:
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
    return re.sub(r"[^A-Za-z0-9._]+", "-", name)


@dataclass(frozen=True)
class _Encode:
    """A file at one quality, with the seconds and the memory of its encode."""

    path: Path
    quality: float
    n_bytes: int
    seconds: float
    memory: int | None
    notes: tuple[str, ...]


@dataclass
class _Run:
    """One model on its way through the stages.

    Attributes:
        name: of the model, for people.
        model: as it was given.
        clip: the original.
        output: path of its file.
        effort: of the encoder.
        device: where its networks run.
        error: the failure that ended it.
        notes: remarks on its file.
        result: its measurements, after `decode`.
    """

    name: str
    model: ModelLike
    clip: DecodedClip
    output: Path
    effort: int
    device: Device
    error: Exception | None = None
    notes: tuple[str, ...] = ()
    result: Reconstruction | None = None
    _codec: Codec | None = None
    _decoded: DecodedClip | None = None
    _encodes: list[_Encode] = field(default_factory=list)

    @property
    def codec(self) -> Codec:
        """The loaded model, after `encode`."""
        assert self._codec is not None
        return self._codec

    @property
    def decoded(self) -> DecodedClip:
        """The reconstruction, 8-bit 4:2:0, after `decode`."""
        assert self._decoded is not None
        return self._decoded

    @property
    def chosen(self) -> _Encode:
        """The last encode."""
        return self._encodes[-1]

    @property
    def sizes(self) -> list[int]:
        """Bytes of the encodes so far, the first one first."""
        return [encode.n_bytes for encode in self._encodes]

    def encode(self, qualities: Sequence[float]) -> Generator[Progress, None, None]:
        """Load the model, run it on two frames, and compress the clip at each quality."""
        self._codec = resolve_codec(self.model, device=self.device)
        # The first use compiles loops and fills caches, which belongs to no clip.
        yield from relayed(iter_compress(self.clip[:2], self.output, model=self.codec,
                                         effort=self.effort, measure=False),
                           lambda _: Progress(0, len(self.clip)))
        with open_reader(self.output) as reader:
            for _ in decode_frames(reader, self.codec):
                yield Progress(0, len(self.clip))
        for quality in qualities:
            yield from self._encode(quality)

    def match(self, target: int) -> Generator[Progress, None, None]:
        """Compress at other qualities until the file has at most `target` bytes, and nearly all.

        Raises:
            InputError: the smallest file is larger; the sentence says how large.
        """
        while True:
            trials = [Trial(encode.quality, encode.n_bytes, 0) for encode in self._encodes]
            best, quality = next_step(target, trials)
            if best is not None:
                self._encodes.sort(key=lambda encode: encode.quality == best.quality)
                if best.size < (1 - UNUSUAL) * target:
                    self.notes += (f"The file at quality {best.quality:g}, the closest one, has "
                                   f"{best.size} of {target} bytes.",)
                return
            assert quality is not None
            yield from self._encode(quality)

    def _encode(self, quality: float) -> Generator[Progress, None, None]:
        path = self.output.with_suffix(f".{quality:g}.aev")
        with PeakMemory() as memory:
            made, seconds = yield from _timed(iter_compress(
                self.clip, path, model=self.codec, quality=quality, effort=self.effort,
                audio=False, measure=False))
        self._encodes.append(_Encode(path, quality, made.bytes, seconds, memory.bytes, made.notes))

    def decode(self) -> Generator[Progress, None, None]:
        """Decode the file that was chosen, and measure it; the other files are deleted."""
        encode = self.chosen
        for other in self._encodes[:-1]:
            other.path.unlink()
        path = encode.path.replace(self.output)
        with PeakMemory() as memory:
            self._decoded, seconds = yield from _timed(_iter_decoded(self.codec, path, self.clip))
        n_frames, pixels = len(self.clip), self.clip.info.width * self.clip.info.height
        peaks = [peak for peak in (encode.memory, memory.bytes) if peak is not None]
        self.result = Reconstruction(
            model=self.name, path=path, quality=encode.quality, bytes=encode.n_bytes,
            bits_per_pixel=8 * encode.n_bytes / (n_frames * pixels),
            latent_ratio=_latent_ratio(self.codec, path, pixels),
            **(yield from _iter_measured(self.clip, self.decoded)),
            encode_seconds=encode.seconds / n_frames, decode_seconds=seconds / n_frames,
            memory_bytes=max(peaks, default=None), notes=encode.notes + self.notes)

    def drift(self, passes: int) -> Generator[Progress, None, None]:
        """Compress what came back, and again, at the same quality; measure each against the clip.
        """
        assert self.result is not None
        psnrs, again = [self.result.psnr], self.output.with_suffix(".again.aev")
        with ExitStack() as stack:
            decoded = self.decoded
            for _ in range(1, passes):
                yield from iter_compress(decoded, again, model=self.codec, force=True, audio=False,
                                         quality=self.result.quality, effort=self.effort,
                                         measure=False)
                decoded = yield from _iter_decoded(self.codec, again, self.clip)
                stack.callback(decoded.close)
                distortion = Distortion(with_ms_ssim=False)
                for before, after in zip(self.clip, decoded, strict=True):
                    distortion.add(to_yuv420(before, self.clip.info.colour), after)
                psnrs.append(distortion.psnr)
        again.unlink()
        self.result = replace(self.result, drift=tuple(psnrs))

    def close(self) -> None:
        """Delete the decoded frames."""
        if self._decoded is not None:
            self._decoded.close()


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

    def attempt(self, run: _Run, stage: str, job: Any, n_steps: int = 1
                ) -> Generator[ArenaProgress, None, None]:
        """Run one stage of a model unless it has failed; an error is kept in `run.error`."""
        if run.error is None:
            try:
                yield from self.run(run.name, stage, job(), n_steps)
                self._left[run.name] -= n_steps
            except _FAILURES as error:
                run.error = error
                self._done += self._left[run.name]


def _remaining(runs: Sequence[_Run]) -> list[_Run]:
    """Return those that have not failed.

    Raises:
        Exception: all have failed; the error of the first one.
    """
    found = [run for run in runs if run.error is None]
    if not found:
        assert runs[0].error is not None
        raise runs[0].error
    return found


def _timed(job: Generator[Progress, None, _Result]
           ) -> Generator[Progress, None, tuple[_Result, float]]:
    """Run a job; return its result and the seconds that it took, without those of the caller."""
    seconds = 0.0
    with closing(job):
        while True:
            began = time.perf_counter()
            try:
                progress = next(job)
            except StopIteration as end:
                return end.value, seconds + time.perf_counter() - began
            seconds += time.perf_counter() - began
            yield progress


def _iter_decoded(codec: Codec, path: Path, original: DecodedClip
                  ) -> Generator[Progress, None, DecodedClip]:
    """Decode a file to 8-bit 4:2:0 with the times of its original.

    Raises:
        AEHubError: it has another number of frames.
    """
    info = replace(original.info, pictures=YUV420)
    decoded = DecodedClip(path.name, info)
    with ExitStack() as undo, open_reader(path) as reader:
        undo.callback(decoded.close)
        load_for_file(reader.header, codec)
        frames = undo.enter_context(closing(decode_frames(reader, codec)))
        for times, frame in zip(original.times, frames, strict=False):
            decoded.add(Frame(to_yuv420(frame.picture, info.colour), *times))
            yield Progress(len(decoded), len(original))
        if len(decoded) < len(original) or next(frames, None) is not None:
            raise AEHubError(f"{codec.name} does not give back the {len(original)} frames that it "
                             "was given.")
        decoded.finish(info)
        undo.pop_all()
    return decoded


def _latent_ratio(codec: Codec, path: Path, pixels: int) -> float:
    """Return the numbers of R, G and B in a picture over those in its latents, in the first group.
    """
    with open_reader(path) as reader:
        group = next(reader.groups())
        counts = [sum(latent.size for latent in codes.latents)
                  for codes in codec.codes(reader.header, group)]
    return 3 * pixels * len(counts) / max(1, sum(counts))


def _iter_measured(original: DecodedClip, decoded: DecodedClip
                   ) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a reconstruction; returns fields of `Reconstruction`."""
    distortion, colour = Distortion(), original.info.colour
    channels, flicker, before = np.zeros(3), list[float](), None
    for number, (source, result) in enumerate(zip(original, decoded, strict=True), 1):
        reference = to_yuv420(source, colour)
        distortion.add(reference, result)
        # The error of a difference of two frames is the difference of their errors.
        error = result[0].astype(np.int32) - reference[0]
        if before is not None:
            flicker.append(float(np.square(error - before).mean()))
        before = error
        channels += (to_rgb(result, colour).mean((0, 1))
                     - to_rgb(source, colour).mean((0, 1)))
        yield Progress(number, len(original))
    red, green, blue = (float(channel) for channel in channels / len(original))
    return {"psnr": distortion.psnr, "ms_ssim": distortion.ms_ssim,
            "flicker_psnr": psnr_of_mse(sum(flicker) / len(flicker)) if flicker else None,
            "first_psnr": distortion.frame_psnrs[0], "colour_errors": (red, green, blue)}


def _report(clip: DecodedClip, prepared: Path, stacked: Path, runs: Sequence[_Run],
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
