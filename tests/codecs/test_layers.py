"""Batches of temporal layers and their streams: read apart, in any order, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from aehub import threads
from aehub.bitstream import (
    FileHeader,
    Group,
    GroupHeader,
    hierarchical_references,
    join_streams,
    key_pictures,
    open_reader,
    split_payload,
)
from aehub.bitstream.group_header import chain_types
from aehub.codecs.d4 import PAYLOAD_FORMATS, entropy_model
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.d4.frame_coding import GroupReader
from aehub.codecs.d4.layers import N_STREAMS, SINGLE_STREAM, FrameBatch, UseCount, frame_batches
from aehub.codecs.d4.reference_buffer import distance_classes
from aehub.codecs.d4.transcode import GroupEditor
from aehub.codecs.gop import FrameSlot
from aehub.errors import DamagedError
from aehub.media.picture import Picture
from bitstream.examples import file_header
from golden_files import GOLDEN
from predicted_files import (
    Encoded,
    encoded,
    equal_frames,
    frames_of,
    orbit,
    pan,
    planes_of,
    tiny,
)

SIZE = (96, 64)
SAMPLES = SIZE[0] * SIZE[1]


def golden(name: str) -> tuple[FileHeader, Group]:
    with open_reader(GOLDEN / name) as reader:
        return reader.header, next(iter(reader.groups()))


def decoded(header: FileHeader, group: Group, frames: Sequence[int] | None = None
            ) -> dict[int, Picture]:
    return dict(tiny().decode_group(header, group, frames))


def same(first: Picture, second: Picture) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 3)
    monkeypatch.setenv(threads.VARIABLE, "3")


# Which frames are where.


def test_batches_of_large_frames_hold_fewer_of_them() -> None:
    references = hierarchical_references(((16, 1),))
    header = GroupHeader(17, 5000, frame_types=chain_types(17), references=references,
                         stream_words=(1, 1, 1))
    for width, height, most in ((352, 288, 8), (1280, 736, 2), (1920, 1088, 1), (8192, 8192, 1)):
        batches = frame_batches(header, 3, width * height)
        assert max(len(batch.frames) for batch in batches) == most
        assert sorted(number for batch in batches for number in batch.frames) == list(range(17))


def test_layers_of_a_mini_gop_are_batches_of_their_streams() -> None:
    """The example of docs/format.md, and a mini-GOP of more layers than streams."""
    group = encoded(planes_of(orbit(11, 32, 32)), 30, (7, 1, 2))
    assert frame_batches(group.header, 3, SAMPLES) == (
        FrameBatch((0,), 0), FrameBatch((7,), 0), FrameBatch((3,), 1), FrameBatch((1, 5), 2),
        FrameBatch((2, 4, 6), 3), FrameBatch((8,), 0), FrameBatch((10,), 0), FrameBatch((9,), 1))
    header, group = golden("layers.aev")
    streams = [batch.stream for batch in frame_batches(group.header, 3, SAMPLES)]
    assert streams[:6] == [0, 0, 1, 2, 3, 3] and max(streams) == N_STREAMS - 1
    assert all(batch.stream == 0 and len(batch.frames) == 1
               for batch in frame_batches(group.header, SINGLE_STREAM, SAMPLES))


@pytest.mark.parametrize("name", ["layers.aev", "moving.aev"])
def test_key_pictures_are_read_without_the_other_streams(name: str) -> None:
    header, group = golden(name)
    keys = key_pictures(group.header)
    wanted = decoded(header, group)
    streams = split_payload(group.header, group.payload)
    _, payload = join_streams([streams[0], *(bytes(len(stream)) for stream in streams[1:])])
    found = decoded(header, replace(group, payload=payload), keys)
    assert found.keys() == set(keys)
    assert all(same(found[number], wanted[number]) for number in keys)


def test_a_frame_of_a_layer_needs_no_stream_of_a_higher_one() -> None:
    header, group = golden("layers.aev")
    wanted = decoded(header, group)
    batches = frame_batches(group.header, header.coder, SAMPLES)
    for stream in range(1, N_STREAMS):
        frames = [number for batch in batches if batch.stream <= stream for number in batch.frames]
        streams = split_payload(group.header, group.payload)
        kept = [part if at <= stream else b"" for at, part in enumerate(streams)]
        words, payload = join_streams(kept)
        less = replace(group, header=replace(group.header, stream_words=words, mini_gop_ends=None),
                       payload=payload)
        found = decoded(header, less, frames)
        assert found.keys() == set(frames)
        assert all(same(found[number], wanted[number]) for number in frames)


def test_streams_are_read_in_any_order_that_references_allow() -> None:
    header, group = golden("layers.aev")
    wanted = {frame.number: frame for frame in frames_of(tiny(), group, header)}
    batches = frame_batches(group.header, header.coder, SAMPLES)
    for order in (sorted(batches, key=lambda batch: batch.stream),
                  sorted(batches, key=lambda batch: min(batch.stream, 1))):
        assert order != list(batches)
        reader = GroupReader(tiny().runtime, group.payload, group.header,
                             header.coded_size(32, group.header.crop), header.coder)
        with torch.inference_mode():
            frames = [frame for batch in order for frame in reader.read(batch)]
        assert len(frames) == len(wanted)
        assert all(equal_frames(frame, wanted[frame.number]) for frame in frames)


def test_a_stream_that_frames_are_in_must_be_there() -> None:
    header, group = golden("layers.aev")
    for n in (2, 3):
        words, payload = join_streams(split_payload(group.header, group.payload)[:n])
        fewer = replace(group.header, stream_words=words, mini_gop_ends=None)
        with pytest.raises(DamagedError, match=f"has {n} entropy streams, and its frames are in 4"):
            decoded(header, replace(group, header=fewer, payload=payload))


# Side by side.


@pytest.mark.parametrize("frames", [None, (5,), (0, 39 - 1), (20, 3, 30), (35, 36)], ids=str)
@pytest.mark.parametrize("name", ["layers.aev", "barred.aev", "steady.aev"])
def test_frames_decoded_side_by_side_are_those_of_one_thread(
    name: str, frames: tuple[int, ...] | None, several_workers: None
) -> None:
    header, group = golden(name)
    if frames is not None:
        frames = tuple(number for number in frames if number < group.header.n_frames)
    with threads.one_thread():
        wanted = decoded(header, group, frames)
    found = decoded(header, group, frames)
    assert list(found) == list(wanted), "in coding order"
    assert all(same(found[number], wanted[number]) for number in wanted)


def slots(references: Sequence[Sequence[int]]) -> list[FrameSlot]:
    """Frames that are each a batch of the first stream."""
    return [FrameSlot(number, tuple(used), 0 if used else None)
            for number, used in enumerate(references)]


def group_of(frames: Sequence[Picture], references: Sequence[Sequence[int]],
             payload_format: int = PAYLOAD_FORMATS[0], codec: D4Codec | None = None) -> Group:
    """A group of frames in one stream, in coding order."""
    encoder = FrameEncoder((codec or tiny()).runtime, 61, payload_format)
    waiting, done = slots(references), set[int]()
    while waiting:
        slot = next(slot for slot in waiting if done.issuperset(slot.references))
        encoder.write([encoder.encode(slot, frames[slot.number])])
        done.add(slot.number)
        waiting.remove(slot)
    words, payload = encoder.finish()
    assert words == ()
    header = GroupHeader(len(frames), 6100, references=tuple(map(tuple, references)),
                         frame_types=bytes(bool(used) for used in references))
    return Group(header, payload, 0, 0)


def head(payload_format: int = PAYLOAD_FORMATS[0]) -> FileHeader:
    width, height = SIZE
    return file_header(width=width, height=height, coder=payload_format)


def test_intra_frames_of_a_group_are_decoded_side_by_side_too(several_workers: None) -> None:
    pictures = planes_of(orbit(6, *SIZE, seed=8))
    group = group_of(pictures, [()] * 6)
    with threads.one_thread():
        wanted = decoded(head(), group)
    found = decoded(head(), group)
    assert list(found) == list(wanted) == list(range(6))
    assert all(same(found[number], wanted[number]) for number in wanted)
    alone = decoded(head(), group, [4])
    assert list(alone) == [4] and same(alone[4], wanted[4])


def test_pictures_before_rounding_are_those_of_one_thread(several_workers: None) -> None:
    group = encoded(planes_of(orbit(11, *SIZE, seed=2)), 55, (8, 2))
    with threads.one_thread():
        wanted = group.pictures(tiny())
    found = group.pictures(tiny())
    for number, planes in group.decoded.items():
        for ours, theirs, own in zip(found[number], wanted[number], planes, strict=True):
            assert torch.equal(ours, theirs) and torch.equal(ours, own)


# A batch against its frames alone.


@pytest.mark.parametrize("length", [5, 6, 7, 13])
def test_frames_of_a_batch_have_the_tables_that_each_has_alone(length: int) -> None:
    """Those written were computed frame by frame."""
    group = encoded(planes_of(orbit(length + 1, *SIZE, seed=length)), 58, (length,))
    assert all(map(equal_frames, group.frames(tiny()), group.written))
    references = group.header.resolved_references
    mixed = [batch for batch in frame_batches(group.header, 3, SAMPLES)[1:] if isinstance(
        distance_classes(batch.frames, [references[n] for n in batch.frames]), tuple)]
    assert bool(mixed) == (length in (7, 13))


@pytest.fixture(scope="module")
def calm() -> Encoded:
    """A group with cells that are skipped."""
    return encoded(planes_of(pan(17, 160, 96, 3, (0, 1))), 45, (16,))


@pytest.mark.parametrize("density", [-1.0, 1.0], ids=["dense", "sparse"])
def test_blocks_of_coded_cells_have_the_codes_of_the_whole_grid(
    calm: Encoded, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entropy_model, "_MAX_DENSITY", density)
    cells = np.stack([frame.motion.coded_flags for frame in calm.written
                      if frame.motion is not None])
    assert cells.any() and not cells.all()
    assert all(map(equal_frames, calm.frames(tiny()), calm.written))


# Payloads of one stream.


@pytest.mark.parametrize("payload_format", PAYLOAD_FORMATS)
def test_a_hierarchical_group_may_be_one_stream(payload_format: int) -> None:
    references = ((), (0, 2), (0, 4), (2, 4), (0,))
    group = group_of(planes_of(orbit(5, *SIZE, seed=5)), references, payload_format)
    assert key_pictures(group.header) == (0, 4)
    found = decoded(head(payload_format), group)
    assert list(found) == [0, 4, 2, 1, 3]
    layered = encoded(planes_of(orbit(5, *SIZE, seed=5)), 61, (4,))
    assert len(layered.header.stream_words) == 2


@pytest.mark.parametrize("payload_format", PAYLOAD_FORMATS)
def test_a_group_that_a_cut_makes_hierarchical_keeps_its_stream(payload_format: int) -> None:
    group = group_of(planes_of(orbit(4, *SIZE, seed=6)), ((), (0, 2), (0,), ()), payload_format)
    assert key_pictures(group.header) == ()
    shown = replace(group, header=replace(group.header, shown=(0, 3)))
    header, payload = GroupEditor(tiny().runtime).rewrite(
        head(payload_format), shown, frames=range(3))
    assert key_pictures(header) == (0, 2) and header.stream_words == ()
    wanted = decoded(head(payload_format), group)
    found = decoded(head(payload_format), replace(group, header=header, payload=payload))
    assert list(found) == [0, 2, 1]
    assert all(same(found[number], wanted[number]) for number in found)


def test_uses_are_counted_down_to_the_last() -> None:
    uses = UseCount([(0,), (0, 1), (1, 1)])
    assert 0 in uses and 1 in uses and 2 not in uses
    assert uses.release((0, 1)) == []
    assert uses.release((1, 1)) == [1]
    assert uses.release((0,)) == [0]
    assert 0 not in uses
