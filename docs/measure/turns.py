"""Edits of compressed files: exactness, change of size, and time.

    python docs/measure/turns.py CLIPS [--frames N] [--group N] [--seconds 10]

For each clip of the folder and each of the 8 elements of D4: the edited file decoded against the
decoded file transformed, the change of size, and whether the opposite edit gives the same codes
and bytes. Then the time of every edit of a clip of 640x360 relative to the time of decoding it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from speed import moving_clip

import aehub
from aehub.bitstream import open_reader
from aehub.editing.operations import Operation, parse
from aehub.media.file_type import list_folder
from aehub.media.metrics import MAX_DB, Distortion
from aehub.media.orientation import ELEMENTS, inverse, turn_picture
from aehub.media.picture import Picture

STEPS = {"identity": "rotate 0", "flip-horizontal": "flip horizontal",
         "flip-vertical": "flip vertical", "rotate-180": "rotate 180", "transpose": "transpose",
         "rotate-90": "rotate 90", "rotate-270": "rotate 270",
         "transverse": "transpose, rotate 180"}
FPS = 25


def planes_of(path: Path) -> list[Picture]:
    """The decoded frames of a file."""
    with aehub.open(path) as archive:
        return [archive.picture(number) for number in range(len(archive))]


def turned(clip: Path, arguments: argparse.Namespace, folder: Path) -> tuple[str, bool]:
    """(row of the table, True if every check passed) of one clip."""
    packed, there, back = (folder / f"{name}.aev" for name in ("packed", "there", "back"))
    aehub.compress(clip, packed, quality=arguments.quality, group=arguments.group, measure=False,
                   trim=f":{arguments.frames}f" if arguments.frames else None, force=True)
    with open_reader(packed) as reader:
        intra = not any(group.header.frame_types for group in reader.groups())
    before = planes_of(packed)
    worst, share, growth, same, min_psnr = 0, 0.0, 0.0, True, MAX_DB
    for name, g in ELEMENTS.items():
        result = aehub.edit(packed, there, parse(STEPS[name]), force=True)
        opposite = next(other for other, h in ELEMENTS.items() if h == inverse(g))
        aehub.edit(there, back, parse(STEPS[opposite]), force=True)
        same &= back.read_bytes() == packed.read_bytes()
        growth = max(growth, abs(result.bytes / result.bytes_before - 1))
        # The same bytes decode to the same pictures.
        found = before if there.read_bytes() == packed.read_bytes() else planes_of(there)
        differing, total, distortion = 0, 0, Distortion(with_ms_ssim=False)
        for one, two in zip(before, found, strict=True):
            wanted = turn_picture(one, g)
            distortion.add(wanted, two)
            for a, b in zip(wanted, two, strict=True):
                distance = np.abs(a.astype(np.int16) - b)
                worst = max(worst, int(distance.max()))
                differing, total = differing + int((distance > 0).sum()), total + distance.size
        share, min_psnr = max(share, differing / total), min(min_psnr, distortion.psnr)
    passed = same and growth < 0.005 and (
        worst <= 1 and share <= 1e-4 if intra else min_psnr >= 60)
    return (f"| {clip.stem} | {len(before)} | {worst} | {100 * share:.5f} % | {min_psnr:.1f} dB | "
            f"{100 * growth:.3f} % | {'yes' if same else 'NO'} |"), passed


def seconds_of(job: Callable[[], object], times: int = 3) -> float:
    """The fastest of some runs, in seconds."""
    runs = []
    for _ in range(times):
        began = time.perf_counter()
        job()
        runs.append(time.perf_counter() - began)
    return min(runs)


def timed(seconds: int, quality: float, folder: Path) -> bool:
    """Print the time of every kind of edit; return True if all are within their limits."""
    clip, packed, output = folder / "long.mkv", folder / "long.aev", folder / "output.aev"
    moving_clip(clip, 640, 360, seconds * FPS)
    aehub.compress(clip, packed, quality=quality, measure=False, force=True)
    halves = [folder / "first.aev", folder / "second.aev"]
    middle = seconds * FPS // 2 + 5
    for half, part in zip(halves, (f":{middle}f", f"{middle}f:"), strict=True):
        aehub.edit(packed, half, parse(f"trim {part}"), force=True)

    def edited(words: str) -> Callable[[], object]:
        operations: list[Operation] = parse(words)
        return lambda: aehub.edit(packed, output, operations, force=True)

    decoding = seconds_of(lambda: sum(1 for _ in aehub.decompress(packed)), 1)
    jobs = {"rotate 90": (edited("rotate 90"), 1 / 2),
            f"trim 3f:{middle}f": (edited(f"trim 3f:{middle}f"), 1 / 50),
            "reverse": (edited("reverse"), 1 / 50),
            "concat of two halves": (lambda: aehub.concat(halves, output, force=True), 1 / 50)}
    print(f"\n| edit of {seconds} s of 640x360 | seconds | of decoding ({decoding:.2f} s) |\n"
          "|---|---|---|")
    passed = True
    for name, (job, limit) in jobs.items():
        took = seconds_of(job)
        passed &= took <= limit * decoding
        print(f"| {name} | {took:.3f} | {100 * took / decoding:.2f} % |", flush=True)
    return passed


def main() -> None:
    """Print both tables; the exit code is 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--frames", type=int, help="of each clip; all by default")
    parser.add_argument("--group", type=int, help="frames of a group; 1 codes each alone")
    parser.add_argument("--seconds", type=int, default=10, help="of the moving picture; 0: none")
    parser.add_argument("--quality", type=float, default=50)
    arguments = parser.parse_args()
    print("Worst of the 8 elements, decoded after the edit against transformed after decoding:\n")
    print("| clip | frames | levels | values that differ | PSNR | size | opposite gives the file |")
    print("|---|---|---|---|---|---|---|")
    passed = True
    with tempfile.TemporaryDirectory() as name:
        for clip in list_folder(arguments.clips).clips:
            row, clip_passed = turned(clip, arguments, Path(name))
            passed &= clip_passed
            print(row, flush=True)
        if arguments.seconds:
            passed &= timed(arguments.seconds, arguments.quality, Path(name))
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
