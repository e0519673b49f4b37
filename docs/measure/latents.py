"""Latents of an autoencoder as bits: our stream against deflate and JPEG XL of the same integers.

    pip install imagecodecs
    python docs/measure/latents.py MODEL CLIPS... [--frames 9] [--loss 0.5] [--flat]

For each clip: PSNR in RGB of the model's own reconstruction, of the first frame and of all, without
quantisation; then, at the quality where it is `--loss` dB lower, the bytes of a group as AEHub
writes it, of the best of deflate at level 9 on three layouts of the integers, and of the best of
lossless JPEG XL at effort 7 and 9 on two layouts (planes below each other, frame by frame and
channel by channel). Integers of 8 bits where they fit, 16 otherwise. With --flat all channels have
one step instead of steps that follow the decoder's sensitivity.
"""

from __future__ import annotations

import argparse
import zlib
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np

import aehub
from aehub.codecs.quantised.codec import QuantisedAutoencoder, segments
from aehub.codecs.quantised.latent_coding import LatentFrameWriter, step_numbers, steps_of
from aehub.media.clip import open_clip
from aehub.media.conversion import to_rgb

_STEPS = 7
"""Bisections of the quality: to a hundredth of a dB."""


def psnr(frames: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR in dB of uint8 [T, H, W, 3] from the mean squared error over all."""
    return float(10 * np.log10(255 ** 2 / np.square(frames.astype(float) - decoded).mean()))


class Clip:
    """A clip with its latents."""

    def __init__(self, model: QuantisedAutoencoder, path: Path, n_frames: int, *, flat: bool
                 ) -> None:
        with open_clip(path) as clip:
            self.frames = np.stack([to_rgb(frame.picture, clip.info.colour)
                                    for frame in islice(clip, n_frames)])
        self._autoencoder = model.autoencoder
        self._parts = segments(len(self.frames), self._autoencoder.max_frames)
        self._latents = [self._autoencoder.encode(self.frames[part.start:part.stop])
                         for part in self._parts]
        self._sensitivity = (np.ones(self._autoencoder.latent_channels) if flat
                             else self._autoencoder.sensitivity(self._latents[0]))
        self.own = self._decode(self._latents)

    def _decode(self, latents: list[np.ndarray]) -> np.ndarray:
        size = self.frames.shape[2], self.frames.shape[1]
        return np.concatenate([self._autoencoder.decode(values, len(part), size)
                               for values, part in zip(latents, self._parts, strict=True)])

    def coded(self, quality: float) -> tuple[bytes, np.ndarray, np.ndarray]:
        """Stream, codes [N, C, h, w] and decoded frames at a quality."""
        numbers = step_numbers(quality, self._sensitivity)
        steps = steps_of(numbers)[:, None, None]
        writer = LatentFrameWriter(len(numbers))
        writer.write_head(self._autoencoder.max_frames, numbers)
        codes = [np.stack([writer.write(frame / steps) for frame in part])
                 for part in self._latents]
        return (writer.finish(), np.concatenate(codes),
                self._decode([part * steps for part in codes]))


def packed(codes: np.ndarray) -> list[np.ndarray]:
    """Layouts of the integers: frames, then channels, then positions outermost."""
    small = codes.astype(np.int8 if np.abs(codes).max() < 128 else np.int16)
    return [np.ascontiguousarray(small.transpose(axes))
            for axes in ((0, 1, 2, 3), (1, 0, 2, 3), (0, 2, 3, 1))]


def jpeg_xl(codes: np.ndarray) -> int:
    """Bytes of the best lossless JPEG XL."""
    sizes = []
    for layout in packed(codes)[:2]:
        wide = layout.reshape(-1, layout.shape[-1]).astype(np.int32)
        wide = (wide - wide.min()).astype(np.uint8 if layout.itemsize == 1 else np.uint16)
        sizes += [len(imagecodecs.jpegxl_encode(wide, lossless=True, effort=effort))
                  for effort in (7, 9)]
    return min(sizes)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--loss", type=float, default=0.5)
    parser.add_argument("--flat", action="store_true")
    arguments = parser.parse_args()
    model = aehub.load(arguments.model, device="cpu")
    print("| clip | first frame, dB | all, dB | quality | coded, dB | bytes | deflate | JPEG XL "
          "| against deflate | against JPEG XL |\n" + "|---" * 10 + "|")
    shares = []
    for path in arguments.clips:
        clip = Clip(model, path, arguments.frames, flat=arguments.flat)
        own, low, high = psnr(clip.frames, clip.own), 0.0, 100.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            reached = psnr(clip.frames, clip.coded(middle)[2]) >= own - arguments.loss
            low, high = (low, middle) if reached else (middle, high)
        stream, codes, decoded = clip.coded(high)
        deflate = min(len(zlib.compress(layout.tobytes(), 9)) for layout in packed(codes))
        others = deflate, jpeg_xl(codes)
        shares.append([len(stream) / other - 1 for other in others])
        print(f"| {path.stem} | {psnr(clip.frames[:1], clip.own[:1]):.2f} | {own:.2f} | {high:.1f} "
              f"| {psnr(clip.frames, decoded):.2f} | {len(stream)} | {others[0]} | {others[1]} | "
              f"{100 * shares[-1][0]:+.1f} % | {100 * shares[-1][1]:+.1f} % |", flush=True)
    mean = 100 * np.mean(shares, axis=0)
    print(f"| mean | | | | | | | | {mean[0]:+.1f} % | {mean[1]:+.1f} % |")


if __name__ == "__main__":
    main()
