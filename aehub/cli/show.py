"""`aehub info` and `aehub verify`: look, and change nothing."""

from __future__ import annotations

from typing import Any

import click

from aehub.cli import options
from aehub.cli.guard import FAILED
from aehub.cli.options import print_json, source
from aehub.errors import FormatError
from aehub.words import count_text


@click.command()
@click.argument("file", metavar="IN.aev")
@options.as_json
def info(file: str, as_json: bool) -> None:
    """Print what IN.aev says about itself, without decoding it."""
    from aehub import inspection

    facts = inspection.info(source(file))
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts), default=0)
    for key, value in facts.items():
        click.echo(f"{key:<{width}}  {_plain(value)}")


@click.command()
@click.argument("file", metavar="IN.aev")
def verify(file: str) -> None:
    """Check every chunk of IN.aev."""
    from aehub import inspection

    report = inspection.verify(source(file))
    name = click.format_filename(file)
    if report.ok:
        click.echo(f"{name}: {count_text(report.n_groups, 'group')}, all intact")
        return
    if not report.is_aev:
        raise FormatError(report.problems[0])
    for problem in report.problems:
        click.echo(problem)
    click.echo(
        f"aehub: {name} is damaged: {count_text(len(report.problems), 'problem')}, "
        f"{count_text(report.n_groups, 'group')} found.",
        err=True,
    )
    raise click.exceptions.Exit(FAILED)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "unknown" if value is None else str(value)
