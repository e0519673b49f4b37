"""`aehub reconstruct`: what several autoencoders keep of clips, at equal bytes, with files."""

from __future__ import annotations

from typing import Any

import click

from aehub.cli import options
from aehub.cli.many import Many, codec_tag, many_options, plain, run_many
from aehub.config import DEFAULT_CODEC, DEFAULT_EFFORT, MAX_EFFORT


@click.command()
@click.argument("operands", metavar="IN... -o DIR", nargs=-1, required=True)
@click.option("--models", default=DEFAULT_CODEC, show_default=True,
              help="Names, hub ids or folders with commas between.")
@click.option("--quality", type=options.Number(0, 100), default=50, show_default=True,
              help="Of the first encode of every model.")
@click.option("--target-size", type=options.Size(), help="Bytes of each file, such as 500kB; by "
              "default a size that suits all models.")
@click.option("--one-quality", is_flag=True, help="Let sizes differ, and keep the quality.")
@click.option("--passes", type=click.IntRange(2, 10), help="Compress what came back, so often.")
@click.option("--longest", type=click.IntRange(16), help="Pixels of the longer side, at most.")
@click.option("--trim", type=options.TimeSpanType(),
              help="Keep what is shown from A to B: seconds, or frames with a trailing f.")
@click.option("--effort", type=click.IntRange(0, MAX_EFFORT), default=DEFAULT_EFFORT,
              show_default=True, help="Of the encoder.")
@options.device
@options.threads
@many_options(pictures=True)
@options.force
@options.as_json
def reconstruct(
    operands: tuple[str, ...], models: str, one_quality: bool, passes: int | None,
    out: str | None, workers: int | None, each: bool, dry_run: bool, force: bool, as_json: bool,
    **settings: Any,
) -> None:
    """Compress the clips IN with several autoencoders, and measure what each keeps.

    Of each clip, DIR gets a folder: the compressed files, one video of the original above all
    reconstructions, a picture to share, and the numbers as report.json and report.csv.
    """
    from aehub.jobs.plan import MEDIA, Job

    if out is None:
        raise click.UsageError("name the folder for the results with -o DIR.")
    if one_quality and settings["target_size"] is not None:
        raise click.UsageError("--one-quality and --target-size exclude each other.")
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--models names none; give names with commas between.")
    tags = " ".join(map(codec_tag, names))
    job = Job("reconstruct", plain(models=names, equal_bytes=not one_quality,
                                   drift_passes=passes or 0, **settings), "", MEDIA, tags)
    run_many(job, operands, Many(out, workers, each, dry_run, force, as_json), "reconstructing")
