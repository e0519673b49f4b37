"""Edit: a compressed file is turned, trimmed and reversed without decoding it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

import aehub
from aehub import review
from aehub.edit.operations import parse
from aehub.errors import InputError
from aehub.review.stills import png
from aehub.ui.guard import gpu, told
from aehub.ui.words import bytes_text, notes, seconds_text, tiles

if TYPE_CHECKING:
    from aehub.ui.page import Context

TITLE = "Edit"
BUTTONS = {
    "Turn ↻": "rotate 90", "Turn ↺": "rotate 270", "Transpose": "transpose",
    "Flip ↔": "flip horizontal", "Flip ↕": "flip vertical", "Reverse": "reverse",
}
_EMPTY = ('<div class="ae-empty"><b>Nothing to edit yet</b><p>Codes are turned, not pixels: the '
          "file that comes out is as good as the one that goes in.</p></div>")


def build(context: Context) -> None:
    """The panel, inside whatever block is open."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            packed = gr.File(label="Compressed file, .aev", file_types=[".aev"], height=132,
                             elem_id="edit-packed", elem_classes="ae-drop")
            last = context.shared.get("packed")
            take = gr.Button("Take the last result", elem_id="take-last", visible=last is not None)
            buttons = []
            for three in (list(BUTTONS)[:3], list(BUTTONS)[3:]):
                with gr.Row(elem_classes="ae-examples"):
                    buttons += [gr.Button(label, elem_id=f"edit-{BUTTONS[label].replace(' ', '-')}",
                                          size="md", min_width=80) for label in three]
            with gr.Row(elem_classes="ae-go", equal_height=True):
                part = gr.Textbox("0:1", label="Keep A:B", elem_id="edit-part", scale=3,
                                  info="seconds, or frames with f")
                cut = gr.Button("Trim", elem_id="edit-trim", scale=1, min_width=80)
            steps = gr.Textbox("", label="Steps, in this order", elem_id="edit-steps",
                               placeholder="rotate 90, trim 1:2.5, reverse",
                               info="Press the buttons, or write here and press Enter")
            exact = gr.Checkbox(False, label="Drop hidden frames for good", elem_id="edit-exact",
                                info="Else frames before a trim stay in the file, hidden")
            with gr.Row(elem_classes="ae-go"):
                undo = gr.Button("Undo", elem_id="edit-undo", min_width=80)
                over = gr.Button("Start over", elem_id="edit-over", min_width=80)
        with gr.Column(scale=8, min_width=320):
            stage = gr.HTML(_EMPTY, elem_id="edited")
            with gr.Row(visible=False) as shelf:
                edited = gr.DownloadButton("Edited .aev", variant="primary", elem_id="get-edited")
            facts = gr.JSON(visible=False, label="facts")

    run = _runner(context)
    asked, given = [packed, steps, exact], [edited, facts, stage, shelf]
    place: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1,
                             "show_progress": "minimal", "show_progress_on": stage}
    steps.submit(run, asked, given, api_name="edit", **place)
    for button, words in zip(buttons, BUTTONS.values(), strict=True):
        _then(button.click(_adder(words), steps, steps, **_QUIET), run, asked, given, place)
    _then(cut.click(_with_trim, [steps, part], steps, **_QUIET), run, asked, given, place)
    _then(undo.click(_without_last, steps, steps, **_QUIET), run, asked, given, place)
    _then(over.click(lambda: "", None, steps, **_QUIET), run, asked, given, place)
    exact.input(run, asked, given, api_visibility="private", **place)
    _then(packed.change(lambda: "", None, steps, **_QUIET), run, asked, given, place)
    if last is not None:
        take.click(told(_taken), last, packed, **_QUIET)


_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def _then(event: Any, run: Any, asked: list[Any], given: list[Any], place: dict[str, Any]) -> None:
    """Do the edit anew after whatever changed its steps."""
    event.success(run, asked, given, api_visibility="private", **place)


def _adder(words: str) -> Any:
    return lambda steps: added(steps, words)


def added(steps: str, words: str) -> str:
    """The steps with one more at the end."""
    return ", ".join(filter(None, [steps.strip().rstrip(","), words]))


def _with_trim(steps: str, part: str) -> str:
    return added(steps, f"trim {part.strip()}")


def _without_last(steps: str) -> str:
    return ", ".join(part.strip() for part in steps.split(",")[:-1])


def _taken(path: str | None) -> str:
    if path is None:
        raise InputError("there is no result yet; compress a clip first, or drop an .aev file.")
    return path


def _runner(context: Context) -> Any:
    @told
    @gpu
    def run(packed: str | None, steps: str = "", exact: bool = False) -> list[Any]:
        """Turn, trim or reverse an .aev file without decoding it.

        Args:
            packed: an .aev file.
            steps: what to do, in order, such as "rotate 90, flip horizontal, trim 1:2, reverse".
            exact: drop frames that a trim hides, as far as no shown frame needs them.

        Returns:
            The edited file, facts about it, and a piece of the page.
        """
        if packed is None:
            return [None, None, _EMPTY, gr.update(visible=False)]
        _refuse_large(context, packed)
        operations = parse(steps)
        folder = context.jobs.new()
        output = folder / f"{Path(packed).stem}.edited.aev"
        result = aehub.edit(packed, output, operations, group_exact=exact)
        seen = review.look_at_edit(Path(packed), output, operations)
        for name in ("before", "after", "difference"):
            (folder / f"{name}.png").write_bytes(png(getattr(seen, name)))
        facts = result.to_json()
        # Gradio takes whatever has a "path" for a file of its own.
        facts = {"name": Path(facts.pop("path")).name, **facts, "steps": str_of(operations),
                 "levels": seen.levels, "share": round(seen.share, 8)}
        return [str(output), facts, _page(f"ae/jobs/{folder.name}", result, seen),
                gr.update(visible=True)]

    return run


def str_of(operations: list[Any]) -> str:
    """Operations as they are written."""
    return ", ".join(map(str, operations))


def _refuse_large(context: Context, packed: str) -> None:
    """Hold a file to the page's limits before anything of it is decoded."""
    facts, limits = aehub.info(packed), context.limits
    if facts["seconds"] > limits.seconds + 0.001:
        raise InputError(f"the file plays {seconds_text(facts['seconds'])} and this page edits "
                         f"{limits.seconds:g} s; use aehub edit at home.")
    if facts["width"] * facts["height"] > limits.pixels:
        raise InputError(f"the picture is {facts['width']}×{facts['height']} and this page edits "
                         f"{limits.pixels / 1e6:.1f} megapixels; use aehub edit at home.")


def _page(place: str, result: aehub.Edited, seen: review.Turned) -> str:
    exact = "exact" if not seen.levels else f"{seen.levels} of 255"
    shown = tiles([
        ("Before", bytes_text(result.bytes_before), "the file you gave"),
        ("After", bytes_text(result.bytes), f"{result.elapsed:.1f} s to edit"),
        ("Equivariance error", exact, f"in {100 * seen.share:.4f} % of the values"),
        ("Picture", f"{result.width}×{result.height}",
         f"{result.frames} frames, {seconds_text(result.seconds)}"),
    ])
    pictures = "".join(
        f'<figure><img src="{escape(place)}/{name}.png" alt="{escape(words)}">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
        for name, words in (
            ("before", "First picture of the file"), ("after", "First picture after the edit"),
            ("difference", "Turned before decoding minus turned after it, "
                           f"times {review.TURN_GAIN}: black is exact")))
    return (f'<div class="ae-results"><div class="ae-trio">{pictures}</div>{shown}'
            f"{notes(result.notes)}</div>")
