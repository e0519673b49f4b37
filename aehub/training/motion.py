"""Motion of training clips, searched once: decoded frames are moved by vectors of the originals.

Fields are kept from frame t to t - s (t a multiple of s) and from t to t + s (t an odd multiple), s
in 1, 2, 4, 8: what pyramids of span 1 to 8 refer to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from aehub.motion.plane import Plane
from aehub.motion.search import search, split
from aehub.training.cache import Cache
from aehub.training.data import FrameStore, StoredClip

SPANS = (1, 2, 4, 8)
_WEIGHT = 5.0
_GRID = 32
# Of how fields are searched.
_VERSION = 1


def pairs(n_frames: int) -> Iterator[tuple[int, int]]:
    """(frame, reference) of all fields kept for a clip."""
    for span in SPANS:
        for frame in range(0, n_frames, span):
            if frame >= span:
                yield frame, frame - span
            if frame // span % 2 and frame + span < n_frames and span < SPANS[-1]:
                yield frame, frame + span


def place_of(n_frames: int, frame: int, reference: int) -> int:
    """The place of a pair among all `pairs` of a clip."""
    return _places(n_frames)[frame, reference]


@lru_cache(maxsize=1024)
def _places(n_frames: int) -> dict[tuple[int, int], int]:
    return {pair: place for place, pair in enumerate(pairs(n_frames))}


class MotionStore:
    """Fields on disk: int16 [2, h, w] per pair, quarter samples per 8x8 block."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "motion.json").read_text())
        self._offsets: dict[str, int] = index["offsets"]
        self._raw = np.memmap(folder / "motion.raw", np.int16, "r")

    def __contains__(self, clip: StoredClip) -> bool:
        return clip.name in self._offsets

    @classmethod
    def build(cls, store: FrameStore, cache: Cache,
              progress: Callable[[int, int], None] | None = None) -> MotionStore:
        """Search all clips of two frames and more in `store`, unless that was done before."""
        clips = [c for c in store.clips if c.n_frames > 1]

        def make(folder: Path) -> None:
            offsets: dict[str, int] = {}
            with open(folder / "motion.raw", "wb") as raw:
                for done, clip in enumerate(clips):
                    offsets[clip.name] = raw.tell() // 2
                    for field in _fields(store, clip):
                        raw.write(field.tobytes())
                    if progress:
                        progress(done + 1, len(clips))
            (folder / "motion.json").write_text(json.dumps({"offsets": offsets}))

        made_of = {"version": _VERSION, "frames": store.name, "spans": SPANS, "weight": _WEIGHT}
        return cls(cache.kept("motion", made_of, make))

    def field(self, clip: StoredClip, frame: int, reference: int) -> np.ndarray:
        """The field of a pair."""
        h, w = _grid(clip)
        number = place_of(clip.n_frames, frame, reference)
        begin = self._offsets[clip.name] + number * 2 * h * w
        return np.asarray(self._raw[begin:begin + 2 * h * w]).reshape(2, h, w)


def _grid(clip: StoredClip) -> tuple[int, int]:
    return -(-clip.height // _GRID) * 4, -(-clip.width // _GRID) * 4


@torch.inference_mode()
def _fields(store: FrameStore, clip: StoredClip) -> Iterator[np.ndarray]:
    h, w = _grid(clip)
    planes = []
    for frame in range(clip.n_frames):
        luma = store.planes(clip, frame).y
        pad = ((0, 8 * h - luma.shape[0]), (0, 8 * w - luma.shape[1]))
        planes.append(Plane(torch.from_numpy(np.pad(luma, pad, "edge")).float()))
    for frame, reference in pairs(clip.n_frames):
        reach = min(48, 8 + 6 * abs(frame - reference))
        found = search(planes[frame], planes[reference], weight=_WEIGHT, reach=reach, hints=[])
        yield split(found, _WEIGHT).cpu().numpy().astype(np.int16)
