"""Groups of key pictures with B-frames between them: the compact form of their references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aehub.bitstream import (
    GroupHeader,
    coding_order,
    hierarchical_references,
    mini_gop_runs,
    pack_group_header,
    unpack_group_header,
)
from aehub.bitstream.chunk import pack_varint
from aehub.bitstream.group_header import MiniGopRuns, chain_types
from aehub.errors import FormatError
from bitstream.examples import file_header

RUNS = st.lists(st.tuples(st.integers(1, 64), st.integers(1, 4)), min_size=1, max_size=5).map(tuple)


def group(runs: MiniGopRuns) -> GroupHeader:
    references = hierarchical_references(runs)
    n = len(references)
    return GroupHeader(n, 5000, frame_types=chain_types(n), references=references)


def merged(runs: MiniGopRuns) -> list[int]:
    return [span for span, count in runs for _ in range(count)]


def test_the_middle_frame_refers_to_the_two_around_it() -> None:
    assert hierarchical_references(((4, 1), (1, 1))) == ((), (0, 2), (0, 4), (2, 4), (0,), (4,))
    assert hierarchical_references(((3, 1),)) == ((), (0, 3), (1, 3), (0,))


def test_key_pictures_are_coded_as_late_as_they_are_needed() -> None:
    assert coding_order(group(((4, 1), (1, 1)))) == (0, 4, 2, 1, 3, 5)
    assert coding_order(group(((8, 2),))) == (
        0, 8, 4, 2, 1, 3, 6, 5, 7, 16, 12, 10, 9, 11, 14, 13, 15,
    )  # fmt: skip


def most_held(header: GroupHeader) -> int:
    """Number of decoded frames held by a decoder that drops each after its last use."""
    order = coding_order(header)
    references = header.references or tuple((f - 1,) if f else () for f in range(header.n_frames))
    held: set[int] = set()
    most = 0
    for place, frame in enumerate(order):
        held.add(frame)
        most = max(most, len(held))
        held &= {used for later in order[place + 1 :] for used in references[later]}
    return most


def test_a_decoder_holds_at_most_eight_frames_of_any_hierarchical_gop() -> None:
    assert most_held(group(((64, 2),))) == 8
    assert max(most_held(group(((span, 2), (1, 1)))) for span in range(1, 64, 5)) <= 8


@given(RUNS)
def test_every_frame_comes_after_its_references_and_runs_come_back(runs: MiniGopRuns) -> None:
    header = group(runs)
    order = coding_order(header)
    place = {frame: at for at, frame in enumerate(order)}
    for frame, used in enumerate(hierarchical_references(runs)):
        assert all(place[reference] < place[frame] for reference in used)
    found = mini_gop_runs(header)
    assert found is not None
    assert merged(found) == merged(runs)


@given(RUNS)
def test_hierarchical_gops_come_back_from_their_bytes(runs: MiniGopRuns) -> None:
    header, file = group(runs), file_header()
    packed = pack_group_header(header, file)
    assert unpack_group_header(packed + b"payload", file) == (header, len(packed))
    assert len(packed) <= 2 + 3 + 1 + 4 * len(runs)


def test_ten_seconds_of_frames_cost_ten_bytes() -> None:
    assert len(pack_group_header(group(((8, 31), (1, 1))), file_header())) == 2 + 2 + 5


def test_a_group_without_frames_between_key_pictures_is_the_usual_chain() -> None:
    header = group(((1, 7),))
    assert header == GroupHeader(8, 5000, frame_types=chain_types(8))
    assert pack_group_header(header, file_header()) == b"\x20"
    assert mini_gop_runs(header) == ((1, 7),)


@pytest.mark.parametrize(
    "references",
    [
        ((), (0, 2), (0, 4), (2, 4), (0,), (3,)),  # the last key picture refers to none
        ((), (2, 0), (0, 4), (2, 4), (0,), (4,)),  # the other order
        ((), (0, 3), (1, 3), (0,), (3, 0), (3, 0)),  # no key picture at the end
        ((), (0, 4), (1, 4), (2, 4), (0,), (4,)),  # not the middle first
    ],
)
def test_other_references_are_written_in_full(references: tuple[tuple[int, ...], ...]) -> None:
    header = GroupHeader(6, 5000, frame_types=chain_types(6), references=references)
    assert mini_gop_runs(header) is None
    packed = pack_group_header(header, file_header())
    assert unpack_group_header(packed, file_header()) == (header, len(packed))


def test_a_group_of_other_types_is_not_hierarchical() -> None:
    header = GroupHeader(3, 5000, frame_types=b"\0\2\1", references=((), (0, 2), (0,)))
    assert mini_gop_runs(header) is None
    assert unpack_group_header(pack_group_header(header, file_header()), file_header())[0] == header
    assert mini_gop_runs(GroupHeader(3, 5000)) is None
    assert mini_gop_runs(GroupHeader(1, 5000)) is None


@pytest.mark.parametrize(
    ("flags", "numbers", "words"),
    [
        (0, (1, 65, 1), "distances up to 64"),
        (0, (1, 0, 7), "distance of 0 frames"),
        (0, (1, 7, 0), "0 key pictures"),
        (0, (1, 4, 2), "do not fit; 7 frames are left"),
        (0, (1, 1, 270_549_119), "do not fit"),
        (0, (1, 3, 2), "the last 1 of its 8 frames belong to no mini-GOP"),
        (0, (0,), "the last 7 of its 8 frames"),
        (0, (2_113_663, 7, 1, 1, 1), "do not fit; 0 frames are left"),
        (0, (1, 7), "cut short"),
        (1 << 5, (1, 7, 1), "twice"),
        (1 << 8, (0, 8, 1, 7, 1), "twice"),
    ],
)
def test_reader_refuses_runs_that_do_not_fit(
    flags: int, numbers: tuple[int, ...], words: str
) -> None:
    packed = pack_varint(1 << 10 | flags) + b"".join(map(pack_varint, numbers))
    with pytest.raises(FormatError, match=words):
        unpack_group_header(packed, file_header())
