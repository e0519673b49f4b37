"""Flat cells: letterbox bars and plain pictures show their colour exactly, for a few bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import aehub
from aehub.bitstream import GroupHeader, open_reader
from aehub.codecs.d4 import PAYLOAD_FORMATS
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.d4.flat_cells import FlatCells, find_flat_cells
from aehub.codecs.d4.frame_coding import GroupReader
from aehub.codecs.d4.layers import SINGLE_STREAM
from aehub.codecs.d4.planes import to_batch
from aehub.codecs.decompress import decode_frames
from aehub.codecs.gop import FrameSlot
from aehub.media.colour import from_rgb
from aehub.media.orientation import ELEMENTS, turn
from aehub.media.picture import Colour, Picture
from editing.files import edited
from golden_files import BARS, GOLDEN, predicted_clip, predicted_codes
from material import moving_picture
from predicted_files import compressed, planes_of, tiny

COLOURS = {"grey": (128, 128, 128), "white": (255, 255, 255), "black": (0, 0, 0),
           "red": (200, 40, 60), "blue": (10, 20, 240)}


@cache
def bundled() -> aehub.Model:
    return aehub.load("d4-codec")


def shown(data: bytes, model: object = None) -> list[Picture]:
    with open_reader(io.BytesIO(data)) as reader:
        return [frame.picture for frame in decode_frames(reader, model or tiny())]


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
def test_a_plain_picture_takes_less_than_100_bytes_and_shows_its_colour_exactly(
    colour: tuple[int, int, int]
) -> None:
    picture = np.broadcast_to(np.array(colour, np.uint8), (288, 352, 3))
    wanted = from_rgb(picture, Colour(6))
    for quality in (0, 20, 50, 80, 100):
        stream = io.BytesIO()
        aehub.compress(picture[None], stream, model=bundled(), quality=quality, measure=False)
        assert len(stream.getvalue()) < 100
        (found,) = shown(stream.getvalue(), bundled())
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.fixture(scope="module")
def barred() -> list[np.ndarray]:
    """A letterboxed clip, whose bars cover a row of cells above and, padded, one below."""
    pictures = moving_picture(5, 92, 94, seed=3)
    for picture in pictures:
        picture[:32] = picture[64:] = (30, 60, 90)
    return pictures


def bars(picture: np.ndarray, scale: int = 1) -> np.ndarray:
    return np.concatenate([picture[:32 // scale], picture[64 // scale:]])


@pytest.mark.parametrize("quality", [10, 60, 100])
def test_bars_show_their_colour_exactly_and_take_no_codes(
    barred: list[np.ndarray], quality: float
) -> None:
    data = compressed(barred, quality=quality, group=1, measure=False)
    for found, wanted in zip(shown(data), planes_of(barred), strict=True):
        for ours, theirs, scale in zip(found, wanted, (1, 2, 2), strict=True):
            assert np.array_equal(bars(ours, scale), bars(theirs, scale))
    with open_reader(io.BytesIO(data)) as reader:
        for group in reader.groups():
            (frame,) = GroupReader(tiny().runtime, group.payload, group.header, (96, 96),
                                   reader.header.coder).frames()
            assert frame.flat is not None
            assert frame.flat.coded.tolist() == [[False] * 3, [True] * 3, [False] * 3]
            assert not bars(frame.codes.latent[0, 0].numpy(), 8).any()
            assert not bars(frame.tables.latent[0].amax(0).numpy(), 8).any()
            assert frame.codes.latent.any() and not frame.codes.hyper[..., 0, :].any()


def test_the_picture_beside_bars_is_as_good_as_without_them() -> None:
    (picture,) = moving_picture(1, 96, 96, seed=9)
    barred = picture.copy()
    barred[:32] = 16
    errors = []
    for image in (picture, barred):
        (wanted,) = planes_of([image])
        (found,) = shown(compressed([image], quality=80, measure=False))
        errors.append(np.square(found[0][36:].astype(float) - wanted[0][36:]).mean())
    assert errors[1] < 1.2 * errors[0]


@pytest.mark.parametrize("g", ELEMENTS.values(), ids=ELEMENTS)
def test_flags_turn_and_the_colour_stays(g: int) -> None:
    coded = np.array([[True, False, True], [False, False, True]])
    cells = FlatCells(coded, (40, 128, 131))
    assert np.array_equal(cells.turn(g).coded, turn(coded, g))
    assert cells.turn(g).colour == cells.colour


# Name: edits, those that undo them, the same of an array.
EDITS: dict[str, tuple[list[Any], list[Any], Callable[[np.ndarray], np.ndarray]]] = {
    "rotate": ([aehub.Rotate(90)], [aehub.Rotate(270)], lambda x: np.rot90(x, -1)),
    "flip": ([aehub.Flip("vertical")], [aehub.Flip("vertical")], np.flipud),
    "transpose": ([aehub.Rotate(270), aehub.Flip("horizontal")],
                  [aehub.Flip("horizontal"), aehub.Rotate(90)],
                  lambda x: np.fliplr(np.rot90(x))),
}


@pytest.mark.parametrize(("there", "back", "turned"), EDITS.values(), ids=EDITS)
def test_edits_turn_bars_exactly_and_back_to_the_same_bytes(
    there: list[Any], back: list[Any], turned: Callable[[np.ndarray], np.ndarray],
    barred: list[np.ndarray]
) -> None:
    data = compressed(barred, quality=70, group=1, measure=False)
    edit = edited(data, there, model=tiny())
    for found, source in zip(shown(edit), planes_of(barred), strict=True):
        for plane, wanted, scale in zip(found, source, (1, 2, 2), strict=True):
            flat = np.zeros(wanted.shape, bool)
            flat[:32 // scale] = flat[64 // scale:] = True
            assert np.array_equal(plane[turned(flat)], turned(wanted)[turned(flat)])
    assert edited(edit, back, model=tiny()) == data


def test_trims_and_reversals_keep_bars(barred: list[np.ndarray]) -> None:
    data = compressed(barred, quality=70, measure=False)
    wanted = shown(data)
    for edit, part in ((aehub.Trim(":3f"), wanted[:3]), (aehub.Reverse(), wanted[::-1])):
        found = shown(edited(data, [edit], model=tiny()))
        for ours, theirs in zip(found, part, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_golden_bars_are_those_of_their_clips() -> None:
    for name, (rows, _) in BARS.items():
        wanted = planes_of(predicted_clip(name))
        with open_reader(GOLDEN / name) as reader:
            found = [frame.picture for frame in decode_frames(reader, tiny())]
        first = found[0][0], wanted[0][0]
        cells = slice(None, 32) if rows.start is None else slice(64, None)
        assert np.array_equal(*(plane[cells] for plane in first))
        assert any(frame.flat is not None for group in predicted_codes(GOLDEN / name, tiny())
                   for frame in group)


# What counts as flat.


def batch(luma: np.ndarray) -> torch.Tensor:
    height, width = luma.shape
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    return to_batch([Picture((luma, grey, grey))], torch.device("cpu"), torch.float32)


def test_cells_that_differ_by_more_than_the_tolerance_are_coded() -> None:
    luma = np.full((64, 96), 100, np.uint8)
    luma[:32, :32] = np.random.default_rng(0).integers(0, 255, (32, 32))
    luma[40, 70] = 103
    for tolerance, coded in ((0.5, [[True, False, False], [False, False, True]]),
                             (3.5, [[True, False, False], [False, False, False]])):
        cells = find_flat_cells(batch(luma), tolerance)
        assert cells is not None
        assert cells.coded.tolist() == coded and cells.colour == (100, 128, 128)


def test_a_frame_has_one_colour_the_most_frequent() -> None:
    luma = np.full((64, 96), 100, np.uint8)
    luma[:, :32] = 30
    cells = find_flat_cells(batch(luma), 0.5)
    assert cells is not None
    assert cells.coded.tolist() == [[True, False, False]] * 2 and cells.colour[0] == 100


def test_a_frame_without_flat_cells_has_none() -> None:
    luma = np.random.default_rng(1).integers(0, 255, (64, 96)).astype(np.uint8)
    assert find_flat_cells(batch(luma), 5.0) is None


def test_format_2_has_no_flat_cells() -> None:
    (picture,) = planes_of([np.full((64, 64, 3), 77, np.uint8)])
    for payload_format in PAYLOAD_FORMATS:
        encoder = FrameEncoder(tiny().runtime, 50, payload_format)
        frame = encoder.encode(FrameSlot(0, (), None), picture)
        encoder.write([frame])
        assert (frame.syntax.flat is None) == (payload_format == SINGLE_STREAM)
        _, payload = encoder.finish()
        with torch.inference_mode():
            (read,) = GroupReader(tiny().runtime, payload, GroupHeader(1, 5000), (64, 64),
                                  payload_format).frames()
        assert (read.flat is None) == (frame.syntax.flat is None)
        assert torch.equal(read.codes.latent, frame.syntax.codes.latent)
