"""A variational autoencoder of small pictures: a few numbers per 8x8 block, whitened as a whole.

    picture 3x64x64 -> unshuffle 4 -> conv /2 -> W x 8x8 blocks -> mean c x 8x8
    code c x 8x8 -> conv -> W x 8x8 blocks -> D x 16x16 block -> D/2 x 32x32 -> picture

The code is laid out as the picture is, c numbers for each of 64 places: that generalises from a
thousand pictures where a vector without places learns them by heart. Users never see it: latents
are the code's principal components over the training pictures, each divided by its deviation, so
that they have mean 0 and variance 1 and their first numbers say most.

Dimension letters: `B` pictures, `K` latents, `N` anchors, `W` channels at 8x8, `D` at 16x16.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.generators.base import PictureNetwork

SIDE, GRID = 64, 8
CELLS = GRID * GRID
# Of the prior: neighbours that an anchor is joined with; the line is tilted by at most this many
# radians and lies at most this far from the middle, of which 1 is the border of the picture.
_NEAREST, _TILT, _OFFSET, _SHARPNESS = 8, 0.6, 0.4, 4.0


# Of a component, far below that of the noise: fewer pictures than latents leave some without any.
_LEAST_VARIANCE = 1e-4


class ResidualBlock(nn.Module):
    """Residual branch of two 3x3 convolutions [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # Near the identity at first.
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class PictureVAE(PictureNetwork):
    """Variational autoencoder of 64x64 pictures.

    Args:
        latent: numbers a picture becomes, a multiple of 64.
        width: channels at 8x8.
        blocks: residual blocks at 8x8, in the encoder and in the decoder.
        detail: channels at 16x16, even; half as many are at 32x32.
        anchors: latents of training pictures that the prior is made of.

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

    # What training works on.

    def encode(self, pictures: Tensor) -> Tensor:
        """Mean of the posterior of pictures [B, 3, 64, 64] in [0, 1]: code [B, K]."""
        inputs = (pictures - 0.5).contiguous(memory_format=torch.channels_last)
        return self.encoder(inputs).flatten(1)

    def decode(self, code: Tensor) -> Tensor:
        """Pictures [B, 3, 64, 64] of code [B, K], not held to [0, 1]."""
        grid = code.unflatten(1, (-1, GRID, GRID)).contiguous(memory_format=torch.channels_last)
        return self.decoder(grid) + 0.5

    @torch.no_grad()
    def whiten(self, code: Tensor) -> None:
        """Make latents the whitened principal components of `code` [N, K], and these the anchors.

        Raises:
            ValueError: `code` is not of as many pictures as there are anchors.
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

    # What the library works on.

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Latents [B, K] of pictures [B, 3, 64, 64] in [0, 1]: mean 0, variance 1 over emoji."""
        return self._latents(self.encode(pictures).float())

    def sample(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Tensor:
        """Latents [n, K] of pictures that never were.

        The prior is made of the aggregate posterior: above a random line a picture is as one anchor
        drawn at random, below as one of that anchor's nearest neighbours, with a soft border. A
        Gaussian of the same mean and covariance draws stains: what makes an emoji is not in its
        covariances.

        Args:
            n: how many.
            generator: on the CPU; the same state gives the same latents.
            truncation: factor on the latents; 0 is the mean of all emoji.
        """
        device, scaled = self.anchors.device, self.anchors * self.deviation
        first = torch.randint(len(scaled), (n,), generator=generator, device="cpu").to(device)
        near = torch.cdist(scaled[first], scaled).topk(min(_NEAREST + 1, len(scaled)),
                                                       largest=False).indices
        # The nearest is the anchor itself.
        chosen = torch.randint(1, max(2, near.shape[1]), (n, 1), generator=generator, device="cpu")
        other = near.gather(1, chosen.clamp(max=near.shape[1] - 1).to(device))[:, 0]
        above = _soft_half_plane(n, generator).to(scaled)
        code = torch.lerp(self._code(self.anchors[other]).unflatten(1, (-1, GRID, GRID)),
                          self._code(self.anchors[first]).unflatten(1, (-1, GRID, GRID)), above)
        return truncation * self._latents(code.flatten(1))

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Pictures [B, 3, 64, 64] in [0, 1] of latents [B, K]."""
        return self.decode(self._code(latents)).float().clamp(0, 1)


def _soft_half_plane(n: int, generator: torch.Generator) -> Tensor:
    """Share of the upper picture at each place [n, 1, 8, 8]: 1 above a random line, 0 below."""
    drawn = torch.rand(2, n, 1, 1, 1, generator=generator, dtype=torch.float32, device="cpu")
    tilt, offset = 2 * drawn - 1
    place = torch.linspace(-1, 1, GRID, dtype=tilt.dtype, device=tilt.device)
    height = (torch.cos(_TILT * tilt) * place[:, None] + torch.sin(_TILT * tilt) * place
              - _OFFSET * offset)
    return torch.sigmoid(-_SHARPNESS * height)


def _statistic(values: Tensor) -> nn.Parameter:
    """A parameter that is stored and loaded with the others but not trained."""
    return nn.Parameter(values, requires_grad=False)


def _check(arguments: dict[str, int | float]) -> None:
    for name, (least, most) in PictureVAE.ARGUMENTS.items():
        if not least <= arguments[name] <= most:
            raise ValueError(f"{name} is {arguments[name]}; allowed are {least} to {most}.")
    for name, unit in (("latent", CELLS), ("detail", 2)):
        if arguments[name] % unit:
            raise ValueError(f"{name} is {arguments[name]}; it must be a multiple of {unit}.")
