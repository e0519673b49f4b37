"""What each frame of a file takes, in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from aehub.codec.model import Codec
from aehub.codec.turning import rewrite_group
from aehub.container import Reader, coding_order


def frame_sizes(reader: Reader, model: Codec) -> Iterator[tuple[int, int, int]]:
    """(number, 1, bytes) of each shown frame; only integers are read.

    Bytes are those that the stream grows by when the frame is written again.
    """
    first = 0
    for group in reader.groups():
        head = group.head
        _, words = rewrite_group(model.runtime, group.payload, head, reader.head, 0,
                                 range(head.n_frames))
        sizes = {number: 4 * (after - before) for number, (before, after)
                 in zip(coding_order(head), pairwise((0, *words)), strict=True)}
        yield from ((first + at, 1, sizes[number]) for at, number in enumerate(head.order))
        first += head.n_shown
