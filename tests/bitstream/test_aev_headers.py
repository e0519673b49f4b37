"""File headers and group headers: round trips, sizes, refusals."""

from __future__ import annotations

import zlib
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aehub.bitstream import (
    FileHeader,
    GroupHeader,
    coding_order,
    is_aev,
    nearest_rate,
    pack_file_header,
    pack_group_header,
    retime,
    unpack_file_header,
    unpack_group_header,
)
from aehub.bitstream.chunk import (
    MAX_FILE_HEADER,
    MAX_PIXELS,
    MAX_SIDE,
    Cursor,
    pack_signed,
    pack_varint,
)
from aehub.bitstream.file_header import ASPECT_LIMITS, RATE_LIMITS, TIME_BASE_LIMITS, USUAL_RATES
from aehub.bitstream.group_header import dependency_closure, retained_frames
from aehub.errors import DamagedError, FormatError, InputError
from aehub.media.picture import (
    MAX_BITS,
    MAX_PLANE_NAME,
    MAX_PLANES,
    MAX_SUBSAMPLING,
    MIN_BITS,
    YUV420,
    Colour,
    PictureFormat,
    PlaneFormat,
)
from bitstream.examples import CHAIN, file_header

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-/@ä", min_size=1, max_size=40).filter(
    lambda name: len(name.encode()) <= 40
)
HASHES = st.binary(min_size=8, max_size=8)


def fractions(limits: tuple[int, int]) -> st.SearchStrategy[Fraction]:
    return st.builds(Fraction, st.integers(1, limits[0]), st.integers(1, limits[1]))


@st.composite
def picture_formats(draw: st.DrawFn) -> PictureFormat:
    """Any format that a file can hold."""
    names = st.text("abzABZ019_", min_size=1, max_size=MAX_PLANE_NAME)
    subsampling = st.integers(1, MAX_SUBSAMPLING)
    others = st.lists(st.builds(PlaneFormat, names, subsampling, subsampling),
                      max_size=MAX_PLANES - 1)
    return PictureFormat((PlaneFormat(draw(names)), *draw(others)),
                         draw(st.integers(MIN_BITS, MAX_BITS)), draw(st.booleans()))


@st.composite
def file_headers(draw: st.DrawFn) -> FileHeader:
    width, coder = draw(st.integers(1, MAX_SIDE)), draw(st.integers(0, 127))
    return FileHeader(
        draw(NAMES), draw(HASHES), draw(HASHES), coder,
        width, draw(st.integers(1, min(MAX_SIDE, MAX_PIXELS // (width + 31) // 32 * 32))),
        draw(st.sampled_from(USUAL_RATES) | fractions(RATE_LIMITS)),
        draw(st.integers(0, 10_000)), draw(st.integers(1, 16384)),
        draw(st.just(Fraction(0)) | fractions(TIME_BASE_LIMITS)),
        Colour(draw(st.integers(0, 127)), draw(st.booleans()), draw(st.integers(0, 255)),
               draw(st.integers(0, 127))),
        draw(st.just(Fraction(1)) | fractions(ASPECT_LIMITS)),
        draw(picture_formats()) if coder > 3 else YUV420,
    )  # fmt: skip


@st.composite
def group_headers(draw: st.DrawFn) -> GroupHeader:
    n = draw(st.integers(1, 40))
    first = draw(st.integers(0, n - 1))
    gaps = draw(st.none() | st.lists(st.integers(1, 5000), min_size=n - 1, max_size=n - 1))
    coded = draw(st.permutations(range(n)))
    references = tuple(
        tuple(draw(st.lists(st.sampled_from(coded[:place]), max_size=4))) if place else ()
        for place in (coded.index(frame) for frame in range(n))
    )
    types = bytes(draw(st.integers(1, 255)) if used else 0 for used in references)
    predicted = draw(st.sampled_from(["intra", "chain", "references"]))
    return GroupHeader(
        n,
        draw(st.integers(0, 10_000)),
        crop=(draw(st.integers(0, 31)), draw(st.integers(0, 31))),
        shown=(first, draw(st.integers(first + 1, n))),
        reverse=draw(st.booleans()),
        times=None if gaps is None else tuple(accumulate(gaps, initial=0)),
        last_duration=draw(st.none() | st.integers(1, 5000)),
        frame_types={"intra": None, "chain": bytes((0,)) + bytes((1,)) * (n - 1)}.get(
            predicted, types
        ),
        references=references if predicted == "references" else None,
    )


def resealed(packed: bytes, at: int, field: bytes) -> bytes:
    """A file header with some bytes replaced and a CRC-32 that matches again."""
    changed = packed[:at] + field + packed[at + len(field) : -4]
    return changed + zlib.crc32(changed).to_bytes(4, "little")


@given(st.integers(0, 2**42), st.integers(-(2**41), 2**41))
def test_integers_come_back(value: int, signed: int) -> None:
    assert Cursor(pack_varint(value)).varint() == value
    assert Cursor(pack_signed(signed)).signed() == signed


@given(file_headers())
def test_file_heads_come_back_and_fit_96_bytes_and_a_picture_format(header: FileHeader) -> None:
    packed = pack_file_header(header)
    longest = sum(2 + len(plane.name) for plane in header.pictures.planes) + 2
    assert len(packed) <= 96 + longest * (header.coder > 3)
    assert unpack_file_header(packed + b"more") == (header, len(packed))


def test_the_bytes_of_a_picture_format_are_for_ever() -> None:
    planes = PlaneFormat("Y"), PlaneFormat("U", 2), PlaneFormat("V", 2)
    for form, golden in (
        (PictureFormat(planes, 10), "03 02 01 59 00 01 55 10 01 56 10"),
        (PictureFormat((PlaneFormat("B04"), PlaneFormat("B_8", 16, 3)), 16, signed=True),
         "02 18 03 42 30 34 00 03 42 5f 38 f2"),
        (YUV420, "00"),
    ):
        packed = pack_file_header(file_header(coder=100, pictures=form))
        assert packed[-4 - len(bytes.fromhex(golden)):-4] == bytes.fromhex(golden)
        assert len(packed) == len(pack_file_header(file_header())) + len(bytes.fromhex(golden))


@given(st.binary(max_size=40))
def test_any_bytes_of_a_picture_format_are_read_or_refused(field: bytes) -> None:
    packed = pack_file_header(file_header(coder=100))[:-5] + field
    packed = packed[:5] + bytes((len(packed) - 6,)) + packed[6:]
    packed += zlib.crc32(packed).to_bytes(4, "little")
    try:
        header, size = unpack_file_header(packed)
    except FormatError as error:
        assert str(error).startswith("the file has a file header that cannot be read: ")
        return
    # Bytes after the fields are ignored.
    assert size == len(packed) and pack_file_header(header)[33:-4] == field[:header_length(header)]


def header_length(header: FileHeader) -> int:
    """Bytes of its picture format."""
    return len(pack_file_header(header)) - len(pack_file_header(file_header()))


def test_the_largest_file_head_has_96_bytes() -> None:
    header = file_header(
        model="n" * 40, width=4096, height=4097, fps=Fraction(2_113_663, 2_113_661), quality=9999,
        group_frames=16384, time_base=Fraction(16_511, 270_549_119),
        colour=Colour(9, True, 9, 16), pixel_aspect=Fraction(16_511, 16_510),
    )  # fmt: skip
    assert len(pack_file_header(header)) == MAX_FILE_HEADER


def test_a_usual_file_head_has_few_bytes_beside_name_and_hashes() -> None:
    header = file_header(
        width=640, height=360, fps=Fraction(30000, 1001), colour=Colour(1, False, 1, 1)
    )
    named = len(header.model) + 16
    assert len(pack_file_header(header)) - named == 20


@given(group_headers())
def test_group_heads_come_back(header: GroupHeader) -> None:
    file = file_header()
    packed = pack_group_header(header, file)
    back, size = unpack_group_header(packed + b"payload", file)
    assert size == len(packed)
    assert back.durations(file.frame_ticks) == header.durations(file.frame_ticks)
    # Times that say nothing are dropped; all else comes back as it was.
    untimed = {"times": None, "last_duration": None}
    assert replace(back, **untimed) == replace(header, **untimed)


@pytest.mark.parametrize("types", [None, CHAIN])
def test_a_usual_group_head_is_one_byte(types: bytes | None) -> None:
    assert len(pack_group_header(GroupHeader(8, 5000, frame_types=types), file_header())) == 1


def test_a_group_that_is_not_intra_throughout_refers_to_the_frame_before() -> None:
    explicit = GroupHeader(3, 5000, frame_types=b"\0\1\1", references=((), (0,), (1,)))
    assert explicit == GroupHeader(3, 5000, frame_types=b"\0\1\1")
    assert coding_order(explicit) == (0, 1, 2)


def test_bidirectional_frames_are_coded_after_their_references() -> None:
    references = ((), (0, 2), (0, 4), (2, 4), (0,))
    header = GroupHeader(5, 5000, frame_types=bytes((0, 2, 2, 2, 1)), references=references)
    assert coding_order(header) == (0, 4, 2, 1, 3)


def test_the_order_shown_follows_trim_and_direction() -> None:
    header = GroupHeader(4, 5000, shown=(1, 4), times=(0, 10, 30, 60), last_duration=40)
    assert header.durations(1) == (10, 20, 30, 40)
    assert list(header.display_order) == [1, 2, 3]
    assert list(replace(header, reverse=True).display_order) == [3, 2, 1]
    assert header.ticks(1) == 90


def test_a_frame_lasts_a_step_of_the_time_base() -> None:
    header = file_header(fps=Fraction(25), time_base=Fraction(1, 1000))
    assert header.frame_ticks == 40
    assert GroupHeader(3, 5000).durations(header.frame_ticks) == (40, 40, 40)


def test_a_group_keeps_its_speed_in_a_file_of_another_rate() -> None:
    slow, joined = file_header(fps=Fraction(25)), file_header(time_base=Fraction(1, 150))
    moved = retime(GroupHeader(3, 5000), slow, joined)
    assert moved.durations(joined.frame_ticks) == (6, 6, 6)
    fast = file_header(fps=Fraction(30))
    assert retime(GroupHeader(3, 5000), fast, joined).durations(joined.frame_ticks) == (5, 5, 5)
    assert retime(GroupHeader(3, 5000), slow, slow) == GroupHeader(3, 5000)


def test_a_time_base_too_coarse_for_a_group_is_refused() -> None:
    with pytest.raises(InputError, match="too coarse"):
        retime(GroupHeader(3, 5000), file_header(fps=Fraction(240)), file_header(fps=Fraction(10)))


def test_the_coded_plane_holds_the_window_and_is_a_multiple_of_32() -> None:
    assert file_header(width=50, height=40).coded_size(32, (14, 24)) == (64, 64)
    assert file_header(width=64, height=33).coded_size(32) == (64, 64)


def test_averaged_rates_have_a_near_one_that_fits() -> None:
    rate = Fraction(15_360_000, 512_511)
    near = nearest_rate(rate)
    assert abs(near - rate) < 1e-6
    assert unpack_file_header(pack_file_header(file_header(fps=near)))[0].fps == near
    assert nearest_rate(Fraction(30000, 1001)) == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 40000, "height": 40000}, "40000x40000"),
        ({"width": 16384, "height": 16384}, "at most 67108864 pixels"),
        ({"width": 0}, "0x48"),
        ({"model": "n" * 41}, "1 to 40 printable bytes"),
        ({"model": ""}, "1 to 40 printable bytes"),
        ({"entropy_hash": b"short"}, "8 bytes"),
        ({"fps": Fraction(0)}, "frame rate 0"),
        ({"fps": Fraction(10**9, 7)}, "frame rate"),
        ({"time_base": Fraction(1, 10**9)}, "time base"),
        ({"quality": 10001}, "quality 100.01"),
        ({"group_frames": 0}, "groups of 0 frames"),
        ({"coder": 128}, "payload format 128"),
        ({"colour": Colour(matrix=300)}, "H.273"),
        ({"pixel_aspect": Fraction(-1)}, "pixel aspect -1"),
    ],
)
def test_writer_refuses_file_heads_outside_the_limits(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pack_file_header(file_header(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_frames": 0, "shown": (0, 0)}, "0 frames"),
        ({"n_frames": 16385}, "16385 frames"),
        ({"quality": -1}, "quality -0.01"),
        ({"shown": (3, 3)}, "shows frames 3 to 3"),
        ({"shown": (0, 9)}, "shows frames 0 to 9"),
        ({"crop": (0, 40000)}, "ends at [0-9]+x40"),
        ({"times": (0, 1)}, "2 times do not fit 8 frames"),
        ({"times": (0, 1, 2, 2, 3, 4, 5, 6)}, "do not grow"),
        ({"last_duration": 0}, "do not grow"),
        ({"last_duration": 2**40}, "at most 1099511627776"),
        ({"frame_types": b"\1" * 8}, "predicted from nothing"),
        ({"frame_types": b"\0\1"}, "2 frame types do not fit"),
        ({"frame_types": CHAIN, "references": ((), (1,), *[(0,)] * 6)}, "in a circle"),
        (
            {"frame_types": CHAIN, "references": ((), (8,), *[(0,)] * 6)},
            "predicted from the frames",
        ),
    ],
)
def test_writer_refuses_group_heads_outside_the_limits(changes: dict[str, Any], words: str) -> None:
    fields = {"n_frames": 8, "quality": 5000, **changes}
    with pytest.raises(InputError, match=words):
        pack_group_header(GroupHeader(**fields), file_header())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_group_head_or_refused(body: bytes) -> None:
    try:
        header, size = unpack_group_header(body, file_header())
    except FormatError:
        return
    assert 0 < size <= len(body)
    assert len(header.display_order) == header.n_shown > 0


@given(st.binary(max_size=90))
def test_any_sealed_bytes_are_a_file_head_or_refused(body: bytes) -> None:
    sealed = b"\x89AEV\x01" + bytes((len(body),)) + body
    sealed += zlib.crc32(sealed).to_bytes(4, "little")
    try:
        header, size = unpack_file_header(sealed)
    except FormatError:
        return
    assert size == len(sealed)
    assert header.frame_ticks >= 1


def test_reader_refuses_a_picture_of_40000_by_40000_in_one_sentence() -> None:
    side = pack_varint(39999)
    body = pack_file_header(file_header())[6:-4].replace(b"\x3f\x2f", side + side)
    sealed = b"\x89AEV\x01" + bytes((len(body),)) + body
    with pytest.raises(FormatError, match="its frames are 40000x40000; an .aev file holds"):
        unpack_file_header(sealed + zlib.crc32(sealed).to_bytes(4, "little"))


def test_later_additions_to_the_file_head_are_ignored() -> None:
    packed = pack_file_header(file_header())
    longer = packed[:5] + bytes((packed[5] + 2,)) + packed[6:-4] + b"\x07\x07"
    longer += zlib.crc32(longer).to_bytes(4, "little")
    assert unpack_file_header(longer) == (file_header(), len(longer))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"Dear diary, today I wrote a test.\n", r"looks like text \('Dear diary, toda'\)"),
        (b"\0\0\0\x20ftypisom", "an MP4 or MOV video; compress it first"),
        (b"\x1aE\xdf\xa3\x9f", "a Matroska or WebM video"),
        (b"GIF89a", "a GIF"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (bytes(range(200, 240)), "its first bytes are c8 c9 ca cb cc cd ce cf"),
    ],
)
def test_reader_names_what_it_found_instead(first: bytes, words: str) -> None:
    assert not is_aev(first)
    with pytest.raises(FormatError, match=words) as caught:
        unpack_file_header(first, "clip.aev")
    assert str(caught.value).startswith("clip.aev is ")


def test_reader_refuses_a_newer_version_and_says_so() -> None:
    newer = resealed(pack_file_header(file_header()), 4, b"\x02")
    assert is_aev(newer)
    with pytest.raises(FormatError, match="format version 2; this AEHub reads version 1: update"):
        unpack_file_header(newer)
    torn = newer[:-1] + bytes((newer[-1] ^ 1,))
    with pytest.raises(FormatError, match="or it is damaged"):
        unpack_file_header(torn)


def test_reader_refuses_a_damaged_file_header() -> None:
    packed = bytearray(pack_file_header(file_header()))
    packed[12] ^= 1
    with pytest.raises(DamagedError, match="damaged file header"):
        unpack_file_header(bytes(packed))


def test_a_group_head_of_a_newer_version_is_refused() -> None:
    with pytest.raises(FormatError, match="newer version"):
        unpack_group_header(pack_varint(1 << 14), file_header())


def test_an_atomic_group_says_so_by_bit_13_alone() -> None:
    header = GroupHeader(8, 5000, atomic=True)
    packed = pack_group_header(header, file_header())
    assert packed == pack_varint(1 << 13)
    assert unpack_group_header(packed + b"payload", file_header()) == (header, len(packed))


@pytest.mark.parametrize("changes", [
    {"frame_types": CHAIN}, {"frame_types": CHAIN, "mini_gop_ends": ((1,),) * 7}], ids=str)
def test_an_atomic_group_names_no_references(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be read without each other"):
        pack_group_header(GroupHeader(8, 5000, atomic=True, **changes), file_header())
    forged = pack_varint(1 << 13 | 1 << 5)
    with pytest.raises(FormatError, match="cannot be read without each other"):
        unpack_group_header(forged, file_header())


def test_an_atomic_group_keeps_all_frames_whatever_is_shown() -> None:
    header = GroupHeader(8, 5000, shown=(3, 5), atomic=True)
    assert dependency_closure(header, [4]) == tuple(range(8))
    assert retained_frames(header, exact=False) == tuple(range(8))
