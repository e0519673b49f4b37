"""Scaling of pictures: means of areas down, Lanczos interpolation up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from aehub.errors import InputError
from aehub.media.colour import from_rgb
from aehub.media.orientation import ORDER, turn_picture
from aehub.media.picture import Colour, Picture, PictureFormat, PlaneFormat
from aehub.media.scaling import check_scale, downscale, scaled, scaled_size, upscale
from material import moving_picture


def picture(width: int = 90, height: int = 62) -> Picture:
    return from_rgb(moving_picture(1, width, height)[0], Colour(6))


@pytest.mark.parametrize("n", [2, 4, 8])
def test_samples_are_means_of_areas(n: int) -> None:
    whole = picture(64, 96)
    for small, plane in zip(downscale(whole, n), whole, strict=True):
        rows, columns = plane.shape[0] // n, plane.shape[1] // n
        means = plane.reshape(rows, n, columns, n).mean((1, 3))
        assert np.abs(small - means).max() <= 0.5


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("size", [(90, 62), (67, 45), (3, 1)])
def test_sides_are_rounded_up_and_cut_areas_count(n: int, size: tuple[int, int]) -> None:
    small = downscale(picture(*size), n)
    small.check()
    assert small.size == scaled_size(size, Fraction(1, n)) == (-(-size[0] // n), -(-size[1] // n))
    flat = Picture([np.full_like(plane, 77) for plane in picture(*size)])
    assert all((plane == 77).all() for plane in downscale(flat, n))


@pytest.mark.parametrize("g", range(ORDER))
@pytest.mark.parametrize("n", [2, 4, 8])
def test_a_turned_picture_has_the_turned_areas(n: int, g: int) -> None:
    # Files keep a picture in the corner of a plane whose sides are multiples of 32.
    width, height = 90, 62
    corner = [0, 0]
    turned = turn_picture(picture(width, height), g)
    padding = (96 - width, 64 - height)
    where = np.zeros((64, 96), bool)
    where[:height, :width] = True
    plane = turn_picture(Picture([where.astype(np.uint8), where[::2, ::2].astype(np.uint8),
                                  where[::2, ::2].astype(np.uint8)]), g)[0]
    corner = [int(plane.any(axis).argmax()) for axis in (0, 1)]
    assert padding != (0, 0)
    small = downscale(turned, n, (corner[0], corner[1]))
    for one, other in zip(small, turn_picture(downscale(picture(width, height), n), g),
                          strict=True):
        assert np.array_equal(one, other)


def test_deep_and_signed_samples_keep_their_format() -> None:
    form = PictureFormat((PlaneFormat("A"), PlaneFormat("B", 4, 1)), bits=12, signed=True)
    rng = np.random.default_rng(1)
    whole = Picture([rng.integers(-2048, 2048, shape, np.int16) for shape in form.shapes((50, 20))],
                    form)
    for scale in (Fraction(1, 4), Fraction(2)):
        changed = scaled(whole, scale)
        changed.check()
        assert changed.format == form and changed.size == scaled_size((50, 20), scale)


def test_interpolation_is_that_of_pillow() -> None:
    whole = picture(80, 64)
    for large, plane in zip(upscale(whole), whole, strict=True):
        theirs = np.asarray(Image.fromarray(plane).resize(large.shape[::-1],
                                                          Image.Resampling.LANCZOS))
        inside = np.abs(large.astype(int) - theirs)[8:-8, 8:-8]
        assert inside.max() <= 1


@pytest.mark.parametrize("g", range(ORDER))
def test_interpolation_commutes_with_turns(g: int) -> None:
    whole = picture(50, 36)
    for one, other in zip(upscale(turn_picture(whole, g)), turn_picture(upscale(whole), g),
                          strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("given", ["1/8", 0.25, Fraction(1, 2), 1, "2", np.float64(2)])
def test_scales_are_numbers_or_texts(given: object) -> None:
    assert check_scale(given) == Fraction(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["1/3", 3, 0, -1, "half", None, True, float("nan"), "1/0", [2]])
def test_other_scales_are_refused_in_one_sentence(given: object) -> None:
    with pytest.raises(InputError, match=r"give 1/8, 1/4, 1/2, 1 or 2\."):
        check_scale(given)
