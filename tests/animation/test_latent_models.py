"""A walk needs nothing of a model but that it is a `LatentModel`, wherever the model comes from."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import aehub
from aehub.animation.keyframes import Keyframe
from aehub.animation.plan import Settings
from aehub.api.animate import plan_animation
from aehub.cli import main
from aehub.errors import AEHubError, InputError
from aehub.generators.base import GenerativeModel, LatentModel
from aehub.weights.architectures import architecture_of
from material import moving_picture

CODEC = Path(__file__).resolve().parents[1] / "golden" / "tiny-d4"
PATCH = 4
FRAMES = moving_picture(3, width=42, height=30)
KEYFRAMES = [Keyframe(f"picture {n}", picture=picture) for n, picture in enumerate(FRAMES)]


class Components:
    """Eight principal components of each patch, of pictures of any size; it draws none."""

    name, device = "components", torch.device("cpu")
    gaussian, batch = False, 4
    side: int | None = None
    latent: int | None = None

    def __init__(self) -> None:
        patches = np.concatenate([self._patches(frame).reshape(-1, PATCH * PATCH * 3)
                                  for frame in FRAMES])
        self.axes = np.linalg.svd(patches, full_matrices=False)[2][:8]

    def _patches(self, picture: np.ndarray) -> np.ndarray:
        """[rows, columns, 48], the picture padded to whole patches."""
        height, width = picture.shape[:2]
        padded = np.pad(picture, ((0, -height % PATCH), (0, -width % PATCH), (0, 0)), "edge")
        rows, columns = padded.shape[0] // PATCH, padded.shape[1] // PATCH
        cells = padded.reshape(rows, PATCH, columns, PATCH, 3).swapaxes(1, 2)
        return cells.reshape(rows, columns, -1) / 255 - 0.5

    def to_latents(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([self._patches(picture) @ self.axes.T for picture in pictures])

    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        patches = latents @ self.axes + 0.5
        n, rows, columns, _ = patches.shape
        cells = patches.reshape(n, rows, columns, PATCH, PATCH, 3).swapaxes(2, 3)
        whole = (cells.reshape(n, rows * PATCH, columns * PATCH, 3).clip(0, 1) * 255).round()
        return list(whole[:, :size[1], :size[0]].astype(np.uint8))


class Averages:
    """The mean colour as a vector of three numbers, of squares; it draws none."""

    name, device = "averages", torch.device("cpu")
    gaussian, batch, side, latent = True, 100, 8, 3

    def to_latents(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([picture.mean((0, 1)) for picture in pictures]).astype(np.float32)

    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        square = np.ones((8, 8, 1))
        return [(square * latent).round().clip(0, 255).astype(np.uint8) for latent in latents]


def shown(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def test_any_model_walks_between_pictures_and_its_recipe_makes_the_walk_again(
    tmp_path: Path
) -> None:
    model = Components()
    made = aehub.animate(tmp_path / "a", model=model, keyframes=FRAMES, seconds=0.9, fps=10,
                         path="lerp")
    frames = shown(tmp_path / "a")
    assert (made.frames, made.width, made.height, made.model) == (9, 42, 30, "components")
    ends = model.to_pictures(model.to_latents([FRAMES[0], FRAMES[-1]]), (42, 30))
    assert np.array_equal(frames[0], ends[0]) and np.array_equal(frames[-1], ends[1])
    assert np.abs(ends[0].astype(float) - FRAMES[0]).mean() < 20
    recipe = json.loads(Path(made.recipe).read_text())
    assert recipe["tag"] is None and all("picture" in key for key in recipe["keyframes"])
    aehub.animate(tmp_path / "b", model=model, recipe=made.recipe)
    assert all(map(np.array_equal, frames, shown(tmp_path / "b")))
    with pytest.raises(AEHubError, match="made with 'components', and averages is another model"):
        aehub.animate(tmp_path / "c", model=Averages(), recipe=made.recipe)


def test_the_plan_of_a_foreign_model_is_that_of_a_codec() -> None:
    settings = Settings.parse(seconds=0.5, fps=20, beside=True, loop=True, truncation=0.5)
    foreign, codec = (plan_animation(model, KEYFRAMES, settings)
                      for model in (Components(), aehub.load(CODEC)))
    assert (foreign.n_frames, foreign.size) == (codec.n_frames, codec.size) == (10, (92, 30))
    assert foreign.keyframes == codec.keyframes and foreign.tags == codec.tags
    assert [note.replace("components", "tiny-d4") for note in foreign.notes] == list(codec.notes)
    for ours, theirs in zip(foreign.frames(), codec.frames(), strict=True):
        assert np.array_equal(ours[:, 42:], theirs[:, 42:])


def test_a_vector_is_a_keyframe_and_is_what_a_recipe_holds() -> None:
    keys = [Keyframe("grey", latent=np.full(3, 100, np.float32)), *KEYFRAMES[:1]]
    plan = plan_animation(Averages(), keys, Settings.parse(seconds=0.3, fps=10, path="lerp"))
    frames = list(plan.frames())
    assert plan.size == (256, 256) and (frames[0] == 100).all()
    assert plan.keyframes[0] == {"name": "grey", "latent": [100, 100, 100]}
    assert len(plan.keyframes[1]["latent"]) == 3


@pytest.mark.parametrize("config", [
    None, {}, {"architecture": None}, {"architecture": "unet"}, {"architecture": ["vae"]},
    SimpleNamespace(architecture="vae", sha256="0" * 64), "vae",
])
def test_a_config_that_is_no_record_of_ours_changes_nothing(config: Any, tmp_path: Path) -> None:
    model = Averages()
    model.config = config  # type: ignore[attr-defined]
    made = aehub.animate(tmp_path / "a.gif", model=model, keyframes=FRAMES[:2],
                         seconds=0.2, fps=10)
    assert made.frames == 2 and json.loads(Path(made.recipe).read_text())["tag"] is None


@pytest.mark.parametrize("member", ["name", "device", "batch", "side", "to_pictures"])
def test_a_member_that_a_model_lacks_is_named(member: str, tmp_path: Path) -> None:
    names = {*dir(LatentModel), *vars(Averages)} - {member}
    partial = type("Partial", (), {name: getattr(Averages, name) for name in names
                                   if not name.startswith("_")})
    words = f"a Partial, has no {member}; give it all members of aehub.LatentModel: batch, device,"
    with pytest.raises(InputError, match=words):
        aehub.animate(tmp_path / "a.gif", model=partial(), keyframes=FRAMES[:1])
    with pytest.raises(InputError, match="the model is a object; give a text such as d4-codec"):
        aehub.animate(tmp_path / "a.gif", model=object(), keyframes=FRAMES[:1])  # type: ignore[arg-type]


SEEDS = [Keyframe("seed 1", seed=1), Keyframe("seed 2", seed=2)]
VECTOR = Keyframe("a latent", latent=np.zeros(8, np.float32))
WIDE = [Keyframe(name, picture=np.zeros((2500, 3300, 3), np.uint8)) for name in "ab"]


@pytest.mark.parametrize(("model", "keyframes", "words"), [
    (Components(), SEEDS, "components walks only between pictures, and seed 1 is a seed; give"),
    (Components(), [KEYFRAMES[0], VECTOR], "only between pictures, and a latent is a latent"),
    (Components(), [], "no keyframes are given"),
    (Components(), [KEYFRAMES[0], WIDE[0]], "a is 3300x2500, picture 0 42x30; give pictures"),
    (Components(), WIDE, "2 keyframes of 3300x2500 are more than 16000000 pixels together"),
    (Averages(), SEEDS, "averages walks only between pictures, and seed 1 is a seed"),
    (Averages(), [], "no keyframes are given"),
    (Averages(), [KEYFRAMES[0], VECTOR], "a latent has 8 numbers; the latents of averages have 3"),
    (object(), KEYFRAMES, "object has no latents to walk through; name a model that animates"),
])
def test_a_keyframe_that_a_model_cannot_take_is_refused_in_a_sentence(
    model: Any, keyframes: list[Keyframe], words: str
) -> None:
    with pytest.raises(AEHubError, match=words) as caught:
        plan_animation(model, keyframes, Settings())
    assert str(caught.value).endswith(".")


def test_every_bundled_model_that_animates_is_a_latent_model_and_all_but_codecs_draw() -> None:
    for entry in aehub.list_models(states=("bundled",)):
        model = aehub.load(entry.name)
        record = architecture_of(model)
        assert record is not None
        assert isinstance(model, LatentModel) == bool(record.planner), entry.name
        if not record.planner:
            continue
        assert isinstance(model, GenerativeModel) == (entry.task != "video-compression"), entry.name
        assert (model.side is None) == (entry.task == "video-compression"), entry.name


def test_help_names_every_option_of_the_command_line() -> None:
    parameters = inspect.signature(aehub.animate).parameters
    options = {option.name for option in main.commands["animate"].params  # type: ignore[attr-defined]
               if option.expose_value} - {"as_json"}
    arguments = (inspect.getdoc(aehub.animate) or "").partition("Returns:")[0]
    documented = set(re.findall(r"^ {4}(\w+): ", arguments, re.MULTILINE))
    assert options < parameters.keys() and parameters.keys() == documented
    assert not {kind.kind for kind in parameters.values()} & {
        inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    running = inspect.signature(aehub.iter_animate).parameters
    assert parameters.keys() == {*running, "progress"}
    assert all(running[name].default == parameters[name].default for name in running)
