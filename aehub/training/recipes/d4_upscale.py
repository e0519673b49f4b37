"""Recipe of the upscaler of `d4-codec`, trained on clips that it codes at half their size.

Half of the clips are made smaller by means of 2x2 samples, as decoding at 1/2 shows them, half by
Lanczos' filter, as video is scaled. The cost is the negated gain in PSNR over Lanczos
interpolation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.planes import GRID, PlaneBatch, clipped, shuffle, to_batch, unshuffle
from aehub.codecs.d4.quantisation import frame_quality
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.codecs.d4.upscaler import Upscaler, interpolated
from aehub.media.picture import Picture
from aehub.media.scaling import downscale, halve
from aehub.training.data import Cache, FrameStore, StoredClip
from aehub.training.recipes.d4_codec import distortion
from aehub.training.recipes.d4_coded import (
    CHANNELS,
    CodedPairs,
    Pair,
    coded_frames,
    random_window,
)
from aehub.training.recipes.d4_filter import mean_db_change

NAME = "d4-upscale"
LEARNING_RATE = 2e-3
evaluation_context = share_expanded_weights
# Version of the layout of the dataset, for the cache.
_VERSION = 2
_MAX_WINDOW = 512


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        base: folder of the model that gets the upscaler.
        start: folder of a model whose upscaler is trained further; empty for a new one.
        fields: width of the network in regular fields of 8 channels.
        blocks: residual blocks of two layers.
        clips: training clips to encode, besides all pictures.
        size: side of a training crop in luma samples of the small picture, a multiple of 32.
        batch: crops per step.
        report_seconds: between reports and checkpoints.
    """

    base: str = "weights/d4-codec"
    start: str = ""
    fields: int = 6
    blocks: int = 3
    clips: int = 240
    size: int = 64
    batch: int = 8
    report_seconds: float = 120.0


def build(options: Options) -> Upscaler:
    """A new upscaler, which is Lanczos interpolation, or that of `options.start`."""
    started = checkpoint.load(Path(options.start)).upscaler if options.start else None
    model = Upscaler(options.fields, options.blocks) if started is None else started
    model = model.train().requires_grad_(True)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> CodedPairs:
    """Clips and pictures below `data` at half their size, as the base codes them."""
    store = FrameStore.build(data, cache)
    codec = D4Codec(checkpoint.load(Path(options.base)))

    def record(clip: StoredClip, quality: float, number: int) -> Iterator[Pair]:
        pictures = random_window(store, clip, number, 2 * GRID, _MAX_WINDOW)
        small = [halved(picture, lanczos=number % 2 == 1) for picture in pictures]
        for encoder, frame in coded_frames(codec, small, quality, number):
            shown = unshuffle(encoder.shown(frame))[0].half().permute(1, 2, 0)
            yield Pair(shown.cpu().numpy(), _blocks(pictures[frame.slot.number]),
                       frame_quality(quality, frame.syntax.quality_offset),
                       frame.condition is not None)

    return CodedPairs.build(
        store, cache, "upscale-inputs", {"version": _VERSION, "base": codec.stored.config}, record,
        clips=options.clips, channels=(CHANNELS, 4 * CHANNELS), least=2 * GRID, size=options.size,
        batch=options.batch)


def halved(picture: Picture, *, lanczos: bool) -> Picture:
    """A picture of even sides at half its size: means of 2x2 samples, or Lanczos' filter."""
    if not lanczos:
        return downscale(picture, 2)
    return halve(picture)


def _blocks(picture: Picture) -> np.ndarray:
    """uint8 [H/16, W/16, 384]: the four 8x8 blocks of each 16x16 block."""
    samples = unshuffle(to_batch([picture], torch.device("cpu"), torch.float32))
    folded = torch.nn.functional.pixel_unshuffle((samples + 0.5) * 255, 2)[0]
    return folded.round().byte().permute(1, 2, 0).contiguous().numpy()


def losses(model: Upscaler, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, equal to `cost`, and the gain over Lanczos interpolation in dB.

    Args:
        model: the network.
        batch: of `CodedPairs`.
        generator: not used.
    """
    inputs, targets, quality, _ = batch
    planes = shuffle(inputs.float())
    original = shuffle(torch.nn.functional.pixel_shuffle(targets / 255 - 0.5, 2))
    before, after = (distortion(original, PlaneBatch(*doubled), quality)
                     for doubled in (clipped(interpolated(planes)), model(planes, quality)))
    cost = mean_db_change(before, after)
    return {"loss": cost, "cost": cost.detach(), "psnr_gain": -cost.detach()}


def export(model: Upscaler, dataset: CodedPairs, folder: Path, options: Options) -> None:
    """Write the model folder; everything but the upscaler is copied from the base."""
    base = checkpoint.load(Path(options.base))
    base.upscaler = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    checkpoint.save(folder, base)
