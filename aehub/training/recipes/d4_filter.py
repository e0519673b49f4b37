"""Recipe of the post-filters of `d4-codec`, trained on frames that the encoder produced.

Codes, tables and motion stay those of the base, and so does the entropy hash. The cost is the
negated gain of PSNR and MS-SSIM in dB: a filter for squared error alone smooths away texture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import EncodedFrame
from aehub.codecs.d4.network import D4Network
from aehub.codecs.d4.planes import GRID, PlaneBatch, clipped, shuffle, unshuffle
from aehub.codecs.d4.quantisation import frame_quality
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.errors import InputError
from aehub.media.metrics import scale_similarities
from aehub.training.data import Cache, FrameStore, StoredClip
from aehub.training.recipes.d4_codec import distortion
from aehub.training.recipes.d4_coded import (
    CHANNELS,
    CodedPairs,
    Pair,
    coded_frames,
    random_window,
)
from aehub.weights.device import no_autocast

NAME = "d4-filter"
LEARNING_RATE = 2e-3
evaluation_context = share_expanded_weights
# Version of the encoder settings and the layout of the dataset, for the cache.
_VERSION = 2
_MAX_WINDOW = 256
# At the full rate biases outrun the weights, and a layer that they silence never recovers.
_BIAS_RATE = 0.1
_DB = 10 / math.log(10)
# Share of MS-SSIM in the cost, the rest is PSNR; identical pictures would have no bound.
_MS_SSIM_WEIGHT, _MIN_DISTORTION = 0.7, 1e-5
_MIN_SIMILARITY = 1e-4
_HALVES = {"still": "post_filter.", "predicted": "inter.post_filter."}


def _pair(frame: EncodedFrame, quality: float) -> Pair:
    """Input of the filter, decoded picture and prediction, and the original."""
    assert frame.x is not None and frame.x_hat is not None
    pixels, condition = unshuffle(frame.x_hat), frame.condition
    prediction = torch.zeros_like(pixels) if condition is None else condition.prediction
    original = (unshuffle(frame.x)[0] + 0.5) * 255
    return Pair(torch.cat([pixels, prediction], 1)[0].half().permute(1, 2, 0).cpu().numpy(),
                original.round().byte().permute(1, 2, 0).cpu().numpy(),
                frame_quality(quality, frame.syntax.quality_offset), condition is not None)


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


def open_dataset(data: Path, cache: Cache, options: Options) -> CodedPairs:
    """Frames that the base codes from the clips and pictures below `data`, kept in `cache`."""
    store = FrameStore.build(data, cache)
    codec = D4Codec(checkpoint.load(Path(options.base)))

    def record(clip: StoredClip, quality: float, number: int) -> Iterator[Pair]:
        pictures = random_window(store, clip, number, GRID, _MAX_WINDOW)
        for _, frame in coded_frames(codec, pictures, quality, number):
            yield _pair(frame, quality)

    return CodedPairs.build(
        store, cache, "filter-inputs", {"version": _VERSION, "base": codec.stored.config}, record,
        clips=options.clips, channels=(2 * CHANNELS, CHANNELS), least=GRID, size=options.size,
        batch=options.batch)


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
        batch: of `CodedPairs`.
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
        mean_db_change(*(measure(original, clipped(p), quality) for p in (decoded, filtered)))
        for measure in (distortion, _ms_ssim_distortion))
    cost = (1 - _MS_SSIM_WEIGHT) * psnr_change + _MS_SSIM_WEIGHT * ms_ssim_change
    return {"loss": cost, "cost": cost.detach(), "psnr_gain": -psnr_change.detach(),
            "ms_ssim_gain": -ms_ssim_change.detach()}


def _ms_ssim_distortion(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    return ms_ssim_loss(planes.y, decoded.y).clamp(min=_MIN_DISTORTION)


def mean_db_change(before: Tensor, after: Tensor) -> Tensor:
    """Mean change of a distortion [B] in dB."""
    return _DB * (after.log() - before.log()).mean()


def export(model: D4Network, dataset: CodedPairs, folder: Path, options: Options) -> None:
    """Write the model folder; everything but the filters is copied from the base."""
    base = checkpoint.load(Path(options.base))
    base.network = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    checkpoint.save(folder, base)
