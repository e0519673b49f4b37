"""Ablated models, and the command that makes them."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

import aehub
from aehub.codecs.d4.network import D4Network
from aehub.codecs.d4.planes import PlaneBatch
from aehub.training.recipes.d4_ablation import hide_reference

QUALITY = torch.tensor([50.0])


def noise(seed: int) -> PlaneBatch:
    generator = torch.Generator().manual_seed(seed)
    return PlaneBatch(*(torch.rand(1, 1, side, side, generator=generator) - 0.5
                        for side in (64, 32, 32)))


def filtered(model: D4Network, prediction: int) -> Tensor:
    post_filter = model.inter.post_filter
    assert post_filter is not None
    with torch.inference_mode():
        result: PlaneBatch = post_filter(noise(0), QUALITY, noise(prediction))
    return result.y


def test_the_post_filter_does_not_see_a_hidden_prediction() -> None:
    model = deepcopy(aehub.load("d4-codec").network)
    assert not torch.allclose(filtered(model, 1), filtered(model, 2))
    hide_reference(model, None)
    assert torch.equal(filtered(model, 1), filtered(model, 2))


@pytest.mark.parametrize("arguments", [["norun", "nodata"], ["norun", "nodata", "--set", "foo"]])
def test_wrong_arguments_are_one_sentence(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aehub.training.recipes.d4_ablation", "d4-codec", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert arguments[-1] in done.stderr
