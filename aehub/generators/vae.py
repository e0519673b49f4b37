"""A variational autoencoder of small pictures: a few numbers per 8x8 block, whitened as a whole.

    picture 3x64x64 -> unshuffle 4 -> conv /2 -> W x 8x8 blocks -> mean c x 8x8
    code c x 8x8 -> conv -> W x 8x8 blocks -> D x 16x16 block -> D/2 x 32x32 -> picture

The code is spatial, c numbers for each of 8x8 cells: trained on a thousand pictures this
generalises, whereas a code without positions overfits. It is internal: latents are the code's
principal components over the training pictures, each divided by its deviation, so that they have
mean 0 and variance 1 and are ordered by decreasing variance.

Dimension letters: `B` pictures, `K` latents, `N` anchors, `W` channels at 8x8, `D` at 16x16.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.generators.base import PictureNetwork

SIDE, GRID = 64, 8
"""Pixels and cells on a side of a picture."""
CELLS = GRID * GRID
# Of the prior: nearest anchors that an anchor is combined with; largest tilt of the border in
# radians; its largest distance from the middle, where 1 is the edge of the picture; and its slope.
_NEAREST, _TILT, _OFFSET, _SHARPNESS = 8, 0.6, 0.4, 4.0
# Of a component, far below that of the noise: with fewer pictures than latents some have none.
_LEAST_VARIANCE = 1e-4


class ResidualBlock(nn.Module):
    """Residual block of two 3x3 convolutions, [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # Start near the identity.
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class PictureVAE(PictureNetwork):
    """Variational autoencoder of 64x64 pictures.

    Args:
        latent: length of a latent, a multiple of 64.
        width: channels at 8x8.
        blocks: residual blocks at 8x8, in the encoder and in the decoder.
        detail: channels at 16x16, even; half as many are at 32x32.
        anchors: number of stored latents of training pictures, from which the prior is built.

    Raises:
        ValueError: an argument is outside of `ARGUMENTS`, `latent` is no multiple of 64, or
            `detail` is odd.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {
        "latent": (CELLS, 8 * CELLS), "width": (8, 256), "blocks": (1, 8), "detail": (8, 128),
        "anchors": (1, 4096)}
    side, channels, gaussian = SIDE, 3, True

    def __init__(self, latent: int = 256, width: int = 64, blocks: int = 2, detail: int = 40,
                 anchors: int = 1) -> None:
        super().__init__()
        self.config = {"latent": latent, "width": width, "blocks": blocks, "detail": detail,
                       "anchors": anchors}
        _check(self.config)
        self.latent, code = latent, latent // CELLS
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, width, 4, 2, 1),
            *(ResidualBlock(width) for _ in range(blocks)), nn.SiLU(), nn.Conv2d(width, code, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(code, width, 3, padding=1), *(ResidualBlock(width) for _ in range(blocks)),
            nn.Conv2d(width, 4 * detail, 1), nn.PixelShuffle(2), ResidualBlock(detail),
            nn.SiLU(), nn.Conv2d(detail, 2 * detail, 1), nn.PixelShuffle(2),
            nn.SiLU(), nn.Conv2d(detail // 2, 12, 3, padding=1), nn.PixelShuffle(2))
        self.log_noise = nn.Parameter(torch.full((latent,), -2.5))
        # Statistics of the training pictures, set once by `whiten`.
        self.mean = _statistic(torch.zeros(latent))
        self.deviation = _statistic(torch.ones(latent))
        self.components = _statistic(torch.eye(latent))
        self.anchors = _statistic(torch.zeros(anchors, latent))

    # The code, for training.

    def encode(self, pictures: Tensor) -> Tensor:
        """Mean of the posterior of pictures [B, 3, 64, 64] in [0, 1]: code [B, K]."""
        inputs = (pictures - 0.5).contiguous(memory_format=torch.channels_last)
        return self.encoder(inputs).flatten(1)

    def decode(self, code: Tensor) -> Tensor:
        """Pictures [B, 3, 64, 64] of code [B, K], not clipped to [0, 1]."""
        grid = code.unflatten(1, (-1, GRID, GRID)).contiguous(memory_format=torch.channels_last)
        return self.decoder(grid) + 0.5

    @torch.no_grad()
    def whiten(self, code: Tensor) -> None:
        """Set the statistics, so that latents are whitened principal components of `code` [N, K].

        The latents of `code` become the anchors.

        Raises:
            ValueError: the number N of pictures is not the number of anchors.
        """
        if len(code) != len(self.anchors):
            raise ValueError(f"{len(code)} pictures are given for {len(self.anchors)} anchors.")
        mean = code.double().mean(0)
        variances, components = torch.linalg.eigh(torch.cov((code.double() - mean).T))
        self.mean.copy_(mean)
        self.deviation.copy_(variances.flip(0).clamp(min=_LEAST_VARIANCE).sqrt())
        self.components.copy_(components.flip(1))
        self.anchors.copy_(self._latents(code))

    def _latents(self, code: Tensor) -> Tensor:
        return (code - self.mean) @ self.components / self.deviation

    def _code(self, latents: Tensor) -> Tensor:
        return (latents * self.deviation) @ self.components.T + self.mean

    # The latents, for users.

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Latents [B, K] of pictures [B, 3, 64, 64] in [0, 1]: mean 0, variance 1 over emoji."""
        return self._latents(self.encode(pictures).float())

    def sample(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Tensor:
        """Random latents [n, K].

        The prior combines latents of training pictures: above a random line, with a soft border,
        the code of a random anchor, below it that of one of its nearest anchors. Samples of a
        Gaussian of the same mean and covariance decode to stains, because second-order statistics
        do not describe an emoji.

        Args:
            n: number of latents.
            generator: on the CPU; the same state gives the same latents.
            truncation: factor on the latents; 0 gives the mean of all training pictures.
        """
        device, scaled = self.anchors.device, self.anchors * self.deviation
        first = torch.randint(len(scaled), (n,), generator=generator, device="cpu").to(device)
        nearest = torch.cdist(scaled[first], scaled).topk(min(_NEAREST + 1, len(scaled)),
                                                          largest=False).indices
        # The first is the anchor itself.
        chosen = torch.randint(1, max(2, nearest.shape[1]), (n, 1), generator=generator,
                               device="cpu")
        other = nearest.gather(1, chosen.clamp(max=nearest.shape[1] - 1).to(device))[:, 0]
        above = _soft_half_plane(n, generator).to(scaled)
        code = torch.lerp(self._code(self.anchors[other]).unflatten(1, (-1, GRID, GRID)),
                          self._code(self.anchors[first]).unflatten(1, (-1, GRID, GRID)), above)
        return truncation * self._latents(code.flatten(1))

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, 64, 64] in [0, 1] of latents [B, K]."""
        return self.decode(self._code(latents)).float().clamp(0, 1)


def _soft_half_plane(n: int, generator: torch.Generator) -> Tensor:
    """Weight of the upper picture in each cell, [n, 1, 8, 8]: 1 above a random line, 0 below."""
    noise = torch.rand(2, n, 1, 1, 1, generator=generator, dtype=torch.float32, device="cpu")
    tilt, offset = 2 * noise - 1
    centres = torch.linspace(-1, 1, GRID, dtype=tilt.dtype, device=tilt.device)
    height = (torch.cos(_TILT * tilt) * centres[:, None] + torch.sin(_TILT * tilt) * centres
              - _OFFSET * offset)
    return torch.sigmoid(-_SHARPNESS * height)


def _statistic(values: Tensor) -> nn.Parameter:
    """A parameter that is stored and loaded with the others, but not trained."""
    return nn.Parameter(values, requires_grad=False)


def _check(arguments: dict[str, int | float]) -> None:
    for name, (least, most) in PictureVAE.ARGUMENTS.items():
        if not least <= arguments[name] <= most:
            raise ValueError(f"{name} is {arguments[name]}; allowed are {least} to {most}.")
    for name, unit in (("latent", CELLS), ("detail", 2)):
        if arguments[name] % unit:
            raise ValueError(f"{name} is {arguments[name]}; it must be a multiple of {unit}.")
