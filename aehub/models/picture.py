"""What the autoencoders of small pictures have in common: a square in, a few numbers, a square out.

Dimension letters: `B` pictures, `C` channels, `S` side in pixels, `K` numbers of a latent.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class PictureModel(nn.Module):
    """Base of the autoencoders of pictures.

    Subclasses set the attributes, the last five on the class or in the constructor, and write the
    two halves. Only named parameters are stored.

    Attributes:
        ARGUMENTS: of the constructor: name -> (least, most); all have to be given in a config.
        STORED: type of the numbers on disk.
        config: arguments that the model was built with.
        side: pixels of the square picture.
        channels: 1 or 3.
        latent: numbers that a picture becomes.
        gaussian: whether latents are drawn from N(0, 1), so that random seeds and great circles
            between them make sense.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {}
    STORED: ClassVar[torch.dtype] = torch.float32

    config: dict[str, int | float]
    side: int
    channels: int
    latent: int
    gaussian: bool = True

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Pictures [B, C, S, S] in [0, 1] -> latents [B, K], the most likely ones."""
        raise NotImplementedError

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Latents [B, K] -> pictures [B, C, S, S] in [0, 1]."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Tensor:
        """Latents [n, K] of pictures that never were.

        Args:
            n: how many.
            generator: on the CPU; the same state gives the same latents.
            truncation: below 1 keeps nearer to the mean picture: less variety, fewer failures.
        """
        like = next(self.parameters())
        drawn = torch.randn(n, self.latent, generator=generator, dtype=torch.float32, device="cpu")
        return truncation * drawn.to(like)
