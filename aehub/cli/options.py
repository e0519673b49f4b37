"""Options of the commands that compute: the device and the number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from aehub.threads import allow

_Function = Callable[..., Any]


def _allow(context: click.Context, parameter: click.Parameter, count: int | None) -> None:
    if count is not None:
        allow(count)


# Before the other options, some of which import what reads it once.
threads = click.option(
    "--threads", type=click.IntRange(1), is_eager=True, expose_value=False, callback=_allow,
    help="Most threads that compute at once; by default AEHUB_THREADS, or what suits the machine.")

device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
