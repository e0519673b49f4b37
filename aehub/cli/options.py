"""Options that several commands share, and output for people or programs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import click

from aehub.errors import InputError, count_text
from aehub.files import output_beside
from aehub.threads import set_budget

PIPE = "-"
UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(|[kmg]i?)b?", re.IGNORECASE)


def _limit_threads(context: click.Context, parameter: click.Parameter, count: int | None) -> None:
    if count is not None:
        set_budget(count)


# Eager, because some callbacks of other options import libraries that read it once.
threads = click.option(
    "--threads", type=click.IntRange(1), is_eager=True, expose_value=False, callback=_limit_threads,
    help="Most threads that compute at once; by default AEHUB_THREADS, or what suits the machine.")

device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")

force = click.option("--force", is_flag=True, help="Overwrite OUT.")

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def parse_size(text: str) -> int:
    """Parse a size in bytes: "500kB", "1.5 MB" or "2000". 1 kB is 1000 bytes, 1 KiB is 1024.

    Raises:
        ValueError: it is not a size, or less than one byte.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 500kB, 1.5MB or a number of bytes.")
    size = int(float(match[1]) * UNITS[match[2].lower()])
    if size < 1:
        raise ValueError(f"{text!r} is less than one byte.")
    return size


class Size(click.ParamType):
    """A number of bytes with a unit."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TimeSpanType(click.ParamType):
    """A stretch of time `A:B`, checked here and passed on as text."""

    name = "A:B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        from aehub.media import timestamps

        try:
            timestamps.TimeSpan.parse(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Number(click.FloatRange):
    """A finite number in a range; click's own range lets "nan" pass."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def source(name: str) -> str | BinaryIO:
    """The file of that name, or standard input for "-"."""
    if name != PIPE:
        return name
    stream = sys.stdin.buffer
    if stream.isatty():
        raise click.UsageError("standard input is a terminal; pipe a file into -.")
    return stream


def sink(name: str, *, input_name: str) -> str | BinaryIO:
    """The file to write of that name, or standard output for "-".

    Args:
        name: output as the user gave it.
        input_name: input as the user gave it; the two must differ.
    """
    if name == PIPE:
        stream = sys.stdout.buffer
        if stream.isatty():
            raise click.UsageError("standard output is a terminal; redirect it or name a file.")
        return stream
    path = Path(name)
    if input_name != PIPE and _is_same(path, Path(input_name)):
        raise click.UsageError(f"{click.format_filename(path)} is both input and output; name "
                               "another file for OUT.")
    # Unchanged, because a Path would drop a slash at its end, which means a folder.
    return name


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return False


def default_output(name: str, suffix: str) -> str:
    """The name of the output where only an input is given: clip.aev for clip.mp4 and ".aev"."""
    if name == PIPE:
        raise click.UsageError("an input of '-' has no name to build on; give OUT as well.")
    return str(output_beside(name, suffix))


def refuse_two_outputs(as_json: bool, output: str) -> None:
    """Refuse to print --json and write the result to the same standard output."""
    if as_json and output == PIPE:
        raise click.UsageError("--json and the output - both want standard output; name a file.")


def display_name(output: str) -> str:
    """The output's name for people."""
    return "standard output" if output == PIPE else click.format_filename(output)


def print_notes(notes: Iterable[str]) -> None:
    """Print each note on a line of stderr."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def bytes_text(count: int) -> str:
    """Format a number of bytes: "999 bytes", "1.2 kB", "34.5 MB"."""
    if count < 1000:
        return count_text(count, "byte")
    for unit in ("kB", "MB"):
        if count < 999_950:
            return f"{count / 1000:.1f} {unit}"
        count //= 1000
    return f"{count / 1000:.1f} GB"


def print_json(value: dict[str, Any]) -> None:
    """Print one object on stdout; infinite and undefined numbers become null."""
    click.echo(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
