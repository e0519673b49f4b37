"""Recipe of `dense-28`: the classical dense autoencoder, on glyphs that the recipe draws.

    h = W_E x + b_E      x^ = W_D h + b_D      L = 1/2N sum |x - x^|^2

each W with a hidden layer and a ReLU of its own; the loss is L over the number of pixels. Adam,
mini-batches of 128, 50 epochs, the learning rate falling to zero along a cosine, the moving average
of the weights with the lowest held-out loss. No data is needed.

Glyphs are digits and letters of Pillow's own font. Each is drawn large with a random stroke width,
transformed by a random shift, scale, rotation and shear, and averaged down to 28x28: light strokes
on black, as in MNIST. Three sets are held out to measure on: glyphs of other random draws, a range
of rotations together with a range of strokes, and some letters altogether.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from aehub.errors import InputError
from aehub.generators.dense import DenseAutoencoder
from aehub.training.data import Cache
from aehub.weights import stored_network

SIDE = 28
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
UNSEEN_CHARACTERS = "KQRefg"
UNSEEN_ROTATION, UNSEEN_STROKE = (8.0, 12.0), (0.6, 0.9)
"""Held-out ranges: degrees in either direction, and pixels of 28 added to each side of a stroke."""
SUBSETS = ("training", "draws", "conditions", "characters")
"""For training; new random draws; unseen rotations and strokes; unseen letters."""
# Glyphs are drawn larger by this factor and averaged down.
_ZOOM = 4
_CANVAS = SIDE * _ZOOM
_FONT_SIZE = 22 * _ZOOM
_UPRIGHT_STROKES = (0.1, 0.4, 1.0)
_MAX_STROKE, _MAX_ROTATION, _MAX_SHEAR, _MAX_SHIFT, _SCALES = 1.2, 20.0, 0.25, 2.5, (0.75, 1.1)


class GlyphStyle(NamedTuple):
    """Appearance of one glyph: lengths in pixels of 28, rotation in degrees, plain factors."""

    character: str
    stroke: float
    rotation: float
    shear: float
    scale: float
    right: float
    down: float


def glyphs(n: int, subset: str, seed: int) -> np.ndarray:
    """Draw `n` glyphs of one of `SUBSETS`, uint8 [n, 28, 28]; equal arguments, equal glyphs."""
    rng = np.random.default_rng((seed, SUBSETS.index(subset)))
    return np.stack([render(random_style(subset, rng)) for _ in range(n)])


def upright() -> np.ndarray:
    """Every training character untransformed, in three stroke widths: uint8 [N, 28, 28]."""
    return np.stack([render(GlyphStyle(character, stroke, 0, 0, 1, 0, 0))
                     for stroke in _UPRIGHT_STROKES for character in CHARACTERS
                     if character not in UNSEEN_CHARACTERS])


def random_style(subset: str, rng: np.random.Generator) -> GlyphStyle:
    """Draw a random style of one of `SUBSETS`."""
    unseen = subset == "characters"
    pool = [c for c in CHARACTERS if (c in UNSEEN_CHARACTERS) == unseen]
    while True:
        style = GlyphStyle(
            str(rng.choice(pool)), rng.uniform(0, _MAX_STROKE),
            rng.uniform(-_MAX_ROTATION, _MAX_ROTATION), rng.uniform(-_MAX_SHEAR, _MAX_SHEAR),
            rng.uniform(*_SCALES), *rng.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2))
        held_out = (_is_in(abs(style.rotation), UNSEEN_ROTATION),
                    _is_in(style.stroke, UNSEEN_STROKE))
        if all(held_out) if subset == "conditions" else not any(held_out):
            return style


def render(style: GlyphStyle) -> np.ndarray:
    """Draw one glyph, uint8 [28, 28]."""
    stroke = round(style.stroke * _ZOOM)
    angle, size = math.radians(style.rotation), 1 / style.scale
    # Inverse mapping, from a point of the picture to the point of the glyph.
    cos, sin = math.cos(angle) * size, math.sin(angle) * size
    a, b = cos - style.shear * sin, sin + style.shear * cos
    middle = _CANVAS / 2
    x, y = middle + style.right * _ZOOM, middle + style.down * _ZOOM
    matrix = (a, b, middle - a * x - b * y, -sin, cos, middle + sin * x - cos * y)
    transformed = _drawn(style.character, stroke).transform(
        (_CANVAS, _CANVAS), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(transformed.resize((SIDE, SIDE), Image.Resampling.BOX))


@lru_cache(maxsize=1024)
def _drawn(character: str, stroke: int) -> Image.Image:
    """Draw a glyph in the middle of a large canvas."""
    picture = Image.new("L", (_CANVAS, _CANVAS))
    ImageDraw.Draw(picture).text(
        (_CANVAS / 2, _CANVAS / 2), character, 255, _font(), anchor="mm", stroke_width=stroke)
    return picture


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_FONT_SIZE)


def _is_in(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


class GlyphBatches:
    """Endless batches for a `DataLoader`: the training glyphs, reshuffled each epoch.

    Attributes:
        training: uint8 [N, 28, 28].
        held_out: uint8 [M, 28, 28], of other random draws, for early stopping.

    Args:
        n: number of training glyphs; a sixth as many are held out.
        batch: glyphs per batch.
        seed: of the glyphs.
    """

    def __init__(self, n: int, *, batch: int, seed: int = 0) -> None:
        self.batch = batch
        self.training = glyphs(n, "training", seed)
        self.held_out = glyphs(max(batch, n // 6), "draws", seed)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, len(self.training) // self.batch)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on: [uint8 [B, 28, 28]]."""
        torch.set_num_threads(1)
        pool = self.held_out if held_out else self.training
        steps = max(1, len(pool) // self.batch)
        for number in count(first):
            epoch, step = divmod(number, steps)
            order = np.arange(len(pool)) if held_out else (
                np.random.default_rng((seed, epoch)).permutation(len(pool)))
            yield [pool[order[step * self.batch:(step + 1) * self.batch]]]


NAME = "dense-28"
LEARNING_RATE = 3e-3
NEEDS_DATA = False
PATIENCE = 10
LOSSES = ("mse", "bce")


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        loss: "mse", squared error, or "bce", binary cross-entropy.
        hidden: width of the hidden layers.
        latent: dimensions of a code.
        rectified: 1 to end the encoder with a ReLU.
        squashed: 1 to end the decoder with a sigmoid; cross-entropy needs it.
        glyphs: number of training glyphs.
        batch: glyphs per step.
        epochs: passes over all glyphs.
        report_seconds: between reports and checkpoints, besides those after each epoch.
    """

    loss: str = "mse"
    hidden: int = 64
    latent: int = 32
    rectified: int = 0
    squashed: int = 1
    glyphs: int = 60_000
    batch: int = 128
    epochs: int = 50
    report_seconds: float = 600.0


def build(options: Options) -> DenseAutoencoder:
    """The untrained network.

    Raises:
        InputError: the loss is unknown, or does not fit the last layer of the decoder.
    """
    if options.loss not in LOSSES or (options.loss == "bce" and not options.squashed):
        raise InputError(f"loss is {options.loss!r} with squashed={options.squashed}; give "
                         "loss=mse, or loss=bce with squashed=1.")
    model = DenseAutoencoder(SIDE, options.hidden, options.latent, options.rectified,
                             options.squashed, len(upright()))
    model.use_cross_entropy = options.loss == "bce"
    return model


def open_dataset(data: Path | None, cache: Cache, options: Options) -> GlyphBatches:
    """Glyphs, drawn by every process itself; `data` and `cache` are not used."""
    return GlyphBatches(options.glyphs, batch=options.batch)


def steps_per_report(options: Options) -> int:
    """Steps of an epoch."""
    return max(1, options.glyphs // options.batch)


def default_steps(options: Options) -> int:
    """Steps of a whole run."""
    return options.epochs * steps_per_report(options)


def losses(model: DenseAutoencoder, batch: list[Tensor], generator: torch.Generator
           ) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (squared error) and `psnr` to report.

    Args:
        model: the network.
        batch: uint8 [B, 28, 28].
        generator: not used.
    """
    x = batch[0].flatten(1) / 255
    logits = model.logits(model.encode(x)).float()
    decoded = logits.sigmoid() if model.config["squashed"] else logits
    error = (decoded - x).square().mean()
    loss = F.binary_cross_entropy_with_logits(logits, x) if model.use_cross_entropy else 0.5 * error
    return {"loss": loss, "cost": error.detach(), "psnr": -10 * torch.log10(error.detach())}


def export(model: DenseAutoencoder, dataset: GlyphBatches, folder: Path, options: Options
           ) -> None:
    """Write the model folder, with the codes of upright glyphs, from which seeds select."""
    finished = copy.deepcopy(model).cpu().float().eval()
    with torch.no_grad():
        codes, anchors = (
            torch.cat([finished.encode(part / 255)
                       for part in torch.from_numpy(pictures).flatten(1).split(512)])
            for pictures in (dataset.training, upright()))
        finished.set_statistics(codes, anchors)
    stored_network.save(folder, NAME, finished)
