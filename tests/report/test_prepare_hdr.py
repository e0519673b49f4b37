"""High dynamic range in the working copy: resized first, then tone-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aehub.media import colour
from aehub.media.clip import open_clip
from aehub.media.picture import Picture
from aehub.report.prepare import iter_prepare
from material import moving_picture, psnr, write_clip


def luma(path: Path) -> list[np.ndarray]:
    with open_clip(path) as clip:
        return [frame.picture[0] for frame in clip]


@pytest.mark.parametrize(("turn", "fitted"), [(None, (48, 64)), (90, (64, 48))])
def test_high_dynamic_range_is_mapped_after_it_is_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int | None, fitted: tuple[int, int]
) -> None:
    source = write_clip(
        tmp_path / "hdr.mp4", moving_picture(4, 192, 144), codec="libx265", rotation=turn,
        pix_fmt="yuv420p10le", colour=(9, 1, 9, 16), options={"x265-params": "log-level=none"})
    whole = luma(source)
    mapped: list[tuple[int, int]] = []
    to_sdr = colour.to_sdr

    def counted(planes: list[np.ndarray], *rest: object) -> Picture:
        mapped.append(planes[0].shape)
        return to_sdr(planes, *rest)

    monkeypatch.setattr(colour, "to_sdr", counted)
    for _ in iter_prepare(source, tmp_path / "small.mkv", longest=64):
        pass
    # All but the first, which is there before the size is known.
    assert mapped[1:] == [(48, 64)] * 3
    small = luma(tmp_path / "small.mkv")
    assert [picture.shape for picture in small] == [fitted] * 4
    height, width = fitted
    for picture, large in zip(small, whole, strict=True):
        mean = large.reshape(height, 3, width, 3).mean(axis=(1, 3))
        assert psnr(picture, mean) > 24
