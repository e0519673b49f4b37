"""Entropy streams of a payload: their lengths in the group header, and its checks."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aehub.bitstream import (
    GroupHeader,
    Writer,
    hierarchical_references,
    join_streams,
    open_reader,
    pack_group_header,
    split_payload,
    truncate_payload,
    unpack_group_header,
    verify,
)
from aehub.bitstream.chunk import pack_varint
from aehub.bitstream.group_header import chain_types
from aehub.bitstream.group_header_io import MAX_STREAMS
from aehub.errors import DamagedError, FormatError, InputError
from bitstream.examples import CHAIN, file_header

PLAIN = GroupHeader(8, 5000, frame_types=CHAIN)
_STREAMS = 1 << 12


@given(st.lists(st.integers(0, 1 << 24), min_size=1, max_size=MAX_STREAMS - 1))
def test_lengths_come_back_from_their_bytes(words: list[int]) -> None:
    header = replace(PLAIN, stream_words=tuple(words))
    packed = pack_group_header(header, file_header())
    assert unpack_group_header(packed + b"payload", file_header()) == (header, len(packed))
    for size in range(len(packed)):
        with pytest.raises(FormatError):
            unpack_group_header(packed[:size], file_header())


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=MAX_STREAMS), st.binary(max_size=3))
def test_streams_are_divided_as_they_were_joined(streams: list[bytes], rest: bytes) -> None:
    streams = [stream[:len(stream) // 4 * 4] for stream in streams]
    streams[-1] += rest
    words, payload = join_streams(streams)
    header = replace(PLAIN, stream_words=words)
    assert split_payload(header, payload) == tuple(streams)


def test_a_payload_of_one_stream_costs_no_byte() -> None:
    plain = pack_group_header(PLAIN, file_header())
    assert len(pack_group_header(replace(PLAIN, stream_words=(0,)), file_header())) == (
        len(plain) + 2 + 1)  # Flags above 127 take a byte more.


@pytest.mark.parametrize(("words", "sentence"), [
    ((1,) * 16, "17 entropy streams; at most 16"),
    ((5, -1), "0 to 16777216 are allowed"),
    (((1 << 24) + 1,), "0 to 16777216 are allowed"),
])
def test_lengths_outside_the_limits_are_not_written(words: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        pack_group_header(replace(PLAIN, stream_words=words), file_header())


@pytest.mark.parametrize(("numbers", "sentence"), [
    ((0,), "0 entropy streams besides the last; 1 to 15"),
    ((16, *[1] * 16), "16 entropy streams besides the last; 1 to 15"),
    ((1 << 40,), "entropy streams besides the last"),
    ((1, (1 << 24) + 1), "0 to 16777216 are allowed"),
    ((2, 7), "cut short"),
    ((), "cut short"),
])
def test_lengths_outside_the_limits_are_not_read(numbers: tuple[int, ...], sentence: str) -> None:
    packed = pack_varint(_STREAMS) + b"".join(map(pack_varint, numbers))
    with pytest.raises(FormatError, match=sentence):
        unpack_group_header(packed, file_header())


def test_a_flag_beyond_those_of_streams_is_of_a_newer_version() -> None:
    with pytest.raises(FormatError, match="flags 0x4000 of a newer version"):
        unpack_group_header(pack_varint(1 << 14) + bytes(9), file_header())


def test_lengths_beyond_the_payload_are_refused_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, header = BytesIO(), replace(PLAIN, stream_words=(2, 3))
    sentence = "its last entropy stream begins after 5 words, but its payload has 19 bytes"
    with Writer(stream, file_header()) as writer:
        writer.group(header, bytes(20))
        with pytest.raises(InputError, match=sentence):
            writer.group(header, bytes(19))
        monkeypatch.setattr("aehub.bitstream.writer.payload_problem", lambda header, n: "")
        writer.group(header, bytes(19))
    assert sentence in verify(stream.getvalue()).problems[0]
    reader, found = open_reader(BytesIO(stream.getvalue())), []
    with pytest.raises(DamagedError, match=sentence):
        found.extend(reader.groups())
    assert [group.header for group in found] == [header]
    with pytest.raises(FormatError, match=sentence):
        reader.group_at(1)


def test_an_end_beyond_its_own_stream_is_refused_however_long_the_others_are() -> None:
    references = hierarchical_references(((2, 2),))
    header = GroupHeader(5, 5000, frame_types=chain_types(5), references=references,
                         stream_words=(9,), mini_gop_ends=((2, 0), (5, 3)))
    with Writer(BytesIO(), file_header()) as writer:
        writer.group(header, bytes(4 * (9 + 3)))
        with pytest.raises(InputError, match="ends after 3 words, but its stream has 2 words"):
            writer.group(header, bytes(4 * (9 + 2)))


def test_each_stream_is_truncated_at_its_own_end_and_may_be_empty() -> None:
    references = hierarchical_references(((2, 2),))
    streams = [bytes([n]) * 4 * length for n, length in enumerate((9, 4, 7))]
    words, payload = join_streams(streams)
    header = GroupHeader(5, 5000, frame_types=chain_types(5), references=references,
                         stream_words=words, mini_gop_ends=((2, 0, 0), (5, 4, 0)))
    for frames, lengths in ((range(1), (3, 0, 0)), (range(3), (6, 4, 0))):
        header = replace(header, shown=(0, len(frames)))
        truncated = truncate_payload(header, payload, frames, 1)
        assert truncated is not None
        after, less = truncated
        assert after.n_frames == len(frames) and after.stream_words == lengths[:-1]
        assert split_payload(after, less) == tuple(
            stream[:4 * length] for stream, length in zip(streams, lengths, strict=True))
        packed = pack_group_header(after, file_header())
        assert unpack_group_header(packed, file_header())[0].stream_words == after.stream_words
