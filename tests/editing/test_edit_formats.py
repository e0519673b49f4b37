"""Edits of files of both payload formats: trims, turns, joins; the format stays."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import aehub
from aehub.bitstream import open_reader
from aehub.codecs.decompress import decode_frames
from aehub.errors import InputError
from editing.files import edited, joined
from golden_files import CLIPS, FORMAT_2, GOLDEN
from predicted_files import groups_of, tiny

every_file = pytest.mark.parametrize("name", CLIPS)


def bytes_of(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def shown(data: bytes) -> np.ndarray:
    return np.stack(list(aehub.decompress(BytesIO(data), model=tiny())))


def luma(data: bytes) -> np.ndarray:
    with open_reader(BytesIO(data)) as reader:
        return np.stack([frame.picture[0] for frame in decode_frames(reader, tiny())]).astype(int)


def format_of(data: bytes) -> int:
    with open_reader(BytesIO(data)) as reader:
        return reader.header.coder


@every_file
@pytest.mark.parametrize("exact", [False, True])
def test_trims_show_the_part_and_keep_the_format(name: str, exact: bool) -> None:
    data = bytes_of(name)
    source = shown(data)
    n = len(source)
    for first, stop in ((0, 1), (0, n // 2), (n // 3, n - 1), (n - 2, n)):
        part = edited(data, [aehub.Trim(f"{first}f:{stop}f")], model=tiny(), group_exact=exact)
        assert format_of(part) == (2 if name in FORMAT_2 else 3)
        assert np.array_equal(shown(part), source[first:stop])
        assert aehub.verify(BytesIO(part)).ok and len(part) <= len(data) + 64


@every_file
def test_turns_come_back_to_the_same_bytes(name: str) -> None:
    data = bytes_of(name)
    turned = edited(data, [aehub.Rotate(90)], model=tiny())
    assert format_of(turned) == format_of(data)
    assert edited(turned, [aehub.Rotate(270)], model=tiny()) == data
    # Luma, which windows at odd places leave as it is; decoded floats may round another way.
    apart = np.abs(luma(turned) - np.rot90(luma(data), -1, (1, 2)))
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


@every_file
def test_parts_are_joined_to_the_file_again(name: str) -> None:
    data = bytes_of(name)
    n = sum(group.header.n_shown for group in groups_of(data)[1])
    parts = [edited(data, [aehub.Trim(f"{a}f:{b}f")], model=tiny())
             for a, b in ((0, n // 3), (n // 3, n // 3 + 1), (n // 3 + 1, n))]
    assert joined(parts, model=tiny()) == data
    backward = edited(data, [aehub.Reverse()], model=tiny())
    assert np.array_equal(shown(backward), shown(data)[::-1])


def test_a_turned_part_is_the_part_of_the_turned_file() -> None:
    data = bytes_of("layers.aev")
    turn, trim = aehub.Flip("horizontal"), aehub.Trim("4f:23f")
    together = edited(data, [trim, turn], model=tiny())
    assert np.array_equal(shown(together), shown(edited(data, [turn], model=tiny()))[4:23])
    assert together == edited(edited(data, [trim], model=tiny()), [turn], model=tiny())


def test_files_of_two_formats_are_not_joined(tmp_path: Path) -> None:
    old, new = bytes_of("steady.aev"), tmp_path / "new.aev"
    aehub.compress(shown(old), new, model=tiny(), quality=55, measure=False)
    with pytest.raises(InputError, match="the payload format"):
        joined([old, new.read_bytes()], model=tiny())
