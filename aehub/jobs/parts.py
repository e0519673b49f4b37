"""One long clip in parts: its groups are coded by several workers, and written in order.

The clip is decoded once, here, and divided where its groups end. Groups are independent of each
other, so the file is that of one worker, bit for bit; of a target size, every encode is divided.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from aehub.bitstream import FileHeader
from aehub.codecs.compress import CodedGroup, GroupCoder, SourceGroup
from aehub.errors import AEHubError
from aehub.jobs.run import iter_events
from aehub.jobs.task import Executor, Failed, Finished, Task, Ticked
from aehub.media.picture import Colour
from aehub.weights.device import Device


def part_coder(executor: Executor, model: str, *, device: Device = "auto", grain: bool = False
               ) -> GroupCoder:
    """Return a coder for `aehub.iter_compress(..., coder=...)`.

    Args:
        executor: codes the groups; not closed here. As many groups as it has slots, and two more,
            are in memory at once, decoded: 200 MB each at most.
        model: name or folder, as given to `iter_compress`.
        device: where networks run.
        grain: as given to `iter_compress`.
    """
    def code(groups: Iterator[SourceGroup], header: FileHeader, colour: Colour, *, measure: bool,
             effort: int) -> Generator[int | CodedGroup, None, None]:
        tasks = (Task(number, "group", {
            "group": group, "header": header, "colour": colour, "model": model,
            "device": str(device), "grain": grain, "measure": measure, "effort": effort})
            for number, group in enumerate(groups))
        with closing(iter_events(tasks, executor)) as events:
            done, waiting, following = dict[int, int](), dict[int, CodedGroup](), 0
            for event in events:
                if isinstance(event, Failed):
                    raise AEHubError(event.message, event.option)
                if isinstance(event, Ticked):
                    done[event.number] = event.done
                elif isinstance(event, Finished):
                    coded: CodedGroup = event.outcome.data
                    waiting[event.number] = coded
                    done[event.number] = len(coded.frame_bytes)
                yield sum(done.values())
                while following in waiting:
                    yield waiting.pop(following)
                    following += 1

    return code
