"""The model that makes characters walk."""

from __future__ import annotations

import pytest

import aehub
from aehub.generators.sprite.model import Sprites


@pytest.fixture(scope="session")
def model() -> Sprites:
    loaded = aehub.load("sprite-motion")
    assert isinstance(loaded, Sprites)
    return loaded
