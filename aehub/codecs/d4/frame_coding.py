"""Groups whose frames are predicted from each other: their frames, in coding order, in one stream.

    frame:  how far its quality is below the group's | motion and coded cells | hyper-codes | codes

A frame that stands alone has neither motion nor cells. `GroupReader` yields integers only, or
pictures too; `GroupWriter` takes integers. The encoder that finds them is
`aehub.codecs.d4.encoder`.

One picture's codes between the networks and the range coder.
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
from aehub.codecs.d4.reference_buffer import ReferenceBuffer, coded_masks, kind, motion_tensors
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import MAX_GROUP_SAMPLES, N_QUALITY_OFFSETS, frame_quality
from aehub.coding.adaptive_tables import read_uniform, write_uniform
from aehub.coding.range_coder import Decoder, Encoder
from aehub.errors import DamagedError, FormatError

Choose = Callable[[CodingPass, Tensor, Tensor], Tensor]
"""Coding pass, mean and table index -> codes, as `FrameNetwork.code_passes` takes them."""


def run_passes(passes: PassGenerator, choose: Choose) -> tuple[Tensor, Tensor]:
    """Run all passes of a frame; `choose(part, mean, index)` returns the codes of a pass."""
    request = next(passes)
    while True:
        try:
            request = passes.send(choose(*request))
        except StopIteration as end:
            return cast(tuple[Tensor, Tensor], end.value)


def flat(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> [n] in that order of axes, whatever the memory layout."""
    return whole(values, dtype).ravel()


def whole(values: Tensor, dtype: Any) -> np.ndarray:
    """[B, C, h, w] -> the same as an array in that order of axes."""
    return np.ascontiguousarray(values.cpu().numpy(), dtype)


def shaped(values: np.ndarray, like: Tensor) -> Tensor:
    """The inverse of `flat`: [n] -> float tensor of the shape, type and device of `like`."""
    codes = torch.from_numpy(values).to(like.device, like.dtype).view(like.shape)
    return codes.contiguous(memory_format=torch.channels_last)


class FrameCodes(NamedTuple):
    """Everything that a group says of one frame.

    Attributes:
        number: in the order of times.
        quality_offset: half points of quality below the group's.
        motion: None for a frame that stands alone.
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
    """Reads a group.

    Args:
        runtime: the model's networks and tables.
        payload: of the group.
        head: of the group.
        coded_size: (width, height) of the coded plane, multiples of 32.

    Raises:
        DamagedError: the payload is no stream at all.
        FormatError: the group is larger than any encoder makes.
    """

    def __init__(self, runtime: Runtime, payload: bytes, head: GroupHeader,
                 coded_size: tuple[int, int]) -> None:
        self.runtime, self.quality = runtime, head.quality / 100
        self.references, self.order = head.resolved_references, coding_order(head)
        self.width, self.height = width, height = coded_size
        if head.n_frames > 1 and head.n_frames * width * height > MAX_GROUP_SAMPLES:
            raise FormatError(
                f"a group of {head.n_frames} frames of {width}x{height} is more than the "
                f"{MAX_GROUP_SAMPLES} samples decoded together; no AEHub wrote this file.")
        self.buffer, self.motion = ReferenceBuffer(), MotionCoder()
        try:
            self.still = Decoder(runtime.tables, payload)
        except ValueError as err:
            raise DamagedError("a group does not decode: its bytes are not a stream of "
                               f"{runtime.name}; verify the file.") from err
        self.predicted = Decoder(runtime.inter_tables, self.still.coder)

    def frames(self) -> Iterator[FrameCodes]:
        """Integers of all frames in coding order; no float network runs.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        for number in self.order:
            yield self._frame(number, None)[0]

    def pictures(self, shown: Iterable[int] | None = None
                 ) -> Generator[tuple[int, PlaneBatch]]:
        """(number, decoded planes) in coding order of the frames that are shown, all by default.

        Frames that none of them is predicted from are only read.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        wanted = set(self.order if shown is None else shown)
        needed = self._needed(wanted)
        decoded: dict[int, PlaneBatch] = {}
        for at, number in enumerate(self.order):
            frame, latents, condition = self._frame(number, decoded if number in needed else None)
            if number not in needed:
                continue
            network = self.runtime.network_for(self.references[number])
            level = quality_tensor(frame_quality(self.quality, frame.quality_offset), latents)
            decoded[number] = clipped(network.synthesise(latents, level, condition))
            if number in wanted:
                yield number, network.apply_post_filter(decoded[number], level, condition)
            later = needed.intersection(self.order[at + 1:])
            asked = {r for n in later for r in self.references[n]}
            decoded = {n: p for n, p in decoded.items() if n in asked}

    def _needed(self, shown: Iterable[int]) -> set[int]:
        """Frames, and all that they are predicted from."""
        needed = set(shown)
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
        references, runtime = self.references[number], self.runtime
        network = runtime.network_for(references)
        quality_offset = int(read_uniform(self.still.coder, 1, N_QUALITY_OFFSETS)[0])
        like = torch.empty((1, HYPER_LATENTS.channels, self.height // 32, self.width // 32),
                           dtype=runtime.code_dtype, device=runtime.device)
        motion, condition = None, None
        places: tuple[Tensor | None, Tensor | None] = (None, None)
        if references:
            shape = (self.height // 8, self.width // 8)
            temporal_predictors = self.buffer.temporal_predictors(number, references,
                                                                  (shape[0] // 2, shape[1] // 2))
            motion = self.motion.read(self.still.coder, shape, len(references), temporal_predictors)
            planes = None if decoded is None else [decoded[r] for r in references]
            condition = inter_condition(runtime, self.buffer, number, references, motion, planes)
            places = coded_masks(motion, runtime.device)
        level = quality_tensor(frame_quality(self.quality, quality_offset), like)
        reader = self.predicted if references else self.still
        index = hyper_index(network, like, level, condition, places[0])
        hyper = shaped(reader.read(flat(index, np.uint8)), like)
        latent_index: list[Tensor] = []

        def read(part: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
            index = written(index, part, places[1])
            add_index(latent_index, part, index)
            return shaped(reader.read(flat(index, np.uint8)), index)

        passes = network.code_passes(hyper, level, condition, coded=places[0],
                                     means=decoded is not None)
        latent, latents = run_passes(passes, read)
        codes = Codes(hyper, latent)
        self.buffer.store(number, codes, references, motion,
                            None if condition is None else condition.context)
        self._forget(number)
        indices = Codes(index, torch.cat(latent_index, 1))
        return FrameCodes(number, quality_offset, motion, codes, indices), latents, condition

    def _forget(self, number: int) -> None:
        later = self.order[self.order.index(number) + 1:]
        self.buffer.keep({r for n in later for r in self.references[n]})


class GroupWriter:
    """Writes the frames of a group, in coding order.

    Args:
        runtime: the model's networks and tables.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.motion = runtime, MotionCoder()
        self._write_to(Encoder(runtime.tables))

    def _write_to(self, still: Encoder) -> None:
        self.still = still
        self.predicted = Encoder(self.runtime.inter_tables, still.coder)

    def fork(self) -> GroupWriter:
        """A writer that has written the same and goes its own way."""
        other = GroupWriter(self.runtime)
        other.motion = self.motion.copy()
        other._write_to(Encoder(self.runtime.tables, self.still.coder.clone()))
        return other

    def write(self, frame: FrameCodes,
              temporal_predictors: Sequence[TemporalPredictor]) -> Motion | None:
        """Write one frame; returns its motion as a reader will see it.

        Args:
            frame: what to write.
            temporal_predictors: what its vectors are expected to be (`Chain.temporal_predictors`).
        """
        write_uniform(self.still.coder, np.array([frame.quality_offset], np.int32),
                      N_QUALITY_OFFSETS)
        motion = frame.motion
        writer = self.still if motion is None else self.predicted
        if motion is not None:
            motion = self.motion.write(self.still.coder, motion, temporal_predictors)
        writer.write(flat(frame.codes.hyper, np.int32), flat(frame.tables.hyper, np.uint8))
        codes, tables = whole(frame.codes.latent, np.int32), whole(frame.tables.latent, np.uint8)
        height, width = codes.shape[-2:]
        for part in self.runtime.network.coding_passes(height, width, torch.device("cpu")):
            channels = slice(part.begin, part.end)
            index = tables[:, channels] * whole(part.mask, np.uint8)
            writer.write(codes[:, channels].ravel(), index.ravel())
        return motion

    @property
    def size(self) -> int:
        """Bytes so far."""
        return 4 * self.words

    @property
    def words(self) -> int:
        """How long the payload would be if it ended here, in words of 32 bits."""
        return int(self.still.coder.num_words())

    def finish(self) -> bytes:
        """The payload."""
        return self.still.finish()


def inter_condition(runtime: Runtime, buffer: ReferenceBuffer, number: int,
                    references: tuple[int, ...], motion: Motion,
                    planes: list[PlaneBatch] | None) -> InterCondition:
    """The condition of an inter frame; without reference planes, its integers only."""
    prediction = torch.empty(0, dtype=runtime.code_dtype, device=runtime.device)
    if planes is not None:
        vectors, modes = motion_tensors(motion, planes[0].y.device)
        prediction = unshuffle(predict(planes, vectors, modes))
    return InterCondition(prediction, buffer.context(references, motion), kind(number, references))


def hyper_index(network: FrameNetwork, like: Tensor, level: Tensor,
                condition: InterCondition | None, places: Tensor | None) -> Tensor:
    """Tables of the hyper-codes, 0 outside the coded cells."""
    hundredths = (level * 100).round().long()
    distance_class = None if condition is None else condition.distance_class
    index = network.scales.hyper_index(hundredths, distance_class)
    index = index.to(like.dtype).expand_as(like)
    return index if places is None else index * places


def written(index: Tensor, part: CodingPass, places: Tensor | None) -> Tensor:
    """Tables of a pass's codes, 0 where none is written."""
    index = index * part.mask
    return index if places is None else index * places


def add_index(found: list[Tensor], part: CodingPass, index: Tensor) -> None:
    """Append the tables of a pass; the first two passes share their channels."""
    found.append(found.pop() + index if part.number == 1 else index)
