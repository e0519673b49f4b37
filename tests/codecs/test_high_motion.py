"""High motion: a mini-GOP is encoded in several ways, the best one stays, nothing of the others."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import aehub
from aehub.bitstream import open_reader
from aehub.codecs import gop
from aehub.codecs.compress import compress_clip
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.d4.group_encoder import _GroupState
from aehub.codecs.d4.settings import SETTINGS
from aehub.codecs.decompress import decode_frames
from aehub.codecs.gop import FrameSlot
from aehub.media.metrics import Distortion
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.schedule import Schedule
from material import moving_picture
from predicted_files import groups_of, orbit, planes_of

W, H, QUALITY = 96, 64, 50.0


@cache
def model() -> D4Codec:
    """A trained model: the tiny one always prefers the same length."""
    return aehub.load("d4-codec")


def drifting(n: int, step: int) -> list[Picture]:
    """A texture that moves by `step` samples a frame, and leaves the picture after W / step."""
    rng = np.random.default_rng(3)
    wide = np.kron(rng.integers(40, 216, (H // 4, (W + n * step) // 4 + 1)), np.ones((4, 4)))
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    return [Picture((wide[:, t * step:t * step + W].astype(np.uint8), grey, grey))
            for t in range(n)]


def spinning(n: int, degrees: float) -> list[Picture]:
    """A picture that turns around its centre: blocks find each other only in frames near by."""
    (picture,) = moving_picture(1, 2 * W, 2 * W, seed=4)
    wide = Image.fromarray(picture[..., 0])
    box = (W // 2, W - H // 2, W // 2 + W, W + H // 2)
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    return [Picture((np.array(wide.rotate(t * degrees, Image.Resampling.BICUBIC).crop(box)), grey,
                   grey)) for t in range(n)]


def clip_of(planes: list[Picture]) -> Any:
    class Clip:
        info, audio, is_file = ClipInfo(W, H, Fraction(25), Fraction(1, 25)), None, False

        def __iter__(self) -> Any:
            return (Frame(p, t) for t, p in enumerate(planes))

    return Clip()


def compressed(planes: list[Picture]) -> bytes:
    stream = BytesIO()
    list(compress_clip(clip_of(planes), stream, model(), QUALITY, measure=False))
    return stream.getvalue()


def decoded(file: bytes) -> list[Picture]:
    with open_reader(BytesIO(file)) as reader:
        return [frame.picture for frame in decode_frames(reader, model())]


def rd_cost(file: bytes, planes: list[Picture]) -> float:
    """Log of the bytes after the first frame, less the log-rate equivalent of their PSNR."""
    encoder, later = FrameEncoder(model().runtime, QUALITY), Distortion(with_ms_ssim=False)
    encoder.write([encoder.encode(FrameSlot(0, (), None), planes[0])])
    for original, result in zip(planes[1:], decoded(file)[1:], strict=True):
        later.add(original, result)
    (group,) = groups_of(file)[1]
    return math.log(len(group.payload) - 4 * encoder.words(0)) - 0.18 * later.psnr


@pytest.fixture
def high_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gop, "_HIGH_MOTION", -1.0)


def chosen_length(planes: list[Picture], monkeypatch: pytest.MonkeyPatch) -> int:
    """Mini-GOP length chosen for a clip of one mini-GOP; it is checked against all."""
    chosen, plain = compressed(planes), _GroupState.begin
    files = {}
    for length in (len(planes) - 1, *SETTINGS.short_mini_gops):
        def forced(group: _GroupState, schedule: Schedule, frames: list[Frame], _: int, show: Any,
                   *, length: int = length) -> Any:
            return plain(group, schedule, frames, length, show)

        monkeypatch.setattr(_GroupState, "begin", forced)
        files[length] = compressed(planes)
    monkeypatch.setattr(_GroupState, "begin", plain)
    costs = {length: rd_cost(file, planes) for length, file in files.items()}
    best = min(costs, key=lambda length: costs[length])
    assert len(set(files.values())) == len(files) and chosen == files[best]
    return best


@pytest.mark.slow
def test_the_length_with_fewer_bits_at_equal_quality_is_chosen(
    high_motion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [drifting(9, 1), spinning(9, 2.5), spinning(9, 5.0)]
    assert [chosen_length(planes, monkeypatch) for planes in clips] == [8, 4, 1]


def test_a_forked_encoder_is_independent() -> None:
    planes = drifting(4, 4)
    with torch.inference_mode():
        payloads = []
        for forks in (False, True):
            encoder = FrameEncoder(model().runtime, QUALITY)
            encoder.write([encoder.encode(FrameSlot(0, (), None), planes[0])])
            encoder.write([encoder.encode(FrameSlot(2, (0,), 0), planes[2])])
            if forks:
                other = encoder.fork()
                other.write([other.encode(FrameSlot(3, (2,), 0), planes[3])])
                other.drop([0, 2])
            encoder.write([encoder.encode(FrameSlot(1, (0, 2), 1), planes[1])])
            payloads.append(encoder.finish())
    assert payloads[0] == payloads[1] != other.finish()


def test_a_chosen_length_is_reused(high_motion: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, begun = _GroupState.begin, []

    def watched(group: _GroupState, schedule: Schedule, frames: list[Frame], *rest: Any) -> Any:
        begun.append(int(frames[0].time))
        return plain(group, schedule, frames, *rest)

    monkeypatch.setattr(_GroupState, "begin", watched)
    monkeypatch.setattr(gop, "_LOW_MOTION", -1.0)
    n_frames = 1 + (SETTINGS.reuse_count + 2) * gop.MINI_GOP
    planes = planes_of(orbit(n_frames, W, H))
    assert len(decoded(compressed(planes))) == n_frames
    begins = [0, *range(1, n_frames, gop.MINI_GOP)]
    tried = begins[1::SETTINGS.reuse_count + 1] * len(SETTINGS.short_mini_gops)
    assert len(set(tried)) == 2 and sorted(begun) == sorted(begins + tried)
