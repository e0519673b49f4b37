"""How the coder of predicted frames is trained, onto a `d4-codec` whose still half is finished.

Sequences of five frames are coded one from another as a file codes them (`training.sequences`):
gradients run through the references. The cost of a frame is that of `recipes.d4_codec`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.checkpoint import make_self_test
from aehub.codecs.d4.classical_init import init_classical_inter, tilt_step_sizes
from aehub.codecs.d4.motion.compensate import predict
from aehub.codecs.d4.network import D4Network, InterCondition
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.reference_buffer import context_of, seen
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.codecs.gop import kind_of, quality_of
from aehub.training.data import Cache, Crops, FrameStore
from aehub.training.recipes.d4_codec import ENCODER_MASKING, costs, counted, rate_and_planes
from aehub.training.recipes.d4_codec import qualities as all_qualities
from aehub.training.sequences import GOP_STRUCTURES, Link, MotionStore, Sequences
from aehub.training.table_fitting import fit_predicted
from aehub.weights.device import no_autocast

NAME = "d4-inter"
LEARNING_RATE = 1e-3
# Of the encoder's rounding of predicted frames, in steps^2 per bit: chosen on training clips.
ENCODER_LAMBDA = 0.05
_TABLE_CLIPS, _TABLE_FRAMES, _TABLE_SEED = 30, 17, 123
LAST = 0.005


@dataclass(frozen=True)
class Options:
    """What `--set` may change.

    Attributes:
        base: folder of the model whose still half is kept.
        start: folder of a model whose inter half training goes on from; the classical start if
            empty.
        masking: hundredths of the exponent by which steps grow with texture.
        tilt: by how much steps of the start's inter half are made to grow with frequency. Gains
            are left as they are: squared error would level them.
        base_tilt: the same of the base's still half, whose tables are counted again.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: sequences per step.
        fit_steps: steps that fit the base index of each channel, and nothing else: step 0.
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
    """The still half of `options.base` and an untrained inter half at its classical start."""
    base = checkpoint.load(Path(options.base)).network
    model = D4Network(**base.config | {"inter_masking": options.masking})
    still = {n: p for n, p in base.state_dict().items() if not n.startswith("inter.")}
    model.load_state_dict(still, strict=False)
    init_classical_inter(model.inter)
    if options.start:
        known = checkpoint.load(Path(options.start)).network
        model.inter.load_state_dict(known.inter.state_dict())
    tilt_step_sizes(model, options.base_tilt)
    tilt_step_sizes(model.inter, options.tilt)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("inter.") and "post_filter." not in name)
    model.inter.gain.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_material(data: Path, cache: Cache, options: Options) -> Sequences:
    """Sequences of the clips below `data`, decoded and searched once into `cache`."""
    frames = FrameStore.build(data, cache)
    motion = MotionStore.build(frames, cache)
    return Sequences(frames, motion, size=options.size, batch=options.batch)


def export(model: D4Network, material: Sequences, folder: Path, options: Options) -> None:
    """Write the model folder: the base's tables, and tables counted on predicted frames."""
    base = checkpoint.load(Path(options.base))
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    encoder = base.config.get("encoder", {}) | {"inter_lambda": ENCODER_LAMBDA}
    if options.base_tilt:
        encoder["masking"] = ENCODER_MASKING
    stored = checkpoint.StoredModel(base.name, model, base.tables, {"encoder": encoder})
    if options.base_tilt:
        crops = Crops(material.store, size=options.size, batch=options.batch)
        stored.tables = counted(stored, crops)
    clips = material.clips(_TABLE_CLIPS, _TABLE_FRAMES, _TABLE_SEED)
    levels = all_qualities(_TABLE_CLIPS, torch.Generator().manual_seed(0)).tolist()
    tables = fit_predicted(stored, zip(clips, levels, strict=False))
    checkpoint.save(folder, base.name, model, stored.tables, encoder=encoder,
                    self_test=make_self_test(model), inter_tables=tables)


def fitted(model: D4Network) -> Iterator[torch.nn.Parameter]:
    """What is fitted to data before step 0: the scales' base indices, nothing else."""
    scales = model.inter.scales
    yield scales.hyper_bias.values
    for number in range(len(model.inter.pass_channels)):
        yield scales.pass_layers(number).last_bias.values


def groups(model: D4Network) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate.

    Base indices count in tens, weights in tenths. What linear layers and last ones add is in units
    of the picture: at the full rate one step moves it by grey levels.
    """
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], 10.0: [], LAST: []}
    for name, parameter in model.inter.named_parameters():
        is_index = name.startswith("scales.") and name.endswith(".values")
        is_last = name.endswith(".linear.theta") or name.startswith("means.last.")
        parts[10.0 if is_index else LAST if is_last else 1.0].append(parameter)
    return parts


@dataclass
class _Decoded:
    planes: PlaneBatch
    state: Tensor


def values(model: D4Network, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (loss with true bits), `bpp` and `psnr` to watch.

    Args:
        model: the network.
        batch: as `Sequences` makes them.
        generator: of the random qualities.
    """
    *planes, vectors, span = batch
    links = GOP_STRUCTURES[int(span)]
    frames = [PlaneBatch(*(p[:, t, None] / 255 - 0.5 for p in planes)) for t in range(len(links))]
    quality = all_qualities(len(vectors), generator).to(vectors.device)
    with share_expanded_weights():
        return _sequence_losses(model, frames, links, vectors, quality)


def _sequence_losses(model: D4Network, frames: list[PlaneBatch], links: tuple[Link, ...],
                  vectors: Tensor, quality: Tensor) -> dict[str, Tensor]:
    decoded = [_still(model, frames[0], quality)]
    losses, watched = [], []
    for number, link in enumerate(links[1:], 1):
        level = quality_of(quality, link.level)
        condition = _condition(decoded, links, number, frames[number], vectors[:, number])
        rated = rate_and_planes(model.inter, frames[number], level, condition)
        typical = 0.28 * torch.exp2(2.5 * level / 100)
        learn, *rest = costs(rated, frames[number], level, typical)
        losses.append(learn.mean())
        watched.append(torch.stack(rest).detach())
        decoded.append(_Decoded(PlaneBatch(*(p.float().clamp(-0.5, 0.5) for p in rated.planes)),
                                seen(rated.codes, condition.context)))
    cost, error, bpp = torch.stack(watched).unbind(1)
    return {"loss": torch.stack(losses).mean(), "cost": cost.mean(), "bpp": bpp.mean(),
            "psnr": (10 * torch.log10(255**2 / error)).mean()}


@torch.no_grad()
def _still(model: D4Network, frame: PlaneBatch, quality: Tensor) -> _Decoded:
    rated = rate_and_planes(model, frame, quality)
    return _Decoded(PlaneBatch(*(p.float().clamp(-0.5, 0.5) for p in rated.planes)),
                    seen(rated.codes, None))


def _condition(decoded: list[_Decoded], links: tuple[Link, ...], number: int, frame: PlaneBatch,
               vectors: Tensor) -> InterCondition:
    link = links[number]
    used = [decoded[r] for r in link.references]
    vectors = vectors[:, :len(used)]
    # A product in bfloat16 would round the prediction.
    with no_autocast(vectors.device.type):
        modes = _modes([u.planes for u in used], vectors, frame)
        pixels = unshuffle(predict([u.planes for u in used], vectors, modes))
    context = context_of([u.state for u in used], vectors, modes)
    times = [abs(link.time - links[r].time) for r in link.references]
    return InterCondition(pixels, context, kind_of(min(times)))


@torch.no_grad()
def _modes(references: list[PlaneBatch], vectors: Tensor, frame: PlaneBatch) -> Tensor:
    """Which reference each 16x16 block uses: the one with the least absolute difference."""
    b, _, _, h, w = vectors.shape
    one = torch.ones(b, h // 2, w // 2, dtype=torch.uint8, device=vectors.device)
    if len(references) == 1:
        return one
    sums = []
    for mode in (1, 2, 3):
        luma = predict(references, vectors, one * mode).y
        sums.append(torch.nn.functional.avg_pool2d((luma - frame.y).abs(), 16)[:, 0])
    # The mean of both is the usual choice, and cheaper to say.
    sums[2] = sums[2] * 0.97 - 0.1 / 255
    return (torch.stack(sums).argmin(0) + 1).to(torch.uint8)
