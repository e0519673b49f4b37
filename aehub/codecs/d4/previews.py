"""Small pictures of a group, the same bit by bit for its eight turns, for fingerprints.

    integers of the eight turns of the first frame ──the least──> g, turn(frame, g) ──> decoded, 1/n

Sums of floats depend on their order, so a decoder of turned codes gives the turned picture but for
rounding. Here the codes are turned first, exactly, into the one orientation in which they come
first in the order of their bytes. Key pictures of intra frames are decoded without the residual
network of g_s, which takes most of their time and hardly changes means of areas.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.bitstream import FileHeader
from aehub.codecs.base import Preview
from aehub.codecs.d4.decoder import GroupDecoder
from aehub.codecs.d4.frame import dequantise
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader, to_array
from aehub.codecs.d4.layers import FrameBatch
from aehub.codecs.d4.network import Codes
from aehub.codecs.d4.planes import PlaneBatch, clipped, from_batch, shuffle
from aehub.codecs.d4.reconstruction import Reconstruction
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.transcode import turn_frame, turn_rectangle
from aehub.codecs.d4.transforms import LinearTransform
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
        frames: numbers of coded frames.
        n: 1, 2, 4 or 8.
    """
    window = *reader.header.crop, header.width, header.height

    def cropped(planes: PlaneBatch) -> Picture:
        assert reader.turn is not None
        plane = reader.width, reader.height
        x, y, width, height = turn_rectangle(window, plane, reader.turn)
        left, top, right, bottom = x // n, y // n, -(-(x + width) // n), -(-(y + height) // n)
        return from_batch(planes, (left, top), (right - left, bottom - top))[0]

    decoder = GroupDecoder(reader, cropped,
                           _PreviewReconstruction(reader.runtime, reader.quality, n))
    for number, picture in decoder.pictures(frames):
        assert reader.turn is not None
        yield Preview(number, reader.turn, picture)


class _PreviewReconstruction(Reconstruction):
    """Reconstruction at 1/n by means of areas; intra frames by the linear part of g_s alone.

    Args:
        runtime: the model's networks.
        quality: of the group, 0..100.
        n: 1, 2, 4 or 8.
    """

    def __init__(self, runtime: Runtime, quality: float, n: int) -> None:
        super().__init__(runtime, quality)
        self._n = n

    def decode(self, frame: FrameSyntax, references: Sequence[Any]) -> tuple[Any, Any]:
        """Decode a frame at its own size."""
        if frame.motion is not None:
            x_hat, _ = super().decode(frame, references)
            return x_hat, x_hat
        network, quality = self.network_of(frame), self.quality_of(frame)
        y_hat = dequantise(network, frame.codes, quality, None, frame.flat)
        latent = y_hat / network.gains(quality)
        x_hat = clipped(shuffle(LinearTransform.forward(network.synthesis, latent, quality)))
        x_hat = x_hat if frame.flat is None else frame.flat.fill(x_hat)
        return x_hat, x_hat

    def show(self, decoded: Any) -> PlaneBatch:
        """Means of areas; no filter is applied."""
        return PlaneBatch(*(F.avg_pool2d(plane, self._n) for plane in decoded))
