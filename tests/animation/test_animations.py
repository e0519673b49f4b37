"""`aehub.animate` on small models: files, recipes, sheets, and every bad input one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import aehub
from aehub.animation.recipe import SUFFIX
from aehub.cli import main
from aehub.errors import AEHubError, ExistsError, InputError, UnknownModel, WeightsError
from aehub.generators.base import PictureNetwork
from aehub.generators.dense import DenseAutoencoder
from aehub.generators.sprite.network import SpriteNetwork
from aehub.weights import stored_network
from material import moving_picture, write_clip

CODEC = Path(__file__).resolve().parents[1] / "golden" / "tiny-d4"


def saved(folder: Path, kind: Callable[..., torch.nn.Module], **arguments: int) -> Path:
    torch.manual_seed(0)
    stored_network.save(folder, folder.name, kind(**arguments))
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, pictures and a clip."""
    folder = tmp_path_factory.mktemp("room")
    saved(folder / "small", DenseAutoencoder, side=8, hidden=12, latent=4)
    saved(folder / "walker", SpriteNetwork, width=8, pose=4, hidden=8, latent=8, colours=16)
    still = np.zeros((64, 64, 4), np.uint8)
    still[12:60, 22:42] = (200, 30, 60, 255)
    Image.fromarray(still).save(folder / "still.png")
    Image.fromarray(still[12:40, 22:42, :3]).save(folder / "picture.png")
    (folder / "words.png").write_text("no picture")
    write_clip(folder / "clip.mp4", moving_picture(5, width=64, height=48))
    return folder


@pytest.fixture
def model(room: Path) -> Path:
    return room / "small"


def frames_in(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["animate", *map(str, arguments)])


# Walks.


def test_a_walk_is_a_file_of_the_length_asked_for(model: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    made = aehub.animate(tmp_path / "a.mp4", model=model, seeds=[1, 2, 3], seconds=0.5, fps=20,
                         loop=True, progress=lambda *step: steps.append(step))
    assert (made.frames, made.width, made.height, made.fps) == (10, 256, 256, "20/1")
    assert made.seconds == 0.5 and made.bytes == (tmp_path / "a.mp4").stat().st_size
    assert steps[-1] == (10, 10) and made.model == "small"
    assert list(made.to_json())[:5] == ["path", "model", "bytes", "frames", "width"]


def test_a_walk_begins_and_ends_with_its_keyframes(model: Path, tmp_path: Path) -> None:
    loaded: Any = aehub.load(model)
    aehub.animate(tmp_path / "a", model=loaded, seeds=[1, 2], seconds=1, fps=5, scale=1)
    shown = frames_in(tmp_path / "a")
    ends = loaded.decode(loaded.sample([1, 2]))
    assert len(shown) == 5
    assert np.array_equal(shown[0], ends[0]) and np.array_equal(shown[-1], ends[1])


def test_every_pixel_is_repeated_by_whole_factors(model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = dict(model=model, seeds=[1, 2], seconds=0.2, fps=10)
    aehub.animate(tmp_path / "one", scale=1, **common)
    aehub.animate(tmp_path / "three", scale=3, **common)
    for small, large in zip(frames_in(tmp_path / "one"), frames_in(tmp_path / "three"),
                            strict=True):
        assert np.array_equal(small.repeat(3, 0).repeat(3, 1), large)


def test_seeds_pictures_latents_and_frames_of_a_clip_are_keyframes(
    room: Path, model: Path, tmp_path: Path
) -> None:
    made = aehub.animate(
        tmp_path / "a.gif", model=model, seeds=[7], clip=room / "clip.mp4", at=["0.08", "4f"],
        keyframes=[room / "picture.png", np.zeros((9, 5, 3), np.uint8), np.zeros(4, np.float32),
                   3], seconds=0.7, fps=10)
    assert made.frames == 7
    content = json.loads(Path(made.recipe).read_text())["keyframes"]
    assert [key.get("seed") for key in content] == [7, None, None, None, 3, None, None]
    assert all(len(key["latent"]) == 4 for key in content if "latent" in key)


def test_without_keyframes_a_model_draws_its_own(model: Path, tmp_path: Path) -> None:
    made = aehub.animate(tmp_path / "a.webp", model=model, seconds=0.4, fps=10)
    content = json.loads(Path(made.recipe).read_text())
    assert [key["seed"] for key in content["keyframes"]] == [1, 2, 3, 4]


class Gaussian(PictureNetwork):
    """Latents are the picture itself: steps between latents are steps between frames."""

    side, channels, latent, gaussian = 4, 1, 16, True

    def __init__(self) -> None:
        super().__init__()
        self.config = {}
        self.one = torch.nn.Parameter(torch.ones(1))

    def to_latents(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures.flatten(1) - 0.5) * 10

    def to_pictures(self, latents: torch.Tensor) -> torch.Tensor:
        return (latents / 10 + 0.5).view(-1, 1, 4, 4)


@pytest.mark.parametrize("name", ["emoji-vae", ""])
def test_the_largest_step_between_two_seeds_is_near_the_median(name: str) -> None:
    from aehub.animation.keyframes import gather_keyframes
    from aehub.animation.latent_walk import plan
    from aehub.animation.plan import Settings
    from aehub.generators.autoencoder import Autoencoder

    plain = Autoencoder(stored_network.StoredNetwork("plain", Gaussian(), {"architecture": "vae"}))
    model: Any = aehub.load(name, device="cpu") if name else plain
    made = plan(model, gather_keyframes([1, 2], None, None, None), Settings(scale=1))
    shown = np.stack([frame.astype(float) for frame in made.frames()])
    steps = np.linalg.norm(np.diff(shown, axis=0).reshape(len(shown) - 1, -1), axis=1)
    assert len(shown) == 120 and steps.max() <= 3 * np.median(steps)


def test_truncation_brings_seeds_to_the_mean(model: Path, tmp_path: Path) -> None:
    aehub.animate(tmp_path / "a", model=model, seeds=[1, 2], seconds=0.3, fps=10, scale=1,
                  truncation=0.0)
    shown = frames_in(tmp_path / "a")
    assert all(np.array_equal(frame, shown[0]) for frame in shown)


def test_closing_leaves_no_file(model: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif", "a", "a.png"):
        job = aehub.iter_animate(tmp_path / name, model=model, seconds=1, sheet=name == "a.png")
        assert next(job).total == 120 // 4
        job.close()
    assert not list(tmp_path.iterdir())


# Codecs.


def test_a_codec_walks_between_frames_of_a_clip_beside_a_cross_fade(
    room: Path, tmp_path: Path
) -> None:
    made = aehub.animate(tmp_path / "a", model=CODEC, clip=room / "clip.mp4", seconds=0.5, fps=10,
                         beside=True)
    assert (made.frames, made.width, made.height) == (5, 64 + 8 + 64, 48)
    shown = frames_in(tmp_path / "a")
    first, last = (frame[:, 72:].astype(float) for frame in (shown[0], shown[-1]))
    middle = shown[2][:, 72:].astype(float)
    assert np.abs(middle - (first + last) / 2).max() <= 1
    assert np.abs(shown[0][:, :64].astype(float) - first).mean() < 12
    again = aehub.animate(tmp_path / "b", recipe=made.recipe, model=CODEC)
    assert all(map(np.array_equal, shown, frames_in(Path(again.path))))


def test_a_codec_walks_between_arrays_and_its_recipe_holds_them(tmp_path: Path) -> None:
    pictures = moving_picture(2, width=40, height=32)
    made = aehub.animate(tmp_path / "a", model=CODEC, keyframes=pictures, seconds=0.3, fps=10)
    aehub.animate(tmp_path / "b", recipe=made.recipe, model=CODEC)
    assert all(map(np.array_equal, frames_in(tmp_path / "a"), frames_in(tmp_path / "b")))


# Characters.


def test_a_still_walks_and_its_cycle_can_be_repeated(room: Path, tmp_path: Path) -> None:
    made = aehub.animate(tmp_path / "a", model=room / "walker", keyframes=[room / "still.png"],
                         seconds=0.6, fps=20, steps=3, direction="all", scale=1)
    shown = frames_in(tmp_path / "a")
    assert (made.frames, made.width, made.height) == (12, 256, 64) and shown[0].shape[2] == 4
    # A step lasts 0.1 s, two frames; after three steps the cycle begins again.
    assert all(np.array_equal(shown[n], shown[n ^ 1]) for n in range(12))
    assert np.array_equal(shown[0], shown[6])
    aehub.animate(tmp_path / "b", recipe=made.recipe, model=room / "walker")
    assert all(map(np.array_equal, shown, frames_in(tmp_path / "b")))


def test_a_sheet_of_a_still_has_a_row_for_each_direction(room: Path, tmp_path: Path) -> None:
    made = aehub.animate(tmp_path / "a.png", model=room / "walker",
                         keyframes=[room / "still.png"], sheet=True)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (9 * 64, 4 * 64)
    content = json.loads(Path(str(made.sheet)).read_text())
    tags = {tag["name"]: (tag["from"], tag["to"]) for tag in content["meta"]["frameTags"]}
    assert tags["stand up"] == (0, 0) and tags["walk down"] == (19, 26)
    assert {frame["duration"] for frame in content["frames"]} == {100}
    assert (made.seconds, made.fps) == (3.6, "10/1")


# Sheets.


def test_a_sheet_of_a_walk_says_where_and_how_long_each_frame_is(
    model: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = dict(model=model, seeds=[1, 2], seconds=0.7, fps=30)
    made = aehub.animate(tmp_path / "a.png", sheet=True, **common)
    aehub.animate(tmp_path / "frames", scale=1, **common)
    content = json.loads((tmp_path / "a.json").read_text())
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert made.sheet == str(tmp_path / "a.json") and content["meta"]["image"] == "a.png"
    assert content["meta"]["size"] == {"w": picture.shape[1], "h": picture.shape[0]}
    assert len(content["frames"]) == made.frames == 21
    for entry, frame in zip(content["frames"], frames_in(tmp_path / "frames"), strict=True):
        x, y, w, h = (entry["frame"][key] for key in "xywh")
        assert np.array_equal(picture[y:y + h, x:x + w, :3], frame)
        assert (picture[y:y + h, x:x + w, 3] == 255).all()
    assert sum(entry["duration"] for entry in content["frames"]) == 700
    assert content["meta"]["frameTags"] == [
        {"name": "walk", "from": 0, "to": 20, "direction": "forward"}]


def test_a_contact_sheet_shows_the_way(model: Path, tmp_path: Path) -> None:
    aehub.animate(tmp_path / "a.gif", model=model, seconds=1, fps=40, scale=1,
                  contact=tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as sheet:
        assert sheet.size == (8 * 10 - 2, 4 * 10 - 2)


# Recipes.


@pytest.mark.parametrize("options", [
    {"seeds": [5, 6, 7], "loop": True, "truncation": 0.7},
    {"keyframes": ["picture.png", 3], "easing": "cubic-out", "path": "lerp", "ping_pong": True},
    {"seeds": [1, 2, 3], "seconds": [0.3, 0.5], "path": "spline", "beside": True},
])
def test_a_recipe_makes_the_same_frames_again(
    room: Path, model: Path, tmp_path: Path, options: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.chdir(room)
    made = aehub.animate(tmp_path / "a", model=model, fps=10, **{"seconds": 0.6, **options})
    again = aehub.animate(tmp_path / "b", recipe=made.recipe, model=model)
    assert made.recipe == str(tmp_path / f"a{SUFFIX}") and again.frames == made.frames
    assert all(map(np.array_equal, frames_in(tmp_path / "a"), frames_in(tmp_path / "b")))
    assert Path(made.recipe).read_text() == Path(again.recipe).read_text()


def changed(recipe: Path, **changes: Any) -> Path:
    content = {**json.loads(recipe.read_text()), **changes}
    kept = {name: value for name, value in content.items() if value != "gone"}
    recipe.write_text(json.dumps(kept))
    return recipe


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Path:
    return Path(aehub.animate(tmp_path / "a.gif", model=model, seconds=0.2, fps=10).recipe)


@pytest.mark.parametrize(("changes", "words"), [
    ({"format_version": 2}, "recipe of format 2"),
    ({"keyframes": [{"seed": 1}]}, "one keyframe is given"),
    ({"keyframes": [{"seed": "1"}, 2]}, "neither seed, latent"),
    ({"keyframes": [{"latent": [1, 2, "x", 4]}] * 2}, "neither seed, latent"),
    ({"keyframes": [{"latent": [1e999] * 4}] * 2}, "neither seed, latent"),
    ({"keyframes": [{"latent": [1, 2]}] * 2}, "latents of small have 4"),
    ({"keyframes": [{"picture": "AAAA"}] * 2}, "neither seed, latent"),
    ({"keyframes": [{"seed": 1}] * 10_000}, "at most 256"),
    ({"keyframes": "all"}, "complete recipe"),
    ({"keyframes": [{"file": "gone.mp4", "sha256": "0"}] * 2}, "which does not exist"),
    ({"model": "gone"}, "complete recipe"),
    ({"loop": "yes"}, "complete recipe"),
    ({"easing": ["linear"]}, "complete recipe"),
    ({"easing": "bounce"}, "no easing 'bounce'"),
    ({"seconds": "NaN"}, "seconds are NaN"),
    ({"fps": []}, "rate"),
    ({"scale": 1.5}, "scale is 1.5"),
])
def test_a_recipe_that_cannot_be_used_is_refused_in_a_sentence(
    recipe: Path, model: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        aehub.animate(tmp_path / "b.gif", recipe=changed(recipe, **changes), model=model)
    assert not (tmp_path / "b.gif").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 50_000, "null", "\0"])
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(InputError, match="is no recipe"):
        aehub.animate(tmp_path / "b.gif", recipe=tmp_path / "x")


def test_a_recipe_needs_the_same_weights_of_its_model(
    recipe: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnknownModel, match="made with 'small'.*--model"):
        aehub.animate(tmp_path / "b.gif", recipe=recipe)
    for option in ({"fps": 10}, {"loop": False}, {"clip": "clip.mp4"}):
        with pytest.raises(InputError, match=f"the recipe sets {next(iter(option))};"):
            aehub.animate(tmp_path / "b.gif", recipe=recipe, **option)
    changed(recipe, tag="sha256-" + "0" * 32)
    with pytest.raises(WeightsError, match="weights sha256-0000.*aehub/small@sha256-0000"):
        aehub.animate(tmp_path / "b.gif", recipe=recipe, model=model)


# Bad input: one sentence, and nothing is written.


BAD: list[tuple[dict[str, Any], str]] = [
    ({"seeds": [1]}, "one keyframe is given; a walk takes at least two"),
    ({"seeds": range(10_000)}, "10000 keyframes are given; a walk takes at most 256"),
    ({"keyframes": [1] * 10_000}, "10000 keyframes"),
    ({"seeds": [1, -2]}, "seeds go from 0"),
    ({"seeds": [1, 2.5]}, "whole numbers"),
    ({"seeds": ["1", "2"]}, "whole numbers"),
    ({"seconds": 0}, "seconds are 0; give a number above 0"),
    ({"seconds": -1}, "seconds are -1"),
    ({"seconds": float("nan")}, "seconds are nan"),
    ({"seconds": float("inf")}, "seconds are inf"),
    ({"seconds": "four"}, "seconds are four"),
    ({"seconds": 601}, "seconds are 601"),
    ({"seconds": [1, 2]}, "2 durations are given for the 3 segments of 4 keyframes"),
    ({"seconds": []}, "no seconds"),
    ({"seconds": [300] * 3}, "the limit is 600 s"),
    ({"fps": -30}, "rate -30"),
    ({"fps": 0}, "rate 0"),
    ({"fps": float("nan")}, "rate nan"),
    ({"fps": 121}, "fps is 121; the limit is 120"),
    ({"seconds": 500, "fps": 60}, "30000 frames; an animation has at most 18000"),
    ({"easing": "bouncy"}, "no easing 'bouncy'; known are linear"),
    ({"path": "zigzag"}, "no path 'zigzag'; known are lerp"),
    ({"path": "slerp"}, "slerp draws arcs around 0.*use lerp or spline"),
    ({"loop": True, "ping_pong": True}, "exclude each other"),
    ({"truncation": -0.1}, "truncation is -0.1; it goes from 0"),
    ({"truncation": 2.1}, "truncation is 2.1"),
    ({"truncation": float("nan")}, "truncation is nan"),
    ({"scale": 0}, "scale is 0; give a whole number"),
    ({"scale": 2.0}, "scale is 2.0"),
    ({"scale": 65}, "scale is 65"),
    ({"keyframes": ["words.png", 1]}, "words.png is no picture that can be read"),
    ({"keyframes": ["gone.png", 1]}, "gone.png does not exist"),
    ({"keyframes": ["clip.mp4", 1]}, "clip.mp4 is a clip; give a picture.*--clip"),
    ({"keyframes": [np.zeros((8, 8, 2), np.uint8), 1]}, r"keyframe 1 is uint8 of shape \[8, 8, 2"),
    ({"keyframes": [np.zeros((8, 8, 3)), 1]}, "keyframe 1 is float64"),
    ({"keyframes": [1, np.zeros(5)]}, "keyframe 2 has 5 numbers; the latents of small have 4"),
    ({"keyframes": [1, np.full(4, np.nan)]}, "keyframe 2 holds latents that are not finite"),
    ({"keyframes": [1, None]}, "keyframe 2 is object"),
    ({"at": ["1"]}, "without a clip"),
    ({"clip": "clip.mp4", "at": ["soon", "later"]}, "'soon' is no moment"),
    ({"clip": "clip.mp4", "at": ["0f", "99f"]}, "keeps no frame of clip.mp4"),
    ({"clip": "words.png"}, "words.png"),
    ({"sheet": True}, "a sheet is a PNG picture"),
    ({"contact": "c.jpg"}, "a contact sheet is a PNG picture"),
    ({"model": CODEC}, "no keyframes are given"),
    ({"model": CODEC, "seeds": [1, 2]}, "tiny-d4 walks only between pictures"),
    ({"model": CODEC, "keyframes": ["picture.png", "still.png"]}, "still.png is 64x64, picture"),
    ({"model": CODEC, "path": "slerp", "clip": "clip.mp4"}, "slerp"),
    ({"model": "walker", "keyframes": ["picture.png"]}, "no character is found in picture.png"),
    ({"model": "walker", "keyframes": ["still.png", 1]}, "one still at a time"),
    ({"model": "walker", "direction": "north"}, "no direction 'north'"),
    ({"model": "walker", "beside": True}, "leave beside and ping-pong out"),
    ({"model": "walker", "steps": 1}, "cycle of 1 steps|steps are 1"),
    ({"model": "nothing"}, "no model 'nothing'"),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=[words[:30] for _, words in BAD])
def test_bad_input_is_refused_in_a_sentence(
    room: Path, tmp_path: Path, options: dict[str, Any], words: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(room)
    with pytest.raises(AEHubError, match=words) as caught:
        aehub.animate(tmp_path / "a.gif", **{"model": "small", **options})
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_unless_forced(model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = dict(model=model, seconds=0.2, fps=10)
    for name in ("a.gif", f"b.gif{SUFFIX}"):
        (tmp_path / name).write_text("mine")
    for name in ("a.gif", "b.gif"):
        with pytest.raises(ExistsError, match="already exists"):
            aehub.animate(tmp_path / name, **common)
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["mine", "mine"]
    aehub.animate(tmp_path / "b.gif", force=True, **common)
    with pytest.raises(InputError, match="does not exist; create it"):
        aehub.animate(tmp_path / "no" / "a.gif", **common)
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        aehub.animate(tmp_path / "c.gif", speed=2, **common)  # type: ignore[call-arg]


# The command.


def test_the_command_makes_an_animation_and_makes_it_again(room: Path, tmp_path: Path) -> None:
    done = command(tmp_path / "a.gif", "--model", room / "small", "--seeds", "1,2", "--keyframe",
                   room / "picture.png", "--seconds", "0.2,0.3", "--fps", "10", "--json")
    assert done.exit_code == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["frames"] == 5 and content["seconds"] == 0.5
    again = command(tmp_path / "b.gif", "--recipe", content["recipe"], "--model", room / "small")
    assert again.exit_code == 0 and "5 frames of 256x256" in again.stdout
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--seeds", "1"], 1, "one keyframe"),
    (["--seeds", "one"], 2, "--seeds"),
    (["--seconds", "nan"], 1, "seconds are nan"),
    (["--fps", "-1"], 1, "rate"),
    (["--path", "zigzag"], 2, "--path"),
    (["--easing", "bouncy"], 1, "no easing"),
])
def test_the_command_says_what_is_wrong(
    room: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = command(tmp_path / "a.gif", "--model", room / "small", *arguments)
    assert (done.exit_code, done.stdout) == (code, "") and words in done.stderr
    assert not list(tmp_path.iterdir())
