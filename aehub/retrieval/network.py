"""The network of fingerprints: a small picture in eight orientations to a vector and a signature.

    picture turned by g ──CNN──> h(g) ──> mean over g of an MLP ──> vector, the same for all turns
                                  └─────> signature(g), which a turn permutes

The vector finds, the signature confirms and tells the orientation. Trained by `aehub train
fingerprint` (`aehub.training.recipes.fingerprint`).

Source: Pizzi et al. 2022, "A self-supervised descriptor for image copy detection" (contrastive
learning with an entropy term); the mean over a group makes any network invariant (Cohen and
Welling 2016).

Dimension letters: `B` pictures, `G` orientations, `S` side of the input, `D` numbers of a vector,
`K` of a signature.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.media.orientation import ORDER, turn

SIDE = 32
"""Samples on a side of the input."""
_LEAST_DEVIATION = 4 / 255
"""Least standard deviation that luma is divided by: below it there is mostly noise."""


class FingerprintNetwork(nn.Module):
    """Small pictures -> vectors and signatures.

    Args:
        width: channels at 16x16; twice as many are at 8x8, three times as many at 4x4.
        vector: numbers of a vector.
        signature: numbers of a signature in one orientation.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {
        "width": (8, 64), "vector": (16, 256), "signature": (8, 64)}

    def __init__(self, width: int = 40, vector: int = 64, signature: int = 24) -> None:
        super().__init__()
        self.config = {"width": width, "vector": vector, "signature": signature}
        self.head = nn.Conv2d(3, width, 5, 2, 2)
        self.middle = nn.Conv2d(width, width, 3, 1, 1)
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.block = nn.Conv2d(2 * width, 2 * width, 3, 1, 1)
        self.last = nn.Conv2d(2 * width, 3 * width, 3, 2, 1)
        self.joined = nn.Linear(16 * 3 * width, 2 * vector)
        self.vector = nn.Linear(2 * vector, vector)
        self.signature = nn.Linear(16 * 3 * width, signature)

    def forward(self, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Turned pictures -> vectors [B, D] and signatures [B, G, K], both of length 1.

        Args:
            turned: [B, G, 3, S, S], a picture in some orientations or all, as `orientations` makes
                them: luma and both chroma planes in [-0.5, 0.5].
        """
        batch, order = turned.shape[:2]
        x = _normalised(turned.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.head(x))
        x = x + F.relu(self.middle(x))
        x = F.relu(self.down(x))
        x = x + F.relu(self.block(x))
        x = F.relu(self.last(x)).flatten(1)
        signatures = F.normalize(self.signature(x).float(), dim=1).unflatten(0, (batch, order))
        joined = F.relu(self.joined(x)).unflatten(0, (batch, order)).mean(1)
        return F.normalize(self.vector(joined).float(), dim=1), signatures


def _normalised(pictures: Tensor) -> Tensor:
    """Luma of mean 0 and deviation 1, for brightness and contrast change; chroma as it is."""
    luma = pictures[:, :1]
    mean = luma.mean((2, 3), keepdim=True)
    deviation = luma.std((2, 3), keepdim=True).clamp(min=_LEAST_DEVIATION)
    return torch.cat([(luma - mean) / deviation, 4 * pictures[:, 1:]], 1)


def orientations(pictures: Tensor) -> Tensor:
    """[B, 3, S, S] -> [B, 8, 3, S, S]: turned by the elements of `aehub.media.orientation`."""
    return torch.stack([turn(pictures, g) for g in range(ORDER)], 1)
