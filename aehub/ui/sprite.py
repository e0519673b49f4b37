"""Animate my sprite: one still picture of a character in, its walk in four directions out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from aehub import hub
from aehub.animate.keyframes import read_picture
from aehub.animate.motion import DIRECTIONS, Sprites
from aehub.animate.render import open_renderer
from aehub.animate.sheet import sprite_sheet, walk_description
from aehub.animate.square import enlarged
from aehub.animate.stride import STEP_SECONDS
from aehub.errors import InputError
from aehub.models.architectures import SPRITE_ANIMATION
from aehub.ui import running
from aehub.ui.guard import gpu, told
from aehub.ui.keys import HERE
from aehub.ui.limits import Context
from aehub.ui.words import empty, hint, notes

STEP_MS = round(1000 * STEP_SECONDS)
# Seen from the front first: that is the still that was given.
_SHOWN = ("down", "left", "up", "right")
_GIF_SIDE = 192
_EMPTY = empty("Nobody walks yet", "Drop a character that looks at you, on a ground that is "
               "transparent or of one colour. Or ask for a new one.", small=True)


def build(context: Context) -> None:
    """The panel, inside whatever block is open."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            if not model_name():
                gr.HTML(hint(_absent()), elem_id="sprite-absent")
            still = gr.File(label="One still, front-facing, PNG", height=132, elem_id="still")
            new = gr.Button("A new character", elem_id="new-character")
            steps = gr.Slider(2, 32, 8, step=1, label="Steps per cycle", buttons=[],
                              elem_id="steps", info="The model learnt from 8")
        with gr.Column(scale=8, min_width=320):
            stage = gr.HTML(_EMPTY, elem_id="walkers")
            with gr.Row(visible=False, elem_classes="ae-shelf") as shelf:
                sheet = gr.DownloadButton("Sheet .png", variant="primary", elem_id="get-sprites",
                                          min_width=90)
                described = gr.DownloadButton("Frames .json", elem_id="get-frames", min_width=90)
                gif = gr.DownloadButton("Walk .gif", elem_id="get-gif", min_width=90)

    place = {**running.place(stage), "api_visibility": "private"}
    given = [sheet, described, gif, stage, shelf]
    gr.on([still.change, steps.release], _walker(context), [still, steps], given, **place)
    new.click(_newcomer(context), None, still, **place)


def model_name() -> str:
    """Name of the model that makes sprites walk; empty if none is on this machine."""
    return next((entry.name for entry in hub.list_models(states=HERE)
                 if entry.task == SPRITE_ANIMATION), "")


def _absent() -> str:
    return ("The model that makes sprites walk, sprite-motion, is not on this machine; download "
            "it in the tab Models.")


def _model() -> Any:
    name = model_name()
    if not name:
        raise InputError(_absent())
    return hub.load(name)


def _newcomer(context: Context) -> Any:
    @told
    @gpu
    def newcomer() -> str:
        """A still of a character that never was, as a file."""
        model: Sprites = _model()
        seed = secrets.randbelow(1_000_000)
        with context.jobs.new() as folder:
            path = folder / f"character-{seed}.png"
            Image.fromarray(model.decode(model.sample([seed]))[0]).save(path)
        return str(path)

    return newcomer


def _walker(context: Context) -> Any:
    @told
    @gpu
    def walk(still: str | None, steps: float) -> list[Any]:
        """The walk cycle of a still, as a sheet, its JSON and an animation."""
        if still is None:
            return [None, None, None, _EMPTY, gr.update(visible=False)]
        picture = read_picture(Path(still), context.limits.picture)
        model: Sprites = _model()
        cell = model.placed(picture, Path(still).name)
        cycles, name = model.cycles(cell, int(steps)), f"{Path(still).stem}.walk"
        with context.jobs.new() as folder:
            sheet, described, gif = (folder / f"{name}{end}" for end in (".png", ".json", ".gif"))
            Image.fromarray(sprite_sheet(cycles)).save(sheet)
            said = walk_description(sheet.name, cycles, DIRECTIONS, STEP_MS)
            described.write_text(json.dumps(said, indent=1))
            _write_gif(gif, cycles)
        shown = _page(context.jobs.address(sheet), cycles, cell.notes)
        return [*map(str, (sheet, described, gif)), shown, gr.update(visible=True)]

    return walk


def _write_gif(path: Path, cycles: np.ndarray) -> None:
    """The four directions side by side, walking."""
    times = max(1, _GIF_SIDE // cycles.shape[2])
    rows = [cycles[DIRECTIONS.index(name), 1:] for name in _SHOWN]
    with open_renderer(path, Fraction(1000, STEP_MS)) as renderer:
        for frame in np.concatenate(rows, 2):
            renderer.write(enlarged(frame, times))


def _page(address: str, cycles: np.ndarray, remarks: Sequence[str]) -> str:
    steps = cycles.shape[1] - 1
    # The sheet itself walks: steps of a background as large as it, one cell shown.
    ways = (f"--columns:{steps + 1};--from:{100 / steps:.4f}%;--to:{100 + 100 / steps:.4f}%;"
            f"animation:ae-walk {steps * STEP_MS / 1000:g}s steps({steps}) infinite;"
            f"background-image:url({escape(address)})")
    walkers = "".join(
        f'<figure><div class="ae-walker" role="img" aria-label="Walking {name}" '
        f'style="{ways};background-position-y:{100 * DIRECTIONS.index(name) / 3:.4f}%"></div>'
        f"<figcaption>{name}</figcaption></figure>" for name in _SHOWN)
    side = cycles.shape[2]
    return (f'<div class="ae-results"><div class="ae-walkers">{walkers}</div>'
            f'<figure class="ae-sheet"><img src="{escape(address)}" alt="The sheet: four rows, '
            f'standing and {steps} steps each"><figcaption>The sheet: up, left, down, right; '
            f"standing, then {steps} steps of {STEP_MS} ms; cells of {side}×{side} pixels"
            f"</figcaption></figure>{notes(remarks)}</div>")
