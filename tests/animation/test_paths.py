"""Where walks go and when: every keyframe is met, loops close in place and in speed."""

from __future__ import annotations

import numpy as np
import pytest

from aehub.animation.path import (
    EASINGS,
    PATHS,
    LatentPath,
    PathPosition,
    easing,
    path_positions,
    slerp,
)
from aehub.errors import InputError

KEYS = np.random.default_rng(0).normal(size=(4, 8))


def places(n: int, kind: str, *, loop: bool = False, ping_pong: bool = False,
           curve: str = "linear", seconds: tuple[float, ...] = ()) -> np.ndarray:
    lengths = list(seconds) or [1.0] * (len(KEYS) if loop else len(KEYS) - 1)
    path = LatentPath(KEYS, lengths, kind=kind, loop=loop)
    way = path_positions(n, lengths, curve=curve, loop=loop, ping_pong=ping_pong)
    return np.stack([path.at(moment) for moment in way])


@pytest.mark.parametrize("name", EASINGS)
def test_an_easing_goes_from_0_to_1_and_never_back(name: str) -> None:
    way = easing(name)(np.linspace(0, 1, 201))
    assert way[0] == pytest.approx(0, abs=1e-12) and way[-1] == pytest.approx(1)
    assert (np.diff(way) >= -1e-12).all()


def test_easings_are_slow_where_their_name_says() -> None:
    t = np.array([0.1, 0.9])
    for family in ("ease", "quad", "cubic", "quint"):
        assert (easing(f"{family}-in")(t) < t).all() and (easing(f"{family}-out")(t) > t).all()
        early, late = easing(f"{family}-in-out")(t)
        assert early < 0.1 and late > 0.9 and early + late == pytest.approx(1)


@pytest.mark.parametrize("kind", PATHS)
def test_an_open_walk_meets_every_keyframe_and_shows_both_ends(kind: str) -> None:
    assert np.allclose(places(31, kind)[::10], KEYS)
    assert np.allclose(places(31, kind, curve="cubic-in-out")[::10], KEYS)


@pytest.mark.parametrize("kind", PATHS)
def test_a_loop_meets_every_keyframe_and_leaves_the_first_out_at_its_end(kind: str) -> None:
    way = places(40, kind, loop=True)
    assert np.allclose(way[::10], KEYS)
    # One more step would be the first frame again.
    step = np.linalg.norm(way[0] - way[-1])
    assert 0 < step < 3 * np.median(np.linalg.norm(np.diff(way, axis=0), axis=1))


@pytest.mark.parametrize("seconds", [(), (1.0, 2.5, 0.7, 1.2)])
def test_a_looped_spline_closes_also_in_speed(seconds: tuple[float, ...]) -> None:
    fine = places(4000, "spline", loop=True, seconds=seconds)
    again = np.concatenate([fine, fine[:2]])
    turns = np.linalg.norm(np.diff(again, 2, axis=0), axis=1)
    steps = np.linalg.norm(np.diff(again, axis=0), axis=1)
    # Where lines meet, the direction of a step changes by about a whole step.
    assert turns.max() < 0.02 * steps.max()
    lines = places(4000, "lerp", loop=True, seconds=seconds)
    assert np.linalg.norm(np.diff(lines, 2, axis=0), axis=1).max() > 0.2 * steps.max()


def test_a_ping_pong_comes_back_the_same_way() -> None:
    way = places(60, "spline", ping_pong=True)
    assert np.allclose(way[0], KEYS[0]) and np.allclose(way[30], KEYS[-1])
    assert np.allclose(way[1:30], way[:30:-1])


def test_segments_take_the_seconds_they_are_given() -> None:
    way = path_positions(41, [1.0, 3.0], curve="linear", loop=False, ping_pong=False)
    assert [moment.segment for moment in way].count(0) == 10
    assert way[10] == PathPosition(1, 0.0) and way[40] == PathPosition(1, 1.0)


def test_slerp_goes_evenly_around_zero_and_keeps_the_distance() -> None:
    first, last = np.array([2.0, 0, 0]), np.array([0, 4.0, 0])
    way = np.stack([slerp(first, last, share) for share in np.linspace(0, 1, 11)])
    assert np.allclose(np.linalg.norm(way, axis=1), np.linspace(2, 4, 11))
    angles = np.arctan2(way[:, 1], way[:, 0])
    assert np.allclose(np.diff(angles), np.pi / 20)
    for given in ((first, first), (first, -first), (first, 0 * first)):
        assert np.isfinite(slerp(*given, 0.5)).all()


def test_one_frame_is_a_walk_too() -> None:
    assert path_positions(1, [1.0], curve="linear", loop=False, ping_pong=False) == [
        PathPosition(0, 0.0)]


@pytest.mark.parametrize("name", ["", "Linear", "bounce", "ease_in"])
def test_what_is_no_easing_or_path_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InputError, match="known are linear, ease-in"):
        easing(name)
    with pytest.raises(InputError, match="known are lerp, slerp, spline"):
        LatentPath(KEYS, [1.0] * 3, kind=name, loop=False)
