"""How `d4-codec` is trained: one set of weights for all qualities, rate plus distortion.

    loss = (bits per pixel + D / (0.08 step^2)) / typical bits per pixel at that quality

D is the weighted geometric mean of the planes' squared errors, (Y^6 U V)^(1/8): its logarithm is
the PSNR that `aehub compare` reports. Rounding passes gradients straight through; the encoder
learns its rate from noisy latents (Balle et al. 2018), the integer network from the true codes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from aehub.codecs.d4.checkpoint import StoredModel, make_self_test, save
from aehub.codecs.d4.classical_init import init_classical, init_classical_inter
from aehub.codecs.d4.network import D4Network, FrameNetwork, InterCondition, PlaneBatch
from aehub.codecs.d4.transforms import step_size
from aehub.coding.range_coder import ScaleTables
from aehub.media.picture import Planes
from aehub.training.data import Cache, Crops, FrameStore
from aehub.training.table_fitting import code_bits, fit

NAME = "d4-codec"
LEARNING_RATE = 1e-3
_LAMBDA = 0.08
# Of the encoder's rounding, in steps^2 per bit: chosen on training clips.
ENCODER_LAMBDA = 0.05
# And by which power of the variance it grows, for MS-SSIM.
ENCODER_MASKING = 0.3
_TABLE_BATCHES, _TABLE_SEED = 48, 123


@dataclass(frozen=True)
class Options:
    """What `--set` may change.

    Attributes:
        fields: width of analysis and synthesis, in regular fields of 8 channels.
        analysis_blocks: residual blocks of the analysis.
        synthesis_blocks: residual blocks of the synthesis.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: crops per step.
        fit_steps: steps that fit the base index of each channel, and nothing else: step 0.
        report_seconds: between reports and checkpoints.
    """

    fields: int = 16
    analysis_blocks: int = 2
    synthesis_blocks: int = 3
    size: int = 128
    batch: int = 8
    fit_steps: int = 300
    report_seconds: float = 60.0


def build(options: Options) -> D4Network:
    """The untrained network at its classical start; only the still half is trained."""
    model = D4Network(options.fields, options.analysis_blocks, options.synthesis_blocks)
    init_classical(model)
    init_classical_inter(model.inter)
    for other in (model.inter, model.post_filter):
        other.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_material(data: Path, cache: Cache, options: Options) -> Crops:
    """Crops of the clips and pictures below `data`, decoded once into `cache`."""
    store = FrameStore.build(data, cache)
    return Crops(store, size=options.size, batch=options.batch)


def export(model: D4Network, material: Crops, folder: Path, options: Options) -> None:
    """Write the model folder: tables counted on training crops, integer layers with their proof."""
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    encoder = {"lambda": ENCODER_LAMBDA, "masking": ENCODER_MASKING}
    stored = StoredModel(NAME, model, ScaleTables.fit(), {"encoder": encoder})
    save(folder, NAME, model, counted(stored, material), encoder=encoder,
         self_test=make_self_test(model))


def counted(stored: StoredModel, material: Crops) -> ScaleTables:
    """Tables counted on training crops."""
    levels = qualities(_TABLE_BATCHES, torch.Generator().manual_seed(0)).tolist()
    batches = material.batches(0, _TABLE_SEED)
    pictures = (([Planes(*frame) for frame in zip(*batch, strict=True)], quality)
                for quality, batch in zip(levels, batches, strict=False))
    return fit(stored, pictures)


def fitted(model: D4Network) -> Iterator[torch.nn.Parameter]:
    """What is fitted to data before step 0: the scales' base indices, nothing else."""
    yield model.scales.hyper_bias.values
    for number in range(len(model.pass_channels)):
        yield model.scales.pass_layers(number).last_bias.values


def groups(model: D4Network) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate: base indices count in tens, weights in tenths."""
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], 10.0: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_index = name.startswith("scales.") and name.endswith(".values")
        parts[10.0 if is_index else 1.0].append(parameter)
    return parts


def qualities(n: int, generator: torch.Generator) -> Tensor:
    """Random qualities in hundredths: mostly where files are made, sometimes anywhere."""
    usual = torch.randint(500, 8501, (n,), generator=generator)
    anywhere = torch.randint(0, 10_001, (n,), generator=generator)
    return torch.where(torch.rand(n, generator=generator) < 0.2, anywhere, usual) / 100


def _round(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


class Rated(NamedTuple):
    """Bits per picture [B] of the true codes, the same of noisy latents; what a decoder gets."""

    true_bits: Tensor
    noisy_bits: Tensor
    codes: Tensor
    planes: PlaneBatch


def rate_and_planes(coder: FrameNetwork, planes: PlaneBatch, quality: Tensor,
                    condition: InterCondition | None = None) -> Rated:
    """Encode and decode pictures, differentiably."""
    latent, hyper = coder.analyse(planes, quality, condition)
    true_bits = torch.zeros_like(quality)
    noisy_bits = torch.zeros_like(quality)

    def rate(values: Tensor, index: Tensor, mask: Tensor | None) -> None:
        nonlocal true_bits, noisy_bits
        noisy = values + torch.rand_like(values) - 0.5
        for bits, is_true in ((code_bits(values.detach().round(), index), True),
                              (code_bits(noisy, index.detach()), False)):
            total = (bits if mask is None else bits * mask).sum((1, 2, 3))
            if is_true:
                true_bits = true_bits + total
            else:
                noisy_bits = noisy_bits + total

    hundredths = (quality * 100).round().long()
    distance_class = None if condition is None else condition.distance_class
    hyper_index = coder.scales.hyper_index(hundredths, distance_class)
    hyper_index = hyper_index.expand_as(hyper)
    rate(hyper, hyper_index, None)

    passes = coder.code_passes(_round(hyper) * (hyper_index.detach() >= 1), quality, condition)
    codes: Tensor | None = None
    try:
        while True:
            stage, mean, index = passes.send(codes)  # type: ignore[arg-type]
            values = latent[:, stage.begin:stage.end] - mean
            rate(values, index, stage.mask)
            codes = _round(values) * (index.detach() >= 1)
    except StopIteration as end:
        all_codes, decoded = end.value
    return Rated(true_bits, noisy_bits, all_codes.detach(),
                 coder.synthesise(decoded, quality, condition))


def distortion(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    """(Y^6 U V)^(1/8) of the planes' mean squared errors in grey levels [B]."""
    # A grey picture has no chroma error; without a floor its gradient would know no bound.
    floor = 0.01 * step_size(quality) ** 2
    total = torch.zeros_like(quality)
    for weight, a, b in zip((0.75, 0.125, 0.125), planes, decoded, strict=True):
        error = (255 * (a - b.float())).square().mean((1, 2, 3))
        total = total + weight * torch.log(error + floor)
    return torch.exp(total)


def values(model: D4Network, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (loss with true bits), `bpp` and `psnr` to watch.

    Args:
        model: the network.
        batch: uint8 luma [B, S, S] and chroma [B, S/2, S/2] twice.
        generator: of the random qualities.
    """
    planes = PlaneBatch(*(p[:, None] / 255 - 0.5 for p in batch))
    quality = qualities(len(planes.y), generator).to(planes.y.device)
    typical = 0.08 * torch.exp2(5.5 * quality / 100)
    rated = rate_and_planes(model, planes, quality)
    learn, cost, error, bpp = costs(rated, planes, quality, typical)
    return {"loss": learn.mean(), "cost": cost.mean().detach(), "bpp": bpp.mean().detach(),
            "psnr": (10 * torch.log10(255**2 / error)).mean().detach()}


def costs(rated: Rated, planes: PlaneBatch, quality: Tensor, typical: Tensor
          ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(loss to minimise, cost with true bits, squared error, true bits per pixel), each [B].

    `typical` divides, so that all qualities count alike.
    """
    pixels = planes.y[0].numel()
    error = distortion(planes, rated.planes, quality)
    relative = error / (_LAMBDA * step_size(quality) ** 2)
    cost = (rated.true_bits / pixels + relative) / typical
    # Each half of the rate has its own gradient: of the scales, and of everything before them.
    learn = ((rated.true_bits + rated.noisy_bits) / pixels + relative) / typical
    return learn, cost, error, rated.true_bits / pixels
