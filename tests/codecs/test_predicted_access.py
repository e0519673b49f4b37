"""Files of predicted frames: any frame, any time, and what is refused or damaged."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.bitstream import FileHeader, Group, GroupHeader, Writer, open_reader
from aehub.bitstream.group_header import chain_types
from aehub.codecs.d4 import PAYLOAD_FORMATS, frame_coding
from aehub.codecs.d4.frame_coding import GroupReader
from aehub.codecs.d4.network import FrameNetwork
from aehub.codecs.decompress import decode_frames, decode_group
from aehub.errors import DamagedError, FormatError, WeightsError
from aehub.media.picture import Picture
from golden_files import CLIPS, GOLDEN, MODEL
from material import write_clip
from predicted_files import compressed, groups_of, orbit, pan, tiny

LENGTHS = (11, 6)
N = sum(LENGTHS)


@pytest.fixture(scope="module")
def data() -> bytes:
    """A file of two calm shots, two groups."""
    return compressed([picture for seed, n in enumerate(LENGTHS, 1)
                       for picture in pan(n, 134, 90, seed, (0, 1))])


@pytest.fixture(scope="module")
def frames(data: bytes) -> np.ndarray:
    """All frames, read through."""
    return np.stack(list(aehub.decompress(io.BytesIO(data), model=tiny())))


@pytest.fixture
def synthesised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every picture that is decoded."""
    count: list[int] = []
    plain = FrameNetwork.synthesise

    def counted(self: FrameNetwork, *rest: Any, **options: Any) -> Any:
        count.append(1)
        return plain(self, *rest, **options)

    monkeypatch.setattr(FrameNetwork, "synthesise", counted)
    return count


# Any frame.


def test_any_frame_in_any_order_is_that_of_reading_through(
    data: bytes, frames: np.ndarray
) -> None:
    assert [group.header.n_frames for group in groups_of(data)[1]] == list(LENGTHS)
    with aehub.open(io.BytesIO(data), model=tiny()) as clip:
        assert len(clip) == len(frames) == N
        for number in (7, 16, 0, 11, 3, 10, -1, 1):
            assert np.array_equal(clip[number], frames[number])
        assert np.array_equal(clip[14:4:-3], frames[14:4:-3])
        assert np.array_equal(np.stack(list(clip)), frames)


@pytest.mark.parametrize(("asked", "costs"), [
    # Frames 0 and 11 come first in their groups, 8 second, and 4 is between them.
    ([0, 11], [1, 1]), ([8], [2]), ([4], [3]), ([0, 8, 8], [1, 2, 0]),
    # On and on, each frame once; after a jump, once more at most.
    (list(range(9)), None),
    ([6, 5, 4, 3, 2, 1, 0], None), ([4, 5, 6, 7, 8, 9, 10], None), ([10, 0, 9, 1], None),
], ids=str)
def test_a_frame_costs_only_those_it_is_predicted_from(
    data: bytes, frames: np.ndarray, synthesised: list[int], asked: list[int],
    costs: list[int] | None,
) -> None:
    found = []
    with aehub.open(io.BytesIO(data), model=tiny()) as clip:
        for number in asked:
            synthesised.clear()
            assert np.array_equal(clip[number], frames[number])
            found.append(len(synthesised))
    if costs is not None:
        assert found == costs
    assert sum(found) <= 2 * LENGTHS[0]


def test_a_slice_costs_each_frame_once(
    data: bytes, frames: np.ndarray, synthesised: list[int]
) -> None:
    for part, cost in ((slice(8, 11), 4), (slice(None), N), (slice(None, None, -1), N)):
        with aehub.open(io.BytesIO(data), model=tiny()) as clip:
            synthesised.clear()
            assert np.array_equal(clip[part], frames[part])
            assert len(synthesised) == cost


def test_several_threads_share_an_archive_and_a_model(data: bytes, frames: np.ndarray) -> None:
    def read(order: list[int]) -> list[bool]:
        return [np.array_equal(clip[number], frames[number]) for number in order]

    def encoded(seed: int) -> bytes:
        return compressed(pan(4, 64, 48, seed=seed))

    orders = [list(range(N)), list(range(N))[::-1], [3, 16] * 6, list(range(11, N)) * 2]
    with aehub.open(io.BytesIO(data), model=tiny()) as clip, ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, order) for order in orders]
        writers = [pool.submit(encoded, seed) for seed in (0, 1)]
        assert all(all(reader.result()) for reader in readers)
        assert [writer.result() for writer in writers] == [encoded(0), encoded(1)]


def shown_only(data: bytes, **changes: Any) -> list[Picture]:
    """The frames of a file's first group with a changed head."""
    head, (group, *_) = groups_of(data)
    return list(decode_group(tiny(), head, replace(group, header=replace(group.header, **changes))))


@pytest.mark.parametrize(("shown", "reverse", "cost"), [
    ((0, 1), False, 1), ((0, 3), False, 5), ((2, 5), False, 5), ((8, 11), False, 4),
    ((0, 11), True, 11), ((1, 2), True, 5),
])
def test_frames_are_decoded_if_one_that_is_shown_needs_them(
    data: bytes, synthesised: list[int], shown: tuple[int, int], reverse: bool, cost: int
) -> None:
    whole = shown_only(data)
    synthesised.clear()
    found = shown_only(data, shown=shown, reverse=reverse)
    assert len(synthesised) == cost
    wanted = whole[slice(*shown)][::-1 if reverse else 1]
    assert len(found) == len(wanted)
    for first, second in zip(found, wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_times_of_an_uneven_clip_come_back(tmp_path: Path) -> None:
    times = [0, 40, 80, 200, 233, 300, 1000, 1001, 1040, 1100, 1500]
    clip = write_clip(tmp_path / "clip.mkv", orbit(len(times), 64, 48), vfr_pts=times)
    aehub.compress(clip, tmp_path / "file.aev", model=tiny())
    with open_reader(tmp_path / "file.aev") as reader:
        assert reader.header.coder == PAYLOAD_FORMATS[0]
        found = [frame.time * reader.header.time_base for frame in decode_frames(reader, tiny())]
    assert found == [Fraction(time, 1000) for time in times]


def test_sound_and_the_last_frame_of_the_command_survive(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", orbit(12, 64, 48), audio=True)
    result = aehub.compress(clip, tmp_path / "file.aev", model=tiny(), group=5)
    back = aehub.decompress_to(tmp_path / "file.aev", tmp_path / "back.mkv", model=tiny())
    assert result.frames == back.frames == 12 and result.audio_bytes > 1000


# Old files, other models.


def test_frames_predicted_from_three_others_are_refused_in_one_sentence(data: bytes) -> None:
    _, (group, *_) = groups_of(data)
    many = GroupHeader(2, 5000, frame_types=chain_types(2), references=((), (0, 0, 0)))
    with pytest.raises(WeightsError, match="frames with 3 references"):
        list(GroupReader(tiny().runtime, group.payload, many, (160, 96), 3).frames())


# Damage.


def given_back(head: FileHeader, group: Group, payload: bytes) -> list[Picture] | None:
    """The frames of a group with other bytes; None if they are found to be damaged."""
    try:
        return list(decode_group(tiny(), head, replace(group, payload=payload)))
    except DamagedError as error:
        words = str(error)
        assert "damaged" in words or "does not decode" in words
        assert words.endswith(".") and "\n" not in words
        return None


def test_damaged_bytes_are_one_sentence_or_other_pictures(data: bytes) -> None:
    head, (_, group) = groups_of(data)
    whole = given_back(head, group, group.payload)
    assert whole is not None
    changed = 0
    for place in np.linspace(0, len(group.payload) - 5, 40).astype(int).tolist():
        damaged = bytearray(group.payload)
        damaged[place] ^= 0x55
        found = given_back(head, group, bytes(damaged))
        if found is None:
            changed += 1
            continue
        assert len(found) == len(whole) and found[0].size == (134, 90)
        changed += any(not np.array_equal(a[0], b[0]) for a, b in zip(found, whole, strict=True))
    assert changed >= 38


@pytest.mark.parametrize("payload", [b"", b"a", b"abc", b"\0" * 64, b"\xff" * 64,
                                     np.random.default_rng(0).bytes(2001)],
                         ids=["none", "one", "three", "zeros", "ones", "noise"])
def test_any_bytes_are_one_sentence_or_pictures(data: bytes, payload: bytes) -> None:
    head, (group, *_) = groups_of(data)
    found = given_back(head, group, payload)
    assert found is None or len(found) == LENGTHS[0]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 50, 401])
def test_a_payload_cut_short_is_one_sentence_or_pictures(data: bytes, length: int) -> None:
    head, (group, *_) = groups_of(data)
    found = given_back(head, group, group.payload[:-length])
    assert found is None or len(found) == LENGTHS[0]


def test_a_damaged_group_of_an_archive_is_told_every_time(data: bytes, frames: np.ndarray) -> None:
    head, groups = groups_of(data)
    stream = io.BytesIO()
    with Writer(stream, head) as writer:
        writer.group(groups[0].header, groups[0].payload)
        writer.group(replace(groups[1].header, stream_words=()), b"\xff" * 63)
    with aehub.open(io.BytesIO(stream.getvalue()), model=tiny()) as clip:
        for _ in range(2):
            with pytest.raises(DamagedError):
                clip[12]
        assert np.array_equal(clip[3], frames[3])


def test_a_group_of_more_pixels_than_any_encoder_makes_is_refused_before_decoding(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _ = groups_of(data)
    n = 4096
    stream = io.BytesIO()
    with Writer(stream, replace(head, width=4096, height=2048)) as writer:
        writer.group(GroupHeader(n, 5000, frame_types=chain_types(n)), b"")
    monkeypatch.setattr(frame_coding, "LatentReader", None)
    with pytest.raises(FormatError, match="4096 frames of 4096x2048"):
        next(iter(aehub.decompress(io.BytesIO(stream.getvalue()), model=tiny())))
    with aehub.open(io.BytesIO(stream.getvalue()), model=tiny()) as clip:
        for _ in range(2):
            with pytest.raises(FormatError, match="4096 frames of 4096x2048"):
                clip[0]


def test_the_golden_clips_are_all_opened_at_random() -> None:
    for name in CLIPS:
        through = list(aehub.decompress(GOLDEN / name, model=MODEL))
        with aehub.open(GOLDEN / name, model=MODEL) as clip:
            for number in range(len(through) - 1, -1, -4):
                assert np.array_equal(clip[number], through[number])
