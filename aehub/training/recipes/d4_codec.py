"""Recipe of `d4-codec`, intra frames: rate plus distortion, one set of weights for all qualities.

    loss = (bits per pixel + D / (0.08 step^2)) / typical bits per pixel at that quality

D is the weighted geometric mean of the planes' squared errors, (Y^6 U V)^(1/8): its logarithm is
the PSNR that `aehub compare` reports. Rounding is a straight-through estimator; the encoder learns
its rate from noisy latents (Balle et al. 2018), the integer network from the true codes.
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
from aehub.codecs.d4.frame import FrameCoder, encode_frame
from aehub.codecs.d4.network import (
    CodingPass,
    D4Network,
    FrameNetwork,
    InterCondition,
    PlaneBatch,
)
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.codecs.d4.transforms import step_size
from aehub.coding.range_coder import ScaleTables
from aehub.media.picture import Picture
from aehub.training.data import Cache, Crops, FrameStore
from aehub.training.recipes.d4_tables import code_bits, fit_tables

NAME = "d4-codec"
LEARNING_RATE = 1e-3
evaluation_context = share_expanded_weights
_LAMBDA = 0.08
ENCODER_LAMBDA = 0.05
"""Lagrange multiplier of RDOQ, in squared quantiser steps per bit: chosen on training clips."""
ENCODER_MASKING = 0.3
"""Exponent of the variance by which that multiplier grows in textured blocks, for MS-SSIM."""
_TABLE_BATCHES, _TABLE_SEED = 48, 123


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        fields: width of analysis and synthesis, in regular fields of 8 channels.
        analysis_blocks: residual blocks of the analysis.
        synthesis_blocks: residual blocks of the synthesis.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: crops per step.
        fit_steps: steps before step 0, which fit only the base table index of each channel.
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
    """The network at its classical initialisation; only the intra half is trained."""
    model = D4Network(options.fields, options.analysis_blocks, options.synthesis_blocks)
    init_classical(model)
    init_classical_inter(model.inter)
    for other in (model.inter, model.post_filter):
        other.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> Crops:
    """Crops of the clips and pictures below `data`, decoded into `cache`."""
    store = FrameStore.build(data, cache)
    return Crops(store, size=options.size, batch=options.batch)


def export(model: D4Network, dataset: Crops, folder: Path, options: Options) -> None:
    """Write the model folder: tables counted on training crops, weights with their self test."""
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    encoder = {"lambda": ENCODER_LAMBDA, "masking": ENCODER_MASKING}
    stored = StoredModel(NAME, model, ScaleTables.fit(), {"encoder": encoder},
                         make_self_test(model))
    stored.tables = count_tables(stored, dataset)
    save(folder, stored)


def count_tables(stored: StoredModel, dataset: Crops) -> ScaleTables:
    """Count frequency tables on training crops."""
    levels = random_qualities(_TABLE_BATCHES, torch.Generator().manual_seed(0)).tolist()
    batches = dataset.batches(0, _TABLE_SEED)
    pictures = (([Picture(frame) for frame in zip(*batch, strict=True)], quality)
                for quality, batch in zip(levels, batches, strict=False))
    return fit_tables(stored, pictures)


def start_parameters(model: FrameNetwork) -> Iterator[torch.nn.Parameter]:
    """Base table indices of the scale network, which are fitted to data before step 0."""
    yield model.scales.hyper_bias.values
    for number in range(len(model.pass_channels)):
        yield model.scales.pass_layers(number).last_bias.values


def parameter_groups(model: D4Network) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate: base indices are in tens, weights in tenths."""
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], 10.0: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_index = name.startswith("scales.") and name.endswith(".values")
        parts[10.0 if is_index else 1.0].append(parameter)
    return parts


def random_qualities(n: int, generator: torch.Generator) -> Tensor:
    """Random qualities in hundredths: 80 % in the usual range 5..85, the rest in 0..100."""
    usual = torch.randint(500, 8501, (n,), generator=generator)
    anywhere = torch.randint(0, 10_001, (n,), generator=generator)
    return torch.where(torch.rand(n, generator=generator) < 0.2, anywhere, usual) / 100


def _round_straight_through(x: Tensor) -> Tensor:
    """Round, with the gradient of the identity."""
    return x + (x.round() - x).detach()


class CodedFrames(NamedTuple):
    """Frames as the decoder gets them, and their rate.

    Attributes:
        true_bits: bits per picture of the true codes, [B].
        noisy_bits: bits per picture of latents with uniform noise, [B].
        codes: of all passes.
        planes: decoded.
    """

    true_bits: Tensor
    noisy_bits: Tensor
    codes: Tensor
    planes: PlaneBatch


def code_frames(network: FrameNetwork, planes: PlaneBatch, quality: Tensor,
                condition: InterCondition | None = None) -> CodedFrames:
    """Encode and decode pictures differentiably."""
    coder: _RatedCodes | None = None

    def rate(y: Tensor, z: Tensor) -> FrameCoder:
        nonlocal coder
        coder = _RatedCodes(y, z, torch.zeros_like(quality))
        return coder

    latents = encode_frame(network, planes, quality, rate, condition)
    assert coder is not None
    return CodedFrames(coder.true_bits, coder.noisy_bits, latents.codes.latent.detach(),
                       network.synthesise(latents.y_hat, quality, condition))


class _RatedCodes:
    """A `FrameCoder` that rounds with the gradient of the identity and adds up bits.

    Args:
        y: latents in steps.
        z: hyper-latents in steps.
        none: no bits, [B].
    """

    coded: Tensor | None = None

    def __init__(self, y: Tensor, z: Tensor, none: Tensor) -> None:
        self.y, self.z, self.true_bits, self.noisy_bits = y, z, none, none

    def hyper(self, index: Tensor) -> Tensor:
        """Round z."""
        self._rate(self.z, index, torch.ones_like(self.z[0, 0]))
        return _round_straight_through(self.z) * (index.detach() >= 1)

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Round y - mu."""
        values = self.y[:, coding_pass.begin:coding_pass.end] - mean
        self._rate(values, index, coding_pass.mask)
        return _round_straight_through(values) * (index.detach() >= 1)

    def _rate(self, values: Tensor, index: Tensor, mask: Tensor) -> None:
        noisy = values + torch.rand_like(values) - 0.5
        true_bits = code_bits(values.detach().round(), index) * mask
        noisy_bits = code_bits(noisy, index.detach()) * mask
        self.true_bits = self.true_bits + true_bits.sum((1, 2, 3))
        self.noisy_bits = self.noisy_bits + noisy_bits.sum((1, 2, 3))


def distortion(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    """(Y^6 U V)^(1/8) of the planes' mean squared errors in grey levels [B]."""
    # A grey picture has no chroma error; without a floor its gradient would be unbounded.
    floor = 0.01 * step_size(quality) ** 2
    total = torch.zeros_like(quality)
    for weight, a, b in zip((0.75, 0.125, 0.125), planes, decoded, strict=True):
        error = (255 * (a - b.float())).square().mean((1, 2, 3))
        total = total + weight * torch.log(error + floor)
    return torch.exp(total)


def losses(model: D4Network, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (loss with true bits), `bpp` and `psnr` to watch.

    Args:
        model: the network.
        batch: uint8 luma [B, S, S] and chroma [B, S/2, S/2] twice.
        generator: of the random qualities.
    """
    planes = PlaneBatch(*(p[:, None] / 255 - 0.5 for p in batch))
    quality = random_qualities(len(planes.y), generator).to(planes.y.device)
    typical = 0.08 * torch.exp2(5.5 * quality / 100)
    coded = code_frames(model, planes, quality)
    loss, cost, error, bpp = rd_costs(coded, planes, quality, typical)
    return {"loss": loss.mean(), "cost": cost.mean().detach(), "bpp": bpp.mean().detach(),
            "psnr": (10 * torch.log10(255**2 / error)).mean().detach()}


def rd_costs(coded: CodedFrames, planes: PlaneBatch, quality: Tensor, typical: Tensor
             ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(loss to minimise, cost with true bits, squared error, true bits per pixel), each [B].

    Loss and cost are divided by the `typical` bits per pixel, so that all qualities weigh equally.
    """
    pixels = planes.y[0].numel()
    error = distortion(planes, coded.planes, quality)
    relative = error / (_LAMBDA * step_size(quality) ** 2)
    cost = (coded.true_bits / pixels + relative) / typical
    # True bits train the scale network, noisy bits everything before it.
    loss = ((coded.true_bits + coded.noisy_bits) / pixels + relative) / typical
    return loss, cost, error, coded.true_bits / pixels
