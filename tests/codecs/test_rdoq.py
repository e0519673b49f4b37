"""RDOQ where texture masks errors: fewer codes there, the same elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import aehub
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.d4.quantisation import Quantiser
from aehub.codecs.gop import FrameSlot
from aehub.coding.range_coder import ScaleTables
from aehub.media.picture import Picture

QUALITY = 45.0


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return aehub.load(device="cpu")


@pytest.fixture(scope="module")
def picture() -> Picture:
    """Rough on the left, faint waves on the right."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:192, :192]
    luma = 120 + 4 * np.sin(x / 5) * np.cos(y / 4)
    luma[:, :96] += rng.normal(0, 30, (192, 96))
    grey = np.full((96, 96), 128, np.uint8)
    return Picture((luma.clip(0, 255).astype(np.uint8), grey, grey))


def without_masking(model: D4Codec) -> D4Codec:
    stored = model.stored
    settings = {n: v for n, v in stored.config["encoder"].items() if n != "masking"}
    other = D4Codec(type(stored)(stored.name, stored.network, stored.tables,
                                 {**stored.config, "encoder": settings}, stored.self_test,
                                 stored.inter_tables))
    assert other.config["encoder"] != model.config["encoder"]
    return other


def test_a_larger_weight_makes_no_code_larger_and_weight_one_changes_none() -> None:
    quantiser = Quantiser(ScaleTables.fit(), {"lambda": 0.05}, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    values = 3 * torch.randn(1, 8, 16, 16, generator=generator)
    index = torch.randint(0, 64, values.shape, generator=generator)
    plain = quantiser(values, index)
    assert torch.equal(quantiser(values, index, torch.ones(1, 1, 16, 16)), plain)
    heavy = quantiser(values, index, torch.full((1, 1, 16, 16), 2.0))
    assert (heavy.abs() <= plain.abs()).all() and (heavy != plain).any()
    # However heavy, a code whose magnitude is a whole number of steps stays.
    whole = values.round()
    assert torch.equal(quantiser(whole, index.clamp(min=1), torch.full((1, 1, 16, 16), 1e6)), whole)


def test_busy_places_get_fewer_codes(model: D4Codec, picture: Picture) -> None:
    masked, plain = (m.encode_planes([picture], QUALITY).latent.abs()[0]
                     for m in (model, without_masking(model)))
    busy, calm = (slice(0, 10), slice(14, 24))
    assert masked[..., busy].sum() < 0.98 * plain[..., busy].sum()
    assert masked[..., calm].sum() >= plain[..., calm].sum()


def test_a_picture_has_the_same_codes_alone_and_first_in_a_clip(
    model: D4Codec, picture: Picture
) -> None:
    alone = model.encode_planes([picture], QUALITY)
    encoder = FrameEncoder(model.runtime, QUALITY)
    shown = encoder.shown(encoder.encode(FrameSlot(0, (), None), picture))
    decoded = model.decode_codes(alone, QUALITY)
    for a, b in zip(shown, decoded, strict=True):
        assert torch.equal(a, b)
