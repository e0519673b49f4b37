"""The `aehub` command: every verb is one public function, with words around it."""

from __future__ import annotations

import click

from aehub import __version__
from aehub.cli.compare import compare
from aehub.cli.files import compress, decompress
from aehub.cli.guard import GuardedGroup
from aehub.cli.serve import serve
from aehub.cli.show import info, models, verify
from aehub.cli.train import train


@click.group(cls=GuardedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aehub")
def main() -> None:
    """Compress video with pretrained autoencoders.

    A file named - is a pipe. Sizes count in thousands: 1 kB is 1000 bytes.
    """


for command in (compress, decompress, info, verify, compare, models, train, serve):
    main.add_command(command)
