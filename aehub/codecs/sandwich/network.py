"""Restorer: a CNN behind AV1 that proposes corrections of a decoded frame, or of its double.

It sees the frame and aligned others, up to two on either side, at half of luma's resolution: each
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
        references: on either side of the frame, 0 to 2.
        scale: 2 for corrections of frames that are doubled.
    """

    def __init__(self, width: int = 32, layers: int = 4, candidates: int = 12, references: int = 2,
                 scale: int = 1) -> None:
        super().__init__()
        self.candidates, self.references, self.scale = candidates, references, scale
        inputs = 2 * SAMPLES + len(PARTS)
        if references:
            inputs += 2 * SAMPLES + PARTS[0].stop
        if references > 1:
            inputs += 4 * PARTS[0].stop
        self.head = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.hidden = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(layers))
        self.tail = nn.Conv2d(width, candidates * SAMPLES * scale**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)
        # Biases of all layers: curves over the frame's quantiser, linear in those of references.
        self.bias = nn.Parameter(torch.zeros(_KNOTS + 2, (layers + 1) * width))

    def forward(self, frame: Tensor, differences: Tensor, quantisers: Tensor,
                weights: Tensor | None = None) -> Tensor:
        """Corrections in grey levels, float32 [B, K, 6, scale h, scale w].

        Args:
            frame: folded, in grey levels, float32 [B, 6, h, w].
            differences: of the aligned references from it, in grey levels, float32
                [B, 2 references, 6, h, w]: those before, then those after.
            quantisers: base_q_idx of the frame and of each reference, float32
                [B, 1 + 2 references].
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
        features = self.features(frame, differences, quantisers)
        found = F.conv2d(features, weight.flatten(0, 1), bias.flatten(), padding=1).float()
        found = F.pixel_shuffle(found, self.scale).unflatten(1, (len(weight), SAMPLES))
        return found * scale[:, :, None, None, None]

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weights [candidates, O, width, 3, 3] and biases [candidates, O] of the last layer."""
        assert self.tail.bias is not None
        shape = self.candidates, SAMPLES * self.scale**2
        return self.tail.weight.unflatten(0, shape), self.tail.bias.unflatten(0, shape)

    def features(self, frame: Tensor, differences: Tensor, quantisers: Tensor) -> Tensor:
        """Inputs of the last layer, [B, width, h, w], in its type; arguments as for `forward`."""
        offsets = torch.zeros(len(frame), 2, device=frame.device)
        if self.references:
            apart = (quantisers[:, 1:] - quantisers[:, :1]) / 64
            offsets = apart.unflatten(1, (2, self.references)).mean(2)
        biases = torch.cat([_curve(quantisers), offsets], 1) @ self.bias.float()
        first, *others = biases.chunk(len(self.hidden) + 1, 1)
        # Without an activation, so that a linear filter of the inputs reaches the last layer.
        x = _convolved(self.head, self._inputs(frame, differences, scale_of(quantisers)), first)
        for layer, bias in zip(self.hidden, others, strict=True):
            x = x + F.relu_(_convolved(layer, x, bias))
        return x

    def _inputs(self, frame: Tensor, differences: Tensor, scale: Tensor) -> Tensor:
        """Inputs of the first layer in units of the scale, [B, C, h, w], in its type.

        Detail is the difference from the local mean; references count by how well they match.
        """
        inverse, type_ = (1 / scale)[..., None, None], self.head.weight.dtype
        local = _local_mean(torch.cat([frame[:, p].mean(1, keepdim=True) for p in PARTS], 1))
        counts = torch.tensor(_COUNTS, device=local.device)
        detail = ((frame - local.repeat_interleave(counts, 1)) * inverse).to(type_)
        parts = [detail.clamp(-_SMALL_DETAIL, _SMALL_DETAIL),
                 detail.clamp(-_MAX_DETAIL, _MAX_DETAIL), (local / 128 - 1).to(type_)]
        if self.references:
            luma = differences[:, :, PARTS[0]]
            mismatch = _local_mean(_local_mean((luma * luma).mean(2))) * inverse**2
            shares = inverse / self.references / (1 + mismatch)
            matched = (differences * shares[:, :, None]).unflatten(1, (2, self.references))
            before, after = matched.sum(2).unbind(1)
            both = (before + after).to(type_)
            apart = (before[:, PARTS[0]] - after[:, PARTS[0]]).to(type_)
            parts += [both.clamp(-_SMALL_DIFFERENCE, _SMALL_DIFFERENCE),
                      both.clamp(-_MAX_DIFFERENCE, _MAX_DIFFERENCE),
                      apart.clamp(-_MAX_DIFFERENCE, _MAX_DIFFERENCE)]
        if self.references > 1:
            first, second = matched[:, :, :2, PARTS[0]].unbind(2)
            within = (first - second).flatten(1, 2).to(type_)
            parts += [within.clamp(-_SMALL_DIFFERENCE, _SMALL_DIFFERENCE),
                      within.clamp(-_MAX_DIFFERENCE, _MAX_DIFFERENCE)]
        return torch.cat(parts, 1)


def _convolved(layer: nn.Module, x: Tensor, bias: Tensor) -> Tensor:
    """A layer with a bias of its own for each frame, [B, width]."""
    assert isinstance(layer, nn.Conv2d)
    bias = bias.to(layer.weight.dtype)
    if len(bias) == 1:
        return F.conv2d(x, layer.weight, bias[0], padding=1)
    y: Tensor = layer(x)
    return y + bias[..., None, None].to(y.dtype)


def _curve(quantisers: Tensor) -> Tensor:
    """Weights of the knots at the frame's base_q_idx, [B, K]; quantisers as for `forward`."""
    at = quantisers[:, :1] / 255 * (_KNOTS - 1)
    return (1 - (at - torch.arange(_KNOTS, device=at.device)).abs()).clamp_min(0)


def scale_of(quantisers: Tensor) -> Tensor:
    """Scale in grey levels, [B, 1]; quantisers as for `forward`."""
    return _SCALE_AT_0 * torch.exp(_SCALE_LOG_RANGE / 255 * quantisers[:, :1])


def _local_mean(values: Tensor) -> Tensor:
    """Mean of 3x3 positions; those of the border repeat."""
    padded = F.pad(values, (1, 1, 1, 1), "replicate")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


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
                 "upscaler_layers": (0, 8), "candidates": (1, 15), "references": (0, 2)}

    def __init__(self, width: int = 32, layers: int = 4, upscaler_width: int = 32,
                 upscaler_layers: int = 4, candidates: int = 12, references: int = 2) -> None:
        super().__init__()
        self.config = {"width": width, "layers": layers, "upscaler_width": upscaler_width,
                       "upscaler_layers": upscaler_layers, "candidates": candidates,
                       "references": references}
        self.restorer = Restorer(width, layers, candidates, references)
        self.upscaler = Restorer(upscaler_width, upscaler_layers, candidates, references, 2)
