"""Models: cards of all known models, with numbers, files, downloads and a snippet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from aehub import hub
from aehub.errors import InputError
from aehub.ui import job_progress
from aehub.ui.errors import errors_shown
from aehub.ui.formatting import bytes_text, table, tiles
from aehub.ui.limits import Context
from aehub.weights.model_folder import CARD, CONFIG, WEIGHTS

TITLE = "Models"
_FILE_URL = "aehub/{}/resolve/main"
"""Path on this server, as a hub, of the files of a bundled model."""
_LICENCE = re.compile(r"^license:\s*(\S+)", re.MULTILINE)
_PICTURE = re.compile(r"\]\(([A-Za-z0-9_-]+\.png)\)")
_MOST_MB = 5000
"""Megabytes of weights from which on a filter by size shows all."""
_PUBLISHED_NOTE = (
    "Pixels : latents are numbers in RGB for one in the latents. Facts are as stated by their "
    "sources (aehub models --published --json names them); a dash is what none states. Each class "
    "was tried here with random weights; of the published weights TAEF2 alone. Autoencoders of "
    "diffusers need the extra aehub[diffusers].")
_STATE_NOTES = {
    "bundled": "no download needed",
    "cached": "downloaded before, no network needed",
    "remote": "on a hub",
}


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    for entry in hub.list_models():
        card = _read_card(entry)
        with gr.Column():
            summary = gr.HTML(_card_html(entry, card))
            if entry.state == "remote":
                _download_button(entry, summary)
            with gr.Accordion("Use this model", open=entry.state == "bundled"):
                gr.Code(snippet(entry), language="python", show_label=False, interactive=False,
                        elem_id=f"snippet-{_slug(entry.name)}")
            if card:
                with gr.Accordion("Full model card", open=False):
                    _show_card(entry, card)
    _published()
    gr.api(_list_models, api_name="models")


def _published() -> None:
    """Build the table of well-known autoencoders, and the button that fetches one."""
    with gr.Column():
        gr.HTML("<h2>Published autoencoders</h2>")
        with gr.Row():
            kind = gr.Radio([("All", ""), ("Images", "image"), ("Video", "video")], value="",
                            label="Kind", elem_id="published-kind")
            most = gr.Slider(10, _MOST_MB, _MOST_MB, step=10, label="Weights of at most, MB",
                             buttons=[], elem_id="published-size")
        listed = gr.HTML(_published_table("", _MOST_MB), elem_id="published")
        name = gr.Dropdown([model.repo for model in hub.known_models()], label="Fetch",
                           elem_id="published-name",
                           info="Other models are fetched by aehub download org/name")
        progress = gr.HTML(visible=False)
        get = gr.Button("Download", elem_id="published-get")
        get.click(_published_handler, name, [progress, get], api_visibility="private",
                  concurrency_id="fetch", concurrency_limit=1, show_progress="hidden",
                  trigger_mode="once")
    gr.on([kind.change, most.release], _published_table, [kind, most], listed,
          **job_progress.IMMEDIATE)


def _published_table(kind: str, most: float) -> str:
    # Models of unknown size pass no filter by size.
    models = [model for model in hub.known_models() if kind in ("", model.kind)
              and (most >= _MOST_MB or (model.bytes or float("inf")) <= 1e6 * most)]
    rows = [[model.repo, bytes_text(model.bytes) if model.bytes else "–",
             f"{model.compression:g}:1" if model.compression else "–", model.licence or "–",
             model.class_name] for model in models]
    return table(["Repository", "Weights", "Pixels : latents", "Licence", "Class"], rows,
                 caption=_PUBLISHED_NOTE)


@errors_shown
def _published_handler(name: str | None) -> Iterator[tuple[Any, Any]]:
    if name not in [model.repo for model in hub.known_models()]:
        raise InputError("no model of the list is named; choose one.")
    yield from job_progress.download_updates(name)
    yield (gr.update(value=f"<p>{escape(name)} is here; reload the page to choose it.</p>",
                     visible=True), gr.update(interactive=True))


def _download_button(entry: hub.ModelEntry, summary: gr.HTML) -> None:
    """Build the button that downloads a model, and its progress."""
    progress = gr.HTML(visible=False)
    get = gr.Button("Download", variant="primary", elem_id=f"get-{_slug(entry.name)}")
    get.click(_download_handler(entry.name), None, [summary, progress, get],
              api_visibility="private", concurrency_id="fetch", concurrency_limit=1,
              show_progress="hidden", trigger_mode="once")

    def shown() -> tuple[Any, Any]:
        # The model may have been downloaded since the page was built.
        now = _current_entry(entry.name)
        return _card_html(now, _read_card(now)), gr.update(visible=now.state == "remote")

    gr.on(None, shown, None, [summary, get], api_visibility="private", show_progress="hidden")


def _download_handler(name: str) -> Any:
    @errors_shown
    def fetch() -> Iterator[tuple[Any, Any, Any]]:
        with closing(job_progress.download_updates(name)) as updates:
            for update in updates:
                yield gr.skip(), *update
        entry = _current_entry(name)
        yield (_card_html(entry, _read_card(entry)), gr.update(visible=False),
               gr.update(visible=False))

    return fetch


def _current_entry(name: str) -> hub.ModelEntry:
    """Return the current entry of a model, wherever the model is."""
    missing = hub.ModelEntry(name, "", 0, 0, "remote", "", "")
    return next((entry for entry in hub.list_models() if entry.name == name), missing)


@errors_shown
def _list_models() -> list[dict[str, Any]]:
    """List the models of this server.

    Returns:
        For each: name, task, parameters, bytes, state, summary, and URLs of its files.
    """
    listed = []
    for entry in hub.list_models():
        facts = entry.to_json()
        facts.pop("folder")
        listed.append({**facts, "files": [f"/{address}" for address in _file_urls(entry).values()]})
    return listed


def snippet(entry: hub.ModelEntry) -> str:
    """Return code that runs as pasted, on a clip that it makes itself."""
    if entry.task and not entry.compresses and not entry.planner:
        return f'''import aehub
import numpy as np

# Your clips: paths such as "clip.mp4", and folders of them; here one that is made first.
frames = np.random.default_rng(0).integers(0, 256, (8, 9, 16, 3), np.uint8)
frames = frames.repeat(12, axis=1).repeat(12, axis=2)
aehub.compress(frames, "clip.aev", force=True)

aehub.index("clip.aev", "index", model="{entry.name}")
for match in aehub.search(frames[2:6, :, ::-1], "index", model="{entry.name}"):
    print(match.path, match.start, match.orientation, match.score)
'''
    if entry.task and not entry.compresses:
        return f'''import aehub

# Each seed gives a generated picture; for your own use keyframes=["a.png", "b.png"].
made = aehub.animate("walk.mp4", model="{entry.name}", seeds=[1, 2], seconds=2, force=True)
print(made.frames, "frames of", made.width, "x", made.height)
'''
    return f'''import aehub
import numpy as np

# Your clip: a path such as "clip.mp4", or frames as here.
frames = np.zeros((8, 96, 128, 3), np.uint8)

made = aehub.compress(frames, "clip.aev", model="{entry.name}", quality=50, force=True)
print(made.bytes, "bytes,", made.psnr, "dB")

for frame in aehub.decompress("clip.aev"):
    print(frame.shape)
'''


def _licence(identifier: str) -> str:
    return identifier.title() if identifier == "apache-2.0" else identifier.upper()


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name)


def _read_card(entry: hub.ModelEntry) -> str:
    path = Path(entry.folder) / "README.md"
    return path.read_text(encoding="utf-8") if entry.folder and path.is_file() else ""


def _show_card(entry: hub.ModelEntry, card: str) -> None:
    """Show the card of a bundled model formatted; others as plain text, so that nothing loads."""
    body = card.split("---", 2)[-1].strip() if card.startswith("---") else card
    if entry.state == "bundled":
        url = f"]({_FILE_URL.format(entry.name)}/\\1)"
        gr.Markdown(_PICTURE.sub(url, body), elem_classes="ae-prose")
    else:
        gr.Code(body, language="markdown", show_label=False, interactive=False)


def _file_urls(entry: hub.ModelEntry) -> dict[str, str]:
    """Return the paths of the files that this server offers: those of bundled models."""
    if entry.state != "bundled":
        return {}
    return {name: f"{_FILE_URL.format(entry.name)}/{name}" for name in (CONFIG, WEIGHTS, CARD)
            if (Path(entry.folder) / name).is_file()}


def _card_html(entry: hub.ModelEntry, card: str) -> str:
    licence = _LICENCE.search(card)
    unknown = "Apache-2.0" if entry.state == "bundled" else "unknown"
    numbers = tiles([
        ("Parameters", f"{entry.parameters:,}" if entry.parameters else "–",
         entry.task.replace("-", " ")),
        ("Weights", bytes_text(entry.bytes) if entry.bytes else "–", "safetensors"),
        ("Licence", _licence(licence[1]) if licence else unknown, "code and weights"),
        ("Where", entry.state, _STATE_NOTES[entry.state]),
    ])
    links = "".join(f'<a href="{escape(address)}" download>{name}</a>'
                    for name, address in _file_urls(entry).items())
    return (f'<div class="ae-card"><h2>{escape(entry.name)}</h2>'
            f"<p>{escape(entry.summary)}</p>{numbers}"
            f'<div class="ae-links">{links}</div></div>')
