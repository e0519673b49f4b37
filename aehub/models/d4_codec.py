"""`d4-codec`: an autoencoder of 4:2:0 pictures whose codes turn with the picture.

    planes ──unshuffle──> pixels (96) ──analysis──> latents (96, at 1/8) ──x gain──> round ──> codes
                                                        │
                                                   hyper-codes (24, at 1/32)

    codes / gain ──synthesis──> pixels ──shuffle──> planes

Codes are written in four stages, each seeing all earlier ones through two networks: a float one
predicts the mean (`MeanNetwork`), an exact integer one picks the table (`ScaleNetwork`):

    0  low frequencies, at half of the places (an X in every 4x4 cell, which turns keep)
    1  low frequencies, at the other places
    2  middle frequencies
    3  high frequencies

Analysis and synthesis start as block DCTs with residual branches at zero, and every
layer of the decoder commutes with D4. Dimension letters: B batch, C channels, H, W
luma samples (multiples of 32), h = H/8, w = W/8.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.models.d4 import A1, A2, B1, B2, REGULAR, E, Representation
from aehub.models.dct import PIXELS, start
from aehub.models.integer import KNOTS, QUALITY_STEPS
from aehub.models.scales import ScaleNetwork
from aehub.models.tied import TiedConv2d

HYPER = A1 * 8 + A2 * 2 + B1 * 2 + B2 * 2 + E * 5


class PlaneBatch(NamedTuple):
    """Pictures as planes in [-0.5, 0.5]: `y` [B, 1, H, W]; `u`, `v` [B, 1, H/2, W/2]."""

    y: Tensor
    u: Tensor
    v: Tensor


class Codes(NamedTuple):
    """Integers in float tensors: `hyper` [B, 24, h/4, w/4], `latent` [B, 96, h, w]."""

    hyper: Tensor
    latent: Tensor


class Stage(NamedTuple):
    """Channels [begin, end) of the latents, written where `mask` [h, w] is 1."""

    number: int
    begin: int
    end: int
    mask: Tensor


def step(quality: Tensor) -> Tensor:
    """Quantiser step in grey levels at quality 0..100: 128 at 0, halved every 16.7, 2 at 100."""
    return 128 * torch.exp2(-6 * quality / 100)


class Curve(nn.Module):
    """A learned number per channel as a piecewise linear function of quality (0..100).

    Channels that turns permute share it: both of an E pair, all eight of a regular field.
    """

    slots: Tensor

    def __init__(self, channels: Representation, *, start: float = 0.0) -> None:
        super().__init__()
        slots = torch.as_tensor(channels.slots())
        self.register_buffer("slots", slots, persistent=False)
        self.values = nn.Parameter(torch.full((KNOTS, int(slots.max()) + 1), start))

    def forward(self, quality: Tensor) -> Tensor:
        """[B] -> [B, C, 1, 1]."""
        place = quality.to(self.values.dtype)[:, None] * (KNOTS - 1) / 100
        knots = torch.arange(KNOTS, device=quality.device)
        hats = (1 - (place - knots).abs()).clamp(min=0)
        return (hats @ self.values)[:, self.slots, None, None]


class Block(nn.Module):
    """Residual branch whose strength depends on quality: x + conv(relu(conv(x) a + b))."""

    def __init__(self, features: Representation) -> None:
        super().__init__()
        self.first = TiedConv2d(features, features)
        self.second = TiedConv2d(features, features, scale=0.3)
        self.gain, self.bias = Curve(features, start=1.0), Curve(features)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        hidden = self.first(F.relu(x), self.gain(quality), self.bias(quality))
        return self.second(F.relu_(hidden)).add_(x)


class Transform(nn.Module):
    """Linear path plus a residual network, the shape of both analysis and synthesis.

    Starts as the given matrix: the residual network's last layer is zero.
    """

    def __init__(self, inputs: Representation, outputs: Representation, matrix: Tensor, *,
                 fields: int, blocks: int) -> None:
        super().__init__()
        features = REGULAR * fields
        self.linear = TiedConv2d(inputs, outputs)
        dense = torch.zeros(self.linear.shape)
        dense[:, :, 1, 1] = matrix.float()
        self.linear.set_dense(dense)
        self.head = TiedConv2d(inputs, features)
        self.head_gain = Curve(features, start=1.0)
        self.head_bias = Curve(features)
        self.blocks = nn.ModuleList(Block(features) for _ in range(blocks))
        self.tail = TiedConv2d(features, outputs, scale=0)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        hidden = self.head(x, self.head_gain(quality), self.head_bias(quality))
        for block in self.blocks:
            hidden = block(hidden, quality)
        # Latents in steps reach hundreds; bfloat16 would round them by more than a step.
        with torch.autocast(x.device.type, enabled=False):
            linear = self.linear(x.to(self.linear.theta.dtype))
        return self.tail(F.relu_(hidden)) + linear


class MeanNetwork(nn.Module):
    """Predicts latents (not yet scaled by the gain) from hyper-latents and earlier stages."""

    def __init__(self, stages: list[tuple[Representation | None, Representation]]) -> None:
        super().__init__()
        features, hidden = REGULAR * 4, REGULAR * 6
        low = stages[0][1]
        self.direct = TiedConv2d(HYPER, low.blocks(4), 1, scale=0)
        self.unfold = TiedConv2d(HYPER, features.blocks(4), 1)
        self.first = nn.ModuleList(
            TiedConv2d(features if known is None else features + known, hidden)
            for known, _ in stages
        )
        self.bias = nn.ModuleList(Curve(hidden) for _ in stages)
        self.last = nn.ModuleList(TiedConv2d(hidden, out, scale=0) for _, out in stages)

    def features(self, hyper: Tensor) -> tuple[Tensor, Tensor]:
        """Hyper-latents [B, 24, h/4, w/4] -> (direct mean of the low band, features), at 1/8."""
        with torch.autocast(hyper.device.type, enabled=False):
            direct = F.pixel_shuffle(self.direct(hyper), 4)
        return direct, F.relu(F.pixel_shuffle(self.unfold(hyper), 4))

    def forward(self, stage: int, features: tuple[Tensor, Tensor], known: Tensor | None,
                quality: Tensor) -> Tensor:
        direct, x = features
        x = x if known is None else torch.cat([x, known], 1)
        hidden = self.first[stage](x, bias=self.bias[stage](quality))
        mean = self.last[stage](F.relu_(hidden))
        return mean + direct if stage < 2 else mean


class D4Codec(nn.Module):
    """The networks of the codec; files, groups and frame sizes are `aehub.codec`'s concern.

    Args:
        fields: width of analysis and synthesis in regular fields of 8 channels.
        analysis_blocks: residual blocks of the analysis.
        synthesis_blocks: residual blocks of the synthesis.
    """

    def __init__(self, fields: int = 16, analysis_blocks: int = 2, synthesis_blocks: int = 3
                 ) -> None:
        super().__init__()
        self.config = {"fields": fields, "analysis_blocks": analysis_blocks,
                       "synthesis_blocks": synthesis_blocks}
        dct = start()
        matrix = torch.from_numpy(dct.matrix)
        self.representation = dct.latents
        self.analysis = Transform(PIXELS, dct.latents, matrix, fields=fields,
                                  blocks=analysis_blocks)
        self.synthesis = Transform(dct.latents, PIXELS, matrix.T, fields=fields,
                                   blocks=synthesis_blocks)
        features = REGULAR * 8
        self.fold = TiedConv2d(dct.latents, features, 4, stride=4)
        self.hyper = TiedConv2d(features, HYPER, 1, scale=0.02)
        self.hyper_direct = TiedConv2d(dct.latents, HYPER, 4, stride=4, scale=0)
        self.gain, self.hyper_gain = Curve(dct.latents), Curve(HYPER)
        low, middle, high = dct.bands
        self.ranges = [(0, low), (0, low), (low, middle), (middle, high)]
        known = [None, _part(dct.latents, 0, low), _part(dct.latents, 0, low),
                 _part(dct.latents, 0, middle)]
        stages = [(k, _part(dct.latents, a, b))
                  for k, (a, b) in zip(known, self.ranges, strict=True)]
        self.means = MeanNetwork(stages)
        self.scales = ScaleNetwork(HYPER, stages)

    # Planes and latents.

    def analyse(self, planes: PlaneBatch, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Planes -> latents [B, 96, h, w] and hyper-latents [B, 24, h/4, w/4], both in steps.

        Args:
            planes: sizes multiples of 32 in luma.
            quality: [B] or [1], 0..100.
        """
        x = torch.cat([F.pixel_unshuffle(planes.y, 8), F.pixel_unshuffle(planes.u, 4),
                       F.pixel_unshuffle(planes.v, 4)], 1)
        x = x.contiguous(memory_format=torch.channels_last)
        latent = self.analysis(x, quality)
        hyper = self.hyper(F.relu(self.fold(latent))) + self.hyper_direct(latent)
        return latent * self.gains(quality), hyper * self.hyper_gains(quality)

    def synthesise(self, latent: Tensor, quality: Tensor) -> PlaneBatch:
        """Latents in steps [B, 96, h, w] -> planes, not yet clipped or rounded."""
        x = self.synthesis(latent / self.gains(quality), quality)
        y, u, v = x.split((64, 16, 16), 1)
        return PlaneBatch(F.pixel_shuffle(y, 8), F.pixel_shuffle(u, 4), F.pixel_shuffle(v, 4))

    def gains(self, quality: Tensor) -> Tensor:
        """Steps per unit of latent [B, 96, 1, 1]."""
        return torch.exp(self.gain(quality)) * (255 / step(quality))[:, None, None, None]

    def hyper_gains(self, quality: Tensor) -> Tensor:
        """Steps per unit of hyper-latent [B, 24, 1, 1]."""
        return torch.exp(self.hyper_gain(quality)) * (255 / step(quality))[:, None, None, None]

    def constrain(self) -> None:
        """Keep the integer layers inside their exactness bound; the trainer calls this."""
        self.scales.constrain()

    # Codes, stage by stage.

    def stages(self, height: int, width: int, device: torch.device) -> Iterator[Stage]:
        """The stages of a latent grid of height x width."""
        outer = [((torch.arange(n, device=device) + 1) % 4 < 2) for n in (height, width)]
        cross = (outer[0][:, None] == outer[1][None]).float()
        masks = [cross, 1 - cross, torch.ones_like(cross), torch.ones_like(cross)]
        for number, ((begin, end), mask) in enumerate(zip(self.ranges, masks, strict=True)):
            yield Stage(number, begin, end, mask)

    def walk(self, hyper_codes: Tensor, quality: Tensor
             ) -> Generator[tuple[Stage, Tensor, Tensor], Tensor, tuple[Tensor, Tensor]]:
        """Walk the stages; whoever drives it quantises, decodes or rates the codes of each.

        Encoder, decoder and trainer share this loop: what one conditions on, all do.

        Args:
            hyper_codes: integers [B, 24, h/4, w/4].
            quality: [B] or [1], 0..100.

        Yields:
            (stage, mean, index), mean in steps and table index [B, C', h, w] of its codes. Send
            the codes back; they are ignored where the stage's mask is 0.

        Returns:
            (codes, latents) [B, 96, h, w]; latents = codes + mean, in steps.
        """
        hundredths = (quality * (QUALITY_STEPS / 100)).round().to(torch.int64)
        gains = self.gains(quality)
        mean_features = self.means.features(hyper_codes / self.hyper_gains(quality))
        scale_features = self.scales.features(hyper_codes.detach(), hundredths)
        codes: list[Tensor] = []
        latents: list[Tensor] = []
        height, width = scale_features.shape[-2:]
        for stage in self.stages(height, width, hyper_codes.device):
            known = torch.cat(codes, 1).detach() if codes else None
            seen = torch.cat(latents, 1) if latents else None
            if seen is not None:
                seen = seen / gains[:, :seen.shape[1]]
            mean = self.means(stage.number, mean_features, seen, quality)
            mean = mean * gains[:, stage.begin:stage.end]
            index = self.scales(stage.number, scale_features, known, stage.mask, hundredths)
            new = (yield stage, mean, index) * stage.mask
            latent = new + mean * stage.mask
            if stage.number == 1:
                new, latent = codes.pop() + new, latents.pop() + latent
            codes.append(new)
            latents.append(latent)
        return torch.cat(codes, 1), torch.cat(latents, 1)


def _part(whole: Representation, begin: int, end: int) -> Representation:
    return Representation(
        tuple(tuple(c - begin for c in row[begin:end]) for row in whole.source),
        tuple(row[begin:end] for row in whole.sign),
    )


def quality_tensor(quality: float, like: Tensor) -> Tensor:
    """One quality for a whole batch, as the [1] tensor that the networks take."""
    return torch.full((1,), quality, dtype=like.dtype, device=like.device)
