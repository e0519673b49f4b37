"""Recipe of the post-filters of `d4-codec`, trained on frames that the encoder produced.

Clips are encoded once, each at its own quality and mini-GOP length, pictures as intra frames. For
every frame the input of its post-filter and the original are stored. A step then runs one filter
on single frames instead of all networks on a sequence: many times as many pictures per hour.
Codes, tables and motion stay those of the base, and so does the entropy hash. The cost is the
negated gain of PSNR and MS-SSIM in dB: a filter for squared error alone smooths away texture.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import EncodedFrame, FrameEncoder
from aehub.codecs.d4.network import D4Network
from aehub.codecs.d4.planes import PlaneBatch, clipped, shuffle, unshuffle
from aehub.codecs.d4.quantisation import frame_quality
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.codecs.gop import HierarchicalGop
from aehub.errors import InputError
from aehub.media.metrics import scale_similarities
from aehub.media.picture import Picture
from aehub.training.data import Cache, FrameStore, StoredClip, is_held_out
from aehub.training.recipes.d4_codec import distortion, random_qualities
from aehub.training.recipes.d4_sequences import MINI_GOPS
from aehub.weights.device import no_autocast

NAME = "d4-filter"
LEARNING_RATE = 2e-3
evaluation_context = share_expanded_weights
CHANNELS = 96
"""Samples of a 4:2:0 block of 8x8: 64 of luma, 16 of each chroma plane."""
_N_FRAMES = 9
_SEED = 11
# Version of the encoder settings and the layout of the dataset, for the cache.
_VERSION = 1
_GRID, _MAX_WINDOW = 32, 256
# Share of the batches that train the filter of predicted frames.
_PREDICTED_SHARE = 0.7
# At the full rate biases outrun the weights, and a layer that they silence never recovers.
_BIAS_RATE = 0.1
_DB = 10 / math.log(10)
# Share of MS-SSIM in the cost, the rest is PSNR; identical pictures would have no bound.
_MS_SSIM_WEIGHT, _MIN_DISTORTION = 0.7, 1e-5
_MIN_SIMILARITY = 1e-4
_HALVES = {"still": "post_filter.", "predicted": "inter.post_filter."}


@dataclass(frozen=True)
class CodedFrame:
    """One coded frame: `h` x `w` blocks of 8x8 from number `begin` of all blocks."""

    source: str
    begin: int
    h: int
    w: int
    quality: float
    predicted: bool


_Recorded = tuple[tuple[np.ndarray, np.ndarray], float, bool]


def _recorded(frame: EncodedFrame, quality: float) -> _Recorded:
    """(filter input, original), quality and type of a frame."""
    assert frame.x is not None and frame.x_hat is not None
    pixels, condition = unshuffle(frame.x_hat), frame.condition
    prediction = torch.zeros_like(pixels) if condition is None else condition.prediction
    original = (unshuffle(frame.x)[0] + 0.5) * 255
    pair = (torch.cat([pixels, prediction], 1)[0].half().permute(1, 2, 0).cpu().numpy(),
            original.round().byte().permute(1, 2, 0).cpu().numpy())
    return pair, frame_quality(quality, frame.syntax.quality_offset), condition is not None


class FilterDataset:
    """Random crops of coded frames: endless batches for a `DataLoader`.

    Batches are lists: float16 [B, 192, s, s] decoded picture and prediction, uint8 [B, 96, s, s]
    original, float32 [B] quality, bool [1] True for predicted frames; s = size / 8.

    Args:
        folder: written by `build`.
        size: side of a crop in luma samples, a multiple of 8.
        batch: crops per batch.
    """

    def __init__(self, folder: Path, *, size: int, batch: int) -> None:
        self.side, self.batch = size // 8, batch
        self.notes: list[str] = []
        frames = [CodedFrame(**entry) for entry in json.loads((folder / "frames.json").read_text())]
        frames = [frame for frame in frames if min(frame.h, frame.w) >= self.side]
        if not frames:
            raise InputError(f"no clip has {_N_FRAMES} frames, and no picture is {size}x{size}, or "
                             "larger; give more data, or a smaller size.")
        sources = [frame.source for frame in frames]
        held_out = set(filter(is_held_out, sources)) or {sources[0]}
        self._frames_of: dict[tuple[bool, bool], list[CodedFrame]] = {}
        for frame in frames:
            key = frame.source in held_out, frame.predicted
            self._frames_of.setdefault(key, []).append(frame)
        self._inputs = np.memmap(folder / "inputs.raw", np.float16, "r").reshape(-1, 2 * CHANNELS)
        self._targets = np.memmap(folder / "targets.raw", np.uint8, "r").reshape(-1, CHANNELS)

    @classmethod
    def build(cls, store: FrameStore, codec: D4Codec, cache: Cache, *, clips: int, size: int,
              batch: int) -> FilterDataset:
        """Encode `clips` clips of `store` and all its pictures, or open them from the cache."""
        chosen = _chosen(store, clips)
        qualities = random_qualities(len(chosen), torch.Generator().manual_seed(0)).tolist()

        def make(folder: Path) -> None:
            frames: list[CodedFrame] = []
            with (open(folder / "inputs.raw", "wb") as inputs,
                  open(folder / "targets.raw", "wb") as targets):
                for number, (clip, quality) in enumerate(zip(chosen, qualities, strict=True)):
                    for pair, frame_quality, predicted in _coded(
                            store, clip, codec, quality, number):
                        begin = targets.tell() // CHANNELS
                        inputs.write(pair[0].tobytes())
                        targets.write(pair[1].tobytes())
                        h, w = pair[1].shape[:2]
                        frames.append(
                            CodedFrame(clip.source, begin, h, w, frame_quality, predicted))
            (folder / "frames.json").write_text(json.dumps([asdict(frame) for frame in frames]))

        made_of = {"version": _VERSION, "frames": store.name, "base": codec.stored.config,
                   "clips": [clip.name for clip in chosen], "qualities": qualities}
        folder = cache.get_or_make("filter-inputs", made_of, make)
        return cls(folder, size=size, batch=batch)

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

    def _crop(self, rng: np.random.Generator, frame: CodedFrame
              ) -> tuple[np.ndarray, np.ndarray, np.float32]:
        n = self.side
        y, x = rng.integers(frame.h - n + 1), rng.integers(frame.w - n + 1)
        blocks = slice(frame.begin, frame.begin + frame.h * frame.w)
        inputs, targets = (raw[blocks].reshape(frame.h, frame.w, -1)[y:y + n, x:x + n].transpose(
            2, 0, 1) for raw in (self._inputs, self._targets))
        return inputs, targets, np.float32(frame.quality)


def _chosen(store: FrameStore, n: int) -> list[StoredClip]:
    """Random clips, a tenth of them held out, and all pictures."""
    rng = np.random.default_rng(_SEED)
    large = [c for c in store.clips if min(c.width, c.height) >= _GRID]
    clips = [c for c in large if c.n_frames >= _N_FRAMES]
    held_out = [c for c in clips if is_held_out(c.source)][:max(1, n // 10)]
    rest = [c for c in clips if c not in held_out]
    picked = rng.permutation(len(rest))[:n - len(held_out)]
    return [*held_out, *(rest[i] for i in picked), *(c for c in large if c.n_frames == 1)]


def _coded(store: FrameStore, clip: StoredClip, codec: D4Codec, quality: float, number: int
           ) -> list[_Recorded]:
    """Encode the first frames of a clip."""
    encoder, gop = FrameEncoder(codec.runtime, quality), HierarchicalGop()
    recorded: list[_Recorded] = []
    mini_gop = MINI_GOPS[number % len(MINI_GOPS)]
    n_frames = min(_N_FRAMES, clip.n_frames)
    planes = list(_window(store, clip, n_frames, number))
    for begin in range(1 - mini_gop, n_frames, mini_gop):
        n = 1 if begin <= 0 else mini_gop
        used = [gop.n_frames - 1] if gop.n_frames else []
        for layer in gop.extend(n):
            used += [slot.number for slot in layer if slot.temporal_layer and slot.is_reference]
            frames = [encoder.encode(slot, planes[slot.number]) for slot in layer]
            encoder.write(frames)
            recorded += [_recorded(frame, quality) for frame in frames]
        encoder.drop(used)
    return recorded


def _window(store: FrameStore, clip: StoredClip, n_frames: int, seed: int) -> Iterator[Picture]:
    """Crop the first frames to a random window: many clips train better than large ones."""
    rng = np.random.default_rng((_SEED, seed))
    width, height = (min(_MAX_WINDOW, n // _GRID * _GRID) for n in (clip.width, clip.height))
    x, y = (2 * int(rng.integers((full - n) // 2 + 1))
            for full, n in ((clip.width, width), (clip.height, height)))
    for t in range(n_frames):
        luma, *chroma = store.planes(clip, t)
        half = (slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2))
        yield Picture([np.array(luma[y:y + height, x:x + width]),
                       *(np.array(plane[half]) for plane in chroma)])


def ms_ssim_loss(reference: Tensor, decoded: Tensor) -> Tensor:
    """1 - MS-SSIM of luma pictures, differentiable, over the scales that hold an 11x11 window.

    `aehub.media.metrics.ms_ssim` is the reported measure.

    Args:
        reference: [B, 1, H, W] in [-0.5, 0.5], short side at least 11.
        decoded: the same shape.

    Returns:
        [B]; similarities of a scale are clamped to at least 1e-4, so that logarithms stay finite.

    Source: Wang, Simoncelli and Bovik 2003.
    """
    # Differences of squares would vanish in bfloat16.
    with no_autocast(reference.device.type):
        pair = (255 * pictures[:, 0].float() - 0.5 for pictures in (reference, decoded))
        total, weights = torch.zeros(()), 0.0
        for weight, similarity in scale_similarities(*pair):
            total = total + weight * torch.log(similarity.clamp(min=_MIN_SIMILARITY))
            weights += weight
        return -torch.expm1(total / weights)


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        base: folder of the model whose filters are trained further.
        fields: width of the filters in regular fields of 8 channels.
        layers: hidden layers of the filters.
        anew: filters that are initialised although the base has them: "still" (intra frames),
            "predicted" or "all".
        clips: training clips to encode, besides all pictures.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: crops per step.
        report_seconds: between reports and checkpoints.
    """

    base: str = "weights/d4-codec"
    fields: int = 4
    layers: int = 4
    anew: str = ""
    clips: int = 240
    size: int = 128
    batch: int = 8
    report_seconds: float = 120.0


def build(options: Options) -> D4Network:
    """The base with its own filters, or with new ones that change nothing.

    All are new if they differ in shape, else those of `options.anew`.

    Raises:
        InputError: `options.anew` is unknown.
    """
    base = checkpoint.load(Path(options.base)).network
    if options.anew not in ("", "all", *_HALVES):
        raise InputError(f"anew is {options.anew!r}; give all, {' or '.join(_HALVES)}.")
    model = D4Network(**base.config | {"filter_fields": options.fields,
                                       "filter_layers": options.layers})
    weights = base.state_dict()
    if base.config != model.config or options.anew == "all":
        weights = {name: value for name, value in weights.items() if "post_filter." not in name}
    elif options.anew:
        prefix = _HALVES[options.anew]
        weights = {name: value for name, value in weights.items() if not name.startswith(prefix)}
    model.load_state_dict(weights, strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("post_filter." in name)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> FilterDataset:
    """Frames that the base codes from the clips and pictures below `data`, kept in `cache`."""
    frames = FrameStore.build(data, cache)
    codec = D4Codec(checkpoint.load(Path(options.base)))
    with torch.inference_mode():
        dataset = FilterDataset.build(frames, codec, cache, clips=options.clips,
                                      size=options.size, batch=options.batch)
    dataset.notes = frames.notes
    return dataset


def parameter_groups(model: D4Network) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate."""
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], _BIAS_RATE: []}
    for half in (model, model.inter):
        for name, parameter in half.post_filter.named_parameters():
            parts[_BIAS_RATE if "bias" in name else 1.0].append(parameter)
    return parts


def losses(model: D4Network, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, equal to `cost`; gains of PSNR and MS-SSIM in dB to report.

    Args:
        model: the network.
        batch: of `FilterDataset`.
        generator: not used.
    """
    inputs, targets, quality, predicted = batch
    decoded, prediction = (shuffle(x) for x in inputs.float().split(CHANNELS, 1))
    if predicted:
        filtered = model.inter.post_filter(decoded, quality, prediction)
    else:
        filtered = model.post_filter(decoded, quality)
    original = shuffle(targets / 255 - 0.5)
    psnr_change, ms_ssim_change = (
        _mean_db_change(*(measure(original, clipped(p), quality) for p in (decoded, filtered)))
        for measure in (distortion, _ms_ssim_distortion))
    cost = (1 - _MS_SSIM_WEIGHT) * psnr_change + _MS_SSIM_WEIGHT * ms_ssim_change
    return {"loss": cost, "cost": cost.detach(), "psnr_gain": -psnr_change.detach(),
            "ms_ssim_gain": -ms_ssim_change.detach()}


def _ms_ssim_distortion(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    return ms_ssim_loss(planes.y, decoded.y).clamp(min=_MIN_DISTORTION)


def _mean_db_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean change of a distortion [B] in dB."""
    return _DB * (after.log() - before.log()).mean()


def export(model: D4Network, dataset: FilterDataset, folder: Path, options: Options) -> None:
    """Write the model folder; everything but the filters is copied from the base."""
    base = checkpoint.load(Path(options.base))
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    checkpoint.save(folder, base.name, model, base.tables, encoder=base.config.get("encoder", {}),
                    self_test=base.self_test, inter_tables=base.inter_tables)
