"""The same codes of frames that stand alone, in every way a machine may compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from codec.golden_files import digest

import aehub
from aehub.clips.colour import from_rgb
from aehub.clips.frames import Colour, Planes
from aehub.codec.model import Codec
from aehub.hub import find
from material import moving_picture


@pytest.fixture(scope="module")
def texture() -> list[Planes]:
    return [from_rgb(frame, Colour(6)) for frame in moving_picture(3, 160, 96, seed=5)]


@pytest.mark.parametrize("quality", [0, 33.33, 50, 100])
def test_the_bundled_model_reads_what_any_precision_wrote(
    texture: list[Planes], quality: float
) -> None:
    folder = find("d4-codec")
    single = Codec(Codec.from_pretrained(folder).stored, batch=2)
    double = Codec.from_pretrained(folder, dtype=torch.float64)
    payload, _ = single.encode_group(texture, quality)
    first = single.read_codes(payload, 3, (160, 96), quality)
    second = double.read_codes(payload, 3, (160, 96), quality)
    assert digest([first]) == digest([second])
    assert double.write_codes(second, quality) == payload


def test_what_the_encoder_shows_is_what_the_decoder_sees(texture: list[Planes]) -> None:
    model = aehub.load()
    payload, shown = model.encode_group(texture, 60, decode=True)
    seen = model.decode_group(payload, 3, (160, 96), 60, size=(160, 96))
    for first, second in zip(shown, seen, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("quality", [0, 20, 50, 100])
def test_no_code_of_the_encoder_is_lost_on_the_way(texture: list[Planes], quality: float) -> None:
    model = aehub.load()
    codes = model.encode_planes(texture, quality)
    read = model.read_codes(model.write_codes(codes, quality), 3, (160, 96), quality)
    assert torch.equal(read.hyper, codes.hyper)
    assert torch.equal(read.latent, codes.latent)
