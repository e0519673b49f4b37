"""Syntax of groups: the frames of each batch side by side, in the stream of their temporal layer.

    batch:  quality offset | motion and coded-block flags | hyper-codes | codes

Intra frames have flat cells instead of motion. `GroupReader` reads integers, `GroupWriter` takes
them; they are chosen by `aehub.codecs.d4.encoder`. Payload format 2 is read and written too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import GroupHeader, join_streams, split_payload
from aehub.bitstream.chunk import MAX_PIXELS
from aehub.codecs.d4 import latent_kernels
from aehub.codecs.d4.flat_cells import FlatCells, read_flat_cells, write_flat_cells
from aehub.codecs.d4.frame import code_latents
from aehub.codecs.d4.layers import SINGLE_STREAM, FrameBatch, UseCount, frame_batches
from aehub.codecs.d4.motion.coding import MotionCoder, TemporalPredictor
from aehub.codecs.d4.motion.field import Motion
from aehub.codecs.d4.network import HYPER_LATENTS, Codes, CodingPass, InterCondition, quality_tensor
from aehub.codecs.d4.quantisation import N_QUALITY_OFFSETS, frame_quality
from aehub.codecs.d4.reference_buffer import ReferenceBuffer, coded_mask, distance_classes
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.gop import MAX_GROUP_SAMPLES
from aehub.coding.adaptive_tables import read_uniform, write_uniform
from aehub.coding.latent_coder import LatentReader, LatentWriter
from aehub.coding.symbol_coder import SymbolReader, SymbolWriter
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
        flat: flat cells of an intra frame; None for others and where there are none.
        codes: integers [1, 24, h/4, w/4] and [1, 96, h, w].
        tables: indices of the tables they are written with, uint8 of the same shapes; 0 where
            nothing is written.
    """

    number: int
    quality_offset: int
    motion: Motion | None
    flat: FlatCells | None
    codes: Codes
    tables: Codes


class GroupReader:
    """Reader of the integers of a group; no float network runs.

    Attributes:
        batches: of the group, in coding order.
        references: of each frame.
        buffer: of the frames that are read.

    Args:
        runtime: the model's networks and tables.
        payload: of the group.
        header: of the group.
        coded_size: (width, height) of the coded plane, multiples of 32.
        payload_format: of the file.

    Raises:
        DamagedError: the payload is no stream at all.
        FormatError: the group is larger than any encoder makes.
    """

    def __init__(self, runtime: Runtime, payload: bytes, header: GroupHeader,
                 coded_size: tuple[int, int], payload_format: int) -> None:
        self.runtime, self.header, self.quality = runtime, header, header.quality / 100
        self.references = header.resolved_references
        self.batches = frame_batches(header, payload_format, coded_size[0] * coded_size[1])
        self.width, self.height = width, height = coded_size
        if width * height > MAX_PIXELS:
            raise FormatError(f"a group has coded planes of {width}x{height}; {runtime.name} "
                              f"decodes at most {MAX_PIXELS} samples. No AEHub wrote this file.")
        if header.n_frames > 1 and header.n_frames * width * height > MAX_GROUP_SAMPLES:
            raise FormatError(
                f"a group of {header.n_frames} frames of {width}x{height} is more than the "
                f"{MAX_GROUP_SAMPLES} samples decoded together; no AEHub wrote this file.")
        self.buffer = ReferenceBuffer(UseCount(self.references))
        self._has_flat_cells = payload_format != SINGLE_STREAM
        try:
            # Predicted frames need Numba in any case.
            self._streams = [_ReadStream(runtime, stream, loops=any(self.references))
                             for stream in split_payload(header, payload)]
        except ValueError as err:
            raise DamagedError("a group does not decode: its bytes are not a stream of "
                               f"{runtime.name}; verify the file.") from err
        wanted = 1 + max(batch.stream for batch in self.batches)
        if len(self._streams) < wanted:
            raise DamagedError(f"a group does not decode: its payload has {len(self._streams)} "
                               f"entropy streams, and its frames are in {wanted}; verify the file.")

    def frames(self) -> Iterator[FrameSyntax]:
        """Read all frames in coding order.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        for batch in self.batches:
            yield from self.read(batch)

    def read(self, batch: FrameBatch) -> list[FrameSyntax]:
        """Read the next batch of a stream; those that it refers to have been read.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        try:
            return self._read(batch)
        except (ValueError, AssertionError) as err:
            raise DamagedError(f"frame {batch.frames[0]} of a group does not decode: its bytes are "
                               f"not a stream of {self.runtime.name}; verify the file.") from err

    def _read(self, batch: FrameBatch) -> list[FrameSyntax]:
        stream, runtime = self._streams[batch.stream], self.runtime
        references = [self.references[number] for number in batch.frames]
        network = runtime.network_for(references[0])
        offset = int(read_uniform(stream.coder, 1, N_QUALITY_OFFSETS)[0])
        like = torch.empty(
            (len(batch.frames), HYPER_LATENTS.channels, self.height // 32, self.width // 32),
            dtype=runtime.code_dtype, device=runtime.device)
        motions: list[Motion] = []
        flat, condition, coded = None, None, None
        if references[0]:
            shape = (self.height // 8, self.width // 8)
            motions = stream.motion.read(stream.coder, shape, [
                self.buffer.temporal_predictors(number, used, (shape[0] // 2, shape[1] // 2))
                for number, used in zip(batch.frames, references, strict=True)])
            context = self.buffer.context(references, motions)
            condition = InterCondition(like.new_empty(0), context,
                                       distance_classes(batch.frames, references))
            coded = coded_mask([motion.coded_flags for motion in motions], runtime.device)
        elif self._has_flat_cells:
            flat = read_flat_cells(SymbolReader(stream.coder, stream.motion.tables),
                                   like.shape[-2:])
            coded = None if flat is None else coded_mask([flat.coded], runtime.device)
        quality = quality_tensor(frame_quality(self.quality, offset), like)
        coder = _ReadCodes(stream.inter if references[0] else stream.intra, coded, like)
        latents = code_latents(network, coder, like, quality, condition, means=False)
        frames = []
        for at, number in enumerate(batch.frames):
            one = slice(at, at + 1)
            codes = Codes(*(part[one] for part in latents.codes))
            tables = Codes(*(part[one].to(torch.uint8) for part in latents.tables))
            motion = motions[at] if motions else None
            self.buffer.store(number, codes, references[at], motion,
                              None if condition is None else condition.context[one])
            frames.append(FrameSyntax(number, offset, motion, flat, codes, tables))
        self.buffer.release(used for frame in references for used in frame)
        return frames


class _ReadStream:
    """One entropy stream with its adaptive tables."""

    def __init__(self, runtime: Runtime, stream: bytes, *, loops: bool) -> None:
        self.motion = MotionCoder()
        self.intra = LatentReader(runtime.tables, stream, loops=loops)
        self.coder = self.intra.coder
        self.inter = LatentReader(runtime.inter_tables, self.coder)


class _ReadCodes:
    """A `FrameCoder` that reads codes."""

    def __init__(self, reader: LatentReader, coded: Tensor | None, like: Tensor) -> None:
        self.reader, self.coded, self.like = reader, coded, like

    def _read(self, index: Tensor) -> Tensor:
        return from_array(self.reader.read(index.cpu().numpy()), self.like)

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
        payload_format: of the file.
    """

    def __init__(self, runtime: Runtime, payload_format: int) -> None:
        self.runtime, self.payload_format = runtime, payload_format
        self._streams: dict[int, _WriteStream] = {}

    def fork(self) -> GroupWriter:
        """Return an independent copy."""
        other = GroupWriter(self.runtime, self.payload_format)
        other._streams = {number: stream.fork(self.runtime)
                          for number, stream in self._streams.items()}
        return other

    def write(self, frames: Sequence[FrameSyntax], stream: int,
              predictors: Sequence[Sequence[TemporalPredictor]]) -> list[Motion] | list[None]:
        """Write a batch of frames; returns their motion as decoded, None of intra frames.

        Args:
            frames: to write.
            stream: number of the entropy stream.
            predictors: from `ReferenceBuffer.temporal_predictors`, of each predicted frame.
        """
        out = self._streams.get(stream)
        if out is None:
            out = _WriteStream(MotionCoder(), LatentWriter(self.runtime.tables), self.runtime)
            self._streams[stream] = out
        write_uniform(out.coder, np.array([frames[0].quality_offset], np.int32), N_QUALITY_OFFSETS)
        motions = [frame.motion for frame in frames if frame.motion is not None]
        written: list[Motion] | list[None] = [None]
        if motions:
            written = out.motion.write(out.coder, motions, predictors)
        elif self.payload_format != SINGLE_STREAM:
            write_flat_cells(SymbolWriter(out.coder, out.motion.tables),
                             frames[0].codes.hyper.shape[-2:], frames[0].flat)
        self._write_codes(out.inter if motions else out.intra, frames)
        return written

    def _write_codes(self, writer: LatentWriter, frames: Sequence[FrameSyntax]) -> None:
        hyper, latent = (np.concatenate([to_array(frame.codes[part], np.int32) for frame in frames])
                         for part in (0, 1))
        hyper_tables, tables = (
            np.concatenate([to_array(frame.tables[part], np.uint8) for frame in frames])
            for part in (0, 1))
        writer.write(hyper, hyper_tables)
        height, width = latent.shape[-2:]
        values, indices = np.empty(latent.size, np.int32), np.empty(latent.size, np.uint8)
        for coding_pass in self.runtime.network.coding_passes(height, width, torch.device("cpu")):
            count = latent_kernels.select_coded(
                latent, tables, coding_pass.begin, coding_pass.end,
                to_array(coding_pass.mask, np.uint8), values, indices)
            writer.write(values[:count], indices[:count])

    def words(self, stream: int) -> int:
        """Length of a stream if it ended here, in words of 32 bits."""
        return self._streams[stream].intra.words if stream in self._streams else 0

    def finish(self) -> tuple[tuple[int, ...], bytes]:
        """Return `GroupHeader.stream_words` and the payload."""
        return join_streams([
            self._streams[number].intra.finish() if number in self._streams else b""
            for number in range(max(self._streams) + 1)])


class _WriteStream:
    """One entropy stream with its adaptive tables."""

    def __init__(self, motion: MotionCoder, intra: LatentWriter, runtime: Runtime) -> None:
        self.motion, self.intra, self.coder = motion, intra, intra.coder
        self.inter = LatentWriter(runtime.inter_tables, self.coder)

    def fork(self, runtime: Runtime) -> _WriteStream:
        """Return an independent copy."""
        return _WriteStream(self.motion.copy(), self.intra.fork(), runtime)
