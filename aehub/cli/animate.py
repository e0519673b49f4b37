"""`aehub animate`: latent walks from keyframe to keyframe, and walk cycles of characters."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from aehub.cli import options
from aehub.cli.console import progress_bar
from aehub.cli.options import bytes_text, print_json, print_notes
from aehub.errors import count_text

DIRECTIONS = ("up", "left", "down", "right", "all")
PATHS = ("lerp", "slerp", "spline")


class Numbers(click.ParamType):
    """A list of numbers separated by commas."""

    def __init__(self, kind: type[int] | type[float], name: str) -> None:
        self.kind, self.name = kind, name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int] | list[float]:
        try:
            return [self.kind(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not {self.name}: numbers with commas between.", param, ctx)


# None if it is not given, which a recipe needs to know.
_flag = partial(click.option, is_flag=True, default=None)


@click.command()
@click.argument("output", metavar="OUT")
@click.option("--model", help="Name, hub id or folder; emoji-vae by default.")
@click.option("--seeds", type=Numbers(int, "1,2,3"),
              help="Seeds of keyframes that the model draws; 1,2,3,4 if no keyframe is given.")
@click.option("--keyframe", "keyframes", multiple=True, metavar="FILE",
              help="A picture as keyframe; repeats.")
@click.option("--clip", metavar="FILE", help="A clip whose frames are keyframes.")
@click.option("--at", metavar="T,T,...", help="Times of the clip's keyframes: seconds, frames with "
              "a trailing f, or last; by default the first and the last frame.")
@click.option("--seconds", type=Numbers(float, "S"),
              help="Length of the animation; or of each segment, with commas between. By default "
              "4.")
@click.option("--fps", help="Frames per second, such as 25 or 30000/1001; 30 by default.")
@click.option("--path", type=click.Choice(PATHS),
              help="Straight lines, arcs, or one smooth curve; the default suits the model.")
@click.option("--easing", metavar="NAME", help="Timing within each segment: linear, ease-in-out, "
              "cubic-out ...")
@_flag("--loop", help="Return from the last keyframe to the first.")
@_flag("--ping-pong", help="Play forward, then backward.")
@click.option("--truncation", type=float, help="Of seeds: below 1 less variety, fewer failures.")
@click.option("--scale", type=int, help="Integer factor on the size of the pictures.")
@_flag("--sheet",
       help="Write a sprite sheet, a PNG of all frames, and a JSON that sprite tools read.")
@click.option("--direction", type=click.Choice(DIRECTIONS),
              help="Walking direction of a character (sprite-motion); down by default.")
@click.option("--steps", type=int, help="Pictures of a character's walk cycle; 8 by default.")
@_flag("--beside", help="Show a plain cross-fade of the keyframes beside it.")
@click.option("--contact", metavar="FILE.png", type=click.Path(path_type=Path),
              help="Write a contact sheet as well.")
@click.option("--recipe", metavar="FILE", type=click.Path(path_type=Path),
              help="Repeat an animation from its recipe.")
@options.device
@options.threads
@options.force
@options.as_json
def animate(output: str, at: str | None, seconds: list[float] | None, keyframes: tuple[str, ...],
            as_json: bool, **given: Any) -> None:
    """Animate between pictures that a model draws, or between pictures of yours.

    OUT ends in .mp4, .webm, .gif, .webp or .png (animated, or a sheet); without a suffix it is a
    folder of PNGs. Beside it OUT.recipe.json is written, which makes the same frames again.
    """
    from aehub.api import animate

    # None, of an option that was not given, stands for the default of the recipe or the library.
    with progress_bar("animating") as progress:
        result = animate.animate(
            output, keyframes=keyframes or None, at=None if at is None else at.split(","),
            seconds=seconds[0] if seconds and len(seconds) == 1 else seconds, progress=progress,
            **given)
    print_notes(result.notes)
    if as_json:
        print_json(result.to_json())
        return
    click.echo(
        f"{click.format_filename(output)}: {count_text(result.frames, 'frame')} of {result.width}x"
        f"{result.height}, {result.seconds:.2f} s at {result.fps} fps, in "
        f"{bytes_text(result.bytes)} with {result.model}, {result.elapsed:.1f} s\n"
        f"  {click.format_filename(result.recipe)} makes it again"
    )
