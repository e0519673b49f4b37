"""Models: every known one with its card, its numbers, its files and how to use it."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

import aehub
from aehub.ui.guard import told
from aehub.ui.routes import MODEL_FILES
from aehub.ui.words import bytes_text, tiles

if TYPE_CHECKING:
    from aehub.ui.page import Context

TITLE = "Models"
_LICENCE = re.compile(r"^license:\s*(\S+)", re.MULTILINE)


def build(context: Context) -> None:
    """The panel, inside whatever block is open."""
    for entry in aehub.list_models():
        card = _card(entry)
        with gr.Column():
            gr.HTML(_words(entry, card))
            with gr.Accordion("Use this model", open=True):
                gr.Code(snippet(entry), language="python", show_label=False, interactive=False,
                        elem_id=f"snippet-{entry.name}")
            if card:
                with gr.Accordion("The whole card", open=False):
                    gr.Markdown(_body(card), elem_classes="ae-prose")
    gr.api(_listed, api_name="models")


@told
def _listed() -> list[dict[str, Any]]:
    """List the models of this server.

    Returns:
        For each: name, task, parameters, bytes, state, summary, and addresses of its files.
    """
    listed = []
    for entry in aehub.list_models():
        facts = entry.to_json()
        facts.pop("folder")
        files = [name for name in MODEL_FILES if (Path(entry.folder) / name).is_file()]
        listed.append({**facts, "files": [f"/ae/models/{entry.name}/{name}" for name in files]})
    return listed


def snippet(entry: aehub.ModelEntry) -> str:
    """Lines that run as pasted, on a clip they make themselves."""
    if entry.task != "video-compression":
        return f'import aehub\n\nmodel = aehub.load("{entry.name}")\nprint(model)\n'
    return f'''import aehub
import numpy as np

# Your clip: a path such as "clip.mp4", or frames as here.
frames = np.zeros((8, 96, 128, 3), np.uint8)

made = aehub.compress(frames, "clip.aev", model="{entry.name}", quality=50, force=True)
print(made.bytes, "bytes,", made.psnr, "dB")

for frame in aehub.decompress("clip.aev"):
    print(frame.shape)
'''


def _card(entry: aehub.ModelEntry) -> str:
    path = Path(entry.folder) / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _body(card: str) -> str:
    """A card without its front matter."""
    return card.split("---", 2)[-1].strip() if card.startswith("---") else card


def _words(entry: aehub.ModelEntry, card: str) -> str:
    licence = _LICENCE.search(card)
    numbers = tiles([
        ("Parameters", f"{entry.parameters:,}", entry.task.replace("-", " ")),
        ("Weights", bytes_text(entry.bytes), "safetensors"),
        ("Licence", licence[1].title() if licence else "Apache-2.0", "code and weights"),
        ("Where", entry.state, "no download needed" if entry.state == "bundled" else ""),
    ])
    links = "".join(
        f'<a href="ae/models/{escape(entry.name)}/{name}" download>{name}</a>'
        for name in MODEL_FILES if (Path(entry.folder) / name).is_file())
    return (f'<div class="ae-card"><h2>{escape(entry.name)}</h2>'
            f"<p>{escape(entry.summary)}</p>{numbers}"
            f'<div class="ae-links">{links}</div></div>')
