"""The same streams everywhere: the golden file of payload format 5."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from aehub import threads
from aehub.bitstream import open_reader
from aehub.codecs.sandwich import PAYLOAD_FORMATS
from aehub.codecs.sandwich.codec import SandwichCodec
from aehub.codecs.sandwich.side_information import unpack
from sandwich_files import (
    EXPECTED,
    GOLDEN_FILE,
    GOLDEN_MODEL,
    GROUPS,
    RESTORED,
    SHOWN,
    integers_of,
    payloads,
    regenerate,
    restored,
)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    if os.environ.get("AEHUB_REGENERATE") == "1":
        regenerate()
    return json.loads(EXPECTED.read_text())


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def codec(request: pytest.FixtureRequest, expected: dict[str, Any]) -> SandwichCodec:
    return SandwichCodec.from_pretrained(GOLDEN_MODEL, dtype=request.param)


def test_the_golden_streams_decode_to_the_same_integers_everywhere(
    codec: SandwichCodec, expected: dict[str, Any]
) -> None:
    assert integers_of(GOLDEN_FILE, codec) == expected


def test_one_thread_decodes_the_same_as_two(
    codec: SandwichCodec, expected: dict[str, Any]
) -> None:
    with threads.one_thread():
        assert integers_of(GOLDEN_FILE, codec) == expected
        alone = restored(GOLDEN_FILE, codec)
    for one, two in zip(alone, restored(GOLDEN_FILE, codec), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two))


def test_restored_golden_pictures_are_within_a_grey_level_everywhere(codec: SandwichCodec) -> None:
    with np.load(RESTORED) as kept:
        for number, picture in enumerate(restored(GOLDEN_FILE, codec)):
            for name, plane in zip("yuv", picture, strict=True):
                apart = np.abs(plane.astype(int) - kept[f"{number} {name}"])
                assert apart.max() <= 1 and (apart > 0).mean() < 0.05


def test_the_golden_file_uses_every_part_of_the_payload(codec: SandwichCodec) -> None:
    with open_reader(GOLDEN_FILE) as reader:
        assert reader.header.coder == PAYLOAD_FORMATS[0] == 5
        assert all(group.header.atomic for group in reader.groups())
    sides = [side for side, _ in payloads(GOLDEN_FILE, codec)]
    shapes = [(0, 0) if side.weights is None else side.weights.shape[1:] for side in sides]
    assert shapes == [group[2:4] for group in GROUPS]
    assert [{*numbers} for numbers in zip(*shapes, strict=True)] == [{0, 1, 2, 4}, {0, 1, 2, 3}]
    assert any(side.halved for side in sides) and any(side.grain for side in sides)
    units = [unit for _, group in payloads(GOLDEN_FILE, codec) for unit in group]
    assert len({unit.base_q_idx for unit in units}) > 4
    # Frames that are shown by their number alone.
    assert min(len(unit.data) for unit in units) < 10


def test_golden_weights_and_grain_change_the_pictures(codec: SandwichCodec) -> None:
    with open_reader(GOLDEN_FILE) as reader:
        header, groups = reader.header, list(reader.groups())
    for group in groups:
        side, stream = unpack(bytes(group.payload), codec.network.restorer.candidates)
        shown = dict(codec.decode_group(header, group, {SHOWN}))[SHOWN][0]
        others = [side._replace(grain=False).pack() + stream] if side.grain else []
        if side.weights is not None:
            others.append(side._replace(weights=side.weights // 2).pack() + stream)
        for payload in others:
            forged = replace(group, payload=payload)
            found = dict(codec.decode_group(header, forged, {SHOWN}))[SHOWN][0]
            assert not np.array_equal(found, shown)


def test_the_side_information_reads_as_the_page_says(codec: SandwichCodec) -> None:
    with open_reader(GOLDEN_FILE) as reader:
        found = [bytes(group.payload) for group in reader.groups()]
    for payload, (side, units) in zip(found, payloads(GOLDEN_FILE, codec), strict=True):
        flags, at = payload[0], 1
        assert (bool(flags & 4), bool(flags & 8)) == (side.halved, side.grain)
        n_classes = (0, 1, 2, 4)[flags & 3]
        bits = "".join(f"{byte:08b}" for byte in payload[1:])
        for plane in range(3 if n_classes else 0):
            for one in range(n_classes):
                for candidate in range(flags >> 4):
                    ones, _, rest = bits.partition("0")
                    number, bits = 8 * len(ones) + int(rest[:3], 2), rest[3:]
                    value = (-number - 1) // 2 if number % 2 else number // 2
                    assert side.weights is not None
                    assert side.weights[plane, one, candidate] == value + 8 * (candidate == 0)
        padding = len(bits) % 8
        assert not padding or set(bits[:padding]) == {"0"}
        at += len(payload) - 1 - len(bits) // 8
        assert payload[at:] == b"".join(unit.data for unit in units)
