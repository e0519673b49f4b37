"""Gain of inter prediction on real clips, and stability of its loop.

    python docs/measure/predicted.py CLIPS [--model NAME]

For each clip of the folder one row: the rate that predicted frames save against `--group 1` (every
frame alone) at equal PSNR; the slope of PSNR along a group of 32 and of 128 frames (the clip played
forward and backward) in dB over that length, as it is and less the slope that the same frames have
when each is coded alone, which is the content's; and, after 128 frames, how far apart decoders in
float32 and float64 are, in dB, and whether all their codes are the same.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import aehub
from aehub.bitstream import open_reader
from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.decoder import GroupDecoder
from aehub.codecs.d4.frame_coding import GroupReader
from aehub.codecs.decompress import decode_frames, decode_group
from aehub.hub import find
from aehub.measure.model_codec import write_lossless
from aehub.media.clip import open_clip
from aehub.media.file_type import list_folder
from aehub.media.metrics import Distortion, bd_rate
from aehub.media.picture import ClipInfo, Picture

QUALITIES = (25, 60)
QUALITY = 45


def saving(clip: Path, model: D4Codec, folder: Path) -> float | None:
    """Percent of rate that predicted frames take more than `--group 1`, below 0 if less."""
    curves = []
    for group in (1, None):
        points = []
        for quality in QUALITIES:
            result = aehub.compress(clip, folder / "clip.aev", model=model, quality=quality,
                                    group=group, audio=False, measure=False, force=True)
            points.append((result.bytes, psnr_of(clip, folder / "clip.aev", model)))
        curves.append(points)
    return bd_rate(*curves).percent


def psnr_of(clip: Path, compressed: Path, model: D4Codec) -> float:
    """PSNR of a whole clip."""
    distortion = Distortion(with_ms_ssim=False)
    with open_clip(clip) as opened, open_reader(compressed) as reader:
        for original, result in zip(opened, decode_frames(reader, model), strict=True):
            distortion.add(original.picture, result.picture)
    return distortion.psnr


def forward_and_backward(clip: Path, n_frames: int) -> tuple[ClipInfo, list[Picture]]:
    """A clip played forward and backward until it has so many frames."""
    with open_clip(clip) as opened:
        info, frames = opened.info, [frame.picture for frame in opened]
    period = [*frames, *frames[-2:0:-1]]
    return info, [period[t % len(period)] for t in range(n_frames)]


def psnrs(frames: list[Picture], decoded: list[Picture]) -> np.ndarray:
    """PSNR of each frame."""
    found = []
    for original, result in zip(frames, decoded, strict=True):
        distortion = Distortion(with_ms_ssim=False)
        distortion.add(original, result)
        found.append(distortion.psnr)
    return np.array(found)


def slope(values: np.ndarray, n: int) -> float:
    """How much the first `n` values rise over their length, by a fitted line."""
    return float(np.polyfit(np.arange(n) / (n - 1), values[:n], 1)[0])


def coded(clip: Path, file: Path, model: D4Codec, group: int | None) -> list[Picture]:
    """What a clip decodes to, once it is compressed into `file`."""
    aehub.compress(clip, file, model=model, quality=QUALITY, group=group, audio=False,
                   measure=False, force=True)
    with open_reader(file) as reader:
        return [planes for group in reader.groups()
                for planes in decode_group(model, reader.header, group)]


def loop(clip: Path, model: D4Codec, exact: D4Codec, folder: Path
         ) -> tuple[list[float], float, bool]:
    """(slopes over 32 and over all frames, the same less the content's; dB between decoders of two
    precisions at the end; whether codes are the same)."""
    info, frames = forward_and_backward(clip, 129)
    write_lossless(folder / "long.mkv", frames, info)
    alone = psnrs(frames, coded(folder / "long.mkv", folder / "alone.aev", model, 1))
    found = psnrs(frames, coded(folder / "long.mkv", folder / "long.aev", model, None))
    slopes = [slope(values, n) for values in (found, found - alone) for n in (32, len(frames))]
    with open_reader(folder / "long.aev") as reader:
        (last,) = list(reader.groups())[-1:]
        size = reader.header.coded_size(32, last.header.crop)

        def read(codec: D4Codec) -> GroupReader:
            return GroupReader(codec.runtime, last.payload, last.header, size, reader.header.coder)

        pairs = zip(*(GroupDecoder(read(codec), lambda planes: planes).pictures()
                      for codec in (model, exact)), strict=True)
        distance = 0.0
        for (number, one), (_, other) in pairs:
            if number == last.header.n_frames - 1:
                distance = float((one.y.double() - other.y).square().mean())
        codes = zip(*(read(codec).frames() for codec in (model, exact)), strict=True)
        same = all(torch.equal(a.codes.latent.double(), b.codes.latent.double())
                   and torch.equal(a.codes.hyper.double(), b.codes.hyper.double())
                   for a, b in codes)
    apart = float("inf") if distance == 0 else -10 * np.log10(distance)
    return slopes, apart, same


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="d4-codec")
    arguments = parser.parse_args()
    model = aehub.load(arguments.model)
    exact = D4Codec(checkpoint.load(find(arguments.model)), dtype=torch.float64)
    print("| clip | rate against `--group 1` | slope, 32 frames | slope, 129 frames "
          "| less that of intra coding, 32 | less that of intra coding, 129 "
          "| float32 to float64 | codes |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        for clip in list_folder(arguments.clips).clips:
            percent = saving(clip, model, Path(name))
            slopes, apart, same = loop(clip, model, exact, Path(name))
            print(f"| {clip.stem} | {percent:+.1f} % | "
                  + " | ".join(f"{value:+.2f} dB" for value in slopes)
                  + f" | {apart:.0f} dB | {'the same' if same else 'DIFFER'} |", flush=True)


if __name__ == "__main__":
    main()
