"""A small library, indexed once for all tests of search."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import aehub
from material import moving_picture, write_clip

FPS = 10
SCENE = 20
"""Frames of a scene, two seconds."""


def scene(seed: int, n: int = SCENE) -> list[np.ndarray]:
    """Pictures of a scene of its own for each seed."""
    return moving_picture(n, 96, 64, seed)


def film(*seeds: int) -> list[np.ndarray]:
    """Scenes one after the other."""
    return [picture for seed in seeds for picture in scene(seed)]


class Films(NamedTuple):
    """A folder of films, and its index."""

    folder: Path
    index: Path


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """three.mp4 of the scenes 1, 2 and 3; two.mkv of 4 and 5; six.aev; stills/seven.png."""
    folder = tmp_path_factory.mktemp("library") / "films"
    (folder / "stills").mkdir(parents=True)
    write_clip(folder / "three.mp4", film(1, 2, 3), fps=FPS)
    write_clip(folder / "two.mkv", film(4, 5), fps=FPS)
    write_clip(folder.parent / "six.mkv", scene(6), fps=FPS)
    aehub.compress(folder.parent / "six.mkv", folder / "six.aev", effort=0, measure=False)
    Image.fromarray(scene(7)[5]).save(folder / "stills" / "seven.png")
    index = folder.parent / "index"
    indexed = aehub.index(folder, index)
    assert not indexed.failed and len(indexed.files) == 4
    return Films(folder, index)
