"""Settings hold their bounds before any work; each has an effect, is refused or named in a note."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import aehub
from aehub.animation.keyframes import Keyframe
from aehub.animation.plan import Settings
from aehub.api.animate import plan_animation
from aehub.errors import AEHubError
from aehub.generators.dense import DenseAutoencoder
from aehub.generators.sprite.network import SpriteNetwork
from aehub.weights import stored_network
from material import moving_picture

CODEC = Path(__file__).resolve().parents[1] / "golden" / "tiny-d4"
STILL = np.zeros((64, 64, 4), np.uint8)
STILL[12:60, 22:42] = (200, 30, 60, 255)
SEEDS = [Keyframe(f"seed {seed}", seed=seed) for seed in (1, 2, 3)]
PICTURES = [Keyframe(f"picture {n}", picture=picture)
            for n, picture in enumerate(moving_picture(2, 32, 32))]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    stored_network.save(folder / "small", "small", DenseAutoencoder(side=8, hidden=12, latent=4))
    stored_network.save(folder / "walker", "walker",
                        SpriteNetwork(width=8, pose=4, hidden=8, latent=8, colours=16))
    return {"small": aehub.load(folder / "small"), "walker": aehub.load(folder / "walker"),
            "tiny-d4": aehub.load(CODEC)}


# What differs from the default, and for which keyframes of which model it has no effect.
CHANGES: dict[str, Any] = {
    "seconds": 1.5, "fps": 20, "path": "lerp", "easing": "ease-in", "loop": True,
    "ping_pong": True, "truncation": 0.5, "scale": 2, "beside": True, "direction": "left",
    "steps": 4}
KINDS: dict[str, tuple[str, list[Keyframe], dict[str, Any], set[str], set[str]]] = {
    # name: model, keyframes, settings, named in a note, refused
    "seeds": ("small", SEEDS, {}, {"direction", "steps"}, set()),
    "pictures": ("small", PICTURES, {}, {"direction", "steps", "truncation"}, set()),
    "sheet of seeds": ("small", SEEDS, {"sheet": True}, {"direction", "steps"}, set()),
    "codec": ("tiny-d4", PICTURES, {}, {"direction", "steps", "truncation"}, set()),
    "still": ("walker", [Keyframe("a still", picture=STILL)], {},
              {"path", "easing", "truncation"}, {"beside", "ping_pong"}),
    "character": ("walker", SEEDS[:1], {}, {"path", "easing"}, {"beside", "ping_pong"}),
    "characters": ("walker", SEEDS, {}, set(), {"beside", "ping_pong"}),
    "sheet of a still": ("walker", [Keyframe("a still", picture=STILL)], {"sheet": True},
                         {"path", "easing", "truncation", "direction", "seconds", "fps"},
                         {"beside", "ping_pong"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_without_effect_is_named_in_a_note_or_refused(
    models: dict[str, Any], kind: str, setting: str
) -> None:
    name, keyframes, common, noted, refused = KINDS[kind]
    changed = Settings.parse(**common, **{setting: CHANGES[setting]})
    if setting in refused:
        with pytest.raises(AEHubError, match="leave beside and ping-pong out"):
            plan_animation(models[name], keyframes, changed)
        return
    plan, usual = (plan_animation(models[name], keyframes, settings)
                   for settings in (changed, Settings.parse(**common)))
    named = f"{setting.capitalize()} has no effect on what {name} does here."
    assert (named in plan.notes) == (setting in noted)
    same = (plan.n_frames, plan.size) == (usual.n_frames, usual.size) and all(
        map(np.array_equal, plan.frames(), usual.frames()))
    if setting in noted:
        assert same
    elif setting not in ("loop", "truncation", "easing", "path", "steps", "direction"):
        # Without parts or training, some of what is drawn may be alike.
        assert not same


def test_a_sheet_of_several_characters_shows_the_first_and_says_so(
    models: dict[str, Any]
) -> None:
    keyframes = list(SEEDS)
    plan = plan_animation(models["walker"], keyframes, Settings(sheet=True))
    assert keyframes == SEEDS and [key["seed"] for key in plan.keyframes] == [1]
    assert plan.notes[0] == ("A sheet of walker shows one character, seed 1; the other 2 were left "
                             "out.")
    assert not plan_animation(models["walker"], [], Settings(sheet=True)).notes


def test_fewer_frames_than_keyframes_is_said(models: dict[str, Any]) -> None:
    plan = plan_animation(models["small"], SEEDS, Settings.parse(seconds=0.1, fps=20))
    assert "2 frames cannot show all 3 keyframes; give more seconds." in plan.notes


BOUNDS: list[tuple[dict[str, Any], str]] = [
    ({"steps": 1}, "steps are 1; give a whole number from 2 to 64"),
    ({"steps": 0}, "steps are 0"),
    ({"steps": 65}, "steps are 65"),
    ({"steps": 8.0}, "steps are 8.0"),
    ({"steps": True}, "steps are True"),
    ({"direction": "north"}, "no direction 'north'; give one of up"),
    ({"direction": ["up"]}, "no direction"),
    ({"fps": 0.05}, "fps is 0.05; the limit is 120.*minimum 0.1"),
    ({"fps": 1e-300}, "rate 1e-300"),
    ({"fps": True}, "rate True"),
    ({"fps": "fast"}, "rate fast"),
    ({"seconds": 0.01}, "0.01 s at 30 frames/s are less than a frame"),
    ({"seconds": [0.001, 0.002]}, "less than a frame"),
    ({"seconds": True}, "seconds are True"),
    ({"seconds": -1e-9}, "seconds are -1e-09"),
    ({"seconds": [1, float("nan")]}, "seconds are nan"),
    ({"seconds": "4"}, "seconds are 4"),
    ({"scale": True}, "scale is True"),
    ({"scale": -1}, "scale is -1"),
    ({"truncation": "1"}, "truncation is 1"),
    ({"truncation": float("inf")}, "truncation is inf"),
    ({"loop": "no"}, "loop is no; give true or false"),
    ({"beside": 1}, "beside is 1; give true or false"),
    ({"sheet": None}, "sheet is None"),
    ({"easing": ["linear"]}, "no easing"),
    ({"path": 3}, "no path 3"),
]


@pytest.mark.parametrize(("options", "words"), BOUNDS, ids=[words for _, words in BOUNDS])
def test_a_setting_out_of_its_bounds_is_refused_at_once(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(AEHubError, match=words) as caught:
        Settings.parse(**options)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_durations_of_segments_are_refused_where_one_character_walks(
    models: dict[str, Any], tmp_path: Path
) -> None:
    Image.fromarray(STILL).save(tmp_path / "still.png")
    with pytest.raises(AEHubError, match="2 durations are given, but one keyframe has no segments"):
        aehub.animate(tmp_path / "a.gif", model=models["walker"], seconds=[1, 2],
                      keyframes=[tmp_path / "still.png"])


def test_a_contact_sheet_never_takes_the_place_of_the_animation(
    models: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for contact in (tmp_path / "a.png", tmp_path / "in" / ".." / "a.png"):
        with pytest.raises(AEHubError, match="contact sheet would take the place of a.png"):
            aehub.animate(tmp_path / "a.png", model=models["small"], seeds=[1, 2], seconds=0.2,
                          contact=contact, force=True)
    assert not list(tmp_path.glob("a.png"))


@pytest.mark.parametrize("fps", ["29.970029970029973", 23.976023976, "1/3", "0.1"])
@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv", "a.gif"])
def test_any_rate_within_the_bounds_is_written(
    models: dict[str, Any], tmp_path: Path, name: str, fps: Any
) -> None:
    made = aehub.animate(tmp_path / name, model=models["small"], seeds=[1, 2], fps=fps, scale=2,
                         seconds=10 if fps in ("1/3", "0.1") else 0.05)
    assert float(made.frames / Fraction(made.fps)) == pytest.approx(made.seconds, abs=1e-6)
