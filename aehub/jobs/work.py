"""The work of each command on one file, in a worker: arguments in, an `Outcome` out.

Arguments are those of the public functions, and `output` where a file is written. Models are given
by name: `aehub.hub` loads each once in a process. A `source` at an address is fetched first.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.bitstream.validation import verify
from aehub.errors import AEHubError, DamagedError, FormatError, count_text, sentence
from aehub.jobs.page_work import PAGE_COMMANDS
from aehub.jobs.task import Failed, Finished, Outcome, Task, Ticked
from aehub.jobs.uris import fetched, is_uri
from aehub.results import Progress, Result, relayed

if TYPE_CHECKING:  # Commands that move bytes load no networks.
    from aehub.bitstream import FileHeader
    from aehub.codecs.compress import SourceGroup
    from aehub.media.picture import Colour

_PARTS = 1000
"""Parts into which progress is divided where there are no frames to count."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Of errors that name no file; the input is read, not written."""
Job = Generator[Any, None, Outcome]
"""Yields `Progress`, or what else `Ticked` tells of progress; returns what came out."""


def perform(task: Task) -> Job:
    """Run a task; closing it cancels.

    Raises:
        Exception: it cannot be done; `performed` makes a record of it.
    """
    arguments = dict(task.arguments)
    with ExitStack() as stack:
        if is_uri(str(arguments.get("source", ""))):
            arguments["source"] = stack.enter_context(
                fetched(arguments["source"], arguments.get("output")))
        return (yield from COMMANDS[task.command](**arguments))


def performed(task: Task, interval: float, is_cancelled: Callable[[], bool] = lambda: False
              ) -> Generator[Ticked, None, Finished | Failed]:
    """Run a task in a worker: progress at most every `interval` seconds; returns how it ended."""
    latest, job = -math.inf, perform(task)
    try:
        while True:
            progress = next(job)
            if is_cancelled():
                return Failed(task.number, "it was stopped.")
            if time.monotonic() - latest >= interval:
                latest = time.monotonic()
                yield Ticked(task.number, *progress)
    except StopIteration as end:
        return Finished(task.number, end.value)
    except Exception as error:  # noqa: BLE001 - one file does not stop the others
        return failure(task, error)
    finally:
        job.close()


def failure(task: Task, error: BaseException) -> Failed:
    """The record of an error."""
    if isinstance(error, AEHubError):
        return Failed(task.number, " ".join(error.message.split()), error.option)
    if isinstance(error, OSError) and error.errno in _FULL:
        return Failed(task.number, f"its result cannot be written: {error.strerror}; make room, "
                                   "and give the same command again.")
    return Failed(task.number, sentence(error),
                  traceback="".join(traceback.format_exception(error)))


def _written(job: Generator[Any, None, Result], output: str) -> Job:
    """Run a job that writes a file; of a damaged source the intact part is kept."""
    try:
        result = yield from job
        return Outcome(result.to_json(), data=result)
    except DamagedError as error:
        if not os.path.exists(output):
            raise
        return Outcome(error=str(error))


def _compress(source: str, output: str, **options: Any) -> Job:
    from aehub.api.compress import iter_compress

    return (yield from _written(iter_compress(source, output, **options), output))


def _decompress(source: str, output: str, **options: Any) -> Job:
    from aehub.api.compress import iter_decompress_to

    return (yield from _written(iter_decompress_to(source, output, **options), output))


def _edit(source: str, output: str, operations: str, **options: Any) -> Job:
    from aehub.api.edit import iter_edit
    from aehub.editing.operations import parse

    job = iter_edit(source, output, parse(operations) if operations else (), **options)
    return (yield from _written(job, output))


def _verify(source: str) -> Job:
    yield Progress(0, 0)
    report = verify(Path(source))
    if not report.is_aev:
        raise FormatError(report.problems[0])
    values = {"ok": report.ok, "groups": report.n_groups, "problems": report.problems}
    return Outcome(values, "" if report.ok else (
        f"{Path(source).name} is damaged: {count_text(len(report.problems), 'problem')}, "
        f"{count_text(report.n_groups, 'group')} found."))


def _reconstruct(source: str, output: str, models: list[str], **options: Any) -> Job:
    from aehub.report.arena import iter_arena

    folder = Path(output)
    folder.mkdir()
    report = yield from relayed(iter_arena(source, folder, models, **options),
                                lambda now: Progress(round(_PARTS * now.share), _PARTS))
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=2))
    (folder / "report.csv").write_text(report.to_csv())
    failed = "; ".join(f"{model}: {reason}" for model, reason in report.failures.items())
    return Outcome(report.to_json(), failed and (
        f"{len(report.failures)} of {count_text(len(models), 'model')} failed: {failed}"))


def _group(group: SourceGroup, header: FileHeader, colour: Colour, model: str, device: str,
           grain: bool, **options: Any) -> Job:
    from aehub.codecs.base import with_grain
    from aehub.codecs.compress import encode_group
    from aehub.hub import load_for_file

    codec = load_for_file(header, model, device=device)
    codec = with_grain(codec) if grain else codec
    job = encode_group(codec, group, header, colour, **options)
    return Outcome(data=(yield from relayed(job, lambda n: Progress(n, len(group.frames)))))


def _fingerprint(source: str, model: str, device: str) -> Job:
    from aehub.hub import load_for_file, resolve_model
    from aehub.retrieval.fingerprint import fingerprint_model
    from aehub.retrieval.indexing import read_file

    job = read_file(Path(source), fingerprint_model(resolve_model(model, device)),
                    lambda header: load_for_file(header, device=device))
    return Outcome(data=(yield from relayed(job, lambda _: Progress(0, 0))))


def _compare(source: str, codecs: str, frames: int | None) -> Job:
    from aehub.measure.benchmark import measure_file, parse_codecs

    return Outcome(data=(yield from measure_file(Path(source), parse_codecs(codecs), frames)))


COMMANDS: dict[str, Callable[..., Job]] = {
    "compress": _compress, "decompress": _decompress, "edit": _edit, "verify": _verify,
    "group": _group, "reconstruct": _reconstruct,
    "fingerprint": _fingerprint, "compare": _compare, **PAGE_COMMANDS,
}
"""Name of a command -> its work on one file."""
