"""Measure `dense-28` against principal components and its own step 0, and draw what it makes.

    python docs/measure/dense.py RUN [docs/figures/dense.png]

RUN is a folder that `aehub train dense-28 --out RUN` made. Glyphs are drawn anew with another seed
than training had; see `aehub.training.recipes.dense_28` for what each set holds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aehub.animation.sheet import contact_sheet
from aehub.generators.base import enlarge
from aehub.generators.dense import DenseAutoencoder
from aehub.training import trainer
from aehub.training.recipes.dense_28 import SUBSETS, GlyphStyle, Options, glyphs, render
from aehub.weights import stored_network

COUNT, SEED, COMPONENTS = 3000, 1, 32
NAMES = {"draws": "new draws", "conditions": "unseen rotations and strokes",
         "characters": "unseen letters"}
SHOWN, STEPS, ZOOM = 14, 14, 2
OUTPUT = Path(__file__).resolve().parents[1] / "figures" / "dense.png"


def flat(pictures: np.ndarray) -> Tensor:
    """uint8 [N, 28, 28] -> [N, 784] in [0, 1]."""
    return torch.from_numpy(pictures).flatten(1) / 255


class Components:
    """The best linear autoencoder of training pictures."""

    def __init__(self, pictures: Tensor, count: int) -> None:
        self.mean = pictures.mean(0)
        _, vectors = torch.linalg.eigh(torch.cov(pictures.T.double()))
        self.vectors = vectors[:, -count:].float()

    def __call__(self, x: Tensor) -> Tensor:
        return ((x - self.mean) @ self.vectors @ self.vectors.T + self.mean).clamp(0, 1)


class Dense:
    """A dense autoencoder: encode and decode."""

    def __init__(self, model: DenseAutoencoder) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return self.model.decode(self.model.encode(x)).clamp(0, 1)


def step_0(run: Path, like: DenseAutoencoder) -> DenseAutoencoder:
    """The network that training began with."""
    model = DenseAutoencoder(**like.config)
    trainer.set_parameters(model, trainer.read_tensors(run / "start.safetensors"))
    return model.requires_grad_(False)


def table(methods: dict[str, Components | Dense], sets: dict[str, Tensor]) -> str:
    """Squared error and PSNR of each method on each set."""
    lines = ["| | " + " | ".join(NAMES[name] for name in sets) + " |",
             "|---|" + "---|" * len(sets)]
    for name, method in methods.items():
        errors = [float((method(x) - x).square().mean()) for x in sets.values()]
        lines.append(f"| {name} | " + " | ".join(
            f"{error:.5f} ({-10 * np.log10(error):.2f} dB)" for error in errors) + " |")
    return "\n".join(lines)


def figure(methods: list[Components | Dense], sets: dict[str, Tensor], model: DenseAutoencoder
           ) -> np.ndarray:
    """Rows of originals and their reconstructions, set by set; then walks between digits."""
    rows = [row for x in sets.values()
            for row in (x[:SHOWN], *(method(x[:SHOWN]) for method in methods))]
    digits = flat(np.stack([render(GlyphStyle(digit, 0.3, 0, 0, 1, 0, 0))
                            for digit in "0123456789"]))
    with torch.no_grad():
        codes = model.encode(digits)
        for first, last in ((0, 1), (3, 5), (4, 9)):
            shares = torch.linspace(0, 1, STEPS)[:, None]
            rows.append(model.decode((1 - shares) * codes[first] + shares * codes[last]))
    pictures = torch.cat(rows).clamp(0, 1).mul(255).round().to(torch.uint8).unflatten(1, (28, 28))
    return contact_sheet([enlarge(picture[..., None].numpy(), ZOOM) for picture in pictures],
                         SHOWN)


def main() -> None:
    """Print the table, draw the figure."""
    run = Path(sys.argv[1])
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else OUTPUT
    model = stored_network.load(run / "model").network
    assert isinstance(model, DenseAutoencoder)
    training = flat(glyphs(Options.glyphs, "training", 0))
    components = Components(training, COMPONENTS)
    sets = {name: flat(glyphs(COUNT, name, SEED)) for name in SUBSETS[1:]}
    print(table({"dense-28": Dense(model), f"{COMPONENTS} principal components": components,
                 "step 0, untrained": Dense(step_0(run, model))}, sets))
    Image.fromarray(figure([Dense(model), components], sets, model)[..., 0]).save(
        output, optimize=True)


if __name__ == "__main__":
    main()
