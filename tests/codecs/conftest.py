"""Codecs that the suite of every codec runs with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import aehub
from aehub.codecs.sandwich.codec import save
from aehub.codecs.sandwich.network import SandwichNetwork
from golden_files import MODEL
from packages import ZLIB, zlib_installed


def random_sandwich(folder: Path) -> Path:
    """A model folder whose corrections are random, but small."""
    torch.manual_seed(0)
    network = SandwichNetwork(width=8, layers=1, upscaler_width=8, upscaler_layers=0)
    with torch.no_grad():
        for part in (network.restorer, network.upscaler):
            part.tail.weight.normal_(0, 0.05)
    save(folder, "tiny-sandwich", network)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The model folder of each codec: one of another package, a tiny `d4-codec`, and a
    `sandwich-av1` of a small network with random weights."""
    sandwich = random_sandwich(tmp_path_factory.mktemp("models") / "sandwich")
    with zlib_installed(tmp_path_factory.mktemp("packages") / "site") as folder:
        yield {ZLIB: folder, "tiny-d4": MODEL, "tiny-sandwich": sandwich}


@pytest.fixture(scope="module", params=[ZLIB, "tiny-d4", "tiny-sandwich"])
def codec(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    """One loaded codec after the other."""
    return aehub.load(folders[request.param])
