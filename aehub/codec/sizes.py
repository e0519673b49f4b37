"""What each frame of a file takes, in bytes."""

from __future__ import annotations

from collections.abc import Iterator

from aehub.codec.chain import Chain
from aehub.codec.model import Codec
from aehub.codec.predicted import GroupReader, GroupWriter, references_of
from aehub.container import Group, Reader, coding_order


def frame_sizes(reader: Reader, model: Codec) -> Iterator[tuple[int, int, int]]:
    """(first shown frame, frames, bytes) of all that is coded together.

    Frames of a predicted group come one by one, hidden ones not at all; only integers are read.
    """
    first = 0
    for group in reader.groups():
        shown = group.head.order
        if any(group.head.types):
            sizes = _sizes(model, group, reader.head.coded_size(group.head.crop))
            yield from ((first + at, 1, sizes[n]) for at, n in enumerate(shown))
        else:
            yield first, len(shown), len(group.payload)
        first += len(shown)


def _sizes(model: Codec, group: Group, coded_size: tuple[int, int]) -> dict[int, int]:
    """Bytes by frame: what the stream grows by when its frames are written again."""
    references, order = references_of(group.head), coding_order(group.head)
    writer, chain = GroupWriter(model.runtime), Chain()
    sizes: dict[int, int] = {}
    for done, frame in enumerate(GroupReader(model.runtime, group.payload, group.head,
                                             coded_size).frames(), 1):
        before, used = writer.size, references[frame.number]
        blocks = (coded_size[1] // 16, coded_size[0] // 16)
        motion = writer.write(frame, chain.bases(frame.number, used, blocks))
        sizes[frame.number] = writer.size - before
        # No table is looked up again, so what the integer network sees need not be kept.
        chain.remember(frame.number, frame.codes, used, motion)
        chain.keep({r for later in order[done:] for r in references[later]})
    return sizes
