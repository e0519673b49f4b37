"""Models with one part taken away, to show what each part is worth.

    python -m aehub.training.ablation RECIPE RUN DATA [--set NAME=VALUE]

writes beside the finished `RUN/model` of `d4-codec` the folders

    RUN/step-0            the classical start that training began from
    RUN/no-residuals      synthesis without its residual network
    RUN/frozen-scales     each channel's table index fixed to the best one per quality

and of `d4-inter`

    RUN/step-0            motion-compensated coding of the difference, as training began
    RUN/no-reference      the decoder's networks do not see the prediction they are added to
    RUN/no-code-context   the integer network does not see the references' codes

and of `d4-filter`

    RUN/no-filter         pictures are shown as they are decoded

Each has its own tables, counted anew, so that `aehub compare` measures the part and not a mismatch
(without a filter the same are read); nothing is trained again.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4.checkpoint import StoredModel
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.integer_conv import KNOTS
from aehub.codecs.d4.network import D4Network
from aehub.codecs.d4.post_filter import PREDICTION_CHANNELS
from aehub.coding.range_coder import N_TABLES, ScaleTables, max_magnitude, scale_of
from aehub.media.picture import Planes
from aehub.training import recipes, trainer
from aehub.training.data import Cache, Crops
from aehub.training.recipes import d4_codec
from aehub.training.run import parse_options

_BATCHES_PER_KNOT = 6
_SEED = 321


def without_residuals(model: D4Network, _: Crops) -> None:
    """Synthesis is its linear path alone."""
    model.synthesis.tail.theta.data.zero_()


def with_frozen_scales(model: D4Network, crops: Crops) -> None:
    """Each latent channel keeps one table per quality: the cheapest for all its codes."""
    codec = D4Codec(StoredModel(d4_codec.NAME, copy.deepcopy(model).eval(), ScaleTables.fit(),
                              {"encoder": {"lambda": d4_codec.ENCODER_LAMBDA}}))
    price = _prices()
    batches = crops.batches(0, _SEED)
    for knot in range(KNOTS):
        quality = round(100 * knot / (KNOTS - 1), 2)
        totals: list[np.ndarray] = []
        for _ in range(_BATCHES_PER_KNOT):
            planes = [Planes(*frame) for frame in zip(*next(batches), strict=True)]
            totals.append(_histograms(codec.encode_planes(planes, quality).latent))
        best = (np.sum(totals, axis=0) @ price.T).argmin(axis=1)
        for number, (begin, end) in enumerate(model.pass_channels):
            stage = model.scales.pass_layers(number)
            stage.last.theta.data.zero_()
            for channel in range(begin, end):
                slot = stage.last_bias.orbits[channel - begin]
                # The middle of the table, so that interpolation between knots rounds fairly.
                stage.last_bias.values.data[knot, slot] = best[channel] + 0.5


@torch.no_grad()
def without_reference(model: D4Network, _: Any) -> None:
    """Means and post-filter see nothing of the prediction."""
    model.inter.means.see.theta.zero_()
    head = model.inter.post_filter.head
    dense = head.dense().clone()
    dense[:, PREDICTION_CHANNELS] = 0
    head.set_dense(dense)


@torch.no_grad()
def without_code_context(model: D4Network, _: Any) -> None:
    """Scales see hyper-codes and the frame's own codes only."""
    model.inter.scales.context.theta.zero_()


def without_filter(model: D4Network, _: Any) -> None:
    """Pictures are shown as they are decoded: the last layers of the post-filters add nothing."""
    for half in (model, model.inter):
        half.post_filter.tail.set_dense(torch.zeros(half.post_filter.tail.shape))


def _histograms(latent: Tensor) -> np.ndarray:
    """Codes [B, C, h, w] -> counts of magnitudes [C, 256]."""
    magnitudes = latent.abs().clamp(max=255).to(torch.int64).transpose(0, 1).flatten(1)
    return np.stack([np.bincount(row, minlength=256) for row in magnitudes.cpu().numpy()])


def _prices() -> np.ndarray:
    """Bits of magnitudes 0..255 under each table [64, 256]; index 0 can write zeros only."""
    prices = np.full((N_TABLES, 256), 40.0)
    prices[0, 0] = 0
    tables = ScaleTables.fit()
    for index in range(1, N_TABLES):
        bits, reach = tables.magnitude_bits(index), max_magnitude(index)
        prices[index, :reach + 1] = bits
        far = np.arange(reach + 1, 256)
        prices[index, reach + 1:] = bits[-1] + 2 * np.log2(1 + (far - reach) / scale_of(index))
    return prices


Variants = dict[str, tuple[str, Callable[[D4Network, Any], None] | None]]
VARIANTS: dict[str, Variants] = {
    "d4-codec": {
        "step-0": ("start", None),
        "no-residuals": ("best", without_residuals),
        "frozen-scales": ("best", with_frozen_scales),
    },
    "d4-inter": {
        "step-0": ("start", None),
        "no-reference": ("best", without_reference),
        "no-code-context": ("best", without_code_context),
    },
    "d4-filter": {"no-filter": ("best", without_filter)},
}


def ablate(name: str, run: Path, data: Path, settings: Mapping[str, str]) -> None:
    """Write every variant of the finished run of a recipe."""
    recipe = recipes.find(name)
    options = parse_options(recipe.Options(), settings)
    material = recipe.open_material(data, Cache(run / "frames"), options)
    for variant, (state, change) in VARIANTS[name].items():
        model = recipe.build(options)
        # What the run did not train, such as a filter that came later, is the base's.
        trained = trainer.read_tensors(run / f"{state}.safetensors")
        trainer.set_parameters(model, trainer.copy_parameters(model) | trained)
        model.requires_grad_(False)
        if change is not None:
            change(model, material)
        recipe.export(model, material, run / variant, options)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=VARIANTS)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    ablate(given.recipe, given.run, given.data, dict(s.split("=", 1) for s in given.set))


if __name__ == "__main__":
    main()
