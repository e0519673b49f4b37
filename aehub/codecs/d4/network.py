"""`d4-codec`: an autoencoder of 4:2:0 pictures and clips whose codes turn with the picture.

    planes ──unshuffle──> pixels (96) ──analysis──> latents (96, at 1/8) ──x gain──> round ──> codes
                                                        │
                                                   hyper-codes (24, at 1/32)

    codes / gain ──synthesis──> pixels ──shuffle──> planes ──post-filter──> what is shown

Codes are written in four stages, each seeing all earlier ones through two networks: a float one
predicts the mean (`MeanNetwork`), an exact integer one picks the table (`ScaleNetwork`):

    0  low frequencies, at half of the places (an X in every 4x4 cell, which turns keep)
    1  low frequencies, at the other places
    2  middle frequencies
    3  high frequencies

Analysis and synthesis start as block DCTs with residual branches at zero, the post-filter as
nothing; every layer of the decoder commutes with D4.

Predicted frames go through a second `FrameNetwork`, which codes the difference from the prediction
(decoded frames moved by block vectors). Its analysis and synthesis are linear, and of its means
only those of stage 1 are predicted, from the prediction: residual networks and other means gained
nothing there. Its integer network sees the codes of the references, moved by the same vectors in
integers.

Dimension letters: B batch, C channels, H, W luma samples (multiples of 32), h = H/8, w = W/8.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4.entropy_model import MeanNetwork, ScaleNetwork, SparseBlocks
from aehub.codecs.d4.integer_conv import QUALITY_RESOLUTION
from aehub.codecs.d4.planes import PlaneBatch, clipped, shuffle, unshuffle
from aehub.codecs.d4.post_filter import PostFilter
from aehub.codecs.d4.quantisation import texture_masking
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


class Codes(NamedTuple):
    """Integers in float tensors: `hyper` [B, 24, h/4, w/4], `latent` [B, 96, h, w]."""

    hyper: Tensor
    latent: Tensor


class InterCondition(NamedTuple):
    """What a predicted frame's networks are given.

    Attributes:
        prediction: samples as `unshuffle` lays it out, [B, 96, h, w]; empty where only integer
            networks run.
        context: `aehub.codecs.d4.reference_buffer`, integers 0..31, [B, 99, h, w].
        distance_class: log2 of the distance to the nearest reference in frames, 0..3.
    """

    prediction: Tensor
    context: Tensor
    distance_class: int


class CodingPass(NamedTuple):
    """Channels [begin, end) of the latents, written where `mask` [h, w] is 1."""

    number: int
    begin: int
    end: int
    mask: Tensor


PassGenerator = Generator[tuple[CodingPass, Tensor, Tensor], Tensor, tuple[Tensor, Tensor]]


class FrameNetwork(nn.Module):
    """The networks of one kind of frame.

    Args:
        analysis: pixels to latents.
        synthesis: latents to pixels.
        filter_fields: width of the post-filter in regular fields of 8 channels.
        filter_layers: hidden layers of the post-filter.
        masking: for predicted frames: hundredths of the exponent by which steps grow where the
            prediction is busy. None for frames that stand alone.
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
        self.ranges = [(0, low), (0, low), (low, middle), (middle, high)]
        known = [None, _part(dct.latents, 0, low), _part(dct.latents, 0, low),
                 _part(dct.latents, 0, middle)]
        stages = [(k, _part(dct.latents, a, b))
                  for k, (a, b) in zip(known, self.ranges, strict=True)]
        self.means = MeanNetwork(HYPER_LATENTS, stages, BLOCK_SAMPLES if conditional else None)
        self.scales = ScaleNetwork(HYPER_LATENTS, stages,
                                   dct.latents.magnitudes() + A1 * 3 if conditional else None)
        if conditional:
            magnitudes = dct.latents.magnitudes()
            self.activity = TiedConv2d(magnitudes, HYPER_LATENTS, 2, stride=2, scale=0)
        self.post_filter = PostFilter(filter_fields, filter_layers, conditional)

    # Planes and latents.

    def analyse(self, planes: PlaneBatch, quality: Tensor, condition: InterCondition | None = None
                ) -> tuple[Tensor, Tensor]:
        """Planes -> latents [B, 96, h, w] and hyper-latents [B, 24, h/4, w/4], both in steps.

        Args:
            planes: sizes multiples of 32 in luma.
            quality: [B] or [1], 0..100.
            condition: of predicted frames.
        """
        x = unshuffle(planes)
        if condition is None:
            latent = self.analysis(x, quality)
        else:
            latent = self.analysis(x - condition.prediction, quality)
        hyper = self.hyper(F.relu(self.fold(latent))) + self.hyper_direct(latent)
        latent, hyper = latent * self.gains(quality, condition), hyper * self.hyper_gains(quality)
        if self.conditional:
            # Where much is left to code, and where not: what scales want to know.
            size = F.avg_pool2d(latent.abs(), 2)
            hyper = hyper + self.activity(torch.log2(1 + 8 * size))
        return latent, hyper

    def synthesise(self, latent: Tensor, quality: Tensor, condition: InterCondition | None = None
                   ) -> PlaneBatch:
        """Latents in steps [B, 96, h, w] -> planes as others refer to them, not yet clipped."""
        latent = latent / self.gains(quality, condition)
        if condition is None:
            return shuffle(self.synthesis(latent, quality))
        return shuffle(condition.prediction + self.synthesis(latent, quality))

    def apply_post_filter(self, planes: PlaneBatch, quality: Tensor,
                          condition: InterCondition | None = None) -> PlaneBatch:
        """Clipped planes as others refer to them -> as they are shown, clipped too."""
        prediction = None if condition is None else shuffle(condition.prediction)
        return clipped(self.post_filter(planes, quality, prediction))

    def gains(self, quality: Tensor, condition: InterCondition | None = None) -> Tensor:
        """Steps per unit of latent [B, 96, 1, 1]; [B, 96, h, w] where texture masks."""
        gains = torch.exp(self.gain(quality)) * (255 / step_size(quality))[:, None, None, None]
        if condition is None:
            return gains
        return gains / texture_masking(condition.prediction, self.masking_exponent)

    def hyper_gains(self, quality: Tensor) -> Tensor:
        """Steps per unit of hyper-latent [B, 24, 1, 1]."""
        return torch.exp(self.hyper_gain(quality)) * (255 / step_size(quality))[:, None, None, None]

    def constrain(self) -> None:
        """Keep the integer layers inside their exactness bound; the trainer calls this."""
        self.scales.constrain()

    # Codes, stage by stage.

    def coding_passes(self, height: int, width: int, device: torch.device) -> Iterator[CodingPass]:
        """The stages of a latent grid of height x width."""
        outer = [((torch.arange(n, device=device) + 1) % 4 < 2) for n in (height, width)]
        cross = (outer[0][:, None] == outer[1][None]).float()
        masks = [cross, 1 - cross, torch.ones_like(cross), torch.ones_like(cross)]
        for number, ((begin, end), mask) in enumerate(zip(self.ranges, masks, strict=True)):
            yield CodingPass(number, begin, end, mask)

    def code_passes(self, hyper_codes: Tensor, quality: Tensor,
                    condition: InterCondition | None = None, *, cells: Tensor | None = None,
                    means: bool = True
                    ) -> PassGenerator:
        """Walk the stages; whoever drives it quantises, decodes or rates the codes of each.

        Encoder, decoder and trainer share this loop: what one conditions on, all do.

        Args:
            hyper_codes: integers [B, 24, h/4, w/4].
            quality: [B] or [1], 0..100.
            condition: of predicted frames.
            cells: [1, 1, h/4, w/4] of one frame, 0 where all codes are zero and none is written;
                table indices are then any there. None where all cells are coded.
            means: predict them; without, only integer networks run and latents are codes.

        Yields:
            (stage, mean, index), mean in steps ([1] where none is predicted) and table index
            [B, C', h, w] of its codes. Send the codes back; they are ignored where the stage's
            mask is 0.

        Returns:
            (codes, latents) [B, 96, h, w]; latents = codes + mean, in steps.
        """
        hundredths = (quality * (QUALITY_RESOLUTION / 100)).round().to(torch.int64)
        gains = self.gains(quality, condition if means else None)
        mean_features = self.means.features(
            hyper_codes / self.hyper_gains(quality),
            None if condition is None else condition.prediction
        ) if means else None
        tiles = None if cells is None else SparseBlocks.of(cells)
        scale_features = self.scales.features(
            hyper_codes, hundredths,
            None if condition is None else (condition.context, condition.distance_class), tiles)
        codes: list[Tensor] = []
        latents: list[Tensor] = []
        height, width = (4 * n for n in hyper_codes.shape[-2:])
        for stage in self.coding_passes(height, width, hyper_codes.device):
            known = torch.cat(codes, 1).detach() if codes else None
            mean = None if mean_features is None else self.means(
                stage.number, mean_features, latents, gains, quality)
            mean = (hyper_codes.new_zeros(1) if mean is None
                    else mean * gains[:, stage.begin:stage.end])
            index = self.scales(stage.number, scale_features, known, stage.mask, hundredths, tiles)
            new = (yield stage, mean, index) * stage.mask
            latent = new + mean * stage.mask
            if stage.number == 1:
                new, latent = codes.pop() + new, latents.pop() + latent
            codes.append(new)
            latents.append(latent)
        return torch.cat(codes, 1), torch.cat(latents, 1)


class D4Network(FrameNetwork):
    """The networks of the codec; files, groups and frame sizes are `aehub.codecs.d4`'s concern.

    The coder of frames that stand alone; `inter` is the coder of predicted frames.

    Args:
        fields: width of analysis and synthesis in regular fields of 8 channels.
        analysis_blocks: residual blocks of the analysis.
        synthesis_blocks: residual blocks of the synthesis.
        filter_fields: width of the post-filters of both halves.
        filter_layers: hidden layers of the post-filters.
        inter_masking: hundredths of the exponent by which steps of predicted frames grow with
            texture.
    """

    analysis: Transform
    synthesis: Transform

    def __init__(self, fields: int = 16, analysis_blocks: int = 2, synthesis_blocks: int = 3,
                 filter_fields: int = 4, filter_layers: int = 4, inter_masking: int = 14) -> None:
        dct = block_dct()
        there = BLOCK_SAMPLES, dct.latents, torch.from_numpy(dct.matrix)
        back = dct.latents, BLOCK_SAMPLES, torch.from_numpy(dct.matrix.T)
        super().__init__(
            Transform(*there, fields=fields, blocks=analysis_blocks),
            Transform(*back, fields=fields, blocks=synthesis_blocks), filter_fields, filter_layers)
        self.config = {
            "fields": fields, "analysis_blocks": analysis_blocks,
            "synthesis_blocks": synthesis_blocks, "filter_fields": filter_fields,
            "filter_layers": filter_layers, "inter_masking": inter_masking}
        self.inter = FrameNetwork(LinearTransform(*there), LinearTransform(*back), filter_fields,
                           filter_layers, inter_masking)

    def constrain(self) -> None:
        """Keep the integer layers inside their exactness bound; the trainer calls this."""
        super().constrain()
        self.inter.constrain()


def _part(whole: Representation, begin: int, end: int) -> Representation:
    return Representation(
        tuple(tuple(c - begin for c in row[begin:end]) for row in whole.source),
        tuple(row[begin:end] for row in whole.sign),
    )


def quality_tensor(quality: float, like: Tensor) -> Tensor:
    """One quality for a whole batch, as the [1] tensor that the networks take."""
    return torch.full((1,), quality, dtype=like.dtype, device=like.device)
