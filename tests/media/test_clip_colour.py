"""Planes to RGB and back: exact formulas, siting, ranges."""

from __future__ import annotations

import numpy as np
import pytest

from aehub.errors import InputError
from aehub.media.colour import from_rgb, luma_weights, rgb_colour, to_rgb
from aehub.media.picture import Colour, Picture
from material import moving_picture, psnr

COLOURS = [Colour(matrix, full) for matrix in (1, 2, 5, 6, 7, 9) for full in (False, True)]


def smooth_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 60
    waves = [np.sin(1.3 * x + y), np.cos(1.7 * y - x), np.sin(x * y / 2)]
    return np.rint(128 + 90 * np.stack(waves, axis=2)).astype(np.uint8)


def flat(colour: Colour, rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    planes = from_rgb(np.full((6, 8, 3), rgb, np.uint8), colour)
    assert all(np.ptp(plane) == 0 for plane in planes)
    return tuple(int(plane[0, 0]) for plane in planes)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", [(240, 320), (181, 243)])
def test_a_smooth_picture_survives_the_round_trip(colour: Colour, size: tuple[int, int]) -> None:
    picture = smooth_picture(*size)
    assert psnr(picture, to_rgb(from_rgb(picture, colour), colour)) > 48


@pytest.mark.parametrize("colour", COLOURS)
def test_flat_colours_follow_the_formula_of_h273(colour: Colour) -> None:
    kr, kg, kb = luma_weights(colour.matrix)
    for rgb in [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 17, 201)]:
        red, green, blue = (value / 255 for value in rgb)
        luma = kr * red + kg * green + kb * blue
        cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
        exact = (
            [255 * luma, 128 + 255 * cb, 128 + 255 * cr]
            if colour.full_range
            else [16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr]
        )
        assert np.abs(np.array(flat(colour, rgb)) - np.minimum(exact, 255)).max() <= 0.501


def test_white_and_black_have_the_standard_values() -> None:
    assert flat(Colour(6), (255, 255, 255)) == (235, 128, 128)
    assert flat(Colour(6), (0, 0, 0)) == (16, 128, 128)
    assert flat(Colour(1), (255, 0, 0)) == (63, 102, 240)
    assert flat(Colour(5, full_range=True), (255, 0, 0)) == (76, 85, 255)


def test_chroma_sits_in_the_centre_of_its_block() -> None:
    # A mirrored picture has mirrored planes, which no side-sited grid does.
    picture = moving_picture(1, 64, 48, seed=5)[0]
    planes, turned = (from_rgb(p, Colour(1)) for p in (picture, picture[::-1, ::-1].copy()))
    for plane, other in zip(planes, turned, strict=True):
        assert np.array_equal(plane[::-1, ::-1], other)
    upright, upended = to_rgb(planes, Colour(1)), to_rgb(turned, Colour(1))
    assert np.abs(upright[::-1, ::-1].astype(int) - upended).max() <= 1


def test_upsampling_weights_near_and_far_chroma_three_to_one() -> None:
    u = np.array([[100, 140]], np.uint8)
    planes = Picture((np.full((2, 4), 128, np.uint8), u, np.full((1, 2), 128, np.uint8)))
    blue = to_rgb(planes, Colour(1, full_range=True))[0, :, 2].astype(float)
    expected = 128 + 1.8556 * (np.array([100, 110, 130, 140]) - 128)
    assert np.abs(blue - expected).max() <= 0.51


def test_a_picture_of_one_pixel_converts() -> None:
    planes = from_rgb(np.array([[[10, 200, 30]]], np.uint8), Colour(6))
    assert [plane.shape for plane in planes] == [(1, 1)] * 3
    assert np.abs(to_rgb(planes, Colour(6)).astype(int) - [10, 200, 30]).max() <= 2


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = moving_picture(1, 70, 101, seed=2)[0]
    whole = from_rgb(picture, Colour(1))
    shown = to_rgb(whole, Colour(1))
    monkeypatch.setattr("aehub.media.colour._STRIP_ROWS", 8)
    assert all(map(np.array_equal, from_rgb(picture, Colour(1)), whole))
    assert np.array_equal(to_rgb(whole, Colour(1)), shown)


def test_high_definition_rgb_is_stored_as_bt709() -> None:
    assert rgb_colour(719).matrix == 6
    assert rgb_colour(720).matrix == 1
    assert not rgb_colour(720).full_range


def test_an_unknown_matrix_is_refused_by_number() -> None:
    planes = from_rgb(np.zeros((4, 4, 3), np.uint8), Colour(1))
    with pytest.raises(InputError, match="number 14"):
        to_rgb(planes, Colour(14))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_that_are_no_pictures_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        from_rgb(array, Colour(1))
