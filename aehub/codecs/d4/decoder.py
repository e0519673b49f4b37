"""Decoder of groups: integers batch by batch, pictures side by side.

    read a batch ──> prediction, means, g_s of each frame ──> post-filter, 8 bits

A batch is read when its references are and the one before it in its stream; a frame is decoded when
its batch is read and its references are decoded. Reading goes ahead of decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from aehub.bitstream import dependency_closure
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader
from aehub.codecs.d4.layers import N_STREAMS, FrameBatch, UseCount
from aehub.codecs.d4.planes import PlaneBatch
from aehub.codecs.d4.reconstruction import Reconstruction
from aehub.schedule import AHEAD, Task, run_tasks
from aehub.weights.device import inference

_Shown = TypeVar("_Shown")
_LEAST_AHEAD = 12
"""Tasks ahead of the picture that is taken at least, about three for each frame."""
_SAMPLES_AHEAD = 3 << 23
"""Luma samples of as many frames as there may be tasks ahead: large frames take much memory."""


class GroupDecoder(Generic[_Shown]):
    """Decoder of the pictures of one group.

    Args:
        reader: of the group, at its beginning.
        convert: makes the result of a decoded frame; called side by side.
        reconstruction: of its frames; at full size by default.
    """

    def __init__(self, reader: GroupReader, convert: Callable[[PlaneBatch], _Shown],
                 reconstruction: Reconstruction | None = None) -> None:
        self._reader, self._convert = reader, convert
        self._reconstruction = reconstruction or Reconstruction(reader.runtime, reader.quality)
        self._syntax: dict[int, FrameSyntax] = {}
        # What later frames need of each frame, and what is needed to show it.
        self._decoded: dict[int, Any] = {}
        self._to_show: dict[int, Any] = {}
        self._uses = UseCount(())

    def pictures(self, shown: Iterable[int] | None = None) -> Iterator[tuple[int, _Shown]]:
        """(number, result) in coding order of the frames `shown`, all by default.

        Batches that none of them depends on, and that none of their streams needs, are not read.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        reader = self._reader
        wanted = set(range(reader.header.n_frames) if shown is None else shown)
        needed = set(dependency_closure(reader.header, wanted))
        self._uses = UseCount(reader.references[number] for number in needed)
        ahead = max(_LEAST_AHEAD, min(AHEAD, _SAMPLES_AHEAD // (reader.width * reader.height)))
        return run_tasks(self._tasks(wanted, needed), ahead,
                         side_by_side=reader.runtime.device.type == "cpu")

    def _tasks(self, wanted: set[int], needed: set[int]) -> Iterator[Task]:
        reads: dict[int, Task] = {}
        decodes: dict[int, Task] = {}
        last_of_stream: dict[int, Task] = {}
        for batch in self._batches_to_read(needed):
            references = {r for n in batch.frames for r in self._reader.references[n]}
            before = [reads[r] for r in references]
            if batch.stream in last_of_stream:
                before.append(last_of_stream[batch.stream])
            read = self._task(partial(self._read, batch, needed), before, batch.stream)
            last_of_stream[batch.stream] = read
            reads.update(dict.fromkeys(batch.frames, read))
            yield read
            for number in batch.frames:
                if number not in needed:
                    continue
                used = [decodes[r] for r in self._reader.references[number]]
                decodes[number] = self._task(partial(self._decode, number, number in wanted),
                                             [read, *used], batch.stream)
                yield decodes[number]
                if number in wanted:
                    # Nothing waits for it but the caller.
                    yield self._task(partial(self._show, number), [decodes[number]], N_STREAMS,
                                     yields=True)

    def _task(self, run: Callable[[], Any], after: Sequence[Task], rank: int, *,
              yields: bool = False) -> Task:
        def in_inference() -> Any:
            with inference(self._reader.runtime.device):
                return run()

        return Task(in_inference, after, yields=yields, rank=rank)

    def _batches_to_read(self, needed: set[int]) -> list[FrameBatch]:
        """Batches of the frames needed, those that they refer to, and those before them in their
        streams."""
        chosen: list[FrameBatch] = []
        frames, streams = set(needed), set[int]()
        for batch in reversed(self._reader.batches):
            if batch.stream in streams or not frames.isdisjoint(batch.frames):
                chosen.append(batch)
                streams.add(batch.stream)
                frames.update(r for n in batch.frames for r in self._reader.references[n])
        return chosen[::-1]

    def _read(self, batch: FrameBatch, needed: set[int]) -> None:
        for frame in self._reader.read(batch):
            if frame.number in needed:
                self._syntax[frame.number] = frame

    def _decode(self, number: int, show: bool) -> None:
        references = self._reader.references[number]
        decoded, to_show = self._reconstruction.decode(
            self._syntax.pop(number), [self._decoded[r] for r in references])
        if number in self._uses:
            self._decoded[number] = decoded
        for unused in self._uses.release(references):
            del self._decoded[unused]
        if show:
            self._to_show[number] = to_show

    def _show(self, number: int) -> tuple[int, _Shown]:
        return number, self._convert(self._reconstruction.show(self._to_show.pop(number)))
