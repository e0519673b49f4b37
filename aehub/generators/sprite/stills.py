"""Networks on front-facing stills: features, keys of their colours, and a variational autoencoder.

The autoencoder has a categorical likelihood over the colours that training pictures use most, so
its samples are crisp pixel art. It decodes only the crop in which characters walk; all around is
background. Its latents are whitened by the mean and the covariance of those of the training stills,
`centre` and `spread` (a Cholesky factor), so that samples of N(0, 1) follow their distribution.

Dimension letters: B characters, K colours; H, W = 56, 48 the crop.

Source: Kingma and Welling 2013, https://arxiv.org/abs/1312.6114
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 64
"""Pixels on a side of a picture."""
TOP, LEFT, HEIGHT, WIDTH = 8, 8, 56, 48
"""The crop of a picture in which characters walk: rows 8..63 and columns 8..55."""
KEY_SIZE = 24
"""Length of the key of a colour."""
# Numbers that describe a colour beside the mean of its pixels' features: pixel count, position
# (x, y and their squares), RGB.
_DESCRIPTORS = 8
# Channels of a pixel before its colour is chosen.
_EMBEDDING = 32


class Block(nn.Module):
    """Residual block x + conv(silu(conv(silu(x)) s + b)); a condition, if any, sets s and b."""

    def __init__(self, channels: int, condition: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.follow = nn.Linear(condition, 2 * channels) if condition else None
        nn.init.normal_(self.second.weight, std=0.02 / channels**0.5)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        hidden = self.first(F.silu(x))
        if self.follow is not None and condition is not None:
            scale, shift = self.follow(condition)[:, :, None, None].chunk(2, 1)
            hidden = hidden * (1 + scale) + shift
        return x + self.second(F.silu(hidden))


class StillFeatures(NamedTuple):
    """Encoded stills.

    Attributes:
        fine, middle, coarse: features at 1/2, 1/4 and 1/8 of the crop.
        keys: of the colours, [B, K, 24].
        palette: [B, K, 3] in [0, 1].
        present: bool [B, K], mask of the palette entries in use.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    keys: Tensor
    palette: Tensor
    present: Tensor


class StillEncoder(nn.Module):
    """Crop of a still [B, 4, H, W] (colour and alpha) -> features at three scales."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 16, HEIGHT // 2, WIDTH // 2) * 0.3)
        self.enter = nn.Conv2d(16 + 16, width, 3, padding=1)
        self.fine = Block(width)
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.middle = nn.Sequential(Block(2 * width), Block(2 * width))
        self.down_again = nn.Conv2d(2 * width, 3 * width, 2, 2)
        self.coarse = nn.Sequential(Block(3 * width), Block(3 * width))

    def forward(self, still: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = self.place.expand(len(still), -1, -1, -1)
        x = torch.cat([F.pixel_unshuffle(still, 2), place], 1)
        fine = self.fine(self.enter(x.contiguous(memory_format=torch.channels_last)))
        middle = self.middle(self.down(fine))
        return fine, middle, self.coarse(self.down_again(middle))


class ColourKeys(nn.Module):
    """A key for each colour, from its RGB, pixel count, position, and the features around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.describe = nn.Conv2d(width, 4 * KEY_SIZE, 1)
        self.mix = nn.Sequential(nn.Linear(KEY_SIZE + _DESCRIPTORS, 96), nn.SiLU(),
                                 nn.Linear(96, 96))
        self.key = nn.Sequential(nn.SiLU(), nn.Linear(192, 96), nn.SiLU(), nn.Linear(96, KEY_SIZE))

    def forward(self, fine: Tensor, index: Tensor, palette: Tensor, present: Tensor) -> Tensor:
        pixels = F.pixel_shuffle(self.describe(fine), 2).flatten(2).transpose(1, 2)
        y, x = (torch.linspace(-1, 1, n, dtype=torch.float32, device=fine.device)
                for n in (HEIGHT, WIDTH))
        y, x = y[:, None].expand(HEIGHT, WIDTH), x.expand(HEIGHT, WIDTH)
        position = torch.stack([torch.ones_like(x), x, y, x * x, y * y], 2).view(1, -1, 5)
        pixels = torch.cat([pixels, position.expand(len(pixels), -1, -1)], 2)
        member = F.one_hot(index.flatten(1), palette.shape[1]).to(pixels.dtype)
        sums = member.transpose(1, 2) @ pixels
        count = sums[:, :, KEY_SIZE:KEY_SIZE + 1]
        mean = sums / count.clamp(min=1)
        descriptors = torch.cat([mean[:, :, :KEY_SIZE], torch.log1p(count) / 8,
                                 mean[:, :, KEY_SIZE + 1:], palette - 0.5], 2)
        mixed = self.mix(descriptors) * present[:, :, None]
        average = mixed.sum(1, keepdim=True) / present.sum(1)[:, None, None].clamp(min=1)
        keys: Tensor = self.key(torch.cat([mixed, average.expand_as(mixed)], 2))
        return keys


class StillVAE(nn.Module):
    """Variational autoencoder of stills, with a categorical likelihood.

    Args:
        latent: length of a latent.
        colours: of the palette, the background first.
    """

    def __init__(self, latent: int, colours: int) -> None:
        super().__init__()
        self.palette = nn.Parameter(torch.ones(colours, 3), requires_grad=False)
        self.centre = nn.Parameter(torch.zeros(latent), requires_grad=False)
        self.spread = nn.Parameter(torch.eye(latent), requires_grad=False)
        self.analysis = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, 96, 3, padding=1), Block(96),
            nn.Conv2d(96, 128, 2, 2), Block(128), nn.SiLU(), nn.Conv2d(128, 48, 1),
            nn.Flatten(), nn.Linear(48 * 64, 2 * latent))
        self.expand = nn.Linear(latent, 128 * 64)
        self.place = nn.Parameter(torch.randn(1, 128, 8, 8) * 0.1)
        self.synthesis = nn.Sequential(
            Block(128), nn.Conv2d(128, 384, 1), nn.PixelShuffle(2),
            Block(96), Block(96), nn.Conv2d(96, 192, 1), nn.PixelShuffle(2))
        self.detail = nn.Sequential(
            Block(48), nn.SiLU(), nn.Conv2d(48, 4 * _EMBEDDING, 1), nn.PixelShuffle(2))
        self.colour = nn.Linear(_EMBEDDING, colours)

    def posterior(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, S, S] in [0, 1] -> mean and log variance, [B, latent] each."""
        x = (pictures - 0.5).contiguous(memory_format=torch.channels_last)
        mean, log_variance = self.analysis(x).float().chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)

    def logits(self, latents: Tensor) -> Tensor:
        """Logits of the colours in the crop, [B, H, W, colours]."""
        x = self.expand(latents).view(-1, 128, 8, 8) + self.place
        x = self.synthesis(x.contiguous(memory_format=torch.channels_last))
        x = x[:, :, TOP // 2:(TOP + HEIGHT) // 2, LEFT // 2:(LEFT + WIDTH) // 2]
        x = self.detail(x.contiguous(memory_format=torch.channels_last))
        scores: Tensor = self.colour(x.permute(0, 2, 3, 1))
        return scores

    def whitened(self, latents: Tensor) -> Tensor:
        """Latents of the network -> latents of mean 0 and identity covariance, [B, latent]."""
        centred = (latents - self.centre).T
        return torch.linalg.solve_triangular(self.spread, centred, upper=False).T

    def unwhitened(self, latents: Tensor) -> Tensor:
        """The inverse of `whitened`."""
        return latents @ self.spread.T + self.centre
