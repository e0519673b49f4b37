"""Learned scaling: begins as Lanczos interpolation, commutes with D4, belongs to no hash."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import aehub
from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.planes import PlaneBatch, from_batch, to_batch
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.upscaler import Upscaler
from aehub.errors import WeightsError
from aehub.hub import find
from aehub.media.colour import from_rgb
from aehub.media.orientation import ORDER, turn
from aehub.media.picture import Colour, Picture
from aehub.media.scaling import upscale
from material import moving_picture

GOLDEN = Path(__file__).parents[1] / "golden"
QUALITY = torch.tensor([37.0])


def picture(width: int = 96, height: int = 64) -> Picture:
    return from_rgb(moving_picture(1, width, height)[0], Colour(6))


def planes(width: int = 96, height: int = 64) -> PlaneBatch:
    return to_batch([picture(width, height)], torch.device("cpu"), torch.float32)


@torch.no_grad()
def trained(seed: int = 1) -> Upscaler:
    """Weights as large as trained ones."""
    torch.manual_seed(seed)
    network = Upscaler(2, 1)
    for module in network.modules():
        if isinstance(module, TiedConv2d):
            module.theta.copy_(torch.randn_like(module.theta) * 0.1)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def test_a_new_network_is_lanczos_interpolation() -> None:
    (found,) = from_batch(Upscaler(1, 0)(planes(), QUALITY), (0, 0), (192, 128))
    for one, other in zip(found, upscale(picture()), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@torch.inference_mode()
@pytest.mark.parametrize("g", range(ORDER))
def test_scaling_commutes_with_turns(g: int) -> None:
    network, straight = trained(), planes()
    turned = network(PlaneBatch(*(turn(plane, g).contiguous() for plane in straight)), QUALITY)
    for one, other in zip(turned, network(straight, QUALITY), strict=True):
        assert (one - turn(other, g)).abs().max() < 1e-4
    assert (network(straight, QUALITY).y - Upscaler(1, 0)(straight, QUALITY).y).abs().max() > 0.01


def test_the_model_takes_at_most_20_thousand_multiplications_a_pixel() -> None:
    upscaler = aehub.load("d4-codec").stored.upscaler
    assert upscaler is not None
    macs = 0

    def count(layer: TiedConv2d, inputs: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output[0].numel() * int(np.prod(layer.shape[1:]))

    hooks = [module.register_forward_hook(count) for module in upscaler.modules()
             if isinstance(module, TiedConv2d)]
    with torch.inference_mode():
        large = upscaler(planes(), QUALITY)
    for hook in hooks:
        hook.remove()
    assert 1000 < macs / large.y.numel() <= 20_000


def test_files_do_not_depend_on_it(tmp_path: Path) -> None:
    base, with_one = checkpoint.load(GOLDEN / "tiny-d4"), trained()
    checkpoint.save(tmp_path, replace(base, upscaler=with_one))
    loaded = checkpoint.load(tmp_path)
    assert (loaded.entropy_hash, loaded.synthesis_hash) == (base.entropy_hash, base.synthesis_hash)
    assert loaded.upscaler is not None and loaded.upscaler.config == {"fields": 2, "blocks": 1}
    for name, value in with_one.state_dict().items():
        assert torch.equal(value, loaded.upscaler.state_dict()[name])
    # A model loaded and saved keeps it.
    aehub.load(str(tmp_path)).save_pretrained(tmp_path / "again")
    assert checkpoint.load(tmp_path / "again").upscaler is not None


@pytest.mark.parametrize("arguments", [
    {"fields": 0, "blocks": 1}, {"fields": 2, "blocks": 99}, {"fields": 2}, None, {},
    {"fields": 2, "blocks": 1, "more": 1},
])
def test_other_arguments_are_refused(tmp_path: Path, arguments: object) -> None:
    checkpoint.save(tmp_path, replace(checkpoint.load(GOLDEN / "tiny-d4"), upscaler=trained()))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"upscaler": arguments}))
    with pytest.raises(WeightsError, match="allowed are fields 1 to 16, blocks 0 to 8"):
        checkpoint.load(tmp_path)


def test_tensors_without_arguments_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, replace(checkpoint.load(GOLDEN / "tiny-d4"), upscaler=trained()))
    config = json.loads((tmp_path / "config.json").read_text())
    del config["upscaler"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="allowed are fields"):
        checkpoint.load(tmp_path)


def test_the_bundled_upscaler_is_better_than_interpolation() -> None:
    assert checkpoint.load(find("d4-codec")).upscaler is not None
    original = moving_picture(1, 192, 128, seed=3)[0]
    small = original.reshape(64, 2, 96, 2, 3).mean((1, 3)).round().astype(np.uint8)
    model = aehub.load("d4-codec")
    with torch.inference_mode():
        codes = model.encode_planes([from_rgb(small, Colour(6))], 70)
        decoded = model.decode_codes(codes, 70)
        (learned,) = from_batch(model.stored.upscaler(decoded, torch.tensor([70.0])), (0, 0),
                                (192, 128))
        (shown,) = from_batch(decoded, (0, 0), (96, 64))
    wanted = from_rgb(original, Colour(6))[0].astype(float)
    errors = [np.square(wanted - plane).mean() for plane in (upscale(shown)[0], learned[0])]
    assert errors[1] < errors[0]
