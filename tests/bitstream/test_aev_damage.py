"""Damage: every flipped byte is found, intact groups come back, hostile lengths cost nothing."""

from __future__ import annotations

import random
import tracemalloc
from io import BytesIO

import pytest

from aehub.bitstream import Group, GroupHeader, Writer, open_reader, verify
from aehub.bitstream.chunk import (
    MAX_CHUNK,
    MAX_CHUNK_HEADER,
    SYNC,
    crc8,
    pack_chunk,
    pack_varint,
    parse_chunk_header,
)
from aehub.bitstream.index import FOOTER_SIZE, Footer, pack_footer
from aehub.errors import DamagedError, FormatError
from bitstream.examples import CHAIN, file_header, payloads, small_file, sound


class Pipe(BytesIO):
    """Bytes that cannot be sought in."""

    def seekable(self) -> bool:
        return False


def salvage(file: bytes, **options: bool) -> tuple[list[Group], str]:
    """The groups a file gives back and the sentence it ends with."""
    groups = []
    try:
        for group in open_reader(BytesIO(file)).groups(**options):
            groups.append(group)
    except DamagedError as error:
        return groups, str(error)
    return groups, ""


def flipped(file: bytes, *places: int) -> bytes:
    damaged = bytearray(file)
    for place in places:
        damaged[place] ^= 0x55
    return bytes(damaged)


def offsets(file: bytes) -> list[int]:
    index = open_reader(BytesIO(file)).index
    assert index is not None
    return [entry.offset for entry in index]


def hostile_header(kind: int, length: int) -> bytes:
    """A chunk header that promises a body of any length."""
    header = bytes((kind,)) + pack_varint(length)
    return SYNC + header + bytes((crc8(header),))


def test_every_flipped_byte_is_found() -> None:
    stream = BytesIO()
    with Writer(stream, file_header()) as writer:
        for payload in payloads(8, 5700):
            writer.group(GroupHeader(8, 5000, frame_types=CHAIN), payload)
        writer.audio(payloads(1, 4000)[0])
        writer.metadata({"title": "a flag in the wind"})
    file = bytearray(stream.getvalue())
    assert len(file) > 49_000 and verify(bytes(file)).ok
    source = random.Random(2)
    missed = []
    for place in range(len(file)):
        right = file[place]
        file[place] ^= source.randint(1, 255)
        if verify(bytes(file)).ok:
            missed.append(place)
        file[place] = right
    assert missed == []


def test_every_flipped_byte_leaves_the_other_groups_intact() -> None:
    file = small_file(4, size=30, audio=20, notes=True)
    wanted = payloads(4, 30)
    starts = offsets(file)
    for place in range(starts[0], len(file)):
        groups, sentence = salvage(flipped(file, place))
        got = [group.payload for group in groups]
        hit = max(i for i, start in enumerate(starts) if start <= place)
        in_group = place < starts[hit] + 12 + 30 - 2
        assert got == [*wanted[:hit], *wanted[hit + in_group :]], place
        assert sentence.endswith(".") and "damaged" in sentence, place


def test_a_file_cut_anywhere_gives_back_all_whole_groups() -> None:
    file = small_file(4, size=60, audio=40)
    starts = [*offsets(file), len(file)]
    stops = [start + 60 + 10 for start in starts[:4]]
    for size in range(starts[0], len(file)):
        groups, sentence = salvage(file[:size])
        whole = sum(stop <= size for stop in stops)
        assert [group.payload for group in groups] == payloads(4, 60)[:whole], size
        assert "its end is missing" in sentence and sentence.count(". ") == 0, size
        assert not verify(file[:size]).ok
        reader = open_reader(BytesIO(file[:size]))
        assert reader.index is not None and len(reader.index) == whole
        assert reader.summary()["complete"] is False
    for size in range(starts[0]):
        with pytest.raises(FormatError):
            open_reader(BytesIO(file[:size]))
        assert not verify(file[:size]).ok


def test_the_sentence_tells_how_much_is_lost_and_where() -> None:
    file = small_file(6)
    starts = offsets(file)
    groups, sentence = salvage(flipped(file, starts[1] + 50, starts[4] + 1))
    assert len(groups) == 4
    assert sentence == (
        f"the stream is damaged: 220 bytes in 2 places, the first at byte {starts[1]}, cannot be "
        f"read, 2 of 6 groups are lost; 4 intact groups could be read."
    )
    _, sentence = salvage(file[: starts[2] + 9])
    assert sentence == (
        f"the stream is damaged: its end is missing after byte {starts[2]}; 2 intact groups could "
        f"be read."
    )


def test_without_salvage_reading_stops_at_the_damage() -> None:
    file = small_file(6)
    groups, sentence = salvage(flipped(file, offsets(file)[2] + 20), salvage=False)
    assert len(groups) == 2
    assert "reading stopped there; 2 intact groups" in sentence


def test_bytes_lost_or_added_cost_one_group() -> None:
    file = small_file(5)
    middle = offsets(file)[2] + 40
    for damaged in (file[:middle] + file[middle + 13 :], file[:middle] + b"noise" + file[middle:]):
        groups, sentence = salvage(damaged)
        assert [group.payload for group in groups] == [
            payload for i, payload in enumerate(payloads(5, 100)) if i != 2
        ]
        assert "1 of 5 groups are lost" in sentence


def test_a_group_cut_out_whole_is_missed() -> None:
    file = small_file(5)
    starts = offsets(file)
    shorter = file[: starts[2]] + file[starts[3] :]
    groups, sentence = salvage(shorter)
    assert len(groups) == 4 and "1 of 5 groups are lost" in sentence
    report = verify(shorter)
    assert (report.ok, report.n_groups) == (False, 4)
    assert any("the footer counts 5 groups" in problem for problem in report.problems)


def test_damaged_groups_are_refused_and_their_neighbours_sought() -> None:
    file = small_file(4)
    reader = open_reader(BytesIO(flipped(file, offsets(file)[1] + 30)))
    assert reader.group_at(2).payload == payloads(4, 100)[2]
    with pytest.raises(DamagedError, match="group 1, at byte"):
        reader.group_at(1)


def test_damaged_audio_is_noticed() -> None:
    file = small_file(2, audio=2_500_000)
    second = file.index(hostile_header(0x81, (1 << 20) + 1), offsets(file)[1] + 200)
    for place in (second, second + 1000):
        damaged = flipped(file, place)
        for stream in (BytesIO(damaged), Pipe(damaged)):
            with open_reader(stream) as reader:
                with pytest.raises(DamagedError):
                    list(reader.groups())
                audio = reader.audio_pieces()
                with pytest.raises(DamagedError, match="audio breaks off|damaged at byte"):
                    pieces = b""
                    while True:
                        pieces += next(audio)
                assert pieces == sound(1 << 20)


def test_damage_on_a_pipe_costs_the_damaged_group_only() -> None:
    file = small_file(4)
    groups = []
    with pytest.raises(DamagedError, match="1 of 4 groups are lost; 3 intact groups"):
        for group in open_reader(Pipe(flipped(file, offsets(file)[1] + 3))).groups():
            groups.append(group.payload)
    assert groups == [payload for i, payload in enumerate(payloads(4, 100)) if i != 1]


def test_bytes_after_the_footer_are_reported() -> None:
    file = small_file() + b"garbage"
    assert verify(file).problems == ["7 bytes follow the footer."]
    assert len(salvage(file)[0]) == 4


def test_a_missing_footer_is_reported() -> None:
    report = verify(small_file()[:-FOOTER_SIZE])
    assert report.problems == ["the footer is missing: the file is cut off."]
    assert report.n_groups == 4


def test_an_index_or_footer_that_lies_is_reported_and_harmless() -> None:
    body = small_file()[:-FOOTER_SIZE]
    lies = [
        body + pack_chunk(0x84, pack_footer(Footer(5, 4, 32))),
        body + pack_chunk(0x84, pack_footer(Footer(2**32 - 1, 4, 32))),
        body + pack_chunk(0x84, pack_footer(Footer(0, 4, 31))),
        body + pack_chunk(0x84, b"too short"),
    ]
    bare = body[: body.rindex(SYNC)]
    for index in (b"\x05" + bytes(15), pack_varint(2**40), b"\x04" + b"\x09" * 12):
        chunk = pack_chunk(0x83, index)
        lies.append(bare + chunk + pack_chunk(0x84, pack_footer(Footer(len(chunk), 4, 32))))
    for lie in lies:
        report = verify(lie)
        assert not report.ok and report.n_groups == 4
        assert len(salvage(lie)[0]) == 4
        assert len(open_reader(BytesIO(lie)).index or ()) == 4


def test_an_index_that_points_elsewhere_gives_no_wrong_group() -> None:
    file = small_file()
    body = file[: file.rindex(SYNC, 0, -FOOTER_SIZE)]
    entries = b"\x04" + b"\x09\0\0" * 4
    chunk = pack_chunk(0x83, entries)
    reader = open_reader(
        BytesIO(body + chunk + pack_chunk(0x84, pack_footer(Footer(len(chunk), 4, 32))))
    )
    with pytest.raises(DamagedError, match="group 2"):
        reader.group_at(2)


def test_a_group_head_that_makes_no_sense_costs_its_group() -> None:
    file = small_file()
    start = offsets(file)[1]
    broken = file[:start] + pack_chunk(0x01, b"\x10\x07\x07") + file[start:]
    groups, sentence = salvage(broken)
    assert len(groups) == 4
    assert "hides 7 + 7 of its 8 frames" in sentence
    assert not verify(broken).ok


@pytest.mark.parametrize("length", [MAX_CHUNK, MAX_CHUNK + 1, 2**40])
@pytest.mark.parametrize("kind", [0x01, 0x81, 0x82, 0x83, 0x84])
def test_hostile_lengths_allocate_nothing(kind: int, length: int) -> None:
    file = small_file()
    start = offsets(file)[2]
    hostile = file[:start] + hostile_header(kind, length) + file[start:]
    tracemalloc.start()
    try:
        groups, sentence = salvage(hostile)
        on_pipe = open_reader(Pipe(hostile))
        with pytest.raises(DamagedError):
            list(on_pipe.groups())
        reader = open_reader(BytesIO(hostile[:-FOOTER_SIZE]))
        assert reader.index is not None and len(reader.index) == 4
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(groups) == 4 and sentence
    assert peak < 3 << 20


def test_hostile_group_heads_allocate_little() -> None:
    flags = pack_varint(1 | 64 | 256)
    body = flags + pack_varint(2**40) + bytes(50)
    file = small_file()[:-FOOTER_SIZE] + pack_chunk(0x01, body)
    tracemalloc.start()
    try:
        _, sentence = salvage(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "1 to 16384 are allowed" in sentence
    assert peak < 3 << 20


def test_false_chunk_heads_are_given_up_on_in_time() -> None:
    """Each of 20,000 headers promises 32 MiB: believing all of them would take a day."""
    header = hostile_header(0x01, 32 << 20)
    file = small_file()[:-FOOTER_SIZE] + header * 20_000
    groups, sentence = salvage(file)
    assert len(groups) == 4
    assert "its end is missing" in sentence


def test_sync_words_inside_payloads_are_harmless() -> None:
    stream = BytesIO()
    payload = (SYNC + hostile_header(0x01, 100)) * 50
    with Writer(stream, file_header()) as writer:
        for _ in range(3):
            writer.group(GroupHeader(8, 5000), payload)
    file = stream.getvalue()
    assert verify(file).ok
    groups, _ = salvage(flipped(file, offsets(file)[1] + 2))
    assert [group.payload for group in groups] == [payload, payload]


def test_chunk_heads_with_a_wrong_crc8_are_no_headers() -> None:
    header = hostile_header(0x01, 500)
    assert parse_chunk_header(header, 0) is not None
    for place in range(len(header)):
        for bit in range(8):
            damaged = bytearray(header)
            damaged[place] ^= 1 << bit
            assert parse_chunk_header(bytes(damaged), 0) is None
    assert len(hostile_header(0x01, MAX_CHUNK)) == MAX_CHUNK_HEADER
