"""Label by example: a few clips of each label, and a clip that is like one of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from aehub.errors import InputError, LimitError
from aehub.results import Classified, Progress
from aehub.ui import job_progress, uploads
from aehub.ui.errors import errors_shown
from aehub.ui.formatting import empty_state, notes, progress_card, stopped_state
from aehub.ui.limits import Context

MAX_LABELS = 4
MAX_EXAMPLES = 24
"""Examples of all labels together, at most."""
_SHOWN_LABELS = 2
"""Labels that are shown at first."""
_EMPTY = empty_state("Nothing labelled yet", "Give each label a name and a few different clips or "
                     "pictures. A clip then gets the label of those that it is like, the same in "
                     "all eight orientations.")


def build(context: Context) -> None:
    """Build the section inside the open block."""
    with gr.Row(equal_height=False, elem_classes="ae-bench"):
        with gr.Column(scale=5, min_width=300, elem_classes="ae-controls"):
            query = gr.File(label=f"Clip to label, up to {context.limits.upload_mb} MB",
                            height=112, elem_id="label-query")
            controls: list[Any] = []
            rows = []
            for number in range(1, MAX_LABELS + 1):
                with gr.Row(visible=number <= _SHOWN_LABELS, equal_height=True,
                            elem_classes="ae-label-row") as row:
                    controls.append(gr.Textbox("", label=f"Label {number}", min_width=110, scale=2,
                                               placeholder=f"label {number}", max_length=40,
                                               elem_id=f"label-name-{number}"))
                    controls.append(gr.File(label="Examples", file_count="multiple", height=112,
                                            scale=3, min_width=150,
                                            elem_id=f"label-files-{number}"))
                rows.append(row)
            more = gr.Button("One more label", size="sm", elem_id="label-more")
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Label it", variant="primary", elem_id="classify", scale=3)
                stop = gr.Button("Stop", elem_id="label-stop", scale=1, min_width=80)
        with gr.Column(scale=7, min_width=320):
            display = gr.HTML(_EMPTY, elem_id="labelled")
            facts = gr.JSON(visible=False, label="facts")
    event = go.click(_runner(context), [query, *controls], [facts, display], api_name="classify",
                     trigger_mode="once", **job_progress.model_event(display))
    job_progress.connect_stop(stop, [event], display, stopped_state("label again"))
    count = gr.State(_SHOWN_LABELS)
    more.click(_one_more, count, [count, more, *rows[_SHOWN_LABELS:]], **job_progress.IMMEDIATE)


def _one_more(count: int) -> list[Any]:
    count = min(count + 1, MAX_LABELS)
    return [count, gr.update(visible=count < MAX_LABELS),
            *(gr.update(visible=number < count) for number in range(_SHOWN_LABELS, MAX_LABELS))]


def _runner(context: Context) -> Any:
    @errors_shown
    def run(query: str | None, name_1: str = "", examples_1: list[str] | None = None,
            name_2: str = "", examples_2: list[str] | None = None, name_3: str = "",
            examples_3: list[str] | None = None, name_4: str = "",
            examples_4: list[str] | None = None, request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Label a clip by a few examples of each label, or as none of these.

        Args:
            query: a clip, a picture or an .aev file.
            name_1: of the first label.
            examples_1: clips, pictures or .aev files of the first label.
            name_2: of the second label.
            examples_2: of the second label.
            name_3: of the third label.
            examples_3: of the third label.
            name_4: of the fourth label.
            examples_4: of the fourth label.

        Returns:
            Label (null for none of these), confidence and the score of each label; and a piece of
            the page.
        """
        if query is None:
            raise InputError("there is no clip yet; drop one.")
        given = _labelled([(name_1, examples_1), (name_2, examples_2), (name_3, examples_3),
                           (name_4, examples_4)])
        for path in [query, *(path for files in given.values() for path in files)]:
            uploads.check_upload(path, context.limits, "labels", "aehub classify")

        def card(now: Progress) -> str:
            progress((now.done, now.total), desc="Looking at the clips")
            return progress_card(f"Looking at clip {min(now.done + 1, now.total)} of {now.total}",
                                 share=now.done / now.total)

        with context.jobs.turn(request, "classify", lambda html: (gr.skip(), html),
                               progress=progress) as turn:
            yield from turn.wait()
            outcome = yield from turn.run("classify", {"query": query, "examples": given}, card)
        found: Classified
        (found,) = outcome.data
        if found.error is not None:
            raise InputError(found.error)
        facts = found.named()
        del facts["error"]
        yield facts, _result_html(found)

    return run


def _labelled(given: list[tuple[str, list[str] | None]]) -> dict[str, list[str]]:
    """Examples of each label that has some.

    Raises:
        InputError: there are none, or two labels have one name.
        LimitError: there are too many.
    """
    labelled: dict[str, list[str]] = {}
    for number, (name, files) in enumerate(given, 1):
        name = (name or "").strip() or f"label {number}"
        if files and name in labelled:
            raise InputError(f"two labels are named {name}; give each a name of its own.")
        if files:
            labelled[name] = files
    count = sum(map(len, labelled.values()))
    if not labelled:
        raise InputError("no label has an example yet; drop a few clips of each.")
    if count > MAX_EXAMPLES:
        raise LimitError(f"{count} examples are given and this page takes {MAX_EXAMPLES}; leave "
                         "some out, or use aehub classify on your own machine.")
    return labelled


def _result_html(found: Classified) -> str:
    none = max(0.0, 1 - sum(found.scores.values()))
    bars = sorted(found.scores.items(), key=lambda item: -item[1])
    rows = "".join(_bar_html(label, share, label == found.label) for label, share in bars)
    rows += _bar_html("None of these", none, found.label is None)
    title = "None of these" if found.label is None else found.label
    return (f'<div class="ae-results"><div class="ae-answer"><h3>{escape(title)}</h3>'
            f"<p>{100 * found.confidence:.0f} % sure, {escape(Path(found.path).name)}</p>"
            f"<dl>{rows}</dl></div>{notes(found.notes)}</div>")


def _bar_html(label: str, share: float, is_answer: bool) -> str:
    kind = ' class="mark"' if is_answer else ""
    return (f"<div{kind}><dt>{escape(label)}</dt><dd><i style=\"width:{100 * share:.1f}%\"></i>"
            f"</dd><dd>{100 * share:.0f} %</dd></div>")
