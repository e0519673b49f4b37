"""Encoder of groups: motion estimation, mode decision, coded-block flags and codes of each frame.

Decoders read whatever is chosen here. Each choice weighs squared error against bits with the
lambda of the networks' training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4.frame_coding import (
    FrameCodes,
    GroupWriter,
    append_index,
    hyper_table_index,
    inter_condition,
    masked_index,
    run_passes,
)
from aehub.codecs.d4.motion.coding import TemporalPredictor
from aehub.codecs.d4.motion.compensate import predict_planes
from aehub.codecs.d4.motion.field import BOTH, MAX_VECTOR, Motion
from aehub.codecs.d4.motion.rdo import Lagrangian, choose_modes, refine_vectors
from aehub.codecs.d4.motion.search import LumaPlane, SearchResult, search, split_blocks
from aehub.codecs.d4.network import Codes, CodingPass, FrameNetwork, InterCondition, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, clipped, to_batch, unshuffle
from aehub.codecs.d4.quantisation import texture_masking
from aehub.codecs.d4.reference_buffer import ReferenceBuffer, coded_masks
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.transforms import step_size
from aehub.codecs.gop import default_quality_offset, frame_quality
from aehub.media.picture import Picture
from aehub.weights.device import with_inference

# Squared error per bit, in squared quantiser steps.
LAMBDA = 0.08
# Factor of lambda in motion search: vectors are coded even where the residual is not. Chosen on
# training clips.
_MOTION_LAMBDA_FACTOR = 1.75
# Approximate bits of a code that is not zero, of each doubling of its magnitude, and of a coded
# block; and the dead zone of rate-distortion optimised rounding. Estimates by the tables take a
# seventh of the encoder's time and save 0.2 % of the rate.
_NONZERO_BITS, _MAGNITUDE_BITS, _BLOCK_BITS, _DEAD_ZONE = 5.0, 2.0, 8.0, 0.2
# Search range in samples: at distance 0, per frame of distance, and at most.
_SEARCH_RANGE, _SEARCH_RANGE_PER_FRAME, _MAX_SEARCH_RANGE = 8, 6, 48
# Largest component of a candidate in quarter samples: the search goes a little further from there.
_MAX_CANDIDATE = MAX_VECTOR - 64


class CodedBatch(NamedTuple):
    """Integers of frames, and their latents as decoded.

    Attributes:
        motion: None for intra frames.
        codes: integers [B, 24, h/4, w/4] and [B, 96, h, w].
        tables: indices of their tables, of the same shapes; 0 where nothing is written.
        latents: codes plus means, [B, 96, h, w].
    """

    motion: Motion | None
    codes: Codes
    tables: Codes
    latents: Tensor


@with_inference
def encode_intra(runtime: Runtime, frames: Sequence[Picture], quality: float) -> CodedBatch:
    """Encode frames of one size, each as an intra frame."""
    batch = to_batch(frames, runtime.device, runtime.code_dtype)
    return _encode(runtime, runtime.network, batch, quality_tensor(quality, batch.y), None, None)


class GroupEncoder:
    """Encoder of a group, frame by frame in coding order.

    Args:
        runtime: a model's networks and tables.
        quality: of the group, 0..100.
    """

    def __init__(self, runtime: Runtime, quality: float) -> None:
        self.runtime, self.quality, self.device = runtime, quality, runtime.device
        self.writer, self.buffer = GroupWriter(runtime), ReferenceBuffer()
        self._decoded: dict[int, PlaneBatch] = {}
        self._luma: dict[int, LumaPlane] = {}

    @with_inference
    def add(self, number: int, planes: Picture, references: tuple[int, ...] = (),
            temporal_layer: int | None = None, *, post_filter: bool = True) -> PlaneBatch:
        """Encode a frame; returns it as decoded.

        Args:
            number: of the frame in the order of times.
            planes: the picture.
            references: numbers of frames added before and retained since.
            temporal_layer: in the hierarchical GOP; None for an intra frame.
            post_filter: return the frame as it is shown, which takes time; else as later frames
                refer to it.
        """
        runtime = self.runtime
        batch = to_batch([planes], runtime.device, runtime.code_dtype)
        quality_offset = default_quality_offset(temporal_layer)
        quality = quality_tensor(frame_quality(self.quality, quality_offset), batch.y)
        network = runtime.network_for(references)
        motion, condition, predictors = None, None, []
        if references:
            height, width = batch.y.shape[-2:]
            predictors = self.buffer.temporal_predictors(number, references,
                                                         (height // 16, width // 16))
            motion = self._estimate_motion(batch, number, references, predictors, quality)
            condition = inter_condition(runtime, self.buffer, number, references, motion,
                                        [self._decoded[r] for r in references])
        motion, codes, tables, latents = _encode(runtime, network, batch, quality, motion,
                                                 condition)
        frame = FrameCodes(number, quality_offset, motion, codes, tables)
        motion = self.writer.write(frame, predictors)
        self.buffer.store(number, codes, references, motion,
                          None if condition is None else condition.context)
        decoded = clipped(network.synthesise(latents, quality, condition))
        self._decoded[number] = decoded
        return self._shown(network, decoded, batch, quality, condition) if post_filter else decoded

    def _shown(self, network: FrameNetwork, decoded: PlaneBatch, target: PlaneBatch,
               quality: Tensor, condition: InterCondition | None) -> PlaneBatch:
        """Apply the post-filter; `target` is the frame before encoding."""
        return network.apply_post_filter(decoded, quality, condition)

    def retain(self, numbers: Sequence[int]) -> None:
        """Drop all other frames as references."""
        self.buffer.retain(numbers)
        self._decoded = {n: self._decoded[n] for n in numbers}
        self._luma = {n: p for n, p in self._luma.items() if n in numbers}

    def fork(self) -> GroupEncoder:
        """Return an independent copy."""
        other = copy(self)
        other.writer, other.buffer = self.writer.fork(), self.buffer.copy()
        other._decoded, other._luma = dict(self._decoded), dict(self._luma)
        return other

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.writer.size

    @property
    def words(self) -> int:
        """Length of the payload if it ended here, in words of 32 bits."""
        return self.writer.words

    def finish(self) -> bytes:
        """Return the payload."""
        return self.writer.finish()

    def _estimate_motion(self, batch: PlaneBatch, number: int, references: tuple[int, ...],
                         predictors: list[TemporalPredictor], quality: Tensor) -> Motion:
        """Estimate vectors and modes; all blocks are flagged as coded."""
        exponent = self.runtime.network.inter.masking_exponent
        # Approximate factor of adaptive quantisation in each block: [H/16, W/16].
        factors = F.avg_pool2d(texture_masking(unshuffle(batch), exponent), 2)[0, 0]
        steps = float(step_size(quality)) * factors
        # In flat areas a smaller lambda only fits noise.
        lambda_ = (_MOTION_LAMBDA_FACTOR * math.sqrt(LAMBDA)
                   * steps.clamp(min=float(step_size(quality))))
        current, fields = _luma_plane(batch), []
        results: list[SearchResult] = []
        for predictor, reference in zip(predictors, references, strict=True):
            if reference not in self._luma:
                self._luma[reference] = _luma_plane(self._decoded[reference])
            if callable(predictor):
                predictor = predictor(results[0].vectors.cpu().numpy().astype(np.int16))
            hint = torch.from_numpy(predictor.astype(np.int64)).clamp(-_MAX_CANDIDATE,
                                                                      _MAX_CANDIDATE)
            search_range = min(_SEARCH_RANGE + _SEARCH_RANGE_PER_FRAME * abs(number - reference),
                               _MAX_SEARCH_RANGE)
            results.append(search(current, self._luma[reference], lambda_=lambda_,
                                  search_range=search_range, hints=[hint.to(batch.y.device)]))
            fields.append(split_blocks(results[-1], lambda_))
        vectors = torch.stack(fields)
        modes = self._decide_modes(current, references, vectors, results, lambda_)
        height, width = modes.shape
        motion = Motion(vectors.cpu().numpy().astype(np.int16), modes,
                        np.ones((height // 2, width // 2), bool))
        sizes = steps.cpu().numpy()
        lagrangian = Lagrangian(LAMBDA * sizes ** 2,
                                math.sqrt(LAMBDA) / _MOTION_LAMBDA_FACTOR * sizes)
        return refine_vectors(current, [self._luma[r] for r in references], motion, predictors,
                              lagrangian)

    def _decide_modes(self, current: LumaPlane, references: tuple[int, ...], vectors: Tensor,
                      results: list[SearchResult], lambda_: Tensor) -> np.ndarray:
        """Prediction mode of each block, uint8 [H/16, W/16]."""
        n, m = results[0].cost.shape
        if len(references) == 1:
            return np.ones((n, m), np.uint8)
        both = torch.full((1, n, m), BOTH, dtype=torch.uint8, device=vectors.device)
        planes = [self._luma[r].luma[None] for r in references]
        prediction = predict_planes(planes, vectors[None], both)
        sad = 256 * F.avg_pool2d((prediction - current.luma).abs_(), 16)[0]
        # Refinement will save about half of the bits of both vectors.
        vector_cost = sum(r.cost - r.sad for r in results)
        costs = torch.stack([*(r.cost for r in results), sad + 0.5 * vector_cost])
        return choose_modes(costs.cpu().numpy(), lambda_.cpu().numpy())


def _luma_plane(planes: PlaneBatch) -> LumaPlane:
    return LumaPlane(planes.y[0, 0].float() * 255 + 127.5)


def _encode(runtime: Runtime, network: FrameNetwork, batch: PlaneBatch, quality: Tensor,
            motion: Motion | None, condition: InterCondition | None) -> CodedBatch:
    """Quantise one predicted frame, or any number of intra frames."""
    quantiser = runtime.quantiser if motion is None else runtime.inter_quantiser
    latent, hyper = network.analyse(batch, quality, condition)
    masks: tuple[Tensor | None, Tensor | None] = (None, None)
    if motion is not None:
        flags = _choose_coded_flags(latent)
        motion = Motion(motion.vectors, motion.modes, flags)
        if not flags.all():
            masks = coded_masks(motion, latent.device)
    hyper_index = hyper_table_index(network, hyper, quality, condition, masks[0])
    hyper_codes = (hyper.round() * (hyper_index >= 1) if motion is None
                   else quantiser(hyper, hyper_index))
    weight = runtime.rdoq_weight(batch) if motion is None else None
    indices: list[Tensor] = []

    def choose(coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        index = masked_index(index, coding_pass, masks[1])
        append_index(indices, coding_pass, index)
        return quantiser(latent[:, coding_pass.begin:coding_pass.end] - mean, index, weight)

    passes = network.code_passes(hyper_codes, quality, condition, coded=masks[0])
    codes, latents = run_passes(passes, choose)
    return CodedBatch(motion, Codes(hyper_codes, codes),
                      Codes(hyper_index, torch.cat(indices, 1)), latents)


def _choose_coded_flags(latent: Tensor) -> np.ndarray:
    """Flag 32x32 blocks whose codes save more error than they cost: bool [h/4, w/4]."""
    magnitude = latent.abs()
    codes = (magnitude + 0.5 - _DEAD_ZONE).floor().clamp(min=0)
    bits = _NONZERO_BITS * (codes > 0) + _MAGNITUDE_BITS * torch.log2(codes.clamp(min=1))
    gain = codes * (2 * magnitude - codes) - LAMBDA * bits
    block_gain = F.avg_pool2d(gain.sum(1, keepdim=True), 4) * 16
    flags: np.ndarray = (block_gain > LAMBDA * _BLOCK_BITS).cpu().numpy()
    return flags[0, 0]
