"""Models with one part taken away, to show what each part is worth.

    python -m aehub.training.ablate RUN DATA

writes beside the finished `RUN/model` the folders

    RUN/step-0           the classical start that training began from
    RUN/no-residuals     synthesis without its residual network
    RUN/frozen-scales    each channel's table index fixed to the best one per quality

Each has its own tables, counted anew, so that `aehub compare` measures the part and not a mismatch.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.clips.frames import Planes
from aehub.codec.model import Codec
from aehub.entropy import N_TABLES, ScaleTables, reach_of, scale_of
from aehub.models.d4_codec import D4Codec
from aehub.models.integer import KNOTS
from aehub.models.store import StoredModel
from aehub.training import checkpoint
from aehub.training.data import Crops
from aehub.training.recipes import d4_codec as recipe

_BATCHES_PER_KNOT = 6
_SEED = 321


def without_residuals(model: D4Codec, _: Crops) -> None:
    """Synthesis is its linear path alone."""
    model.synthesis.tail.theta.data.zero_()


def with_frozen_scales(model: D4Codec, crops: Crops) -> None:
    """Each latent channel keeps one table per quality: the cheapest for all its codes."""
    codec = Codec(StoredModel(recipe.NAME, copy.deepcopy(model).eval(), ScaleTables.fit(),
                              {"encoder": {"lambda": recipe.ENCODER_LAMBDA}}))
    price = _prices()
    batches = crops.batches(0, _SEED)
    for knot in range(KNOTS):
        quality = round(100 * knot / (KNOTS - 1), 2)
        totals: list[np.ndarray] = []
        for _ in range(_BATCHES_PER_KNOT):
            planes = [Planes(*frame) for frame in zip(*next(batches), strict=True)]
            totals.append(_histograms(codec.encode_planes(planes, quality).latent))
        best = (np.sum(totals, axis=0) @ price.T).argmin(axis=1)
        for number, (begin, end) in enumerate(model.ranges):
            stage = model.scales.stage(number)
            stage.last.theta.data.zero_()
            for channel in range(begin, end):
                slot = stage.last_bias.slots[channel - begin]
                # The middle of the table, so that interpolation between knots rounds fairly.
                stage.last_bias.values.data[knot, slot] = best[channel] + 0.5


def _histograms(latent: Tensor) -> np.ndarray:
    """Codes [B, C, h, w] -> counts of magnitudes [C, 256]."""
    magnitudes = latent.abs().clamp(max=255).to(torch.int64).transpose(0, 1).flatten(1).numpy()
    return np.stack([np.bincount(row, minlength=256) for row in magnitudes])


def _prices() -> np.ndarray:
    """Bits of magnitudes 0..255 under each table [64, 256]; index 0 can write zeros only."""
    prices = np.full((N_TABLES, 256), 40.0)
    prices[0, 0] = 0
    tables = ScaleTables.fit()
    for index in range(1, N_TABLES):
        bits, reach = tables.magnitude_bits(index), reach_of(index)
        prices[index, :reach + 1] = bits
        far = np.arange(reach + 1, 256)
        prices[index, reach + 1:] = bits[-1] + 2 * np.log2(1 + (far - reach) / scale_of(index))
    return prices


VARIANTS: dict[str, tuple[str, Callable[[D4Codec, Crops], None] | None]] = {
    "step-0": ("start", None),
    "no-residuals": ("best", without_residuals),
    "frozen-scales": ("best", with_frozen_scales),
}


def ablate(run: Path, data: Path) -> None:
    """Write every variant of the finished run."""
    options = recipe.Options()
    crops = recipe.open_material(data, run / "frames", options, True)
    for name, (state, change) in VARIANTS.items():
        model = recipe.build(options)
        checkpoint.put(model, checkpoint.read(run / f"{state}.safetensors"))
        model.requires_grad_(False)
        if change is not None:
            change(model, crops)
        recipe.export(model, crops, run / name, options)


if __name__ == "__main__":
    ablate(Path(sys.argv[1]), Path(sys.argv[2]))
