"""Restorer: a CNN behind AV1 that proposes corrections of a decoded frame, or of its double.

It sees the frame and two aligned others, one on either side, at a quarter of luma's resolution:
each position holds 16 samples of luma and 4 of either chroma. It proposes several corrections of
every plane, which the weights of a group mix (`mixing`); weights of zero are AV1 itself.

Sources: Guleryuz et al. 2021, "Sandwiched image compression"; Yang et al. 2018, "Multi-frame
quality enhancement for compressed video"; for the mixture Ding et al. 2022, "Neural adaptive loop
filtering for video coding: exploring multi-hypothesis sample refinement".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLD = 4
"""Samples of luma along a side of a position."""
SAMPLES = FOLD * FOLD + 2 * (FOLD // 2) ** 2
"""Samples of a position: 16 of luma, 4 of either chroma."""
_KNOTS = 9
"""Knots of the curves over base_q_idx, 0 to 255."""
_MAX_DETAIL, _SMALL_DETAIL = 6.0, 0.3
_MAX_DIFFERENCE, _SMALL_DIFFERENCE = 2.0, 0.5
"""Clips of inputs in units of the scale. A linear filter that is given small and large values apart
gains 0.10 dB on held-out clips, from values clipped at 6 alone 0.06 dB: small ones are errors of
the quantiser, large ones the picture."""
_SCALE_AT_0, _SCALE_LOG_RANGE = 0.8, 2.5
"""Scale of differences in grey levels at base_q_idx 0, and log of its growth to 255, set by hand
near the root mean square error of a sample of luma."""
_START = 0.1
"""Standard deviation of the weights of the last layer, relative to those of a hidden one: from zero
it would not learn, since the mixture leaves out what is zero."""


class Planes(NamedTuple):
    """4:2:0 planes in grey levels: [B, 1, H, W] luma, [B, 1, H/2, W/2] each chroma."""

    y: Tensor
    u: Tensor
    v: Tensor


def folded(planes: Planes) -> Tensor:
    """Planes whose sides are multiples of 4 in luma -> [B, 24, H/4, W/4]."""
    return torch.cat([F.pixel_unshuffle(planes.y, FOLD), F.pixel_unshuffle(planes.u, FOLD // 2),
                      F.pixel_unshuffle(planes.v, FOLD // 2)], 1)


def unfolded(samples: Tensor) -> Planes:
    """The inverse of `folded`."""
    y, u, v = samples.split((FOLD * FOLD, (FOLD // 2) ** 2, (FOLD // 2) ** 2), 1)
    return Planes(F.pixel_shuffle(y, FOLD), F.pixel_shuffle(u, FOLD // 2),
                  F.pixel_shuffle(v, FOLD // 2))


class Restorer(nn.Module):
    """Corrections of decoded frames: linear filters, and a network beside them.

    Args:
        width: channels of a layer of the network.
        layers: hidden layers after the first.
        filters: corrections by a linear filter each.
        corrections: corrections by the network.
        frames: 3 with the references, 1 without.
        scale: 2 for corrections of frames that are doubled.

    Attributes:
        candidates: corrections of each plane: those of the filters, then those of the network.
    """

    def __init__(self, width: int = 64, layers: int = 2, filters: int = 4, corrections: int = 2,
                 frames: int = 3, scale: int = 1) -> None:
        super().__init__()
        self.candidates, self.frames, self.scale = filters + corrections, frames, scale
        outputs = SAMPLES * scale**2
        linear = (2 if frames == 1 else 3) * SAMPLES + 3
        inputs = linear + (0 if frames == 1 else SAMPLES)
        self.linear = nn.Conv2d(linear, outputs * filters, 3, padding=1)
        self.head = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.hidden = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(layers))
        self.tail = nn.Conv2d(width, outputs * corrections, 3, padding=1)
        with torch.no_grad():
            self.tail.weight *= _START
            for parameter in (self.linear.weight, self.linear.bias, self.tail.bias):
                assert parameter is not None
                parameter.zero_()
        # Biases of all layers: curves over the frame's quantiser, linear in those of references.
        self.bias = nn.Parameter(torch.zeros(_KNOTS + 2, (layers + 1) * width))
        self.gain = nn.Parameter(torch.zeros(_KNOTS, self.candidates * 3))

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the layers back to their size at the start, biases with them.

        Mixtures do not depend on the scale of corrections, so nothing else keeps gradients from
        making the layers ever larger, and steps of the optimiser ever smaller beside them.
        """
        factor = torch.ones((), device=self.gain.device)
        for bias, layer in zip(self.bias.chunk(len(self.hidden) + 1, 1), (self.head, *self.hidden),
                               strict=True):
            own = 1 / math.sqrt(3 * layer.weight[0].numel()) / layer.weight.square().mean().sqrt()
            layer.weight *= own
            factor = factor * own
            bias *= factor
        self.gain.sub_(self.gain.mean(0))
        tail = self.tail.weight
        own = _START / math.sqrt(3 * tail[0].numel()) / tail.square().mean().sqrt()
        tail *= own
        assert self.tail.bias is not None
        self.tail.bias *= factor * own

    @torch.no_grad()
    def scale_corrections(self, factors: Tensor) -> None:
        """Multiply the corrections of each candidate and plane, [candidates, 3]."""
        n = self.scale**2
        rows = factors.repeat_interleave(torch.tensor([16 * n, 4 * n, 4 * n]), 1).flatten()
        rows = rows.to(self.gain)
        linear, tail = rows.split((self.linear.out_channels, self.tail.out_channels))
        for layer, own in ((self.linear, linear), (self.tail, tail)):
            assert layer.bias is not None
            layer.weight *= own[:, None, None, None]
            layer.bias *= own

    def forward(self, frames: Tensor, quantisers: Tensor) -> Tensor:
        """Corrections in grey levels, [B, candidates, 24, scale h, scale w].

        Args:
            frames: folded, in grey levels, [B, frames, 24, h, w]: the frame, then its references,
                aligned.
            quantisers: base_q_idx of each, [B, frames].
        """
        curve, scale = curve_and_scale(quantisers)
        inputs = self.inputs(frames, scale)
        offsets = quantisers[:, 1:] - quantisers[:, :1]
        offsets = F.pad(offsets, (0, 2 - offsets.shape[1])) / 64
        biases = (torch.cat([curve, offsets], 1) @ self.bias).chunk(len(self.hidden) + 1, 1)
        x = F.relu(self.head(inputs) + biases[0][:, :, None, None].to(inputs))
        for layer, bias in zip(self.hidden, biases[1:], strict=True):
            x = F.relu(layer(x) + bias[:, :, None, None].to(x))
        filtered = self.linear(inputs[:, :self.linear.in_channels])
        corrections = torch.cat([filtered, self.tail(x)], 1).float()
        if self.scale > 1:
            corrections = F.pixel_shuffle(corrections, self.scale)
        gain = torch.exp(curve @ self.gain).unflatten(1, (self.candidates, 3))
        gain = gain.repeat_interleave(torch.tensor([16, 4, 4], device=gain.device), 2)
        return corrections.unflatten(1, (self.candidates, SAMPLES)) * (
            gain * scale[:, None])[..., None, None]

    def inputs(self, frames: Tensor, scale: Tensor) -> Tensor:
        """Inputs of the linear filter, and further ones of the first layer: [B, C, h, w].

        Detail is the difference from the local mean; references count by how well they match.

        Args:
            frames: as for `forward`.
            scale: of `curve_and_scale`.
        """
        current, inverse = frames[:, 0], (1 / scale)[..., None, None]
        y, u, v = current.split((16, 4, 4), 1)
        means = torch.cat([part.mean(1, keepdim=True) for part in (y, u, v)], 1)
        local = _local_mean(means)
        detail = (current - local.repeat_interleave(
            torch.tensor([16, 4, 4], device=local.device), 1)) * inverse
        parts = [detail.clamp(-_SMALL_DETAIL, _SMALL_DETAIL),
                 detail.clamp(-_MAX_DETAIL, _MAX_DETAIL), local / 128 - 1]
        if self.frames > 1:
            differences = (frames[:, 1:] - frames[:, :1]) * inverse[:, None]
            mismatch = _local_mean(differences[:, :, :16].square().mean(2))
            matched = (differences / (1 + mismatch[:, :, None])).sum(1)
            parts += [matched.clamp(-_SMALL_DIFFERENCE, _SMALL_DIFFERENCE),
                      matched.clamp(-_MAX_DIFFERENCE, _MAX_DIFFERENCE)]
        return torch.cat(parts, 1)


def curve_and_scale(quantisers: Tensor) -> tuple[Tensor, Tensor]:
    """(weights of the knots, [B, K]; scale in grey levels, [B, 1]) at base_q_idx [B, frames]."""
    at = quantisers[:, :1] / 255
    knots = torch.arange(_KNOTS, device=at.device)
    curve = (1 - (at * (_KNOTS - 1) - knots).abs()).clamp_min(0)
    return curve, _SCALE_AT_0 * torch.exp(_SCALE_LOG_RANGE * at)


def _local_mean(values: Tensor) -> Tensor:
    """Mean of 3x3 positions, fewer at the border."""
    return F.avg_pool2d(values, 3, 1, 1, count_include_pad=False)


class SandwichNetwork(nn.Module):
    """The networks behind AV1: of frames coded at their size, and of frames coded at half of it.

    Args:
        width: channels of a layer of the restorer.
        layers: its hidden layers after the first.
        upscaler_width: channels of a layer of the upscaler.
        upscaler_layers: its hidden layers after the first.
        filters: linear filters of either.
        corrections: by the network of either.
        frames: 3 with references, 1 without.
    """

    ARGUMENTS = {"width": (8, 128), "layers": (0, 8), "upscaler_width": (8, 128),
                 "upscaler_layers": (0, 8), "filters": (1, 6), "corrections": (1, 4),
                 "frames": (1, 3)}

    def __init__(self, width: int = 64, layers: int = 2, upscaler_width: int = 48,
                 upscaler_layers: int = 2, filters: int = 4, corrections: int = 2,
                 frames: int = 3) -> None:
        super().__init__()
        self.config = {"width": width, "layers": layers, "upscaler_width": upscaler_width,
                       "upscaler_layers": upscaler_layers, "filters": filters,
                       "corrections": corrections, "frames": frames}
        self.restorer = Restorer(width, layers, filters, corrections, frames)
        self.upscaler = Restorer(upscaler_width, upscaler_layers, filters, corrections, frames, 2)
