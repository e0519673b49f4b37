"""The model that makes characters walk."""

from __future__ import annotations

import pytest

import aehub
from aehub.generators.sprite.model import SpriteAnimator


@pytest.fixture(scope="session")
def model() -> SpriteAnimator:
    loaded = aehub.load("sprite-motion")
    assert isinstance(loaded, SpriteAnimator)
    return loaded
