"""Photographs of several HEIF items: tiles, alpha and orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.media.clip import open_clip
from aehub.media.colour import to_rgb
from heif import write_heif
from material import moving_picture, psnr

(PICTURE,) = moving_picture(1, 160, 96, seed=4)


def shown(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with open_clip(path) as clip:
        (frame,) = clip
        return to_rgb(frame.picture, clip.info.colour), clip.info.notes


def in_tiles(path: Path, *properties: tuple[bytes, bytes], codec: str = "hevc") -> Path:
    """Six tiles of 64x64, of which the right and lower ones reach past the picture."""
    wide = np.pad(PICTURE, ((0, 32), (0, 32), (0, 0)), mode="edge")
    tiles = [wide[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64, 128)]
    return write_heif(
        path, tiles, columns=3, size=(160, 96), properties=properties, codec=codec
    )


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_the_tiles_of_a_photograph_are_assembled(tmp_path: Path, codec: str) -> None:
    picture, notes = shown(in_tiles(tmp_path / "t.heic", codec=codec))
    assert picture.shape == PICTURE.shape and notes == ()
    assert psnr(picture, PICTURE) > 30


@pytest.mark.parametrize(
    ("properties", "turn"),
    [
        ([(b"irot", b"\1")], lambda p: np.rot90(p)),
        ([(b"irot", b"\3"), (b"imir", b"\1")], lambda p: np.rot90(p, 3)[:, ::-1]),
        ([(b"imir", b"\0")], lambda p: p[::-1]),
    ],
)
def test_photographs_are_upright_in_tiles_and_as_one_item(
    tmp_path: Path, properties: list[tuple[bytes, bytes]], turn: object
) -> None:
    assert callable(turn)
    whole = write_heif(tmp_path / "w.heic", [PICTURE], properties=properties)
    for path in (in_tiles(tmp_path / "t.heic", *properties), whole):
        picture, _ = shown(path)
        assert psnr(picture, turn(PICTURE)) > 30, path.name


def test_a_transparent_photograph_lies_over_white(tmp_path: Path) -> None:
    alpha = np.full((96, 160), 255, np.uint8)
    alpha[:, :48] = 0
    picture, notes = shown(write_heif(tmp_path / "a.heic", [PICTURE], alpha=alpha))
    assert notes == ("Transparent parts were laid over white.",)
    assert picture[:, :40].min() > 240 and psnr(picture[:, 56:], PICTURE[:, 56:]) > 30


def test_damaged_and_huge_photographs_are_one_sentence(tmp_path: Path) -> None:
    path = in_tiles(tmp_path / "t.heic")
    with pytest.raises(LimitError, match="160x96"):
        open_clip(path, limits=Limits(max_pixels=10_000))
    content = path.read_bytes()
    at = content.index(b"mdat") + 4
    path.write_bytes(content[:at] + bytes(len(content) - at))
    with pytest.raises(InputError, match="t.heic is damaged"):
        open_clip(path)
