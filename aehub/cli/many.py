"""Many files: the options that commands share for them, the run, and the table at its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import click

from aehub.cli import options
from aehub.cli.console import EXIT_FAILED, files_bar
from aehub.errors import count_text
from aehub.files import check_path
from aehub.results import run_job

_OUT = click.option(
    "-o", "--out", metavar="DIR", help="Write into DIR, made if need be; every operand is an input "
    "then: files, folders and patterns. What is there and as it should be is skipped.")
_WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Processes that work side by side, 1 by default; "
    "they share the threads.")
_RAY = "aehub.ray"
"""Key of the context under which the address of a Ray cluster is kept."""


def _keep_address(context: click.Context, parameter: click.Parameter, address: str | None) -> None:
    context.meta[_RAY] = address


# Kept in the context: it matters to nothing but what the workers are.
_ON_RAY = click.option(
    "--ray", metavar="ADDRESS", expose_value=False, callback=_keep_address,
    help="Work on a Ray cluster: HOST:PORT of its head, auto on one of its machines, or local to "
    "start one here. --workers is then as many as it has cores, and --threads are of each worker, "
    "1 by default. Inputs are where all machines see them, or addresses such as s3://.")


def workers_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add --workers and --ray to a command."""
    for option in (_ON_RAY, _WORKERS):
        function = option(function)
    return function


_EACH = click.option("--each", is_flag=True, help="Take every picture of a folder for itself.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Tell what -o would do, and do nothing.")


@dataclass(frozen=True)
class Many:
    """Options of a run over many files.

    Attributes:
        out: folder of the results; None where nothing is written.
        workers: processes.
        each: take every picture of a folder for itself.
        dry_run: do nothing.
        force: overwrite.
        as_json: print one object.
    """

    out: str | None
    workers: int | None
    each: bool
    dry_run: bool
    force: bool
    as_json: bool


def many_options(*, pictures: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add -o, --workers and --dry-run to a command, and --each to one that reads pictures."""
    def add(function: Callable[..., None]) -> Callable[..., None]:
        for option in (_DRY_RUN, *([_EACH] if pictures else [])):
            function = option(function)
        return _OUT(workers_option(function))

    return add


def refuse_without_out(**given: Any) -> None:
    """Refuse options that mean nothing for one file, given by their names; --ray with --workers."""
    if "workers" in given:
        given["ray"] = ray_address()
    for name, value in given.items():
        if value:
            raise click.UsageError(f"--{name.replace('_', '-')} is for many files; give -o DIR as "
                                   "well.")


def is_many(operand: str) -> bool:
    """Return whether an operand is a folder, a pattern or an address, not a file or a pipe."""
    from glob import has_magic

    if "://" in operand and not os.path.lexists(operand):
        return True
    return os.path.isdir(operand) or has_magic(operand) and not os.path.exists(operand)


def codec_tag(model: str | None) -> str:
    """Text that identifies the weights of a model that is named, before anything heavy is loaded;
    empty if files name it."""
    from aehub import hub

    return "" if model is None else hub.codec_tag(model)


def one_and_output(operands: Sequence[str], *, may_be_folder: bool = False
                   ) -> tuple[str, str | None]:
    """The input and the output of a command without -o: "IN" or "IN OUT".

    Args:
        operands: as the user gave them.
        may_be_folder: a folder is one input, of pictures.
    """
    first = operands[0]
    if is_many(first) and "://" not in first and not (may_be_folder and os.path.isdir(first)):
        raise click.UsageError(f"{click.format_filename(first)} stands for many files; name the "
                               "folder for their results with -o DIR.")
    if len(operands) > 2:
        raise click.UsageError(f"{len(operands)} files were given; name the folder for the results "
                               "of several inputs with -o DIR.")
    return operands[0], operands[1] if len(operands) == 2 else None


def ray_address() -> str | None:
    """The address of the Ray cluster that the command is to use; None without."""
    address: str | None = click.get_current_context().meta.get(_RAY)
    return address


@contextmanager
def workers_of(count: int | None, device: str = "auto") -> Iterator[Any]:
    """Workers of this machine or of a Ray cluster, an `Executor`, ended at the end; with a note
    where there are fewer than asked for.

    Args:
        count: of them.
        device: that each computes on; on a cluster each gets a GPU where one is named.
    """
    address = ray_address()
    if address is None:
        with _local_processes(count) as processes:
            yield processes
        return
    from aehub.jobs.ray_workers import RayWorkers

    workers = RayWorkers(address, count, n_gpus=int(device.startswith("cuda")))
    try:
        yield workers
    finally:
        workers.close()
    options.print_notes(workers.notes)


@contextmanager
def _local_processes(count: int | None) -> Iterator[Any]:
    from aehub.jobs.processes import LocalProcesses

    executor = LocalProcesses(count or 1)
    if count is not None and executor.slots < count:
        options.print_notes([f"{count_text(executor.slots, 'worker')} of {count}: no more threads "
                             "may compute at once."])
    try:
        yield executor
    finally:
        executor.close()


def run_many(job: Any, operands: Sequence[str], many: Many, label: str) -> None:
    """Run a command over all inputs, print the results, and exit with 1 if a file failed.

    Args:
        job: `aehub.jobs.plan.Job` of the command.
        operands: as the user gave them.
        many: options.
        label: of the progress, such as "compressing".
    """
    from aehub.inputs import expanded
    from aehub.jobs.manifest import OutputFolder, ResultFolder
    from aehub.jobs.plan import plan_files
    from aehub.jobs.run import iter_files, plan_results
    from aehub.jobs.uris import refuse_uri_output

    if options.PIPE in operands:
        raise click.UsageError("- has no name to call a result by; leave -o out.")
    refuse_uri_output(many.out or "")
    folder = None if many.out is None else expanded(check_path(many.out, "folder of results"))
    with ExitStack() as stack:
        results: Any = None
        if folder is not None:
            results = (ResultFolder(folder, force=many.force) if many.dry_run else
                       stack.enter_context(OutputFolder(folder, force=many.force)))
        plan = plan_files(job, operands, folder, each=many.each,
                          manifest=results.manifest if results else None)
        if many.dry_run:
            result = plan_results(job, plan, results)
        else:
            executor = stack.enter_context(
                workers_of(many.workers, str(job.options.get("device", "auto"))))
            shown = stack.enter_context(files_bar(label))
            output = results if isinstance(results, OutputFolder) else None
            result = run_job(iter_files(job, plan, executor, output), shown)
    print_run(result, many.as_json)


def print_run(result: Any, as_json: bool) -> None:
    """Print a `RunResult`: one object or a table, and what is wrong with which file; exit with 1
    if any is."""
    for file in result.files:
        if file.error:
            click.echo(f"aehub: {' '.join(file.message.split())}", err=True)
    options.print_notes(_notes(result.files))
    if as_json:
        options.print_json(result.to_json())
    else:
        click.echo("\n".join(_table(result)))
    if result.failed:
        raise click.exceptions.Exit(EXIT_FAILED)


def _notes(files: Sequence[Any]) -> Iterator[str]:
    """Notes of the files, each once, with the number of files that have it."""
    counts: dict[str, int] = {}
    for file in files:
        for note in file.values.get("notes", ()) if file.state == "done" else ():
            counts[note] = counts.get(note, 0) + 1
    for note, count in counts.items():
        yield note if count == 1 else f"{note} ({count_text(count, 'file')})"


def _table(result: Any) -> Iterator[str]:
    for file in result.files:
        if file.state == "planned":
            yield (f"{click.format_filename(file.source)}"
                   f"{'' if file.path is None else f' -> {click.format_filename(file.path)}'}")
    width = len(str(len(result.files)))
    for state in ("planned", "done", "skipped", "failed"):
        files = [file for file in result.files if file.state == state]
        if files or state == "done" and not result.count("planned"):
            yield f"{state:<8}{len(files):>{width}}{_sizes(files)}"
    if not result.count("planned"):
        yield f"{result.elapsed:.1f} s"


def _sizes(files: Sequence[Any]) -> str:
    before, after = sum(file.bytes_in for file in files), sum(file.bytes_out for file in files)
    if not before:
        return ""
    return f"  {options.bytes_text(before)}" + (
        f" -> {options.bytes_text(after)}" if after else "")


def plain(**values: Any) -> dict[str, Any]:
    """Options without those that were left out, as a task has them."""
    return {name: value for name, value in values.items() if value is not None}
