"""Edit: rotate, flip, trim and reverse a compressed file without decoding it, or scale it."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from aehub.bitstream import validation
from aehub.editing.operations import parse
from aehub.errors import count_text
from aehub.report.equivariance import DIFFERENCE_GAIN
from aehub.results import Edited
from aehub.ui import examples, job_progress, uploads
from aehub.ui.errors import errors_shown
from aehub.ui.formatting import bytes_text, empty_state, figure, notes, seconds_text, tiles
from aehub.ui.limits import Context
from aehub.ui.page_jobs import Turn

TITLE = "Edit"
BUTTONS = {
    "Rotate ↻": "rotate 90", "Rotate ↺": "rotate 270", "Transpose": "transpose",
    "Flip ↔": "flip horizontal", "Flip ↕": "flip vertical", "Reverse": "reverse",
    "Half size": "scale 1/2", "Double size": "scale 2",
}
# Cached preview videos of inputs, and visitors whose edits are counted.
_MAX_PREVIEWS, _MAX_VISITORS = 16, 1000
_EMPTY = empty_state("Nothing to edit yet", "Edits change the codes, not the pixels: the edited "
                     "file is as good as the one you drop.")


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    last = context.shared["packed"]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            packed = gr.File(label="Compressed file, .aev", height=132, elem_id="edit-packed")
            take = gr.Button("Take the last result", elem_id="take-last")
            steps, part, exact, changes = _operation_controls()
        with gr.Column(scale=8, min_width=320):
            display = gr.HTML(_EMPTY, elem_id="edited")
            with gr.Row(visible=False) as downloads:
                edited = gr.DownloadButton("Edited .aev", variant="primary", elem_id="get-edited")
            facts = gr.JSON(visible=False, label="facts")

    counter = _EditCounter()
    run = _runner(context, counter)
    inputs, outputs = [packed, steps, exact], [edited, facts, display, downloads]
    options = job_progress.model_event(display)
    steps.submit(run, inputs, outputs, api_name="edit", **options)
    exact.input(run, inputs, outputs, api_visibility="private", **options)
    for event, change in [*changes, (packed.change, _nothing)]:
        event(_changed(counter, change), [steps, part], steps, **job_progress.IMMEDIATE).success(
            run, inputs, outputs, api_visibility="private", **options)
    take.click(_last_result_handler(context), last, packed, **job_progress.IMMEDIATE)


def _operation_controls() -> tuple[gr.Textbox, gr.Textbox, gr.Checkbox, list[tuple[Any, Change]]]:
    """Build the controls of the operations; return them and the events that change the steps."""
    changes: list[tuple[Any, Change]] = []
    for row in (list(BUTTONS)[:3], list(BUTTONS)[3:6], list(BUTTONS)[6:]):
        with gr.Row(elem_classes="ae-examples"):
            for label in row:
                name = BUTTONS[label].replace(" ", "-").replace("/", "-")
                button = gr.Button(label, elem_id=f"edit-{name}", size="md", min_width=80)
                changes.append((button.click, _adder(BUTTONS[label])))
    with gr.Row(elem_classes="ae-go", equal_height=True):
        part = gr.Textbox("0:1", label="Keep A:B", elem_id="edit-part", scale=3,
                          info="seconds, or frames with f")
        cut = gr.Button("Trim", elem_id="edit-trim", scale=1, min_width=80)
    steps = gr.Textbox("", label="Steps, in this order", elem_id="edit-steps",
                       placeholder="rotate 90, trim 1:2.5, reverse",
                       info="Press the buttons, or type here and press Enter")
    exact = gr.Checkbox(False, label="Remove hidden frames", elem_id="edit-exact",
                        info="Otherwise frames before a trim stay in the file, hidden")
    with gr.Row(elem_classes="ae-go"):
        undo = gr.Button("Undo", elem_id="edit-undo", min_width=80)
        over = gr.Button("Start over", elem_id="edit-over", min_width=80)
    changes += [(cut.click, _with_trim), (undo.click, _without_last), (over.click, _nothing)]
    return steps, part, exact, changes


class _EditCounter:
    """Counts the changes of each visitor, so that work for an outdated edit can stop."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str | None, int] = OrderedDict()

    def current(self, request: gr.Request | None) -> int:
        """Return the count of the visitor."""
        return self._counts.get(_visitor(request), 0)

    def increment(self, request: gr.Request | None) -> None:
        """Count a change by the visitor."""
        self._counts[_visitor(request)] = self._counts.pop(_visitor(request), 0) + 1
        while len(self._counts) > _MAX_VISITORS:
            self._counts.popitem(last=False)


def _visitor(request: gr.Request | None) -> str | None:
    return None if request is None else request.session_hash


Change = Callable[[str, str], str]
"""(steps, part to keep) -> new steps."""


def _changed(counter: _EditCounter, change: Change) -> Any:
    def changed(steps: str, part: str, request: gr.Request) -> str:
        counter.increment(request)
        return change(steps, part)

    return changed


def _adder(operation: str) -> Change:
    return lambda steps, part: append_operation(steps, operation)


def append_operation(steps: str, operation: str) -> str:
    """Append one operation to the steps."""
    return ", ".join(filter(None, [steps.strip().rstrip(","), operation]))


def _with_trim(steps: str, part: str) -> str:
    return append_operation(steps, f"trim {part.strip()}")


def _without_last(steps: str, part: str) -> str:
    return ", ".join(word.strip() for word in steps.split(",")[:-1])


def _nothing(steps: str, part: str) -> str:
    return ""


def _last_result_handler(context: Context) -> Any:
    @errors_shown
    def last_result(path: str | None) -> str:
        """Return the visitor's last result; before there is one, the opening example."""
        if path is not None:
            return path
        with context.folders.new() as folder:
            return str(shutil.copy(examples.opening_aev(), folder))

    return last_result


def _runner(context: Context, counter: _EditCounter) -> Any:
    previews: dict[str, Path] = {}

    @errors_shown
    def run(packed: str | None, steps: str = "", exact: bool = False,
            request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[list[Any]]:  # noqa: B008
        """Rotate, flip, trim or reverse an .aev file without decoding it, or scale it.

        Args:
            packed: an .aev file.
            steps: operations in order, such as "rotate 90, flip horizontal, trim 1:2, reverse";
                "scale 1/2" and "scale 2" compress again.
            exact: remove frames that a trim hides, unless a shown frame needs them.

        Returns:
            The edited file, facts about it, and a piece of the page.
        """
        if packed is None:
            yield [None, None, _EMPTY, gr.update(visible=False)]
            return
        count = counter.current(request)
        context.limits.check(validation.info(packed), "edits", "aehub edit")
        operations = ", ".join(map(str, parse(steps)))
        with context.folders.new() as folder, context.jobs.turn(
                request, "edit",
                lambda card: [gr.skip(), gr.skip(), card, gr.update(visible=False)],
                size=uploads.job_size(context, packed), progress=progress) as turn:
            for waiting in turn.wait():
                yield waiting
                if counter.current(request) != count:
                    return  # The visitor has changed the steps, and waits for the next edit.
            output = folder / f"{Path(packed).stem}.edited.aev"
            result, check = yield from _edited(turn, packed, output, operations, exact, progress)
            # Gradio takes any dict with a "path" for a file of its own.
            facts = {**result.named(), "steps": operations,
                     "levels": check["levels"], "share": round(check["share"], 8)}
            url, shown = f"ae/jobs/{folder.name}", gr.update(visible=True)
            yield [str(output), facts, _edit_html(url, result, check), shown]
            if result.frames == 1:
                return  # A picture needs no video.
            for _ in _write_previews(turn, previews, packed, output):
                if counter.current(request) != count:
                    return
            yield [str(output), facts, _edit_html(url, result, check, moving=True), shown]

    return run


def _edited(turn: Turn, packed: str, output: Path, operations: str, exact: bool, progress: Any
            ) -> Generator[Any, None, tuple[Edited, Mapping[str, Any]]]:
    """Edit a file and compare both; yields outputs, returns the results of both."""
    card = job_progress.frame_card("Editing", progress)
    outcome = yield from turn.run("edit", {
        "source": packed, "output": str(output), "operations": operations, "group_exact": exact},
        card, output.parent)
    checked = yield from turn.run("edit-check", {
        "source": packed, "output": str(output), "operations": operations,
        "folder": str(output.parent)}, lambda _: "", output.parent)
    return outcome.data, checked.values


def _write_previews(turn: Turn, previews: dict[str, Path], packed: str, edited: Path
                    ) -> Iterator[None]:
    """Write before.mp4 and after.mp4; yields several times a second.

    Args:
        turn: of the job.
        previews: videos of input files; the same file is edited many times.
        packed: the file before the edit.
        edited: the file after it, in the folder of the job.
    """
    folder = edited.parent
    before, after = folder / "before.mp4", folder / "after.mp4"
    try:
        shutil.copyfile(previews[packed], before)
    except (KeyError, FileNotFoundError):
        jobs = [(Path(packed), before), (edited, after)]
    else:
        jobs = [(edited, after)]
    for source, video in jobs:
        with closing(turn.run("preview", {"source": str(source), "output": str(video)},
                              lambda _: "running", folder)) as job:
            for _ in job:
                yield
    while len(previews) >= _MAX_PREVIEWS:
        previews.pop(next(iter(previews)), None)
    previews[packed] = before


def _edit_html(url: str, result: Edited, check: Mapping[str, Any], *, moving: bool = False) -> str:
    exact = f"{check['levels']} of 255" if check["levels"] else "exact"
    shown = tiles([
        ("Before", bytes_text(result.bytes_before), "the file that you dropped"),
        ("After", bytes_text(result.bytes), f"{result.elapsed:.1f} s to edit"),
        ("Equivariance error", exact, f"in {100 * check['share']:.4f} % of the values")
        if result.psnr is None else
        ("Compressed again", f"{result.psnr:.2f} dB", "against the decoded pictures"),
        ("Picture", f"{result.width}×{result.height}",
         f"{count_text(result.frames, 'frame')}, {seconds_text(result.seconds)}"),
    ])
    pair = "".join(_figure(f"{url}/{name}", f"{words} the edit", "ae-film", moving=moving)
                   for name, words in (("before", "Before"), ("after", "After")))
    third = ""
    if check["interpolated"]:
        stills = (("after", "First frame after the edit"),
                  ("interpolated", "Enlarged by Lanczos interpolation instead"))
        third = "".join(_figure(f"{url}/{name}", words, "ae-film") for name, words in stills)
        third = f"<aehub-pair>{third}</aehub-pair>"
    elif result.psnr is None:
        third = _figure(f"{url}/difference", "Edited before decoding minus edited after it, "
                        f"times {DIFFERENCE_GAIN}: black is exact", "ae-differs")
    return (f'<div class="ae-results"><div class="ae-trio"><aehub-pair>{pair}</aehub-pair>'
            f"{third}</div>{shown}{notes(result.notes)}</div>")


def _figure(url: str, caption: str, kind: str, *, moving: bool = False) -> str:
    return figure(caption, kind, picture=f"{url}.png", video=f"{url}.mp4" if moving else "")
