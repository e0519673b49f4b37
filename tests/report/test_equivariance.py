"""The check of an edit: what is decoded once has the numbers of what was decoded twice."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import aehub
from aehub.editing.operations import Turn, element, parse
from aehub.media.orientation import turn_picture
from aehub.report.equivariance import SAMPLED_FRAMES, check_equivariance
from material import moving_picture


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "clip.aev"
    aehub.compress(np.stack(moving_picture(10, 80, 48)), path, quality=40)
    return path


@pytest.mark.parametrize("steps", [
    "rotate 90", "flip horizontal, transpose", "trim 2f:8f", "reverse, rotate 180, trim 1f:",
])
def test_a_check_shows_the_first_pictures_and_measures_the_turned_ones(
    packed: Path, tmp_path: Path, steps: str
) -> None:
    operations, edited = parse(steps), tmp_path / "edited.aev"
    aehub.edit(packed, edited, operations)
    check = check_equivariance(packed, edited, operations)
    with aehub.open(packed) as before, aehub.open(edited) as after:
        assert np.array_equal(check.before, before[0])
        assert np.array_equal(check.after, after[0])
    turns = [step for step in operations if isinstance(step, Turn)]
    turned = io.BytesIO()
    aehub.edit(packed, turned, [aehub.Trim(f":{SAMPLED_FRAMES}f"), *turns])
    turned.seek(0)
    errors = []
    with aehub.open(packed) as before, aehub.open(turned) as after:
        for number in range(SAMPLED_FRAMES):
            wanted = turn_picture(before.picture(number), element(turns))
            errors += [np.abs(a.astype(int) - b).ravel()
                       for a, b in zip(wanted, after.picture(number), strict=True)]
    flat = np.concatenate(errors)
    assert check.max_error == flat.max()
    assert check.differing_share == pytest.approx((flat > 0).mean())
