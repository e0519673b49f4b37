"""Transcoding of groups for edits: rotate, flip or drop frames without decoding pictures.

    payload --read--> codes and table indices --transform, or drop frames--> payload

Only the entropy coder and the integer network run. The indices need no second run of the network:
it commutes with rotations and flips in exact arithmetic, and does not depend on dropped frames, so
they are transformed with the codes. The same holds for motion. Everything that an edit must know of
payloads is in this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import FileHeader, GroupHeader, key_pictures
from aehub.codecs.d4.frame_coding import FrameCodes, GroupReader, GroupWriter, to_array
from aehub.codecs.d4.network import HYPER_LATENTS, Codes
from aehub.codecs.d4.reference_buffer import ReferenceBuffer
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.symmetry import Representation
from aehub.weights.device import with_inference


def is_equivariant(runtime: Runtime) -> bool:
    """Test that rotating or flipping the codes of this model does so to the picture."""
    return isinstance(getattr(runtime.network, "representation", None), Representation)


@with_inference
def rewrite_group(runtime: Runtime, payload: bytes, header: GroupHeader, file_header: FileHeader,
                  g: int, frames: Sequence[int]) -> tuple[bytes, list[int]]:
    """Rewrite a group with some of its frames, transformed by element `g` of `symmetry`.

    Args:
        runtime: of the model that the file was written with.
        payload: as the file holds it.
        header: of the group, before the edit.
        file_header: of the file, before the edit.
        g: 0 to 7; 0 leaves codes as they are.
        frames: numbers of the frames to keep, without gaps; those they are predicted from are
            among them.

    Returns:
        The payload, and its length in words after each frame in coding order.

    Raises:
        DamagedError: the bytes are not a stream of this model.
        FormatError: the group is larger than any encoder makes.
    """
    reader = GroupReader(runtime, payload, header, file_header.coded_size(header.crop))
    order = [number for number in reader.order if number in frames]
    writer, buffer, words = GroupWriter(runtime), ReferenceBuffer(), list[int]()
    for frame in reader.frames():
        if frame.number not in frames:
            continue
        frame = _transform(runtime, frame, g)
        references = reader.references[frame.number]
        rows, columns = frame.codes.latent.shape[-2:]
        predictors = buffer.temporal_predictors(frame.number, references,
                                                (rows // 2, columns // 2))
        motion = writer.write(frame, predictors)
        buffer.store(frame.number, frame.codes, references, motion)
        words.append(writer.words)
        buffer.retain({r for later in order[len(words):] for r in reader.references[later]})
        if len(words) == len(order):
            break
    return writer.finish(), words


def mini_gop_ends(header: GroupHeader, words: Sequence[int]) -> tuple[int, ...] | None:
    """`GroupHeader.mini_gop_ends` of a rewritten group; None where the header has none.

    Args:
        header: of the group as it is written.
        words: of the payload after each frame, from `rewrite_group`.
    """
    if header.mini_gop_ends is None:
        return None
    return tuple(words[number] for number in key_pictures(header)[:-1])


def _transform(runtime: Runtime, frame: FrameCodes, g: int) -> FrameCodes:
    def transformed(part: Tensor, channels: Representation, dtype: Any) -> Tensor:
        return torch.from_numpy(channels.act(to_array(part, dtype), g)).to(runtime.device)

    latents = runtime.network.representation
    return frame._replace(
        motion=None if frame.motion is None else frame.motion.turn(g),
        codes=Codes(transformed(frame.codes.hyper, HYPER_LATENTS, np.int32),
                    transformed(frame.codes.latent, latents, np.int32)),
        tables=Codes(transformed(frame.tables.hyper, HYPER_LATENTS.magnitudes(), np.uint8),
                     transformed(frame.tables.latent, latents.magnitudes(), np.uint8)))
