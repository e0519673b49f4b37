"""Temporal layers in the payload: batches of frames that are coded together, and their streams.

    mini-GOP of 8 frames    key picture | middle frame | 2 frames | 4 frames
    batch                   1             2              3          4
    entropy stream          0             1              2          3

Frames of a layer do not refer to each other: their symbols are coded side by side, those of large
frames in several batches. Each stream has its own adaptive tables, so that key pictures are read
without the other frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

from aehub.bitstream import GroupHeader, coding_order, key_pictures
from aehub.codecs.gop import FrameSlot, temporal_layers

N_STREAMS = 4
"""Entropy streams of a group at most; the last one holds all higher layers."""
MAX_BATCH_SAMPLES = 1 << 21
"""Luma samples of the frames of a batch, unless it is a single frame: bounds memory."""
SINGLE_STREAM = 2
"""Payload format without layers: every frame is a batch, in one stream."""


class FrameBatch(NamedTuple):
    """Frames that are coded together.

    Attributes:
        frames: their numbers, ascending.
        stream: number of the entropy stream.
    """

    frames: tuple[int, ...]
    stream: int


def stream_of(temporal_layer: int | None) -> int:
    """Entropy stream of a temporal layer; None is intra."""
    return min(temporal_layer or 0, N_STREAMS - 1)


def layer_batches(layer: tuple[FrameSlot, ...], samples: int) -> Iterator[tuple[FrameSlot, ...]]:
    """Batches of a temporal layer of frames of so many luma samples in the coded plane."""
    size = max(1, MAX_BATCH_SAMPLES // samples)
    for begin in range(0, len(layer), size):
        yield layer[begin:begin + size]


def frame_batches(header: GroupHeader, payload_format: int, samples: int) -> tuple[FrameBatch, ...]:
    """The batches of a group in coding order.

    A payload of one stream has no layers, nor have groups without mini-GOPs: every frame is a
    batch, in stream 0.

    Args:
        header: of the group.
        payload_format: of the file.
        samples: of luma in the coded plane.
    """
    keys = key_pictures(header)
    if payload_format == SINGLE_STREAM or not header.stream_words or not keys:
        return tuple(FrameBatch((number,), 0) for number in coding_order(header))
    batches = [FrameBatch((0,), 0)]
    for first, last in pairwise(keys):
        batches += [FrameBatch(tuple(slot.number for slot in batch),
                               stream_of(batch[0].temporal_layer))
                    for layer in temporal_layers(first, last)
                    for batch in layer_batches(layer, samples)]
    return tuple(batches)


class UseCount:
    """Numbers of frames that are still to refer to each frame; threads may share it.

    Args:
        references: of each of those frames.
    """

    def __init__(self, references: Iterable[Iterable[int]]) -> None:
        self._left = Counter(number for used in references for number in used)
        self._lock = Lock()

    def __contains__(self, number: int) -> bool:
        return self._left[number] > 0

    def release(self, references: Iterable[int]) -> list[int]:
        """Count references of a frame that is done; returns those that no other frame uses."""
        with self._lock:
            self._left.subtract(references := tuple(references))
            return [number for number in set(references) if not self._left[number]]
