"""docs/format.md agrees with the code."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from aehub.bitstream import chunk
from aehub.bitstream.chunk import Cursor, crc8, pack_varint
from aehub.bitstream.file_header import USUAL_COLOURS, USUAL_RATES
from aehub.media.picture import Colour
from bitstream.examples import page_example

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def test_the_worked_example_is_what_the_writer_writes() -> None:
    written = page_example()
    dump = PAGE.split("```hex\n")[1].split("```")[0]
    at = 0
    for line in filter(None, dump.splitlines()):
        offset, packed, _ = re.split(r"\s{2,}", line.strip(), maxsplit=2)
        part = bytes.fromhex(packed)
        assert (int(offset), part) == (at, written[at : at + len(part)]), line
        at += len(part)
    assert at == len(written)


def test_the_page_lists_the_frame_rate_codes() -> None:
    listed = re.search(r"\*\*Frame rate codes\*\* 1 to 31, in order:\n(.*?)\.\n", PAGE, re.DOTALL)
    assert listed is not None
    assert re.split(r",\s+", listed[1]) == [str(rate) for rate in USUAL_RATES]


def test_the_page_lists_the_colour_codes() -> None:
    rows = re.findall(r"\| (1[23]\d) \| (\d+) \| (limited|full) \| (\d+) \| (\d+) \|", PAGE)
    colours = [Colour(int(m), r == "full", int(p), int(t)) for _, m, r, p, t in rows]
    assert [int(row[0]) for row in rows] == list(range(128, 128 + len(USUAL_COLOURS)))
    assert tuple(colours) == USUAL_COLOURS


def test_the_page_names_the_limits() -> None:
    assert f"{chunk.MAX_CHUNK:,}" in PAGE
    assert f"1 to {chunk.MAX_SIDE}" in PAGE
    assert chunk.MAX_PIXELS == 2**26 and "2^26" in PAGE
    assert chunk.MAX_TICKS == 2**40 and "2^40" in PAGE
    assert chunk.MAX_GROUP_FRAMES == 16384
    assert chunk.MAX_FILE_HEADER == 96 and "At most 96 bytes" in PAGE


def test_the_checksums_give_the_check_values_of_the_page() -> None:
    assert f"0x{crc8(b'123456789'):02X}" == "0xDF" and "0xDF" in PAGE
    assert f"0x{zlib.crc32(b'123456789'):08X}" in PAGE


def test_varints_have_the_lengths_of_the_page() -> None:
    rows = re.findall(r"\| (\d) \| ([\d,]+) to ([\d,]+) \|", PAGE)
    assert len(rows) == 4
    for size, first, last in rows:
        for value in (int(first.replace(",", "")), int(last.replace(",", ""))):
            packed = pack_varint(value)
            assert len(packed) == int(size)
            assert Cursor(packed).varint() == value
