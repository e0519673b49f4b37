"""Time and rate of `aehub compress --effort`, from 0 to 9.

    python docs/measure/effort.py CLIP... [--efforts 0,5,9] [--trim 0f:25f] [--runs 3]

For each effort one row: processor time a frame and frames a second (decoding of the clip included,
quality 50, the fastest of some runs, the mean of the clips), and the Bjøntegaard rate difference to
the default effort by PSNR and by MS-SSIM, the mean of the clips and the worst of them.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import aehub
from aehub.config import DEFAULT_EFFORT, MAX_EFFORT
from aehub.media.metrics import bd_rate, ms_ssim_db

QUALITIES = (20, 35, 50, 65, 80)
TIMED = 50


class Measured(NamedTuple):
    """One clip at one effort: ms of processor time a frame, frames a second, (bytes, dB) points."""

    cpu: float
    fps: float
    psnr: list[tuple[float, float]]
    ms_ssim: list[tuple[float, float]]


def measure(model: aehub.Codec, clip: Path, effort: int, trim: str | None, runs: int) -> Measured:
    """Compress a clip at all qualities, and several times at one without measuring."""
    points = [aehub.compress(clip, io.BytesIO(), model=model, quality=quality, effort=effort,
                             trim=trim) for quality in QUALITIES]
    times = []
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        aehub.compress(clip, io.BytesIO(), model=model, quality=TIMED, effort=effort, trim=trim,
                       measure=False)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    frames = points[0].frames
    return Measured(
        1000 * min(cpu for cpu, _ in times) / frames, frames / min(wall for _, wall in times),
        [(p.bytes, p.psnr) for p in points if p.psnr is not None],
        [(p.bytes, ms_ssim_db(p.ms_ssim)) for p in points if p.ms_ssim is not None])


def differences(anchors: Sequence[Measured], tests: Sequence[Measured], metric: str) -> str:
    """Mean and worst rate difference over the clips, in percent."""
    found = [bd_rate(getattr(a, metric), getattr(t, metric)).percent
             for a, t in zip(anchors, tests, strict=True)]
    known = [percent for percent in found if percent is not None]
    return f"{statistics.mean(known):+.2f} % ({max(known):+.2f})" if known else "–"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--efforts", default=",".join(map(str, range(MAX_EFFORT + 1))))
    parser.add_argument("--trim")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    model = aehub.load()
    efforts = sorted({*map(int, options.efforts.split(",")), DEFAULT_EFFORT})
    rows = {effort: [measure(model, clip, effort, options.trim, options.runs)
                     for clip in options.clips] for effort in efforts}
    print("| effort | CPU, ms a frame | frames/s | rate by PSNR (worst) | by MS-SSIM (worst) |")
    print("|---|---|---|---|---|")
    for effort, row in rows.items():
        print(f"| {effort} | {statistics.mean(m.cpu for m in row):.1f} "
              f"| {statistics.mean(m.fps for m in row):.1f} "
              f"| {differences(rows[DEFAULT_EFFORT], row, 'psnr')} "
              f"| {differences(rows[DEFAULT_EFFORT], row, 'ms_ssim')} |")


if __name__ == "__main__":
    main()
