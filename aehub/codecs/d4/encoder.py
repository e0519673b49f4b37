"""Encoder of frames: motion estimation, mode decision, coded-block flags and codes of each frame.

Decoders read whatever is chosen here. Motion and coded-block flags weigh squared error against bits
with the lambda of the networks' training, codes with that of the model's config (RDOQ).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4 import PAYLOAD_FORMATS, latent_kernels
from aehub.codecs.d4.flat_cells import FlatCells, find_flat_cells
from aehub.codecs.d4.frame import (
    FrameCoder,
    FrameLatents,
    encode_frame,
    reconstruct,
    show_frame,
)
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupWriter
from aehub.codecs.d4.layers import SINGLE_STREAM, stream_of
from aehub.codecs.d4.motion.coding import TemporalPredictor
from aehub.codecs.d4.motion.field import MAX_VECTOR, Motion
from aehub.codecs.d4.motion.rdo import Lagrangian, choose_modes, mean_sads, refine_vectors
from aehub.codecs.d4.motion.search import LumaPlane, SearchResult, search
from aehub.codecs.d4.network import Codes, CodingPass, InterCondition, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, to_batch, unshuffle
from aehub.codecs.d4.quantisation import Quantiser, frame_quality, texture_masking
from aehub.codecs.d4.reconstruction import pixel_condition
from aehub.codecs.d4.reference_buffer import ReferenceBuffer, coded_mask, distance_classes
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.settings import EncoderSettings
from aehub.codecs.d4.transforms import step_size
from aehub.codecs.gop import FrameSlot
from aehub.media.picture import Picture
from aehub.weights.device import with_inference

# Largest component of a candidate in quarter samples: the search goes a little further from there.
_MAX_CANDIDATE = MAX_VECTOR - 64
_LOG2 = np.log2(np.maximum(1, np.arange(1 << 12)))


@with_inference
def encode_intra(runtime: Runtime, frames: Sequence[Picture], quality: float) -> FrameLatents:
    """Encode frames of one size, each as an intra frame."""
    x = to_batch(frames, runtime.device, runtime.code_dtype)
    return _encode(runtime, x, quality_tensor(quality, x.y))[1]


class EncodedFrame(NamedTuple):
    """An encoded frame.

    Attributes:
        slot: number, references and temporal layer.
        syntax: as it is written.
        condition: of an inter frame.
        x: the frame before encoding; None where it is not to be shown.
        x_hat: as later frames refer to it; None where none does and it is not to be shown.
    """

    slot: FrameSlot
    syntax: FrameSyntax
    condition: InterCondition | None
    x: PlaneBatch | None
    x_hat: PlaneBatch | None


class FrameEncoder:
    """Encoder of the frames of a group.

    Frames are encoded in any order, or side by side, once those that they refer to are written;
    the frames of a layer are written together, those of a stream in coding order.

    Args:
        runtime: a model's networks and tables.
        quality: of the group, 0..100.
        payload_format: of the file.
    """

    def __init__(self, runtime: Runtime, quality: float,
                 payload_format: int = PAYLOAD_FORMATS[0]) -> None:
        self.runtime, self.quality, self.device = runtime, quality, runtime.device
        self.writer, self.buffer = GroupWriter(runtime, payload_format), ReferenceBuffer()
        self._decoded: dict[int, PlaneBatch] = {}
        self._luma: dict[int, LumaPlane] = {}

    def write(self, frames: Sequence[EncodedFrame]) -> None:
        """Write the frames of a layer of a mini-GOP; later frames may refer to them then."""
        predictors = [self._predictors(frame.slot, frame.syntax.codes.latent.shape[-2:])
                      for frame in frames if frame.slot.references]
        motions = self.writer.write([frame.syntax for frame in frames],
                                    stream_of(frames[0].slot.temporal_layer), predictors)
        for frame, motion in zip(frames, motions, strict=True):
            if frame.slot.is_reference:
                number, context = frame.slot.number, frame.condition and frame.condition.context
                self.buffer.store(number, frame.syntax.codes, frame.slot.references, motion,
                                  context)
                assert frame.x_hat is not None
                self._decoded[number] = frame.x_hat

    @with_inference
    def encode(self, slot: FrameSlot, picture: Picture, *, show: bool = True) -> EncodedFrame:
        """Encode a frame, and keep all that it takes to be shown, or only what is written."""
        runtime, number, references = self.runtime, slot.number, slot.references
        x = to_batch([picture], runtime.device, runtime.code_dtype)
        offset = runtime.settings.quality_offset(slot.temporal_layer)
        quality = quality_tensor(frame_quality(self.quality, offset), x.y)
        motion = condition = flat = None
        if references:
            predictors = self._predictors(slot, [n // 8 for n in x.y.shape[-2:]])
            motion = self._estimate_motion(x, number, references, predictors, quality)
            pixels = pixel_condition([self._decoded[r] for r in references], motion)
            condition = pixels._replace(context=self.buffer.context([references], [motion]),
                                        distance_class=distance_classes([number], [references]))
        elif self.writer.payload_format != SINGLE_STREAM:
            flat = find_flat_cells(x, runtime.settings.flat_tolerance * float(step_size(quality)))
        motion, latents = _encode(runtime, x, quality, motion, condition, flat)
        x_hat = None
        if show or slot.is_reference:
            network = runtime.network_for(references)
            x_hat = reconstruct(network, latents.y_hat, quality, condition, flat)
        tables = Codes(*(part.to(torch.uint8) for part in latents.tables))
        syntax = FrameSyntax(number, offset, motion, flat, latents.codes, tables)
        if show:
            return EncodedFrame(slot, syntax, condition, x, x_hat)
        if condition is not None:
            condition = condition._replace(prediction=x.y.new_empty(0))
        return EncodedFrame(slot, syntax, condition, None, x_hat)

    @with_inference
    def shown(self, frame: EncodedFrame) -> PlaneBatch:
        """A frame as a decoder shows it."""
        assert frame.x_hat is not None
        quality = quality_tensor(frame_quality(self.quality, frame.syntax.quality_offset),
                                 frame.x_hat.y)
        return show_frame(self.runtime.network_for(frame.slot.references), frame.x_hat, quality,
                          frame.condition, frame.syntax.flat)

    def _predictors(self, slot: FrameSlot, grid: Sequence[int]) -> list[TemporalPredictor]:
        """Temporal predictors of a frame; `grid` is (h, w)."""
        rows, columns = grid
        return self.buffer.temporal_predictors(slot.number, slot.references,
                                               (rows // 2, columns // 2))

    def drop(self, numbers: Iterable[int]) -> None:
        """Drop references to which no later frame refers."""
        for number in numbers:
            self.buffer.drop(number)
            del self._decoded[number]
            self._luma.pop(number, None)

    def fork(self) -> FrameEncoder:
        """Return an independent copy."""
        other = copy(self)
        other.writer, other.buffer = self.writer.fork(), self.buffer.copy()
        other._decoded, other._luma = dict(self._decoded), dict(self._luma)
        return other

    def words(self, stream: int) -> int:
        """Length of an entropy stream if it ended here, in words of 32 bits."""
        return self.writer.words(stream)

    def finish(self) -> tuple[tuple[int, ...], bytes]:
        """Return `GroupHeader.stream_words` and the payload."""
        return self.writer.finish()

    def _estimate_motion(self, batch: PlaneBatch, number: int, references: tuple[int, ...],
                         predictors: list[TemporalPredictor], quality: Tensor) -> Motion:
        """Estimate vectors and modes; all blocks are flagged as coded."""
        settings, exponent = self.runtime.settings, self.runtime.network.inter.masking_exponent
        # Approximate factor of adaptive quantisation in each block: [H/16, W/16].
        factors = F.avg_pool2d(texture_masking(unshuffle(batch), exponent), 2)[0, 0]
        step = float(step_size(quality))
        steps = step * factors.cpu().numpy().astype(np.float32)
        # In flat areas a smaller lambda only fits noise.
        lambda_ = (settings.motion_lambda_factor * math.sqrt(settings.lambda_)
                   * np.maximum(steps, step)).astype(np.float32)
        current = _luma_plane(batch)
        results: list[SearchResult] = []
        for predictor, reference in zip(predictors, references, strict=True):
            if reference not in self._luma:
                self._luma[reference] = _luma_plane(self._decoded[reference])
            if callable(predictor):
                predictor = predictor(results[0].vectors.astype(np.int16))
            hint = np.clip(predictor.astype(np.int64), -_MAX_CANDIDATE, _MAX_CANDIDATE)
            results.append(search(
                current, self._luma[reference], lambda_=lambda_, hints=[hint], settings=settings,
                search_range=settings.search_range_at(abs(number - reference)),
                peaks=settings.peaks if len(references) == 1 else settings.b_peaks))
        vectors = np.stack([result.sub_block_vectors for result in results])
        modes = self._decide_modes(current, references, vectors, results, lambda_)
        height, width = modes.shape
        motion = Motion(vectors, modes, np.ones((height // 2, width // 2), bool))
        knee = math.sqrt(settings.lambda_) / settings.motion_lambda_factor
        lagrangian = Lagrangian(settings.lambda_ * steps ** 2, knee * steps)
        return refine_vectors(current, [self._luma[r] for r in references], motion, predictors,
                              lagrangian, settings)

    def _decide_modes(self, current: LumaPlane, references: tuple[int, ...], vectors: np.ndarray,
                      results: list[SearchResult], lambda_: np.ndarray) -> np.ndarray:
        """Prediction mode of each block, uint8 [H/16, W/16]."""
        n, m = results[0].cost.shape
        if len(references) == 1:
            return np.ones((n, m), np.uint8)
        sads = mean_sads(current, [self._luma[r] for r in references], vectors)
        # Refinement will save about half of the bits of both vectors.
        vector_cost = sum(r.cost - r.sad for r in results)
        costs = np.stack([*(r.cost for r in results), sads + 0.5 * vector_cost])
        return choose_modes(costs, lambda_, self.runtime.settings)


def _luma_plane(planes: PlaneBatch) -> LumaPlane:
    return LumaPlane((planes.y[0, 0].float() * 255 + 127.5).cpu().numpy())


def _encode(runtime: Runtime, x: PlaneBatch, quality: Tensor, motion: Motion | None = None,
            condition: InterCondition | None = None, flat: FlatCells | None = None
            ) -> tuple[Motion | None, FrameLatents]:
    """Encode one predicted frame, or any number of intra frames; returns the motion with the
    coded-block flags chosen."""

    def quantise(y: Tensor, z: Tensor) -> FrameCoder:
        nonlocal motion
        if motion is None:
            coded = None if flat is None else coded_mask([flat.coded], y.device)
            return _IntraQuantiser(runtime.quantiser, y, z, coded, runtime.rdoq_weight(x))
        motion = Motion(motion.vectors, motion.modes, _choose_coded_flags(y, runtime.settings))
        return _InterQuantiser(runtime.inter_quantiser, y, z,
                               coded_mask([motion.coded_flags], y.device))

    network = runtime.network if condition is None else runtime.network.inter
    filling = None if flat is None else flat.latents(network, quality)
    latents = encode_frame(network, x, quality, quantise, condition, filling)
    return motion, latents


class _IntraQuantiser:
    """A `FrameCoder` that quantises intra frames.

    Args:
        quantiser: of y.
        y: latents in steps.
        z: hyper-latents in steps.
        coded: flags of the cells that are coded; None where all are.
        weight: factor of lambda at each position, [B, 1, h, w]; None where it is 1.
    """

    def __init__(self, quantiser: Quantiser, y: Tensor, z: Tensor, coded: Tensor | None,
                 weight: Tensor | None = None) -> None:
        self.quantiser, self.y, self.z, self.coded, self.weight = quantiser, y, z, coded, weight

    def hyper(self, index: Tensor) -> Tensor:
        """Round z."""
        return self.z.round() * (index >= 1)

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Quantise y - mu."""
        y = self.y[:, coding_pass.begin:coding_pass.end]
        return self.quantiser(y - mean, index, self.weight)


class _InterQuantiser(_IntraQuantiser):
    """A `FrameCoder` that quantises a predicted frame, its hyper-latents by RDOQ too."""

    def hyper(self, index: Tensor) -> Tensor:
        """Quantise z."""
        return self.quantiser(self.z, index)


def _choose_coded_flags(y: Tensor, settings: EncoderSettings) -> np.ndarray:
    """Flag 32x32 blocks whose codes save more error than they cost: bool [h/4, w/4] for y of one
    frame."""
    gains = np.zeros([n // 4 for n in y.shape[2:]])
    latent_kernels.block_gains(
        y[0].cpu().permute(1, 2, 0).contiguous().numpy(), settings.lambda_, settings.dead_zone,
        settings.nonzero_bits, settings.magnitude_bits, _LOG2, gains)
    flags: np.ndarray = gains > settings.lambda_ * settings.block_bits
    return flags
