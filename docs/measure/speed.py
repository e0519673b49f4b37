"""Encoding and decoding speed of `d4-codec`, by part.

    python docs/measure/speed.py [--frames 64] [--quality 50]

Generates clips (a pan over smooth noise with edges) at 256x256 and 640x360, writes them losslessly,
compresses and decompresses them: file to frames in memory, best of three.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

import aehub
from aehub.bitstream import open_reader
from aehub.codecs import decompress, gop
from aehub.codecs.d4 import encoder, frame_coding, reference_buffer
from aehub.codecs.d4.motion.coding import MotionCoder
from aehub.coding import range_coder
from aehub.media.clip import open_clip
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.media.writer import open_writer


def texture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A 1/f picture with edges, uint8 [H, W]."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    field = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1 / width) ** 1.2,
                          (height, width))
    field = field / field.std()
    return np.clip(110 + 45 * field + 40 * (field > 0.8), 16, 235).astype(np.uint8)


def moving_clip(path: Path, width: int, height: int, n_frames: int) -> None:
    """Write a pan over a texture as lossless FFV1."""
    rng = np.random.default_rng(0)
    big = texture(height + 2 * n_frames, width + 2 * n_frames, rng)
    info = ClipInfo(width, height, Fraction(25), Fraction(1, 25))
    with open_writer(path, info=info) as writer:
        for t in range(n_frames):
            y = np.ascontiguousarray(big[t:t + height, 2 * t:2 * t + width])
            chroma = np.ascontiguousarray(255 - y[::2, ::2] // 2 - 60)
            writer.write(Frame(Picture((y, chroma, 255 - chroma)), t))


class Profiler:
    """Seconds spent inside chosen functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def watch(self, owner: Any, name: str, label: str) -> Iterator[None]:
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[label] = self.seconds.get(label, 0) + time.perf_counter() - began

        setattr(owner, name, timed)
        try:
            yield
        finally:
            setattr(owner, name, original)


@contextlib.contextmanager
def watched() -> Iterator[Profiler]:
    """Measure everything but the networks."""
    profiler = Profiler()
    with contextlib.ExitStack() as stack:
        for owner, name, label in (
                (range_coder.Encoder, "write", "coder"), (range_coder.Decoder, "read", "coder"),
                (MotionCoder, "write", "vectors"), (MotionCoder, "read", "vectors"),
                (encoder, "search", "search"), (encoder, "split_blocks", "search"),
                (encoder, "refine_vectors", "search"), (gop, "coarse_cost", "search"),
                (frame_coding, "predict", "prediction"), (encoder, "predict_planes", "prediction"),
                (reference_buffer, "temporal_context", "prediction")):
            stack.enter_context(profiler.watch(owner, name, label))
        yield profiler


def best_of(times: int, job: Callable[[], Any]) -> tuple[float, dict[str, float]]:
    """(seconds, shares) of the fastest run."""
    runs = []
    for _ in range(times):
        with watched() as profiler:
            began = time.perf_counter()
            job()
            runs.append((time.perf_counter() - began, profiler.seconds))
    return min(runs, key=lambda run: run[0])


def measure(width: int, height: int, n_frames: int, quality: float) -> None:
    """Print the rows of one frame size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        moving_clip(folder / "clip.mkv", width, height, n_frames)
        model = aehub.load()
        with open_clip(folder / "clip.mkv") as clip:
            frames = [frame for frame in clip]
        reading, _ = best_of(1, lambda: [0 for _ in _opened(folder / "clip.mkv")])
        aehub.compress(folder / "clip.mkv", folder / "clip.aev", quality=quality, measure=False)

        def encode() -> None:
            aehub.compress(folder / "clip.mkv", io.BytesIO(), quality=quality, measure=False)

        def decode() -> None:
            with open_reader(folder / "clip.aev") as reader:
                assert sum(1 for _ in decompress.decode_frames(reader, model)) == len(frames)

        seconds, shares = best_of(3, encode)
        row(f"encode {width}x{height}", n_frames, seconds, shares, reading)
        seconds, shares = best_of(3, decode)
        began = time.perf_counter()
        info = ClipInfo(width, height, Fraction(25), Fraction(1, 25))
        with open_writer(folder / "out.mp4", info=info) as writer:
            for frame in frames:
                writer.write(frame)
        row(f"decode {width}x{height}", n_frames, seconds, shares, 0,
            time.perf_counter() - began)


def _opened(path: Path) -> Iterator[Frame]:
    with open_clip(path) as clip:
        yield from clip


def row(label: str, n_frames: int, seconds: float, shares: dict[str, float], reading: float,
        writing: float | None = None) -> None:
    """One line of the table, in milliseconds per frame."""
    def per_frame(s: float) -> str:
        return f"{1000 * s / n_frames:.1f}"

    parts = [shares.get(name, 0.0) for name in ("search", "prediction", "vectors", "coder")]
    network = seconds - sum(parts) - reading
    cells = [network, *parts, reading]
    print(f"| {label} | {n_frames / seconds:.0f} | {per_frame(seconds)} | "
          + " | ".join(map(per_frame, cells))
          + f" | {'' if writing is None else per_frame(writing)} |")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--quality", type=float, default=50)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, quality {arguments.quality:g}, ms per frame")
    print("| | frames/s | all | networks | search | prediction | vectors | coder | video in "
          "| mp4 out |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size in ((256, 256), (640, 360)):
        measure(*size, arguments.frames, arguments.quality)


if __name__ == "__main__":
    main()
