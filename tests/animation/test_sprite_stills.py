"""A character walks the same wherever it stands in its picture, and on any background."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import aehub
from aehub.cli import main
from aehub.errors import InputError
from aehub.generators.base import over_white
from aehub.generators.sprite.cutout import Cell
from aehub.generators.sprite.model import SpriteAnimator
from animation.sprites import knight
from material import moving_picture


@pytest.fixture(scope="module")
def hero(model: SpriteAnimator) -> np.ndarray:
    """A character in parts that the model knows, uint8 [64, 64, 4]."""
    return Cell.from_picture(model.decode(model.sample([3]))[0]).picture


def cut(picture: np.ndarray) -> np.ndarray:
    """No more than the character."""
    rows, columns = (np.flatnonzero((picture[..., 3] > 0).any(axis)) for axis in (1, 0))
    return picture[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def on_canvas(picture: np.ndarray, height: int, width: int, top: int, left: int) -> np.ndarray:
    canvas = np.zeros((height, width, 4), np.uint8)
    canvas[top:top + picture.shape[0], left:left + picture.shape[1]] = picture
    return canvas


def on_background(picture: np.ndarray, background: Any) -> np.ndarray:
    return np.where(picture[..., 3:] > 0, picture[..., :3], np.array(background)).astype(np.uint8)


def larger(picture: np.ndarray, times: int) -> np.ndarray:
    return picture.repeat(times, 0).repeat(times, 1)


def resized(picture: np.ndarray, side: int, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), how))


def as_jpeg(picture: np.ndarray, quality: int = 75) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_a_still_in_its_place_stays_there(model: SpriteAnimator, hero: np.ndarray) -> None:
    placed = model.place_still(hero)
    assert np.array_equal(placed.picture[..., 3], hero[..., 3])
    assert np.array_equal(over_white(placed.picture), over_white(hero))
    assert (placed.side, placed.notes, placed.shrink) == (64, (), 1)


@pytest.mark.parametrize("canvas", [
    (64, 64, 0, 0), (64, 64, 11, 34), (64, 64, 5, 13), (192, 192, 77, 82), (300, 80, 240, 50),
    (0, 0, 0, 0)], ids=str)
def test_a_still_may_stand_anywhere(
    model: SpriteAnimator, hero: np.ndarray, canvas: tuple[int, int, int, int]
) -> None:
    known, strange = cut(hero), cut(knight())
    for figure, wanted in ((known, hero), (strange, knight())):
        still = on_canvas(figure, *canvas) if canvas[0] else figure
        placed = model.place_still(still)
        assert np.array_equal(over_white(placed.picture), over_white(wanted)) and placed.side == 64


def test_what_is_held_at_one_side_moves_no_one(model: SpriteAnimator, hero: np.ndarray) -> None:
    armed = hero.copy()
    armed[30:42, 1:16] = (150, 160, 40, 255)
    placed = model.place_still(on_canvas(armed, 100, 100, 3, 30))
    assert np.array_equal(over_white(placed.picture), over_white(armed))


@pytest.mark.parametrize("times", [2, 3, 5])
def test_pixel_art_may_be_enlarged(model: SpriteAnimator, hero: np.ndarray, times: int) -> None:
    still = on_canvas(larger(cut(hero), times), 400, 390, 40, 77)
    placed = model.place_still(still)
    assert np.array_equal(over_white(placed.picture), over_white(hero))
    assert placed.side == 64 * times
    frames = model.frames(placed, "left", [2])
    assert np.array_equal(frames, model.frames(hero, "left", [2]).repeat(times, 1).repeat(times, 2))


@pytest.mark.parametrize("side", [80, 96, 100, 144])
def test_a_cell_resized_by_no_whole_factor_is_brought_back(
    model: SpriteAnimator, hero: np.ndarray, side: int
) -> None:
    placed = model.place_still(resized(hero, side, Image.Resampling.NEAREST))
    assert np.array_equal(over_white(placed.picture), over_white(hero))
    assert placed.side == 64 and "pixels high" in placed.notes[0]


def test_a_smaller_cell_is_doubled(model: SpriteAnimator, hero: np.ndarray) -> None:
    for side in (16, 32, 48):
        placed = model.place_still(resized(hero, side, Image.Resampling.NEAREST))
        cover = placed.picture[..., 3] > 0
        assert (cover & (hero[..., 3] > 0)).sum() > 0.8 * cover.sum()
        assert placed.side == (64 if side == 48 else side)


@pytest.mark.parametrize("kind", ["white", "green", "magenta", "opaque", "frame", "soft", "ghost",
                                  "faint", "shadow", "card"])
def test_the_background_is_found_and_removed(
    model: SpriteAnimator, hero: np.ndarray, kind: str
) -> None:
    rise = np.linspace(0, 12, 64)[:, None, None] + (40, 120, 190)
    still = {
        "white": lambda: on_background(hero, (255, 255, 255)),
        "green": lambda: on_background(on_canvas(hero, 90, 90, 10, 20), (0, 200, 0)),
        "magenta": lambda: on_background(cut(hero), (255, 0, 255)),
        "opaque": lambda: np.dstack([on_background(hero, (255,) * 3),
                                     np.full((64, 64), 255, "u1")]),
        "frame": lambda: np.pad(on_background(hero, (255, 255, 255)), ((3, 1), (2, 2), (0, 0))),
        "soft": lambda: on_background(hero, rise),
        "ghost": lambda: hero // (1, 1, 1, 2),
        "faint": lambda: hero // (1, 1, 1, 8),
        "shadow": lambda: np.where((hero[..., 3:] == 0) & (np.indices((64, 64))[0] > 58)[..., None],
                                   (0, 0, 0, 90), hero),
        "card": lambda: np.dstack([on_background(hero, (9, 200, 250)), np.where(
            np.add(*np.indices((64, 64))) < 5, 0, 255)]),
    }[kind]()
    placed = model.place_still(still.astype(np.uint8), "hero.png")
    assert np.array_equal(over_white(placed.picture), over_white(hero))
    said = " ".join(placed.notes)
    assert ("background of hero.png" in said) == (kind in ("green", "magenta", "soft", "card"))
    assert ("transparent by" in said) == (kind in ("ghost", "faint"))


@pytest.mark.parametrize(("background", "quality"), [((255, 255, 255), 40), ((0, 200, 0), 90)])
def test_noise_of_a_jpeg_is_no_part_of_a_character(
    model: SpriteAnimator, hero: np.ndarray, background: tuple[int, ...], quality: int
) -> None:
    still = as_jpeg(on_background(on_canvas(hero, 128, 128, 40, 50), background), quality)
    placed = model.place_still(still)
    cover, wanted = placed.picture[..., 3] > 0, hero[..., 3] > 0
    assert (cover != wanted).sum() < 0.2 * wanted.sum()
    assert "blurred" in placed.notes[-1]
    walked, right = (over_white(model.frames(still, "left", [3])).astype(float)
                     for still in (placed, hero))
    assert (np.abs(walked - right).max(-1) > 40).mean() < 0.06


def test_what_shows_no_one_character_is_refused_in_a_sentence(hero: np.ndarray) -> None:
    from aehub.generators.sprite.cutout import cut_out

    slope = np.add(*np.indices((64, 64)))[..., None] * (2, 1, 2)
    squares = 200 + 55 * (np.add(*(np.indices((64, 64)) // 8)) % 2)[..., None]
    for still, words in (
        (np.zeros((64, 64, 4), np.uint8), "no character is found in x.png"),
        (np.full((64, 64, 3), 255, np.uint8), "no character is found"),
        (np.full((1, 1, 3), 7, np.uint8), "no character is found"),
        (hero // np.array([1, 1, 1, 64], np.uint8), "no character is found"),
        (on_canvas(hero[30:33, 30:33], 64, 64, 9, 9), "no character is found"),
        (on_background(hero, slope), "background of several colours.*transparent, or one colour"),
        (on_background(hero, squares), "background of several colours"),
        (moving_picture(1, 64, 64)[0], "background of several colours"),
        (np.concatenate([hero] * 3, 1), "x.png shows 3 figures; a still shows one"),
        (np.tile(hero, (2, 4, 1)), "shows 8 figures"),
        (on_background(np.tile(hero, (2, 1, 1)), (0, 200, 0)), "shows 2 figures"),
        (np.concatenate([cut(hero)] * 2, 1), "wide and .* high; give one character"),
        (np.zeros((5000, 8, 4), np.uint8), "at most 4096"),
        (hero[..., 0], "give a picture"),
        (hero / 255, "give a picture"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            cut_out(still.astype(still.dtype), "x.png")
        assert str(caught.value).endswith(".")


def test_what_the_model_does_not_know_is_said(model: SpriteAnimator) -> None:
    y, x = np.indices((64, 64)) - 32
    ball = np.dstack([np.full((64, 64, 3), (250, 200, 40)), 255 * (x * x + y * y < 600)])
    for still, name in ((ball, "a.png"), (knight(), "the still")):
        (note,) = model.place_still(still.astype(np.uint8), name).notes
        assert f"knows no body like that of {name}" in note


def test_a_walk_says_what_was_done_to_its_still(hero: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(hero).save(tmp_path / "hero.png")
    aside = on_background(on_canvas(cut(hero), 90, 120, 7, 80), (90, 90, 200))
    Image.fromarray(aside).save(tmp_path / "aside.png")
    common: dict[str, Any] = dict(model="sprite-motion", seconds=0.4, steps=4, direction="right")
    aehub.animate(tmp_path / "a.gif", keyframes=[tmp_path / "hero.png"], **common)
    made = aehub.animate(tmp_path / "b.gif", keyframes=[tmp_path / "aside.png"], **common)
    again = aehub.animate(tmp_path / "c.gif", recipe=made.recipe)
    array = aehub.animate(tmp_path / "d.gif", keyframes=[hero], **common)
    aehub.animate(tmp_path / "e.gif", recipe=array.recipe)
    assert len({(tmp_path / f"{name}.gif").read_bytes() for name in "abcde"}) == 1
    assert made.notes == again.notes == (
        "The background of aside.png, rgb(90, 90, 200), was removed, with all other pixels of that "
        "colour.",)
    Image.fromarray(np.tile(hero, (1, 2, 1))).save(tmp_path / "two.png")
    done = CliRunner().invoke(main, ["animate", str(tmp_path / "f.gif"), "--model", "sprite-motion",
                                     "--keyframe", str(tmp_path / "two.png")])
    assert done.exit_code == 1 and "two.png shows 2 figures" in done.stderr
    assert not (tmp_path / "f.gif").exists()
