"""The recipe of `emoji-vae` at toy size, through the loop that all recipes share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aehub.generators.vae import PictureVAE
from aehub.training import train
from aehub.training.pictures import PictureSet
from aehub.training.recipes import emoji_vae
from aehub.weights import stored_network

TINY = {"latent": "64", "width": "8", "blocks": "1", "detail": "8", "batch": "8",
        "report_seconds": "60"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (50, 5, 5, 3), np.uint8)
    images = np.stack([np.asarray(Image.fromarray(c).resize((64, 64))) for c in coarse])
    np.savez(data / "set.npz", images=images, names=np.array([f"THING {n}" for n in range(50)]))
    return data


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train("emoji-vae", data=folder, out=out, steps=20, options=TINY)
    return out


def test_a_run_goes_on_where_it_stopped_and_lowers_the_held_out_cost(
        folder: Path, run: Path) -> None:
    train("emoji-vae", data=folder, out=run, steps=60, options=TINY, resume=True)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps) and 20 in steps and steps[-1] == 60
    # The rate is still warming up; seeds decide everything, so this is the same everywhere.
    assert rows[-1]["held_out_cost"] < 0.95 * rows[0]["held_out_cost"]


def test_the_exported_model_is_whitened_over_the_training_pictures(
        folder: Path, run: Path) -> None:
    model = stored_network.load(run / "model").network
    assert isinstance(model, PictureVAE)
    plain = PictureSet.open(folder).plain
    latents = model.to_latents(torch.from_numpy(plain).permute(0, 3, 1, 2) / 255)
    # Fewer pictures than latents: their variances add up to one for each picture but one.
    assert torch.allclose(latents.mean(0), torch.zeros(64), atol=0.05)
    assert len(model.anchors) == len(plain)
    assert torch.allclose(latents, model.anchors, atol=0.2)


def test_edges_of_a_blurred_picture_are_weaker() -> None:
    sharp = torch.zeros(1, 3, 64, 64)
    sharp[..., 32:] = 1
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    soft, hard = (emoji_vae.edge_strength(p)[..., 4:-4, 4:-4].square().sum()
                  for p in (blurred, sharp))
    assert soft < 0.5 * hard
