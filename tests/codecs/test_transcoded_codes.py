"""Rotating and flipping the codes of intra frames does so to the picture, exactly."""

from __future__ import annotations

import pytest
import torch

import aehub
from aehub.codecs.d4.checkpoint import StoredModel, make_self_test
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.network import HYPER_LATENTS, Codes, D4Network
from aehub.codecs.d4.planes import PlaneBatch
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.coding.range_coder import ScaleTables
from aehub.media.colour import from_rgb
from aehub.media.orientation import ELEMENTS, turn
from aehub.media.picture import Colour
from golden_files import MODEL
from material import moving_picture

QUALITY = 61.8
every_element = pytest.mark.parametrize("g", ELEMENTS.values(), ids=ELEMENTS.keys())


@torch.no_grad()
def random_model() -> D4Codec:
    """A codec without a single parameter at its start."""
    torch.manual_seed(11)
    network = D4Network(2, 0, 2, filter_fields=1, filter_layers=1)
    for module in network.modules():
        if isinstance(module, TiedConv2d):
            fan = module.inputs.channels * module.kernel**2
            module.theta.copy_(torch.randn_like(module.theta) / fan**0.5)
    for name, parameter in network.named_parameters():
        if name.endswith(".values"):
            parameter.add_(torch.randn_like(parameter) * 0.2)
    network.scales.constrain()
    network.eval().requires_grad_(False)
    return D4Codec(StoredModel("random", network, ScaleTables.fit(), {}, make_self_test(network)))


MODELS = {
    "bundled": lambda: aehub.load(device="cpu"),
    "tiny": lambda: D4Codec.from_pretrained(MODEL),
    "random": random_model,
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest) -> D4Codec:
    return request.param()


@pytest.fixture(scope="module")
def codes(model: D4Codec) -> Codes:
    """The codes of two frames of 192x128 with real texture."""
    frames = [from_rgb(frame, Colour(6)) for frame in moving_picture(2, 192, 128, seed=4)]
    return model.encode_planes(frames, QUALITY)


@pytest.fixture(scope="module")
def planes(model: D4Codec, codes: Codes) -> PlaneBatch:
    return model.decode_codes(codes, QUALITY)


def turned(model: D4Codec, codes: Codes, g: int) -> Codes:
    return Codes(HYPER_LATENTS.act(codes.hyper, g),
                 model.network.representation.act(codes.latent, g))


@every_element
def test_decoding_turned_codes_gives_the_turned_picture(
    model: D4Codec, codes: Codes, planes: PlaneBatch, g: int
) -> None:
    for found, plane in zip(model.decode_codes(turned(model, codes, g), QUALITY), planes):
        assert (found - turn(plane, g)).abs().max() < 1e-4 * plane.abs().max().clamp(min=1)


def test_pictures_are_not_symmetric_by_themselves(planes: PlaneBatch) -> None:
    for plane in planes:
        for g in (1, 2, 3):
            assert (plane - turn(plane, g)).abs().max() > 0.1
