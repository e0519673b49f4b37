"""Encoder of frames: motion estimation, mode decision, coded-block flags and codes of each frame.

Decoders read whatever is chosen here. Motion and coded-block flags weigh squared error against bits
with the lambda of the networks' training, codes with that of the model's config (RDOQ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.block_matching import BLOCK
from aehub.codecs.d4.frame import FrameCoder, FrameLatents, encode_frame, reconstruct
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupWriter, inter_condition
from aehub.codecs.d4.motion.coding import TemporalPredictor
from aehub.codecs.d4.motion.compensate import predict_planes
from aehub.codecs.d4.motion.field import BOTH, MAX_VECTOR, Motion
from aehub.codecs.d4.motion.rdo import Lagrangian, choose_modes, refine_vectors
from aehub.codecs.d4.motion.search import LumaPlane, SearchResult, search, split_blocks
from aehub.codecs.d4.network import CodingPass, FrameNetwork, InterCondition, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, to_batch, unshuffle
from aehub.codecs.d4.quantisation import Quantiser, frame_quality, texture_masking
from aehub.codecs.d4.reference_buffer import ReferenceBuffer, coded_mask
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.settings import EncoderSettings
from aehub.codecs.d4.transforms import step_size
from aehub.media.picture import Picture
from aehub.weights.device import with_inference

# Largest component of a candidate in quarter samples: the search goes a little further from there.
_MAX_CANDIDATE = MAX_VECTOR - 64


@with_inference
def encode_intra(runtime: Runtime, frames: Sequence[Picture], quality: float) -> FrameLatents:
    """Encode frames of one size, each as an intra frame."""
    x = to_batch(frames, runtime.device, runtime.code_dtype)
    return _encode(runtime, x, quality_tensor(quality, x.y), None, None)[1]


class FrameEncoder:
    """Encoder of the frames of a group, in coding order.

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
        x = to_batch([planes], runtime.device, runtime.code_dtype)
        quality_offset = runtime.settings.quality_offset(temporal_layer)
        quality = quality_tensor(frame_quality(self.quality, quality_offset), x.y)
        motion, condition, predictors = None, None, []
        if references:
            height, width = x.y.shape[-2:]
            predictors = self.buffer.temporal_predictors(number, references,
                                                         (height // 16, width // 16))
            motion = self._estimate_motion(x, number, references, predictors, quality)
            condition = inter_condition(runtime, self.buffer, number, references, motion,
                                        [self._decoded[r] for r in references])
        motion, latents = _encode(runtime, x, quality, motion, condition)
        frame = FrameSyntax(number, quality_offset, motion, latents.codes, latents.tables)
        motion = self.writer.write(frame, predictors)
        self.buffer.store(number, latents.codes, references, motion,
                          None if condition is None else condition.context)
        network = runtime.network_for(references)
        x_hat = self._decoded[number] = reconstruct(network, latents.y_hat, quality, condition)
        return self._shown(network, x_hat, x, quality, condition) if post_filter else x_hat

    def _shown(self, network: FrameNetwork, decoded: PlaneBatch, target: PlaneBatch,
               quality: Tensor, condition: InterCondition | None) -> PlaneBatch:
        """Apply the post-filter; `target` is the frame before encoding."""
        return network.apply_post_filter(decoded, quality, condition)

    def retain(self, numbers: Sequence[int]) -> None:
        """Drop all other frames as references."""
        self.buffer.retain(numbers)
        self._decoded = {n: self._decoded[n] for n in numbers}
        self._luma = {n: p for n, p in self._luma.items() if n in numbers}

    def fork(self) -> FrameEncoder:
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
        settings, exponent = self.runtime.settings, self.runtime.network.inter.masking_exponent
        # Approximate factor of adaptive quantisation in each block: [H/16, W/16].
        factors = F.avg_pool2d(texture_masking(unshuffle(batch), exponent), 2)[0, 0]
        step = float(step_size(quality))
        steps = step * factors.cpu().numpy().astype(np.float32)
        # In flat areas a smaller lambda only fits noise.
        lambda_ = (settings.motion_lambda_factor * math.sqrt(settings.lambda_)
                   * np.maximum(steps, step)).astype(np.float32)
        current, fields = _luma_plane(batch), []
        results: list[SearchResult] = []
        for predictor, reference in zip(predictors, references, strict=True):
            if reference not in self._luma:
                self._luma[reference] = _luma_plane(self._decoded[reference])
            if callable(predictor):
                predictor = predictor(results[0].vectors.astype(np.int16))
            hint = np.clip(predictor.astype(np.int64), -_MAX_CANDIDATE, _MAX_CANDIDATE)
            results.append(search(current, self._luma[reference], lambda_=lambda_,
                                  search_range=settings.search_range_at(abs(number - reference)),
                                  hints=[hint], settings=settings))
            fields.append(split_blocks(results[-1], lambda_, settings))
        vectors = np.stack(fields).astype(np.int16)
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
        both = torch.full((1, n, m), BOTH, dtype=torch.uint8, device="cpu")
        planes = [torch.from_numpy(self._luma[r].luma)[None] for r in references]
        prediction = predict_planes(planes, torch.from_numpy(vectors)[None], both)[0].numpy()
        difference = np.abs(prediction - current.luma).reshape(n, BLOCK, m, BLOCK)
        # Refinement will save about half of the bits of both vectors.
        vector_cost = sum(r.cost - r.sad for r in results)
        costs = np.stack([*(r.cost for r in results), difference.sum((1, 3)) + 0.5 * vector_cost])
        return choose_modes(costs, lambda_, self.runtime.settings)


def _luma_plane(planes: PlaneBatch) -> LumaPlane:
    return LumaPlane((planes.y[0, 0].float() * 255 + 127.5).cpu().numpy())


def _encode(runtime: Runtime, x: PlaneBatch, quality: Tensor, motion: Motion | None,
            condition: InterCondition | None) -> tuple[Motion | None, FrameLatents]:
    """Encode one predicted frame, or any number of intra frames; returns the motion with the
    coded-block flags chosen."""

    def quantise(y: Tensor, z: Tensor) -> FrameCoder:
        nonlocal motion
        if motion is None:
            return _IntraQuantiser(runtime.quantiser, y, z, runtime.rdoq_weight(x))
        motion = Motion(motion.vectors, motion.modes, _choose_coded_flags(y, runtime.settings))
        return _InterQuantiser(runtime.inter_quantiser, y, z, coded_mask(motion, y.device))

    network = runtime.network if condition is None else runtime.network.inter
    latents = encode_frame(network, x, quality, quantise, condition)
    return motion, latents


class _IntraQuantiser:
    """A `FrameCoder` that quantises intra frames.

    Args:
        quantiser: of y.
        y: latents in steps.
        z: hyper-latents in steps.
        weight: factor of lambda at each position, [B, 1, h, w]; None where it is 1.
    """

    coded: Tensor | None = None

    def __init__(self, quantiser: Quantiser, y: Tensor, z: Tensor, weight: Tensor | None) -> None:
        self.quantiser, self.y, self.z, self.weight = quantiser, y, z, weight

    def hyper(self, index: Tensor) -> Tensor:
        """Round z."""
        return self.z.round() * (index >= 1)

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Quantise y - mu."""
        y = self.y[:, coding_pass.begin:coding_pass.end]
        return self.quantiser(y - mean, index, self.weight)


class _InterQuantiser(_IntraQuantiser):
    """A `FrameCoder` that quantises a predicted frame, its hyper-latents by RDOQ too."""

    def __init__(self, quantiser: Quantiser, y: Tensor, z: Tensor, coded: Tensor | None) -> None:
        super().__init__(quantiser, y, z, None)
        self.coded = coded

    def hyper(self, index: Tensor) -> Tensor:
        """Quantise z."""
        return self.quantiser(self.z, index)


def _choose_coded_flags(y: Tensor, settings: EncoderSettings) -> np.ndarray:
    """Flag 32x32 blocks whose codes save more error than they cost: bool [h/4, w/4]."""
    magnitude = y.abs()
    codes = (magnitude + 0.5 - settings.dead_zone).floor().clamp(min=0)
    bits = (settings.nonzero_bits * (codes > 0)
            + settings.magnitude_bits * torch.log2(codes.clamp(min=1)))
    gain = codes * (2 * magnitude - codes) - settings.lambda_ * bits
    block_gain = F.avg_pool2d(gain.sum(1, keepdim=True), 4) * 16
    flags: np.ndarray = (block_gain > settings.lambda_ * settings.block_bits).cpu().numpy()
    return flags[0, 0]
