"""Scaling to twice the size: learned upscaling against Lanczos interpolation.

    python docs/measure/upscaled.py CLIPS [--qualities 30,50,80] [--by area] [--frames 33]

Each clip is made half as large, compressed, and decoded at twice its size in both ways. Prints
PSNR, (6Y + U + V)/8, against the original of both, and the gain; the mean of the clips and the
least gain. Sides are cropped to multiples of 4 first.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

import aehub
from aehub.bitstream import open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.decompress import decode_frames
from aehub.hub import find
from aehub.measure.model_codec import write_lossless
from aehub.media.clip import open_clip
from aehub.media.metrics import Distortion
from aehub.media.picture import Picture
from aehub.media.scaling import upscale
from aehub.training.recipes.d4_upscale import halved


def psnrs(clip: Path, model: D4Codec, quality: float, by: str, n_frames: int, folder: Path
          ) -> tuple[float, float]:
    """PSNR of Lanczos interpolation and of the learned upscaling."""
    with open_clip(clip) as opened:
        info = opened.info
        originals = [frame.picture for _, frame in zip(range(n_frames), opened, strict=False)]
    width, height = (n // 4 * 4 for n in originals[0].size)
    originals = [Picture([picture[0][:height, :width],
                          *(plane[:height // 2, :width // 2] for plane in picture[1:])])
                 for picture in originals]
    small = folder / "small.mkv"
    write_lossless(small, [halved(picture, lanczos=by == "lanczos") for picture in originals], info)
    file = io.BytesIO()
    aehub.compress(small, file, model=model, quality=quality, measure=False)
    found = []
    for scale in (Fraction(1), Fraction(2)):
        distortion = Distortion(with_ms_ssim=False)
        file.seek(0)
        with open_reader(file) as reader:
            for original, frame in zip(originals, decode_frames(reader, model, scale), strict=True):
                distortion.add(original, upscale(frame.picture) if scale == 1 else frame.picture)
        found.append(distortion.psnr)
    return found[0], found[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, help="folder; d4-codec by default")
    parser.add_argument("--qualities", default="30,50,80")
    parser.add_argument("--by", choices=["area", "lanczos"], default="area")
    parser.add_argument("--frames", type=int, default=33)
    given = parser.parse_args()
    model = D4Codec.from_pretrained(given.model or find("d4-codec"))
    qualities = [float(quality) for quality in given.qualities.split(",")]
    print("| clip | " + " | ".join(f"quality {q:g}: Lanczos | learned | gain"
                                   for q in qualities) + " |")
    print("|---" * (1 + 3 * len(qualities)) + "|")
    gains = []
    with tempfile.TemporaryDirectory() as name:
        for clip in given.clips:
            pairs = [psnrs(clip, model, quality, given.by, given.frames, Path(name))
                     for quality in qualities]
            gains.append([after - before for before, after in pairs])
            print(f"| {clip.stem} | " + " | ".join(
                f"{before:.2f} | {after:.2f} | {after - before:+.2f}" for before, after in pairs)
                + " |", flush=True)
    for label, values in (("mean", np.mean(gains, 0)), ("least", np.min(gains, 0))):
        print(f"| {label} | " + " | ".join(f" | | {gain:+.2f}" for gain in values) + " |")


if __name__ == "__main__":
    main()
