"""Where the time of encoding and decoding goes, by stage: what `profile.py` prints.

Every stage is a few functions of the codec, listed here alone.
"""

from __future__ import annotations

import argparse
import inspect
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from threading import local
from typing import Any, NamedTuple

import numpy as np
import torch
from speed import best_seconds, count_frames, moving_clip

import aehub
from aehub import threads

_D4 = "aehub.codecs.d4"
WATCHED: dict[str, tuple[str, ...]] = {
    "video in": ("aehub.media.video_reader:VideoReader.frames",),
    "scene cuts, grouping": ("aehub.codecs.gop:split_into_mini_gops",),
    "conversion from 8 bits": (f"{_D4}.planes:to_batch",),
    "motion search": (
        f"{_D4}.motion.search:search", f"{_D4}.motion.search:global_motion",
        f"{_D4}.motion.search:phase_correlation", f"{_D4}.motion.search:LumaPlane.__init__",
        f"{_D4}.motion.rdo:mean_sads", f"{_D4}.motion.rdo:choose_modes"),
    "motion refinement": (f"{_D4}.motion.rdo:refine_vectors",),
    "analysis": (f"{_D4}.network:FrameNetwork.analyse",),
    "integer networks": (
        f"{_D4}.entropy_model:ScaleNetwork.hyper_index",
        f"{_D4}.entropy_model:ScaleNetwork.features", f"{_D4}.entropy_model:ScaleNetwork.forward",
        f"{_D4}.entropy_model:SparseBlocks.of"),
    "mean networks": (
        f"{_D4}.entropy_model:MeanNetwork.features", f"{_D4}.entropy_model:MeanNetwork.forward"),
    "quantisation": (f"{_D4}.quantisation:Quantiser.__call__",),
    "motion symbols": (f"{_D4}.motion.coding:MotionCoder.write",
                       f"{_D4}.motion.coding:MotionCoder.read"),
    "latent symbols": ("aehub.coding.latent_coder:LatentWriter.write",
                       "aehub.coding.latent_coder:LatentReader.read"),
    "prediction": (
        f"{_D4}.motion.compensate:predict", f"{_D4}.motion.compensate:predict_planes",
        f"{_D4}.reference_buffer:temporal_context", f"{_D4}.reference_buffer:reference_levels"),
    "synthesis": (f"{_D4}.network:FrameNetwork.synthesise",),
    "post-filter": (f"{_D4}.network:FrameNetwork.apply_post_filter",),
    "conversion to 8 bits": (f"{_D4}.planes:from_batch",),
}
"""Stage -> its functions, as module:name. What one calls of another counts for the other."""


def _direct(result: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *_: Any) -> int:
    return result.numel() * weight[0].numel()


def _winograd(result: np.ndarray, x: np.ndarray, layer: Any, *_: Any) -> int:
    batch, height, _, columns, _ = x.shape
    return batch * (height - 2) * 4 * (columns - 1) * math.prod(layer.shape)


def _bytes(result: torch.Tensor, x: torch.Tensor, packed: torch.Tensor, shape: tuple[int, ...],
           *_: Any) -> int:
    return result.numel() * math.prod(shape[1:])


CONVOLUTIONS: dict[str, Callable[..., int]] = {
    "torch.nn.functional:conv2d": _direct,
    "torch:conv2d": _direct,
    "torch.nn.functional:linear": _direct,
    "torch.ops.mkldnn:_convolution_pointwise": _direct,
    f"{_D4}.winograd:convolved": _winograd,
    f"{_D4}.integer_conv:convolved_bytes": _bytes,
}
"""Functions that convolve -> multiplications of a direct convolution, of result and arguments."""
REST = "rest"


class Stage(NamedTuple):
    """Totals of a stage: processor seconds, multiplications of its convolutions."""

    seconds: float
    macs: int


class _Watch:
    """Time of each stage without that of stages within it, in every thread."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys([*WATCHED, REST], 0.0)
        self.macs = dict.fromkeys([*WATCHED, REST], 0)
        self._of_thread = local()

    def _open(self) -> list[list[Any]]:
        """Stages that the thread is in, each with the seconds of those within it."""
        if not hasattr(self._of_thread, "stack"):
            self._of_thread.stack = []
        stack: list[list[Any]] = self._of_thread.stack
        return stack

    @contextmanager
    def section(self, stage: str) -> Iterator[None]:
        """Count the block for a stage."""
        stack, began = self._open(), time.thread_time()
        stack.append([stage, 0.0])
        try:
            yield
        finally:
            spent = time.thread_time() - began
            self.seconds[stage] += spent - stack.pop()[1]
            if stack:
                stack[-1][1] += spent

    def timed(self, stage: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted; of a generator function, every step of its iterators."""
        @wraps(original)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.section(stage):
                return original(*arguments, **named)

        @wraps(original)
        def iterate(*arguments: Any, **named: Any) -> Any:
            iterator = original(*arguments, **named)
            try:
                while True:
                    with self.section(stage):
                        try:
                            item = next(iterator)
                        except StopIteration:
                            return
                    yield item
            finally:
                iterator.close()

        return iterate if inspect.isgeneratorfunction(original) else call

    def counted(self, macs: Callable[..., int], original: Callable[..., Any]
                ) -> Callable[..., Any]:
        """The convolution, its multiplications counted for the stage it is in."""
        def convolve(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            stack = self._open()
            self.macs[stack[-1][0] if stack else REST] += macs(result, *arguments)
            return result

        return convolve


def _resolve(place: str) -> tuple[Any, str, Any]:
    """(owner, name, value) of a place `module:name` or `module:Class.name`."""
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    try:
        owner: Any = torch.ops.mkldnn if module == "torch.ops.mkldnn" else import_module(module)
        for part in outer:
            owner = getattr(owner, part)
        return owner, name, inspect.getattr_static(owner, name, None) or getattr(owner, name)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"docs/measure/stages.py watches {place}, which is no more; name in its "
                         "table what does its work now.") from error


def _replace(stack: ExitStack, place: str, make: Callable[[Callable[..., Any]], Any]) -> None:
    """Replace a function until the stack is closed, in all modules that imported it by name."""
    owner, name, original = _resolve(place)
    bound = isinstance(original, (classmethod, staticmethod))
    new: Any = type(original)(make(original.__func__)) if bound else make(original)
    users = [owner] if inspect.isclass(owner) else [owner, *(
        module for key, module in list(sys.modules.items())
        if key.startswith("aehub") and module is not owner
        and module.__dict__.get(name) is original)]
    for user in users:
        stack.callback(setattr, user, name, original)
        setattr(user, name, new)


def by_stage(job: Callable[[], Any]) -> dict[str, Stage]:
    """Run a job and count its stages; `REST` is what none of them does.

    Raises:
        SystemExit: a function of the table is gone.
    """
    watch = _Watch()
    with ExitStack() as stack:
        for stage, places in WATCHED.items():
            for place in places:
                _replace(stack, place, partial(watch.timed, stage))
        for place, macs in CONVOLUTIONS.items():
            _replace(stack, place, partial(watch.counted, macs))
        began = time.process_time()
        job()
        watch.seconds[REST] = time.process_time() - began - sum(watch.seconds.values())
    return {stage: Stage(watch.seconds[stage], watch.macs[stage]) for stage in watch.seconds}


def convolution_peak(dtype: torch.dtype, n_threads: int) -> float:
    """Multiplications per second of the fastest of some dense 3x3 convolutions."""
    best = 0.0
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    for channels, side in ((64, 128), (128, 96), (256, 64)):
        x = torch.randn(1, channels, side, side).to(dtype, memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3)
        weight = weight.to(dtype, memory_format=torch.channels_last)
        with torch.inference_mode():
            seconds = best_seconds(8, lambda: torch.conv2d(x, weight, padding=1),  # noqa: B023
                                   time.thread_time if n_threads == 1 else time.perf_counter)
        best = max(best, channels**2 * 9 * side**2 / seconds)
    torch.set_num_threads(before)
    return best


def measure(width: int, height: int, n_frames: int, quality: float, peak: float) -> None:
    """Print the table of one frame size; `peak` in multiplications per second of one thread."""
    with tempfile.TemporaryDirectory() as name:
        clip, file = Path(name, "clip.mkv"), Path(name, "clip.aev")
        moving_clip(clip, width, height, n_frames)
        aehub.compress(clip, file, quality=quality, measure=False)
        jobs = (lambda: aehub.compress(clip, io.BytesIO(), quality=quality, measure=False),
                lambda: count_frames(file))
        tables, walls = [], []
        for job in jobs:
            threads.set_budget(1)
            tables.append(min((by_stage(job) for _ in range(3)),
                              key=lambda stages: sum(stage.seconds for stage in stages.values())))
            threads.set_budget(threads.cores())
            walls.append(n_frames / best_seconds(3, job))
    print(f"\n{width}x{height}, {n_frames} frames, quality {quality:g}\n")
    print("| stage " + "".join(f"| {way}, ms | kMAC/pixel | of the peak "
                               for way in ("encode", "decode")) + "|\n" + "|---" * 7 + "|")
    for stage in tables[0]:
        print(f"| {stage} | " + " | ".join(
            _cells(table[stage], n_frames, width * height, peak) for table in tables) + " |")
    sums = [Stage(*map(sum, zip(*table.values(), strict=True))) for table in tables]
    print("| all | " + " | ".join(
        _cells(total, n_frames, width * height, peak) for total in sums) + " |")
    print(f"\n{threads.cores()} threads: {walls[0]:.1f} frames/s encoded, {walls[1]:.1f} decoded.")


def _cells(stage: Stage, n_frames: int, pixels: int, peak: float) -> str:
    """Milliseconds a frame, kMAC a pixel, share of the peak; empty where there is none."""
    if stage.seconds == 0:
        return " | | "
    time_cell = f"{1000 * stage.seconds / n_frames:.2f}"
    if not stage.macs:
        return f"{time_cell} | | "
    return (f"{time_cell} | {stage.macs / 1000 / n_frames / pixels:.2f} | "
            f"{stage.macs / stage.seconds / peak:.0%}")


def main(description: str | None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256x256,640x360,1280x720")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--quality", type=float, default=50)
    arguments = parser.parse_args()
    print("Convolution peak in GMAC/s:\n\n| | one thread | all threads |\n|---|---|---|")
    peaks = {}
    for dtype in (torch.float32, torch.bfloat16):
        one, every = (convolution_peak(dtype, n) for n in (1, threads.cores()))
        peaks[dtype] = one
        print(f"| {str(dtype).removeprefix('torch.')} | {one / 1e9:.0f} | {every / 1e9:.0f} |")
    for size in arguments.sizes.split(","):
        width, height = map(int, size.split("x"))
        measure(width, height, arguments.frames, arguments.quality, peaks[torch.float32])
