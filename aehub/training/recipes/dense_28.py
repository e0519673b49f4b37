"""How `dense-28` is trained: the classical dense autoencoder on glyphs that the recipe draws.

    h = W_E x + b_E      x^ = W_D h + b_D      L = 1/2N sum |x - x^|^2

each W with a hidden layer and a ReLU of its own; the loss is L over the number of pixels. Adam,
mini-batches of 128, 50 epochs, the learning rate falling to zero along a cosine, the moving average
of the weights with the lowest held-out loss. No data is needed.

Training material that the project draws itself: digits and letters of Pillow's own font.

Each glyph is drawn large, moved by a random shift, scale, rotation and shear with a random width of
stroke, and brought to 28x28 by areas: light strokes on black, as in MNIST. Three things are kept
from itertools import count
from training, to measure on: glyphs of other draws, a range of rotations together with a range of
strokes, and some letters altogether.
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
"""Degrees, either way, and pixels of 28 that are added to each side of a stroke."""
SETS = ("training", "draws", "conditions", "characters")
"""What can be drawn: for training; new draws; unseen rotations and strokes; unseen letters."""
# Drawn this much larger, and brought down by areas.
_ZOOM = 4
_CANVAS = SIDE * _ZOOM
_FONT_SIZE = 22 * _ZOOM
_UPRIGHT_STROKES = (0.1, 0.4, 1.0)
_MOST_STROKE, _MOST_ROTATION, _MOST_SHEAR, _MOST_SHIFT, _SCALES = 1.2, 20.0, 0.25, 2.5, (0.75, 1.1)


class Draw(NamedTuple):
    """How one glyph is drawn: pixels of 28, degrees, and plain factors."""

    character: str
    stroke: float
    rotation: float
    shear: float
    scale: float
    right: float
    down: float


def glyphs(n: int, of: str, seed: int) -> np.ndarray:
    """Pictures uint8 [n, 28, 28]; the same for the same arguments.

    Args:
        n: how many.
        of: one of `SETS`.
        seed: of all random choices.
    """
    rng = np.random.default_rng((seed, SETS.index(of)))
    return np.stack([render(draw(of, rng)) for _ in range(n)])


def upright() -> np.ndarray:
    """Every character of the training set as it stands, in three strokes: uint8 [N, 28, 28]."""
    return np.stack([render(Draw(character, stroke, 0, 0, 1, 0, 0)) for stroke in _UPRIGHT_STROKES
                     for character in CHARACTERS if character not in UNSEEN_CHARACTERS])


def draw(of: str, rng: np.random.Generator) -> Draw:
    """A random draw for one of `SETS`."""
    unseen = of == "characters"
    pool = [c for c in CHARACTERS if (c in UNSEEN_CHARACTERS) == unseen]
    while True:
        made = Draw(
            str(rng.choice(pool)), rng.uniform(0, _MOST_STROKE),
            rng.uniform(-_MOST_ROTATION, _MOST_ROTATION), rng.uniform(-_MOST_SHEAR, _MOST_SHEAR),
            rng.uniform(*_SCALES), *rng.uniform(-_MOST_SHIFT, _MOST_SHIFT, 2))
        outside = (_is_in(abs(made.rotation), UNSEEN_ROTATION), _is_in(made.stroke, UNSEEN_STROKE))
        if all(outside) if of == "conditions" else not any(outside):
            return made


def render(how: Draw) -> np.ndarray:
    """One glyph, uint8 [28, 28]."""
    stroke = round(how.stroke * _ZOOM)
    angle, size = math.radians(how.rotation), 1 / how.scale
    # From a point of the picture back to the point of the glyph that is shown there.
    cos, sin = math.cos(angle) * size, math.sin(angle) * size
    a, b = cos - how.shear * sin, sin + how.shear * cos
    middle = _CANVAS / 2
    x, y = middle + how.right * _ZOOM, middle + how.down * _ZOOM
    matrix = (a, b, middle - a * x - b * y, -sin, cos, middle + sin * x - cos * y)
    moved = _drawn(how.character, stroke).transform(
        (_CANVAS, _CANVAS), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved.resize((SIDE, SIDE), Image.Resampling.BOX))


@lru_cache(maxsize=1024)
def _drawn(character: str, stroke: int) -> Image.Image:
    """The glyph in the middle of a large canvas."""
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
    """Batches for a `DataLoader`: the training glyphs in a new order each epoch, without end.

    Attributes:
        training: uint8 [N, 28, 28].
        held_out: uint8 [M, 28, 28], other draws, for early stopping.

    Args:
        n: training glyphs; a sixth as many are held out.
        batch: glyphs per batch.
        seed: of the drawing.
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
    """What `--set` may change.

    Attributes:
        loss: "mse", squared error, or "bce", binary cross-entropy.
        hidden: width of the layer between picture and code.
        latent: numbers of a code.
        rectified: 1 to end the encoder with a ReLU.
        squashed: 1 to end the decoder with a sigmoid; cross-entropy needs it.
        glyphs: that are drawn for training.
        batch: glyphs per step.
        epochs: times that every glyph is seen.
        report_seconds: between reports and checkpoints, of which there is one after each epoch.
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
        InputError: the loss is unknown, or does not go with the end of the decoder.
    """
    if options.loss not in LOSSES or (options.loss == "bce" and not options.squashed):
        raise InputError(f"loss is {options.loss!r} with squashed={options.squashed}; give "
                         "loss=mse, or loss=bce with squashed=1.")
    model = DenseAutoencoder(SIDE, options.hidden, options.latent, options.rectified,
                             options.squashed, len(upright()))
    model.use_cross_entropy = options.loss == "bce"
    return model


def open_material(data: Path | None, cache: Cache, options: Options) -> GlyphBatches:
    """Glyphs, drawn anew by every process; `data` and `cache` are not used."""
    return GlyphBatches(options.glyphs, batch=options.batch)


def report_steps(options: Options) -> int:
    """Steps of an epoch."""
    return max(1, options.glyphs // options.batch)


def steps(options: Options) -> int:
    """Steps of a whole run."""
    return options.epochs * report_steps(options)


def values(model: DenseAutoencoder, batch: list[Tensor], generator: torch.Generator
           ) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (squared error) and `psnr` to watch.

    Args:
        model: the network.
        batch: uint8 [B, 28, 28].
        generator: of randomness, of which there is none.
    """
    x = batch[0].flatten(1) / 255
    logits = model.logits(model.encode(x)).float()
    made = logits.sigmoid() if model.config["squashed"] else logits
    error = (made - x).square().mean()
    loss = F.binary_cross_entropy_with_logits(logits, x) if model.use_cross_entropy else 0.5 * error
    return {"loss": loss, "cost": error.detach(), "psnr": -10 * torch.log10(error.detach())}


def export(model: DenseAutoencoder, material: GlyphBatches, folder: Path, options: Options
           ) -> None:
    """Write the model folder, with the codes of upright glyphs for seeds to choose among."""
    finished = copy.deepcopy(model).cpu().float().eval()
    with torch.no_grad():
        codes, anchors = (
            torch.cat([finished.encode(part / 255)
                       for part in torch.from_numpy(pictures).flatten(1).split(512)])
            for pictures in (material.training, upright()))
        finished.set_statistics(codes, anchors)
    stored_network.save(folder, NAME, finished)
