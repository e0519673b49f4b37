"""`aehub classify`: labels of clips, by a few examples of each."""

from __future__ import annotations

from pathlib import Path

import click

from aehub.cli import options
from aehub.cli.console import EXIT_FAILED, progress_bar
from aehub.config import DEFAULT_FINGERPRINT


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--examples", metavar="DIR", type=click.Path(path_type=Path), required=True,
              help="A folder for each label, with a few clips, pictures or .aev files in it.")
@click.option("--each", is_flag=True, help="Take every picture of a folder PATH for itself.")
@click.option("--model", default=DEFAULT_FINGERPRINT, show_default=True,
              help="Name, hub id or folder.")
@options.device
@options.threads
@options.as_json
def classify(paths: tuple[str, ...], examples: Path, each: bool, model: str, device: str,
             as_json: bool) -> None:
    """Label the clips, pictures and .aev files PATH by example, or as none of these.

    Folders are searched with all folders below; one that holds only pictures is one clip. A clip
    gets the same answer in all eight orientations.
    """
    from aehub.api import classify as api

    with progress_bar("classifying") as progress:
        found = api.classify(paths, examples, model=model, each=each, device=device,
                             progress=progress)
    options.print_notes(dict.fromkeys(note for one in found for note in one.notes))
    failed = [one for one in found if one.error is not None]
    if as_json:
        options.print_json({"files": [one.to_json() for one in found], "failed": len(failed)})
    else:
        width = max(len(one.label or "none") for one in found)
        for one in found:
            if one.error is None:
                click.echo(f"{one.label or 'none':<{width}}  {100 * one.confidence:3.0f} %  "
                           f"{click.format_filename(one.path)}")
    for one in failed:
        click.echo(f"aehub: {click.format_filename(one.path)}: {one.error}", err=True)
    if failed:
        raise click.exceptions.Exit(EXIT_FAILED)
