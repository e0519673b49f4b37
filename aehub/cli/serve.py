"""`aehub serve`: the demo page on a port of this machine."""

from __future__ import annotations

import os

import click

from aehub.cli import options
from aehub.proxies import usable_proxies


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="By default the first free from 7860.")
@options.threads
def serve(port: int | None) -> None:
    """Serve the demo page, and the bundled models to other machines, until interrupted."""
    # Read when gradio and huggingface_hub are imported: nothing calls home.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from aehub.ui import environment

    environment.check()
    # Gradio makes HTTP clients when it is imported.
    with usable_proxies(none=True):
        from aehub.ui.server import serve as run
    run(port=port)
