"""`aehub models`, `aehub download`, `aehub publish`, and `aehub serve`, the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from aehub.cli import options
from aehub.cli.console import collect_as_usual, progress_bar
from aehub.cli.options import bytes_text, print_json, print_notes
from aehub.errors import InputError
from aehub.proxies import usable_proxies
from aehub.results import ProgressCallback

_LARGE = 64 << 20
"""Bytes from which on a download is announced."""
_endpoint = click.option(
    "--endpoint", metavar="URL", help="A hub, or a running AEHub; by default HF_ENDPOINT."
)


@click.command()
@_endpoint
@click.option("--published", is_flag=True, help="List well-known autoencoders on hubs instead.")
@options.as_json
def models(endpoint: str | None, published: bool, as_json: bool) -> None:
    """List every known model and its state: bundled, cached or remote."""
    from aehub import hub

    if published:
        _list_published(as_json)
        return

    entries = hub.list_models(endpoint=endpoint)
    print_notes(hub.record_errors())
    if as_json:
        print_json({"models": [entry.to_json() for entry in entries]})
        return
    for entry in entries:
        count = f"{entry.parameters:,} parameters" if entry.parameters else ""
        size = bytes_text(entry.bytes) if entry.bytes else ""
        facts = ", ".join(filter(None, [count, size]))
        click.echo(f"{entry.name:<16} {entry.state:<8} {entry.task:<20} {facts}".rstrip())
        if entry.summary:
            click.echo(f"{'':<16} {entry.summary}")


def _list_published(as_json: bool) -> None:
    from aehub.hub import known_models

    if as_json:
        print_json({"models": [model.to_json() for model in known_models()]})
        return
    for model in known_models():
        facts = (f"{model.compression:g}:1" if model.compression else "",
                 bytes_text(model.bytes) if model.bytes else "", model.licence or "")
        click.echo(f"{model.repo:<56} {model.kind:<6} {', '.join(filter(None, facts))}".rstrip())


@click.command()
@click.argument("name")
@click.option("--to", metavar="DIR", type=click.Path(path_type=Path), help="Put the files there.")
@_endpoint
@click.option("--force", is_flag=True, help="Fetch again what is cached; overwrite files in DIR.")
def download(name: str, to: Path | None, endpoint: str | None, force: bool) -> None:
    """Fetch the model NAME, verify it and print its folder.

    NAME is a known name or a hub id: org/name, or org/name@revision.
    """
    from aehub import hub

    with progress_bar("downloading") as progress:
        folder = hub.download(name, to=to, endpoint=endpoint, force=force,
                              progress=_size_first(progress))
    click.echo(click.format_filename(folder))


def _size_first(progress: ProgressCallback) -> ProgressCallback:
    """Progress that states the size of a large download before its first byte."""
    shown: list[int] = []

    def show(done: int, total: int) -> None:
        if not shown and total > _LARGE:
            click.echo(f"fetching {bytes_text(total)}; loaded it takes up to twice as much memory",
                       err=True)
        shown.append(done)
        progress(done, total)

    return show


@click.command()
@click.argument("name")
@click.option("--repo", required=True, metavar="ORG/NAME", help="The repository to put it in.")
@_endpoint
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--measure",
    "clips",
    multiple=True,
    metavar="CLIP",
    help="Measure on this clip, or folder of clips, and write a card of it; may be repeated.",
)
@click.option(
    "--codecs", default="x264-medium", show_default=True, help="What to measure it against."
)
@options.threads
@options.as_json
def publish(
    name: str,
    repo: str,
    endpoint: str | None,
    private: bool,
    clips: tuple[str, ...],
    codecs: str,
    as_json: bool,
) -> None:
    """Publish the model NAME, a bundled name or a folder, on a hub with its card.

    The token is that of hf auth login, or HF_TOKEN.
    """
    from aehub import hub

    codec = _codec_name(name) if clips else None

    def measured() -> dict[str, Any]:
        from aehub.measure import compare

        with progress_bar("measuring") as progress:
            comparison = compare(list(clips), f"{codecs},{codec}", progress=progress)
        comparison.check()
        return comparison.to_dict()

    result = hub.publish(
        name, repo, endpoint=endpoint, private=private, codec=codec,
        measured=measured if clips else None,
    )
    if as_json:
        print_json(result.to_json())
    else:
        click.echo(f"{result.url} holds {name} at {result.commit}, tag {result.tag}")


def _codec_name(name: str) -> str:
    """The model's name in a list of codecs, where a folder needs a slash."""
    if "," in name:
        raise InputError(f"{name!r} has a comma and cannot be measured; rename the folder.")
    return f"./{name}" if "/" not in name and Path(name).is_dir() else name


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="By default the first free from 7860.")
@click.option("--model", "folders", multiple=True, metavar="FOLDER",
              help="Serve the model in this folder too; may be given several times.")
@click.option("--library", metavar="DIR", type=click.Path(path_type=Path),
              help="Let visitors search the clips in this folder; it is indexed at the start.")
@options.threads
def serve(port: int | None, folders: tuple[str, ...], library: Path | None) -> None:
    """Serve the demo page, and the bundled models to other machines, until interrupted."""
    if library is not None:
        os.environ["AEHUB_LIBRARY"] = str(library)
    if folders:
        from aehub import hub

        found = [str(hub.find(Path(folder)).absolute()) for folder in folders]
        known = filter(None, [os.environ.get("AEHUB_WEIGHTS")])
        os.environ["AEHUB_WEIGHTS"] = os.pathsep.join([*known, *found])
    # Telemetry off; read when gradio and huggingface_hub are imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from aehub.ui import environment

    environment.check()
    # Gradio creates HTTP clients when it is imported.
    with usable_proxies(none=True):
        from aehub.ui.server import serve as run
    collect_as_usual()
    run(port=port)
