"""Ends of mini-GOPs in the payload: the field of a group header and its checks."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aehub.bitstream import (
    GroupHeader,
    Writer,
    hierarchical_references,
    key_pictures,
    open_reader,
    pack_group_header,
    unpack_group_header,
    verify,
)
from aehub.bitstream.chunk import pack_varint
from aehub.bitstream.group_header import MiniGopRuns, chain_types
from aehub.errors import DamagedError, FormatError, InputError
from bitstream.examples import CHAIN, file_header

RUNS = st.lists(st.tuples(st.integers(1, 64), st.integers(1, 4)), min_size=1, max_size=5).map(tuple)


def group(runs: MiniGopRuns, ends: tuple[tuple[int, ...], ...] | None,
          words: tuple[int, ...] = ()) -> GroupHeader:
    references = hierarchical_references(runs)
    n = len(references)
    types = chain_types(n)
    return GroupHeader(n, 5000, frame_types=types, references=references, stream_words=words,
                       mini_gop_ends=ends)


@given(RUNS, st.data())
def test_mini_gop_ends_come_back_from_their_bytes(runs: MiniGopRuns, more: st.DataObject) -> None:
    n_ends = sum(count for _, count in runs)
    words = tuple(more.draw(st.lists(st.integers(0, 1 << 20), max_size=4)))
    streams = [more.draw(st.lists(st.integers(0, 20_000), min_size=n_ends, max_size=n_ends))
               for _ in range(len(words) + 1)]
    streams[0][0] += 1
    header = group(runs, tuple(zip(*map(accumulate, streams))), words)
    packed = pack_group_header(header, file_header())
    assert unpack_group_header(packed + b"payload", file_header()) == (header, len(packed))
    for size in range(len(packed)):
        with pytest.raises(FormatError):
            unpack_group_header(packed[:size], file_header())


def test_a_mini_gop_end_costs_two_bytes_and_none_costs_none() -> None:
    without = pack_group_header(group(((8, 31),), None), file_header())
    ends = tuple((end,) for end in range(4000, 4000 + 31 * 1000, 1000))
    assert len(pack_group_header(group(((8, 31),), ends), file_header())) == len(without) + 2 * 31
    assert group(((8, 31),), ()).mini_gop_ends is None


def test_key_pictures_end_the_mini_gops() -> None:
    assert key_pictures(group(((4, 2), (1, 1)), None)) == (0, 4, 8, 9)
    assert key_pictures(GroupHeader(8, 5000, frame_types=CHAIN)) == tuple(range(8))
    assert key_pictures(GroupHeader(8, 5000)) == key_pictures(GroupHeader(1, 5000)) == ()


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (((5,),), "1 mini-GOP ends do not fit frames in 3 mini-GOPs"),
        (((5,), (6,), (7,)), "3 mini-GOP ends do not fit frames in 3 mini-GOPs"),
        (((5, 5), (6, 6)), "3 mini-GOPs and 1 entropy streams"),
        (((0,), (6,)), "do not increase from 1 on"),
        (((6,), (5,)), "do not increase from 1 on"),
        (((6,), (1 << 25,)), "at most 16777216 are allowed"),
    ],
)
def test_writer_refuses_mini_gop_ends_outside_the_limits(
    ends: tuple[tuple[int, ...], ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        pack_group_header(group(((4, 2),), ends), file_header())


def test_writer_refuses_mini_gop_ends_of_groups_without_mini_gops() -> None:
    for header in (GroupHeader(8, 5000), GroupHeader(1, 5000)):
        with pytest.raises(InputError, match="do not fit frames in 0 mini-GOPs"):
            pack_group_header(replace(header, mini_gop_ends=((4,),)), file_header())


@pytest.mark.parametrize(
    ("flags", "numbers", "words"),
    [
        (0, (4,), "its frames form no mini-GOPs"),
        (1, (1, 4), "its frames form no mini-GOPs"),
        (1 << 10, (1, 7, 1, 0), "do not increase from 1 on"),
        (1 << 10, (1, 7, 1, 16_777_217), "at most 16777216"),
        (1 << 10, (1, 7, 1), "cut short"),
        (1 << 5, (1,) * 6, "cut short"),
        (1 << 5, (1,) * 6 + (1 << 40,), "at most 16777216"),
    ],
)
def test_reader_refuses_mini_gop_ends_that_do_not_fit(
    flags: int, numbers: tuple[int, ...], words: str
) -> None:
    packed = pack_varint(1 << 11 | flags) + b"".join(map(pack_varint, numbers))
    with pytest.raises(FormatError, match=words):
        unpack_group_header(packed, file_header())


def test_mini_gop_ends_beyond_the_payload_are_refused_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, header = BytesIO(), group(((4, 2),), ((2,), (5,)))
    with Writer(stream, file_header()) as writer:
        writer.group(header, bytes(20))
        with pytest.raises(InputError, match="ends after 5 words, but its stream has 4 words"):
            writer.group(header, bytes(19))
        monkeypatch.setattr("aehub.bitstream.writer.payload_problem", lambda header, n: "")
        writer.group(header, bytes(19))
    report = verify(stream.getvalue())
    assert "ends after 5 words, but its stream has 4 words" in report.problems[0]
    reader, found = open_reader(BytesIO(stream.getvalue())), []
    with pytest.raises(DamagedError, match="after 5 words"):
        found.extend(reader.groups())
    assert [group.header for group in found] == [header]
    with pytest.raises(FormatError, match="after 5 words"):
        reader.group_at(1)


def test_heads_that_are_longer_than_usual_are_mapped() -> None:
    stream, ends = BytesIO(), tuple((n,) for n in range(1000, 1000 + 600 * 300, 600))
    with Writer(stream, file_header()) as writer:
        for _ in range(2):
            writer.group(group(((1, 300),), ends), bytes(4 * ends[-1][0]))
    reader = open_reader(BytesIO(stream.getvalue()))
    assert reader.summary()["coded_frames"] == 602
