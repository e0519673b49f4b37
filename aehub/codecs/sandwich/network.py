"""Restorer: a CNN behind AV1 that proposes corrections of a decoded frame, or of its double.

It sees the frame and two aligned others, one on either side, at half of luma's resolution: each
position holds 4 samples of luma and one of either chroma. (At a quarter of it, with the same
multiplications, every weight would serve fewer samples.) Residual layers lead to features; the last
layer proposes several corrections of every plane from them, which the weights of a group mix
(`mixing`). The first correction is what the network was trained for; weights of zero are AV1
itself.

Sources: Guleryuz et al. 2021, "Sandwiched image compression"; Yang et al. 2018, "Multi-frame
quality enhancement for compressed video"; for the mixture Ding et al. 2022, "Neural adaptive loop
filtering for video coding: exploring multi-hypothesis sample refinement".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOLD = 2
"""Samples of luma along a side of a position."""
PARTS = (slice(0, 4), slice(4, 5), slice(5, 6))
"""Samples of each plane in a position."""
SAMPLES = PARTS[-1].stop
_COUNTS = [part.stop - part.start for part in PARTS]
_KNOTS = 9
"""Knots of the curves over base_q_idx, 0 to 255."""
_MAX_DETAIL, _SMALL_DETAIL = 6.0, 0.3
_MAX_DIFFERENCE, _SMALL_DIFFERENCE = 2.0, 0.5
"""Limits of inputs in units of the scale, set by hand. Small and large values are given apart:
small ones are errors of the quantiser, large ones the picture."""
_SCALE_AT_0, _SCALE_LOG_RANGE = 0.8, 2.5
"""Scale of differences in grey levels at base_q_idx 0, and log of its growth to 255, set by hand
near the root mean square error of a sample of luma."""


class Restorer(nn.Module):
    """Corrections of decoded frames.

    Args:
        width: channels of a layer.
        layers: residual layers after the first.
        candidates: corrections of each plane.
        references: on either side of the frame, 0 or 1.
        scale: 2 for corrections of frames that are doubled.

    Attributes:
        frames: frame and references.
    """

    def __init__(self, width: int = 32, layers: int = 4, candidates: int = 12, references: int = 1,
                 scale: int = 1) -> None:
        super().__init__()
        self.candidates, self.frames, self.scale = candidates, 1 + 2 * references, scale
        inputs = 2 * SAMPLES + len(PARTS)
        if references:
            inputs += 2 * SAMPLES + PARTS[0].stop
        self.head = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.hidden = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(layers))
        self.tail = nn.Conv2d(width, candidates * SAMPLES * scale**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)
        # Biases of all layers: curves over the frame's quantiser, linear in those of references.
        self.bias = nn.Parameter(torch.zeros(_KNOTS + 2, (layers + 1) * width))

    def forward(self, frames: Tensor, quantisers: Tensor, weights: Tensor | None = None) -> Tensor:
        """Corrections in grey levels, float32 [B, K, 6, scale h, scale w].

        Args:
            frames: folded, in grey levels, float32 [B, frames, 6, h, w]: the frame, then its
                references, aligned.
            quantisers: base_q_idx of each, float32 [B, frames].
            weights: of planes, classes and the first candidates, [3, C, at most candidates]: the
                mixture of each class instead of the candidates, so that K is C.
        """
        scale = scale_of(quantisers)
        weight, bias = self.last_layer()
        if weights is not None:
            samples = torch.tensor(_COUNTS, device=weights.device) * self.scale**2
            mixture = weights.to(weight).repeat_interleave(samples, 0)
            weight, bias = weight[:mixture.shape[2]], bias[:mixture.shape[2]]
            weight = torch.einsum("ock,koihw->coihw", mixture, weight)
            bias = torch.einsum("ock,ko->co", mixture, bias)
        features = self.features(frames, quantisers)
        found = F.conv2d(features, weight.flatten(0, 1), bias.flatten(), padding=1).float()
        found = F.pixel_shuffle(found, self.scale).unflatten(1, (len(weight), SAMPLES))
        return found * scale[:, :, None, None, None]

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weights [candidates, O, width, 3, 3] and biases [candidates, O] of the last layer."""
        assert self.tail.bias is not None
        shape = self.candidates, SAMPLES * self.scale**2
        return self.tail.weight.unflatten(0, shape), self.tail.bias.unflatten(0, shape)

    def features(self, frames: Tensor, quantisers: Tensor) -> Tensor:
        """Inputs of the last layer, [B, width, h, w], in its type; arguments as for `forward`."""
        offsets = quantisers[:, 1:] - quantisers[:, :1]
        offsets = F.pad(offsets, (0, 2 - offsets.shape[1])) / 64
        biases = torch.cat([_curve(quantisers), offsets], 1) @ self.bias.float()
        first, *others = biases[..., None, None].chunk(len(self.hidden) + 1, 1)
        x = self.head(self._inputs(frames, scale_of(quantisers)).to(self.head.weight.dtype))
        # Without an activation, so that a linear filter of the inputs reaches the last layer.
        x = x + first.to(x.dtype)
        for layer, bias in zip(self.hidden, others, strict=True):
            y = layer(x)
            x = x + F.relu_(y + bias.to(y.dtype))
        return x

    def _inputs(self, frames: Tensor, scale: Tensor) -> Tensor:
        """Inputs of the first layer in units of the scale, float32 [B, C, h, w].

        Detail is the difference from the local mean; references count by how well they match.
        """
        current, inverse = frames[:, 0], (1 / scale)[..., None, None]
        local = _local_mean(torch.cat([current[:, p].mean(1, keepdim=True) for p in PARTS], 1))
        counts = torch.tensor(_COUNTS, device=local.device)
        detail = (current - local.repeat_interleave(counts, 1)) * inverse
        parts = [detail.clamp(-_SMALL_DETAIL, _SMALL_DETAIL),
                 detail.clamp(-_MAX_DETAIL, _MAX_DETAIL), local / 128 - 1]
        if self.frames > 1:
            differences = (frames[:, 1:] - frames[:, :1]) * inverse[:, None]
            mismatch = _local_mean(_local_mean(differences[:, :, PARTS[0]].square().mean(2)))
            matched = differences / (1 + mismatch[:, :, None])
            both, apart = matched.sum(1), matched[:, 0, PARTS[0]] - matched[:, 1, PARTS[0]]
            parts += [both.clamp(-_SMALL_DIFFERENCE, _SMALL_DIFFERENCE),
                      both.clamp(-_MAX_DIFFERENCE, _MAX_DIFFERENCE),
                      apart.clamp(-_MAX_DIFFERENCE, _MAX_DIFFERENCE)]
        return torch.cat(parts, 1)


def _curve(quantisers: Tensor) -> Tensor:
    """Weights of the knots at the frame's base_q_idx, [B, K]; of quantisers [B, frames]."""
    at = quantisers[:, :1] / 255 * (_KNOTS - 1)
    return (1 - (at - torch.arange(_KNOTS, device=at.device)).abs()).clamp_min(0)


def scale_of(quantisers: Tensor) -> Tensor:
    """Scale in grey levels, [B, 1], of base_q_idx [B, frames]."""
    return _SCALE_AT_0 * torch.exp(_SCALE_LOG_RANGE / 255 * quantisers[:, :1])


def _local_mean(values: Tensor) -> Tensor:
    """Mean of 3x3 positions, fewer at the border."""
    return F.avg_pool2d(values, 3, 1, 1, count_include_pad=False)


class SandwichNetwork(nn.Module):
    """The networks behind AV1: of frames coded at their size, and of frames coded at half of it.

    Args:
        width: channels of a layer of the restorer.
        layers: its residual layers after the first.
        upscaler_width: channels of a layer of the upscaler.
        upscaler_layers: its residual layers after the first.
        candidates: corrections of either.
        references: of either, on either side of the frame.
    """

    ARGUMENTS = {"width": (8, 128), "layers": (0, 8), "upscaler_width": (8, 128),
                 "upscaler_layers": (0, 8), "candidates": (1, 15), "references": (0, 1)}

    def __init__(self, width: int = 32, layers: int = 4, upscaler_width: int = 32,
                 upscaler_layers: int = 4, candidates: int = 12, references: int = 1) -> None:
        super().__init__()
        self.config = {"width": width, "layers": layers, "upscaler_width": upscaler_width,
                       "upscaler_layers": upscaler_layers, "candidates": candidates,
                       "references": references}
        self.restorer = Restorer(width, layers, candidates, references)
        self.upscaler = Restorer(upscaler_width, upscaler_layers, candidates, references, 2)
