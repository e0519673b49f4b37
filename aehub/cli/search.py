"""`aehub index` and `aehub search`: find clips, parts of clips and copies among many files."""

from __future__ import annotations

from contextlib import ExitStack

import click

from aehub.cli import options
from aehub.cli.console import EXIT_FAILED, progress_bar
from aehub.cli.many import ray_address, workers_of, workers_option
from aehub.errors import count_text
from aehub.results import Duplicates, Found, Indexed, Match, run_job

_folder = click.option(
    "--index", metavar="DIR",
    help="Folder of the index; by default AEHUB_INDEX, or one in the user's data folder.")
_model = click.option("--model", help="Name or folder of the model that makes the fingerprints.")


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_folder
@click.option("--each", is_flag=True, help="Take every picture of a folder for itself.")
@click.option("--store", is_flag=True, help="Keep the fingerprints of each compressed file in the "
              "file itself, so that another index of it decodes nothing.")
@_model
@workers_option
@options.device
@options.threads
@options.as_json
def index(paths: tuple[str, ...], index: str | None, each: bool, store: bool, model: str | None,
          workers: int | None, device: str, as_json: bool) -> None:
    """Index clips, pictures and compressed files, so that `aehub search` finds them.

    Folders are searched with all folders below; one that holds only pictures is one clip. Files
    that have not changed are skipped. It can be interrupted, and goes on from there.
    """
    from aehub.api import search
    from aehub.config import DEFAULT_FINGERPRINT

    model = DEFAULT_FINGERPRINT if model is None else model
    with ExitStack() as stack:
        reader = None
        if (workers or 1) > 1 or ray_address():
            from aehub.jobs.fingerprints import file_reader

            reader = file_reader(stack.enter_context(workers_of(workers, device)), model,
                                 device=device)
        progress = stack.enter_context(progress_bar("indexing"))
        result = run_job(search.iter_index(paths, index, each=each, store=store, device=device,
                                           model=model, reader=reader), progress)
    _print_indexed(result, as_json)
    if result.failed:
        raise click.exceptions.Exit(EXIT_FAILED)


def _print_indexed(result: Indexed, as_json: bool) -> None:
    for file in result.files:
        if file.error is not None:
            click.echo(f"aehub: {' '.join(file.error.split())}", err=True)
    if as_json:
        options.print_json(result.to_json())
        return
    states = [file.state for file in result.files]
    parts = [f"{count} {state}" for state in ("added", "unchanged", "removed", "failed")
             if (count := states.count(state))]
    incomplete = result.failed - states.count("failed")
    if incomplete:
        parts.append(f"{incomplete} not whole")
    click.echo(f"{click.format_filename(result.index)}: {', '.join(parts) or 'nothing to index'}; "
               f"{count_text(result.segments, 'segment')} in all, {result.elapsed:.1f} s")


@click.command()
@click.argument("query", required=False)
@click.option("--duplicates", is_flag=True, help="List groups of copies in the index instead.")
@_folder
@click.option("--limit", type=click.IntRange(1), help="Matches to list, at most; by default 20.")
@click.option("--threshold", type=options.Number(0, 1),
              help="Least score of a match, from 0 to 1.")
@_model
@options.device
@options.threads
@options.as_json
def search(query: str | None, duplicates: bool, index: str | None, limit: int | None,
           threshold: float | None, model: str | None, device: str, as_json: bool) -> None:
    """Find the clip or picture QUERY, or parts of it, among the indexed files.

    Each match tells the file, the time in it, how the file is turned in QUERY, and a score from 0
    to 1. No match is no error; a damaged QUERY is one, after the matches of what is intact.
    """
    from aehub.api import search
    from aehub.config import DEFAULT_FINGERPRINT

    if duplicates == (query is not None):
        raise click.UsageError("give either a QUERY or --duplicates.")
    if duplicates and (limit, threshold) != (None, None):
        raise click.UsageError("--limit and --threshold are of a QUERY; leave them out with "
                               "--duplicates.")
    model = DEFAULT_FINGERPRINT if model is None else model
    if query is None:
        with progress_bar("comparing") as progress:
            copies = search.duplicates(index, model=model, device=device, progress=progress)
        _print_duplicates(copies, as_json)
        return
    least = search.DEFAULT_THRESHOLD if threshold is None else threshold
    most = search.DEFAULT_LIMIT if limit is None else limit
    job = search.iter_search(options.source(query), index, limit=most, threshold=least,
                             model=model, device=device)
    with progress_bar("searching") as progress:
        found = run_job(job, progress)
    _print_found(found, as_json)
    if found.error is not None:
        raise click.exceptions.Exit(EXIT_FAILED)


def _print_found(found: Found, as_json: bool) -> None:
    options.print_notes(found.notes)
    if as_json:
        options.print_json(found.to_json())
        return
    for match in found.matches:
        click.echo(_line(match, f"{match.score:.3f}"))
    if not found.matches:
        click.echo("no match", err=True)


def _print_duplicates(found: Duplicates, as_json: bool) -> None:
    options.print_notes(found.notes)
    if as_json:
        options.print_json(found.to_json())
        return
    for title, groups in (("copies", found.copies), ("shared part", found.shared)):
        for group in groups:
            click.echo(f"{title}:")
            for match in group:
                click.echo(f"  {_line(match, '')}")
    if not found.copies and not found.shared:
        click.echo("no copies", err=True)


def _line(match: Match, score: str) -> str:
    span = f"{_time(match.start)}-{_time(match.end)}"
    return "  ".join(filter(None, (score, span, click.format_filename(match.path),
                                   match.orientation_text)))


def _time(seconds: float) -> str:
    """Seconds as minutes, seconds and tenths: "01:05.5"."""
    tenths = round(10 * seconds)
    return f"{tenths // 600:02}:{tenths // 10 % 60:02}.{tenths % 10}"
