"""Loss of a rotation: edit of the codes, re-encoding, or latents without the symmetry.

    python docs/measure/rotation.py CLIPS [--frames N] [--quality 50]

Each clip is compressed, rotated by 90 degrees and compared with its source rotated by 90 degrees;
the loss is the PSNR, (6Y + U + V)/8, before the rotation minus that after it. Four methods:

- the `.aev` file edited on its codes;
- x264 (medium) at the bytes of the `.aev`: decoded, rotated, encoded again at the same bytes;
- an autoencoder without the symmetry, its grid of codes rotated, the channels unchanged;
- the same, and its channels mapped by the best linear map, then rounded again.

The autoencoder is the principal component analysis of the clip's own patches (8x8 of luma, 4x4 of
each chroma plane: 96 latents), the optimal linear one; its 48 strongest latents are rounded with
the quantiser step that gives the PSNR of the `.aev` or comes nearest to it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import aehub
from aehub.codecs.d4.planes import PlaneBatch, from_batch, to_batch
from aehub.measure.video_codecs import x264
from aehub.media.clip import open_clip
from aehub.media.elementary_streams import crop
from aehub.media.file_type import list_folder
from aehub.media.metrics import Distortion
from aehub.media.orientation import ELEMENTS, turn, turn_picture
from aehub.media.picture import ClipInfo, Picture

QUARTER = ELEMENTS["rotate-90"]
COMPONENTS = 48


def psnr(found: Sequence[Picture], wanted: Sequence[Picture]) -> float:
    """(6Y + U + V)/8 over the clip, in dB."""
    distortion = Distortion(with_ms_ssim=False)
    for one, two in zip(wanted, found, strict=True):
        distortion.add(one, two)
    return distortion.psnr


def quarter(frames: Sequence[Picture]) -> list[Picture]:
    """Every frame turned clockwise."""
    return [turn_picture(planes, QUARTER) for planes in frames]


def edited_codes(clip: Path, n_frames: int, quality: float, source: Sequence[Picture], folder: Path
                 ) -> tuple[float, float, int]:
    """(dB before, dB after, bytes) of the edit on codes."""
    packed, edited = folder / "packed.aev", folder / "edited.aev"
    aehub.compress(clip, packed, quality=quality, trim=f":{n_frames}f", measure=False, force=True)
    size = aehub.info(packed)
    aehub.edit(packed, edited, [aehub.Rotate(90)], force=True)
    before, after = (_decoded(path) for path in (packed, edited))
    return (psnr(before, source), psnr(after, quarter(source)),
            size["bytes"] - size["audio_bytes"])


def _decoded(path: Path) -> list[Picture]:
    with aehub.open(path) as archive:
        return [archive.picture(number) for number in range(len(archive))]


def at_bytes(frames: Sequence[Picture], info: ClipInfo, n_bytes: int) -> tuple[list[Picture], int]:
    """(decoded frames, bytes) of x264 as near to `n_bytes` as its quality goes, by bisection."""
    codec, low, high = x264("medium"), 0.0, 51.0
    best = None
    for _ in range(7):
        crf = (low + high) / 2
        packets = list(codec.packets(frames, info, crf))
        size = sum(packet.size for packet in packets)
        low, high = (crf, high) if size > n_bytes else (low, crf)
        if best is None or abs(size - n_bytes) < abs(best[1] - n_bytes):
            best = packets, size
    assert best is not None
    return list(crop(codec.decode(best[0]), frames[0].size)), best[1]


def x264_losses(source: Sequence[Picture], info: ClipInfo, n_bytes: int) -> tuple[float, float]:
    """dB before and after."""
    first, _ = at_bytes(source, info, n_bytes)
    second, _ = at_bytes(quarter(first), info, n_bytes)
    return psnr(first, source), psnr(second, quarter(source))


class PatchPCA:
    """Principal component analysis of the patches of a clip."""

    def __init__(self, frames: Sequence[Picture]) -> None:
        self._size = frames[0].size
        pixels = self._patches(frames)
        flat = pixels.permute(0, 2, 3, 1).reshape(-1, pixels.shape[1]).double()
        self._mean = flat.mean(0)
        _, _, rows = torch.linalg.svd(flat - self._mean, full_matrices=False)
        self._rows = rows[:COMPONENTS]

    def encode(self, frames: Sequence[Picture]) -> torch.Tensor:
        """Frames of any size -> latents [n, 48, h, w]."""
        pixels = self._patches(frames).double() - self._mean[:, None, None]
        return torch.einsum("kc,nchw->nkhw", self._rows, pixels)

    def decode(self, latents: torch.Tensor, size: tuple[int, int], corner: tuple[int, int] = (0, 0)
               ) -> list[Picture]:
        """Latents -> the window of that (width, height) at that (x, y)."""
        pixels = torch.einsum("kc,nkhw->nchw", self._rows, latents) + self._mean[:, None, None]
        y, u, v = pixels.float().split((64, 16, 16), 1)
        planes = PlaneBatch(F.pixel_shuffle(y, 8), F.pixel_shuffle(u, 4), F.pixel_shuffle(v, 4))
        return from_batch(planes, corner, size)

    @staticmethod
    def _patches(frames: Sequence[Picture]) -> torch.Tensor:
        y, u, v = to_batch(frames, torch.device("cpu"), torch.float32)
        return torch.cat([F.pixel_unshuffle(y, 8), F.pixel_unshuffle(u, 4),
                          F.pixel_unshuffle(v, 4)], 1)


def pca_losses(source: Sequence[Picture], target: float) -> tuple[float, float, float]:
    """dB before, after rotating the grid, and after mapping the channels as well."""
    size = source[0].size
    model = PatchPCA(source)
    latents = model.encode(source)
    step = min(np.geomspace(0.004, 1, 25),
               key=lambda s: abs(psnr(model.decode((latents / s).round() * s, size), source)
                                 - target))
    coded = (latents / step).round() * step
    before = psnr(model.decode(coded, size), source)
    turned = torch.as_tensor(turn(coded, QUARTER))
    # The window moves with the padded plane: clockwise, its bottom becomes the left.
    corner = (8 * coded.shape[-2] - size[1], 0)
    window = (size[1], size[0])
    wanted = quarter(source)
    grid = psnr(model.decode(turned, window, corner), wanted)
    # The channels of the rotated picture from those of the picture, by least squares.
    padded = quarter(model.decode(latents, (8 * coded.shape[-1], 8 * coded.shape[-2])))
    inputs, outputs = (x.permute(0, 2, 3, 1).reshape(-1, COMPONENTS)
                       for x in (turned, model.encode(padded)))
    mapping = torch.linalg.lstsq(inputs, outputs).solution
    mapped = torch.einsum("ki,nkhw->nihw", mapping, turned)
    return before, grid, psnr(model.decode((mapped / step).round() * step, window, corner), wanted)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--quality", type=float, default=50)
    arguments = parser.parse_args()
    print("| clip | frames | kB | .aev edited | x264 encoded again | untied: grid turned "
          "| untied: channels mapped |\n|---|---|---|---|---|---|---|")
    losses = []
    with tempfile.TemporaryDirectory() as name:
        for path in list_folder(arguments.clips).clips:
            with open_clip(path) as clip:
                info = clip.info
                source = [frame.picture for frame in islice(clip, arguments.frames)]
            first, last, n_bytes = edited_codes(path, len(source), arguments.quality, source,
                                                Path(name))
            x264_first, x264_last = x264_losses(source, info, n_bytes)
            pca, grid, mapped = pca_losses(source, first)
            row = (first - last, x264_first - x264_last, pca - grid, pca - mapped)
            losses.append(row)
            # Adding zero turns -0.00 into 0.00.
            cells = " | ".join(f"{round(loss, 2) + 0:.2f}" for loss in row)
            print(f"| {path.stem} | {len(source)} | {n_bytes / 1000:.1f} | {cells} |", flush=True)
    mean = " | ".join(f"{round(loss, 2) + 0:.2f}" for loss in np.mean(losses, axis=0))
    print(f"| mean, dB lost | | | {mean} |")


if __name__ == "__main__":
    main()
