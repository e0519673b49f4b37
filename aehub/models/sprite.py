"""`sprite-motion`: one still picture of a character in, its walk cycle in four directions out.

    still ──Encoder──> features at 1/2, 1/4, 1/8            identity, with its place in the picture
      └──> colours ──Tokens──> a key for each colour of its palette
    Poses (a recurrent network) ──> a pose latent for each frame
    features, direction ──View──> the character seen from there
    view, pose ──Mover──> features moved as the limbs are ──> a query for each pixel
    query . key ──softmax──> which colour of the still's own palette the pixel has

Nothing is drawn that is not of the still's palette, so pictures stay pixel-crisp. New characters
come from `Still`, a variational autoencoder of front-facing stills over the colours used most.

Dimension letters: B characters, T frames, K colours; H, W = 56, 48 the stage, the part of a picture
of side S = 64 in which characters walk.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.picture import PictureModel
from aehub.models.pose import CYCLE, KEYS, N_DIRECTIONS, Poses
from aehub.models.still import HEIGHT, LEFT, SIDE, TOP, WIDTH, Block, Still

_KEY, _ABOUT = 24, 8
_GROUPS, _REACH_Y, _REACH_X = 4, 2, 3


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
        self.describe = nn.Conv2d(width, 4 * _KEY, 1)
        self.mix = nn.Sequential(nn.Linear(_KEY + _ABOUT, 96), nn.SiLU(), nn.Linear(96, 96))
        self.key = nn.Sequential(nn.SiLU(), nn.Linear(192, 96), nn.SiLU(), nn.Linear(96, _KEY))

    def forward(self, fine: Tensor, index: Tensor, palette: Tensor, present: Tensor) -> Tensor:
        pixels = F.pixel_shuffle(self.describe(fine), 2).flatten(2).transpose(1, 2)
        y = torch.linspace(-1, 1, HEIGHT, device=fine.device)[:, None].expand(HEIGHT, WIDTH)
        x = torch.linspace(-1, 1, WIDTH, device=fine.device).expand(HEIGHT, WIDTH)
        where = torch.stack([torch.ones_like(x), x, y, x * x, y * y], 2).view(1, -1, 5)
        pixels = torch.cat([pixels, where.expand(len(pixels), -1, -1)], 2)
        member = F.one_hot(index.flatten(1), palette.shape[1]).to(pixels.dtype)
        sums = member.transpose(1, 2) @ pixels
        count = sums[:, :, _KEY:_KEY + 1]
        mean = sums / count.clamp(min=1)
        about = torch.cat([mean[:, :, :_KEY], torch.log1p(count) / 8, mean[:, :, _KEY + 1:],
                           palette - 0.5], 2)
        mixed = self.mix(about) * present[:, :, None]
        whole = mixed.sum(1, keepdim=True) / present.sum(1)[:, None, None].clamp(min=1)
        keys: Tensor = self.key(torch.cat([mixed, whole.expand_as(mixed)], 2))
        return keys


class View(nn.Module):
    """Features of a still -> features [B, C, H/2, W/2] of the character seen from a direction."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = nn.ParameterList([
            nn.Parameter(torch.randn(N_DIRECTIONS, c, HEIGHT // n, WIDTH // n) * 0.1)
            for c, n in ((3 * width, 8), (2 * width, 4), (width, 2))])
        self.coarse = nn.ModuleList([Block(3 * width, N_DIRECTIONS) for _ in range(2)])
        self.up = nn.Conv2d(3 * width, 4 * width, 1)
        self.join = nn.Conv2d(3 * width, 2 * width, 1)
        self.middle = nn.ModuleList([Block(2 * width, N_DIRECTIONS) for _ in range(2)])
        self.up_again = nn.Conv2d(2 * width, 4 * width, 1)
        self.join_again = nn.Conv2d(2 * width, width, 1)
        self.fine = Block(width, N_DIRECTIONS)

    def forward(self, known: Known, direction: Tensor) -> Tensor:
        facing = F.one_hot(direction, N_DIRECTIONS).float()
        x = known.coarse + self.places[0][direction]
        for block in self.coarse:
            x = block(x, facing)
        x = torch.cat([F.pixel_shuffle(self.up(x), 2), known.middle], 1)
        x = self.join(x) + self.places[1][direction]
        for block in self.middle:
            x = block(x, facing)
        x = torch.cat([F.pixel_shuffle(self.up_again(x), 2), known.fine], 1)
        seen: Tensor = self.fine(self.join_again(x) + self.places[2][direction], facing)
        return seen


class Mover(nn.Module):
    """A view and poses -> a query for each pixel.

    At each place of a pose, each of four groups of channels is a learnt mean of the view around it:
    how limbs move depends on the pose and the place, not on whose limbs they are.
    """

    def __init__(self, width: int, pose: int) -> None:
        super().__init__()
        self.taps = (2 * _REACH_Y + 1) * (2 * _REACH_X + 1)
        places = HEIGHT // 2 * (WIDTH // 2)
        reach = torch.zeros(N_DIRECTIONS, KEYS, _GROUPS, places, self.taps)
        reach[..., self.taps // 2] = 1
        reach = reach + torch.randn_like(reach) * 0.03
        self.reach = nn.Parameter(reach.flatten(2))
        self.move = nn.ModuleList([Block(width, pose)])
        self.query = nn.Conv2d(width, 4 * _KEY, 1)

    def forward(self, view: Tensor, direction: Tensor, poses: Tensor, nearness: Tensor) -> Tensor:
        """Queries [B, T, H * W, 24].

        Args:
            view: [B, C, H/2, W/2].
            direction: int64 [1], of all B characters.
            poses: [1, T, pose].
            nearness: of the poses, [1, T, KEYS].
        """
        b, c, h, w = view.shape
        t = poses.shape[1]
        near = nearness[0]
        reach = (near @ self.reach[int(direction)]).view(t, _GROUPS, h * w, self.taps)
        around = F.unfold(view, (2 * _REACH_Y + 1, 2 * _REACH_X + 1),
                          padding=(_REACH_Y, _REACH_X))
        around = around.view(b, _GROUPS, c // _GROUPS, self.taps, h * w).permute(1, 4, 3, 0, 2)
        moved = reach.permute(1, 2, 0, 3) @ around.flatten(3)
        moved = moved.view(_GROUPS, h * w, t, b, c // _GROUPS).permute(3, 2, 0, 4, 1)
        x = moved.reshape(b * t, c, h, w).contiguous(memory_format=torch.channels_last)
        told = poses.expand(b, -1, -1).flatten(0, 1)
        for block in self.move:
            x = block(x, told)
        queries = F.pixel_shuffle(self.query(F.silu(x)), 2)
        return queries.flatten(2).transpose(1, 2).reshape(b, t, HEIGHT * WIDTH, _KEY)


class SpriteMotion(PictureModel):
    """Still -> walk cycle.

    Args:
        width: channels at 1/2; twice as many at 1/4, thrice at 1/8; a multiple of 4.
        pose: numbers of a pose latent.
        hidden: of the recurrent state.
        latent: numbers of an identity latent.
        colours: that new characters are drawn with, the background included.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {
        "width": (8, 96), "pose": (4, 128), "hidden": (8, 256), "latent": (8, 256),
        "colours": (2, 2048)}
    STORED = torch.float16

    def __init__(self, width: int = 48, pose: int = 16, hidden: int = 64, latent: int = 64,
                 colours: int = 384) -> None:
        super().__init__()
        self.config = {"width": width, "pose": pose, "hidden": hidden, "latent": latent,
                       "colours": colours}
        if width % _GROUPS:
            raise ValueError(f"a width of {width} is no multiple of {_GROUPS}.")
        self.side, self.channels, self.latent = SIDE, 3, latent
        self.encoder, self.tokens = Encoder(width), Tokens(width)
        self.poses, self.view, self.mover = Poses(pose, hidden), View(width), Mover(width, pose)
        self.still = Still(latent, colours)

    # Stills as latents.

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Stills [B, 3, S, S] on white in [0, 1] -> identity latents [B, latent]."""
        return self.still.whitened(self.still.posterior(pictures)[0])

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Identity latents [B, latent] -> stills [B, 3, S, S] on white in [0, 1]."""
        logits = self.still.logits(self.still.coloured(latents))
        stage = self.still.palette[logits.argmax(-1)].permute(0, 3, 1, 2)
        around = (LEFT, SIDE - LEFT - WIDTH, TOP, SIDE - TOP - HEIGHT)
        return F.pad(stage, around, value=1.0)

    # Stills in motion.

    def read(self, index: Tensor, palette: Tensor, present: Tensor) -> Known:
        """All that is known of stills.

        Args:
            index: int64 [B, S, S], places in the palette.
            palette: [B, K, 3] in [0, 1].
            present: bool [B, K].
        """
        index = staged(index)
        colours = torch.gather(palette, 1, index.flatten(1)[:, :, None].expand(-1, -1, 3))
        picture = colours.transpose(1, 2).reshape(len(index), 3, HEIGHT, WIDTH)
        still = torch.cat([picture - 0.5, (index > 0)[:, None].float()], 1)
        fine, middle, coarse = self.encoder(still)
        return Known(fine, middle, coarse, self.tokens(fine, index, palette, present), palette,
                     present)

    def scores(self, known: Known, direction: Tensor, poses: Tensor) -> Tensor:
        """How likely each colour is, as logits [B, T, H * W, K].

        Args:
            known: of B stills.
            direction: int64 [1], of all of them.
            poses: [1, T, pose].
        """
        view = self.view(known, direction.expand(len(known.keys)))
        queries = self.mover(view, direction, poses, self.poses.nearness(direction, poses))
        absent = torch.where(known.present, 0.0, -1e4)
        logits: Tensor = queries @ known.keys.transpose(1, 2)[:, None] + absent[:, None, None]
        return logits

    def cycle(self, direction: Tensor, length: int = CYCLE) -> Tensor:
        """Poses of standing and of one cycle: [1, 1 + length, pose]."""
        return torch.cat([self.poses.standing(direction),
                          self.poses(direction, length, length)], 1)


def staged(pictures: Tensor) -> Tensor:
    """The stage of pictures [..., S, S]."""
    return pictures[..., TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]


def choose(logits: Tensor, palette: Tensor) -> Tensor:
    """The colours of least expected squared error: places in the palette, int64 [B, T, N].

    Args:
        logits: [B, T, N, K].
        palette: [B, K, 3] in [0, 1].
    """
    share = logits.softmax(-1)
    mean = share @ palette[:, None]
    distance = palette.square().sum(-1)[:, None, None] - 2 * mean @ palette.transpose(1, 2)[:, None]
    # A colour that nothing speaks for is no compromise between two others.
    return distance.masked_fill(share < 0.02, torch.inf).argmin(-1)
