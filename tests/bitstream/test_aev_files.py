"""Whole files: written, read in order and out of order, through pipes, edited, summed up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import BinaryIO

import pytest

from aehub.bitstream import GroupHeader, Writer, open_reader, verify
from aehub.bitstream.chunk import pack_chunk
from aehub.bitstream.index import FOOTER_SIZE
from aehub.errors import DamagedError, FormatError, InputError
from bitstream.examples import CHAIN, file_header, payloads, small_file, sound


class Trickle(RawIOBase):
    """A stream that cannot seek, gives a few bytes at a time and takes a few."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = bytes(self.data[: min(size, 7)])
        del self.data[:7]
        return piece

    def write(self, data: object) -> int:
        piece = bytes(memoryview(data))[:5]  # type: ignore[arg-type]
        self.data += piece
        return len(piece)


def without_footer(file: bytes) -> bytes:
    return file[:-FOOTER_SIZE]


def test_groups_come_back_in_order() -> None:
    groups = list(open_reader(BytesIO(small_file(5))).groups())
    assert [group.payload for group in groups] == payloads(5, 100)
    assert [group.index for group in groups] == [0, 1, 2, 3, 4]
    assert {group.header for group in groups} == {GroupHeader(8, 5000, frame_types=CHAIN)}


def test_a_path_is_opened_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "clip.aev"
    path.write_bytes(small_file())
    with open_reader(path) as reader:
        assert reader.name == "clip.aev"
        assert reader.header == file_header()
        assert len(list(reader.groups())) == 4
    with pytest.raises(ValueError, match="closed"):
        reader.group_at(0)
    assert verify(str(path)).ok


def test_a_missing_file_is_named_in_one_sentence(tmp_path: Path) -> None:
    for open_it in (open_reader, verify):
        with pytest.raises(InputError, match=r"nothing\.aev cannot be read: No such file"):
            open_it(tmp_path / "nothing.aev")


def test_a_file_of_no_groups_is_a_file() -> None:
    reader = open_reader(BytesIO(small_file(0)))
    assert list(reader.groups()) == []
    assert (reader.index, reader.frame_count) == ((), 0)
    assert verify(small_file(0)).ok


def test_any_group_is_found_through_the_index() -> None:
    reader = open_reader(BytesIO(small_file(6)))
    reading = reader.groups()
    next(reading)
    assert [reader.group_at(i).payload for i in (4, 0, 5)] == [
        payloads(6, 100)[i] for i in (4, 0, 5)
    ]
    assert next(reading).index == 1, "seeking disturbed the reading in order"
    assert reader.index is not None
    assert [entry.start for entry in reader.index] == [0, 8, 16, 24, 32, 40]
    assert reader.frame_count == 48
    with pytest.raises(InputError, match="no group 6; it has 6, from 0 on"):
        reader.group_at(6)


def test_the_index_is_rebuilt_without_reading_payloads() -> None:
    file = small_file(6, size=300_000)
    indexed = open_reader(BytesIO(file)).index

    class Counting(BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            piece = super().read(size)
            self.taken += len(piece)
            return piece

    stream = Counting(without_footer(file))
    reader = open_reader(stream)
    stream.taken = 0
    assert reader.index == indexed
    assert stream.taken < 1000
    assert reader.group_at(3).payload == payloads(6, 300_000)[3]


def test_the_index_tells_unusual_groups_apart() -> None:
    stream = BytesIO()
    headers = [
        GroupHeader(8, 5000),
        GroupHeader(20, 5000, shown=(5, 9), reverse=True),
        GroupHeader(3, 5000, times=(0, 7, 9), last_duration=30),
        GroupHeader(8, 5000),
    ]
    with Writer(stream, file_header()) as writer:
        for header in headers:
            writer.group(header, b"payload")
    for file in (stream.getvalue(), without_footer(stream.getvalue())):
        index = open_reader(BytesIO(file)).index
        assert index is not None
        assert [entry[1:] for entry in index] == [(8, 0, 8), (4, 8, 4), (3, 12, 39), (8, 51, 8)]


def test_a_group_head_longer_than_the_first_look_is_mapped() -> None:
    stream = BytesIO()
    times = tuple(i * i for i in range(300))
    with Writer(stream, file_header()) as writer:
        writer.group(GroupHeader(300, 5000, times=times), b"payload")
    reader = open_reader(BytesIO(stream.getvalue()))
    assert reader.summary()["seconds"] == (299**2 + 299**2 - 298**2) / 25
    assert reader.group_at(0).header.times == times


def test_a_file_may_begin_inside_a_stream() -> None:
    stream = BytesIO(b"preface" + small_file(3))
    stream.seek(7)
    reader = open_reader(stream)
    assert reader.group_at(2).payload == payloads(3, 100)[2]
    assert len(list(reader.groups())) == 3


def test_overhead_of_a_usual_group_is_at_most_12_bytes() -> None:
    for size in (0, 1, 5_000, 130_000, 2 << 20):
        stream = BytesIO()
        writer = Writer(stream, file_header())
        before = writer.size
        writer.group(GroupHeader(8, 5000, frame_types=CHAIN), bytes(size))
        assert writer.size - before - size <= 12
        assert writer.size == len(stream.getvalue())


def test_groups_are_given_as_they_arrive_on_a_pipe() -> None:
    read_end, write_end = os.pipe()
    received = threading.Semaphore(0)
    sent: list[bool] = []

    def write() -> None:
        with open(write_end, "wb", buffering=0) as stream:
            with Writer(stream, file_header()) as writer:
                for payload in payloads(5, 200_000):
                    writer.group(GroupHeader(8, 5000), payload)
                    # The next group is written only once this one was given to the reader.
                    sent.append(received.acquire(timeout=10))
                writer.audio(b"sound")

    thread = threading.Thread(target=write)
    thread.start()
    with open(read_end, "rb") as stream, open_reader(stream) as reader:
        assert not reader.seekable
        for group in reader.groups():
            assert group.payload == payloads(5, 200_000)[group.index]
            received.release()
        thread.join()
        assert sent == [True] * 5
        assert b"".join(reader.audio_pieces()) == b"sound"
        assert reader.summary() == open_reader(BytesIO(whole_of(5, 200_000))).summary()


def whole_of(n_groups: int, size: int) -> bytes:
    stream = BytesIO()
    with Writer(stream, file_header()) as writer:
        for payload in payloads(n_groups, size):
            writer.group(GroupHeader(8, 5000), payload)
        writer.audio(b"sound")
    return stream.getvalue()


def test_streams_that_give_and_take_a_few_bytes_will_do() -> None:
    out = Trickle()
    with Writer(out, file_header()) as writer:  # type: ignore[arg-type]
        for payload in payloads(4, 100):
            writer.group(GroupHeader(8, 5000, frame_types=CHAIN), payload)
    assert bytes(out.data) == small_file()
    reader = open_reader(Trickle(small_file()))  # type: ignore[arg-type]
    assert [group.payload for group in reader.groups()] == payloads(4, 100)


def test_a_pipe_says_what_it_cannot_do() -> None:
    reader = open_reader(pipe_of(small_file(notes=True)))
    assert (reader.index, reader.frame_count) == (None, None)
    with pytest.raises(InputError, match="is a pipe; groups can be read in any order in a file"):
        reader.group_at(0)
    with pytest.raises(InputError, match="after its groups"):
        list(reader.audio_pieces())
    list(reader.groups())
    with pytest.raises(InputError, match="only once"):
        list(reader.groups())


def pipe_of(data: bytes) -> BinaryIO:
    return Trickle(data)  # type: ignore[return-value]


@pytest.mark.parametrize("opened", [BytesIO, pipe_of])
def test_audio_and_metadata_come_back(opened: Callable[[bytes], BinaryIO]) -> None:
    file = small_file(audio=2_500_000, notes=True)
    with open_reader(opened(file)) as reader:
        list(reader.groups())
        pieces = list(reader.audio_pieces())
        assert all(len(piece) <= 1 << 20 for piece in pieces)
        assert b"".join(pieces) == sound(2_500_000)
        assert reader.metadata == {"title": "a flag in the wind"}


def test_metadata_that_is_not_json_is_refused() -> None:
    with pytest.raises(InputError, match="not JSON"):
        Writer(BytesIO(), file_header()).metadata({"path": Path("clip")})
    with pytest.raises(InputError, match="more than 1048576"):
        Writer(BytesIO(), file_header()).metadata({"text": "x" * (1 << 20)})
    for body, words in ((b"[" * 100_000, "not JSON"), (b"[1]", "is a list")):
        file = small_file()[:-FOOTER_SIZE] + pack_chunk(0x82, body)
        with pytest.raises(FormatError, match=words):
            _ = open_reader(BytesIO(file)).metadata
        assert any(words in problem for problem in verify(file).problems)


def test_the_summary_accounts_for_every_byte() -> None:
    file = small_file(10, size=1000, audio=3000, notes=True)
    summary = open_reader(BytesIO(file)).summary()
    notes = len(json.dumps({"title": "a flag in the wind"}, separators=(",", ":")))
    assert summary == {
        "groups": 10,
        "frames": 80,
        "coded_frames": 80,
        "seconds": 3.2,
        "bytes": len(file),
        "payload_bytes": 10_000,
        "audio_bytes": 3001,
        "metadata_bytes": notes,
        "fingerprint_bytes": 0,
        "lost_bytes": 0,
        "overhead_bytes": len(file) - 13_001 - notes,
        "complete": True,
    }


def test_an_edit_moves_payloads_byte_by_byte() -> None:
    source = open_reader(BytesIO(small_file(3)))
    stream = BytesIO()
    with Writer(stream, replace(source.header, quality=1000, group_frames=99)) as writer:
        for group in reversed(list(source.groups())):
            writer.group(replace(group.header, shown=(2, 5), reverse=True), group.payload)
    edited = open_reader(BytesIO(stream.getvalue()))
    groups = list(edited.groups())
    assert [group.payload for group in groups] == payloads(3, 100)[::-1]
    shown = {(group.header.quality, *group.header.display_order) for group in groups}
    assert shown == {(5000, 4, 3, 2)}
    assert edited.frame_count == 9
    assert verify(stream.getvalue()).ok


def test_a_writer_that_met_an_error_leaves_no_footer() -> None:
    stream = BytesIO()
    with pytest.raises(KeyboardInterrupt), Writer(stream, file_header()) as writer:
        writer.group(GroupHeader(8, 5000), b"payload")
        raise KeyboardInterrupt
    with pytest.raises(DamagedError, match="its end is missing; 1 intact group could be read"):
        list(open_reader(BytesIO(stream.getvalue())).groups())


def test_a_closed_writer_takes_nothing_more() -> None:
    writer = Writer(BytesIO(), file_header())
    writer.close()
    writer.close()
    with pytest.raises(InputError, match="closed"):
        writer.group(GroupHeader(8, 5000), b"payload")


def test_a_group_larger_than_a_chunk_is_refused() -> None:
    with pytest.raises(InputError, match="larger than 67108864; make groups shorter"):
        Writer(BytesIO(), file_header()).group(GroupHeader(8, 5000), bytes(64 << 20))


def test_unknown_optional_chunks_are_skipped() -> None:
    file = inserted(pack_chunk(0xC7, b"from the future"))
    reader = open_reader(BytesIO(file))
    assert [group.payload for group in reader.groups()] == payloads(4, 100)
    assert reader.summary()["groups"] == 4


def test_unknown_critical_chunks_are_refused_in_one_sentence() -> None:
    file = inserted(pack_chunk(0x47, b"from the future"))
    with pytest.raises(FormatError, match=r"a chunk of type 0x47 at byte \d+ .* update it"):
        list(open_reader(BytesIO(file)).groups())
    assert any("0x47" in problem for problem in verify(file).problems)


def inserted(chunk: bytes) -> bytes:
    """A file with a chunk after its first group."""
    file = small_file()
    index = open_reader(BytesIO(file)).index
    assert index is not None
    return file[: index[1].offset] + chunk + file[index[1].offset :]


def test_time_is_told_in_ticks_of_the_time_base() -> None:
    stream = BytesIO()
    with Writer(stream, file_header(time_base=Fraction(1, 1000))) as writer:
        writer.group(GroupHeader(3, 5000, times=(0, 33, 66), last_duration=34), b"a")
        writer.group(GroupHeader(2, 5000), b"b")
    reader = open_reader(BytesIO(stream.getvalue()))
    assert reader.summary()["seconds"] == pytest.approx(0.18)
    assert reader.group_at(0).header.durations(reader.header.frame_ticks) == (33, 33, 34)
    assert reader.group_at(1).header.durations(reader.header.frame_ticks) == (40, 40)


@pytest.mark.parametrize("module", ["torch", "constriction", "gradio"])
def test_the_container_loads_without(module: str) -> None:
    code = f"import sys, aehub.bitstream; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
