"""Small moving clips, and a codec with a known rate-distortion curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from aehub.measure import Encoded, SourceClip
from aehub.media.picture import ClipInfo, Picture


def moving_frames(width: int, height: int, n_frames: int) -> list[Picture]:
    """A textured picture that drifts and brightens, so that no two frames are alike."""
    rng = np.random.default_rng(5)
    wide = rng.normal(0, 12, (height + 2, width + n_frames)).cumsum(axis=1)
    wide = 110 + 50 * np.sin(wide / 40) + rng.normal(0, 3, wide.shape)
    half = (-(-height // 2), -(-width // 2))
    down, right = np.mgrid[: half[0], : half[1]]
    frames = []
    for i in range(n_frames):
        y = wide[:height, i : i + width] + 6 * i
        u, v = 128 + 40 * np.sin((right + i) / 9), 128 + 30 * np.cos(down / 7)
        frames.append(Picture(np.clip(p, 0, 255).astype(np.uint8) for p in (y, u, v)))
    return frames


@pytest.fixture
def source() -> Callable[..., SourceClip]:
    """Build a clip: `source(width, height, n_frames, fps=..., name=...)`."""

    def build(
        width: int = 64, height: int = 48, n_frames: int = 5, *, fps: int = 25, name: str = "drift"
    ) -> SourceClip:
        rate = Fraction(fps)
        info = ClipInfo(width, height, rate, 1 / rate)
        return SourceClip(name, moving_frames(width, height, n_frames), info)

    return build


@dataclass(frozen=True)
class Ruler:
    """Returns frames with an error of `quality` levels, in 1000 / quality * `cost` bytes each."""

    name: str = "ruler"
    cost: float = 1.0
    lost: int = 0
    qualities: Sequence[float] = (2, 4, 8)
    settings: str = "none"

    def encode(self, frames: Sequence[Picture], info: ClipInfo, quality: float) -> Encoded:
        kept = frames[self.lost :] if self.lost >= 0 else [*frames, frames[-1]]
        wrong = (Picture(plane ^ np.uint8(quality) for plane in planes) for planes in kept)
        return Encoded(round(len(frames) * self.cost * 1000 / quality), 0.01, wrong)


@pytest.fixture
def ruler() -> type[Ruler]:
    return Ruler
