"""How the post-filters are trained, on what the encoder makes of clips and pictures.

A step runs one filter on single frames, not all networks of a chain of frames: where time is short,
that is many times as many pictures. Codes, tables and motion stay those of the base, and so does
the entropy hash. The cost is what PSNR and MS-SSIM gain, in dB below zero: a filter that minds
squared error alone smooths away what structure is left.

Training material for the post-filters: what the encoder really makes of clips and pictures.

Clips are encoded once, each at a quality and with a distance of anchors of its own, pictures as
frames that stand alone. Of every frame is kept what its filter is given and what it should show.

MS-SSIM that gradients run through; `aehub.media.metrics.ms_ssim` is the measure.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import GroupEncoder
from aehub.codecs.d4.network import D4Network, FrameNetwork, InterCondition
from aehub.codecs.d4.planes import PlaneBatch, clipped, shuffle, unshuffle
from aehub.codecs.gop import Pyramid
from aehub.errors import InputError
from aehub.media.metrics import scale_similarities
from aehub.media.picture import Planes
from aehub.training.data import Cache, FrameStore, StoredClip, is_held_out
from aehub.training.recipes.d4_codec import distortion
from aehub.training.recipes.d4_codec import qualities as all_qualities
from aehub.weights.device import no_autocast

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
class CodedFrame:
    """One coded frame: `h` x `w` blocks of 8x8 from number `begin` of all blocks."""

    source: str
    begin: int
    h: int
    w: int
    quality: float
    predicted: bool


class _RecordingEncoder(GroupEncoder):
    """An encoder that hands out what each filter is given and what it should show."""

    def __init__(self, codec: D4Codec, quality: float) -> None:
        super().__init__(codec.runtime, quality)
        self.gathered: list[tuple[np.ndarray, np.ndarray, float, bool]] = []

    def _shown(self, coder: FrameNetwork, decoded: PlaneBatch, wanted: PlaneBatch, quality: Tensor,
               condition: InterCondition | None) -> PlaneBatch:
        pixels = unshuffle(decoded)
        prediction = torch.zeros_like(pixels) if condition is None else condition.prediction
        levels = (unshuffle(wanted)[0] + 0.5) * 255
        self.gathered.append((
            torch.cat([pixels, prediction], 1)[0].half().permute(1, 2, 0).cpu().numpy(),
            levels.round().byte().permute(1, 2, 0).cpu().numpy(),
            float(quality), condition is not None))
        return decoded


class FilterDataset:
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
        frames = [CodedFrame(**s) for s in json.loads((folder / "harvest.json").read_text())]
        frames = [s for s in frames if min(s.h, s.w) >= self.side]
        if not frames:
            raise InputError(f"no clip has {_FRAMES} frames, and no picture is {size}x{size}, or "
                             "larger; give more material, or a smaller size.")
        held_out = {s.source for s in frames if is_held_out(s.source)} or {frames[0].source}
        self._sheaves: dict[tuple[bool, bool], list[CodedFrame]] = {}
        for s in frames:
            self._sheaves.setdefault((s.source in held_out, s.predicted), []).append(s)
        self._seen = np.memmap(folder / "seen.raw", np.float16, "r").reshape(-1, 2 * CHANNELS)
        self._wanted = np.memmap(folder / "wanted.raw", np.uint8, "r").reshape(-1, CHANNELS)

    @classmethod
    def build(cls, store: FrameStore, codec: D4Codec, cache: Cache, *, clips: int, size: int,
              batch: int, qualities: Callable[[int, torch.Generator], Tensor]) -> FilterDataset:
        """Encode so many clips of `store` and all pictures, unless that was done by this codec."""
        chosen = _chosen(store, clips)
        levels = qualities(len(chosen), torch.Generator().manual_seed(0)).tolist()

        def make(folder: Path) -> None:
            frames: list[CodedFrame] = []
            with open(folder / "seen.raw", "wb") as seen, open(folder / "wanted.raw", "wb") as raw:
                for number, (clip, quality) in enumerate(zip(chosen, levels, strict=True)):
                    for s, w, level, predicted in _frames(store, clip, codec, quality, number):
                        begin = raw.tell() // CHANNELS
                        seen.write(s.tobytes())
                        raw.write(w.tobytes())
                        h, width = w.shape[:2]
                        frames.append(CodedFrame(clip.source, begin, h, width, level, predicted))
            (folder / "harvest.json").write_text(json.dumps([asdict(s) for s in frames]))

        inputs = {"version": _VERSION, "frames": store.name, "base": codec.stored.config,
                   "clips": [clip.name for clip in chosen], "qualities": levels}
        return cls(cache.get_or_make("harvest", inputs, make), size=size, batch=batch)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            predicted = bool(rng.random() < _PREDICTED)
            frames = self._sheaves[held_out, predicted]
            crops = [self._crop(rng, frames[rng.integers(len(frames))])
                     for _ in range(self.batch)]
            yield [*(np.stack(part) for part in zip(*crops, strict=True)), np.array([predicted])]

    def _crop(self, rng: np.random.Generator, frame: CodedFrame
              ) -> tuple[np.ndarray, np.ndarray, np.float32]:
        n = self.side
        y, x = rng.integers(frame.h - n + 1), rng.integers(frame.w - n + 1)
        places = slice(frame.begin, frame.begin + frame.h * frame.w)
        seen, wanted = (raw[places].reshape(frame.h, frame.w, -1)[y:y + n, x:x + n].transpose(
            2, 0, 1) for raw in (self._seen, self._wanted))
        return seen, wanted, np.float32(frame.quality)


def _chosen(store: FrameStore, n: int) -> list[StoredClip]:
    """Random clips, a tenth of them held out, and all pictures."""
    rng = np.random.default_rng(_SEED)
    large = [c for c in store.clips if min(c.width, c.height) >= _GRID]
    clips = [c for c in large if c.n_frames >= _FRAMES]
    out = [c for c in clips if is_held_out(c.source)][:max(1, n // 10)]
    rest = [c for c in clips if c not in out]
    picked = rng.permutation(len(rest))[:n - len(out)]
    return [*out, *(rest[i] for i in picked), *(c for c in large if c.n_frames == 1)]


def _frames(store: FrameStore, clip: StoredClip, codec: D4Codec, quality: float, number: int
            ) -> list[tuple[np.ndarray, np.ndarray, float, bool]]:
    encoder, pyramid = _RecordingEncoder(codec, quality), Pyramid()
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


_FLOOR = 1e-4


def ms_ssim_loss(reference: Tensor, decoded: Tensor) -> Tensor:
    """1 - MS-SSIM of luma pictures, over those of the five scales that hold an 11x11 window.

    Args:
        reference: [B, 1, H, W] in [-0.5, 0.5], short side at least 11.
        decoded: the same shape.

    Returns:
        [B]; similarities of a scale below 1e-4 count as that, so that logarithms stay finite.

    Source: Wang, Simoncelli and Bovik 2003.
    """
    # Differences of squares would drown in bfloat16.
    with no_autocast(reference.device.type):
        pair = (255 * pictures[:, 0].float() - 0.5 for pictures in (reference, decoded))
        total, weights = torch.zeros(()), 0.0
        for weight, similarity in scale_similarities(*pair):
            total = total + weight * torch.log(similarity.clamp(min=_FLOOR))
            weights += weight
        return -torch.expm1(total / weights)


NAME = "d4-filter"
LEARNING_RATE = 2e-3
# At the full rate biases outrun the weights, and where that silences a layer it never learns again.
_BIASES = 0.1
_DB = 10 / math.log(10)
# Of the cost; the rest is PSNR's. Identical pictures would have no bound.
_SIMILARITY, _LEAST = 0.7, 1e-5
_HALVES = {"still": "post_filter.", "predicted": "inter.post_filter."}


@dataclass(frozen=True)
class Options:
    """What `--set` may change.

    Attributes:
        base: folder of the model whose filters are trained on.
        fields: width of the filters in regular fields of 8 channels.
        layers: hidden layers of the filters.
        anew: halves whose filters start anew though the base has them: "still", "predicted", "all".
        clips: training clips to encode; all pictures are.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: crops per step.
        fit_steps: nothing is fitted before step 0.
        report_seconds: between reports and checkpoints.
    """

    base: str = "weights/d4-codec"
    fields: int = 4
    layers: int = 4
    anew: str = ""
    clips: int = 240
    size: int = 128
    batch: int = 8
    fit_steps: int = 0
    report_seconds: float = 120.0


def build(options: Options) -> D4Network:
    """The base with its own filters, or new ones that change nothing: all if they differ in shape,
    else those of `options.anew`.

    Raises:
        InputError: `options.anew` names no half.
    """
    base = checkpoint.load(Path(options.base)).network
    if options.anew not in ("", "all", *_HALVES):
        raise InputError(f"anew is {options.anew!r}; give all, {' or '.join(_HALVES)}.")
    model = D4Network(**base.config | {"filter_fields": options.fields,
                                     "filter_layers": options.layers})
    known = base.state_dict()
    if base.config != model.config or options.anew == "all":
        known = {name: value for name, value in known.items() if "post_filter." not in name}
    elif options.anew:
        lost = _HALVES[options.anew]
        known = {name: value for name, value in known.items() if not name.startswith(lost)}
    model.load_state_dict(known, strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("post_filter." in name)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_material(data: Path, cache: Cache, options: Options) -> FilterDataset:
    """What the base makes of the clips and pictures below `data`, encoded once into `cache`."""
    frames = FrameStore.build(data, cache)
    codec = D4Codec(checkpoint.load(Path(options.base)))
    with torch.inference_mode():
        harvest = FilterDataset.build(frames, codec, cache, clips=options.clips,
                                qualities=all_qualities, size=options.size, batch=options.batch)
    harvest.notes = frames.notes
    return harvest


def groups(model: D4Network) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate."""
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], _BIASES: []}
    for half in (model, model.inter):
        for name, parameter in half.post_filter.named_parameters():
            parts[_BIASES if "bias" in name else 1.0].append(parameter)
    return parts


def fitted(model: D4Network) -> Iterator[torch.nn.Parameter]:
    """Nothing."""
    yield from ()


def values(model: D4Network, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, which is the `cost` too; gains in dB of PSNR and MS-SSIM to watch.

    Args:
        model: the network.
        batch: as `FilterDataset` makes them.
        generator: not used.
    """
    seen, wanted, quality, predicted = batch
    decoded, prediction = (shuffle(x) for x in seen.float().split(CHANNELS, 1))
    if predicted:
        mended = model.inter.post_filter(decoded, quality, prediction)
    else:
        mended = model.post_filter(decoded, quality)
    original = shuffle(wanted / 255 - 0.5)
    error, unlikeness = (_gain(*(of(original, clipped(p), quality) for p in (decoded, mended)))
                         for of in (distortion, _unlikeness))
    cost = (1 - _SIMILARITY) * error + _SIMILARITY * unlikeness
    return {"loss": cost, "cost": cost.detach(), "psnr_gain": -error.detach(),
            "ms_ssim_gain": -unlikeness.detach()}


def _unlikeness(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    return ms_ssim_loss(planes.y, decoded.y).clamp(min=_LEAST)


def _gain(before: Tensor, after: Tensor) -> Tensor:
    """dB that a distortion [B] grew, in the mean."""
    return _DB * (after.log() - before.log()).mean()


def export(model: D4Network, material: FilterDataset, folder: Path, options: Options) -> None:
    """Write the model folder; all but the filters is the base's."""
    base = checkpoint.load(Path(options.base))
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    checkpoint.save(folder, base.name, model, base.tables, encoder=base.config.get("encoder", {}),
               self_test=base.self_test, inter_tables=base.inter_tables)
