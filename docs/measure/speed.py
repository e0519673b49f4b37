"""Encoding and decoding speed of `d4-codec`.

    python docs/measure/speed.py [--frames 64] [--quality 50]

Generates clips (a pan over smooth noise with edges) at 256x256 and 640x360, writes them losslessly,
compresses and decompresses them: file to frames in memory, best of three. `profile.py` shows where
the time goes.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import aehub
from aehub import threads
from aehub.bitstream import open_reader
from aehub.codecs.decompress import decode_frames
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


def best_seconds(times: int, job: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
                 ) -> float:
    """Seconds of the fastest run, after one that does not count."""
    job()
    seconds = []
    for _ in range(times):
        began = clock()
        job()
        seconds.append(clock() - began)
    return min(seconds)


def count_frames(file: Path, model: Any = None) -> int:
    """Decode a file to frames in memory, by default with the model that it names."""
    with open_reader(file) as reader:
        loaded = aehub.load(reader.header.model) if model is None else model
        return sum(1 for _ in decode_frames(reader, loaded))


def measure(width: int, height: int, n_frames: int, quality: float) -> None:
    """Print the rows of one frame size."""
    with tempfile.TemporaryDirectory() as name:
        clip, file = Path(name, "clip.mkv"), Path(name, "clip.aev")
        moving_clip(clip, width, height, n_frames)
        with open_clip(clip) as source:
            info, frames = source.info, list(source)

        def encode() -> None:
            aehub.compress(clip, io.BytesIO(), quality=quality, measure=False)

        def read() -> None:
            with open_clip(clip) as source:
                assert sum(1 for _ in source) == n_frames

        def write() -> None:
            with open_writer(Path(name, "out.mp4"), info=info) as writer:
                for frame in frames:
                    writer.write(frame)

        aehub.compress(clip, file, quality=quality, measure=False)
        for label, job, media in (("encode", encode, read),
                                  ("decode", lambda: count_frames(file), write)):
            cells = [best_seconds(3, job), best_seconds(3, job, time.process_time),
                     best_seconds(3, media)]
            print(f"| {label} {width}x{height} | {n_frames / cells[0]:.0f} | "
                  + " | ".join(f"{1000 * cell / n_frames:.1f}" for cell in cells) + " |")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--quality", type=float, default=50)
    arguments = parser.parse_args()
    print(f"{threads.workers()} threads, quality {arguments.quality:g}, ms per frame\n")
    print("| | frames/s | ms | of processor time | video in or out |\n|---|---|---|---|---|")
    for size in ((256, 256), (640, 360)):
        measure(*size, arguments.frames, arguments.quality)


if __name__ == "__main__":
    main()
