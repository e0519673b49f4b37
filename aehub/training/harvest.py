"""Training material for the post-filters: what the encoder really makes of clips and pictures.

Clips are encoded once, each at a quality and with a distance of anchors of its own, pictures as
frames that stand alone. Of every frame is kept what its filter is given and what it should show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.clips.frames import Planes
from aehub.codec.inter import GroupEncoder
from aehub.codec.model import Codec
from aehub.codec.structure import Pyramid
from aehub.errors import InputError
from aehub.models.d4_codec import Coder, Condition
from aehub.models.planes import PlaneBatch, pixels_of
from aehub.training.cache import Cache
from aehub.training.data import FrameStore, StoredClip, is_held_out

CHANNELS = 96
_SPANS = (1, 2, 4, 8)
_FRAMES = 9
_SEED = 11
# Of how the encoder is asked, and of what is kept of its frames.
_VERSION = 1
_GRID, _WINDOW = 32, 256
# Of the batches.
_PREDICTED = 0.7


@dataclass(frozen=True)
class Sheaf:
    """One coded frame: `h` x `w` blocks of 8x8 from number `begin` of all blocks."""

    source: str
    begin: int
    h: int
    w: int
    quality: float
    predicted: bool


class _Gatherer(GroupEncoder):
    """An encoder that hands out what each filter is given and what it should show."""

    def __init__(self, codec: Codec, quality: float) -> None:
        super().__init__(codec.runtime, quality)
        self.gathered: list[tuple[np.ndarray, np.ndarray, float, bool]] = []

    def _shown(self, coder: Coder, decoded: PlaneBatch, wanted: PlaneBatch, quality: Tensor,
               given: Condition | None) -> PlaneBatch:
        pixels = pixels_of(decoded)
        prediction = torch.zeros_like(pixels) if given is None else given.pixels
        levels = (pixels_of(wanted)[0] + 0.5) * 255
        self.gathered.append((
            torch.cat([pixels, prediction], 1)[0].half().permute(1, 2, 0).cpu().numpy(),
            levels.round().byte().permute(1, 2, 0).cpu().numpy(),
            float(quality), given is not None))
        return decoded


class Harvest:
    """Gathered frames, cut to squares: endless batches for a `DataLoader`.

    Batches are lists: float16 [B, 192, s, s] decoded picture and prediction, uint8 [B, 96, s, s]
    what to show, float32 [B] quality, bool [1] whether these frames are predicted; s = size / 8.

    Args:
        folder: as `build` made it.
        size: side of a crop in luma samples, a multiple of 8.
        batch: crops per batch.
    """

    def __init__(self, folder: Path, *, size: int, batch: int) -> None:
        self.side, self.batch = size // 8, batch
        self.notes: list[str] = []
        sheaves = [Sheaf(**s) for s in json.loads((folder / "harvest.json").read_text())]
        sheaves = [s for s in sheaves if min(s.h, s.w) >= self.side]
        if not sheaves:
            raise InputError(f"no clip has {_FRAMES} frames, and no picture is {size}x{size}, or "
                             "larger; give more material, or a smaller size.")
        held_out = {s.source for s in sheaves if is_held_out(s.source)} or {sheaves[0].source}
        self._sheaves: dict[tuple[bool, bool], list[Sheaf]] = {}
        for s in sheaves:
            self._sheaves.setdefault((s.source in held_out, s.predicted), []).append(s)
        self._seen = np.memmap(folder / "seen.raw", np.float16, "r").reshape(-1, 2 * CHANNELS)
        self._wanted = np.memmap(folder / "wanted.raw", np.uint8, "r").reshape(-1, CHANNELS)

    @classmethod
    def build(cls, store: FrameStore, codec: Codec, cache: Cache, *, clips: int, size: int,
              batch: int, qualities: Callable[[int, torch.Generator], Tensor]) -> Harvest:
        """Encode so many clips of `store` and all pictures, unless that was done by this codec."""
        chosen = _chosen(store, clips)
        levels = qualities(len(chosen), torch.Generator().manual_seed(0)).tolist()

        def make(folder: Path) -> None:
            sheaves: list[Sheaf] = []
            with open(folder / "seen.raw", "wb") as seen, open(folder / "wanted.raw", "wb") as raw:
                for number, (clip, quality) in enumerate(zip(chosen, levels, strict=True)):
                    for s, w, level, predicted in _frames(store, clip, codec, quality, number):
                        begin = raw.tell() // CHANNELS
                        seen.write(s.tobytes())
                        raw.write(w.tobytes())
                        h, width = w.shape[:2]
                        sheaves.append(Sheaf(clip.source, begin, h, width, level, predicted))
            (folder / "harvest.json").write_text(json.dumps([asdict(s) for s in sheaves]))

        made_of = {"version": _VERSION, "frames": store.name, "base": codec.stored.config,
                   "clips": [clip.name for clip in chosen], "qualities": levels}
        return cls(cache.kept("harvest", made_of, make), size=size, batch=batch)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            predicted = bool(rng.random() < _PREDICTED)
            sheaves = self._sheaves[held_out, predicted]
            crops = [self._crop(rng, sheaves[rng.integers(len(sheaves))])
                     for _ in range(self.batch)]
            yield [*(np.stack(part) for part in zip(*crops, strict=True)), np.array([predicted])]

    def _crop(self, rng: np.random.Generator, sheaf: Sheaf
              ) -> tuple[np.ndarray, np.ndarray, np.float32]:
        n = self.side
        y, x = rng.integers(sheaf.h - n + 1), rng.integers(sheaf.w - n + 1)
        places = slice(sheaf.begin, sheaf.begin + sheaf.h * sheaf.w)
        seen, wanted = (raw[places].reshape(sheaf.h, sheaf.w, -1)[y:y + n, x:x + n].transpose(
            2, 0, 1) for raw in (self._seen, self._wanted))
        return seen, wanted, np.float32(sheaf.quality)


def _chosen(store: FrameStore, n: int) -> list[StoredClip]:
    """Random clips, a tenth of them held out, and all pictures."""
    rng = np.random.default_rng(_SEED)
    large = [c for c in store.clips if min(c.width, c.height) >= _GRID]
    clips = [c for c in large if c.n_frames >= _FRAMES]
    out = [c for c in clips if is_held_out(c.source)][:max(1, n // 10)]
    rest = [c for c in clips if c not in out]
    picked = rng.permutation(len(rest))[:n - len(out)]
    return [*out, *(rest[i] for i in picked), *(c for c in large if c.n_frames == 1)]


def _frames(store: FrameStore, clip: StoredClip, codec: Codec, quality: float, number: int
            ) -> list[tuple[np.ndarray, np.ndarray, float, bool]]:
    encoder, pyramid = _Gatherer(codec, quality), Pyramid()
    span, n_frames = _SPANS[number % len(_SPANS)], min(_FRAMES, clip.n_frames)
    planes = list(_window(store, clip, n_frames, number))
    for begin in range(1 - span, n_frames, span):
        n = 1 if begin <= 0 else span
        for place in pyramid.extend(n):
            encoder.add(place.number, planes[place.number], place.references, place.level)
        encoder.keep([pyramid.n_frames - 1])
    return encoder.gathered


def _window(store: FrameStore, clip: StoredClip, n_frames: int, seed: int) -> Iterator[Planes]:
    """A random window of the first frames: many clips are worth more than large ones."""
    rng = np.random.default_rng((_SEED, seed))
    width, height = (min(_WINDOW, n // _GRID * _GRID) for n in (clip.width, clip.height))
    x, y = (2 * int(rng.integers((full - n) // 2 + 1))
            for full, n in ((clip.width, width), (clip.height, height)))
    for t in range(n_frames):
        planes = store.planes(clip, t)
        chroma = (slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2))
        yield Planes(np.array(planes.y[y:y + height, x:x + width]), np.array(planes.u[chroma]),
                     np.array(planes.v[chroma]))
