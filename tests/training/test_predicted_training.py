"""Training of predicted frames and of filters, each with the other parts kept as they were."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.classical_init import tilt_step_sizes
from aehub.codecs.d4.network import D4Network, InterCondition
from aehub.codecs.d4.planes import unshuffle
from aehub.codecs.d4.transforms import block_dct
from aehub.coding.range_coder import scale_of
from aehub.errors import InputError
from aehub.training import train
from aehub.training.recipes import d4_filter, d4_inter, d4_upscale
from aehub.training.recipes.d4_filter import CHANNELS
from aehub.training.run import parse_options
from material import moving_picture, write_clip

TINY = Path(__file__).parents[1] / "golden" / "tiny-d4"
SIDE = 8
QUALITY = torch.tensor([50.0])


@pytest.fixture(scope="module")
def fresh() -> D4Network:
    """The inter half at its classical start."""
    torch.manual_seed(0)
    return d4_inter.build(d4_inter.Options(base=str(TINY)))


def prediction(seed: int) -> Tensor:
    """A rough picture as networks are condition it, [1, 96, SIDE, SIDE]."""
    rng = torch.Generator().manual_seed(seed)
    return 0.25 * torch.randn(1, CHANNELS, SIDE, SIDE, generator=rng).clamp(-2, 2)


def shown(model: D4Network, latent: Tensor, pixels: Tensor) -> Tensor:
    condition = InterCondition(pixels, torch.empty(0), 0)
    return unshuffle(model.inter.synthesise(latent, QUALITY, condition))


def test_a_step_of_training_moves_a_picture_by_less_than_two_grey_levels(fresh: D4Network) -> None:
    # Adam moves every parameter by about its rate, whatever that does to the picture.
    model, pixels = copy.deepcopy(fresh), prediction(0)
    latent = torch.randint(-1, 2, pixels.shape, generator=torch.Generator().manual_seed(1)).float()
    before = shown(model, latent, pixels)
    (before * prediction(2)).sum().backward()
    with torch.no_grad():
        for factor, parameters in d4_inter.parameter_groups(model).items():
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter -= factor * d4_inter.LEARNING_RATE * parameter.grad.sign()
        moved = 255 * (shown(model, latent, pixels) - before).square().mean().sqrt()
    assert 0 < moved < 2


@torch.no_grad()
def test_tilted_steps_grow_with_the_frequency_of_luma_and_tables_follow() -> None:
    plain = checkpoint.load(TINY).network
    tilted = copy.deepcopy(plain)
    tilt_step_sizes(tilted, 0.4)
    dct, growth = block_dct(), (plain.gains(QUALITY) / tilted.gains(QUALITY)).flatten().log()
    assert torch.allclose(growth[torch.from_numpy(dct.chroma)], torch.zeros(1))
    assert float(growth[dct.frequency.argmax()]) == pytest.approx(0.3, abs=1e-5)
    assert float(growth[0]) == pytest.approx(-0.1, abs=1e-5)
    # A step that is larger by e makes codes smaller by e: so much lies between their tables.
    begin, end = plain.pass_channels[3]
    before, after = (m.scales.pass_layers(3).last_bias for m in (plain, tilted))
    moved = (before.values - after.values)[0, before.orbits]
    expected = growth[begin:end] / math.log(scale_of(9) / scale_of(8))
    assert moved.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.slow
def test_training_leaves_tilted_steps_and_counts_the_tables_anew(tmp_path: Path) -> None:
    data = tmp_path / "clips"
    data.mkdir()
    for seed, name in enumerate(("meadow", "harbour")):
        write_clip(data / f"{name}.mp4", moving_picture(20, width=64, height=32, seed=seed))
    base = checkpoint.load(TINY)
    options = {"base": str(TINY), "start": str(TINY), "masking": "20",
               "tilt": "0.4", "base_tilt": "0.4", "size": "32", "batch": "1", "fit_steps": "0"}
    trained = checkpoint.load(train(d4_inter.NAME, data=data, out=tmp_path / "run", steps=2,
                                    options=options))
    assert trained.network.inter.masking_exponent == 0.2
    expected = copy.deepcopy(base.network)
    for half in (expected, expected.inter):
        tilt_step_sizes(half, 0.4)
    for mine, theirs in ((trained.network, expected),
                         (trained.network.inter, expected.inter)):
        assert torch.equal(mine.gain.values, theirs.gain.values)
    assert (trained.tables.frequencies != base.tables.frequencies).any()
    assert trained.entropy_hash != base.entropy_hash


def test_filters_alone_are_trained_and_codes_stay(tmp_path: Path) -> None:
    data = tmp_path / "clips"
    data.mkdir()
    for seed, name in enumerate(("meadow", "harbour")):
        write_clip(data / f"{name}.mp4", moving_picture(9, width=64, height=32, seed=seed))
    options = {"base": str(TINY), "clips": "2", "size": "32", "batch": "2", "fields": "1",
               "layers": "1"}
    folder = train(d4_filter.NAME, data=data, out=tmp_path / "run", steps=4, options=options)
    base, trained = checkpoint.load(TINY), checkpoint.load(folder)
    assert trained.entropy_hash == base.entropy_hash
    assert trained.synthesis_hash != base.synthesis_hash
    before, after = base.network.state_dict(), trained.network.state_dict()
    changed = {n for n, value in after.items() if n not in before or not
               np.array_equal(value, before[n])}
    assert changed == {n for n in after if n.startswith(("post_filter.", "inter.post_filter."))}

    # Trained on, one half anew: the other begins where it ended.
    options |= {"base": str(folder), "anew": "still"}
    model = d4_filter.build(parse_options(d4_filter.Options(), options)).state_dict()
    assert not model["post_filter.tail.theta"].any()
    assert torch.equal(model["inter.post_filter.tail.theta"], after["inter.post_filter.tail.theta"])


def test_the_upscaler_alone_is_trained_and_no_file_depends_on_it(tmp_path: Path) -> None:
    data = tmp_path / "clips"
    data.mkdir()
    for seed, name in enumerate(("meadow", "harbour", "field")):
        write_clip(data / f"{name}.mkv", moving_picture(9, width=128, height=64, seed=seed))
    options = {"base": str(TINY), "clips": "3", "size": "32", "batch": "2", "fields": "1",
               "blocks": "1"}
    folder = train(d4_upscale.NAME, data=data, out=tmp_path / "run", steps=4, options=options)
    base, trained = checkpoint.load(TINY), checkpoint.load(folder)
    assert trained.entropy_hash == base.entropy_hash
    assert trained.synthesis_hash == base.synthesis_hash
    assert trained.upscaler is not None
    tail = trained.upscaler.state_dict()["tail.theta"]
    assert tail.any()

    # Trained on, it begins where it ended.
    options |= {"start": str(folder)}
    model = d4_upscale.build(parse_options(d4_upscale.Options(), options))
    assert torch.equal(model.state_dict()["tail.theta"], tail)
    # Filters trained on that model keep it.
    filtered = train(d4_filter.NAME, data=data, out=tmp_path / "filter", steps=2, options={
        "base": str(folder), "clips": "2", "size": "32", "batch": "2", "fields": "1",
        "layers": "1"})
    assert checkpoint.load(filtered).upscaler is not None


def test_filters_that_cannot_be_trained_are_refused() -> None:
    options = {"base": str(TINY), "anew": "both"}
    with pytest.raises(InputError, match="give all, still or predicted"):
        d4_filter.build(parse_options(d4_filter.Options(), options))
