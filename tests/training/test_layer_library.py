"""Layers that the data never shows alone are separated, and new characters composed of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aehub.generators.sprite.part_matching import PartMatch, match_parts, row_weights
from aehub.generators.sprite.parts import CLASSES, SLOTS, PartDictionary
from aehub.generators.sprite.pixel_art import to_indexed
from aehub.generators.sprite.stills import HEIGHT, LEFT, TOP, WIDTH
from aehub.training.data import Cache
from aehub.training.layer_library import Characters, LayerLibrary, slot_of, style_of

STAGE = (slice(TOP, TOP + HEIGHT), slice(LEFT, LEFT + WIDTH))
# Top, bottom, left and right of the pixels of a layer, and its shift per frame.
SHAPES = {"body": (20, 60, 22, 42, 0), "legs": (44, 58, 24, 40, 1), "torso": (32, 46, 20, 44, 1),
          "hair": (12, 28, 20, 44, 2)}
COLOURS = {"body": 5, "legs": 5, "torso": 5, "hair": 8}


def layer(kind: str, number: int) -> tuple[str, np.ndarray, np.ndarray]:
    """(name, cover bool [4, 9, 64, 64], picture uint8 [4, 9, 64, 64, 3])."""
    top, bottom, left, right, sway = SHAPES[kind]
    style = number % 2 if kind == "hair" else 0
    rng = np.random.default_rng([*kind.encode(), number])
    cover, picture = np.zeros((4, 9, 64, 64), bool), np.zeros((4, 9, 64, 64, 3), np.uint8)
    bright, dark = rng.integers(20, 230, 3), rng.integers(0, 60, 3)
    for direction in range(4):
        for pose in range(9):
            x = left + sway * (pose % 3) + direction
            cover[direction, pose, top:bottom + 4 * style, x:right] = True
            picture[direction, pose, ...] = bright
            picture[direction, pose, top + 3 + style:top + 6, x:right] = dark
    folder = {"body": "body/male/{}.png", "legs": "legs/male/{}.png",
              "torso": "torso/shirts/{}.png", "hair": f"hair/male/style{style}/{{}}.png"}[kind]
    return folder.format(number), cover, picture


LAYERS = {kind: [layer(kind, number) for number in range(count)]
          for kind, count in COLOURS.items()}


def composed(outfit: tuple[int, ...]) -> np.ndarray:
    sheet = np.full((4, 9, 64, 64, 3), 255, np.uint8)
    for kind, number in zip(SHAPES, outfit, strict=True):
        _, cover, picture = LAYERS[kind][number]
        sheet[cover] = picture[cover]
    return sheet


@pytest.fixture(scope="module")
def outfits() -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(int(rng.integers(count)) for count in COLOURS.values()) for _ in range(60)]


@pytest.fixture(scope="module")
def library(outfits: list[tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory
            ) -> LayerLibrary:
    names = [" | ".join(LAYERS[kind][number][0] for kind, number in zip(SHAPES, one, strict=True))
             for one in outfits]
    nobody = np.zeros(len(outfits), bool)
    characters = Characters(np.stack([composed(one) for one in outfits]), names, names, nobody,
                            nobody)
    folder: Path = tmp_path_factory.mktemp("library")
    LayerLibrary.build(characters, Cache(folder))
    return LayerLibrary.build(characters, Cache(folder, leader=False))


@pytest.fixture(scope="module")
def parts(library: LayerLibrary) -> PartDictionary:
    packed = library.packed_parts()
    parts = PartDictionary(len(packed["slot"]), len(packed["owner"]), len(packed["cover"]),
                           len(packed["classes"]))
    parts.fill(packed)
    return parts


def drawn_in_colours(parts: PartDictionary, found: PartMatch, still: np.ndarray) -> np.ndarray:
    picture = to_indexed(still)
    return picture.palette[parts.render_cycle([*found.layers, *found.candidates[0]], picture)]


def test_layers_upon_each_other_are_the_character(
        library: LayerLibrary, outfits: list[tuple[int, ...]]) -> None:
    wrong = 0.0
    for outfit, worn in zip(outfits, library.outfits, strict=True):
        layers = [layer for part in worn for layer in part]
        wanted = composed(outfit)
        for direction in range(4):
            shown = library.compose(layers, direction, np.arange(9))
            wrong = max(wrong, float((shown != wanted[direction]).any(-1).mean()))
    assert wrong < 0.005


def test_a_new_character_moves_as_its_layers_do(library: LayerLibrary) -> None:
    names = {name: number for number, name in enumerate(library.names)}
    rng = np.random.default_rng(3)
    for _ in range(20):
        outfit = tuple(int(rng.integers(count)) for count in COLOURS.values())
        layers = [names[LAYERS[kind][n][0]] for kind, n in zip(SHAPES, outfit, strict=True)]
        shown = library.compose(layers, 1, np.arange(9))
        assert (shown != composed(outfit)[1]).any(-1).mean() < 0.01


def test_characters_composed_anew_are_none_of_those_given(library: LayerLibrary,
                                                          outfits: list[tuple[int, ...]]) -> None:
    given = {composed(outfit)[2, 0].tobytes() for outfit in outfits}
    rng = np.random.default_rng(1)
    stills = [library.random_character(rng, 0, np.array([0, 4]))[0].tobytes() for _ in range(50)]
    assert sum(still not in given for still in stills) > 25


def test_a_still_in_known_parts_is_explained_and_moves_as_they_do(parts: PartDictionary) -> None:
    rng = np.random.default_rng(5)
    for _ in range(10):
        wanted = composed(tuple(int(rng.integers(count)) for count in COLOURS.values()))
        still = wanted[2, 0][STAGE]
        found = match_parts(parts, still)
        assert found.unexplained < 0.01
        assert found.row_weights.sum(0) == pytest.approx(np.ones(HEIGHT), abs=1e-4)
        drawn = drawn_in_colours(parts, found, still)
        assert (drawn != wanted[:, :, STAGE[0], STAGE[1]]).any(-1).mean() < 0.01


def test_colours_no_part_was_known_in_are_read_off_the_still(parts: PartDictionary) -> None:
    wanted = composed((0, 1, 2, 3))
    _, cover, picture = LAYERS["hair"][3]
    hair = cover & (picture == picture[0, 0, 0, 0]).all(-1)
    wanted[hair] = (1, 250, 130)
    still = wanted[2, 0][STAGE]
    found = match_parts(parts, still)
    drawn = drawn_in_colours(parts, found, still)
    assert found.unexplained < 0.01
    assert (drawn != wanted[:, :, STAGE[0], STAGE[1]]).any(-1).mean() < 0.01


def test_a_row_is_the_mean_of_what_looks_like_the_still_around_it() -> None:
    rng = np.random.default_rng(2)
    fronts = rng.random((3, HEIGHT * WIDTH, 3))
    half = HEIGHT * WIDTH // 2
    still = np.concatenate([fronts[0, :half], (fronts[1, half:] + fronts[2, half:]) / 2])
    shares = row_weights(np.full(3, 1 / 3), fronts, still)
    assert shares.sum(0) == pytest.approx(np.ones(HEIGHT), abs=1e-4)
    assert shares[:, HEIGHT // 4] == pytest.approx([1, 0, 0], abs=0.15)
    assert shares[:, 3 * HEIGHT // 4] == pytest.approx([0, 0.5, 0.5], abs=0.15)


def test_parts_that_no_one_of_a_build_wears_are_not_found_on_it(
        library: LayerLibrary, parts: PartDictionary) -> None:
    assert set(parts.fits.tolist()) == {1 << 1}
    still = composed((0, 1, 2, 3))[2, 0][STAGE]
    hair = [place for place, slot in enumerate(parts.slot.tolist()) if SLOTS[slot] == "hair"]
    assert any(one.part in hair for one in match_parts(parts, still).candidates[0])
    packed = library.packed_parts()
    packed["fits"][hair] = 1
    other = PartDictionary(len(packed["slot"]), len(packed["owner"]), len(packed["cover"]),
                           len(packed["classes"]))
    other.fill(packed)
    assert not any(one.part in hair for top in match_parts(other, still).candidates for one in top)


def test_skin_that_little_hair_leaves_free_belongs_to_the_body(tmp_path: Path) -> None:
    """Nobody is bald, so only those with a strip of hair show what the head is like."""
    sheets, layers = [], []
    # Two of the three who have hair of a colour have the same skin.
    some = [(colour if user else (colour + 1) % 3, colour, True)
            for colour in range(3) for user in range(3)]
    for skin, colour, strip in [*some, *((n % 3, n % 5, False) for n in range(50))]:
        name, cover, picture = LAYERS["body"][skin]
        sheet = np.full((4, 9, 64, 64, 3), 255, np.uint8)
        sheet[cover] = picture[cover]
        hair = np.zeros_like(cover)
        hair[..., 16:30, 31:33 if strip else 46] = True
        hair[..., 16:30, 18:31] = not strip
        sheet[hair] = LAYERS["hair"][colour][2][hair]
        sheets.append(sheet)
        layers.append(f"{name} | hair/male/{'strip' if strip else 'full'}/{colour}.png")
    nobody = np.zeros(len(layers), bool)
    library = LayerLibrary.build(Characters(np.stack(sheets), layers, layers, nobody, nobody),
                                 Cache(tmp_path))
    for number, name in enumerate(library.names):
        if "strip" in name:
            assert library.mask[number][..., 26 - TOP:29 - TOP, :].sum(-1).max() == 2
        if name.startswith("body"):
            head = library.mask[number][..., 26 - TOP:29 - TOP, 26 - LEFT:40 - LEFT]
            # All but what the strip covers.
            assert head.mean() == pytest.approx(12 / 14)


def test_what_no_part_resembles_is_hardly_explained(parts: PartDictionary) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    assert match_parts(parts, noise).unexplained > 0.8
    assert match_parts(parts, np.full((HEIGHT, WIDTH, 3), 255, np.uint8)).unexplained == 1


def test_parts_of_any_bytes_explain_and_draw_without_a_crash() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        parts = PartDictionary(5, 7, 40, 30)
        for parameter in parts.parameters():
            parameter.copy_(torch_bytes(rng, tuple(parameter.shape)))
        still = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        found = match_parts(parts, still)
        assert drawn_in_colours(parts, found, still).shape == (4, 9, HEIGHT, WIDTH, 3)


def torch_bytes(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 255, shape, np.uint8, endpoint=True))


@pytest.mark.parametrize(("name", "slot", "style"), [
    ("body/female/light.png", "body", "body/female"),
    ("body/male/red_orc.png", "body", "body/male/orc"),
    ("body/female/eyes/gray.png", "eyes", "body/female/eyes/gray.png"),
    ("hair/female/long/blue.png", "hair", "hair/female/long"),
    ("hair/female/long.png", "hair", "hair/female/long"),
    ("head/helms/male/chainhat_male.png", "head", "head/helms/male/chainhat_male.png"),
    ("facial/male/beard/black.png", "beard", "facial/male/beard"),
    ("torso/back/cape/normal/female/cape_red.png", "cape", "torso/back/cape/normal/female"),
    ("torso/plate/chest_male.png", "torso", "torso/plate/chest_male.png"),
    ("formal_male_no_th-sh/vest.png", "suit", "formal_male_no_th-sh/vest.png"),
    ("belt/cloth/male/white_cloth_male.png", "belt", "belt/cloth/male/white_cloth_male.png"),
])
def test_files_tell_where_a_layer_is_worn_and_what_it_shares(name: str, slot: str, style: str
                                                             ) -> None:
    assert slot_of(name) == slot and slot in SLOTS
    assert style_of(name) == style


def test_no_part_has_more_classes_than_are_stored(parts: PartDictionary) -> None:
    assert int(parts.classes.max()) < CLASSES
