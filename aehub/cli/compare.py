"""`aehub compare`: codecs measured side by side on the user's clips."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from aehub.cli import options
from aehub.cli.console import progress_bar
from aehub.cli.many import ray_address, workers_of, workers_option
from aehub.cli.options import print_json, print_notes
from aehub.config import DEFAULT_CODEC

CODECS = f"{DEFAULT_CODEC},x264-medium,x265-medium,svtav1-6"


@click.command()
@click.argument("clips", metavar="IN...", nargs=-1, required=True)
@click.option("--codecs", default=CODECS, show_default=True, help="Names with commas between.")
@click.option("--stills", is_flag=True, help="Compare the first frame of each clip as a picture.")
@click.option("--frames", type=click.IntRange(1), help="Compare only the first frames of a clip.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the curves into this PNG.")
@workers_option
@options.threads
@click.option("--force", is_flag=True, help="Overwrite the plot.")
@options.as_json
def compare(
    clips: tuple[str, ...],
    codecs: str,
    stills: bool,
    frames: int | None,
    plot: Path | None,
    workers: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure rate against distortion of several codecs on the clips IN."""
    from aehub.measure.benchmark import compare, parse_codecs
    from aehub.measure.plot import check_plot

    # Checked before the measurement, which may take minutes.
    if plot is not None:
        check_plot(plot, force=force)
    with ExitStack() as stack:
        measurer = None
        if (workers or 1) > 1 or ray_address():
            from aehub.jobs.comparisons import clip_measurer

            measurer = clip_measurer(stack.enter_context(workers_of(workers)), codecs)
        progress = stack.enter_context(progress_bar("comparing"))
        comparison = compare(list(clips), parse_codecs(codecs), measurer=measurer, stills=stills,
                             frames=frames, progress=progress)
    print_notes(comparison.notes)
    try:
        if as_json:
            print_json(comparison.to_dict())
        else:
            click.echo(comparison.table())
    finally:
        # Drawn even if the reader of stdout closed the pipe.
        if plot is not None:
            comparison.plot(plot)
    comparison.check()
