"""Syntax of groups: their frames in coding order, in one stream.

    frame:  quality offset | motion and coded-block flags | hyper-codes | codes

Intra frames have neither motion nor coded-block flags. `GroupReader` yields integers, or pictures
too; `GroupWriter` takes integers. They are chosen by `aehub.codecs.d4.encoder`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import GroupHeader, coding_order, dependency_closure
from aehub.bitstream.chunk import MAX_PIXELS
from aehub.codecs.d4.frame import code_latents, decode_frame
from aehub.codecs.d4.motion.coding import MotionCoder, TemporalPredictor
from aehub.codecs.d4.motion.compensate import predict
from aehub.codecs.d4.motion.field import Motion
from aehub.codecs.d4.network import (
    HYPER_LATENTS,
    Codes,
    CodingPass,
    InterCondition,
    quality_tensor,
)
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.quantisation import N_QUALITY_OFFSETS, frame_quality
from aehub.codecs.d4.reference_buffer import (
    ReferenceBuffer,
    coded_mask,
    motion_tensors,
    nearest_distance_class,
)
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import MAX_GROUP_SAMPLES
from aehub.coding.adaptive_tables import read_uniform, write_uniform
from aehub.coding.latent_coder import LatentReader, LatentWriter
from aehub.errors import DamagedError, FormatError


def to_array(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> contiguous array of that shape, whatever the memory layout."""
    return np.ascontiguousarray(values.cpu().numpy(), dtype)


def from_array(values: np.ndarray, like: Tensor) -> Tensor:
    """Array of the shape of `like` -> float tensor of its type and device; undoes `to_array`."""
    codes = torch.from_numpy(values).to(like.device, like.dtype)
    return codes.contiguous(memory_format=torch.channels_last)


class FrameSyntax(NamedTuple):
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
        self.runtime, self.header, self.quality = runtime, header, header.quality / 100
        self.references, self.order = header.resolved_references, coding_order(header)
        self.width, self.height = width, height = coded_size
        if width * height > MAX_PIXELS:
            raise FormatError(f"a group has coded planes of {width}x{height}; {runtime.name} "
                              f"decodes at most {MAX_PIXELS} samples. No AEHub wrote this file.")
        if header.n_frames > 1 and header.n_frames * width * height > MAX_GROUP_SAMPLES:
            raise FormatError(
                f"a group of {header.n_frames} frames of {width}x{height} is more than the "
                f"{MAX_GROUP_SAMPLES} samples decoded together; no AEHub wrote this file.")
        self.buffer, self.motion = ReferenceBuffer(), MotionCoder()
        try:
            self.intra = LatentReader(runtime.tables, payload)
        except ValueError as err:
            raise DamagedError("a group does not decode: its bytes are not a stream of "
                               f"{runtime.name}; verify the file.") from err
        self.inter = LatentReader(runtime.inter_tables, self.intra.coder)

    def frames(self) -> Iterator[FrameSyntax]:
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
        needed = set(dependency_closure(self.header, wanted))
        decoded: dict[int, PlaneBatch] = {}
        for at, number in enumerate(self.order):
            frame, x_hat, condition = self._frame(number, decoded if number in needed else None)
            if x_hat is None:
                continue
            decoded[number] = x_hat
            if number in wanted:
                network = self.runtime.network_for(self.references[number])
                quality = quality_tensor(frame_quality(self.quality, frame.quality_offset), x_hat.y)
                yield number, network.apply_post_filter(x_hat, quality, condition)
            later = needed.intersection(self.order[at + 1:])
            references = {r for n in later for r in self.references[n]}
            decoded = {n: p for n, p in decoded.items() if n in references}

    def _frame(self, number: int, decoded: dict[int, PlaneBatch] | None
               ) -> tuple[FrameSyntax, PlaneBatch | None, InterCondition | None]:
        try:
            return self._read(number, decoded)
        except (ValueError, AssertionError) as err:
            raise DamagedError(f"frame {number} of a group does not decode: its bytes are not a "
                               f"stream of {self.runtime.name}; verify the file.") from err

    def _read(self, number: int, decoded: dict[int, PlaneBatch] | None
              ) -> tuple[FrameSyntax, PlaneBatch | None, InterCondition | None]:
        """Integers, x_hat and condition of a frame; x_hat is None without decoded references."""
        references, runtime = self.references[number], self.runtime
        network = runtime.network_for(references)
        quality_offset = int(read_uniform(self.intra.coder, 1, N_QUALITY_OFFSETS)[0])
        like = torch.empty((1, HYPER_LATENTS.channels, self.height // 32, self.width // 32),
                           dtype=runtime.code_dtype, device=runtime.device)
        motion, condition = None, None
        if references:
            shape = (self.height // 8, self.width // 8)
            predictors = self.buffer.temporal_predictors(
                number, references, (shape[0] // 2, shape[1] // 2))
            motion = self.motion.read(self.intra.coder, shape, len(references), predictors)
            planes = None if decoded is None else [decoded[r] for r in references]
            condition = inter_condition(runtime, self.buffer, number, references, motion, planes)
        quality = quality_tensor(frame_quality(self.quality, quality_offset), like)
        coder = _ReadCodes(self.inter if references else self.intra,
                           None if motion is None else coded_mask(motion, runtime.device), like)
        x_hat = None
        if decoded is None:
            latents = code_latents(network, coder, like, quality, condition, means=False)
        else:
            latents, x_hat = decode_frame(network, coder, like, quality, condition)
        self.buffer.store(number, latents.codes, references, motion,
                          None if condition is None else condition.context)
        later = self.order[self.order.index(number) + 1:]
        self.buffer.retain({r for n in later for r in self.references[n]})
        frame = FrameSyntax(number, quality_offset, motion, latents.codes, latents.tables)
        return frame, x_hat, condition


class _ReadCodes:
    """A `FrameCoder` that reads codes."""

    def __init__(self, reader: LatentReader, coded: Tensor | None, like: Tensor) -> None:
        self.reader, self.coded, self.like = reader, coded, like

    def _read(self, index: Tensor) -> Tensor:
        return from_array(self.reader.read(to_array(index, np.uint8)), self.like)

    def hyper(self, index: Tensor) -> Tensor:
        """Read z_hat."""
        return self._read(index)

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Read the codes of a pass."""
        return self._read(index)


class GroupWriter:
    """Writer of the frames of a group, in coding order.

    Args:
        runtime: the model's networks and tables.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.motion = runtime, MotionCoder()
        self._set_stream(LatentWriter(runtime.tables))

    def _set_stream(self, intra: LatentWriter) -> None:
        self.intra = intra
        self.inter = LatentWriter(self.runtime.inter_tables, intra.coder)

    def fork(self) -> GroupWriter:
        """Return an independent copy."""
        other = GroupWriter(self.runtime)
        other.motion = self.motion.copy()
        other._set_stream(self.intra.fork())
        return other

    def write(self, frame: FrameSyntax, predictors: Sequence[TemporalPredictor]) -> Motion | None:
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
        writer.write(to_array(frame.codes.hyper, np.int32), to_array(frame.tables.hyper, np.uint8))
        codes = to_array(frame.codes.latent, np.int32)
        tables = to_array(frame.tables.latent, np.uint8)
        height, width = codes.shape[-2:]
        for coding_pass in self.runtime.network.coding_passes(height, width, torch.device("cpu")):
            channels = slice(coding_pass.begin, coding_pass.end)
            writer.write(codes[:, channels],
                         tables[:, channels] * to_array(coding_pass.mask, np.uint8))
        return motion

    @property
    def size(self) -> int:
        """Bytes so far."""
        return 4 * self.words

    @property
    def words(self) -> int:
        """Length of the payload if it ended here, in words of 32 bits."""
        return self.intra.words

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
