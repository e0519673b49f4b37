"""The `aehub` command: each subcommand calls one public function and prints its result."""

from __future__ import annotations

import os
import sys

import click

from aehub.cli.animate import animate
from aehub.cli.classify import classify
from aehub.cli.compare import compare
from aehub.cli.console import ErrorReportingGroup
from aehub.cli.edit import concat, edit
from aehub.cli.files import compress, decompress, info, latents, verify
from aehub.cli.hub import download, models, publish, serve
from aehub.cli.reconstruct import reconstruct
from aehub.cli.search import index, search
from aehub.cli.train import train
from aehub.config import __version__


@click.group(cls=ErrorReportingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aehub")
def main() -> None:
    """Compress, edit and animate with pretrained autoencoders.

    A file named - is a pipe. Sizes count in thousands: 1 kB is 1000 bytes.
    """
    # Read when huggingface_hub is imported; its errors are printed by `ErrorReportingGroup`.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


for command in (
    compress, decompress, edit, concat, animate, info, verify, latents, compare, reconstruct, index,
    search, classify, models, download, publish, train, serve,
):
    main.add_command(command)
