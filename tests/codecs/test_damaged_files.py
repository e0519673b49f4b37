"""Damaged files give back what is whole, say what is lost, and never hang or crash."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aehub
from aehub.bitstream import Group, GroupHeader, Writer, open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.decompress import decode_group
from aehub.errors import DamagedError, FormatError
from aehub.media.clip import open_clip
from bitstream.examples import file_header
from golden_files import MODEL
from material import moving_picture, write_clip

GROUP, N = 4, 18


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of five groups, with sound."""
    folder = tmp_path_factory.mktemp("damage")
    clip = write_clip(folder / "clip.mp4", moving_picture(N, 96, 64), audio=True)
    stream = io.BytesIO()
    aehub.compress(clip, stream, group=GROUP)
    return stream.getvalue()


@pytest.fixture(scope="module")
def frames(data: bytes) -> list[np.ndarray]:
    return list(aehub.decompress(io.BytesIO(data)))


@pytest.fixture(scope="module")
def ends(data: bytes) -> list[int]:
    """Where the file head ends, and each group."""
    stream = io.BytesIO()
    with open_reader(io.BytesIO(data)) as reader, Writer(stream, reader.header) as writer:
        places = [writer.size]
        for group in reader.groups():
            writer.group(group.header, group.payload)
            places.append(writer.size)
    assert data.startswith(stream.getvalue()[: places[-1]])
    return places


def given_back(data: bytes) -> tuple[list[np.ndarray], str]:
    """The frames a file gives before it tells its damage, and what it tells."""
    found: list[np.ndarray] = []
    with pytest.raises(DamagedError) as caught:
        for frame in aehub.decompress(io.BytesIO(data)):
            found.append(frame)
    return found, str(caught.value)


def test_a_file_cut_anywhere_gives_back_its_whole_groups_and_one_sentence(
    data: bytes, frames: list[np.ndarray], ends: list[int]
) -> None:
    anywhere = np.linspace(ends[0], len(data) - 1, 20).astype(int).tolist()
    for cut in [*anywhere, *ends, ends[2] - 1, ends[2] + 1]:
        whole = sum(end <= cut for end in ends[1:])
        found, words = given_back(data[:cut])
        assert len(found) == min(whole * GROUP, N)
        assert all(np.array_equal(a, b) for a, b in zip(found, frames, strict=False))
        assert "its end is missing" in words and words.endswith(".") and "\n" not in words


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_command_writes_what_is_whole_and_exits_with_1(
    data: bytes, tmp_path: Path, share: float
) -> None:
    path, back = tmp_path / "cut.aev", tmp_path / "back.mkv"
    path.write_bytes(data[: int(share * len(data))])
    expected, words = given_back(path.read_bytes())
    done = subprocess.run([sys.executable, "-m", "aehub", "decompress", path, back],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "is damaged" in done.stderr
    with open_clip(back) as clip:
        assert len(list(clip)) == len(expected) > 0
    assert {p.name for p in tmp_path.iterdir()} == {"cut.aev", "back.mkv"}


def test_a_file_without_one_whole_group_leaves_no_clip(
    data: bytes, ends: list[int], tmp_path: Path
) -> None:
    with pytest.raises(DamagedError, match="0 intact groups"):
        aehub.decompress_to(io.BytesIO(data[: ends[1] - 1]), tmp_path / "back.mkv")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_group_moves_no_other_in_time(
    data: bytes, ends: list[int], tmp_path: Path
) -> None:
    damaged = bytearray(data)
    damaged[ends[2] - 30] ^= 1
    with pytest.raises(DamagedError, match="1 of 5 groups are lost"):
        aehub.decompress_to(io.BytesIO(damaged), tmp_path / "back.mkv")
    with open_clip(tmp_path / "back.mkv") as clip:
        times = [frame.time * clip.info.time_base for frame in clip]
    assert times == [Fraction(i, 25) for i in range(N) if i // GROUP != 1]


def test_damaged_sound_costs_no_picture(data: bytes, tmp_path: Path) -> None:
    damaged = bytearray(data)
    damaged[-2000] ^= 1
    with pytest.raises(DamagedError, match="no group is lost"):
        aehub.decompress_to(io.BytesIO(damaged), tmp_path / "back.mkv")
    with open_clip(tmp_path / "back.mkv") as clip:
        assert len(list(clip)) == N
        assert clip.audio is None


# Bytes that pass every checksum and are no stream of the model.


def forged(data: bytes, payload: bytes, **changes: object) -> bytes:
    """The file with one group only, of these bytes and with this head, all checksums right."""
    stream = io.BytesIO()
    with open_reader(io.BytesIO(data)) as reader, Writer(stream, reader.header) as writer:
        writer.group(replace(GroupHeader(4, 5000), **changes), payload)
    return stream.getvalue()


@cache
def tiny() -> D4Codec:
    return D4Codec.from_pretrained(MODEL)


@given(payload=st.binary(max_size=400))
@settings(max_examples=40, deadline=None)
def test_any_payload_gives_pictures_or_one_sentence(payload: bytes) -> None:
    try:
        group = Group(GroupHeader(2, 5000, frame_types=b"\0\1"), payload, 0, 0)
        found = list(decode_group(tiny(), file_header(width=64, height=32), group))
    except DamagedError as error:
        assert "does not decode" in str(error)
        return
    assert len(found) == 2 and found[0].size == (64, 32)


def test_a_forged_payload_gives_pictures_or_one_sentence(data: bytes) -> None:
    refused = 0
    for payload in (b"\xff" * 64, b"abc", np.random.default_rng(0).bytes(4000)):
        try:
            assert len(list(aehub.decompress(io.BytesIO(forged(data, payload))))) == 4
        except DamagedError as error:
            refused += 1
            assert "does not decode" in str(error)
    assert refused


def test_a_group_that_asks_for_all_memory_is_refused(data: bytes) -> None:
    stream = io.BytesIO()
    with open_reader(io.BytesIO(data)) as reader:
        head = replace(reader.header, width=8192, height=8192)
    with Writer(stream, head) as writer:
        writer.group(GroupHeader(16_384, 5000), b"")
    stream.seek(0)
    with pytest.raises(FormatError, match="16384 frames of 8192x8192"):
        next(aehub.decompress(stream))


@pytest.mark.parametrize(("coder", "remedy"), [
    (1, "compress the clip again"), (60, "upgrade"), (99, "install the package")])
def test_a_file_of_another_coder_is_refused(data: bytes, coder: int, remedy: str) -> None:
    stream = io.BytesIO()
    with open_reader(io.BytesIO(data)) as reader:
        head = replace(reader.header, coder=coder)
    with Writer(stream, head) as writer:
        writer.group(GroupHeader(1, 5000), b"")
    stream.seek(0)
    with pytest.raises(FormatError, match=f"payload format {coder}.*has 3; {remedy}"):
        next(aehub.decompress(stream))
