"""Recipe of the inter half of `d4-codec`, which codes predicted frames; the intra half is frozen.

Sequences of five frames are coded one from another as in a file (`recipes.d4_sequences`), and
gradients run through the references. The cost of a frame is that of `recipes.d4_codec`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.checkpoint import make_self_test
from aehub.codecs.d4.classical_init import init_classical_inter, tilt_step_sizes
from aehub.codecs.d4.entropy_model import distance_class
from aehub.codecs.d4.motion.compensate import predict
from aehub.codecs.d4.network import D4Network, InterCondition
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.reference_buffer import reference_levels, temporal_context
from aehub.codecs.d4.settings import SETTINGS
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.coding.range_coder import ScaleTables
from aehub.training.data import Cache, Crops, FrameStore
from aehub.training.recipes import d4_codec
from aehub.training.recipes.d4_codec import (
    ENCODER_MASKING,
    CodedFrames,
    code_frames,
    count_tables,
    random_qualities,
    rd_costs,
)
from aehub.training.recipes.d4_sequences import (
    GOP_STRUCTURES,
    MotionStore,
    SequenceFrame,
    Sequences,
)
from aehub.training.recipes.d4_tables import fit_inter_tables
from aehub.weights.device import no_autocast

NAME = "d4-inter"
LEARNING_RATE = 1e-3
evaluation_context = share_expanded_weights
ENCODER_LAMBDA = 0.05
"""Lagrange multiplier of RDOQ in predicted frames, in squared quantiser steps per bit: chosen on
training clips."""
_TABLE_CLIPS, _TABLE_FRAMES, _TABLE_SEED = 30, 17, 123
_LAST_LAYER_RATE = 0.005


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        base: folder of the model whose intra half is used.
        start: folder of the model whose inter half is trained further; empty for the classical
            initialisation.
        masking: hundredths of the exponent by which quantiser steps grow with texture.
        tilt: growth with frequency that is added to the quantiser steps of the inter half. Gains
            are not trained: squared error would level them.
        base_tilt: the same for the intra half, whose tables are counted again.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: sequences per step.
        fit_steps: steps before step 0, which fit only the base table index of each channel.
        report_seconds: between reports and checkpoints.
    """

    base: str = "weights/d4-codec"
    start: str = ""
    masking: int = 14
    tilt: float = 0.0
    base_tilt: float = 0.0
    size: int = 128
    batch: int = 4
    fit_steps: int = 100
    report_seconds: float = 120.0


def build(options: Options) -> D4Network:
    """The intra half of `options.base`, and an inter half at its classical initialisation."""
    base = checkpoint.load(Path(options.base)).network
    model = D4Network(**base.config | {"inter_masking": options.masking})
    intra = {n: p for n, p in base.state_dict().items() if not n.startswith("inter.")}
    model.load_state_dict(intra, strict=False)
    init_classical_inter(model.inter)
    if options.start:
        start = checkpoint.load(Path(options.start)).network
        model.inter.load_state_dict(start.inter.state_dict())
    tilt_step_sizes(model, options.base_tilt)
    tilt_step_sizes(model.inter, options.tilt)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("inter.") and "post_filter." not in name)
    model.inter.gain.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> Sequences:
    """Sequences of the clips below `data`; frames and motion vectors are kept in `cache`."""
    frames = FrameStore.build(data, cache)
    motion = MotionStore.build(frames, cache)
    return Sequences(frames, motion, size=options.size, batch=options.batch)


def export(model: D4Network, dataset: Sequences, folder: Path, options: Options) -> None:
    """Write the model folder: the base's tables, and tables counted on predicted frames."""
    base = checkpoint.load(Path(options.base))
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    encoder = base.config.get("encoder", {}) | {"inter_lambda": ENCODER_LAMBDA}
    if options.base_tilt:
        encoder["masking"] = ENCODER_MASKING
    stored = replace(base, network=model, config={"encoder": encoder},
                     self_test=make_self_test(model), inter_tables=ScaleTables.fit())
    if options.base_tilt:
        crops = Crops(dataset.store, size=options.size, batch=options.batch)
        stored.tables = count_tables(stored, crops)
    clips = dataset.clips(_TABLE_CLIPS, _TABLE_FRAMES, _TABLE_SEED)
    levels = random_qualities(_TABLE_CLIPS, torch.Generator().manual_seed(0)).tolist()
    stored.inter_tables = fit_inter_tables(stored, zip(clips, levels, strict=False))
    checkpoint.save(folder, stored)


def start_parameters(model: D4Network) -> Iterator[torch.nn.Parameter]:
    """Base table indices of the scale network, which are fitted to data before step 0."""
    return d4_codec.start_parameters(model.inter)


def parameter_groups(model: D4Network) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate.

    Base indices are in tens, weights in tenths. The output of linear and last layers is in units
    of the picture: at the full rate one step would change it by several grey levels.
    """
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], 10.0: [], _LAST_LAYER_RATE: []}
    for name, parameter in model.inter.named_parameters():
        is_index = name.startswith("scales.") and name.endswith(".values")
        is_last = name.endswith(".linear.theta") or name.startswith("means.last.")
        parts[10.0 if is_index else _LAST_LAYER_RATE if is_last else 1.0].append(parameter)
    return parts


class _Reference(NamedTuple):
    """A decoded frame that later frames refer to: its planes, and its codes as context."""

    planes: PlaneBatch
    context: Tensor

    @classmethod
    def of(cls, coded: CodedFrames, context: Tensor | None) -> _Reference:
        planes = PlaneBatch(*(p.float().clamp(-0.5, 0.5) for p in coded.planes))
        return cls(planes, reference_levels(coded.codes, context))


def losses(model: D4Network, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (loss with true bits), `bpp` and `psnr` to watch.

    Args:
        model: the network.
        batch: of `Sequences`.
        generator: of the random qualities.
    """
    *planes, vectors, mini_gop = batch
    structure = GOP_STRUCTURES[int(mini_gop)]
    frames = [PlaneBatch(*(p[:, t, None] / 255 - 0.5 for p in planes))
              for t in range(len(structure))]
    quality = random_qualities(len(vectors), generator).to(vectors.device)
    with share_expanded_weights():
        return _sequence_losses(model, frames, structure, vectors, quality)


def _sequence_losses(model: D4Network, frames: list[PlaneBatch],
                     structure: tuple[SequenceFrame, ...], vectors: Tensor, quality: Tensor
                     ) -> dict[str, Tensor]:
    with torch.no_grad():
        decoded = [_Reference.of(code_frames(model, frames[0], quality), None)]
    frame_losses, metrics = [], []
    for number, slot in enumerate(structure[1:], 1):
        frame = frames[number]
        frame_quality = (quality - SETTINGS.layer_offset(slot.temporal_layer)).clamp(min=0)
        condition = _inter_condition(decoded, structure, number, frame, vectors[:, number])
        coded = code_frames(model.inter, frame, frame_quality, condition)
        typical = 0.28 * torch.exp2(2.5 * frame_quality / 100)
        loss, *rest = rd_costs(coded, frame, frame_quality, typical)
        frame_losses.append(loss.mean())
        metrics.append(torch.stack(rest).detach())
        decoded.append(_Reference.of(coded, condition.context))
    cost, error, bpp = torch.stack(metrics).unbind(1)
    return {"loss": torch.stack(frame_losses).mean(), "cost": cost.mean(), "bpp": bpp.mean(),
            "psnr": (10 * torch.log10(255**2 / error)).mean()}


def _inter_condition(decoded: list[_Reference], structure: tuple[SequenceFrame, ...], number: int,
                     frame: PlaneBatch, vectors: Tensor) -> InterCondition:
    slot = structure[number]
    references = [decoded[r] for r in slot.references]
    planes = [reference.planes for reference in references]
    vectors = vectors[:, :len(references)]
    # A product in bfloat16 would round the prediction.
    with no_autocast(vectors.device.type):
        modes = _prediction_modes(planes, vectors, frame)
        pixels = unshuffle(predict(planes, vectors, modes))
    context = temporal_context([reference.context for reference in references], vectors, modes)
    times = [abs(slot.time - structure[r].time) for r in slot.references]
    return InterCondition(pixels, context, distance_class(min(times)))


@torch.no_grad()
def _prediction_modes(references: list[PlaneBatch], vectors: Tensor, frame: PlaneBatch) -> Tensor:
    """Prediction direction of each 16x16 block: the one with the least absolute difference."""
    b, _, _, h, w = vectors.shape
    one = torch.ones(b, h // 2, w // 2, dtype=torch.uint8, device=vectors.device)
    if len(references) == 1:
        return one
    sums = []
    for mode in (1, 2, 3):
        luma = predict(references, vectors, one * mode).y
        sums.append(torch.nn.functional.avg_pool2d((luma - frame.y).abs(), 16)[:, 0])
    # Bidirectional prediction is the usual choice, and cheaper to code.
    sums[2] = sums[2] * 0.97 - 0.1 / 255
    return (torch.stack(sums).argmin(0) + 1).to(torch.uint8)
