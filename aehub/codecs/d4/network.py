"""Networks of `d4-codec`: a scale-and-mean hyperprior autoencoder of 4:2:0 pictures.

    x ──unshuffle──> samples (96) ──analysis (g_a)──> y (96, at 1/8) ──x gain──> round ──> y codes
                                                       │ h_a
                                                       z (24, at 1/32) ──x gain──> round ──> z codes

    y_hat / gain ──synthesis (g_s)──> samples ──shuffle──> x_hat ──post-filter──> picture shown

The codes of y are written in four passes, each conditioned on all earlier ones by two networks
(h_s): a float one predicts the mean (`MeanNetwork`), an exact integer one chooses the frequency
table (`ScaleNetwork`):

    0  low frequencies, at half of the positions (an X in every 4x4 cell, which D4 preserves)
    1  low frequencies, at the other positions
    2  middle frequencies
    3  high frequencies

Analysis and synthesis are initialised as block DCTs with residual branches at zero, the post-filter
as the identity; every layer of the decoder commutes with D4.

Inter frames have a second `FrameNetwork`, which codes the residual of motion compensation. Its
analysis and synthesis are linear, and only the means of pass 1 are predicted, from the prediction:
residual networks and other means gained nothing there. Its integer network also sees the codes of
the references, moved by the same vectors in integers.

Dimension letters: B batch, C channels, H, W luma samples (multiples of 32), h = H/8, w = W/8.
Sources: Balle et al. 2018 (hyperprior); Minnen et al. 2018 (means, context); He et al. 2021
(checkerboard context).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.entropy_model import DistanceClass, MeanNetwork, ScaleNetwork
from aehub.codecs.d4.planes import PlaneBatch, clipped, shuffle, unshuffle
from aehub.codecs.d4.post_filter import PostFilter
from aehub.codecs.d4.quantisation import masked_gains
from aehub.codecs.d4.symmetry import A1, A2, B1, B2, REGULAR, E, Representation
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import (
    BLOCK_SAMPLES,
    LinearTransform,
    QualityCurve,
    Transform,
    block_dct,
    step_size,
)

HYPER_LATENTS = A1 * 8 + A2 * 2 + B1 * 2 + B2 * 2 + E * 5
"""Representation of the 24 channels of z."""


class Codes(NamedTuple):
    """Integers in float tensors: `hyper` (z) [B, 24, h/4, w/4], `latent` (y) [B, 96, h, w]."""

    hyper: Tensor
    latent: Tensor


class InterCondition(NamedTuple):
    """Inputs of an inter frame's networks besides the frame itself.

    Attributes:
        prediction: motion-compensated samples as `unshuffle` arranges them, [B, 96, h, w]; empty
            where only integer networks run.
        context: temporal context (`aehub.codecs.d4.reference_buffer`), integers 0..31,
            [B, 99, h, w].
        distance_class: log2 of the distance to the nearest reference in frames, 0..3; one for all
            frames, or for each.
    """

    prediction: Tensor
    context: Tensor
    distance_class: DistanceClass


class CodingPass(NamedTuple):
    """Codes of y that are written together: channels [begin, end) where `mask` [h, w] is 1."""

    number: int
    begin: int
    end: int
    mask: Tensor


class FrameNetwork(nn.Module):
    """Transforms, entropy model and post-filter of one frame type, intra or inter.

    Attribute names are the names of the stored tensors.

    Args:
        analysis: g_a, samples to latents.
        synthesis: g_s, latents to samples.
        filter_fields: width of the post-filter in regular fields of 8 channels.
        filter_layers: hidden layers of the post-filter.
        masking: inter frames only: exponent of texture masking in hundredths. None for intra
            frames.
    """

    def __init__(self, analysis: LinearTransform, synthesis: LinearTransform, filter_fields: int,
                 filter_layers: int, masking: int | None = None) -> None:
        super().__init__()
        dct, conditional = block_dct(), masking is not None
        self.conditional, self.masking_exponent = conditional, (masking or 0) / 100
        self.representation = dct.latents
        self.analysis, self.synthesis = analysis, synthesis
        features = REGULAR * 8
        self.fold = TiedConv2d(dct.latents, features, 4, stride=4)
        self.hyper = TiedConv2d(features, HYPER_LATENTS, 1, scale=0.02)
        self.hyper_direct = TiedConv2d(dct.latents, HYPER_LATENTS, 4, stride=4, scale=0)
        self.gain, self.hyper_gain = QualityCurve(dct.latents), QualityCurve(HYPER_LATENTS)
        low, middle, high = dct.bands
        self.pass_channels = [(0, low), (0, low), (low, middle), (middle, high)]
        earlier = [None, _channels(dct.latents, 0, low), _channels(dct.latents, 0, low),
                   _channels(dct.latents, 0, middle)]
        passes = [(inputs, _channels(dct.latents, begin, end))
                  for inputs, (begin, end) in zip(earlier, self.pass_channels, strict=True)]
        self.means = MeanNetwork(HYPER_LATENTS, passes, BLOCK_SAMPLES if conditional else None)
        self.scales = ScaleNetwork(HYPER_LATENTS, passes,
                                   dct.latents.magnitudes() + A1 * 3 if conditional else None)
        if conditional:
            magnitudes = dct.latents.magnitudes()
            self.activity = TiedConv2d(magnitudes, HYPER_LATENTS, 2, stride=2, scale=0)
        self.post_filter = PostFilter(filter_fields, filter_layers, conditional)

    def analyse(self, planes: PlaneBatch, quality: Tensor, condition: InterCondition | None = None
                ) -> tuple[Tensor, Tensor]:
        """g_a and h_a: planes -> y [B, 96, h, w] and z [B, 24, h/4, w/4], both in quantiser steps.

        Args:
            planes: x, sizes multiples of 32 in luma.
            quality: [B] or [1], 0..100.
            condition: of inter frames.
        """
        x = unshuffle(planes)
        if condition is None:
            latent = self.analysis(x, quality)
        else:
            latent = self.analysis(x - condition.prediction, quality)
        hyper = self.hyper(F.relu(self.fold(latent))) + self.hyper_direct(latent)
        latent, hyper = latent * self.gains(quality, condition), hyper * self.hyper_gains(quality)
        if self.conditional:
            # The magnitude of the residual, region by region: it determines the scales.
            magnitude = F.avg_pool2d(latent.abs(), 2)
            hyper = hyper + self.activity(torch.log2(1 + 8 * magnitude))
        return latent, hyper

    def synthesise(self, latent: Tensor, quality: Tensor, condition: InterCondition | None = None,
                   *, coarse: bool = False) -> PlaneBatch:
        """g_s: y_hat in steps [B, 96, h, w] -> decoded planes before the post-filter, unclipped.

        `coarse` leaves out the residual network of intra frames, which takes most of their time and
        hardly changes means of areas.
        """
        latent = latent / self.gains(quality, condition)
        if coarse:
            return shuffle(LinearTransform.forward(self.synthesis, latent, quality))
        if condition is None:
            return shuffle(self.synthesis(latent, quality))
        return shuffle(condition.prediction + self.synthesis(latent, quality))

    def apply_post_filter(self, planes: PlaneBatch, quality: Tensor,
                          condition: InterCondition | None = None) -> PlaneBatch:
        """Clipped reference planes -> planes to be shown, clipped too."""
        prediction = None if condition is None else shuffle(condition.prediction)
        return clipped(self.post_filter(planes, quality, prediction))

    def gains(self, quality: Tensor, condition: InterCondition | None = None) -> Tensor:
        """Steps per unit of y: [B, 96, 1, 1]; [B, 96, h, w] with texture masking (inter frames)."""
        gains = torch.exp(self.gain(quality)) * (255 / step_size(quality))[:, None, None, None]
        if condition is None:
            return gains
        return masked_gains(gains, condition.prediction, self.masking_exponent)

    def hyper_gains(self, quality: Tensor) -> Tensor:
        """Steps per unit of z: [B, 24, 1, 1]."""
        return torch.exp(self.hyper_gain(quality)) * (255 / step_size(quality))[:, None, None, None]

    def constrain(self) -> None:
        """Scale integer layers down to their exactness bound; for the trainer, after each step."""
        self.scales.constrain()

    def coding_passes(self, height: int, width: int, device: torch.device) -> Iterator[CodingPass]:
        """The passes over a latent grid of height x width."""
        masks = _pass_masks(height, width, device)
        for number, ((begin, end), mask) in enumerate(zip(self.pass_channels, masks, strict=True)):
            yield CodingPass(number, begin, end, mask)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _pass_masks(height: int, width: int, device: torch.device) -> list[Tensor]:
    """Positions of each pass, [h, w] each."""
    outer = [((torch.arange(n, device=device) + 1) % 4 < 2) for n in (height, width)]
    cross = (outer[0][:, None] == outer[1][None]).float()
    return [cross, 1 - cross, torch.ones_like(cross), torch.ones_like(cross)]


class D4Network(FrameNetwork):
    """All networks of the codec: those of intra frames, and in `inter` those of inter frames.

    Args:
        fields: width of analysis and synthesis in regular fields of 8 channels.
        analysis_blocks: residual blocks of the analysis.
        synthesis_blocks: residual blocks of the synthesis.
        filter_fields: width of both post-filters in regular fields of 8 channels.
        filter_layers: hidden layers of the post-filters.
        inter_masking: exponent of texture masking in inter frames, in hundredths.
    """

    analysis: Transform
    synthesis: Transform

    def __init__(self, fields: int = 16, analysis_blocks: int = 2, synthesis_blocks: int = 3,
                 filter_fields: int = 4, filter_layers: int = 4, inter_masking: int = 14) -> None:
        dct = block_dct()
        forward = BLOCK_SAMPLES, dct.latents, torch.from_numpy(dct.matrix)
        inverse = dct.latents, BLOCK_SAMPLES, torch.from_numpy(dct.matrix.T)
        super().__init__(
            Transform(*forward, fields=fields, blocks=analysis_blocks),
            Transform(*inverse, fields=fields, blocks=synthesis_blocks),
            filter_fields, filter_layers)
        self.config = {
            "fields": fields, "analysis_blocks": analysis_blocks,
            "synthesis_blocks": synthesis_blocks, "filter_fields": filter_fields,
            "filter_layers": filter_layers, "inter_masking": inter_masking}
        self.inter = FrameNetwork(LinearTransform(*forward), LinearTransform(*inverse),
                                  filter_fields, filter_layers, inter_masking)

    def constrain(self) -> None:
        """Scale integer layers down to their exactness bound; for the trainer, after each step."""
        super().constrain()
        self.inter.constrain()


def _channels(latents: Representation, begin: int, end: int) -> Representation:
    return Representation(
        tuple(tuple(c - begin for c in row[begin:end]) for row in latents.source),
        tuple(row[begin:end] for row in latents.sign),
    )


def quality_tensor(quality: float, like: Tensor) -> Tensor:
    """One quality for all frames of a batch, as the [1] tensor that the networks take."""
    return torch.full((1,), quality, dtype=like.dtype, device=like.device)
