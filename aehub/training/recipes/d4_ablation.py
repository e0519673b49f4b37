"""Ablations: models with one part disabled, to measure the contribution of each part.

    python -m aehub.training.recipes.d4_ablation RECIPE RUN DATA [--set NAME=VALUE]

writes beside the finished `RUN/model` of `d4-codec` the folders

    RUN/step-0            the classical initialisation
    RUN/no-residuals      synthesis without its residual network
    RUN/frozen-scales     the table index of each channel fixed to the best one per quality

and of `d4-inter`

    RUN/step-0            motion-compensated coding of the residual, before training
    RUN/no-reference      the prediction is hidden from the decoder's networks, but still added
    RUN/no-code-context   the codes of the references are hidden from the integer network

and of `d4-filter`

    RUN/no-filter         decoded pictures without post-filter

Tables are counted again for each, so that `aehub compare` measures the part and not a mismatch
(a filter does not change them); nothing is trained again.
"""

from __future__ import annotations

import argparse
import copy
import sys
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
from aehub.errors import AEHubError
from aehub.media.picture import Picture
from aehub.training import recipes, trainer
from aehub.training.data import Cache, Crops
from aehub.training.recipes import d4_codec
from aehub.training.run import parse_options

_BATCHES_PER_KNOT = 6
_SEED = 321


def remove_residuals(model: D4Network, _: Crops) -> None:
    """Reduce the synthesis to its linear path."""
    model.synthesis.tail.theta.data.zero_()


def freeze_scales(model: D4Network, crops: Crops) -> None:
    """Fix one table per quality for each latent channel: the cheapest for all its codes."""
    codec = D4Codec(StoredModel(d4_codec.NAME, copy.deepcopy(model).eval(), ScaleTables.fit(),
                                {"encoder": {"lambda": d4_codec.ENCODER_LAMBDA}}))
    bits = _magnitude_bits()
    batches = crops.batches(0, _SEED)
    for knot in range(KNOTS):
        quality = round(100 * knot / (KNOTS - 1), 2)
        totals: list[np.ndarray] = []
        for _ in range(_BATCHES_PER_KNOT):
            planes = [Picture(frame) for frame in zip(*next(batches), strict=True)]
            totals.append(_histograms(codec.encode_planes(planes, quality).latent))
        best = (np.sum(totals, axis=0) @ bits.T).argmin(axis=1)
        for number, (begin, end) in enumerate(model.pass_channels):
            layers = model.scales.pass_layers(number)
            layers.last.theta.data.zero_()
            for channel in range(begin, end):
                slot = layers.last_bias.orbits[channel - begin]
                # The middle of the table, so that interpolation between knots rounds fairly.
                layers.last_bias.values.data[knot, slot] = best[channel] + 0.5


@torch.no_grad()
def hide_reference(model: D4Network, _: Any) -> None:
    """Hide the prediction from the mean network and the post-filter."""
    model.inter.means.see.theta.zero_()
    head = model.inter.post_filter.head
    dense = head.dense().clone()
    dense[:, PREDICTION_CHANNELS] = 0
    head.set_dense(dense)


@torch.no_grad()
def hide_code_context(model: D4Network, _: Any) -> None:
    """Restrict the scale network to hyper-codes and the frame's own codes."""
    model.inter.scales.context.theta.zero_()


def remove_filter(model: D4Network, _: Any) -> None:
    """Zero the last layers of the post-filters, so that they add nothing."""
    for half in (model, model.inter):
        half.post_filter.tail.set_dense(torch.zeros(half.post_filter.tail.shape))


def _histograms(latent: Tensor) -> np.ndarray:
    """Counts of code magnitudes [C, 256] of codes [B, C, h, w]."""
    magnitudes = latent.abs().clamp(max=255).to(torch.int64).transpose(0, 1).flatten(1)
    return np.stack([np.bincount(row, minlength=256) for row in magnitudes.cpu().numpy()])


def _magnitude_bits() -> np.ndarray:
    """Bits of magnitudes 0..255 under each table [64, 256]; index 0 can write zeros only."""
    bits = np.full((N_TABLES, 256), 40.0)
    bits[0, 0] = 0
    tables = ScaleTables.fit()
    for index in range(1, N_TABLES):
        table, limit = tables.magnitude_bits(index), max_magnitude(index)
        bits[index, :limit + 1] = table
        escaped = np.arange(limit + 1, 256)
        bits[index, limit + 1:] = table[-1] + 2 * np.log2(1 + (escaped - limit) / scale_of(index))
    return bits


Variants = dict[str, tuple[str, Callable[[D4Network, Any], None] | None]]
VARIANTS: dict[str, Variants] = {
    "d4-codec": {
        "step-0": ("start", None),
        "no-residuals": ("best", remove_residuals),
        "frozen-scales": ("best", freeze_scales),
    },
    "d4-inter": {
        "step-0": ("start", None),
        "no-reference": ("best", hide_reference),
        "no-code-context": ("best", hide_code_context),
    },
    "d4-filter": {"no-filter": ("best", remove_filter)},
}


def write_variants(name: str, run: Path, data: Path, settings: Mapping[str, str]) -> None:
    """Write every variant of the finished run of a recipe."""
    recipe = recipes.find(name)
    options = parse_options(recipe.Options(), settings)
    dataset = recipe.open_dataset(data, Cache(run / "frames"), options)
    for variant, (state, change) in VARIANTS[name].items():
        model = recipe.build(options)
        # Parameters that the run did not train, such as a later filter, are those of the base.
        trained = trainer.read_tensors(run / f"{state}.safetensors")
        trainer.set_parameters(model, trainer.copy_parameters(model) | trained)
        model.requires_grad_(False)
        if change is not None:
            change(model, dataset)
        recipe.export(model, dataset, run / variant, options)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=VARIANTS)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    if wrong := [setting for setting in arguments.set if "=" not in setting]:
        parser.error(f"--set is {wrong[0]!r}; give NAME=VALUE.")
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    try:
        write_variants(arguments.recipe, arguments.run, arguments.data, settings)
    except AEHubError as err:
        sys.exit(f"{parser.prog}: {err}")


if __name__ == "__main__":
    main()
