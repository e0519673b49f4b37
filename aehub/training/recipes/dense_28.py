"""How `dense-28` is trained: the classical dense autoencoder on glyphs that the recipe draws.

    h = W_E x + b_E      x^ = W_D h + b_D      L = 1/2N sum |x - x^|^2

each W with a hidden layer and a ReLU of its own; the loss is L over the number of pixels. Adam,
mini-batches of 128, 50 epochs, the learning rate falling to zero along a cosine, the moving average
of the weights with the lowest held-out loss. No data is needed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.errors import InputError
from aehub.models import network
from aehub.models.dense import DenseAutoencoder
from aehub.training.cache import Cache
from aehub.training.glyphs import SIDE, GlyphBatches, upright

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
    model.by_entropy = options.loss == "bce"
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
    loss = F.binary_cross_entropy_with_logits(logits, x) if model.by_entropy else 0.5 * error
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
        finished.describe(codes, anchors)
    network.save(folder, NAME, finished)
