"""Speed of two checkouts of AEHub, by turns: encoding at several efforts, and decoding.

    python docs/measure/paired.py BEFORE AFTER CLIPS [--efforts 5,0] [--runs 5] [--quality 50]

BEFORE and AFTER are folders of checkouts, run with the Python of this command. Each process loads
the model, makes and reads a file once to warm up, then measures, file to frames in memory and clip
to file in memory. A checkout without efforts encodes in its one way. Prints medians, and the median
of the ratios of runs next to each other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

_JOB = """
import io, json, sys, time
import aehub

clip, quality, efforts = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
model = aehub.load("d4-codec", device="cpu")

def encode(**options):
    stream = io.BytesIO()
    aehub.compress(clip, stream, model=model, quality=quality, measure=False, **options)
    return stream.getvalue()

def decode(data):
    return sum(1 for _ in aehub.decompress(io.BytesIO(data), model=model))

def seconds(job, *arguments, **options):
    began = time.perf_counter()
    job(*arguments, **options)
    return time.perf_counter() - began

data = encode()
n_frames = decode(data)
found = {"decode": seconds(decode, data) / n_frames}
try:
    for effort in efforts:
        encode(effort=effort)
        found[f"encode, effort {effort}"] = seconds(encode, effort=effort) / n_frames
except TypeError:
    found |= dict.fromkeys([f"encode, effort {effort}" for effort in efforts],
                           seconds(encode) / n_frames)
print(json.dumps(found))
"""


def run(checkout: Path, clip: Path, quality: float, efforts: list[int]) -> dict[str, float]:
    """Seconds a frame of each job of a checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _JOB, str(clip.resolve()), str(quality), json.dumps(efforts)],
        env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE)
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--efforts", default="5,0")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quality", type=float, default=50)
    arguments = parser.parse_args()
    efforts = [int(effort) for effort in arguments.efforts.split(",")]
    print("| clip | job | before, ms a frame | after | times as fast | frames/s |")
    print("|---|---|---|---|---|---|")
    for clip in arguments.clips:
        pairs = []
        for number in range(arguments.runs):
            order = [arguments.before, arguments.after][::1 if number % 2 == 0 else -1]
            results = [run(checkout, clip, arguments.quality, efforts) for checkout in order]
            pairs.append(results[::1 if number % 2 == 0 else -1])
        for job in pairs[0][1]:
            before, after = (median(pair[side][job] for pair in pairs) for side in (0, 1))
            ratio = median(pair[0][job] / pair[1][job] for pair in pairs)
            print(f"| {clip.stem} | {job} | {1000 * before:.1f} | {1000 * after:.1f} | "
                  f"{ratio:.2f} | {1 / after:.0f} |", flush=True)


if __name__ == "__main__":
    main()
