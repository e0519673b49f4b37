"""Texture masking: larger steps where the prediction has texture, and only there."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.checkpoint import StoredModel
from aehub.codecs.d4.network import D4Network, InterCondition, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.quantisation import texture_masking

WEIGHTS = Path(__file__).parents[2] / "weights" / "d4-codec"


def picture(deviation: float) -> Tensor:
    """Noise of so many grey levels, [1, 96, 8, 8]."""
    torch.manual_seed(1)
    sizes = ((1, 1, 64, 64), (1, 1, 32, 32), (1, 1, 32, 32))
    return unshuffle(PlaneBatch(*(torch.randn(s) * deviation / 255 for s in sizes)))


def turned(pixels: Tensor) -> Tensor:
    """The same picture turned by a quarter."""
    luma = torch.nn.functional.pixel_shuffle(pixels[:, :64], 8).rot90(1, (2, 3))
    rest = torch.zeros(1, 1, 32, 32)
    return unshuffle(PlaneBatch(luma, rest, rest))


def test_noise_of_a_known_variance_masks_by_the_formula() -> None:
    got = texture_masking(picture(20.0), 0.1)
    assert got.shape == (1, 1, 8, 8)
    assert float(got.log().mean()) == pytest.approx(0.1 * math.log(430 / 300), abs=0.01)


@pytest.mark.parametrize(("deviation", "bound"), [(0.0, 0.5), (100.0, 2.0)])
def test_no_step_is_halved_or_doubled_further(deviation: float, bound: float) -> None:
    factors = texture_masking(picture(deviation), 5.0).flatten().tolist()
    assert factors == pytest.approx([bound] * 64)


def test_no_exponent_changes_no_step() -> None:
    assert torch.equal(texture_masking(picture(20.0), 0.0), torch.ones(1, 1, 8, 8))


def test_brightness_alone_masks_nothing() -> None:
    pixels = picture(5.0)
    bright = pixels + 0.3
    assert torch.allclose(texture_masking(bright, 0.3), texture_masking(pixels, 0.3), atol=1e-4)


def test_the_factors_turn_with_the_picture() -> None:
    pixels = picture(20.0) * torch.linspace(0, 2, 8)
    plain, other = texture_masking(pixels, 0.3), texture_masking(turned(pixels), 0.3)
    assert plain.std() > 0.05
    assert torch.allclose(other, plain.rot90(1, (2, 3)), atol=1e-5)


def test_only_steps_of_predicted_frames_follow_the_prediction() -> None:
    model = D4Network(1, 0, 0, inter_masking=20)
    busy = InterCondition(picture(60.0), torch.zeros(1, 99, 8, 8), 0)
    quality = quality_tensor(50, busy.prediction)
    factor = model.inter.gains(quality) / model.inter.gains(quality, busy)
    assert torch.allclose(factor, texture_masking(busy.prediction, 0.2).expand_as(factor))
    assert factor.min() > 1.3
    with torch.no_grad():  # In compiled loops.
        compiled = model.inter.gains(quality, busy)
    assert torch.allclose(compiled, model.inter.gains(quality, busy), rtol=1e-5, atol=0)


def with_masking(folder: Path, value: object) -> StoredModel:
    shutil.copytree(WEIGHTS, folder)
    config = folder / "config.json"
    described = json.loads(config.read_text())
    described["arguments"]["inter_masking"] = value
    config.write_text(json.dumps(described))
    return checkpoint.load(folder)


def test_files_of_a_model_that_masks_otherwise_are_of_another_revision(tmp_path: Path) -> None:
    base = checkpoint.load(WEIGHTS)
    network = D4Network(**base.network.config | {"inter_masking": 33})
    network.load_state_dict(base.network.state_dict())
    checkpoint.save(tmp_path, replace(base, network=network))
    other = checkpoint.load(tmp_path)
    assert other.network.inter.masking_exponent == pytest.approx(0.33)
    assert other.entropy_hash == base.entropy_hash
    assert other.synthesis_hash != base.synthesis_hash


@pytest.mark.parametrize("value", [0, 51, "10"])
def test_an_exponent_out_of_range_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(checkpoint.WeightsError, match="inter_masking 1 to 50"):
        with_masking(tmp_path / "model", value)
