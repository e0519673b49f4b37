"""Two checkouts of AEHub by turns: speed of encoding and decoding, or rate at equal quality.

    python docs/measure/paired.py BEFORE AFTER CLIPS [--efforts 5,0] [--runs 5] [--quality 50]
    python docs/measure/paired.py BEFORE AFTER CLIPS --rates 0f:33f [--efforts 5,0]

BEFORE and AFTER are folders of checkouts, run with the Python of this command; a checkout without
efforts encodes in its one way.

Speed: each process loads the model, makes and reads a file once to warm up, then measures, file to
frames in memory and clip to file in memory. Prints medians, and the median of the ratios of runs
next to each other. Rates: of a part of each clip at qualities 20, 35, 50, 65 and 80; prints the
Bjøntegaard rate difference to BEFORE in PSNR and MS-SSIM, of each clip and their mean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from aehub.media.metrics import bd_rate, ms_ssim_db

_SETUP = """
import inspect, io, json, sys, time
import aehub

clip, given, efforts = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
model = aehub.load("d4-codec", device="cpu")

has_efforts = "effort" in inspect.signature(aehub.compress).parameters

def encode(effort, **options):
    stream, own = io.BytesIO(), {"effort": effort} if has_efforts else {}
    return aehub.compress(clip, stream, model=model, **own, **options), stream.getvalue()

def by_effort(measure):
    found = {}
    for effort in efforts:
        found[effort] = measure(effort) if has_efforts or not found else found[efforts[0]]
    return {f"encode, effort {effort}": value for effort, value in found.items()}
"""
_SPEED = _SETUP + """
def decode(data):
    return sum(1 for _ in aehub.decompress(io.BytesIO(data), model=model))

def seconds(job, *arguments, **options):
    began = time.perf_counter()
    job(*arguments, **options)
    return time.perf_counter() - began

def encode_seconds(effort):
    encode(effort, quality=given, measure=False)
    return seconds(encode, effort, quality=given, measure=False) / n_frames

data = encode(efforts[0], quality=given, measure=False)[1]
n_frames = decode(data)
print(json.dumps({"decode": seconds(decode, data) / n_frames} | by_effort(encode_seconds)))
"""
_RATES = _SETUP + """
def points(effort):
    reports = [encode(effort, quality=quality, trim=given)[0] for quality in (20, 35, 50, 65, 80)]
    return [(report.bytes, report.psnr, report.ms_ssim) for report in reports]

print(json.dumps(by_effort(points)))
"""


def run(job: str, checkout: Path, clip: Path, given: Any, efforts: Sequence[int]) -> dict[str, Any]:
    """What a job finds in a checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(
        [sys.executable, "-P", "-c", job, str(clip.resolve()), json.dumps(given),
         json.dumps(efforts)],
        env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def print_speed(checkouts: list[Path], clips: list[Path], efforts: list[int], quality: float,
                n_runs: int) -> None:
    """Print a row for each clip and job."""
    print("| clip | job | before, ms a frame | after | times as fast | frames/s |")
    print("|---|---|---|---|---|---|")
    for clip in clips:
        pairs = []
        for number in range(n_runs):
            turn = 1 if number % 2 == 0 else -1
            pairs.append([run(_SPEED, checkout, clip, quality, efforts)
                          for checkout in checkouts[::turn]][::turn])
        for job in pairs[0][1]:
            before, after = (median(pair[side][job] for pair in pairs) for side in (0, 1))
            ratio = median(pair[0][job] / pair[1][job] for pair in pairs)
            print(f"| {clip.stem} | {job} | {1000 * before:.1f} | {1000 * after:.1f} | "
                  f"{ratio:.2f} | {1 / after:.0f} |", flush=True)


def print_rates(checkouts: list[Path], clips: list[Path], efforts: list[int], trim: str) -> None:
    """Print a row for each clip, and their mean."""
    names = [f"effort {effort}, {metric}" for effort in efforts for metric in ("PSNR", "MS-SSIM")]
    print("| clip | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    rows = []
    for clip in clips:
        before, after = (run(_RATES, checkout, clip, trim, efforts) for checkout in checkouts)
        row = []
        for effort, points in after.items():
            for part, scale in ((1, float), (2, ms_ssim_db)):
                curves = [[(point[0], scale(point[part])) for point in one]
                          for one in (before[effort], points)]
                row.append(bd_rate(*curves).percent or 0.0)
        rows.append(row)
        print(f"| {clip.stem} | " + " | ".join(f"{x:+.2f} %" for x in row) + " |", flush=True)
    means = (fmean(column) for column in zip(*rows, strict=True))
    print("| mean | " + " | ".join(f"{x:+.2f} %" for x in means) + " |")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--efforts", default="5,0")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--rates", metavar="PART")
    given = parser.parse_args()
    checkouts, efforts = [given.before, given.after], [int(e) for e in given.efforts.split(",")]
    if given.rates:
        print_rates(checkouts, given.clips, efforts, given.rates)
    else:
        print_speed(checkouts, given.clips, efforts, given.quality, given.runs)


if __name__ == "__main__":
    main()
