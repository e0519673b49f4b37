"""Who a still shows: features of the picture, and a key for each of its colours.

Dimension letters: B characters, K colours; H, W = 56, 48 the stage.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.still import HEIGHT, WIDTH, Block

KEY, _ABOUT = 24, 8


class Known(NamedTuple):
    """What is known of stills.

    Attributes:
        fine, middle, coarse: features at 1/2, 1/4 and 1/8 of the stage.
        keys: of the colours, [B, K, 24].
        palette: [B, K, 3] in [0, 1].
        present: bool [B, K], which slots are in use.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    keys: Tensor
    palette: Tensor
    present: Tensor


class Encoder(nn.Module):
    """A still on the stage [B, 4, H, W] (colour and coverage) -> features at three scales."""

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


class Tokens(nn.Module):
    """A key for each colour: what it looks like, how much there is of it, where, next to what."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.describe = nn.Conv2d(width, 4 * KEY, 1)
        self.mix = nn.Sequential(nn.Linear(KEY + _ABOUT, 96), nn.SiLU(), nn.Linear(96, 96))
        self.key = nn.Sequential(nn.SiLU(), nn.Linear(192, 96), nn.SiLU(), nn.Linear(96, KEY))

    def forward(self, fine: Tensor, index: Tensor, palette: Tensor, present: Tensor) -> Tensor:
        pixels = F.pixel_shuffle(self.describe(fine), 2).flatten(2).transpose(1, 2)
        y, x = (torch.linspace(-1, 1, n, dtype=torch.float32, device=fine.device)
                for n in (HEIGHT, WIDTH))
        y, x = y[:, None].expand(HEIGHT, WIDTH), x.expand(HEIGHT, WIDTH)
        where = torch.stack([torch.ones_like(x), x, y, x * x, y * y], 2).view(1, -1, 5)
        pixels = torch.cat([pixels, where.expand(len(pixels), -1, -1)], 2)
        member = F.one_hot(index.flatten(1), palette.shape[1]).to(pixels.dtype)
        sums = member.transpose(1, 2) @ pixels
        count = sums[:, :, KEY:KEY + 1]
        mean = sums / count.clamp(min=1)
        about = torch.cat([mean[:, :, :KEY], torch.log1p(count) / 8, mean[:, :, KEY + 1:],
                           palette - 0.5], 2)
        mixed = self.mix(about) * present[:, :, None]
        whole = mixed.sum(1, keepdim=True) / present.sum(1)[:, None, None].clamp(min=1)
        keys: Tensor = self.key(torch.cat([mixed, whole.expand_as(mixed)], 2))
        return keys
