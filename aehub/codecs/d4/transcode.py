"""What an edit does inside a group: its symbols are read, moved and written again.

    payload --read--> codes and table indices --turn, or drop frames--> payload

Only the entropy coder and the integer network run. The indices need no second run of the network:
it commutes with turns in exact arithmetic, and its answer for one frame knows no other frame, so
they move with the codes. The same holds for motion. Everything that an edit must know of what a
payload holds is in this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import FileHeader, GroupHeader, key_pictures
from aehub.codecs.d4.frame_coding import FrameCodes, GroupReader, GroupWriter, whole
from aehub.codecs.d4.network import HYPER_LATENTS, Codes
from aehub.codecs.d4.reference_buffer import ReferenceBuffer
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.symmetry import Representation
from aehub.weights.device import with_inference


def turns(runtime: Runtime) -> bool:
    """Whether turning the codes of this model turns the picture."""
    return isinstance(getattr(runtime.network, "representation", None), Representation)


@with_inference
def rewrite_group(runtime: Runtime, payload: bytes, head: GroupHeader, file_header: FileHeader,
                  g: int, frames: Sequence[int]) -> tuple[bytes, list[int]]:
    """The payload of a group with some of its frames, turned by element `g` of `symmetry`.

    Args:
        runtime: of the model that the file was written with.
        payload: as the file holds it.
        head: of the group, before the edit.
        file_header: of the file, before the edit.
        g: 0 to 7; 0 leaves codes as they are.
        frames: numbers of the frames to keep, without gaps; those they are predicted from are
            among them.

    Returns:
        The payload, and how many words it has after each frame in coding order.

    Raises:
        DamagedError: the bytes are not a stream of this model.
        FormatError: the group is larger than any encoder makes.
    """
    reader = GroupReader(runtime, payload, head, file_header.coded_size(head.crop))
    order = [number for number in reader.order if number in frames]
    writer, buffer, words = GroupWriter(runtime), ReferenceBuffer(), list[int]()
    for frame in reader.frames():
        if frame.number not in frames:
            continue
        frame = _turned(runtime, frame, g)
        used = reader.references[frame.number]
        rows, columns = frame.codes.latent.shape[-2:]
        temporal_predictors = buffer.temporal_predictors(frame.number, used, (rows // 2,
                                                                              columns // 2))
        motion = writer.write(frame, temporal_predictors)
        buffer.store(frame.number, frame.codes, used, motion)
        words.append(writer.words)
        buffer.keep({r for later in order[len(words):] for r in reader.references[later]})
        if len(words) == len(order):
            break
    return writer.finish(), words


def mini_gop_ends(head: GroupHeader, words: Sequence[int]) -> tuple[int, ...] | None:
    """What `GroupHeader.mini_gop_ends` becomes; None where the head has none.

    Args:
        head: of the group as it is written.
        words: of the payload after each frame, as `rewrite_group` gives them.
    """
    if head.mini_gop_ends is None:
        return None
    return tuple(words[anchor] for anchor in key_pictures(head)[:-1])


def _turned(runtime: Runtime, frame: FrameCodes, g: int) -> FrameCodes:
    def moved(part: Tensor, channels: Representation, dtype: Any) -> Tensor:
        return torch.from_numpy(channels.act(whole(part, dtype), g)).to(runtime.device)

    latents = runtime.network.representation
    return frame._replace(
        motion=None if frame.motion is None else frame.motion.turn(g),
        codes=Codes(moved(frame.codes.hyper, HYPER_LATENTS, np.int32),
                    moved(frame.codes.latent, latents, np.int32)),
        tables=Codes(moved(frame.tables.hyper, HYPER_LATENTS.magnitudes(), np.uint8),
                     moved(frame.tables.latent, latents.magnitudes(), np.uint8)))
