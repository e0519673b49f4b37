"""Syntax of groups: their frames in coding order, in one stream.

    frame:  quality offset | motion and coded-block flags | hyper-codes | codes

Intra frames have neither motion nor coded-block flags. `GroupReader` yields integers, or pictures
too; `GroupWriter` takes integers. They are chosen by `aehub.codecs.d4.encoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import GroupHeader, coding_order
from aehub.codecs.d4.motion.coding import MotionCoder, TemporalPredictor
from aehub.codecs.d4.motion.compensate import predict
from aehub.codecs.d4.motion.field import Motion
from aehub.codecs.d4.network import (
    HYPER_LATENTS,
    Codes,
    CodingPass,
    FrameNetwork,
    InterCondition,
    PassGenerator,
    quality_tensor,
)
from aehub.codecs.d4.planes import PlaneBatch, clipped, unshuffle
from aehub.codecs.d4.reference_buffer import (
    ReferenceBuffer,
    coded_masks,
    motion_tensors,
    nearest_distance_class,
)
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import MAX_GROUP_SAMPLES, N_QUALITY_OFFSETS, frame_quality
from aehub.coding.adaptive_tables import read_uniform, write_uniform
from aehub.coding.range_coder import Decoder, Encoder
from aehub.errors import DamagedError, FormatError

ChooseCodes = Callable[[CodingPass, Tensor, Tensor], Tensor]


def run_passes(passes: PassGenerator, choose: ChooseCodes) -> tuple[Tensor, Tensor]:
    """Run the coding passes of a frame; `choose(coding_pass, mean, index)` gives the codes."""
    request = next(passes)
    while True:
        try:
            request = passes.send(choose(*request))
        except StopIteration as end:
            return cast(tuple[Tensor, Tensor], end.value)


def to_array(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> contiguous array of that shape, whatever the memory layout."""
    return np.ascontiguousarray(values.cpu().numpy(), dtype)


def to_flat_array(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> [n] in that order of axes."""
    return to_array(values, dtype).ravel()


def from_flat_array(values: np.ndarray, like: Tensor) -> Tensor:
    """[n] -> float tensor of the shape, type and device of `like`; undoes `to_flat_array`."""
    codes = torch.from_numpy(values).to(like.device, like.dtype).view(like.shape)
    return codes.contiguous(memory_format=torch.channels_last)


class FrameCodes(NamedTuple):
    """All syntax elements of one frame.

    Attributes:
        number: in the order of times.
        quality_offset: below the group's quality, in steps of 0.5.
        motion: None for an intra frame.
        codes: integers [1, 24, h/4, w/4] and [1, 96, h, w].
        tables: indices of the tables they are written with, of the same shapes; 0 where nothing
            is written.
    """

    number: int
    quality_offset: int
    motion: Motion | None
    codes: Codes
    tables: Codes


class GroupReader:
    """Decoder of a group.

    Args:
        runtime: the model's networks and tables.
        payload: of the group.
        header: of the group.
        coded_size: (width, height) of the coded plane, multiples of 32.

    Raises:
        DamagedError: the payload is no stream at all.
        FormatError: the group is larger than any encoder makes.
    """

    def __init__(self, runtime: Runtime, payload: bytes, header: GroupHeader,
                 coded_size: tuple[int, int]) -> None:
        self.runtime, self.quality = runtime, header.quality / 100
        self.references, self.order = header.resolved_references, coding_order(header)
        self.width, self.height = width, height = coded_size
        if header.n_frames > 1 and header.n_frames * width * height > MAX_GROUP_SAMPLES:
            raise FormatError(
                f"a group of {header.n_frames} frames of {width}x{height} is more than the "
                f"{MAX_GROUP_SAMPLES} samples decoded together; no AEHub wrote this file.")
        self.buffer, self.motion = ReferenceBuffer(), MotionCoder()
        try:
            self.intra = Decoder(runtime.tables, payload)
        except ValueError as err:
            raise DamagedError("a group does not decode: its bytes are not a stream of "
                               f"{runtime.name}; verify the file.") from err
        self.inter = Decoder(runtime.inter_tables, self.intra.coder)

    def frames(self) -> Iterator[FrameCodes]:
        """Read the integers of all frames in coding order; no float network runs.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        for number in self.order:
            yield self._frame(number, None)[0]

    def pictures(self, shown: Iterable[int] | None = None
                 ) -> Generator[tuple[int, PlaneBatch]]:
        """(number, decoded planes) in coding order of the frames `shown`, all by default.

        Frames that none of them depends on are read, but not decoded.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        wanted = set(self.order if shown is None else shown)
        needed = self._with_references(wanted)
        decoded: dict[int, PlaneBatch] = {}
        for at, number in enumerate(self.order):
            frame, latents, condition = self._frame(number, decoded if number in needed else None)
            if number not in needed:
                continue
            network = self.runtime.network_for(self.references[number])
            quality = quality_tensor(frame_quality(self.quality, frame.quality_offset), latents)
            decoded[number] = clipped(network.synthesise(latents, quality, condition))
            if number in wanted:
                yield number, network.apply_post_filter(decoded[number], quality, condition)
            later = needed.intersection(self.order[at + 1:])
            references = {r for n in later for r in self.references[n]}
            decoded = {n: p for n, p in decoded.items() if n in references}

    def _with_references(self, numbers: Iterable[int]) -> set[int]:
        """Frames and all frames that they depend on."""
        needed = set(numbers)
        for number in reversed(self.order):
            if number in needed:
                needed.update(self.references[number])
        return needed

    def _frame(self, number: int, decoded: dict[int, PlaneBatch] | None
               ) -> tuple[FrameCodes, Tensor, InterCondition | None]:
        try:
            return self._read(number, decoded)
        except (ValueError, AssertionError) as err:
            raise DamagedError(f"frame {number} of a group does not decode: its bytes are not a "
                               f"stream of {self.runtime.name}; verify the file.") from err

    def _read(self, number: int, decoded: dict[int, PlaneBatch] | None
              ) -> tuple[FrameCodes, Tensor, InterCondition | None]:
        """Integers, latents and condition of a frame; without decoded references, latents are
        codes."""
        references, runtime = self.references[number], self.runtime
        network = runtime.network_for(references)
        quality_offset = int(read_uniform(self.intra.coder, 1, N_QUALITY_OFFSETS)[0])
        like = torch.empty((1, HYPER_LATENTS.channels, self.height // 32, self.width // 32),
                           dtype=runtime.code_dtype, device=runtime.device)
        motion, condition = None, None
        masks: tuple[Tensor | None, Tensor | None] = (None, None)
        if references:
            shape = (self.height // 8, self.width // 8)
            predictors = self.buffer.temporal_predictors(
                number, references, (shape[0] // 2, shape[1] // 2))
            motion = self.motion.read(self.intra.coder, shape, len(references), predictors)
            planes = None if decoded is None else [decoded[r] for r in references]
            condition = inter_condition(runtime, self.buffer, number, references, motion, planes)
            masks = coded_masks(motion, runtime.device)
        quality = quality_tensor(frame_quality(self.quality, quality_offset), like)
        reader = self.inter if references else self.intra
        hyper_index = hyper_table_index(network, like, quality, condition, masks[0])
        hyper = from_flat_array(reader.read(to_flat_array(hyper_index, np.uint8)), like)
        indices: list[Tensor] = []

        def read(coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
            index = masked_index(index, coding_pass, masks[1])
            append_index(indices, coding_pass, index)
            return from_flat_array(reader.read(to_flat_array(index, np.uint8)), index)

        passes = network.code_passes(hyper, quality, condition, coded=masks[0],
                                     means=decoded is not None)
        latent, latents = run_passes(passes, read)
        codes, tables = Codes(hyper, latent), Codes(hyper_index, torch.cat(indices, 1))
        self.buffer.store(number, codes, references, motion,
                          None if condition is None else condition.context)
        later = self.order[self.order.index(number) + 1:]
        self.buffer.retain({r for n in later for r in self.references[n]})
        return FrameCodes(number, quality_offset, motion, codes, tables), latents, condition


class GroupWriter:
    """Writer of the frames of a group, in coding order.

    Args:
        runtime: the model's networks and tables.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.motion = runtime, MotionCoder()
        self._set_encoder(Encoder(runtime.tables))

    def _set_encoder(self, intra: Encoder) -> None:
        self.intra = intra
        self.inter = Encoder(self.runtime.inter_tables, intra.coder)

    def fork(self) -> GroupWriter:
        """Return an independent copy."""
        other = GroupWriter(self.runtime)
        other.motion = self.motion.copy()
        other._set_encoder(Encoder(self.runtime.tables, self.intra.coder.clone()))
        return other

    def write(self, frame: FrameCodes, predictors: Sequence[TemporalPredictor]) -> Motion | None:
        """Write one frame; returns its motion as decoded.

        Args:
            frame: to write.
            predictors: from `ReferenceBuffer.temporal_predictors`.
        """
        write_uniform(self.intra.coder, np.array([frame.quality_offset], np.int32),
                      N_QUALITY_OFFSETS)
        motion = frame.motion
        writer = self.intra if motion is None else self.inter
        if motion is not None:
            motion = self.motion.write(self.intra.coder, motion, predictors)
        writer.write(to_flat_array(frame.codes.hyper, np.int32),
                     to_flat_array(frame.tables.hyper, np.uint8))
        codes = to_array(frame.codes.latent, np.int32)
        tables = to_array(frame.tables.latent, np.uint8)
        height, width = codes.shape[-2:]
        for coding_pass in self.runtime.network.coding_passes(height, width, torch.device("cpu")):
            channels = slice(coding_pass.begin, coding_pass.end)
            index = tables[:, channels] * to_array(coding_pass.mask, np.uint8)
            writer.write(codes[:, channels].ravel(), index.ravel())
        return motion

    @property
    def size(self) -> int:
        """Bytes so far."""
        return 4 * self.words

    @property
    def words(self) -> int:
        """Length of the payload if it ended here, in words of 32 bits."""
        return int(self.intra.coder.num_words())

    def finish(self) -> bytes:
        """Return the payload."""
        return self.intra.finish()


def inter_condition(runtime: Runtime, buffer: ReferenceBuffer, number: int,
                    references: tuple[int, ...], motion: Motion, planes: list[PlaneBatch] | None
                    ) -> InterCondition:
    """Condition of a predicted frame's networks; without planes, its integers only."""
    prediction = torch.empty(0, dtype=runtime.code_dtype, device=runtime.device)
    if planes is not None:
        vectors, modes = motion_tensors(motion, planes[0].y.device)
        prediction = unshuffle(predict(planes, vectors, modes))
    return InterCondition(prediction, buffer.context(references, motion),
                          nearest_distance_class(number, references))


def hyper_table_index(network: FrameNetwork, like: Tensor, quality: Tensor,
                      condition: InterCondition | None, mask: Tensor | None) -> Tensor:
    """Table indices of the hyper-codes, 0 outside coded blocks."""
    hundredths = (quality * 100).round().long()
    distance_class = None if condition is None else condition.distance_class
    index = network.scales.hyper_index(hundredths, distance_class)
    index = index.to(like.dtype).expand_as(like)
    return index if mask is None else index * mask


def masked_index(index: Tensor, coding_pass: CodingPass, mask: Tensor | None) -> Tensor:
    """Table indices of the codes of a coding pass, 0 where none is written."""
    index = index * coding_pass.mask
    return index if mask is None else index * mask


def append_index(indices: list[Tensor], coding_pass: CodingPass, index: Tensor) -> None:
    """Append the table indices of a coding pass; the first two share their channels."""
    indices.append(indices.pop() + index if coding_pass.number == 1 else index)
