"""Animate: pick pictures that never were, and watch one become the next."""

from __future__ import annotations

from typing import Any

import gradio as gr

from aehub import hub
from aehub.animate.easing import EASINGS
from aehub.animate.motion import DIRECTIONS
from aehub.errors import AEHubError, InputError
from aehub.models.architectures import SPRITE_ANIMATION
from aehub.ui import keys, running, shape, sprite, walking
from aehub.ui.guard import sentence, told
from aehub.ui.keys import Key
from aehub.ui.limits import Context
from aehub.ui.running import AT_ONCE, QUIET
from aehub.ui.words import empty, hint, stopped

TITLE = "Animate"
_EMPTY = empty("Nothing animated yet", "Pick pictures, press Make: each becomes the next, and the "
               "last leads back to the first.", small=True)


def build(context: Context) -> None:
    """The panel, inside whatever block is open."""
    with gr.Tabs():
        with gr.Tab("Pictures that never were", id="walk", elem_id="tab-walk"):
            _walk(context)
        with gr.Tab("Animate my sprite", id="sprite", elem_id="tab-sprite"):
            sprite.build(context)


def _walk(context: Context) -> None:
    chosen = gr.State([])
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320, elem_classes="ae-controls"):
            model, files, parts = _pickers()
        with gr.Column(scale=6, min_width=320, elem_classes="ae-controls"):
            motion = _motion(context, model)
            with gr.Row(elem_classes="ae-go"):
                make = gr.Button("Make it", variant="primary", elem_id="make", scale=3,
                                 min_width=120)
                look = gr.Button("Preview", elem_id="preview", scale=2, min_width=80)
                stop = gr.Button("Stop", elem_id="stop-walk", scale=1, min_width=64)
            stage = gr.HTML(_EMPTY, elem_id="walked")
            with gr.Row(visible=False, elem_classes="ae-shelf") as shelf:
                file = gr.DownloadButton("Animation", variant="primary", elem_id="get-walk",
                                         min_width=90)
                recipe = gr.DownloadButton("Recipe .json", elem_id="get-recipe", min_width=90)
                with gr.Column(visible=False, min_width=90) as aside:
                    sheet = gr.DownloadButton("Sheet .json", elem_id="get-sheet")
            facts = gr.JSON(visible=False, label="facts")
    seeds, *others = motion
    asked = [model, seeds, files, *others, chosen]
    given = [file, facts, recipe, sheet, stage, shelf, aside]
    place = {**running.place(stage), "trigger_mode": "once"}
    made = make.click(walking.runner(context), asked, given, api_name="animate", **place)
    seen = look.click(walking.runner(context, preview=True), asked, given,
                      api_visibility="private", **place)
    running.stops(stop, [made, seen], stage, stopped("make it again", small=True), shelf)
    _wire(context, model, files, chosen, parts)


def _pickers() -> tuple[Any, Any, dict[str, Any]]:
    """What is picked from: candidates, own pictures, the timeline and the sliders."""
    names = keys.offered()
    model = gr.Dropdown(names, value=names[0] if names else None, label="Model",
                        elem_id="walk-model", info=_about(names[0] if names else ""))
    with gr.Row(elem_classes="ae-title"):
        gr.HTML('<p class="ae-label">Click what you like</p>')
        more = gr.Button("More", elem_id="more-candidates", size="sm", min_width=64, scale=0)
    grid = gr.HTML(hint("Candidates are drawn when you look here."), elem_id="candidates",
                   js_on_load=keys.JS_PICK)
    with gr.Row(elem_classes="ae-title"):
        gr.HTML('<p class="ae-label">Timeline</p>')
        clear = gr.Button("Clear", elem_id="clear-keys", size="sm", min_width=64, scale=0)
    strip = gr.HTML(keys.strip([]), elem_id="timeline", js_on_load=keys.JS_PICK)
    with gr.Accordion("Shape the picked picture", open=True, elem_id="shape",
                      elem_classes="ae-fold"):
        with gr.Row(equal_height=False, elem_classes="ae-shape"):
            with gr.Column(scale=2, min_width=120):
                live = gr.HTML(shape.EMPTY, elem_id="live")
                add = gr.Button("Add to the timeline", elem_id="add-shaped", size="sm")
            with gr.Column(scale=3, min_width=150, elem_classes="ae-sliders"):
                sliders = [gr.Slider(-shape.REACH, shape.REACH, 0, step=0.1, buttons=[],
                                     label=f"Direction {number}", elem_id=f"slide-{number}")
                           for number in range(1, shape.SLIDERS + 1)]
    files = gr.File(label="Own pictures as keyframes, or a clip", file_count="multiple", height=132,
                    elem_id="own")
    return model, files, {"more": more, "grid": grid, "strip": strip, "clear": clear,
                          "live": live, "add": add, "sliders": sliders}


def _motion(context: Context, model: gr.Dropdown) -> list[Any]:
    """How it moves; components in the order of the arguments, seeds first."""
    most = context.limits.seconds
    with gr.Row():
        seconds = gr.Slider(0.5, most, min(4, most), step=0.5, label="Seconds", buttons=[],
                            elem_id="seconds", min_width=120)
        fps = gr.Slider(5, walking.MAX_FPS, 30, step=1, label="Frames per second", buttons=[],
                        elem_id="fps", min_width=120)
    ending = gr.Radio(list(walking.ENDINGS), value="loop", label="At the end", elem_id="ending")
    with gr.Row():
        path = gr.Dropdown(list(walking.PATHS), value="auto", label="Path", elem_id="path",
                           min_width=120)
        easing = gr.Dropdown(list(EASINGS), value="linear", label="Easing", elem_id="easing",
                             min_width=120)
    format = gr.Radio(list(walking.FORMATS), value="mp4", label="As", elem_id="walk-format")
    with gr.Row(visible=_is_sprite(model.value)) as characters:
        direction = gr.Dropdown([*DIRECTIONS, "all"], value="down", label="Direction",
                                elem_id="direction", min_width=120)
        steps = gr.Slider(2, 32, 8, step=1, label="Steps per cycle", buttons=[],
                          elem_id="walk-steps", min_width=120)
    with gr.Accordion("Size, variety, seeds, timing", open=False, elem_classes="ae-fold"):
        size = gr.Dropdown(list(walking.SIZES), value="256", label="Side, px", elem_id="walk-size",
                           info="By whole factors; a codec keeps the size of your pictures")
        truncation = gr.Slider(0, 1.5, 1, step=0.05, label="Truncation", buttons=[],
                               elem_id="truncation",
                               info="Below 1 stays nearer to the mean picture")
        seeds = gr.Textbox("1, 2, 3, 4", label="Seeds", elem_id="seeds",
                           info="Walked through while the timeline is empty")
        parts = gr.Textbox("", label="Seconds of each part", elem_id="parts",
                           placeholder="1, 0.5, 2",
                           info="From each picture to the next, instead of the seconds above")
        beside = gr.Checkbox(False, label="Beside a plain cross-fade of the same pictures",
                             elem_id="beside")
    model.change(lambda name: gr.update(visible=_is_sprite(name)), model, characters, **AT_ONCE)
    return [seeds, seconds, fps, path, easing, ending, truncation, size, format, direction, steps,
            beside, parts]


def _wire(context: Context, model: Any, files: Any, chosen: gr.State, parts: dict[str, Any]
          ) -> None:
    """What clicks and sliders do."""
    number, base = gr.State(0), gr.State(None)
    grid, strip, live, sliders = (parts[name] for name in ("grid", "strip", "live", "sliders"))
    fresh = [grid, number]
    # One after another: candidates of the model before must not come after those of the next.
    drawn: dict[str, Any] = {**QUIET, "concurrency_id": "candidates", "concurrency_limit": 1}
    context.shared["tab"].select(_first, [model, number], [*fresh, model], **drawn)
    parts["more"].click(_next, [model, number], fresh, **drawn)
    model.change(_other, [model, chosen], [*fresh, chosen, strip, base, live, *sliders, model],
                 **drawn)
    grid.click(_pick, [model, chosen], [chosen, strip, base, live, *sliders], **QUIET)
    strip.click(_change, chosen, [chosen, strip], **AT_ONCE)
    parts["clear"].click(lambda: ([], keys.strip([])), None, [chosen, strip], **AT_ONCE)
    gr.on([slider.input for slider in sliders], _slide, [model, base, *sliders], live,
          trigger_mode="always_last", **AT_ONCE)
    parts["add"].click(_add, [model, base, chosen, *sliders], [chosen, strip], **QUIET)
    files.upload(_filer(context), [files, chosen], [chosen, strip], concurrency_id="model",
                 concurrency_limit=1, **QUIET)


def _is_sprite(name: str | None) -> bool:
    return keys.task_of(name or "") == SPRITE_ANIMATION


def _about(name: str) -> str:
    """One sentence about a model, or why there is none."""
    if not name:
        return "No model that animates is on this machine."
    return next((entry.summary for entry in hub.list_models() if entry.name == name), "")


def _candidates(name: str | None, number: int) -> str:
    """The grid of a page of seeds, or one sentence instead of it."""
    first = 1 + keys.CANDIDATES * number
    try:
        found = keys.seed_keys(name or "", range(first, first + keys.CANDIDATES))
    except AEHubError as error:
        return hint(sentence(error))
    return keys.grid(found, crisp=keys.is_crisp(name or ""))


def _first(name: str | None, number: int) -> tuple[Any, int, Any]:
    # Models may have been fetched since the page was built.
    return _candidates(name, number), number, gr.update(choices=keys.offered())


def _next(name: str | None, number: int) -> tuple[str, int]:
    return _candidates(name, number + 1), number + 1


def _other(name: str | None, chosen: list[Key]) -> list[Any]:
    """Another model: its own candidates; keyframes that only the former one knows go."""
    kept = [key for key in chosen if key.file is not None]
    return [_candidates(name, 0), 0, kept, keys.strip(kept), None, shape.EMPTY,
            *[0] * shape.SLIDERS, gr.update(info=_about(name or ""))]


@told
def _pick(name: str, chosen: list[Key], event: gr.EventData) -> list[Any]:
    seed = int(event.number)
    kept = _more(chosen, keys.seed_keys(name, [seed]))
    base = shape.base_of(name, seed)
    shown = shape.live(name, shape.moved(name, base, []))
    return [kept, keys.strip(kept), base, shown, *[0] * shape.SLIDERS]


def _change(chosen: list[Key], event: gr.EventData) -> tuple[list[Key], str]:
    """Take the keyframe that was clicked out, or put it one earlier."""
    number = int(event.number)
    kept = [key for n, key in enumerate(chosen) if n != number]
    if event.earlier and 0 < number < len(chosen):
        kept.insert(number - 1, chosen[number])
    return kept, keys.strip(kept)


@told
def _slide(name: str, base: list[float] | None, *values: float) -> str:
    return shape.live(name, shape.moved(name, base, values))


@told
def _add(name: str, base: list[float] | None, chosen: list[Key], *values: float
         ) -> tuple[list[Key], str]:
    kept = _more(chosen, [shape.shaped_key(name, shape.moved(name, base, values))])
    return kept, keys.strip(kept)


def _filer(context: Context) -> Any:
    @told
    def add(files: list[str] | None, chosen: list[Key]) -> tuple[list[Key], str]:
        with context.jobs.new() as folder:
            kept = _more(chosen, keys.file_keys(files or [], folder, context.limits))
        return kept, keys.strip(kept)

    return add


def _more(chosen: list[Key], added: list[Key]) -> list[Key]:
    if len(chosen) + len(added) > keys.MOST_KEYS:
        raise InputError(f"the timeline holds {keys.MOST_KEYS} keyframes; take some out first.")
    return [*chosen, *added]
