"""`dense-28` at toy size: trained by the one trainer, without data, on glyphs it draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aehub
from aehub.errors import InputError
from aehub.generators.dense import DenseAutoencoder
from aehub.training import train
from aehub.training.recipes import dense_28
from aehub.training.recipes.dense_28 import (
    SUBSETS,
    UNSEEN_CHARACTERS,
    UNSEEN_ROTATION,
    UNSEEN_STROKE,
    GlyphBatches,
    glyphs,
    random_style,
    upright,
)

TOY = {"glyphs": "960", "batch": "32", "epochs": "6"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train("dense-28", data=None, out=out, options=TOY)
    return out


def test_a_run_needs_no_data_and_no_budget(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    # A report after each epoch, step 0 first.
    assert [row["step"] for row in rows] == [0, 30, 60, 90, 120, 150, 180]
    assert rows[-1]["held_out_cost"] < 0.8 * rows[0]["held_out_cost"]


def test_the_trained_model_loads_and_draws(run: Path) -> None:
    model: Any = aehub.load(run / "model", device="cpu")
    pictures = model.decode(model.sample([1, 2, 3]))
    assert model.name == "dense-28" and pictures[0].shape == (28, 28, 3)
    # Seeds choose among the codes of upright glyphs.
    codes = model.encode(list(glyphs(960, "training", 0)))
    assert np.allclose(model.network.mean, codes.mean(0), atol=1e-4)
    anchors = model.encode(list(upright()))
    assert np.allclose(model.network.anchors, anchors, atol=1e-4)
    assert any(np.allclose(model.sample([5])[0], anchor, atol=1e-4) for anchor in anchors)


def test_both_losses_train_and_others_are_refused() -> None:
    batch = [torch.from_numpy(glyphs(8, "training", 0))]
    for loss in dense_28.LOSSES:
        model = dense_28.build(dense_28.Options(loss=loss))
        values = dense_28.losses(model, batch, torch.Generator())
        values["loss"].backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        assert values["psnr"] == -10 * torch.log10(values["cost"])
    for options in (dense_28.Options(loss="l1"), dense_28.Options(loss="bce", squashed=0)):
        with pytest.raises(InputError, match="give loss=mse"):
            dense_28.build(options)


def test_the_network_is_the_article_s(run: Path) -> None:
    model = DenseAutoencoder()
    shapes = [tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")]
    assert shapes == [(64, 784), (32, 64), (64, 32), (784, 64)]
    x = torch.rand(3, 784)
    hidden = (x @ model.encoder[0].weight.T + model.encoder[0].bias).relu()
    code = hidden @ model.encoder[2].weight.T + model.encoder[2].bias
    assert torch.allclose(model.encode(x), code, atol=1e-5)


@pytest.mark.parametrize("of", SUBSETS)
def test_sets_share_no_condition_that_one_of_them_is_about(of: str) -> None:
    rng = np.random.default_rng(0)
    for style in (random_style(of, rng) for _ in range(200)):
        unseen = [UNSEEN_ROTATION[0] <= abs(style.rotation) <= UNSEEN_ROTATION[1],
                  UNSEEN_STROKE[0] <= style.stroke <= UNSEEN_STROKE[1]]
        assert all(unseen) if of == "conditions" else not any(unseen)
        assert (style.character in UNSEEN_CHARACTERS) == (of == "characters")


def test_glyphs_are_whole_light_on_black_and_always_the_same() -> None:
    pictures = glyphs(60, "training", 3)
    assert pictures.shape == (60, 28, 28) and pictures.dtype == np.uint8
    rim = np.concatenate([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]])
    assert (rim > 0).mean() < 0.03 and (pictures.max((1, 2)) > 200).mean() > 0.9
    assert np.array_equal(pictures, glyphs(60, "training", 3))
    assert not np.array_equal(pictures, glyphs(60, "draws", 3))


def test_an_epoch_shows_every_glyph_once() -> None:
    batches = GlyphBatches(96, batch=32)
    source = batches.batches(0, 5)
    epochs = [np.concatenate([next(source)[0] for _ in range(3)]) for _ in range(2)]
    for shown in epochs:
        assert sorted(map(bytes, shown)) == sorted(map(bytes, batches.training))
    assert not np.array_equal(*epochs)
    again = next(batches.batches(4, 5))[0]
    assert np.array_equal(again, epochs[1][32:64])
