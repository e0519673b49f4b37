"""`sprite-motion`: one still picture of a character in, its walk cycle in four directions out.

    still ──StillEncoder──> features at 1/2, 1/4, 1/8     identity, with its place in the picture
      └──> colours ──ColourKeys──> a key for each colour of its palette
    PoseNetwork (recurrent) ──> a pose latent for each frame
    features, direction ──ViewSynthesis──> the character seen from there
    view, pose ──PoseWarp──> features moved as the limbs are ──> a query for each pixel
    query . key ──softmax──> which colour of the still's own palette the pixel has
    still ──PartDictionary──> the clothes and hair it is composed of, in all poses: a second opinion

Nothing is drawn that is not of the still's palette, so pictures stay pixel-crisp. New characters
come from `StillVAE`, a variational autoencoder of front-facing stills over the colours used most.

Dimension letters: B characters, T frames, K colours; H, W = 56, 48 the stage, the part of a picture
of side S = 64 in which characters walk.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.generators.base import PictureNetwork
from aehub.generators.sprite.parts import PartDictionary
from aehub.generators.sprite.poses import CYCLE, N_DIRECTIONS, N_KEY_POSES, PoseNetwork
from aehub.generators.sprite.stills import (
    HEIGHT,
    KEY_SIZE,
    LEFT,
    SIDE,
    TOP,
    WIDTH,
    Block,
    ColourKeys,
    StillEncoder,
    StillFeatures,
    StillVAE,
)

_GROUPS, _REACH_Y, _REACH_X = 4, 2, 3
# Up to this share of a still may be wrong in hair alone; from that on the network counts alone.
_EXPLAINED, _UNEXPLAINED = 0.25, 0.7


class PartRendering(NamedTuple):
    """A character composed of parts, in ways that differ in hair and hats.

    Attributes:
        shares: of the ways in each row, float [N, H].
        places: uint8 [N, 4, 9, H, W] in the palette of the still.
        unexplained: share of the still that they do not explain.
    """

    shares: Tensor
    places: Tensor
    unexplained: float


class ViewSynthesis(nn.Module):
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

    def forward(self, known: StillFeatures, direction: Tensor) -> Tensor:
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


class PoseWarp(nn.Module):
    """A view and poses -> a query for each pixel.

    At each place of a pose, each of four groups of channels is a learnt mean of the view around it:
    how limbs move depends on the pose and the place, not on whose limbs they are.
    """

    def __init__(self, width: int, pose: int) -> None:
        super().__init__()
        self.taps = (2 * _REACH_Y + 1) * (2 * _REACH_X + 1)
        places = HEIGHT // 2 * (WIDTH // 2)
        reach = torch.zeros(N_DIRECTIONS, N_KEY_POSES, _GROUPS, places, self.taps)
        reach[..., self.taps // 2] = 1
        reach = reach + torch.randn_like(reach) * 0.03
        self.reach = nn.Parameter(reach.flatten(2))
        self.move = nn.ModuleList([Block(width, pose)])
        self.query = nn.Conv2d(width, 4 * KEY_SIZE, 1)

    def forward(self, view: Tensor, direction: Tensor, poses: Tensor, nearness: Tensor) -> Tensor:
        """Queries [B, T, H * W, 24].

        Args:
            view: [B, C, H/2, W/2].
            direction: int64 [1], of all B characters.
            poses: [1, T, pose].
            nearness: of the poses, [1, T, N_KEY_POSES].
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
        return queries.flatten(2).transpose(1, 2).reshape(b, t, HEIGHT * WIDTH, KEY_SIZE)


class SpriteNetwork(PictureNetwork):
    """Still -> walk cycle.

    Args:
        width: channels at 1/2; twice as many at 1/4, thrice at 1/8; a multiple of 4.
        pose: numbers of a pose latent.
        hidden: of the recurrent state.
        latent: numbers of an identity latent.
        colours: that new characters are drawn with, the background included.
        parts, palettes, cover, pixels: sizes of `PartDictionary`.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {
        "width": (8, 96), "pose": (4, 128), "hidden": (8, 256), "latent": (8, 256),
        "colours": (2, 2048), "parts": (0, 1024), "palettes": (0, 4096), "cover": (0, 1 << 23),
        "pixels": (0, 1 << 24)}
    STORED = torch.float16
    network_weight = 0.1
    """How far the network counts beside parts that explain a still but for its hair."""

    def __init__(self, width: int = 48, pose: int = 16, hidden: int = 64, latent: int = 64,
                 colours: int = 384, parts: int = 0, palettes: int = 0, cover: int = 0,
                 pixels: int = 0) -> None:
        super().__init__()
        self.config = {"width": width, "pose": pose, "hidden": hidden, "latent": latent,
                       "colours": colours, "parts": parts, "palettes": palettes, "cover": cover,
                       "pixels": pixels}
        if width % _GROUPS:
            raise ValueError(f"a width of {width} is no multiple of {_GROUPS}.")
        self.side, self.channels, self.latent = SIDE, 3, latent
        self.encoder, self.tokens = StillEncoder(width), ColourKeys(width)
        self.poses, self.view = PoseNetwork(pose, hidden), ViewSynthesis(width)
        self.mover = PoseWarp(width, pose)
        self.still = StillVAE(latent, colours)
        self.parts = PartDictionary(parts, palettes, cover, pixels)

    # Stills as latents.

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Stills [B, 3, S, S] on white in [0, 1] -> identity latents [B, latent]."""
        return self.still.whitened(self.still.posterior(pictures)[0])

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Identity latents [B, latent] -> stills [B, 3, S, S] on white in [0, 1]."""
        logits = self.still.logits(self.still.unwhitened(latents))
        stage = self.still.palette[logits.argmax(-1)].permute(0, 3, 1, 2)
        around = (LEFT, SIDE - LEFT - WIDTH, TOP, SIDE - TOP - HEIGHT)
        return F.pad(stage, around, value=1.0)

    # Stills in motion.

    def encode_still(self, index: Tensor, palette: Tensor, present: Tensor) -> StillFeatures:
        """All that is known of stills.

        Args:
            index: int64 [B, S, S], places in the palette.
            palette: [B, K, 3] in [0, 1].
            present: bool [B, K].
        """
        index = crop_stage(index)
        colours = torch.gather(palette, 1, index.flatten(1)[:, :, None].expand(-1, -1, 3))
        picture = colours.transpose(1, 2).reshape(len(index), 3, HEIGHT, WIDTH)
        still = torch.cat([picture - 0.5, (index > 0)[:, None].float()], 1)
        fine, middle, coarse = self.encoder(still)
        keys = self.tokens(fine, index, palette, present)
        return StillFeatures(fine, middle, coarse, keys, palette, present)

    def logits(self, known: StillFeatures, direction: Tensor, poses: Tensor) -> Tensor:
        """How likely each colour is, as logits [B, T, H * W, K].

        Args:
            known: of B stills.
            direction: int64 [1], of all of them.
            poses: [1, T, pose].
        """
        view = self.view(known, direction.expand(len(known.keys)))
        queries = self.mover(view, direction, poses, self.poses.key_weights(direction, poses))
        absent = (~known.present).to(queries.dtype) * -1e4
        logits: Tensor = queries @ known.keys.transpose(1, 2)[:, None] + absent[:, None, None]
        return logits

    def combined(self, shares: Tensor, parts: PartRendering, direction: Tensor, poses: Tensor
                 ) -> Tensor:
        """What the network says and what the parts found in the still say: [1, T, H * W, K].

        Args:
            shares: the network's of each colour, of one still; they sum to 1.
            parts: its parts, in all poses that were learnt.
            direction: int64 [1].
            poses: [1, T, pose].
        """
        keys = self.poses.key_weights(direction, poses)[0].argmax(-1)
        said = torch.zeros_like(shares[0])
        for share, places in zip(parts.shares, parts.places[:, int(direction)], strict=True):
            shown = places[keys].flatten(1)[..., None].long()
            rows = share.to(said.dtype).repeat_interleave(WIDTH)[None, :, None]
            said.scatter_add_(2, shown, rows.expand_as(shown))
        unexplained = (parts.unexplained - _EXPLAINED) / (_UNEXPLAINED - _EXPLAINED)
        trust = self.network_weight + (1 - self.network_weight) * min(1.0, max(0.0, unexplained))
        return trust * shares + (1 - trust) * said

    def cycle_poses(self, direction: Tensor, length: int = CYCLE) -> Tensor:
        """Poses of standing and of one cycle: [1, 1 + length, pose]."""
        return torch.cat([self.poses.standing(direction),
                          self.poses(direction, length, length)], 1)


def crop_stage(pictures: Tensor) -> Tensor:
    """The stage of pictures [..., S, S]."""
    return pictures[..., TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]


def choose_colours(shares: Tensor, palette: Tensor) -> Tensor:
    """The colours of least expected squared error: places in the palette, int64 [B, T, N].

    Args:
        shares: of each colour, [B, T, N, K]; those of a pixel sum to 1.
        palette: [B, K, 3] in [0, 1].
    """
    mean = shares @ palette[:, None]
    distance = palette.square().sum(-1)[:, None, None] - 2 * mean @ palette.transpose(1, 2)[:, None]
    # A colour that nothing speaks for is no compromise between two others.
    return distance.masked_fill(shares < 0.02, torch.inf).argmin(-1)
