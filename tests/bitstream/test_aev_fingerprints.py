"""Fingerprints in the file: what is kept beside them, when they count, damage and lies."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from aehub.bitstream import open_reader, verify
from aehub.bitstream.chunk import pack_chunk, pack_varint
from aehub.bitstream.fingerprint_chunk import (
    StoredFingerprints,
    pack_fingerprints,
    unpack_fingerprints,
)
from aehub.bitstream.index import FOOTER_SIZE
from aehub.bitstream.validation import info
from aehub.errors import DamagedError, FormatError
from bitstream.examples import fingerprints_for, payloads, small_file, sound, with_fingerprints
from bitstream.test_aev_damage import Pipe, flipped, offsets

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "fingerprints.aev"
"""`with_fingerprints(small_file(2, 20))`; AEHUB_REGENERATE=1 writes it anew."""


def carried(file: bytes) -> StoredFingerprints | None:
    with open_reader(BytesIO(file)) as reader:
        return reader.fingerprints()


def chunk_of(file: bytes) -> tuple[int, int]:
    """Where the fingerprint chunk of a file begins and ends."""
    with open_reader(BytesIO(file)) as reader:
        header, = (one for one in reader._require_scan("").chunk_headers if one.kind == 0x85)
    return header.offset, header.offset + header.size


@pytest.mark.parametrize("n_groups", [1, 4])
def test_fingerprints_come_back_and_all_else_stays(n_groups: int) -> None:
    file = small_file(n_groups, audio=50, notes=True)
    found = fingerprints_for(file)
    longer = with_fingerprints(file, found)
    assert carried(longer) == found
    start, stop = chunk_of(longer)
    assert longer[:start] + longer[stop:] == file
    assert verify(longer).problems == [] and offsets(longer) == offsets(file)
    reader = open_reader(BytesIO(longer))
    assert [group.payload for group in reader.groups()] == payloads(n_groups, 100)
    assert b"".join(reader.audio_pieces()) == sound(50) and reader.metadata
    # Others take their place.
    other = found._replace(model=bytes(8))
    assert with_fingerprints(longer, other) == with_fingerprints(file, other)


def test_the_index_is_found_behind_fingerprints_without_a_scan() -> None:
    file = with_fingerprints(small_file())
    reader = open_reader(BytesIO(file))
    assert reader._require_scan("")._stored_index() == reader.index
    assert reader.group_at(3).payload == payloads(4, 100)[3]


def test_sizes_still_sum_up() -> None:
    file = small_file(audio=50, notes=True)
    longer = with_fingerprints(file)
    body = len(pack_fingerprints(fingerprints_for(file)))
    facts, before = info(BytesIO(longer)), info(BytesIO(file))
    assert before["fingerprint_bytes"] == 0
    assert facts["fingerprint_bytes"] == body and facts["bytes"] == len(longer)
    summary = open_reader(BytesIO(longer)).summary()
    assert summary["bytes"] == sum(value for key, value in summary.items()
                                   if key.endswith("_bytes"))


def test_a_pipe_has_groups_and_no_fingerprints() -> None:
    reader = open_reader(Pipe(with_fingerprints(small_file())))
    assert reader.fingerprints() is None
    assert len(list(reader.groups())) == 4
    assert info(Pipe(with_fingerprints(small_file())))["fingerprint_bytes"]


def test_readers_that_do_not_know_the_chunk_skip_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from aehub.bitstream import chunk

    monkeypatch.setattr(chunk, "KNOWN", chunk.KNOWN - {chunk.FINGERPRINTS})
    groups = open_reader(BytesIO(with_fingerprints(small_file()))).groups()
    assert [group.payload for group in groups] == payloads(4, 100)


# When they do not count.


def reversed_groups(file: bytes) -> bytes:
    """The file with its groups in another order, by a program that keeps what it does not know."""
    starts = [*offsets(file), chunk_of(file)[0]]
    groups = [file[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
    return file[:starts[0]] + b"".join(groups[::-1]) + file[starts[-1]:]


def without_a_group(file: bytes) -> bytes:
    starts = offsets(file)
    return file[:starts[1]] + file[starts[2]:]


def slower(file: bytes) -> bytes:
    """The file with the frame rate 24."""
    header = bytearray(file[:offsets(file)[0]])
    header[6] = 6 << 3
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    return bytes(header) + file[len(header):]


def late(file: bytes) -> bytes:
    bare = file[:chunk_of(file)[0]] + file[chunk_of(file)[1]:]
    return with_fingerprints(bare, fingerprints_for(bare, times=(0, 2, 32)))


@pytest.mark.parametrize("change", [reversed_groups, without_a_group, slower, late])
def test_fingerprints_of_other_groups_are_ignored_and_named(change: Callable[[bytes], bytes]
                                                            ) -> None:
    file = change(with_fingerprints(small_file()))
    assert carried(file) is None
    problems = verify(file).problems
    assert "the fingerprints are of other groups than those of the file." in problems


def test_two_and_misplaced_ones_are_ignored_or_named() -> None:
    file = small_file()
    chunk = pack_chunk(0x85, pack_fingerprints(fingerprints_for(file)))
    twice = with_fingerprints(file)
    twice = twice[:chunk_of(twice)[0]] + chunk + twice[chunk_of(twice)[0]:]
    assert carried(twice) is None
    assert any("follow others, or the index" in problem for problem in verify(twice).problems)
    early = file[:offsets(file)[2]] + chunk + file[offsets(file)[2]:]
    assert any("this group follows the fingerprints" in one for one in verify(early).problems)
    last = file[:-FOOTER_SIZE] + chunk + file[-FOOTER_SIZE:]
    assert any("follow others, or the index" in one for one in verify(last).problems)
    for wrong in (early, last):
        with pytest.raises(DamagedError, match="unusual order; it cannot keep"):
            with_fingerprints(wrong)
    assert carried(with_fingerprints(twice)) == fingerprints_for(file)


# Damage and lies.


def test_every_flipped_byte_of_the_chunk_is_found_and_costs_no_group() -> None:
    file = with_fingerprints(small_file())
    for place in range(*chunk_of(file)):
        damaged = flipped(file, place)
        assert carried(damaged) is None, place
        assert not verify(damaged).ok, place
        reader, groups = open_reader(BytesIO(damaged)), []
        with pytest.raises(DamagedError, match="no group is lost; 4 intact groups"):
            for group in reader.groups():
                groups.append(group.payload)
        assert groups == payloads(4, 100)


def test_bodies_cut_lengthened_or_flipped_are_refused_in_words() -> None:
    file = small_file()
    body = pack_fingerprints(fingerprints_for(file))
    for size in range(len(body)):
        with pytest.raises(FormatError):
            unpack_fingerprints(body[:size])
    with pytest.raises(FormatError, match="do not fill"):
        unpack_fingerprints(body + b"\0")
    source, read = random.Random(3), 0
    for _ in range(5000):
        spoilt = bytearray(body)
        for _ in range(source.randint(1, 4)):
            spoilt[source.randrange(len(body))] ^= 1 << source.randrange(8)
        try:
            found = unpack_fingerprints(bytes(spoilt))
        except FormatError as error:
            assert str(error).endswith(".")
            continue
        read += 1
        n, (vector, signature) = len(found.times), found.shape
        assert (len(found.vectors), len(found.signatures)) == (2 * n * vector, 8 * n * signature)
        assert pack_fingerprints(found) == bytes(spoilt)
        # In a file with intact checksums too.
        framed = file[:-FOOTER_SIZE] + pack_chunk(0x85, spoilt) + file[-FOOTER_SIZE:]
        assert len(list(open_reader(BytesIO(framed)).groups())) == 4
        assert carried(framed) in (None, found)
    assert 0 < read < 5000


@pytest.mark.parametrize("numbers", [
    (2**40, 2, 3), (4, 2**40, 3), (4, 2, 2**40), (4096, 4096, 16384), (0, 2, 3), (4, 0, 3),
    (4, 2, 0)])
def test_hostile_numbers_allocate_nothing(numbers: tuple[int, ...]) -> None:
    file = small_file()
    lead = bytes(8) + pack_varint(2**41) + pack_varint(0) + bytes(4)
    body = lead + b"".join(map(pack_varint, numbers)) + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            unpack_fingerprints(body)
        hostile = file[:-FOOTER_SIZE] + pack_chunk(0x85, body) + file[-FOOTER_SIZE:]
        assert carried(hostile) is None and not verify(hostile).ok
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2.0, 0.0])
def test_vectors_of_another_length_are_refused(value: float) -> None:
    file = small_file()
    found = fingerprints_for(file)
    body = pack_fingerprints(found._replace(
        vectors=struct.pack("<4e", value, 0, 0, 0) + found.vectors[8:]))
    with pytest.raises(FormatError, match="does not have length 1"):
        unpack_fingerprints(body)


def test_equal_times_and_too_many_fingerprints_are_refused() -> None:
    file = small_file()
    with pytest.raises(FormatError, match="the same time"):
        unpack_fingerprints(pack_fingerprints(fingerprints_for(file, times=(0, 3, 3))))
    many = fingerprints_for(small_file(1), n=9)
    with pytest.raises(FormatError, match="9 fingerprints of 8 frames"):
        unpack_fingerprints(pack_fingerprints(many))
    with pytest.raises(FormatError, match="cannot be stored"):
        pack_fingerprints(fingerprints_for(file, times=(0, 2, 2**60)))


def test_fingerprints_larger_than_a_chunk_are_refused() -> None:
    found = fingerprints_for(small_file(), vectors=bytes(64 << 20))
    with pytest.raises(FormatError, match="are larger than 67108864"):
        pack_fingerprints(found)


# Read by the page, docs/format.md, alone.


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        value += 1 << shift


def chunks_by_the_page(data: bytes, at: int) -> list[tuple[int, bytes, bytes, int]]:
    """(type, body, CRC-32, size) of each chunk."""
    found = []
    while at < len(data):
        start = at
        assert data[at:at + 2] == b"\xae\x56"
        kind = data[at + 2]
        length, at = varint(data, at + 3)
        body, end = data[at + 1:at + 1 + length], at + 1 + length + 4
        found.append((kind, body, data[end - 4:end], end - start))
        at = end
    return found


def test_a_reader_written_from_the_page_reads_the_golden_file() -> None:
    if os.environ.get("AEHUB_REGENERATE"):
        GOLDEN.write_bytes(with_fingerprints(small_file(2, 20)))
    data = GOLDEN.read_bytes()
    start = 6 + data[5] + 4
    chunks = chunks_by_the_page(data, start)
    assert [kind for kind, *_ in chunks] == [0x01, 0x01, 0x85, 0x83, 0x84]
    body = chunks[2][1]
    at, numbers = 8, []
    for field in ("frames", "bytes", "crc", "D", "K", "n"):
        if field == "crc":
            numbers.append(int.from_bytes(body[at:at + 4], "little"))
            at += 4
            continue
        number, at = varint(body, at)
        numbers.append(number)
    n_frames, n_bytes, crc, d, k, n = numbers
    groups = [chunk for chunk in chunks if chunk[0] == 0x01]
    assert n_frames == 16 and n_bytes == sum(size for *_, size in groups)
    assert crc == zlib.crc32(data[start - 4:start] + b"".join(one[2] for one in groups))
    times = [0]
    for _ in range(n):
        step, at = varint(body, at)
        times.append(times[-1] + step)
    vectors = [struct.unpack_from(f"<{d}e", body, at + 2 * d * i) for i in range(n)]
    at += 2 * d * n
    assert len(body) == at + n * 8 * k
    found = carried(data)
    assert found is not None
    assert (found.model, found.shape, list(found.times)) == (body[:8], (d, k), times[1:])
    assert [list(row) for row in vectors] == [[float(i == at) for i in range(d)]
                                              for at in range(n)]
    assert found.signatures == body[at:]


def test_the_golden_file_is_still_what_is_written() -> None:
    assert with_fingerprints(small_file(2, 20)) == GOLDEN.read_bytes()
    assert verify(GOLDEN.read_bytes()).ok
