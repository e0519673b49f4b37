"""Edit: a compressed file is turned, trimmed and reversed without decoding it."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from aehub.api import edit
from aehub.bitstream import validation
from aehub.editing.operations import parse
from aehub.errors import count_text
from aehub.report.equivariance import TURN_GAIN, Turned, look_at_edit
from aehub.report.playback import iter_moving, png
from aehub.results import Edited
from aehub.ui import examples, job_progress
from aehub.ui.errors import gpu, told
from aehub.ui.formatting import bytes_text, empty, notes, seconds_text, tiles
from aehub.ui.limits import Context

TITLE = "Edit"
BUTTONS = {
    "Turn ↻": "rotate 90", "Turn ↺": "rotate 270", "Transpose": "transpose",
    "Flip ↔": "flip horizontal", "Flip ↕": "flip vertical", "Reverse": "reverse",
}
# Clips whose videos are kept, and visitors who are told apart.
_FILMS, _VISITORS = 16, 1000
_EMPTY = empty("Nothing to edit yet", "Codes are turned, not pixels: the file that comes out is as "
               "good as the one that goes in.")


def build(context: Context) -> None:
    """The panel, inside whatever block is open."""
    last = context.shared["packed"]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            packed = gr.File(label="Compressed file, .aev", height=132, elem_id="edit-packed")
            take = gr.Button("Take the last result", elem_id="take-last")
            steps, part, exact, changes = _steps()
        with gr.Column(scale=8, min_width=320):
            stage = gr.HTML(_EMPTY, elem_id="edited")
            with gr.Row(visible=False) as shelf:
                edited = gr.DownloadButton("Edited .aev", variant="primary", elem_id="get-edited")
            facts = gr.JSON(visible=False, label="facts")

    latest = _Latest()
    run = _runner(context, latest)
    asked, given = [packed, steps, exact], [edited, facts, stage, shelf]
    place = job_progress.place(stage)
    steps.submit(run, asked, given, api_name="edit", **place)
    exact.input(run, asked, given, api_visibility="private", **place)
    for event, change in [*changes, (packed.change, _nothing)]:
        event(_changed(latest, change), [steps, part], steps, **job_progress.AT_ONCE).success(
            run, asked, given, api_visibility="private", **place)
    take.click(_taker(context), last, packed, **job_progress.AT_ONCE)


def _steps() -> tuple[gr.Textbox, gr.Textbox, gr.Checkbox, list[tuple[Any, Change]]]:
    """What says the steps and their options, and the events that change the steps."""
    changes: list[tuple[Any, Change]] = []
    for three in (list(BUTTONS)[:3], list(BUTTONS)[3:]):
        with gr.Row(elem_classes="ae-examples"):
            for label in three:
                button = gr.Button(label, elem_id=f"edit-{BUTTONS[label].replace(' ', '-')}",
                                   size="md", min_width=80)
                changes.append((button.click, _adder(BUTTONS[label])))
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
    changes += [(cut.click, _with_trim), (undo.click, _without_last), (over.click, _nothing)]
    return steps, part, exact, changes


class _Latest:
    """How often each visitor has changed the steps: work for an earlier count can end."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str | None, int] = OrderedDict()

    def of(self, request: gr.Request | None) -> int:
        """The visitor's count."""
        return self._counts.get(_visitor(request), 0)

    def count(self, request: gr.Request | None) -> None:
        """The visitor wants something else from now on."""
        self._counts[_visitor(request)] = self._counts.pop(_visitor(request), 0) + 1
        while len(self._counts) > _VISITORS:
            self._counts.popitem(last=False)


def _visitor(request: gr.Request | None) -> str | None:
    return None if request is None else request.session_hash


Change = Callable[[str, str], str]
"""Steps and the part to keep -> other steps."""


def _changed(latest: _Latest, change: Change) -> Any:
    def changed(steps: str, part: str, request: gr.Request) -> str:
        latest.count(request)
        return change(steps, part)

    return changed


def _adder(words: str) -> Change:
    return lambda steps, part: added(steps, words)


def added(steps: str, words: str) -> str:
    """The steps with one more at the end."""
    return ", ".join(filter(None, [steps.strip().rstrip(","), words]))


def _with_trim(steps: str, part: str) -> str:
    return added(steps, f"trim {part.strip()}")


def _without_last(steps: str, part: str) -> str:
    return ", ".join(word.strip() for word in steps.split(",")[:-1])


def _nothing(steps: str, part: str) -> str:
    return ""


def _taker(context: Context) -> Any:
    @told
    def taken(path: str | None) -> str:
        """The visitor's last result; before there is one, the example that the page opens on."""
        if path is not None:
            return path
        with context.jobs.new() as folder:
            return str(shutil.copy(examples.packed(), folder))

    return taken


def _runner(context: Context, latest: _Latest) -> Any:
    films: dict[str, Path] = {}

    @told
    @gpu
    def run(packed: str | None, steps: str = "", exact: bool = False,
            request: gr.Request | None = None) -> Iterator[list[Any]]:
        """Turn, trim or reverse an .aev file without decoding it.

        Args:
            packed: an .aev file.
            steps: what to do, in order, such as "rotate 90, flip horizontal, trim 1:2, reverse".
            exact: drop frames that a trim hides, as far as no shown frame needs them.

        Returns:
            The edited file, facts about it, and a piece of the page.
        """
        if packed is None:
            yield [None, None, _EMPTY, gr.update(visible=False)]
            return
        count = latest.of(request)
        context.limits.check(validation.info(packed), "edits", "aehub edit")
        operations = parse(steps)
        with context.jobs.new() as folder:
            output = folder / f"{Path(packed).stem}.edited.aev"
            result = edit.edit(packed, output, operations, group_exact=exact)
            seen = look_at_edit(Path(packed), output, operations)
            for name in ("before", "after", "difference"):
                (folder / f"{name}.png").write_bytes(png(getattr(seen, name)))
            # Gradio takes whatever has a "path" for a file of its own.
            facts = {**result.named(), "steps": ", ".join(map(str, operations)),
                     "levels": seen.levels, "share": round(seen.share, 8)}
            place, shown = f"ae/jobs/{folder.name}", gr.update(visible=True)
            yield [str(output), facts, _page(place, result, seen), shown]
            if result.frames == 1:
                return  # Nothing moves in a picture.
            for _ in _filming(films, packed, output, folder):
                if latest.of(request) != count:
                    return  # Whoever pressed the next button meanwhile waits for that.
            yield [str(output), facts, _page(place, result, seen, moving=True), shown]

    return run


def _filming(films: dict[str, Path], packed: str, edited: Path, folder: Path) -> Iterator[None]:
    """Write before.mp4 and after.mp4; yields after every frame.

    Args:
        films: what was made of each file before; the same file is edited again and again.
        packed: the file before the edit.
        edited: the file after it.
        folder: of the job.
    """
    before, after = folder / "before.mp4", folder / "after.mp4"
    try:
        shutil.copyfile(films[packed], before)
    except (KeyError, FileNotFoundError):
        jobs = [(Path(packed), before), (edited, after)]
    else:
        jobs = [(edited, after)]
    for source, video in jobs:
        with closing(iter_moving(source, video)) as job:
            for _ in job:
                yield
    while len(films) >= _FILMS:
        films.pop(next(iter(films)), None)
    films[packed] = before


def _page(place: str, result: Edited, seen: Turned, *, moving: bool = False) -> str:
    exact = "exact" if not seen.levels else f"{seen.levels} of 255"
    shown = tiles([
        ("Before", bytes_text(result.bytes_before), "the file you gave"),
        ("After", bytes_text(result.bytes), f"{result.elapsed:.1f} s to edit"),
        ("Equivariance error", exact, f"in {100 * seen.share:.4f} % of the values"),
        ("Picture", f"{result.width}×{result.height}",
         f"{count_text(result.frames, 'frame')}, {seconds_text(result.seconds)}"),
    ])
    pair = "".join(_figure(f"{place}/{name}", f"{words} the edit", "ae-film", moving=moving)
                   for name, words in (("before", "Before"), ("after", "After")))
    difference = _figure(f"{place}/difference", "Turned before decoding minus turned after it, "
                         f"times {TURN_GAIN}: black is exact", "ae-differs")
    return (f'<div class="ae-results"><div class="ae-trio"><aehub-pair>{pair}</aehub-pair>'
            f"{difference}</div>{shown}{notes(result.notes)}</div>")


def _figure(address: str, words: str, kind: str, *, moving: bool = False) -> str:
    address, words = escape(address), escape(words)
    picture = f'<img src="{address}.png" alt="{words}">'
    if moving:
        picture = (f'<video src="{address}.mp4" poster="{address}.png" aria-label="{words}" muted '
                   'loop playsinline controls disablepictureinpicture preload="auto"></video>')
    return f'<figure class="{kind}">{picture}<figcaption>{words}</figcaption></figure>'
