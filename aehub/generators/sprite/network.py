"""`sprite-motion`: one still picture of a character in, its walk cycle in four directions out.

    still ──StillEncoder──> features at 1/2, 1/4, 1/8     the identity
      └──> colours ──ColourKeys──> a key for each colour of its palette
    PoseNetwork (recurrent) ──> a pose latent for each frame
    features, direction ──ViewSynthesis──> features of the character seen from there
    view, pose ──PoseWarp──> features moved with the limbs ──> a query for each pixel
    query . key ──softmax──> probabilities of the colours of the still's own palette
    still ──PartDictionary──> its clothes and hair in all poses: probabilities to combine with

All pixels have colours of the still's palette, so pictures stay crisp. New characters are samples
of `StillVAE`, a variational autoencoder of front-facing stills.

Dimension letters: B characters, T frames, K colours; H, W = 56, 48 the crop of a picture of side
S = 64 in which characters walk.
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

# Channel groups of the warp, and its largest displacement down and right, at half resolution.
_GROUPS, _REACH_Y, _REACH_X = 4, 2, 3
# Unexplained share of a still up to which the network has its least weight, because hair alone may
# cause it; and from which only the network is used.
_EXPLAINED, _UNEXPLAINED = 0.25, 0.7
# Colours of lower probability are not chosen.
_MIN_PROBABILITY = 0.02


class PartRendering(NamedTuple):
    """A character composed of parts, with N candidates for hair and hats.

    Attributes:
        row_weights: of the candidates in each row, float [N, H].
        indices: uint8 [N, 4, 9, H, W], into the palette of the still.
        unexplained: share of the still's pixels that the parts do not reproduce.
    """

    row_weights: Tensor
    indices: Tensor
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

    def forward(self, still: StillFeatures, direction: Tensor) -> Tensor:
        facing = F.one_hot(direction, N_DIRECTIONS).float()
        x = still.coarse + self.places[0][direction]
        for block in self.coarse:
            x = block(x, facing)
        x = torch.cat([F.pixel_shuffle(self.up(x), 2), still.middle], 1)
        x = self.join(x) + self.places[1][direction]
        for block in self.middle:
            x = block(x, facing)
        x = torch.cat([F.pixel_shuffle(self.up_again(x), 2), still.fine], 1)
        view: Tensor = self.fine(self.join_again(x) + self.places[2][direction], facing)
        return view


class PoseWarp(nn.Module):
    """A view and poses -> a query for each pixel.

    A spatially varying filter: at each position of a pose, each of four channel groups is a learnt
    mean of the view around it. It depends on pose and position, not on the character.
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

    def forward(self, view: Tensor, direction: Tensor, poses: Tensor, key_weights: Tensor
                ) -> Tensor:
        """Queries [B, T, H * W, 24].

        Args:
            view: [B, C, H/2, W/2].
            direction: int64 [1], of all B characters.
            poses: [1, T, pose].
            key_weights: of the poses, [1, T, N_KEY_POSES].
        """
        b, c, h, w = view.shape
        t = poses.shape[1]
        reach = (key_weights[0] @ self.reach[int(direction)]).view(t, _GROUPS, h * w, self.taps)
        around = F.unfold(view, (2 * _REACH_Y + 1, 2 * _REACH_X + 1),
                          padding=(_REACH_Y, _REACH_X))
        around = around.view(b, _GROUPS, c // _GROUPS, self.taps, h * w).permute(1, 4, 3, 0, 2)
        moved = reach.permute(1, 2, 0, 3) @ around.flatten(3)
        moved = moved.view(_GROUPS, h * w, t, b, c // _GROUPS).permute(3, 2, 0, 4, 1)
        x = moved.reshape(b * t, c, h, w).contiguous(memory_format=torch.channels_last)
        condition = poses.expand(b, -1, -1).flatten(0, 1)
        for block in self.move:
            x = block(x, condition)
        queries = F.pixel_shuffle(self.query(F.silu(x)), 2)
        return queries.flatten(2).transpose(1, 2).reshape(b, t, HEIGHT * WIDTH, KEY_SIZE)


class SpriteNetwork(PictureNetwork):
    """Still -> walk cycle.

    Args:
        width: channels at 1/2; twice as many at 1/4, thrice at 1/8; a multiple of 4.
        pose: length of a pose latent.
        hidden: size of the recurrent state.
        latent: length of an identity latent.
        colours: of the palette of new characters, the background included.
        parts, palettes, cover, pixels: sizes of `PartDictionary`.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {
        "width": (8, 96), "pose": (4, 128), "hidden": (8, 256), "latent": (8, 256),
        "colours": (2, 2048), "parts": (0, 1024), "palettes": (0, 4096), "cover": (0, 1 << 23),
        "pixels": (0, 1 << 24)}
    STORED = torch.float16
    network_weight = 0.1
    """Weight of the network, from 0 to 1, beside parts that reproduce a still except its hair."""

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
        cropped = self.still.palette[logits.argmax(-1)].permute(0, 3, 1, 2)
        padding = (LEFT, SIDE - LEFT - WIDTH, TOP, SIDE - TOP - HEIGHT)
        return F.pad(cropped, padding, value=1.0)

    # Walk cycles.

    def encode_still(self, index: Tensor, palette: Tensor, present: Tensor) -> StillFeatures:
        """Features of stills.

        Args:
            index: int64 [B, S, S], into the palette.
            palette: [B, K, 3] in [0, 1].
            present: bool [B, K].
        """
        index = crop(index)
        colours = torch.gather(palette, 1, index.flatten(1)[:, :, None].expand(-1, -1, 3))
        picture = colours.transpose(1, 2).reshape(len(index), 3, HEIGHT, WIDTH)
        still = torch.cat([picture - 0.5, (index > 0)[:, None].float()], 1)
        fine, middle, coarse = self.encoder(still)
        keys = self.tokens(fine, index, palette, present)
        return StillFeatures(fine, middle, coarse, keys, palette, present)

    def logits(self, still: StillFeatures, direction: Tensor, poses: Tensor) -> Tensor:
        """Logits of the colours, [B, T, H * W, K].

        Args:
            still: features of B stills.
            direction: int64 [1], of all of them.
            poses: [1, T, pose].
        """
        view = self.view(still, direction.expand(len(still.keys)))
        queries = self.mover(view, direction, poses, self.poses.key_weights(direction, poses))
        absent = (~still.present).to(queries.dtype) * -1e4
        logits: Tensor = queries @ still.keys.transpose(1, 2)[:, None] + absent[:, None, None]
        return logits

    def combined(self, probabilities: Tensor, parts: PartRendering, direction: Tensor, poses: Tensor
                 ) -> Tensor:
        """Probabilities of the network and of the parts, combined: [1, T, H * W, K].

        Args:
            probabilities: of the network for each colour, of one still.
            parts: the still's parts in all key poses.
            direction: int64 [1].
            poses: [1, T, pose].
        """
        keys = self.poses.key_weights(direction, poses)[0].argmax(-1)
        of_parts = torch.zeros_like(probabilities[0])
        for weights, indices in zip(parts.row_weights, parts.indices[:, int(direction)],
                                    strict=True):
            chosen = indices[keys].flatten(1)[..., None].long()
            pixel_weights = weights.to(of_parts.dtype).repeat_interleave(WIDTH)[None, :, None]
            of_parts.scatter_add_(2, chosen, pixel_weights.expand_as(chosen))
        unexplained = (parts.unexplained - _EXPLAINED) / (_UNEXPLAINED - _EXPLAINED)
        weight = self.network_weight + (1 - self.network_weight) * min(1.0, max(0.0, unexplained))
        return weight * probabilities + (1 - weight) * of_parts

    def cycle_poses(self, direction: Tensor, length: int = CYCLE) -> Tensor:
        """Poses of standing and of one cycle: [1, 1 + length, pose]."""
        return torch.cat([self.poses.standing(direction),
                          self.poses(direction, length, length)], 1)


def crop(pictures: Tensor) -> Tensor:
    """The crop [..., H, W] of pictures [..., S, S]."""
    return pictures[..., TOP:TOP + HEIGHT, LEFT:LEFT + WIDTH]


def choose_colours(probabilities: Tensor, palette: Tensor) -> Tensor:
    """The colours of least expected squared error: indices into the palette, int64 [B, T, N].

    Args:
        probabilities: of the colours of N pixels, [B, T, N, K].
        palette: [B, K, 3] in [0, 1].
    """
    mean = probabilities @ palette[:, None]
    distance = palette.square().sum(-1)[:, None, None] - 2 * mean @ palette.transpose(1, 2)[:, None]
    # An improbable colour must not be chosen only because it lies between two probable ones.
    return distance.masked_fill(probabilities < _MIN_PROBABILITY, torch.inf).argmin(-1)
