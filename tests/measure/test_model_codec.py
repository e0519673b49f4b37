from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from aehub.measure import SourceClip, compare
from aehub.measure.model_codec import ModelCodec, write_lossless
from aehub.media.clip import open_clip
from aehub.media.picture import Colour


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(25), Fraction(120)])
def test_the_lossless_copy_keeps_planes_times_and_tags(
    source: Callable[..., SourceClip], tmp_path: Path, fps: Fraction
) -> None:
    clip = source(65, 51, 4)
    info = replace(clip.info, fps=fps, time_base=1 / fps, colour=Colour(1, True, 1, 1))
    write_lossless(tmp_path / "clip.mp4", clip.frames, info)
    with open_clip(tmp_path / "clip.mp4") as copy:
        frames = list(copy)
        assert copy.info.colour == info.colour
        assert copy.info.fps == fps
        times = [frame.time * copy.info.time_base for frame in frames]
    assert times == [index / fps for index in range(4)]
    for frame, planes in zip(frames, clip.frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(frame.picture, planes, strict=True))


def test_a_model_is_measured_like_any_codec(source: Callable[..., SourceClip]) -> None:
    comparison = compare([source(65, 51, 2)], [ModelCodec("d4-codec", qualities=(20, 80))])
    small, large = comparison.curve("drift", "d4-codec")
    assert (small.quality, large.quality) == (20, 80)
    assert small.bytes < large.bytes and small.psnr + 3 < large.psnr
    assert comparison.ours == ("d4-codec",)
