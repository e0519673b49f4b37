"""Files of an index, read by several workers; the index itself is written here, by one process."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from aehub.errors import AEHubError, InputError
from aehub.jobs.run import iter_events
from aehub.jobs.task import Executor, Failed, Finished, Task
from aehub.retrieval.indexing import FileReader, Reading
from aehub.weights.device import Device


def file_reader(executor: Executor, model: str, *, device: Device = "auto") -> FileReader:
    """Return a reader for `aehub.iter_index(..., reader=...)`.

    Args:
        executor: reads the files; not closed here.
        model: name or folder, as given to `iter_index`.
        device: where networks run.
    """
    def read(paths: Iterator[Path]) -> Generator[tuple[Path, Reading | AEHubError], None, None]:
        begun = dict[int, Path]()

        def tasks() -> Iterator[Task]:
            for number, path in enumerate(paths):
                begun[number] = path
                yield Task(number, "fingerprint", {
                    "source": str(path), "model": model, "device": str(device)})

        with closing(iter_events(tasks(), executor)) as events:
            for event in events:
                if isinstance(event, Failed):
                    yield begun.pop(event.number), InputError(event.message, event.option)
                elif isinstance(event, Finished):
                    reading: Reading = event.outcome.data
                    yield begun.pop(event.number), reading

    return read
