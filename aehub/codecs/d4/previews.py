"""Small pictures of a group, the same bit by bit for its eight turns, for fingerprints.

    integers of the eight turns of the first frame ──the least──> g, turn(frame, g) ──> decoded, 1/n

Sums of floats depend on their order, so a decoder of turned codes gives the turned picture but for
rounding. Here the codes are turned first, exactly, into the one orientation in which they come
first in the order of their bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.bitstream import FileHeader, key_pictures
from aehub.codecs.base import Preview
from aehub.codecs.d4.decoder import GroupDecoder
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader, to_array
from aehub.codecs.d4.layers import FrameBatch
from aehub.codecs.d4.network import Codes
from aehub.codecs.d4.planes import PlaneBatch, from_batch
from aehub.codecs.d4.reconstruction import Reconstruction, ScaledReconstruction
from aehub.codecs.d4.transcode import turn_frame, turn_rectangle
from aehub.media.orientation import ORDER
from aehub.media.picture import Picture


class CanonicalReader(GroupReader):
    """A `GroupReader` that turns all frames into the orientation that the first one chooses.

    Attributes:
        turn: element that turns the group; known once the first frame is read.
    """

    turn: int | None = None

    def read(self, batch: FrameBatch) -> list[FrameSyntax]:
        """Read the next batch of a stream, turned."""
        frames = super().read(batch)
        if self.turn is None:
            self.turn = min(range(ORDER), key=lambda g: _code_bytes(
                turn_frame(self.runtime, frames[0], g)))
        turned = (turn_frame(self.runtime, frame, self.turn) for frame in frames)
        return [frame._replace(codes=Codes(*(self._as_read(part) for part in frame.codes)))
                for frame in turned]

    def _as_read(self, codes: Tensor) -> Tensor:
        return codes.to(self.runtime.code_dtype, memory_format=torch.channels_last)


def _code_bytes(frame: FrameSyntax) -> tuple[tuple[int, ...], bytes, bytes]:
    latent, hyper = (to_array(part, np.int32) for part in (frame.codes.latent, frame.codes.hyper))
    return latent.shape, latent.tobytes(), hyper.tobytes()


def previews(reader: CanonicalReader, header: FileHeader, frames: Collection[int], n: int
             ) -> Iterator[Preview]:
    """Decode frames at 1/n, in coding order.

    Args:
        reader: of the group, at its beginning.
        header: of the file.
        frames: numbers of coded frames, those of the previews.
        n: 1, 2, 4 or 8.
    """
    window = *reader.header.crop, header.width, header.height
    is_small = n > 1 and reader.runtime.device.type == "cpu"

    def cropped(planes: PlaneBatch) -> Picture:
        assert reader.turn is not None
        x, y, width, height = turn_rectangle(window, (reader.width, reader.height), reader.turn)
        left, top, right, bottom = x // n, y // n, -(-(x + width) // n), -(-(y + height) // n)
        if not is_small:
            planes = PlaneBatch(*(F.avg_pool2d(plane, n) for plane in planes))
        return from_batch(planes, (left, top), (right - left, bottom - top))[0]

    runtime, quality = reader.runtime, reader.quality
    decoder = GroupDecoder(reader, cropped, ScaledReconstruction(
        runtime, quality, n, key_pictures(reader.header)) if is_small else Reconstruction(
        runtime, quality))
    for number, picture in decoder.pictures(frames):
        assert reader.turn is not None
        yield Preview(number, reader.turn, picture)
