"""Slope of PSNR along a clip in standard codecs, for comparison with `predicted.py`.

    python docs/measure/slopes.py CLIPS

For each clip of the folder one row: what a line fitted over the first 32 frames, and over all 129
of the clip played forward and backward, rises by in dB; and the mean PSNR of those 129.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from predicted import forward_and_backward, psnrs, slope

from aehub.measure.video_codecs import svtav1, x264, x265
from aehub.media.file_type import list_folder

# Constant rate factors for a mean PSNR of 33 to 42 dB on most clips.
CODECS = ((x264("medium"), 27), (x265("medium"), 29), (svtav1(6), 40))
LENGTHS = (32, 129)


def row(clip: Path) -> list[str]:
    """The slopes and the mean of one clip, codec by codec."""
    info, frames = forward_and_backward(clip, max(LENGTHS))
    found = []
    for codec, quality in CODECS:
        values = psnrs(frames, list(codec.encode(frames, info, quality).decoded))
        found += [f"{slope(values, n):+.2f} dB" for n in LENGTHS]
        found.append(f"{values.mean():.2f} dB")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    clips = list_folder(parser.parse_args().clips).clips
    heads = [f"{codec.name}, {column}" for codec, _ in CODECS
             for column in (*(f"{n} frames" for n in LENGTHS), "mean")]
    print("| clip | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for clip in clips:
        print(f"| {clip.stem} | " + " | ".join(row(clip)) + " |", flush=True)


if __name__ == "__main__":
    main()
