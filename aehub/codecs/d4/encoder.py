"""The encoder's side of predicted groups: motion, modes, which cells to code, codes.

All of it is choice: the decoder reads the outcome, whatever it is. Each choice weighs squared error
against bits at the price the networks were trained with, `LAMBDA` squared steps per bit.
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
    add_index,
    hyper_index,
    inter_condition,
    run_passes,
    written,
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
from aehub.media.picture import Planes
from aehub.weights.device import with_inference

LAMBDA = 0.08
# Vectors are coded whatever becomes of the difference: chosen on training clips.
_VECTOR_WEIGHT = 1.75
# Bits, about: of a code that is not zero, of each doubling of its size, of a cell; and what
# rounding by rate takes off. The tables know better, but asking them takes a seventh of the
# encoder's time and saves 0.2 % of the rate.
_FIRST_BITS, _LATER_BITS, _CELL_BITS, _DEAD = 5.0, 2.0, 8.0, 0.2
# Samples a block may move in one frame, and in all.
_REACH, _REACH_PER_FRAME, _REACH_LIMIT = 8, 6, 48
# Quarter samples of what is expected: the search takes some steps from there.
_FARTHEST = MAX_VECTOR - 64


class Coded(NamedTuple):
    """Integers of frames, and the latents that a decoder makes of them.

    Attributes:
        motion: None for frames without references.
        codes: integers [B, 24, h/4, w/4] and [B, 96, h, w].
        tables: indices of their tables, of the same shapes; 0 where nothing is written.
        latents: codes plus means, [B, 96, h, w].
    """

    motion: Motion | None
    codes: Codes
    tables: Codes
    latents: Tensor


@with_inference
def code_pictures(runtime: Runtime, frames: Sequence[Planes], quality: float) -> Coded:
    """Integers of frames of one size, none of which has references."""
    batch = to_batch(frames, runtime.device, runtime.code_dtype)
    return _code(runtime, runtime.network, batch, quality_tensor(quality, batch.y), None, None)


class GroupEncoder:
    """Encodes a group frame by frame, in coding order.

    Args:
        runtime: a model's networks and tables.
        quality: of the group, 0..100.
    """

    def __init__(self, runtime: Runtime, quality: float) -> None:
        self.runtime, self.quality, self.device = runtime, quality, runtime.device
        self.writer, self.buffer = GroupWriter(runtime), ReferenceBuffer()
        self._decoded: dict[int, PlaneBatch] = {}
        self._searched: dict[int, LumaPlane] = {}

    @with_inference
    def add(self, number: int, planes: Planes, references: tuple[int, ...] = (),
            temporal_layer: int | None = None, *, post_filter: bool = True) -> PlaneBatch:
        """Encode a frame; returns what it decodes to, as it is shown or as others refer to it.

        Args:
            number: of the frame in the order of times.
            planes: the picture.
            references: numbers of frames added before and kept since.
            temporal_layer: of the pyramid; None for a frame that stands alone.
            post_filter: as it is shown, which takes time.
        """
        runtime = self.runtime
        batch = to_batch([planes], runtime.device, runtime.code_dtype)
        quality_offset = default_quality_offset(temporal_layer)
        quality = quality_tensor(frame_quality(self.quality, quality_offset), batch.y)
        network = runtime.network_for(references)
        motion, condition, temporal_predictors = None, None, []
        if references:
            height, width = batch.y.shape[-2:]
            temporal_predictors = self.buffer.temporal_predictors(number, references, (height // 16,
                                                                                       width // 16))
            motion = self._motion(batch, number, references, temporal_predictors, quality)
            condition = inter_condition(runtime, self.buffer, number, references, motion,
                              [self._decoded[r] for r in references])
        motion, codes, tables, latents = _code(runtime, network, batch, quality, motion, condition)
        frame = FrameCodes(number, quality_offset, motion, codes, tables)
        motion = self.writer.write(frame, temporal_predictors)
        self.buffer.store(number, codes, references, motion,
                            None if condition is None else condition.context)
        decoded = clipped(network.synthesise(latents, quality, condition))
        self._decoded[number] = decoded
        return self._shown(network, decoded, batch, quality, condition) if post_filter else decoded

    def _shown(self, network: FrameNetwork, decoded: PlaneBatch, wanted: PlaneBatch,
               quality: Tensor, condition: InterCondition | None) -> PlaneBatch:
        """What a decoded frame is shown as; `wanted` is what it should be."""
        return network.apply_post_filter(decoded, quality, condition)

    def keep(self, numbers: Sequence[int]) -> None:
        """Forget all other frames: nothing refers to them any more."""
        self.buffer.keep(numbers)
        self._decoded = {n: self._decoded[n] for n in numbers}
        self._searched = {n: p for n, p in self._searched.items() if n in numbers}

    def fork(self) -> GroupEncoder:
        """An encoder that has encoded the same and goes its own way."""
        other = copy(self)
        other.writer, other.buffer = self.writer.fork(), self.buffer.copy()
        other._decoded, other._searched = dict(self._decoded), dict(self._searched)
        return other

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.writer.size

    @property
    def words(self) -> int:
        """How long the payload would be if it ended here, in words of 32 bits."""
        return self.writer.words

    def finish(self) -> bytes:
        """The payload."""
        return self.writer.finish()

    def _motion(self, batch: PlaneBatch, number: int, references: tuple[int, ...],
                temporal_predictors: list[TemporalPredictor], quality: Tensor) -> Motion:
        """Vectors and modes; every cell is coded so far."""
        exponent = self.runtime.network.inter.masking_exponent
        # By which factor steps will be larger, about, in each block: [H/16, W/16].
        factors = F.avg_pool2d(texture_masking(unshuffle(batch), exponent), 2)[0, 0]
        steps = float(step_size(quality)) * factors
        # Where little is seen to move, a search that listens more finely hears noise.
        lambda_ = _VECTOR_WEIGHT * math.sqrt(LAMBDA) * steps.clamp(min=float(step_size(quality)))
        current, fields = _grey(batch), []
        found: list[SearchResult] = []
        for which, reference in enumerate(references):
            if reference not in self._searched:
                self._searched[reference] = _grey(self._decoded[reference])
            base = temporal_predictors[which]
            if callable(base):
                base = base(found[0].vectors.cpu().numpy().astype(np.int16))
            hint = torch.from_numpy(base.astype(np.int64)).clamp(-_FARTHEST, _FARTHEST)
            distance = abs(number - reference)
            search_range = min(_REACH + _REACH_PER_FRAME * distance, _REACH_LIMIT)
            found.append(search(current, self._searched[reference], lambda_=lambda_,
                                search_range=search_range,
                                hints=[hint.to(batch.y.device)]))
            fields.append(split_blocks(found[-1], lambda_))
        vectors = torch.stack(fields)
        modes = self._modes(current, references, vectors, found, lambda_)
        height, width = modes.shape
        motion = Motion(vectors.cpu().numpy().astype(np.int16), modes,
                        np.ones((height // 2, width // 2), bool))
        sizes = steps.cpu().numpy()
        lagrangian = Lagrangian(LAMBDA * sizes ** 2, math.sqrt(LAMBDA) / _VECTOR_WEIGHT * sizes)
        return refine_vectors(current, [self._searched[r] for r in references], motion,
                              temporal_predictors, lagrangian)

    def _modes(self, current: LumaPlane, references: tuple[int, ...], vectors: Tensor,
               found: list[SearchResult], lambda_: Tensor) -> np.ndarray:
        """Which references each block uses."""
        n, m = found[0].cost.shape
        if len(references) == 1:
            return np.ones((n, m), np.uint8)
        both = torch.full((1, n, m), BOTH, dtype=torch.uint8, device=vectors.device)
        planes = [self._searched[r].luma[None] for r in references]
        luma = predict_planes(planes, vectors[None], both)
        difference = 256 * F.avg_pool2d((luma - current.luma).abs_(), 16)[0]
        # Where both are used, some vectors will be given up.
        spare = sum(f.cost - f.sad for f in found)
        costs = torch.stack([*(f.cost for f in found), difference + 0.5 * spare])
        return choose_modes(costs.cpu().numpy(), lambda_.cpu().numpy())


def _grey(planes: PlaneBatch) -> LumaPlane:
    return LumaPlane(planes.y[0, 0].float() * 255 + 127.5)


def _code(runtime: Runtime, network: FrameNetwork, batch: PlaneBatch, quality: Tensor,
          motion: Motion | None, condition: InterCondition | None) -> Coded:
    """Integers of one frame with its references, or of any number without."""
    quantiser = runtime.quantiser if motion is None else runtime.inter_quantiser
    latent, hyper = network.analyse(batch, quality, condition)
    places: tuple[Tensor | None, Tensor | None] = (None, None)
    if motion is not None:
        cells = _worth_coding(latent)
        motion = Motion(motion.vectors, motion.modes, cells)
        if not cells.all():
            places = coded_masks(motion, latent.device)
    index = hyper_index(network, hyper, quality, condition, places[0])
    hyper_codes = hyper.round() * (index >= 1) if motion is None else quantiser(hyper, index)
    weight = runtime.rdoq_weight(batch) if motion is None else None
    indices: list[Tensor] = []

    def choose(part: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        index = written(index, part, places[1])
        add_index(indices, part, index)
        return quantiser(latent[:, part.begin:part.end] - mean, index, weight)

    passes = network.code_passes(hyper_codes, quality, condition, coded=places[0])
    codes, latents = run_passes(passes, choose)
    tables = Codes(index, torch.cat(indices, 1))
    return Coded(motion, Codes(hyper_codes, codes), tables, latents)


def _worth_coding(latent: Tensor) -> np.ndarray:
    """Which 32x32 cells save more error than they cost, about: bool [h/4, w/4]."""
    magnitude = latent.abs()
    codes = (magnitude + 0.5 - _DEAD).floor().clamp(min=0)
    bits = _FIRST_BITS * (codes > 0) + _LATER_BITS * torch.log2(codes.clamp(min=1))
    saved = codes * (2 * magnitude - codes) - LAMBDA * bits
    worth = F.avg_pool2d(saved.sum(1, keepdim=True), 4) * 16
    cells: np.ndarray = (worth > LAMBDA * _CELL_BITS).cpu().numpy()
    return cells[0, 0]
