"""Transcoding of groups for edits: rotate, flip or drop frames without decoding pictures.

    payload --read--> codes and table indices --turn, drop frames--> payload

Only the entropy coder and the integer network run. The indices need no second run of the network:
it commutes with rotations and flips in exact arithmetic, and does not depend on dropped frames, so
they are turned with the codes. The same holds for motion.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import FileHeader, Group, GroupHeader, key_pictures, restrict_header
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader, GroupWriter, to_array
from aehub.codecs.d4.layers import N_STREAMS, UseCount
from aehub.codecs.d4.network import HYPER_LATENTS, Codes
from aehub.codecs.d4.planes import GRID
from aehub.codecs.d4.reference_buffer import ReferenceBuffer
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.symmetry import Representation
from aehub.errors import InputError
from aehub.media.orientation import FLIPS_COLUMNS, FLIPS_ROWS, TRANSPOSES
from aehub.weights.device import with_inference


class GroupEditor:
    """Editor of groups: `aehub.codecs.base.GroupEditor`.

    Args:
        runtime: of the model that the file was written with.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def rewrite(self, header: FileHeader, group: Group, *, frames: Collection[int] | None = None,
                turn: int = 0) -> tuple[GroupHeader, bytes]:
        """Cut and turn a group in one pass.

        Raises:
            DamagedError: the bytes are not a stream of this model.
            FormatError: the group is larger than any encoder makes.
            InputError: its window begins too far from the top or left to be mirrored.
        """
        before = group.header
        kept = range(before.n_frames) if frames is None else sorted(frames)
        after = before
        if len(kept) < before.n_frames:
            after = restrict_header(before, kept, header.frame_ticks)
        after = replace(after, crop=turn_window(header, before.crop, turn))
        words, payload, ends = rewrite_group(self.runtime, group.payload, before, header, turn,
                                             kept)
        after = replace(after, stream_words=words)
        if after.mini_gop_ends is not None:
            after = replace(after, mini_gop_ends=tuple(
                ends[number + 1] for number in key_pictures(after)[:-1]))
        return after, payload


def turn_window(header: FileHeader, crop: tuple[int, int], g: int) -> tuple[int, int]:
    """Begin (x, y) of the shown window of a turned group.

    Raises:
        InputError: the window begins beyond 31 samples from the top or left, which no window of
            the format can mirror.
    """
    plane = header.coded_size(GRID, crop)
    x, y, width, height = turn_rectangle((*crop, header.width, header.height), plane, g)
    turned_plane = plane[::-1] if g & TRANSPOSES else plane
    if replace(header, width=width, height=height).coded_size(GRID, (x, y)) != turned_plane:
        raise InputError(
            f"a group shows a window that begins at {crop}; files whose window begins beyond 31 "
            "samples cannot be turned as they are.",
            "Decode and compress it again with --via-pixels (via_pixels=True).")
    return x, y


def turn_rectangle(rectangle: tuple[int, int, int, int], plane: tuple[int, int], g: int
                   ) -> tuple[int, int, int, int]:
    """(x, y, width, height) in a plane of (width, height), after both are turned by `g`."""
    (x, y, width, height), (columns, rows) = rectangle, plane
    if g & TRANSPOSES:
        width, height, x, y, columns, rows = height, width, y, x, rows, columns
    if g & FLIPS_ROWS:
        y = rows - y - height
    if g & FLIPS_COLUMNS:
        x = columns - x - width
    return x, y, width, height


@with_inference
def rewrite_group(runtime: Runtime, payload: bytes, header: GroupHeader, file_header: FileHeader,
                  g: int, frames: Sequence[int]
                  ) -> tuple[tuple[int, ...], bytes, dict[int, tuple[int, ...]]]:
    """Rewrite a group with some of its frames, turned by element `g`.

    Args:
        runtime: of the model that the file was written with.
        payload: as the file holds it.
        header: of the group, before the edit.
        file_header: of the file, before the edit.
        g: element of D4; 0 leaves codes as they are.
        frames: numbers of the frames to keep, without gaps; those they are predicted from are
            among them.

    Returns:
        `GroupHeader.stream_words`, the payload, and the words of each stream after each batch, by
        the number of frames written.

    Raises:
        DamagedError: the bytes are not a stream of this model.
        FormatError: the group is larger than any encoder makes.
    """
    reader = GroupReader(runtime, payload, header, file_header.coded_size(GRID, header.crop),
                         file_header.coder)
    writer, ends = GroupWriter(runtime, file_header.coder), dict[int, tuple[int, ...]]()
    kept = set(frames)
    buffer = ReferenceBuffer(UseCount(reader.references[number] for number in frames))
    for batch in reader.batches:
        if not kept:
            break
        batch_frames = [turn_frame(runtime, frame, g) for frame in reader.read(batch)
                        if frame.number in kept]
        if not batch_frames:
            continue
        references = [reader.references[frame.number] for frame in batch_frames]
        rows, columns = batch_frames[0].codes.latent.shape[-2:]
        predictors = [buffer.temporal_predictors(frame.number, used, (rows // 2, columns // 2))
                      for frame, used in zip(batch_frames, references, strict=True) if used]
        motions = writer.write(batch_frames, batch.stream, predictors)
        for frame, used, motion in zip(batch_frames, references, motions, strict=True):
            buffer.store(frame.number, None, used, motion)
            buffer.release(used)
            kept.remove(frame.number)
        ends[len(frames) - len(kept)] = tuple(map(writer.words, range(N_STREAMS)))
    words, payload = writer.finish()
    return words, payload, {count: end[:len(words) + 1] for count, end in ends.items()}


def turn_frame(runtime: Runtime, frame: FrameSyntax, g: int) -> FrameSyntax:
    """The integers of the frame turned by element `g`."""
    def transformed(part: Tensor, channels: Representation, dtype: Any) -> Tensor:
        return torch.from_numpy(channels.act(to_array(part, dtype), g)).to(runtime.device)

    latents = runtime.network.representation
    return frame._replace(
        motion=None if frame.motion is None else frame.motion.turn(g),
        flat=None if frame.flat is None else frame.flat.turn(g),
        codes=Codes(transformed(frame.codes.hyper, HYPER_LATENTS, np.int32),
                    transformed(frame.codes.latent, latents, np.int32)),
        tables=Codes(transformed(frame.tables.hyper, HYPER_LATENTS.magnitudes(), np.uint8),
                     transformed(frame.tables.latent, latents.magnitudes(), np.uint8)))
