"""How `d4-codec` is trained: one set of weights for all qualities, rate plus distortion.

    loss = (bits per pixel + D / (0.08 step^2)) / typical bits per pixel at that quality

D is the weighted geometric mean of the planes' squared errors, (Y^6 U V)^(1/8): its logarithm is
the PSNR that `aehub compare` reports. Rounding passes gradients straight through; the encoder
learns its rate from noisy latents (Balle et al. 2018), the integer network from the true codes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from aehub.clips.frames import Planes
from aehub.entropy import ScaleTables
from aehub.models.d4_codec import D4Codec, PlaneBatch, step
from aehub.models.d4_start import set_classical_start
from aehub.models.store import StoredModel, make_probe, save
from aehub.training.data import Crops
from aehub.training.rate import code_bits
from aehub.training.tables import fit

NAME = "d4-codec"
SIZE = 128
BATCH = 8
LEARNING_RATE = 1e-3
# Step 0 of the codec: only the base index of each channel is fitted.
FIT_STEPS = 300
_LAMBDA = 0.08
# Of the encoder's rounding, in steps^2 per bit: chosen on training clips.
ENCODER_LAMBDA = 0.08


def build(**config: int) -> D4Codec:
    """The untrained network at its classical start."""
    model = D4Codec(**config)
    set_classical_start(model)
    return model


def export(model: D4Codec, crops: Crops, folder: Path, *, batches: int = 48) -> None:
    """Write the model folder: tables counted on training crops, integer layers with their proof."""
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    encoder = {"lambda": ENCODER_LAMBDA}
    stored = StoredModel(NAME, model, ScaleTables.fit(), {"encoder": encoder})
    generator = torch.Generator().manual_seed(0)

    def pictures() -> Iterator[tuple[list[Planes], float]]:
        source = crops.batches()
        for quality in qualities(batches, generator).tolist():
            yield [Planes(*frame) for frame in zip(*next(source), strict=True)], quality

    tables = fit(stored, pictures())
    save(folder, NAME, model, tables, encoder=encoder, probe=make_probe(model))


def fitted(model: D4Codec) -> Iterator[torch.nn.Parameter]:
    """What is fitted to data before step 0: the scales' base indices, nothing else."""
    yield model.scales.hyper_bias.values
    for stage in model.scales.stages:
        yield stage.last_bias.values


def groups(model: D4Codec) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate: base indices count in tens, weights in tenths."""
    slow, fast = [], []
    for name, parameter in model.named_parameters():
        (fast if name.startswith("scales.") and name.endswith(".values") else slow).append(parameter)
    return {1.0: slow, 10.0: fast}


def qualities(n: int, generator: torch.Generator) -> Tensor:
    """Random qualities in hundredths: mostly where files are made, sometimes anywhere."""
    usual = torch.randint(500, 8501, (n,), generator=generator)
    anywhere = torch.randint(0, 10_001, (n,), generator=generator)
    return torch.where(torch.rand(n, generator=generator) < 0.2, anywhere, usual) / 100


def _round(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def rate_and_planes(model: D4Codec, planes: PlaneBatch, quality: Tensor
                    ) -> tuple[Tensor, Tensor, PlaneBatch]:
    """Bits per sample [B] of the true codes, the same of noisy latents, and the decoded planes."""
    latent, hyper = model.analyse(planes, quality)
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
    hyper_index = model.scales.hyper_index(hundredths).expand_as(hyper)
    rate(hyper, hyper_index, None)

    walk = model.walk(_round(hyper) * (hyper_index.detach() >= 1), quality)
    codes: Tensor | None = None
    try:
        while True:
            stage, mean, index = walk.send(codes)  # type: ignore[arg-type]
            values = latent[:, stage.begin:stage.end] - mean
            rate(values, index, stage.mask)
            codes = _round(values) * (index.detach() >= 1)
    except StopIteration as end:
        _, decoded = end.value
    return true_bits, noisy_bits, model.synthesise(decoded, quality)


def distortion(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    """(Y^6 U V)^(1/8) of the planes' mean squared errors in grey levels [B]."""
    # A grey picture has no chroma error; without a floor its gradient would know no bound.
    floor = 0.01 * step(quality) ** 2
    total = torch.zeros_like(quality)
    for weight, a, b in zip((0.75, 0.125, 0.125), planes, decoded, strict=True):
        error = (255 * (a - b.float())).square().mean((1, 2, 3))
        total = total + weight * torch.log(error + floor)
    return torch.exp(total)


def loss(model: D4Codec, batch: PlaneBatch, quality: Tensor) -> dict[str, Tensor]:
    """`loss` to minimise and `cost` to watch (loss with true bits), `bpp`, `psnr`: means over B."""
    true_bits, noisy_bits, decoded = rate_and_planes(model, batch, quality)
    pixels = batch.y[0].numel()
    error = distortion(batch, decoded, quality)
    typical = 0.08 * torch.exp2(5.5 * quality / 100)
    relative = error / (_LAMBDA * step(quality) ** 2)
    cost = (true_bits / pixels + relative) / typical
    # The same number twice would train the scales twice: each half has its own gradient.
    learn = ((true_bits + noisy_bits) / pixels + relative) / typical
    return {"loss": learn.mean(), "cost": cost.mean().detach(),
            "bpp": (true_bits / pixels).mean().detach(),
            "psnr": (10 * torch.log10(255**2 / error)).mean().detach()}
