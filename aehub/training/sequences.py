"""Training material for predicted frames: a few frames of a clip in coding order, and their motion.

A *chain* says which frames of a clip a sequence takes and what each is predicted from: the shapes
that pyramids of span 1 to 8 have. All sequences of a batch share one.

Motion of training clips, searched once: decoded frames are moved by vectors of the originals.

Fields are kept from frame t to t - s (t a multiple of s) and from t to t + s (t an odd multiple), s
in 1, 2, 4, 8: what pyramids of span 1 to 8 refer to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import torch

from aehub.codecs.d4.motion.search import Plane, search, split_blocks
from aehub.errors import InputError
from aehub.media.picture import Planes
from aehub.training.data import Cache, FrameStore, StoredClip, split

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

        inputs = {"version": _VERSION, "frames": store.name, "spans": SPANS, "weight": _WEIGHT}
        return cls(cache.get_or_make("motion", inputs, make))

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
        yield split_blocks(found, _WEIGHT).cpu().numpy().astype(np.int16)


@dataclass(frozen=True)
class Link:
    """A predicted frame: when it is shown, which earlier links it refers to, its level."""

    time: int
    references: tuple[int, ...]
    level: int


def chain(span: int) -> tuple[Link, ...]:
    """Frames of two anchors' distance `span`, the first one intra (no references)."""
    first = Link(0, (), 0)
    if span == 1:
        return (first, *(Link(t, (t - 1,), 0) for t in range(1, 5)))
    anchors = (first, Link(span, (0,), 0), Link(2 * span, (1,), 0))
    middle = Link(3 * span // 2, (1, 2), 1)
    last = Link(1, (0, 1), 1) if span == 2 else Link(5 * span // 4, (1, 3), 2)
    return (*anchors, middle, last)


GOP_STRUCTURES = {span: chain(span) for span in (1, 2, 4, 8)}


class Sequences:
    """Random sequences of random clips, cut to squares: endless batches for a `DataLoader`.

    Batches are lists: uint8 luma [B, T, S, S], chroma [B, T, S/2, S/2] twice, int16 vectors
    [B, T, 2, 2, h, w] (zeros where a frame has fewer references), int64 [1] span of the chain.

    Args:
        store: decoded frames.
        motion: their fields.
        size: side of a crop in luma samples, a multiple of 32.
        batch: sequences per batch.
    """

    def __init__(self, store: FrameStore, motion: MotionStore, *, size: int, batch: int) -> None:
        self.store, self.motion, self.size, self.batch = store, motion, size, batch
        self.notes = store.notes
        clips = [c for c in store.clips if c in motion and min(c.width, c.height) >= size
                 and c.n_frames > 4]
        if not clips:
            raise InputError(f"no clip of 5 frames and more is at least {size}x{size}; give others "
                             "with --data.")
        self._clips = split(clips)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            span = int(rng.choice((1, 2, 4, 8), p=(0.25, 0.2, 0.25, 0.3)))
            clips = [c for c in self._clips[held_out] if c.n_frames > 4 * max(span // 2, 1)]
            cuts = [self._cut(rng, clips, span) for _ in range(self.batch)]
            yield [*(np.stack(part) for part in zip(*cuts, strict=True)), np.array([span])]

    def clips(self, n: int, n_frames: int, seed: int) -> Iterator[list[Planes]]:
        """The beginnings of `n` random training clips, whole pictures."""
        rng = np.random.default_rng(seed)
        for _ in range(n):
            clip = self._clips[False][rng.integers(len(self._clips[False]))]
            yield [self.store.planes(clip, t) for t in range(min(n_frames, clip.n_frames))]

    def _cut(self, rng: np.random.Generator, clips: list[StoredClip], span: int
             ) -> tuple[np.ndarray, ...]:
        clip = clips[rng.integers(len(clips))]
        links = GOP_STRUCTURES[span]
        longest = max(link.time for link in links)
        begin = int(rng.integers((clip.n_frames - 1 - longest) // span + 1)) * span
        # Crops lie on the grid of the 16x16 blocks whose motion is known.
        x = int(rng.integers((clip.width - self.size) // 16 + 1)) * 16
        y = int(rng.integers((clip.height - self.size) // 16 + 1)) * 16
        planes: list[list[np.ndarray]] = [[], [], []]
        vectors = np.zeros((len(links), 2, 2, self.size // 8, self.size // 8), np.int16)
        for number, link in enumerate(links):
            for plane, kept, n in zip(self.store.planes(clip, begin + link.time), planes,
                                      (1, 2, 2), strict=True):
                kept.append(plane[y // n:(y + self.size) // n, x // n:(x + self.size) // n])
            for which, reference in enumerate(link.references):
                field = self.motion.field(clip, begin + link.time,
                                          begin + links[reference].time)
                vectors[number, which] = field[:, y // 8:(y + self.size) // 8,
                                               x // 8:(x + self.size) // 8]
        return (*(np.stack(kept) for kept in planes), vectors)
