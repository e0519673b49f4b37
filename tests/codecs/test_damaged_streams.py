"""Damaged payloads with right checksums: pictures, or one sentence, in whatever thread."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest

import aehub
from aehub import threads
from aehub.bitstream import FileHeader, Group, Writer, open_reader
from aehub.errors import DamagedError
from golden_files import GOLDEN
from predicted_files import tiny

N_STREAMS = 4


@pytest.fixture(scope="module")
def whole() -> tuple[FileHeader, Group]:
    with open_reader(GOLDEN / "layers.aev") as reader:
        return reader.header, next(iter(reader.groups()))


@pytest.fixture(params=[1, 3], ids=["one worker", "several workers"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)
    monkeypatch.setenv(threads.VARIABLE, str(request.param))


def span(group: Group, stream: int) -> tuple[int, int]:
    """Bytes of the payload in which a stream is."""
    ends = [*accumulate((4 * n for n in group.header.stream_words), initial=0), len(group.payload)]
    return list(pairwise(ends))[stream]


def attempts(work: Callable[[], Any]) -> str:
    """The sentence of the damage; empty where nothing was noticed."""
    try:
        work()
    except DamagedError as error:
        sentence = str(error)
        assert sentence.endswith(".") and "\n" not in sentence
        return sentence
    return ""


def uses(header: FileHeader, group: Group) -> list[Callable[[], Any]]:
    return [lambda: list(tiny().decode_group(header, group)),
            lambda: list(tiny().decode_group(header, group, [30])),
            lambda: list(tiny().codes(header, group)),
            lambda: tiny().editor.rewrite(header, group, turn=3)]  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", range(N_STREAMS))
def test_flipped_bits_of_a_stream_give_pictures_or_a_sentence(
    stream: int, whole: tuple[FileHeader, Group], workers: None
) -> None:
    header, group = whole
    chance, told = np.random.default_rng(stream), 0
    begin, end = span(group, stream)
    for at in (begin, end - 1, *chance.integers(begin, end, 3).tolist()):
        payload = bytearray(group.payload)
        payload[at] ^= 1 << int(chance.integers(8))
        damaged = replace(group, payload=bytes(payload))
        told += any([bool(attempts(work)) for work in uses(header, damaged)])
    assert told


def test_what_needs_no_damaged_stream_is_decoded_as_before(
    whole: tuple[FileHeader, Group], workers: None
) -> None:
    header, group = whole
    begin, end = span(group, 3)
    damaged = replace(group, payload=group.payload[:begin] + b"\xff" * (end - begin))
    assert attempts(lambda: list(tiny().decode_group(header, damaged)))
    for frames in ([0], [16, 24], [8], [4]):
        wanted, found = (dict(tiny().decode_group(header, one, frames)) for one in (group, damaged))
        assert found.keys() == set(frames)
        assert all(np.array_equal(found[n][0], wanted[n][0]) for n in frames)


@pytest.mark.parametrize("stream", range(N_STREAMS))
def test_a_stream_shorter_than_its_symbols_is_told(
    stream: int, whole: tuple[FileHeader, Group], workers: None
) -> None:
    header, group = whole
    begin, end = span(group, stream)
    middle = begin + (end - begin) // 8 * 4
    words = list(group.header.stream_words)
    if stream < N_STREAMS - 1:
        words[stream] -= (end - middle) // 4
    short = replace(group, payload=group.payload[:middle] + group.payload[end:],
                    header=replace(group.header, stream_words=tuple(words), mini_gop_ends=None))
    assert attempts(uses(header, short)[0])
    assert attempts(uses(header, replace(short, payload=short.payload[:-1]))[0])


@pytest.mark.parametrize("change", [-40, -1, 1, 40])
def test_streams_that_begin_elsewhere_give_pictures_or_a_sentence(
    change: int, whole: tuple[FileHeader, Group], workers: None
) -> None:
    header, group = whole
    for stream in range(N_STREAMS - 1):
        words = list(group.header.stream_words)
        words[stream] += change
        moved = replace(group.header, stream_words=tuple(words), mini_gop_ends=None)
        assert any([bool(attempts(work)) for work in uses(header, replace(group, header=moved))])


def test_a_file_with_a_damaged_group_gives_the_others_and_a_sentence(
    whole: tuple[FileHeader, Group], workers: None
) -> None:
    header, group = whole
    begin, end = span(group, 1)
    damaged = group.payload[:begin] + b"\xff" * (end - begin) + group.payload[end:]
    stream = io.BytesIO()
    with Writer(stream, header) as writer:
        writer.group(group.header, group.payload)
        writer.group(group.header, damaged)
    found = []
    with pytest.raises(DamagedError, match="does not decode"):
        for frame in aehub.decompress(io.BytesIO(stream.getvalue()), model=tiny()):
            found.append(frame)
    assert len(found) >= group.header.n_frames
