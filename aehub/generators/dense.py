"""The classical dense autoencoder: a picture as one vector, two layers down, two layers up.

    x, S*S numbers -> W1, ReLU -> hidden -> W2 -> code h -> W3, ReLU -> hidden -> W4 -> x^

Dimension letters: `B` pictures, `S` side in pixels, `K` numbers of a code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aehub.generators.base import PictureNetwork


class DenseAutoencoder(PictureNetwork):
    """Autoencoder of grey pictures with fully connected layers.

    Args:
        side: of the pictures, in pixels.
        hidden: width of the layer between picture and code.
        latent: length of a code.
        rectified: 1 to end the encoder with a ReLU, so that codes are not negative.
        squashed: 1 to end the decoder with a sigmoid, which cross-entropy needs.
        anchors: number of stored codes of pictures, among which seeds select.
    """

    ARGUMENTS = {"side": (4, 64), "hidden": (4, 1024), "latent": (1, 256), "rectified": (0, 1),
                 "squashed": (0, 1), "anchors": (1, 4096)}
    channels, gaussian = 1, False
    use_cross_entropy = False
    """Minimise cross-entropy instead of squared error in training; not stored."""

    def __init__(self, side: int = 28, hidden: int = 64, latent: int = 32, rectified: int = 0,
                 squashed: int = 1, anchors: int = 64) -> None:
        super().__init__()
        self.config = {"side": side, "hidden": hidden, "latent": latent, "rectified": rectified,
                       "squashed": squashed, "anchors": anchors}
        self.side, self.latent = side, latent
        self.encoder = nn.Sequential(nn.Linear(side * side, hidden), nn.ReLU(),
                                     nn.Linear(hidden, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(),
                                     nn.Linear(hidden, side * side))
        # Statistics of codes, set once by `set_statistics`.
        self.mean = nn.Parameter(torch.zeros(latent), requires_grad=False)
        self.anchors = nn.Parameter(torch.randn(anchors, latent), requires_grad=False)

    def encode(self, x: Tensor) -> Tensor:
        """Flat pictures [B, S*S] -> codes [B, K]."""
        code: Tensor = self.encoder(x)
        return code.relu() if self.config["rectified"] else code

    def logits(self, code: Tensor) -> Tensor:
        """Codes [B, K] -> flat pictures [B, S*S] before the sigmoid, if there is one."""
        flat: Tensor = self.decoder(code)
        return flat

    def decode(self, code: Tensor) -> Tensor:
        """Codes [B, K] -> flat pictures [B, S*S], in [0, 1] only with the sigmoid."""
        flat = self.logits(code)
        return flat.sigmoid() if self.config["squashed"] else flat

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Codes [B, K] of pictures [B, 1, S, S] in [0, 1]."""
        return self.encode(pictures.flatten(1))

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Pictures [B, 1, S, S] in [0, 1] of codes [B, K]."""
        return self.decode(latents).clamp(0, 1).unflatten(1, (1, self.side, self.side))

    @torch.no_grad()
    def set_statistics(self, codes: Tensor, anchors: Tensor) -> None:
        """Store the mean of the codes of training pictures, and the anchors.

        Args:
            codes: of training pictures, [N, K].
            anchors: [A, K], as many as the network was built for.
        """
        self.mean.copy_(codes.mean(0))
        self.anchors.copy_(anchors)

    def sample(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Tensor:
        """Codes [n, K] of random anchors, moved towards the mean by `truncation`.

        Samples of a Gaussian fitted to all codes decode to blots, because the loss of this
        autoencoder does not constrain the space between glyphs.
        """
        chosen = torch.randint(len(self.anchors), (n,), generator=generator, device="cpu")
        chosen = chosen.to(self.anchors.device)
        return self.mean + truncation * (self.anchors[chosen] - self.mean)
