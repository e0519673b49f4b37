"""Clips of a comparison, measured by several workers and put together here."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from aehub.errors import InputError
from aehub.inputs import absolute
from aehub.jobs.run import iter_events
from aehub.jobs.task import Executor, Failed, Finished, Task, Ticked
from aehub.measure.points import ClipMeasurer, Failure, Measured


def clip_measurer(executor: Executor, codecs: str) -> ClipMeasurer:
    """Return a measurer for `aehub.measure.compare(..., measurer=...)`.

    Args:
        executor: measures a clip in each task; not closed here.
        codecs: names, as given to `compare`.
    """
    def measure(paths: Sequence[Path], frames: int | None
                ) -> Generator[int | tuple[int, Measured], None, None]:
        tasks = (Task(number, "compare", {"source": str(absolute(path)), "codecs": codecs,
                                          "frames": frames}) for number, path in enumerate(paths))
        done = dict[int, int]()
        with closing(iter_events(tasks, executor)) as events:
            for event in events:
                if isinstance(event, Ticked):
                    done[event.number] = event.done
                elif isinstance(event, Failed):
                    error = InputError(event.message, event.option)
                    yield event.number, Measured(
                        None, (Failure(paths[event.number].stem, None, error),))
                elif isinstance(event, Finished):
                    measured: Measured = event.outcome.data
                    done[event.number] = len(measured.results)
                    yield event.number, measured
                yield sum(done.values())

    return measure
