"""A high_motion run is coded in several ways, the best one stays, nothing of the others is left."""

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
from aehub.codecs.compress import _NEARER, _TRUSTED, _Coded, compress_clip
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import GroupEncoder
from aehub.codecs.decompress import decode_frames
from aehub.media.metrics import Distortion
from aehub.media.picture import ClipInfo, Frame, Planes
from material import moving_picture
from predicted_files import groups_of, orbit, planes_of

W, H, QUALITY = 96, 64, 50.0


@cache
def model() -> D4Codec:
    """One whose weights are trained: the small one of tests always prefers the same way."""
    return aehub.load("d4-codec")


def drifting(n: int, step: int) -> list[Planes]:
    """A texture that moves by `step` samples a frame, and leaves the picture after W / step."""
    rng = np.random.default_rng(3)
    wide = np.kron(rng.integers(40, 216, (H // 4, (W + n * step) // 4 + 1)), np.ones((4, 4)))
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    return [Planes(wide[:, t * step:t * step + W].astype(np.uint8), grey, grey)
            for t in range(n)]


def spinning(n: int, degrees: float) -> list[Planes]:
    """A picture that turns around its centre: blocks find each other only in frames near by."""
    (picture,) = moving_picture(1, 2 * W, 2 * W, seed=4)
    wide = Image.fromarray(picture[..., 0])
    box = (W // 2, W - H // 2, W // 2 + W, W + H // 2)
    grey = np.full((H // 2, W // 2), 128, np.uint8)
    return [Planes(np.array(wide.rotate(t * degrees, Image.Resampling.BICUBIC).crop(box)), grey,
                   grey) for t in range(n)]


def clip_of(planes: list[Planes]) -> Any:
    class Clip:
        info, audio = ClipInfo(W, H, Fraction(25), Fraction(1, 25)), None

        def __iter__(self) -> Any:
            return (Frame(p, t) for t, p in enumerate(planes))

    return Clip()


def compressed(planes: list[Planes]) -> bytes:
    stream = BytesIO()
    list(compress_clip(clip_of(planes), stream, model(), QUALITY, measure=False))
    return stream.getvalue()


def decoded(file: bytes) -> list[Planes]:
    with open_reader(BytesIO(file)) as reader:
        return [frame.planes for frame in decode_frames(reader, model())]


def price_of(file: bytes, planes: list[Planes]) -> float:
    """Logarithm of the bytes after the first frame, less what their PSNR is worth."""
    encoder, later = GroupEncoder(model().runtime, QUALITY), Distortion(with_ms_ssim=False)
    encoder.add(0, planes[0])
    for original, result in zip(planes[1:], decoded(file)[1:], strict=True):
        later.add(original, result)
    (group,) = groups_of(file)[1]
    return math.log(len(group.payload) - encoder.size) - 0.18 * later.psnr


@pytest.fixture
def high_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gop, "_HIGH_MOTION", -1.0)


def chosen_of(planes: list[Planes], monkeypatch: pytest.MonkeyPatch) -> int:
    """The distance of anchors that a clip of one run got; the choice is checked against all."""
    chosen, plain = compressed(planes), _Coded.add
    ways = {}
    for distance in (len(planes) - 1, *_NEARER):
        def forced(coded: _Coded, frames: list[Frame], _: int, show: bool, distance: int = distance
                   ) -> Any:
            return plain(coded, frames, distance, show)

        monkeypatch.setattr(_Coded, "add", forced)
        ways[distance] = compressed(planes)
    monkeypatch.setattr(_Coded, "add", plain)
    prices = {distance: price_of(file, planes) for distance, file in ways.items()}
    best = min(prices, key=lambda distance: prices[distance])
    assert len(set(ways.values())) == len(ways) and chosen == ways[best]
    return best


def test_the_way_with_fewer_bits_at_equal_quality_stays(
    high_motion: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [drifting(9, 1), spinning(9, 2.5), spinning(9, 5.0)]
    assert [chosen_of(planes, monkeypatch) for planes in clips] == [8, 4, 1]


def test_an_encoder_forked_goes_its_own_way() -> None:
    planes = drifting(4, 4)
    with torch.inference_mode():
        payloads = []
        for forks in (False, True):
            encoder = GroupEncoder(model().runtime, QUALITY)
            encoder.add(0, planes[0])
            encoder.add(2, planes[2], (0,), 0)
            if forks:
                other = encoder.fork()
                other.add(3, planes[3], (2,), 0)
                other.retain([3])
            encoder.add(1, planes[1], (0, 2), 1)
            payloads.append(encoder.finish())
    assert payloads[0] == payloads[1] != other.finish()


def test_an_answer_holds_for_some_runs(high_motion: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, begun = _Coded.add, []

    def watched(coded: _Coded, frames: list[Frame], span: int, show: bool) -> Any:
        begun.append(int(frames[0].time))
        return plain(coded, frames, span, show)

    monkeypatch.setattr(_Coded, "add", watched)
    monkeypatch.setattr(gop, "_LOW_MOTION", -1.0)
    n_frames = 1 + (_TRUSTED + 2) * gop.MINI_GOP
    planes = planes_of(orbit(n_frames, W, H))
    assert len(decoded(compressed(planes))) == n_frames
    begins = [0, *range(1, n_frames, gop.MINI_GOP)]
    again = begins[1::_TRUSTED + 1] * len(_NEARER)
    assert len(set(again)) == 2 and sorted(begun) == sorted(begins + again)
