"""Training data of predicted frames: sequences of a clip in coding order, and their motion vectors.

A sequence has the structure of a hierarchical GOP with mini-GOPs of 1 to 8 frames; all sequences of
a batch share one. Motion vectors are searched once, between original frames, and applied to
decoded ones.
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

from aehub.codecs.d4.motion.search import LumaPlane, search
from aehub.errors import InputError
from aehub.media.picture import Picture
from aehub.training.data import Cache, FrameStore, StoredClip, split

MINI_GOPS = (1, 2, 4, 8)
"""Mini-GOP lengths in frames."""
# Lagrange multiplier of the motion search, as `search` takes it.
_LAMBDA = 5.0
_GRID = 32
# Version of the motion search, for the cache.
_VERSION = 2


def reference_pairs(n_frames: int) -> Iterator[tuple[int, int]]:
    """(frame, reference) of all motion fields of a clip.

    For s in 1, 2, 4, 8: from frame t to t - s (t a multiple of s), and for s < 8 from t to t + s (t
    an odd multiple): the references in mini-GOPs of 1 to 8 frames.
    """
    for distance in MINI_GOPS:
        for frame in range(0, n_frames, distance):
            if frame >= distance:
                yield frame, frame - distance
            if (frame // distance % 2 and frame + distance < n_frames
                and distance < MINI_GOPS[-1]):
                yield frame, frame + distance


def pair_index(n_frames: int, frame: int, reference: int) -> int:
    """Position of a pair among all `reference_pairs` of a clip."""
    return _pair_indices(n_frames)[frame, reference]


@lru_cache(maxsize=1024)
def _pair_indices(n_frames: int) -> dict[tuple[int, int], int]:
    return {pair: index for index, pair in enumerate(reference_pairs(n_frames))}


class MotionStore:
    """Motion fields on disk: int16 [2, h, w] per pair, quarter samples, a vector per 8x8 block."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "motion.json").read_text())
        self._offsets: dict[str, int] = index["offsets"]
        self._raw = np.memmap(folder / "motion.raw", np.int16, "r")

    def __contains__(self, clip: StoredClip) -> bool:
        return clip.name in self._offsets

    @classmethod
    def build(cls, store: FrameStore, cache: Cache,
              progress: Callable[[int, int], None] | None = None) -> MotionStore:
        """Search the motion of all clips of at least 2 frames, or open it from the cache."""
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

        inputs = {"version": _VERSION, "frames": store.name, "mini_gops": MINI_GOPS,
                  "lambda": _LAMBDA}
        return cls(cache.get_or_make("vectors", inputs, make))

    def field(self, clip: StoredClip, frame: int, reference: int) -> np.ndarray:
        """Return the field of a pair."""
        h, w = _grid(clip)
        index = pair_index(clip.n_frames, frame, reference)
        begin = self._offsets[clip.name] + index * 2 * h * w
        return np.asarray(self._raw[begin:begin + 2 * h * w]).reshape(2, h, w)


def _grid(clip: StoredClip) -> tuple[int, int]:
    return -(-clip.height // _GRID) * 4, -(-clip.width // _GRID) * 4


@torch.inference_mode()
def _fields(store: FrameStore, clip: StoredClip) -> Iterator[np.ndarray]:
    h, w = _grid(clip)
    planes = []
    for frame in range(clip.n_frames):
        luma = store.planes(clip, frame)[0]
        pad = ((0, 8 * h - luma.shape[0]), (0, 8 * w - luma.shape[1]))
        planes.append(LumaPlane(np.pad(luma, pad, "edge").astype(np.float32)))
    for frame, reference in reference_pairs(clip.n_frames):
        search_range = min(48, 8 + 6 * abs(frame - reference))
        yield search(planes[frame], planes[reference], lambda_=_LAMBDA, search_range=search_range,
                     hints=[]).sub_block_vectors


@dataclass(frozen=True)
class SequenceFrame:
    """A frame of a GOP structure.

    Attributes:
        time: display time in frames.
        references: positions of earlier frames in coding order; empty for the intra frame.
        temporal_layer: 0 for key pictures.
    """

    time: int
    references: tuple[int, ...]
    temporal_layer: int


def gop_structure(n: int) -> tuple[SequenceFrame, ...]:
    """Five frames in coding order with mini-GOPs of `n` frames, the first one intra."""
    first = SequenceFrame(0, (), 0)
    if n == 1:
        return (first, *(SequenceFrame(t, (t - 1,), 0) for t in range(1, 5)))
    keys = (first, SequenceFrame(n, (0,), 0), SequenceFrame(2 * n, (1,), 0))
    middle = SequenceFrame(3 * n // 2, (1, 2), 1)
    last = SequenceFrame(1, (0, 1), 1) if n == 2 else SequenceFrame(5 * n // 4, (1, 3), 2)
    return (*keys, middle, last)


GOP_STRUCTURES = {mini_gop: gop_structure(mini_gop) for mini_gop in MINI_GOPS}


class Sequences:
    """Random square crops of random sequences: endless batches for a `DataLoader`.

    Batches are lists: uint8 luma [B, T, S, S], chroma [B, T, S/2, S/2] twice, int16 vectors
    [B, T, 2, 2, h, w] (zeros where a frame has fewer references), int64 [1] mini-GOP length.

    Args:
        store: decoded frames.
        motion: their motion fields.
        size: side of a crop in luma samples, a multiple of 32.
        batch: sequences per batch.
    """

    def __init__(self, store: FrameStore, motion: MotionStore, *, size: int, batch: int) -> None:
        self.store, self.motion, self.size, self.batch = store, motion, size, batch
        self.notes = store.notes
        clips = [c for c in store.clips if c in motion and min(c.width, c.height) >= size
                 and c.n_frames > 4]
        if not clips:
            raise InputError(f"no clip of at least 5 frames is at least {size}x{size}; give others "
                             "with --data.")
        self._clips = split(clips)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            mini_gop = int(rng.choice(MINI_GOPS, p=(0.25, 0.2, 0.25, 0.3)))
            clips = [c for c in self._clips[held_out] if c.n_frames > 4 * max(mini_gop // 2, 1)]
            cuts = [self._cut(rng, clips, mini_gop) for _ in range(self.batch)]
            yield [*(np.stack(part) for part in zip(*cuts, strict=True)), np.array([mini_gop])]

    def clips(self, n: int, n_frames: int, seed: int) -> Iterator[list[Picture]]:
        """The first frames of `n` random training clips, uncropped."""
        rng = np.random.default_rng(seed)
        for _ in range(n):
            clip = self._clips[False][rng.integers(len(self._clips[False]))]
            yield [self.store.planes(clip, t) for t in range(min(n_frames, clip.n_frames))]

    def _cut(self, rng: np.random.Generator, clips: list[StoredClip], mini_gop: int
             ) -> tuple[np.ndarray, ...]:
        clip = clips[rng.integers(len(clips))]
        structure = GOP_STRUCTURES[mini_gop]
        last = max(slot.time for slot in structure)
        begin = int(rng.integers((clip.n_frames - 1 - last) // mini_gop + 1)) * mini_gop
        # Crops lie on the grid of the 16x16 blocks of the motion search.
        x = int(rng.integers((clip.width - self.size) // 16 + 1)) * 16
        y = int(rng.integers((clip.height - self.size) // 16 + 1)) * 16
        planes: list[list[np.ndarray]] = [[], [], []]
        vectors = np.zeros((len(structure), 2, 2, self.size // 8, self.size // 8), np.int16)
        for number, slot in enumerate(structure):
            for plane, cropped, n in zip(self.store.planes(clip, begin + slot.time), planes,
                                         (1, 2, 2), strict=True):
                cropped.append(plane[y // n:(y + self.size) // n, x // n:(x + self.size) // n])
            for which, reference in enumerate(slot.references):
                field = self.motion.field(clip, begin + slot.time,
                                          begin + structure[reference].time)
                vectors[number, which] = field[:, y // 8:(y + self.size) // 8,
                                               x // 8:(x + self.size) // 8]
        return (*(np.stack(cropped) for cropped in planes), vectors)
