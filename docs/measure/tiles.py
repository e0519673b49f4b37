"""Tiles of foreign autoencoders: difference from the whole picture, and memory.

    python docs/measure/tiles.py [CLASS ...] [--taef2 model.safetensors --clip CLIP]

Tiny random models of every class: positions that a tile needs around it to equal the whole, and for
tiles of 8 and 16 positions the largest and the mean difference of decoded levels. With weights of
taef2, the same on a clip's first frame. Then memory, of random networks of 64 channels and more:
what a process needs more than before, over the estimate.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from safetensors.torch import load_file  # noqa: E402

from aehub.codecs.quantised import diffusers_classes, taesd  # noqa: E402
from aehub.codecs.quantised.autoencoder import FrameAutoencoder  # noqa: E402
from aehub.media.clip import open_clip  # noqa: E402
from aehub.media.colour import to_rgb  # noqa: E402
from foreign_models import ARGUMENTS, random_model, random_taesd  # noqa: E402

TILES = (8, 16)
POSITIONS = (48, 12)
"""Latent positions across and down of the pictures that are divided."""
TAESD = ("taesd", "taef2")
WIDER = {
    "taesd": {}, "taef2": {},
    "AutoencoderKL": {"block_out_channels": [64, 128], "norm_num_groups": 32},
    "AutoencoderKLWan": {"base_dim": 64},
    "AutoencoderKLLTXVideo": {"block_out_channels": [64] * 4,
                              "decoder_block_out_channels": [64] * 4},
    "AutoencoderKLHunyuanVideo": {"block_out_channels": [64] * 4, "norm_num_groups": 32},
}
"""Arguments of networks whose memory is measured; of fewer channels the padding weighs more."""


def model_of(name: str, width: int = 8) -> FrameAutoencoder:
    """A random model by its class, or one of the TAESD family of a number of channels."""
    if name in TAESD:
        return taesd.load(random_taesd(pooled=name == "taef2", width=width))
    return diffusers_classes.load(*random_model(name))


def divided(model: FrameAutoencoder, latents: np.ndarray, n_frames: int, size: tuple[int, int]
            ) -> list[str]:
    """Largest and mean difference in levels of each size of tiles, for a row of the table."""
    model.tile = None
    whole = model.decode(latents, n_frames, size).astype(np.int16)
    cells = []
    for tile in TILES:
        model.tile = tile
        distance = np.abs(model.decode(latents, n_frames, size) - whole)
        cells.append(f"{distance.max()} / {distance.mean():.2f}")
    model.tile = None
    return cells


def row_of(name: str) -> str:
    """The row of a class."""
    model = model_of(name)
    size = (POSITIONS[0] * model.downscale, POSITIONS[1] * model.downscale)
    n_frames = model.frame_counts[min(1, len(model.frame_counts) - 1)]
    latents = np.random.default_rng(0).standard_normal(
        model.latent_shape(n_frames, size)).astype(np.float32)
    cells = divided(model, latents, n_frames, size)
    margins = ["all" if margin is None else str(margin) for margin in (
        model.margin(direction) for direction in ("encode", "decode"))]
    return " | ".join([name, *margins, *cells])


def memory_ratio(name: str) -> float:
    """Peak memory of a process that encodes and decodes, over the estimate."""
    done = subprocess.run([sys.executable, "-P", __file__, "--memory", name], capture_output=True,
                          text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
    return float(done.stdout.split()[-1])


def peak_kilobytes() -> int:
    """Largest resident size of this process so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def print_memory(name: str) -> None:
    """Measure the peak of this process over what it had before."""
    ARGUMENTS[name] = ARGUMENTS.get(name, {}) | WIDER[name]
    model = model_of(name, width=64)
    n_frames = model.frame_counts[-1]
    small, large = (64, 64), (512, 384) if n_frames == 1 else (192, 128)
    model.decode(model.encode(np.zeros((n_frames, *small, 3), np.uint8)), n_frames, small)
    before = peak_kilobytes()
    frames = np.zeros((n_frames, large[1], large[0], 3), np.uint8)
    model.decode(model.encode(frames), n_frames, large)
    estimate = model.estimate_bytes(n_frames, large) - model.memory.weight_bytes
    print((peak_kilobytes() - before) * 1024 / estimate)


def print_taef2(weights: Path, clip: Path) -> None:
    """Print reconstruction and tiles of taef2 on a clip's first frame."""
    model = taesd.load(load_file(weights))
    with open_clip(clip) as opened:
        picture = to_rgb(next(iter(opened)).picture, opened.info.colour)
    size = (picture.shape[1], picture.shape[0])
    latents = model.encode(picture[None])
    error = model.decode(latents, 1, size)[0].astype(float) - picture
    print(f"\ntaef2 on {clip.name}: {10 * np.log10(255 ** 2 / np.mean(error ** 2)):.2f} dB RGB; "
          f"tiles of {TILES}: {', '.join(divided(model, latents, 1, size))} levels")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", nargs="*", default=[*TAESD, *ARGUMENTS])
    parser.add_argument("--taef2", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print_memory(arguments.memory)
        return
    torch.manual_seed(0)
    print("| class | margin of encode | of decode | "
          + " | ".join(f"tiles of {n}: max / mean" for n in TILES)
          + " |\n|---|---|---|---|---|")
    for name in arguments.classes:
        print(f"| {row_of(name)} |", flush=True)
    if arguments.taef2 and arguments.clip:
        print_taef2(arguments.taef2, arguments.clip)
    print("\n| class | memory / estimate |\n|---|---|")
    for name in WIDER:
        print(f"| {name} | {memory_ratio(name):.2f} |", flush=True)


if __name__ == "__main__":
    main()
