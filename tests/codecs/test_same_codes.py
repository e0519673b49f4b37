"""The same codes and pictures of the bundled model on both sides and in any precision."""

from __future__ import annotations

import pytest
import torch

from aehub.codecs.d4.codec import D4Codec
from aehub.hub import find
from aehub.media.picture import Picture
from bitstream.examples import file_header
from material import moving_picture
from predicted_files import encoded, equal_frames, planes_of, turned_group


@pytest.fixture(scope="module")
def texture() -> list[Picture]:
    return planes_of(moving_picture(3, 160, 96, seed=5))


@pytest.fixture(scope="module")
def single() -> D4Codec:
    return D4Codec.from_pretrained(find("d4-codec"))


@pytest.mark.parametrize("quality", [0, 33.33, 50, 100])
def test_the_bundled_model_reads_what_any_precision_wrote(
    single: D4Codec, texture: list[Picture], quality: float
) -> None:
    double = D4Codec.from_pretrained(find("d4-codec"), dtype=torch.float64)
    group = encoded(texture, quality, (2,), single)
    for frame, codes, exact in zip(group.written, group.frames(single), group.frames(double),
                                   strict=True):
        assert equal_frames(codes, frame) and equal_frames(exact, frame)
    head = file_header(width=160, height=96)
    assert turned_group(double, group.payload, group.header, head, 0)[0] == group.payload


def test_what_the_encoder_shows_is_what_the_decoder_sees(
    single: D4Codec, texture: list[Picture]
) -> None:
    group = encoded(texture, 60, (2,), single)
    seen = group.pictures(single)
    assert seen.keys() == group.decoded.keys() == {0, 1, 2}
    for number, planes in seen.items():
        for first, second in zip(planes, group.decoded[number], strict=True):
            assert torch.equal(first, second)
