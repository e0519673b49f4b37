"""The same codes everywhere: golden files, in every way a machine may compute."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from codec.golden_files import CLIPS, EXPECTED, GOLDEN, MODEL, codes_of, digest, regenerate

import aehub
from aehub.clips.colour import from_rgb
from aehub.clips.frames import Colour, Planes
from aehub.codec.decompress import decode_frames
from aehub.codec.model import Codec
from aehub.container import open_reader
from aehub.hub import find
from material import moving_picture


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    if os.environ.get("AEHUB_REGENERATE") == "1":
        regenerate()
    return json.loads(EXPECTED.read_text())


def tiny(dtype: torch.dtype = torch.float32, batch: int = 8) -> Codec:
    return Codec(Codec.from_pretrained(MODEL).stored, dtype=dtype, batch=batch)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution in one memory layout, which chooses its algorithm."""
    plain, form = F.conv2d, request.param

    def conv2d(x: torch.Tensor, weight: torch.Tensor, *rest: object, **options: object):
        x, weight = (t.contiguous(memory_format=form) for t in (x, weight))
        return plain(x, weight, *rest, **options)

    monkeypatch.setattr(F, "conv2d", conv2d)


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 8])
def test_golden_files_decode_to_the_same_codes_everywhere(
    name: str, dtype: torch.dtype, batch: int, threads: None, layout: None,
    expected: dict[str, str],
) -> None:
    assert digest(codes_of(GOLDEN / name, tiny(dtype, batch))) == expected[name]


@pytest.mark.parametrize("name", CLIPS)
def test_golden_codes_are_written_to_the_same_bytes(name: str, expected: dict[str, str]) -> None:
    model = tiny(torch.float64, batch=3)
    with open_reader(GOLDEN / name) as reader:
        for group, codes in zip(reader.groups(), codes_of(GOLDEN / name, model), strict=True):
            assert model.write_codes(codes, group.head.quality / 100) == group.payload


@pytest.mark.parametrize("name", CLIPS)
def test_golden_files_hold_codes_of_every_stage(name: str, expected: dict[str, str]) -> None:
    network, codes = tiny().network, codes_of(GOLDEN / name, tiny())
    for hyper, latent in codes:
        assert hyper.any()
        for stage in network.stages(*latent.shape[-2:], latent.device):
            assert (latent[:, stage.begin:stage.end] * stage.mask).any()


@pytest.mark.parametrize("name", CLIPS)
def test_a_surrounding_autocast_changes_no_code(name: str, expected: dict[str, str]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert digest(codes_of(GOLDEN / name, tiny())) == expected[name]


def decoded(name: str, dtype: torch.dtype) -> list[Planes]:
    with open_reader(GOLDEN / name) as reader:
        return [frame.planes for frame in decode_frames(reader, tiny(dtype))]


@pytest.mark.parametrize("name", CLIPS)
def test_pictures_of_golden_files_agree_across_precisions(
    name: str, expected: dict[str, str]
) -> None:
    single, double = (
        np.concatenate([plane.ravel() for planes in decoded(name, dtype) for plane in planes])
        for dtype in (torch.float32, torch.float64)
    )
    apart = np.abs(single.astype(int) - double)
    assert apart.max() <= 1
    assert (apart > 0).mean() <= 0.001


def test_golden_files_have_their_sizes_and_pictures(expected: dict[str, str]) -> None:
    for seed, (name, (width, height, n, *_)) in enumerate(CLIPS.items()):
        frames = np.stack(list(aehub.decompress(GOLDEN / name, model=MODEL)))
        assert frames.shape == (n, height, width, 3)
        error = np.mean((frames.astype(float) - moving_picture(n, width, height, seed)) ** 2)
        # No good codec, but one whose pictures can be told.
        assert 10 * np.log10(255**2 / error) > 20


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
