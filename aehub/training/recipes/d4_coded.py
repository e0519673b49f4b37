"""Training data of networks that come after the decoder of `d4-codec`: frames as it codes them.

Clips are encoded once, each at its own quality and mini-GOP length, pictures as intra frames. For
every frame an input, made from what the decoder has, and a target, made from the original, are
stored. A step then runs one network on single frames instead of all networks on a sequence: many
times as many pictures per hour.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import EncodedFrame, FrameEncoder
from aehub.codecs.gop import HierarchicalGop
from aehub.errors import InputError
from aehub.media.picture import Picture
from aehub.training.data import Cache, FrameStore, StoredClip, is_held_out
from aehub.training.recipes.d4_codec import random_qualities
from aehub.training.recipes.d4_sequences import MINI_GOPS

CHANNELS = 96
"""Samples of a 4:2:0 block of 8x8: 64 of luma, 16 of each chroma plane."""
N_FRAMES = 9
"""Frames of a clip that are coded."""
_SEED = 11
# Share of the batches of predicted frames.
_PREDICTED_SHARE = 0.7


class Pair(NamedTuple):
    """One frame of the data.

    Attributes:
        inputs: float16 [h, w, C], a position for each 8x8 block of the coded frame.
        target: uint8 [h, w, C'].
        quality: 0..100.
        predicted: the frame is not intra.
    """

    inputs: np.ndarray
    target: np.ndarray
    quality: float
    predicted: bool


@dataclass(frozen=True)
class _StoredPair:
    """Index entry of a frame: `h` x `w` blocks from number `begin` of all blocks."""

    source: str
    begin: int
    h: int
    w: int
    quality: float
    predicted: bool


class CodedPairs:
    """Random crops of coded frames: endless batches for a `DataLoader`.

    Batches are lists: float16 [B, C, s, s] inputs, uint8 [B, C', s, s] targets, float32 [B]
    quality, bool [1] True for predicted frames; s = size / 8.

    Args:
        folder: written by `build`.
        channels: (C, C').
        size: side of a crop in luma samples of the coded frame, a multiple of 8.
        batch: crops per batch.

    Attributes:
        notes: sentences about what was left out.
    """

    def __init__(self, folder: Path, channels: tuple[int, int], *, size: int, batch: int) -> None:
        self.side, self.batch = size // 8, batch
        self.notes: list[str] = []
        frames = [_StoredPair(**entry)
                  for entry in json.loads((folder / "frames.json").read_text())]
        frames = [frame for frame in frames if min(frame.h, frame.w) >= self.side]
        if not frames:
            raise InputError(f"no clip has {N_FRAMES} frames, and no picture is {size}x{size}, or "
                             "larger; give more data, or a smaller size.")
        sources = [frame.source for frame in frames]
        held_out = set(filter(is_held_out, sources)) or {sources[0]}
        self._frames_of: dict[tuple[bool, bool], list[_StoredPair]] = {}
        for frame in frames:
            key = frame.source in held_out, frame.predicted
            self._frames_of.setdefault(key, []).append(frame)
        self._inputs = np.memmap(folder / "inputs.raw", np.float16, "r").reshape(-1, channels[0])
        self._targets = np.memmap(folder / "targets.raw", np.uint8, "r").reshape(-1, channels[1])

    @classmethod
    def build(cls, store: FrameStore, cache: Cache, name: str, inputs: Mapping[str, Any],
              record: Callable[[StoredClip, float, int], Iterator[Pair]], *, clips: int,
              channels: tuple[int, int], least: int, size: int, batch: int) -> CodedPairs:
        """Record `clips` clips of `store` and all its pictures, or open them from the cache.

        Args:
            store: decoded frames.
            cache: for the pairs.
            name: of the pairs in the cache.
            inputs: on what they depend besides the frames.
            record: makes the pairs of a clip, of a quality and a number.
            clips: to record.
            channels: as for the class.
            least: samples of the smaller side of a clip or picture, at least.
            size: as for the class.
            batch: as for the class.
        """
        chosen = _choose_clips(store, clips, least)
        qualities = random_qualities(len(chosen), torch.Generator().manual_seed(0)).tolist()

        def make(folder: Path) -> None:
            frames: list[_StoredPair] = []
            with (open(folder / "inputs.raw", "wb") as input_file,
                  open(folder / "targets.raw", "wb") as target_file):
                for number, (clip, quality) in enumerate(zip(chosen, qualities, strict=True)):
                    for pair in record(clip, quality, number):
                        begin = target_file.tell() // channels[1]
                        input_file.write(pair.inputs.tobytes())
                        target_file.write(pair.target.tobytes())
                        h, w = pair.target.shape[:2]
                        frames.append(_StoredPair(clip.source, begin, h, w, pair.quality,
                                                  pair.predicted))
            (folder / "frames.json").write_text(json.dumps([asdict(frame) for frame in frames]))

        made_of = {**inputs, "frames": store.name, "clips": [clip.name for clip in chosen],
                   "qualities": qualities}
        with torch.inference_mode():
            folder = cache.get_or_make(name, made_of, make)
        pairs = cls(folder, channels, size=size, batch=batch)
        pairs.notes = store.notes
        return pairs

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            predicted = bool(rng.random() < _PREDICTED_SHARE)
            frames = self._frames_of[held_out, predicted]
            crops = [self._crop(rng, frames[rng.integers(len(frames))])
                     for _ in range(self.batch)]
            yield [*(np.stack(part) for part in zip(*crops, strict=True)), np.array([predicted])]

    def _crop(self, rng: np.random.Generator, frame: _StoredPair
              ) -> tuple[np.ndarray, np.ndarray, np.float32]:
        n = self.side
        y, x = rng.integers(frame.h - n + 1), rng.integers(frame.w - n + 1)
        blocks = slice(frame.begin, frame.begin + frame.h * frame.w)
        inputs, targets = (raw[blocks].reshape(frame.h, frame.w, -1)[y:y + n, x:x + n].transpose(
            2, 0, 1) for raw in (self._inputs, self._targets))
        return inputs, targets, np.float32(frame.quality)


def _choose_clips(store: FrameStore, n: int, least: int) -> list[StoredClip]:
    """Random clips of at least `least` samples a side, a tenth of them held out, and all such
    pictures."""
    rng = np.random.default_rng(_SEED)
    large = [c for c in store.clips if min(c.width, c.height) >= least]
    clips = [c for c in large if c.n_frames >= N_FRAMES]
    held_out = [c for c in clips if is_held_out(c.source)][:max(1, n // 10)]
    rest = [c for c in clips if c not in held_out]
    picked = rng.permutation(len(rest))[:n - len(held_out)]
    return [*held_out, *(rest[i] for i in picked), *(c for c in large if c.n_frames == 1)]


def random_window(store: FrameStore, clip: StoredClip, seed: int, grid: int, most: int
                  ) -> list[Picture]:
    """The first frames of a clip in a random window of multiples of `grid`, at most `most`: many
    clips train better than large ones."""
    rng = np.random.default_rng((_SEED, seed))
    width, height = (min(most, n // grid * grid) for n in (clip.width, clip.height))
    x, y = (2 * int(rng.integers((full - n) // 2 + 1))
            for full, n in ((clip.width, width), (clip.height, height)))
    half = (slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2))
    frames = []
    for t in range(min(N_FRAMES, clip.n_frames)):
        luma, *chroma = store.planes(clip, t)
        frames.append(Picture([np.array(luma[y:y + height, x:x + width]),
                               *(np.array(plane[half]) for plane in chroma)]))
    return frames


def coded_frames(codec: D4Codec, pictures: Sequence[Picture], quality: float, number: int
                 ) -> Iterator[tuple[FrameEncoder, EncodedFrame]]:
    """Encode a clip; the length of its mini-GOPs goes by its `number`."""
    encoder, gop = FrameEncoder(codec.runtime, quality), HierarchicalGop()
    mini_gop = MINI_GOPS[number % len(MINI_GOPS)]
    for begin in range(1 - mini_gop, len(pictures), mini_gop):
        n = 1 if begin <= 0 else mini_gop
        used = [gop.n_frames - 1] if gop.n_frames else []
        for layer in gop.extend(n):
            used += [slot.number for slot in layer if slot.temporal_layer and slot.is_reference]
            frames = [encoder.encode(slot, pictures[slot.number]) for slot in layer]
            encoder.write(frames)
            yield from ((encoder, frame) for frame in frames)
        encoder.drop(used)
