"""Decoding at 1/2, 1/4 and 1/8: time, and closeness to the whole picture made smaller.

    python docs/measure/scaled.py CLIPS [--quality 50] [--runs 3]

For each clip milliseconds a frame, file to pictures in memory, of time and of processor time: of
reading the codes alone, of whole decoding, and at each scale. Then, at each scale, the PSNR against
the means of areas of the whole pictures: of all frames, of the worst one, and its slope along the
clip by a fitted line, without the first frame.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from predicted import psnrs, slope

import aehub
from aehub.bitstream import open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.decoder import GroupDecoder
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader
from aehub.codecs.d4.planes import GRID
from aehub.codecs.d4.reconstruction import Reconstruction
from aehub.codecs.decompress import decode_frames
from aehub.hub import find
from aehub.media.picture import Picture
from aehub.media.scaling import downscale

SCALES = (Fraction(1, 2), Fraction(1, 4), Fraction(1, 8))


class _Nothing(Reconstruction):
    """Frames without pictures: integers are read, with the threads of decoding."""

    def decode(self, frame: FrameSyntax, references: Sequence[Any]) -> tuple[Any, Any]:
        return None, None

    def show(self, decoded: Any) -> Any:
        return None


def read_codes(file: Path, model: D4Codec) -> None:
    """Read the integers of all frames."""
    with open_reader(file) as reader:
        for group in reader.groups():
            codes = GroupReader(model.runtime, group.payload, group.header,
                                reader.header.coded_size(GRID, group.header.crop),
                                reader.header.coder)
            decoder = GroupDecoder(codes, lambda planes: planes, _Nothing(model.runtime, 0))
            for _ in decoder.pictures():
                pass


def decoded(file: Path, model: D4Codec, scale: Fraction = Fraction(1)) -> list[Picture]:
    """Pictures of a file."""
    with open_reader(file) as reader:
        return [frame.picture for frame in decode_frames(reader, model, scale)]


def seconds(runs: int, job: Callable[[], Any]) -> tuple[float, float]:
    """Least time and processor time of some runs after one that does not count."""
    job()
    found = []
    for _ in range(runs):
        began, cpu = time.perf_counter(), time.process_time()
        job()
        found.append((time.perf_counter() - began, time.process_time() - cpu))
    times, cpus = zip(*found, strict=True)
    return min(times), min(cpus)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    model = D4Codec.from_pretrained(find("d4-codec"))
    print("| clip | ms a frame | codes alone | whole | 1/2 | 1/4 | 1/8 | whole over 1/8 "
          "| 1/8 over codes |")
    print("|---" * 9 + "|")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "clip.aev")
        for clip in given.clips:
            aehub.compress(clip, file, model=model, quality=given.quality, audio=False,
                           measure=False, force=True)
            whole = decoded(file, model)
            times = [seconds(given.runs, lambda: read_codes(file, model))]
            times += [seconds(given.runs, lambda s=s: decoded(file, model, s))  # type: ignore[misc]
                      for s in (Fraction(1), *SCALES)]
            for kind, own in zip(("time", "CPU"), zip(*times, strict=True), strict=True):
                cells = [f"{1000 * t / len(whole):.1f}" for t in own]
                print(f"| {clip.stem} | {kind} | {' | '.join(cells)} | {own[1] / own[-1]:.2f} | "
                      f"{own[-1] / own[0]:.2f} |", flush=True)
            row = []
            for scale in SCALES:
                small = [downscale(picture, scale.denominator) for picture in whole]
                values = psnrs(small, decoded(file, model, scale))
                row.append((values.mean(), values.min(), slope(values[1:], len(values) - 1)))
            rows.append((clip.stem, row))
    print("\n| clip | " + " | ".join(f"{s}: PSNR | worst frame | slope" for s in SCALES) + " |")
    print("|---" * 10 + "|")
    for stem, row in rows:
        cells = [f"{mean:.1f} dB | {worst:.1f} dB | {along:+.1f} dB" for mean, worst, along in row]
        print(f"| {stem} | {' | '.join(cells)} |")
    means = np.array([[part[0] for part in row] for _, row in rows]).mean(0)
    print("| mean | " + " | ".join(f"{mean:.1f} dB | | " for mean in means) + " |")


if __name__ == "__main__":
    main()
