"""The same codes and motion everywhere: golden files of predicted frames."""

from __future__ import annotations

import json
import os
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import aehub
from aehub.bitstream import mini_gop_runs, open_reader
from aehub.codecs.d4 import PAYLOAD_FORMATS
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.frame_coding import FrameSyntax
from aehub.codecs.d4.layers import N_STREAMS, frame_batches
from aehub.codecs.d4.reference_buffer import distance_classes
from aehub.codecs.decompress import decode_frames
from aehub.coding.range_coder import N_TABLES, max_magnitude
from golden_files import (
    BARS,
    CLIPS,
    EXPECTED,
    FORMAT_2,
    GOLDEN,
    MINI_GOPS,
    MODEL,
    predicted_clip,
    predicted_codes,
    predicted_digest,
    regenerate,
)
from material import psnr
from predicted_files import turned_group

every_file = pytest.mark.parametrize("name", CLIPS)


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    if os.environ.get("AEHUB_REGENERATE") == "1":
        regenerate()
    return json.loads(EXPECTED.read_text())


@cache
def tiny(dtype: torch.dtype = torch.float32) -> D4Codec:
    return D4Codec.from_pretrained(MODEL, dtype=dtype)


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution in one memory layout, which chooses its algorithm."""
    plain, form = F.conv2d, request.param

    def conv2d(x: torch.Tensor, weight: torch.Tensor, *rest: object, **options: object):
        x, weight = (t.contiguous(memory_format=form) for t in (x, weight))
        return plain(x, weight, *rest, **options)

    monkeypatch.setattr(F, "conv2d", conv2d)


@every_file
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_predictions_decode_to_the_same_codes_and_motion_everywhere(
    name: str, dtype: torch.dtype, layout: None, expected: dict[str, str]
) -> None:
    assert predicted_digest(predicted_codes(GOLDEN / name, tiny(dtype))) == expected[name]


def test_the_number_of_threads_changes_no_code(expected: dict[str, str]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(before, 2))
        found = predicted_digest(predicted_codes(GOLDEN / "closed.aev", tiny()))
    finally:
        torch.set_num_threads(before)
    assert found == expected["closed.aev"]


@every_file
def test_a_surrounding_autocast_changes_no_code(name: str, expected: dict[str, str]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert predicted_digest(predicted_codes(GOLDEN / name, tiny())) == expected[name]


@every_file
def test_golden_predictions_are_written_to_the_same_bytes(
    name: str, expected: dict[str, str]
) -> None:
    with open_reader(GOLDEN / name) as reader:
        assert reader.header.coder == (2 if name in FORMAT_2 else PAYLOAD_FORMATS[0])
        for group in reader.groups():
            again = turned_group(tiny(torch.float64), group.payload, group.header, reader.header, 0)
            assert again == (group.payload, group.header)


@pytest.fixture(scope="module", params=[True, False], ids=["format 2", "format 3"])
def frames(request: pytest.FixtureRequest, expected: dict[str, str]) -> list[FrameSyntax]:
    """All predicted frames of the files of a payload format."""
    return [frame for name in CLIPS if (name in FORMAT_2) == request.param
            for group in predicted_codes(GOLDEN / name, tiny())
            for frame in group if frame.motion is not None]


def test_golden_predictions_use_every_part_of_the_stream(frames: list[FrameSyntax]) -> None:
    motions = [frame.motion for frame in frames if frame.motion is not None]
    modes = np.concatenate([m.modes.ravel() for m in motions if m.n_references == 2])
    assert set(modes.tolist()) == {1, 2, 3}
    assert {m.n_references for m in motions} == {1, 2}
    assert any(m.split.any() for m in motions) and any(m.vectors.any() for m in motions)
    cells = np.concatenate([m.coded_flags.ravel() for m in motions])
    assert cells.any() and not cells.all()
    assert len({frame.quality_offset for frame in frames}) >= 4


def test_golden_predictions_hold_codes_of_every_stage(frames: list[FrameSyntax]) -> None:
    found = set()
    for frame in frames:
        latent = frame.codes.latent
        found |= {part.number for part in tiny().network.inter.coding_passes(
            *latent.shape[-2:], latent.device)
                  if (latent[:, part.begin:part.end] * part.mask).any()}
    assert found == {0, 1, 2, 3}
    assert any(frame.codes.hyper.any() for frame in frames)


def test_golden_predictions_have_codes_beyond_their_tables(frames: list[FrameSyntax]) -> None:
    largest = torch.tensor([0, *map(max_magnitude, range(1, N_TABLES))])
    assert any((codes.abs() > largest[tables.long()]).any() for frame in frames
               for codes, tables in zip(frame.codes, frame.tables, strict=True))


def test_golden_predictions_of_format_3_use_all_streams_and_flat_cells(
    expected: dict[str, str]
) -> None:
    with open_reader(GOLDEN / "layers.aev") as reader:
        (group,) = reader.groups()
    header = group.header
    lengths = [n for n, count in mini_gop_runs(header) or () for _ in range(count)]
    assert lengths == list(MINI_GOPS["layers.aev"])
    assert len(header.stream_words) == N_STREAMS - 1 and min(header.stream_words) > 100
    assert header.mini_gop_ends is not None and len(header.mini_gop_ends) == len(lengths)
    batches = frame_batches(header, reader.header.coder, 64 * 64)
    classes = [distance_classes(batch.frames, [header.resolved_references[n]
                                               for n in batch.frames]) for batch in batches[1:]]
    assert any(isinstance(of_batch, tuple) for of_batch in classes)
    for name, (_, colour) in BARS.items():
        flat = [frame.flat for frames in predicted_codes(GOLDEN / name, tiny())
                for frame in frames if frame.motion is None]
        ((y, _, _),) = {cells.colour for cells in flat if cells is not None}
        assert all(cells is not None and cells.coded.any() for cells in flat)
        assert abs(y - np.dot(colour, (0.257, 0.504, 0.098)) - 16) < 1


def test_golden_predictions_have_runs_of_several_spans_and_a_cut(
    expected: dict[str, str]
) -> None:
    found = {}
    for name in CLIPS:
        with open_reader(GOLDEN / name) as reader:
            found[name] = [mini_gop_runs(group.header) for group in reader.groups()]
    runs = {name: [sum(span * count for span, count in group or ()) for group in groups]
            for name, groups in found.items()}
    assert runs["moving.aev"] == [16] and runs["steady.aev"] == [17]
    # The cut is after twelve frames; the tiny second shot may be cut again.
    assert runs["cut.aev"][0] == 11 and len(runs["cut.aev"]) > 1
    assert max(runs["closed.aev"]) < 5
    everything = [group or () for groups in found.values() for group in groups]
    assert any(len(group) > 1 for group in everything)
    assert len({span for group in everything for span, _ in group}) > 3
    # Low and high motion give different distances of key pictures.
    assert found["steady.aev"][0] is not None and found["steady.aev"][0][0][0] > 8


@every_file
def test_golden_predictions_show_their_clips_in_every_precision(
    name: str, expected: dict[str, str]
) -> None:
    seen = []
    for dtype in (torch.float32, torch.float64):
        with open_reader(GOLDEN / name) as reader:
            frames = decode_frames(reader, tiny(dtype))
            seen.append(np.stack([frame.picture[0] for frame in frames]))
    apart = np.abs(seen[0].astype(int) - seen[1])
    assert apart.max() <= 1 and (apart > 0).mean() <= 0.001
    frames = list(aehub.decompress(GOLDEN / name, model=MODEL))
    for found, picture in zip(frames, predicted_clip(name), strict=True):
        assert found.shape == picture.shape
        # No good codec, but one whose pictures can be told.
        assert psnr(found.mean(-1), picture.mean(-1)) > 15
