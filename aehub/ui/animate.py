"""Animate: latent walks between pictures, and walk cycles of a sprite from one still picture."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from aehub import hub
from aehub.animation.keyframes import read_picture
from aehub.animation.path import EASINGS
from aehub.animation.render import open_renderer
from aehub.animation.sheet import cycle_sheet_json, sprite_sheet
from aehub.animation.sprite_walk import STEP_SECONDS
from aehub.errors import AEHubError, InputError
from aehub.generators.base import enlarge
from aehub.generators.sprite.model import DIRECTIONS, SpriteAnimator
from aehub.ui import animate_job, job_progress, keyframes
from aehub.ui.errors import errors_shown, page_message
from aehub.ui.formatting import empty_state, hint, notes, stopped_state
from aehub.ui.job_progress import IMMEDIATE, PRIVATE
from aehub.ui.keyframes import LOCAL_STATES, Key
from aehub.ui.limits import Context
from aehub.ui.zero_gpu import gpu

TITLE = "Animate"
STEP_MS = round(1000 * STEP_SECONDS)
"""Duration of a step of a walk cycle."""
_DIRECTION_ORDER = ("down", "left", "up", "right")
"""Directions as displayed: first the front, which is the given still."""
_GIF_SIDE = 192
"""Side of a direction in the GIF, in pixels, approached from below by a whole factor."""
_EMPTY = empty_state(
    "Nothing animated yet", "Pick pictures and press Make it: each turns into the next, and the "
    "last leads back to the first.", small=True)
_NO_SPRITE = empty_state(
    "No walk cycle yet", "Drop a character that faces you, on a background that is transparent or "
    "of one colour. Or ask for a new one.", small=True)


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    with gr.Tabs():
        with gr.Tab("Walk between pictures", id="walk", elem_id="tab-walk"):
            _build_latent_walk(context)
        with gr.Tab("Animate my sprite", id="sprite", elem_id="tab-sprite"):
            _build_sprite(context)


def _build_latent_walk(context: Context) -> None:
    # Handlers change this list in place, when their slow part is done: two at once lose nothing.
    chosen = gr.State([])
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320, elem_classes="ae-controls"):
            model, files, parts = _keyframe_controls()
        with gr.Column(scale=6, min_width=320, elem_classes="ae-controls"):
            controls = _timing_controls(context, model)
            with gr.Row(elem_classes="ae-go"):
                make = gr.Button("Make it", variant="primary", elem_id="make", scale=3,
                                 min_width=120)
                preview = gr.Button("Preview", elem_id="preview", scale=2, min_width=80)
                stop = gr.Button("Stop", elem_id="stop-walk", scale=1, min_width=64)
            display = gr.HTML(_EMPTY, elem_id="walked")
            with gr.Row(visible=False, elem_classes="ae-shelf") as downloads:
                file = gr.DownloadButton("Animation", variant="primary", elem_id="get-walk",
                                         min_width=90)
                recipe = gr.DownloadButton("Recipe .json", elem_id="get-recipe", min_width=90)
                with gr.Column(visible=False, min_width=90) as sheet_column:
                    sheet = gr.DownloadButton("Sheet .json", elem_id="get-sheet")
            facts = gr.JSON(visible=False, label="facts")
    seeds, *others = controls
    inputs = [model, seeds, files, *others, chosen]
    outputs = [file, facts, recipe, sheet, display, downloads, sheet_column]
    options = {**job_progress.model_event(display), "trigger_mode": "once"}
    made = make.click(animate_job.runner(context), inputs, outputs, api_name="animate", **options)
    previewed = preview.click(animate_job.runner(context, preview=True), inputs, outputs,
                              api_visibility="private", **options)
    job_progress.connect_stop(stop, [made, previewed], display,
                              stopped_state("make it again", small=True), downloads)
    _connect_events(context, model, files, chosen, parts)


def _keyframe_controls() -> tuple[Any, Any, dict[str, Any]]:
    """Build model, candidates, timeline, sliders and own pictures."""
    names = keyframes.animation_models()
    model = gr.Dropdown(names, value=names[0] if names else None, label="Model",
                        elem_id="walk-model", info=_about(names[0] if names else ""))
    with gr.Row(elem_classes="ae-title"):
        gr.HTML('<p class="ae-label">Click pictures to use them as keyframes</p>')
        more = gr.Button("More", elem_id="more-candidates", size="sm", min_width=64, scale=0)
    grid = gr.HTML(hint("Candidates are drawn when this tab is opened."), elem_id="candidates",
                   js_on_load=keyframes.JS_PICK)
    with gr.Row(elem_classes="ae-title"):
        gr.HTML('<p class="ae-label">Timeline</p>')
        clear = gr.Button("Clear", elem_id="clear-keys", size="sm", min_width=64, scale=0)
    strip = gr.HTML(keyframes.timeline_html([]), elem_id="timeline", js_on_load=keyframes.JS_PICK)
    with gr.Accordion("Shape the picked picture", open=True, elem_id="shape",
                      elem_classes="ae-fold"):
        with gr.Row(equal_height=False, elem_classes="ae-shape"):
            with gr.Column(scale=2, min_width=120):
                live = gr.HTML(keyframes.LIVE_EMPTY, elem_id="live")
                add = gr.Button("Add to the timeline", elem_id="add-shaped", size="sm")
            with gr.Column(scale=3, min_width=150, elem_classes="ae-sliders"):
                sliders = [gr.Slider(-keyframes.SLIDER_RANGE, keyframes.SLIDER_RANGE, 0, step=0.1,
                                     buttons=[], label=f"Direction {number}",
                                     elem_id=f"slide-{number}")
                           for number in range(1, keyframes.SLIDERS + 1)]
    files = gr.File(label="Own pictures as keyframes, or a clip", file_count="multiple", height=132,
                    elem_id="own")
    return model, files, {"more": more, "grid": grid, "strip": strip, "clear": clear,
                          "live": live, "add": add, "sliders": sliders}


def _timing_controls(context: Context, model: gr.Dropdown) -> list[Any]:
    """Build the settings of the animation, in the order of the arguments, seeds first."""
    limit = context.limits.seconds
    with gr.Row():
        seconds = gr.Slider(0.5, limit, min(4, limit), step=0.5, label="Seconds", buttons=[],
                            elem_id="seconds", min_width=120)
        fps = gr.Slider(5, animate_job.MAX_FPS, 30, step=1, label="Frames per second", buttons=[],
                        elem_id="fps", min_width=120)
    ending = gr.Radio(list(animate_job.ENDINGS), value="loop", label="At the end", elem_id="ending")
    with gr.Row():
        path = gr.Dropdown(list(animate_job.PATHS), value="auto", label="Path", elem_id="path",
                           min_width=120)
        easing = gr.Dropdown(list(EASINGS), value="linear", label="Easing", elem_id="easing",
                             min_width=120)
    format = gr.Radio(list(animate_job.FORMATS), value="mp4", label="As", elem_id="walk-format")
    with gr.Row(visible=keyframes.draws_characters(model.value)) as characters:
        direction = gr.Dropdown([*DIRECTIONS, "all"], value="down", label="Direction",
                                elem_id="direction", min_width=120)
        steps = gr.Slider(2, 32, 8, step=1, label="Steps per cycle", buttons=[],
                          elem_id="walk-steps", min_width=120)
    with gr.Accordion("Size, variety, seeds, timing", open=False, elem_classes="ae-fold"):
        size = gr.Dropdown(list(animate_job.SIZES), value="256", label="Side, px",
                           elem_id="walk-size",
                           info="In whole factors; a codec keeps the size of your pictures")
        truncation = gr.Slider(0, 1.5, 1, step=0.05, label="Truncation", buttons=[],
                               elem_id="truncation",
                               info="Below 1: closer to the mean picture, less variety")
        seeds = gr.Textbox("1, 2, 3, 4", label="Seeds", elem_id="seeds",
                           info="Used while the timeline is empty")
        parts = gr.Textbox("", label="Seconds of each part", elem_id="parts",
                           placeholder="1, 0.5, 2",
                           info="From each picture to the next, instead of the seconds above")
        beside = gr.Checkbox(False, label="Beside a plain cross-fade of the same pictures",
                             elem_id="beside")
    model.change(lambda name: gr.update(visible=keyframes.draws_characters(name)), model,
                 characters, **IMMEDIATE)
    return [seeds, seconds, fps, path, easing, ending, truncation, size, format, direction, steps,
            beside, parts]


def _connect_events(
    context: Context, model: Any, files: Any, chosen: gr.State, parts: dict[str, Any]
) -> None:
    """Connect buttons, clicks and sliders to their handlers."""
    number, base = gr.State(0), gr.State(None)
    grid, strip, live, sliders = (parts[name] for name in ("grid", "strip", "live", "sliders"))
    candidates = [grid, number]
    # One at a time: candidates of the previous model must not arrive after those of the next.
    options: dict[str, Any] = {**PRIVATE, "concurrency_id": "candidates", "concurrency_limit": 1}
    context.shared["tab"].select(_show_candidates, [model, number], [*candidates, model], **options)
    parts["more"].click(_next_candidates, [model, number], candidates, **options)
    model.change(_change_model, [model, chosen],
                 [*candidates, chosen, strip, base, live, *sliders, model], **options)
    grid.click(_pick_candidate, [model, chosen], [chosen, strip, base, live, *sliders], **PRIVATE)
    strip.click(_edit_timeline, chosen, [chosen, strip], **IMMEDIATE)
    parts["clear"].click(_clear_timeline, chosen, [chosen, strip], **IMMEDIATE)
    gr.on([slider.input for slider in sliders], _move_sliders, [model, base, *sliders], live,
          trigger_mode="always_last", **IMMEDIATE)
    parts["add"].click(_add_shaped, [model, base, chosen, *sliders], [chosen, strip], **PRIVATE)
    files.upload(_add_files_handler(context), [files, chosen], [chosen, strip],
                 concurrency_limit=1, **PRIVATE)


def _about(name: str) -> str:
    """Return one sentence about a model, or that there is none."""
    if not name:
        return "No model that animates is on this machine."
    return next((entry.summary for entry in hub.list_models() if entry.name == name), "")


def _candidates(name: str | None, number: int) -> str:
    """Return the grid of a page of seeds, or an error as a hint."""
    first = 1 + keyframes.CANDIDATES * number
    try:
        keys = keyframes.seed_keys(name or "", range(first, first + keyframes.CANDIDATES))
    except AEHubError as error:
        return hint(page_message(error))
    return keyframes.grid_html(keys, crisp=keyframes.is_pixel_art(name or ""))


def _show_candidates(name: str | None, number: int) -> tuple[Any, int, Any]:
    # Models may have been downloaded since the page was built.
    return _candidates(name, number), number, gr.update(choices=keyframes.animation_models())


def _next_candidates(name: str | None, number: int) -> tuple[str, int]:
    return _candidates(name, number + 1), number + 1


def _change_model(name: str | None, chosen: list[Key]) -> list[Any]:
    """Show candidates of another model; drop keyframes of the previous one, except files."""
    candidates = _candidates(name, 0)
    chosen[:] = [key for key in chosen if key.file is not None]
    return [candidates, 0, chosen, keyframes.timeline_html(chosen), None, keyframes.LIVE_EMPTY,
            *[0] * keyframes.SLIDERS, gr.update(info=_about(name or ""))]


@errors_shown
def _pick_candidate(name: str, chosen: list[Key], event: gr.EventData) -> list[Any]:
    seed = int(event.number)
    base = keyframes.seed_latent(name, seed)
    shown = keyframes.live_html(name, keyframes.shifted_latent(name, base, []))
    _extend(chosen, keyframes.seed_keys(name, [seed]))
    return [chosen, keyframes.timeline_html(chosen), base, shown, *[0] * keyframes.SLIDERS]


def _edit_timeline(chosen: list[Key], event: gr.EventData) -> tuple[list[Key], str]:
    """Remove the clicked keyframe, or move it one earlier."""
    number = int(event.number)
    if 0 <= number < len(chosen):
        key = chosen.pop(number)
        if event.earlier and number:
            chosen.insert(number - 1, key)
    return chosen, keyframes.timeline_html(chosen)


def _clear_timeline(chosen: list[Key]) -> tuple[list[Key], str]:
    chosen.clear()
    return chosen, keyframes.timeline_html(chosen)


@errors_shown
def _move_sliders(name: str, base: list[float] | None, *values: float) -> str:
    return keyframes.live_html(name, keyframes.shifted_latent(name, base, values))


@errors_shown
def _add_shaped(
    name: str, base: list[float] | None, chosen: list[Key], *values: float
) -> tuple[list[Key], str]:
    latent = keyframes.shifted_latent(name, base, values)
    _extend(chosen, [keyframes.shaped_key(name, latent)])
    return chosen, keyframes.timeline_html(chosen)


def _add_files_handler(context: Context) -> Any:
    @errors_shown
    def add(files: list[str] | None, chosen: list[Key]) -> tuple[list[Key], str]:
        with context.folders.new() as folder:
            _extend(chosen, keyframes.file_keys(files or [], folder, context.limits))
        return chosen, keyframes.timeline_html(chosen)

    return add


def _extend(chosen: list[Key], added: list[Key]) -> None:
    if len(chosen) + len(added) > keyframes.MAX_KEYFRAMES:
        raise InputError(f"the timeline holds {keyframes.MAX_KEYFRAMES} keyframes; remove some "
                         "first.")
    chosen += added


def _build_sprite(context: Context) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            if not sprite_model_name():
                gr.HTML(hint(_missing_model_message()), elem_id="sprite-absent")
            still = gr.File(label="One still, front-facing, PNG", height=132, elem_id="still")
            new = gr.Button("A new character", elem_id="new-character")
            steps = gr.Slider(2, 32, 8, step=1, label="Steps per cycle", buttons=[],
                              elem_id="steps", info="The model was trained with 8")
        with gr.Column(scale=8, min_width=320):
            display = gr.HTML(_NO_SPRITE, elem_id="walkers")
            with gr.Row(visible=False, elem_classes="ae-shelf") as downloads:
                sheet = gr.DownloadButton("Sheet .png", variant="primary", elem_id="get-sprites",
                                          min_width=90)
                frames_json = gr.DownloadButton("Frames .json", elem_id="get-frames", min_width=90)
                gif = gr.DownloadButton("Walk .gif", elem_id="get-gif", min_width=90)

    options = {**job_progress.model_event(display), "api_visibility": "private"}
    outputs = [sheet, frames_json, gif, display, downloads]
    gr.on([still.change, steps.release], _walk_cycle_handler(context), [still, steps], outputs,
          **options)
    new.click(_new_character_handler(context), None, still, **options)


def sprite_model_name() -> str:
    """Return the name of the sprite model; empty if none is on this machine."""
    return next((entry.name for entry in hub.list_models(states=LOCAL_STATES)
                 if entry.planner == "cycle"), "")


def _missing_model_message() -> str:
    return "No model that animates sprites is on this machine; download one in the tab Models."


def _load_sprite_model() -> Any:
    name = sprite_model_name()
    if not name:
        raise InputError(_missing_model_message())
    return hub.load(name)


def _new_character_handler(context: Context) -> Any:
    @errors_shown
    @gpu
    def new_character() -> str:
        """Generate a still of a new character, as a file."""
        model: SpriteAnimator = _load_sprite_model()
        seed = secrets.randbelow(1_000_000)
        with context.folders.new() as folder:
            path = folder / f"character-{seed}.png"
            Image.fromarray(model.decode(model.sample([seed]))[0]).save(path)
        return str(path)

    return new_character


def _walk_cycle_handler(context: Context) -> Any:
    @gpu
    def drawn(still: str, steps: float) -> list[Any]:
        picture = read_picture(Path(still), context.limits.picture)
        model: SpriteAnimator = _load_sprite_model()
        cell = model.place_still(picture, Path(still).name)
        cycles, name = model.cycles(cell, int(steps)), f"{Path(still).stem}.walk"
        with context.folders.new() as folder:
            sheet, frames_json, gif = (folder / f"{name}{end}" for end in (".png", ".json", ".gif"))
            Image.fromarray(sprite_sheet(cycles)).save(sheet)
            description = cycle_sheet_json(sheet.name, cycles, DIRECTIONS, STEP_MS)
            frames_json.write_text(json.dumps(description, indent=1))
            _write_gif(gif, cycles)
        shown = _sprite_html(context.folders.url(sheet), cycles, cell.notes)
        return [*map(str, (sheet, frames_json, gif)), shown, gr.update(visible=True)]

    @errors_shown
    def walk_cycle(still: str | None, steps: float, request: gr.Request) -> Iterator[list[Any]]:
        """Make the walk cycle of a still: sprite sheet, its JSON and an animation."""
        if still is None:
            yield [None, None, None, _NO_SPRITE, gr.update(visible=False)]
            return
        # It takes a second, with the model that the candidates are drawn with, too: in this
        # process, but in its turn.
        with context.jobs.turn(request, "walk-cycle", lambda card: [
                *[gr.skip()] * 3, card, gr.update(visible=False)]) as turn:
            yield from turn.wait()
            yield drawn(still, steps)

    return walk_cycle


def _write_gif(path: Path, cycles: np.ndarray) -> None:
    """Write the walk cycles of the four directions side by side."""
    factor = max(1, _GIF_SIDE // cycles.shape[2])
    rows = [cycles[DIRECTIONS.index(name), 1:] for name in _DIRECTION_ORDER]
    with open_renderer(path, Fraction(1000, STEP_MS)) as renderer:
        for frame in np.concatenate(rows, 2):
            renderer.write(enlarge(frame, factor))


def _sprite_html(url: str, cycles: np.ndarray, remarks: Sequence[str]) -> str:
    steps = cycles.shape[1] - 1
    # CSS moves the sheet as a background through a window of one cell.
    style = (f"--columns:{steps + 1};--from:{100 / steps:.4f}%;--to:{100 + 100 / steps:.4f}%;"
             f"animation:ae-walk {steps * STEP_MS / 1000:g}s steps({steps}) infinite;"
             f"background-image:url({escape(url)})")
    walkers = "".join(
        f'<figure><div class="ae-walker" role="img" aria-label="Walking {name}" '
        f'style="{style};background-position-y:{100 * DIRECTIONS.index(name) / 3:.4f}%"></div>'
        f"<figcaption>{name}</figcaption></figure>" for name in _DIRECTION_ORDER)
    side = cycles.shape[2]
    return (f'<div class="ae-results"><div class="ae-walkers">{walkers}</div>'
            f'<figure class="ae-sheet"><img src="{escape(url)}" alt="The sheet: four rows, '
            f'standing and {steps} steps each"><figcaption>The sheet: up, left, down, right; '
            f"standing, then {steps} steps of {STEP_MS} ms; cells of {side}×{side} pixels"
            f"</figcaption></figure>{notes(remarks)}</div>")
