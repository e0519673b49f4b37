"""Codecs that the suite of every codec runs with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aehub
from golden_files import MODEL
from packages import ZLIB, zlib_installed
from sandwich_files import random_sandwich


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
