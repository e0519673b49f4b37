"""Walk cycles of `sprite-motion`: colours of the still, closed cycles, any length or cell size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aehub.errors import InputError
from aehub.generators.base import over_white
from aehub.generators.sprite.model import DIRECTIONS, SpriteAnimator
from aehub.generators.sprite.network import SpriteNetwork
from aehub.weights.stored_network import StoredNetwork
from animation.sprites import knight


@pytest.fixture(scope="module")
def sheet(model: SpriteAnimator) -> np.ndarray:
    return model.cycles(knight())


def colours_of(pictures: np.ndarray) -> set[tuple[int, ...]]:
    solid = pictures[pictures[..., 3] > 0]
    return {tuple(map(int, colour)) for colour in np.unique(solid.reshape(-1, 4), axis=0)}


def test_a_still_becomes_four_rows_of_nine_frames_in_its_own_colours(sheet: np.ndarray) -> None:
    assert sheet.shape == (4, 9, 64, 64, 4) and sheet.dtype == np.uint8
    assert colours_of(sheet) <= colours_of(knight())
    assert set(np.unique(sheet[..., 3])) == {0, 255}


def test_every_direction_shows_another_picture_that_moves(sheet: np.ndarray) -> None:
    for row in range(4):
        assert (sheet[row, 0, ..., 3] > 0).sum() > 300
        assert all((sheet[row, 0] != sheet[other, 0]).any() for other in range(row))
        moving = [(sheet[row, n] != sheet[row, n + 1]).any(-1).sum() for n in range(1, 8)]
        assert min(moving) > 20


def test_the_standing_character_is_the_one_on_the_still(sheet: np.ndarray) -> None:
    front, back = sheet[DIRECTIONS.index("down"), 0], sheet[DIRECTIONS.index("up"), 0]
    wanted = over_white(knight())
    same = (over_white(front) == wanted).all(-1).mean()
    assert same > 0.9 and same > (over_white(back) == wanted).all(-1).mean()


def test_a_cycle_is_closed(model: SpriteAnimator) -> None:
    for length in (5, 8, 12):
        for facing in range(4):
            poses = model.network.poses(torch.tensor([facing]), 2 * length, length)[0]
            first, second = poses.view(2, length, -1)
            step = (first[1:] - first[:-1]).norm(dim=-1)
            assert (second - first).norm(dim=-1).max() < 0.5 * step.mean()
            assert (first[0] - first[-1]).norm() < 1.5 * step.max()


@pytest.mark.parametrize("steps", [5, 12])
def test_cycles_of_other_lengths_have_as_many_steps(model: SpriteAnimator, steps: int) -> None:
    frames = model.frames(knight(), "left", range(1 + steps), steps)
    assert len(frames) == 1 + steps and colours_of(frames) <= colours_of(knight())
    changes = [(frames[n] != frames[n % steps + 1]).any(-1).sum() for n in range(1, steps + 1)]
    assert min(changes) > 0


def test_a_white_background_is_as_good_as_a_transparent_one(model: SpriteAnimator) -> None:
    still = knight()
    on_white = np.where(still[..., 3:] > 0, still[..., :3], 255).astype(np.uint8)
    assert np.array_equal(model.frames(on_white, "right", [0, 3]),
                          model.frames(still, "right", [0, 3]))


@pytest.mark.parametrize("times", [2, 3])
def test_larger_cells_are_whole_multiples(model: SpriteAnimator, times: int) -> None:
    still = knight()
    large = still.repeat(times, 0).repeat(times, 1)
    small = model.frames(still, "down", [2])[0]
    assert np.array_equal(model.frames(large, "down", [2])[0],
                          small.repeat(times, 0).repeat(times, 1))


def test_a_smaller_cell_comes_back_in_its_size(model: SpriteAnimator) -> None:
    assert model.frames(knight()[::2, ::2], "down", [2]).shape == (1, 32, 32, 4)


def test_bad_steps_and_directions_are_refused(model: SpriteAnimator) -> None:
    for steps in (1, 65, -3):
        with pytest.raises(InputError, match="2 to 64"):
            model.cycles(knight(), steps)
    with pytest.raises(InputError, match="give one of up, left"):
        model.frames(knight(), "north", [0])


def test_a_seed_draws_the_same_character_again_and_another_another(model: SpriteAnimator) -> None:
    one, same, other = model.decode(model.sample([1, 1, 2]))
    assert np.array_equal(one, same)
    assert (one != other).any(-1).mean() > 0.02
    assert model.cycles(one).shape == (4, 9, 64, 64, 4)


def test_an_empty_still_is_refused(model: SpriteAnimator) -> None:
    with pytest.raises(InputError, match="no character is found in the still"):
        model.cycles(np.zeros((64, 64, 4), np.uint8))


def test_poses_carry_no_identity_and_identity_no_pose() -> None:
    torch.manual_seed(0)
    network = SpriteNetwork(8, 4, 8, 8, 8).eval()
    untrained = SpriteAnimator(StoredNetwork("tiny", network, {}))
    assert untrained.cycles(knight()).shape == (4, 9, 64, 64, 4)
    assert network.poses(torch.tensor([1]), 8, 8).shape == (1, 8, 4)
    assert untrained.encode([knight()]).shape == (1, 8)
