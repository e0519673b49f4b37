"""Counts of frames and sizes of pictures that come back exactly, of every foreign class.

    python docs/measure/frames_and_sizes.py [CLASS ...]

Tiny random models of every class. Frames 1 to 40 at one size, in calls of at most `max_frames`;
then widths and heights 17 to 71, one axis at a time, at two counts of frames.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from aehub.codecs.quantised import diffusers_classes  # noqa: E402
from aehub.codecs.quantised.autoencoder import FrameAutoencoder  # noqa: E402
from foreign_models import ARGUMENTS, random_model  # noqa: E402

SIZE = (40, 24)
"""Width and height at which counts of frames are tried."""
SIDES = range(17, 72)


def pairs(model: FrameAutoencoder) -> Iterator[tuple[int, tuple[int, int]]]:
    """Each (number of frames, size)."""
    yield from ((n, SIZE) for n in range(1, 41))
    for n in (1, min(4, model.max_frames)) if model.max_frames > 1 else (1, 2):
        yield from ((n, (side, SIZE[1])) for side in SIDES)
        yield from ((n, (SIZE[0], side)) for side in SIDES)


def is_exact(model: FrameAutoencoder, n_frames: int, size: tuple[int, int]) -> bool:
    """True if frames come back with their number and size, and latents have the stated shape."""
    frames = np.random.default_rng(n_frames).integers(
        0, 256, (n_frames, size[1], size[0], 3), np.uint8)
    found = []
    for begin in range(0, n_frames, model.max_frames):
        part = frames[begin:begin + model.max_frames]
        latents = model.encode(part)
        if latents.shape != model.latent_shape(len(part), size):
            return False
        found.append(model.decode(latents, len(part), size))
    return np.concatenate(found).shape == frames.shape


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", nargs="*", default=list(ARGUMENTS))
    print("| class | frames a call | downscale | pairs | not exact | s |")
    print("|---|---|---|---|---|---|")
    for name in parser.parse_args().classes:
        began = time.perf_counter()
        model = diffusers_classes.load(*random_model(name))
        tried = list(pairs(model))
        wrong = [f"{n} x {size[0]}x{size[1]}" for n, size in tried if not is_exact(model, n, size)]
        counts = ", ".join(map(str, model.frame_counts))
        print(f"| {name} | {counts} | {model.downscale} | {len(tried)} | "
              f"{', '.join(wrong) or 'none'} | {time.perf_counter() - began:.0f} |", flush=True)


if __name__ == "__main__":
    main()
