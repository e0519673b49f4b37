"""One page for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from material import moving_picture, write_clip
from pageserver import PageServer, page_server


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("page"), AEHUB_MAX_SECONDS="4",
                     AEHUB_MAX_PIXELS="300000") as running:
        yield running


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 frames of 96x64 at 24 frames a second, with sound."""
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    return write_clip(path, moving_picture(16, 96, 64), fps=24, audio=True)
