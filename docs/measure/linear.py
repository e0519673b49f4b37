"""Cost by size and length: time a frame and a pixel, peak memory of a process.

    python docs/measure/linear.py [--sizes 256x256,...,1920x1080] [--seconds 2,10,60] [--quality 50]

The sizes are measured over the first length, the lengths at the first size. Clips are the pan of
speed.py at 25 frames a second; each is compressed and decompressed (file to frames in memory) in a
process of its own, after a few frames that do not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from speed import count_frames, moving_clip

import aehub

FPS = 25
_WARM_UP = 9
_BYTES = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ru_maxrss."""


def run(source: Path, target: Path | None, quality: float) -> None:
    """Compress to `target`, or decode where there is none; print seconds, processor, memory."""
    if target is None:
        list(islice(aehub.decompress(source), _WARM_UP))
    else:
        aehub.compress(source, target, trim=f"0f:{_WARM_UP}f", measure=False)
    began, used = time.perf_counter(), time.process_time()
    if target is None:
        count_frames(source)
    else:
        aehub.compress(source, target, quality=quality, measure=False, force=True)
    print(json.dumps([time.perf_counter() - began, time.process_time() - used,
                      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES]))


def measure(width: int, height: int, seconds: float, quality: float) -> None:
    """Print the row of one size and length."""
    n_frames, cells = round(seconds * FPS), []
    with tempfile.TemporaryDirectory() as name:
        clip, file = Path(name, "clip.mp4"), Path(name, "clip.aev")
        moving_clip(clip, width, height, n_frames)
        for arguments in ([clip, file], [file]):
            done = subprocess.run(
                [sys.executable, __file__, "--run", *map(str, arguments), "--quality",
                 str(quality)], check=True, stdout=subprocess.PIPE)
            wall, cpu, memory = json.loads(done.stdout)
            cells += [f"{1000 * wall / n_frames:.1f}", f"{1000 * cpu / n_frames:.1f}",
                      f"{1e9 * wall / n_frames / width / height:.0f}", f"{memory / 1e6:.0f}"]
    print(f"| {width}x{height} | {seconds:g} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256x256,640x360,1280x720,1920x1080")
    parser.add_argument("--seconds", default="2,10,60")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--run", nargs="+", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run[0], *[*arguments.run[1:], None][:1], quality=arguments.quality)
        return
    sizes = [tuple(map(int, size.split("x"))) for size in arguments.sizes.split(",")]
    lengths = [float(length) for length in arguments.seconds.split(",")]
    print("| | s " + "".join(f"| {way}, ms a frame | of processor time | ns a pixel | MB "
                             for way in ("encode", "decode")) + "|\n" + "|---" * 10 + "|")
    for (width, height), seconds in [*((size, lengths[0]) for size in sizes),
                                     *((sizes[0], length) for length in lengths[1:])]:
        measure(width, height, seconds, arguments.quality)


if __name__ == "__main__":
    main()
