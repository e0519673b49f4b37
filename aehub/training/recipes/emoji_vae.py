"""Recipe of `emoji-vae`: the evidence lower bound, and terms that keep edges sharp.

    loss = 20 (D + 2 s^2 KL / pixels) + L1 + 0.5 G + E

D is the mean squared error and s = 0.05 the standard deviation of a pixel under the model: the
first term is the scaled negative evidence lower bound. L1 and G, the absolute errors of pixels and
of their differences to adjacent ones, favour sharp pictures among equally near ones. E compares the
mean edge strength in windows of 8x8, wherever in the window the edges lie: it penalises blur.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.generators.vae import PictureVAE
from aehub.training.data import Cache
from aehub.training.pictures import PictureBatches, PictureSet
from aehub.weights.stored_network import save

NAME = "emoji-vae"
LEARNING_RATE = 5e-3
_PIXEL_DEVIATION = 0.05
_SQUARED, _DIFFERENCES, _EDGES = 20.0, 0.5, 1.0


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        latent: dimensions of the latents, a multiple of 64.
        width: channels at 8x8.
        blocks: residual blocks at 8x8, in the encoder and in the decoder.
        detail: channels at 16x16.
        batch: pictures per step.
        report_seconds: between reports and checkpoints.
    """

    latent: int = 256
    width: int = 64
    blocks: int = 2
    detail: int = 40
    batch: int = 16
    report_seconds: float = 60.0


def build(options: Options) -> PictureVAE:
    """The untrained network."""
    model = PictureVAE(options.latent, options.width, options.blocks, options.detail)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> PictureBatches:
    """Augmented pictures of the set below `data`; it fits into memory, so `cache` stays empty."""
    return PictureBatches(PictureSet.open(data), batch=options.batch)


def losses(model: PictureVAE, batch: list[Tensor], generator: torch.Generator
           ) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (the same), `psnr` (per picture) and `edges` to report.

    Args:
        model: the network.
        batch: uint8 [B, 3, 64, 64].
        generator: of the noise on the latents.
    """
    pictures = batch[0] / 255
    mean = model.encode(pictures).float()
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    decoded = model.decode(mean + model.log_noise.exp() * noise).float()
    divergence = 0.5 * (mean.square() + torch.exp(2 * model.log_noise) - 1
                        - 2 * model.log_noise).sum(1).mean()
    errors = (decoded - pictures).square().mean((1, 2, 3))
    bound = errors.mean() + 2 * _PIXEL_DEVIATION**2 * divergence / pictures[0].numel()
    edges, true_edges = edge_strength(decoded), edge_strength(pictures)
    loss = (_SQUARED * bound + (decoded - pictures).abs().mean()
            + _DIFFERENCES * _differences(decoded - pictures)
            + _EDGES * (_windows(edges) - _windows(true_edges)).abs().mean())
    psnr = -10 * torch.log10((decoded.clamp(0, 1) - pictures).square().mean((1, 2, 3)) + 1e-9)
    return {"loss": loss, "cost": loss.detach(), "psnr": psnr.mean().detach(),
            "edges": (edges.mean() / true_edges.mean()).detach(),
            "divergence": divergence.detach()}


def edge_strength(pictures: Tensor) -> Tensor:
    """Gradient magnitude of each channel [B, 3, S - 1, S - 1] of pictures [B, 3, S, S]."""
    corner = pictures[..., :-1, :-1]
    across, down = pictures[..., :-1, 1:] - corner, pictures[..., 1:, :-1] - corner
    # The root has no finite slope at 0.
    return (across.square() + down.square() + 1e-5).sqrt()


def _windows(edges: Tensor) -> Tensor:
    return F.avg_pool2d(edges, 8, 4)


def _differences(error: Tensor) -> Tensor:
    """Mean absolute difference of adjacent pixels, both directions added."""
    across, down = error.diff(dim=3), error.diff(dim=2)
    return across.abs().mean() + down.abs().mean()


def export(model: PictureVAE, dataset: PictureBatches, folder: Path, options: Options) -> None:
    """Write the model folder: latents whitened over the training pictures."""
    save(folder, NAME, with_latent_statistics(model, dataset.pictures))


def with_latent_statistics(model: PictureVAE, pictures: PictureSet) -> PictureVAE:
    """The trained network, whitened by the latent statistics of the training pictures."""
    plain = torch.from_numpy(pictures.plain).permute(0, 3, 1, 2)
    finished = PictureVAE(**{**model.config, "anchors": len(plain)})  # type: ignore[arg-type]
    trained = dict(copy.deepcopy(model).cpu().float().named_parameters())
    with torch.no_grad():
        for name, parameter in finished.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(trained[name])
        finished.whiten(torch.cat([finished.encode(part / 255) for part in plain.split(64)]))
    return finished.eval().requires_grad_(False)
