"""Recipe of `sandwich-av1`: pairs of clips and AV1, further corrections, model folders."""

from __future__ import annotations

import copy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import aehub
from aehub.codecs.sandwich import mixing
from aehub.codecs.sandwich.alignment import PRECISION
from aehub.codecs.sandwich.codec import SandwichCodec
from aehub.errors import InputError
from aehub.media.picture import Picture
from aehub.training.data import Cache
from aehub.training.recipes import sandwich_av1
from aehub.training.recipes.sandwich_av1 import Av1Pairs, Options
from aehub.training.recipes.sandwich_filters import mixing_weights, principal_filters
from aehub.training.run import train
from material import moving_picture, write_clip

SMALL = {"width": 8, "layers": 1, "candidates": 3, "encodes": 2, "size": 64, "batch": 4}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(3):
        write_clip(folder / f"clip{number}.mkv", moving_picture(12, 160, 128, seed=number), fps=25)
    return folder


@pytest.fixture(scope="module", params=[1, 2])
def pairs(request: pytest.FixtureRequest, clips: Path,
          tmp_path_factory: pytest.TempPathFactory) -> Av1Pairs:
    options = Options(scale=request.param, **SMALL)
    return sandwich_av1.open_dataset(clips, Cache(tmp_path_factory.mktemp("cache")), options)


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_crop_is_the_fold_of_the_turned_picture(turn: int) -> None:
    rng = np.random.default_rng(turn)
    planes = [rng.integers(0, 256, (n, n), np.uint8) for n in (12, 6, 6)]
    turned = Picture(np.rot90(p.T if turn & 4 else p, turn & 3) for p in planes)
    folded = mixing.fold(Picture(planes), 12, 12)
    assert np.array_equal(sandwich_av1._turned(folded, turn), mixing.fold(turned, 12, 12))
    both = sandwich_av1._turned(np.stack([folded, folded]), turn)
    assert np.array_equal(both[1], mixing.fold(turned, 12, 12))


def test_pairs_are_what_av1_left_of_the_clips(pairs: Av1Pairs) -> None:
    scale = pairs.options.scale
    frame, differences, decoded, originals, quantisers, errors = next(pairs.batches(0, 1))
    assert frame.shape == (4, 6, 32, 32) and quantisers.shape == (4, 5)
    assert differences.shape == (4, 4, 6, 32, 32) and differences.dtype == np.int8
    assert decoded.shape == originals.shape == (4, 6, 32 * scale, 32 * scale)
    lost = np.square(originals.astype(float) - decoded).mean((1, 2, 3))
    assert np.all(lost > 0) and np.all(lost < 3000) and np.all(errors > 0)
    assert len({*quantisers[:, 0]}) > 1
    if scale == 1:
        assert np.array_equal(frame, decoded)
    sources = [{encode.source for encode in pairs._encodes[out]} for out in (False, True)]
    assert sources[0] and sources[1] and not sources[0] & sources[1]


@pytest.mark.parametrize("references", [0, 1])
def test_fewer_references_are_the_best_of_either_side(pairs: Av1Pairs, references: int) -> None:
    fewer = copy.copy(pairs)
    fewer.options = replace(pairs.options, references=references)
    encode = pairs._encodes[False][0]
    all_of_them, some = (one._frame(encode, 1)[1] for one in (pairs, fewer))
    kept = [0, 2][:2 * references]
    assert np.array_equal(some, all_of_them[kept])
    numbers, other = (one._numbers(encode, 1)[0] for one in (pairs, fewer))
    assert np.array_equal(other, numbers[[0, *(1 + n for n in kept)]])


def test_further_corrections_leave_less_than_the_first_which_stays(pairs: Av1Pairs) -> None:
    torch.manual_seed(0)
    model = sandwich_av1.build(pairs.options).eval()
    with torch.no_grad():
        model.tail.weight.normal_(0, 0.02)
    before = model.last_layer()[0][0].detach().clone()
    sandwich_av1.solve_corrections(model, pairs)
    assert torch.equal(model.last_layer()[0][0], before)
    for encode in pairs._encodes[False]:
        statistics = mixing.Statistics(model.candidates)
        for t in range(6):
            frame, differences, decoded, original = pairs._frame(encode, t)
            with torch.inference_mode():
                found = model(torch.from_numpy(frame[None].astype(np.float32)),
                              torch.from_numpy(differences[None] / np.float32(PRECISION)),
                              torch.tensor([encode.quantisers[t]], dtype=torch.float32))
            statistics.add(decoded, found[0].numpy(), original)
        one, all_of_them = (statistics.errors(statistics.solve(1, k)) for k in (1, 3))
        assert np.all(all_of_them < 0.995 * one)


@pytest.mark.parametrize(("groups", "count"), [(40, 3), (40, 1), (1, 4), (2, 6)])
def test_directions_explain_groups_that_differ_in_two(groups: int, count: int) -> None:
    rng = np.random.default_rng(0)
    first, large, small = (torch.from_numpy(rng.normal(0, size, (5, 2))).float()
                           for size in (1, 0.5, 0.1))
    x = torch.from_numpy(rng.normal(0, 1, (groups, 1, 5, 60))).float()
    grams = x @ x.mT
    amounts = torch.from_numpy(rng.normal(0, 1, (groups, 2))).float()
    optima = first + amounts[:, :1, None] * large + amounts[:, 1:, None] * small
    moments = grams @ optima[:, None]
    filters = principal_filters(first, grams, moments, torch.ones(groups), count)
    assert filters.shape == (count, 5, 2) and torch.equal(filters[0], first)
    weights = mixing_weights(filters, grams.flatten(0, 1), moments.flatten(0, 1))
    left = (torch.einsum("nk,kfo->nfo", weights, filters) - optima).square().mean()
    alone = (first - optima).square().mean()
    assert left < alone + 1e-6 if count == 1 else left < 0.02 * alone
    sizes = filters[1:].square().mean((1, 2))
    assert torch.all(sizes[1:] <= 1.5 * sizes[:-1] + 1e-6)


def test_runs_export_a_model_whose_parts_are_both_trained(clips: Path, tmp_path: Path) -> None:
    changes = {name: str(value) for name, value in SMALL.items()}
    train("sandwich-av1", data=clips, out=tmp_path / "one", steps=3, options=changes)
    first = tmp_path / "one/model"
    train("sandwich-av1", data=clips, out=tmp_path / "two", steps=3,
          options={**changes, "scale": "2", "base": str(first)})
    one, two = (SandwichCodec.from_pretrained(folder).network
                for folder in (first, tmp_path / "two/model"))
    assert torch.equal(one.restorer.tail.weight, two.restorer.tail.weight)
    assert not torch.equal(one.upscaler.tail.weight, two.upscaler.tail.weight)
    frames = np.stack(moving_picture(10, 96, 80))
    aehub.compress(frames, tmp_path / "a.aev", model=tmp_path / "two/model", fps=Fraction(25))
    assert len(list(aehub.decompress(tmp_path / "a.aev", model=tmp_path / "two/model"))) == 10


@pytest.mark.parametrize(("changes", "said"), [
    ({"candidates": 16}, "candidates is 16; it goes from 1 to 15"),
    ({"references": 3}, "references is 3; it goes from 0 to 2"),
    ({"size": 130}, "130x130 or more are of fewer than two recordings"),
])
def test_options_that_no_model_can_have_are_refused_before_training(
    clips: Path, tmp_path: Path, changes: dict[str, int], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        sandwich_av1.open_dataset(clips, Cache(tmp_path), Options(**{**SMALL, **changes}))
