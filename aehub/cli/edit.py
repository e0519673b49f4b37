"""`aehub edit` and `aehub concat`: edits of compressed files without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from aehub.cli import options
from aehub.cli.console import progress_bar
from aehub.cli.many import (
    Many,
    codec_tag,
    many_options,
    one_and_output,
    plain,
    refuse_without_out,
    run_many,
)
from aehub.errors import count_text
from aehub.results import Edited

_OPTION_ORDER = "aehub.order"


class OrderedCommand(click.Command):
    """A command that records the order in which its options were given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_OPTION_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


@click.command(cls=OrderedCommand)
@click.argument("operands", metavar="IN.aev OUT.aev | IN... -o DIR", nargs=-1, required=True)
@click.option("--rotate", type=click.Choice(["90", "180", "270"]), multiple=True,
              help="Turn the picture clockwise.")
@click.option("--flip", type=click.Choice(["horizontal", "vertical"]), multiple=True,
              help="Swap left and right, or top and bottom.")
@click.option("--transpose", count=True, help="Swap rows and columns.")
@click.option("--trim", type=options.TimeSpanType(), multiple=True,
              help="Keep what is shown from A to B: seconds, or frames with a trailing f.")
@click.option("--reverse", count=True, help="Play backward; the sound is left out.")
@click.option("--scale", type=click.Choice(["1/2", "2"]), multiple=True,
              help="Decode at this size and compress again; prints the loss.")
@click.option("--group-exact", is_flag=True,
              help="Drop hidden frames too. Without it a trim that begins inside a group keeps the "
              "frames before it in the file, hidden, and they can be restored. With it only "
              "those stay that shown frames are predicted from.")
@click.option("--via-pixels", is_flag=True,
              help="Decode, turn and compress again, for models whose latents do not turn; prints "
              "the loss.")
@click.option("--model", help="Its name or folder, if not the name that the file gives.")
@options.device
@options.threads
@many_options()
@options.force
@options.as_json
@click.pass_context
def edit(
    ctx: click.Context, operands: tuple[str, ...], group_exact: bool, via_pixels: bool,
    model: str | None, device: str, out: str | None, workers: int | None, dry_run: bool,
    force: bool, as_json: bool, **edits: Any,
) -> None:
    """Turn, trim or reverse IN.aev into OUT.aev without decoding a picture, or scale it.

    Several options apply in the order given and may repeat. The result is a plain file of the
    turned picture: nothing is lost, and the opposite edit gives the same codes back. Only --scale
    and --via-pixels compress again.
    """
    operations = list(_operations(ctx.meta[_OPTION_ORDER], edits))
    if not operations and not group_exact:
        raise click.UsageError("there is nothing to do; give --rotate, --flip, --transpose, "
                               "--trim, --reverse, --scale or --group-exact.")
    settings: dict[str, Any] = {"model": model, "device": device, "group_exact": group_exact,
                "via_pixels": via_pixels}
    if out is not None:
        from aehub.jobs.plan import COMPRESSED, Job

        text = ", ".join(map(str, operations))
        job = Job("edit", plain(operations=text, **settings), ".aev", COMPRESSED, codec_tag(model))
        run_many(job, operands, Many(out, workers, False, dry_run, force, as_json), "editing")
        return
    refuse_without_out(dry_run=dry_run, workers=workers)
    file, output = one_and_output(operands)
    if output is None:
        raise click.UsageError("give OUT.aev after IN.aev, or a folder with -o DIR.")
    options.refuse_two_outputs(as_json, output)
    from aehub.api import edit

    with progress_bar("editing") as progress:
        result = edit.edit(options.source(file), options.sink(output, input_name=file), operations,
                           force=force, progress=progress, **settings)
    _print_result(result, output, as_json)


@click.command()
@click.argument("files", metavar="A.aev B.aev ... OUT.aev", nargs=-1, required=True)
@click.option("--model", help="Its name or folder, if not the name that the files give.")
@options.device
@options.threads
@options.force
@options.as_json
def concat(
    files: tuple[str, ...], model: str | None, device: str, force: bool, as_json: bool
) -> None:
    """Join A.aev, B.aev ... into OUT.aev without decoding a picture.

    They must be of one model and one frame size; qualities may differ. The halves of a group that
    a trim cut apart become one group again.
    """
    from aehub.api import edit

    *sources, output = files
    if len(sources) < 2:
        raise click.UsageError("give at least two files to join, and OUT.aev at the end.")
    options.refuse_two_outputs(as_json, output)
    target = [options.sink(output, input_name=name) for name in sources][0]
    with progress_bar("joining") as progress:
        result = edit.concat([options.source(name) for name in sources], target, model=model,
                             device=device, force=force, progress=progress)
    _print_result(result, output, as_json)


def _operations(order: list[str], edits: dict[str, Any]) -> Iterator[Any]:
    """The operations of the options, in the order in which they were given."""
    from aehub.editing import operations

    remaining = {name: iter(values) for name, values in edits.items() if isinstance(values, tuple)}
    for name in order:
        if name == "rotate":
            yield operations.Rotate(int(next(remaining[name])))
        elif name == "flip":
            yield operations.Flip(next(remaining[name]))
        elif name == "trim":
            yield operations.Trim(next(remaining[name]))
        elif name == "scale":
            yield operations.Scale(next(remaining[name]))
        elif name == "transpose":
            yield operations.Transpose()
        elif name == "reverse":
            yield operations.Reverse()


def _print_result(result: Edited, output: str, as_json: bool) -> None:
    options.print_notes(result.notes)
    if as_json:
        options.print_json(result.to_json())
        return
    lines = [f"{options.display_name(output)}: {count_text(result.frames, 'frame')} of "
             f"{result.width}x{result.height}, {result.seconds:.2f} s, in "
             f"{options.bytes_text(result.bytes)} "
             f"({options.bytes_text(result.bytes_before)} before)"]
    if result.psnr is not None:
        lines.append(f"compressed a second time: {result.psnr:.2f} dB against the decoded pictures")
    click.echo("\n  ".join(lines), err=output == options.PIPE)
