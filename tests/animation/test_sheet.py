"""Sprite sheets and the JSON beside them, as sprite tools read it."""

from __future__ import annotations

import numpy as np
import pytest

from aehub.animation.sheet import contact_sheet, cycle_sheet_json, sprite_sheet
from aehub.errors import InputError

DIRECTIONS = ("up", "left", "down", "right")


def cycles() -> np.ndarray:
    """uint8 [4, 9, 8, 6, 4], every frame another."""
    numbers = np.arange(36, dtype=np.uint8).reshape(4, 9, 1, 1, 1)
    return np.broadcast_to(numbers, (4, 9, 8, 6, 4)).copy()


def test_the_description_says_where_each_frame_of_the_sheet_is() -> None:
    frames, sheet = cycles(), sprite_sheet(cycles())
    said = cycle_sheet_json("walk.png", frames, DIRECTIONS, 100)
    assert sheet.shape == (32, 54, 4)
    assert said["meta"]["image"] == "walk.png"
    assert said["meta"]["size"] == {"w": 54, "h": 32}
    for number, frame in enumerate(said["frames"]):
        place = frame["frame"]
        part = sheet[place["y"]:place["y"] + place["h"], place["x"]:place["x"] + place["w"]]
        assert (part == number).all() and part.shape == (8, 6, 4)
        assert frame["duration"] == 100 and frame["filename"]
    assert len({frame["filename"] for frame in said["frames"]}) == 36


def test_tags_name_the_cycle_of_each_direction() -> None:
    tags = {tag["name"]: (tag["from"], tag["to"])
            for tag in cycle_sheet_json("walk.png", cycles(), DIRECTIONS, 100)["meta"]["frameTags"]}
    assert tags["walk up"] == (1, 8) and tags["stand down"] == (18, 18)
    assert tags["walk right"] == (28, 35) and len(tags) == 8


def test_a_contact_sheet_shows_every_picture() -> None:
    pictures = [np.full((4, 5, 3), n, np.uint8) for n in range(7)]
    sheet = contact_sheet(pictures, 3, gap=1)
    assert sheet.shape == (14, 17, 3)
    assert all((sheet == n).all(-1).sum() == 20 for n in range(7))
    with pytest.raises(InputError, match="at least one picture"):
        contact_sheet([], 3)
