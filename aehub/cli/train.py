"""`aehub train`: train a model's weights by a recipe of the package."""

from __future__ import annotations

from pathlib import Path

import click

from aehub.cli import options
from aehub.cli.console import progress_bar
from aehub.cli.options import Number
from aehub.errors import ExistsError


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of training clips.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--minutes", type=Number(0, min_open=True), help="Stop after this long.")
@click.option("--steps", type=click.IntRange(1), help="Stop after this many steps.")
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in --out.")
@options.device
@options.threads
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Change an option of the recipe, such as batch=4; may repeat.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def train(
    recipe: str,
    data: Path | None,
    out: Path,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    device: str,
    settings: tuple[str, ...],
    force: bool,
) -> None:
    """Train a model of the zoo by its RECIPE."""
    if minutes is not None and steps is not None:
        raise click.UsageError("--minutes and --steps exclude each other.")
    if out.is_dir() and any(out.iterdir()) and not (resume or force):
        raise ExistsError(
            f"{click.format_filename(out)} is not empty; use --resume to go on with it, "
            "or --force to overwrite it."
        )
    from aehub.training import train as run

    with progress_bar("training") as progress:
        run(
            recipe,
            data=data,
            out=out,
            minutes=minutes,
            steps=steps,
            resume=resume,
            device=device,
            options=_parse_settings(settings),
            progress=progress,
            note=lambda sentence: click.echo(f"note: {sentence}", err=True),
        )
    click.echo(click.format_filename(out))


def _parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.BadParameter(f"{setting!r} is not NAME=VALUE.", param_hint="--set")
        pairs[name] = value
    return pairs
