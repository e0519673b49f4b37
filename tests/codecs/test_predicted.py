"""Predicted groups: one prediction on both sides, few bytes, and quality that lasts."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch

import aehub
from aehub import threads
from aehub.codecs.compress import compress_clip
from aehub.codecs.d4 import PAYLOAD_FORMATS, frame, reconstruction
from aehub.codecs.d4.network import FrameNetwork
from aehub.codecs.gop import LONG_MINI_GOP, MINI_GOP
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.schedule import AHEAD
from predicted_files import (
    Encoded,
    begins_of,
    classical,
    compressed,
    encoded,
    equal_frames,
    groups_of,
    luma_psnr,
    orbit,
    pan,
    planes_of,
    planes_psnr,
    tiny,
)

N = 17


@pytest.fixture(scope="module")
def moving() -> Encoded:
    return encoded(planes_of(orbit(N, 67, 45)), 65, (8, 5, 3))


@pytest.fixture(scope="module")
def long() -> Encoded:
    return encoded(planes_of(orbit(129, 64, 48, seed=3)), 60, [MINI_GOP] * 16)


# Both sides see the same.


def test_a_decoder_shows_bit_for_bit_what_the_encoder_predicted_from(moving: Encoded) -> None:
    pictures = moving.pictures(tiny())
    assert pictures.keys() == moving.decoded.keys() == set(range(N))
    for number, planes in pictures.items():
        for ours, theirs in zip(planes, moving.decoded[number], strict=True):
            assert torch.equal(ours, theirs)


def test_references_are_kept_within_range_and_unrounded() -> None:
    stripes = [Picture((np.where(y > 120, 255, 0).astype(np.uint8), u, v))
               for y, u, v in planes_of(orbit(5, 64, 64))]
    group = encoded(stripes, 40, (4,))
    pictures = group.pictures(tiny())
    for number, planes in group.decoded.items():
        # Ringing at the edges of black and white leads beyond.
        assert planes.y.min() == -0.5 and planes.y.max() == 0.5
        assert torch.equal(planes.y, pictures[number].y)
        grey = planes.y * 255 + 127.5
        assert (grey - grey.round()).abs().max() > 0.1


def test_integers_are_those_written_and_decode_without_pictures(
    moving: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruction, "predict", None)
    monkeypatch.setattr(FrameNetwork, "synthesise", None)
    frames = moving.frames(tiny())
    assert all(equal_frames(a, b) for a, b in zip(frames, moving.written, strict=True))


def test_the_references_that_the_head_names_are_those_used(
    moving: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[Any]] = []
    plain = reconstruction.predict

    def watched(references: Any, *rest: Any) -> Any:
        given.append(list(references))
        return plain(references, *rest)

    monkeypatch.setattr(reconstruction, "predict", watched)
    # Shown as others refer to it.
    monkeypatch.setattr(FrameNetwork, "apply_post_filter", lambda network, planes, *rest: planes)
    references, shown = moving.header.resolved_references, {}
    with threads.one_thread():
        for number, planes in moving.decoder(tiny()).pictures():
            used = given.pop() if references[number] else []
            assert [id(r) for r in used] == [id(shown[r]) for r in references[number]]
            shown[number] = planes
    assert not given and {len(r) for r in references} == {0, 1, 2}


def test_both_precisions_read_the_same_codes_and_nearly_the_same_pictures(long: Encoded) -> None:
    double = long.frames(tiny(torch.float64))
    assert all(equal_frames(a, b) for a, b in zip(double, long.written, strict=True))
    exact = long.pictures(tiny(torch.float64))
    assert len(exact) == 129
    assert min(planes_psnr(exact[n], long.decoded[n]) for n in exact) >= 60


# What it costs, and what it gives.


def test_quality_does_not_fall_along_a_group() -> None:
    warm_up, n = 2 * MINI_GOP, 128
    planes = planes_of(orbit(warm_up + n, 64, 48, seed=3))
    decoded = encoded(planes, 60, [MINI_GOP] * 17 + [7], classical()).decoded
    found = np.array([luma_psnr(decoded[i], planes[i]) for i in range(warm_up + n)])
    assert found.min() > 35
    # Not from the first frame on: it is an intra frame and better on purpose.
    for length in (32, n):
        part = found[warm_up:warm_up + length]
        assert np.polyfit(np.arange(length), part, 1)[0] * length > -1


def test_frames_that_repeat_the_first_take_almost_nothing() -> None:
    still = planes_of(pan(1, 96, 64) * 9)
    first = len(encoded(still[:1], 60, ()).payload)
    all_nine = len(encoded(still, 60, (8,)).payload)
    assert first > 1000
    assert all_nine - first < 0.1 * first


def test_prediction_makes_files_of_moving_texture_much_smaller() -> None:
    pictures = pan(N, 96, 64, step=(1, 2))
    whole, alone = (compressed(pictures, quality=60, group=size) for size in (None, 1))
    assert len(groups_of(whole)[1]) == 1
    assert len(whole) < 0.5 * len(alone)
    error = [np.mean((np.stack(list(aehub.decompress(BytesIO(data), model=tiny())))
                      .mean(-1) - np.stack(pictures).mean(-1)) ** 2) for data in (whole, alone)]
    # At most 6 dB are given up for it: later frames are coded coarser on purpose.
    assert error[0] < 4 * error[1]


# Where groups end.


def test_a_cut_begins_a_new_group_that_knows_nothing_of_the_old_picture() -> None:
    pictures = pan(11, 160, 96, seed=1) + pan(7, 160, 96, seed=2)
    head, groups = groups_of(compressed(pictures))
    assert head.coder == PAYLOAD_FORMATS[0]
    assert [group.header.n_frames for group in groups] == [11, 7]
    assert all(group.header.resolved_references[0] == () for group in groups)
    # The new shot alone makes the same bytes.
    assert groups_of(compressed(pictures[11:]))[1][0].payload == groups[1].payload


def test_a_pan_is_no_cut() -> None:
    _, groups = groups_of(compressed(pan(6, 160, 96, seed=1, step=(3, 5))))
    assert len(groups) == 1


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_group_holds_at_most_the_frames_asked_for(size: int) -> None:
    _, groups = groups_of(compressed(pan(10, 64, 64), group=size))
    lengths = [group.header.n_frames for group in groups]
    assert lengths == [size] * (10 // size) + [10 % size] * (10 % size > 0)
    assert begins_of(groups) == list(range(0, 10, size))


@pytest.mark.parametrize("fps", [1, Fraction(5, 2)])
def test_a_group_lasts_at_most_about_ten_seconds(fps: Fraction) -> None:
    n = 26
    _, groups = groups_of(compressed(orbit(n, 64, 32), fps=fps))
    lengths = [group.header.n_frames for group in groups]
    assert sum(lengths) == n and max(lengths) == 10 * fps


# Memory.


def test_encoding_holds_no_more_than_four_runs_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[weakref.ref[Any]] = []
    results: list[weakref.ref[Any]] = []
    most = [0, 0]
    planes = planes_of(orbit(96, 64, 32))

    def watch() -> None:
        for place, references in enumerate((sources, results)):
            most[place] = max(most[place], sum(r() is not None for r in references))

    class Clip:
        info, audio = ClipInfo(64, 32, Fraction(25), Fraction(1, 25)), None
        is_file = False

        def __iter__(self) -> Iterator[Frame]:
            for time, (y, u, v) in enumerate(planes):
                luma = y.copy()
                sources.append(weakref.ref(luma))
                watch()
                yield Frame(Picture((luma, u, v)), time)

    plain = frame.clipped

    def watched(decoded: Any) -> Any:
        found = plain(decoded)
        results.append(weakref.ref(found.y))
        watch()
        return found

    monkeypatch.setattr(frame, "clipped", watched)
    clip: Any = Clip()
    tally = list(compress_clip(clip, BytesIO(), tiny(), 50))[-1]
    # Mini-GOPs of high motion are encoded twice.
    assert tally.frames == len(sources) == 96 <= len(results)
    # While a run is gathered, three small ones are encoded, and their results are counted.
    assert most[0] <= 4 * LONG_MINI_GOP + 2 and most[1] <= 4 * LONG_MINI_GOP + 2


def test_decoding_holds_only_frames_that_others_still_need(
    long: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[weakref.ref[Any]] = []
    plain = frame.clipped

    def watched(decoded: Any) -> Any:
        found = plain(decoded)
        results.append(weakref.ref(found.y))
        return found

    monkeypatch.setattr(frame, "clipped", watched)
    most = 0
    pictures = long.decoder(tiny()).pictures()
    for _, planes in pictures:
        del planes
        most = max(most, sum(r() is not None for r in results))
        if len(results) > 100:
            break
    pictures.close()
    # Those ahead, too: three tasks are a frame.
    assert len(results) > 100 and most <= AHEAD / 2
