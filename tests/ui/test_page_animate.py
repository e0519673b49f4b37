"""Animations through the page's own address, as a program asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import aehub
from aehub.animation.path import main_directions
from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.ui import animate, animate_job, keyframes
from material import moving_picture
from pageserver import PageServer

HERE = {entry.name for entry in aehub.list_models(states=["bundled"])}
needs_emoji = pytest.mark.skipif("emoji-vae" not in HERE, reason="emoji-vae is not bundled")
needs_sprites = pytest.mark.skipif("sprite-motion" not in HERE,
                                   reason="sprite-motion is not bundled")


@pytest.fixture
def client(page: PageServer, tmp_path: Path) -> Client:
    return Client(page.url, verbose=False, download_files=str(tmp_path))


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three pictures of one size, the last of another."""
    folder = tmp_path_factory.mktemp("stills")
    pictures = [*moving_picture(2, 64, 64), moving_picture(1, 96, 64)[0]]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def count(path: str) -> int:
    with open_clip(path) as clip:
        return sum(1 for _ in clip)


def refusal(client: Client, *args: Any, **options: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        client.predict(*args, api_name="/animate", **options)
    return str(caught.value)


@needs_emoji
def test_the_default_call_gives_an_mp4_with_the_asked_frames(client: Client) -> None:
    clip, facts, recipe, *_ = client.predict("emoji-vae", seconds=1, fps=10, api_name="/animate")
    assert Path(clip).suffix == ".mp4" and count(clip) == facts["frames"] == 10
    assert facts["model"] == "emoji-vae" and facts["name"] == "emoji-vae.mp4"
    told = json.loads(Path(recipe).read_text())
    assert [key["seed"] for key in told["keyframes"]] == [1, 2, 3, 4]
    assert "path" not in facts


def test_a_codec_walks_between_two_pictures_in_every_format(
    client: Client, stills: list[Path]
) -> None:
    pair = [handle_file(still) for still in stills[:2]]
    made = {}
    for format, suffix in (("mp4", ".mp4"), ("gif", ".gif"), ("sheet", ".png")):
        clip, facts, _, sheet, *_ = client.predict(
            "d4-codec", files=pair, seconds=0.5, fps=8, format=format, api_name="/animate")
        assert Path(clip).suffix == suffix and facts["frames"] == 4
        made[format] = sheet
    described = json.loads(Path(made["sheet"]).read_text())
    assert len(described["frames"]) == 4


def test_bad_input_becomes_one_sentence(
    client: Client, page: PageServer, stills: list[Path]
) -> None:
    before = len(page.log.read_text())
    pair = [handle_file(still) for still in stills[:2]]
    unlike = [handle_file(still) for still in stills[1:]]
    assert "at least two" in refusal(client, "d4-codec", files=pair[:1])
    assert "one size" in refusal(client, "d4-codec", files=unlike)
    assert "seed" in refusal(client, "d4-codec")
    assert "whole numbers" in refusal(client, "d4-codec", "one, two")
    assert "seconds of each part" in refusal(client, "d4-codec", files=pair, parts="1, -2")
    assert "2 durations" in refusal(client, "d4-codec", files=pair, parts="1, 2", ending="once")
    assert "seeds are given" in refusal(client, "d4-codec", ", ".join(["7"] * 10_000))
    for wrong, words in (
            ({"seconds": 0}, "Seconds '0' is not possible; give 0.5 to 4."),
            ({"seconds": "long"}, "Seconds 'long' is not possible; give 0.5 to 4."),
            ({"fps": 1000}, "Frames per second '1000' is not possible; give 5 to 60."),
            ({"ending": "never"}, "At the end 'never' is not offered; choose among loop"),
            ({"format": "bmp"}, "As 'bmp' is not offered; choose among mp4, webm"),
            ({"model": "nothing"}, "Model 'nothing' is not offered; choose among")):
        assert words in refusal(client, **{"model": "d4-codec", "files": pair, **wrong})
    assert "Traceback" not in page.log.read_text()[before:]


@needs_sprites
def test_a_still_becomes_a_sheet(client: Client, tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[20:60, 24:40] = (200, 60, 40, 255)
    picture[24:34, 26:38] = (240, 200, 160, 255)
    Image.fromarray(picture).save(tmp_path / "hero.png")
    sheet, facts, _, described, *_ = client.predict(
        "sprite-motion", files=[handle_file(tmp_path / "hero.png")], format="sheet", steps=4,
        api_name="/animate")
    with Image.open(sheet) as opened:
        assert opened.size == (5 * 64, 4 * 64) and facts["frames"] == 20
    assert len(json.loads(Path(described).read_text())["frames"]) == 20
    aside = np.full((150, 120, 3), (0, 200, 0), np.uint8)
    aside[7:47, 100:116] = picture[20:60, 24:40, :3]
    Image.fromarray(aside).save(tmp_path / "aside.png")
    again, facts, *_ = client.predict(
        "sprite-motion", files=[handle_file(tmp_path / "aside.png")], format="sheet", steps=4,
        api_name="/animate")
    with Image.open(sheet) as first, Image.open(again) as second:
        assert first.tobytes() == second.tobytes()
    assert any("background of aside.png" in note for note in facts["notes"])
    Image.fromarray(np.zeros((64, 64, 4), np.uint8)).save(tmp_path / "empty.png")
    said = refusal(client, "sprite-motion", files=[handle_file(tmp_path / "empty.png")])
    assert "No character is found in empty.png" in said


class Flat:
    """Stands in for a model: two of its four numbers are seen, the first more than the second."""

    latent, side = 4, 2

    def sample(self, seeds: Any, truncation: float = 1.0) -> np.ndarray:
        return np.stack([np.random.default_rng(seed).normal(size=4) for seed in seeds]) * truncation

    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        shown = np.clip(128 + latents[:, :2] * (20, 5), 0, 255).astype(np.uint8)
        return [np.repeat(pair[None, :, None], 3, 2) for pair in shown]


def test_directions_are_those_that_are_seen_most() -> None:
    found = main_directions(Flat(), 2)  # type: ignore[arg-type]
    assert found.shape == (2, 4)
    assert np.abs(found).argmax(1).tolist() == [0, 1]
    assert (np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1) > 0).all()


def test_sliders_move_a_latent_and_refuse_what_is_not_of_the_model(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyframes, "directions", lambda name: np.eye(2, 4, dtype=np.float32))
    assert keyframes.shifted_latent("any", [1, 1, 1, 1], [2, -1, 9]).tolist() == [3, 0, 1, 1]
    assert keyframes.shifted_latent("any", [1, 1, 1, 1], []).tolist() == [1, 1, 1, 1]
    for base in (None, [1.0]):
        with pytest.raises(InputError):
            keyframes.shifted_latent("any", base, [0, 0])


def test_a_timeline_tells_what_it_holds() -> None:
    seed = keyframes.Key("data:,", "seed 3", seed=3)
    shaped = keyframes.Key("data:,", "s", latent=(0.5, 1))
    assert seed.as_keyframe == 3 and shaped.as_keyframe.tolist() == [0.5, 1]
    with pytest.raises(InputError, match="<b> is not on this server any more"):
        _ = keyframes.Key("data:,", "<b>", file="a.png").as_keyframe
    page = keyframes.timeline_html([seed, keyframes.Key("data:,", "<b>", file="a.png")])
    assert page.count("<li>") == 2 and "<b>" not in page
    assert "Click two" in keyframes.timeline_html([])


def test_each_part_has_seconds_of_its_own(client: Client, stills: list[Path]) -> None:
    pair = [handle_file(still) for still in stills[:2]]
    _, facts, recipe, *_ = client.predict("d4-codec", files=pair, fps=8, parts="0.5, 0.25",
                                          api_name="/animate")
    assert facts["frames"] == 6
    assert json.loads(Path(recipe).read_text())["seconds"] == [0.5, 0.25]


def test_seeds_are_whole_numbers() -> None:
    assert animate_job.seeds_of("1, 2 3,") == [1, 2, 3]
    for wrong in ("", None, "1.5", "a", "-1", "²"):
        with pytest.raises(InputError):
            animate_job.seeds_of(wrong)


def test_a_missing_model_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyframes.hub, "list_models", lambda **_: [])
    assert keyframes.animation_models() == [] and animate.sprite_model_name() == ""
    with pytest.raises(InputError, match="not on this machine"):
        keyframes.load_generator("emoji-vae")


def test_handlers_change_the_timeline_in_place_so_that_two_at_once_lose_no_keyframe() -> None:
    file = keyframes.Key("data:,", "a.png", file="a.png")
    timeline = [keyframes.Key("data:,", "seed 3", seed=3)]
    drawn = keyframes.seed_keys

    def draw_while_a_file_arrives(name: str, seeds: range) -> list[keyframes.Key]:
        animate._extend(timeline, [file])
        return drawn(name, seeds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyframes, "seed_keys", draw_while_a_file_arrives)
        told = animate._change_model("d4-codec", timeline)
    assert told[2] is timeline and timeline == [file]
    earlier = SimpleNamespace(number=1, earlier=True)
    animate._extend(timeline, [keyframes.Key("data:,", "b.png", file="b.png")])
    assert animate._edit_timeline(timeline, earlier)[0] is timeline and timeline[1] == file
    assert animate._clear_timeline(timeline)[0] is timeline and not timeline
