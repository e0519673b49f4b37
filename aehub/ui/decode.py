"""Decode: show the properties of an `.aev` file, and decode it to a clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from aehub.bitstream import validation
from aehub.errors import AEHubError, InputError, count_text
from aehub.media.scaling import SCALES
from aehub.results import Decompressed
from aehub.ui import job_progress, uploads
from aehub.ui.errors import errors_shown, page_message
from aehub.ui.formatting import (
    bytes_text,
    empty_state,
    hint,
    media_element,
    rate_text,
    seconds_text,
    table,
)
from aehub.ui.limits import Context

TITLE = "Decode"
FORMATS = ["mp4", "gif", "webp"]
_EMPTY = empty_state("No file decoded yet", "An .aev file becomes a clip for any player.")


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            packed = gr.File(label="Compressed file, .aev", height=132, elem_id="packed")
            head = gr.HTML(elem_id="head", visible=False)
            format = gr.Radio(FORMATS, value="mp4", label="As")
            scale = gr.Radio(list(map(str, SCALES)), value="1", label="Size", elem_id="scale",
                             info="Small ones decode in less time")
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Decode", variant="primary", elem_id="decode", scale=3)
                stop = gr.Button("Stop", scale=1, min_width=80)
        with gr.Column(scale=8, min_width=320):
            display = gr.HTML(_EMPTY, elem_id="decoded")
            with gr.Row(visible=False) as downloads:
                clip = gr.DownloadButton("Download", variant="primary", elem_id="get-clip")
            facts = gr.JSON(visible=False, label="facts")

    packed.change(_describe, packed, head, **job_progress.PRIVATE)
    event = go.click(_runner(context), [packed, format, scale],
                     [clip, facts, display, downloads], api_name="decompress", trigger_mode="once",
                     **job_progress.model_event(display))
    job_progress.connect_stop(stop, [event], display, _EMPTY, downloads)


def _describe(path: str | None) -> Any:
    if path is None:
        return gr.update(visible=False)
    try:
        return gr.update(value=_header_table(Path(path)), visible=True)
    except AEHubError as error:
        return gr.update(value=hint(page_message(error), "alert"), visible=True)


def _header_table(path: Path) -> str:
    facts, report = validation.info(path), validation.verify(path)
    groups = f"{facts['groups']} of up to {count_text(facts['group_frames'], 'frame')}"
    rows = [
        ("Model", facts["model"]),
        ("Picture", f"{facts['width']}×{facts['height']}, {rate_text(facts['fps'])} frames/s"),
        ("Length", f"{seconds_text(facts['seconds'])}, {count_text(facts['frames'], 'frame')}"),
        ("File", f"{bytes_text(facts['bytes'])}, {facts['kbps']:.0f} kbit/s"),
        ("Sound", bytes_text(facts["audio_bytes"]) if facts["audio_bytes"] else "none"),
        ("Quality", f"{facts['quality']:g} of 100"),
        ("Groups", groups),
        ("Condition", "intact" if report.ok else
         f"damaged: {count_text(len(report.problems), 'problem')}"),
    ]
    return table(["Property", "Value"], rows, caption="Read from the header; nothing was decoded.")


def _runner(context: Context) -> Any:
    @errors_shown
    def run(packed: str | None, format: str = "mp4", scale: str = "1",
            request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Decode an .aev file into a clip.

        Args:
            packed: an .aev file.
            format: "mp4", "gif" or "webp".
            scale: "1/8", "1/4", "1/2", "1" or "2", of both sides.

        Returns:
            The clip, facts about it, and a piece of the page.
        """
        if packed is None:
            raise InputError("there is no file yet; drop an .aev file first.")
        context.limits.check(validation.info(packed), "decodes", "aehub decompress")
        with context.folders.new() as folder, context.jobs.turn(
                request, "decompress",
                lambda card: (gr.skip(), gr.skip(), card, gr.update(visible=False)),
                size=uploads.job_size(context, packed), progress=progress) as turn:
            yield from turn.wait()
            output = folder / f"{Path(packed).stem}.{format}"
            outcome = yield from turn.run(
                "decompress", {"source": packed, "output": str(output), "scale": scale},
                job_progress.frame_card("Decoding", progress), folder)
            result: Decompressed = outcome.data
            # Gradio takes any dict with a "path" for a file of its own.
            facts = {"bytes": output.stat().st_size, **result.named()}
            # A looped video of one frame stays blank in browsers.
            options = "" if result.frames == 1 else "controls loop"
            page = media_element(context.folders.url(output), "The decoded clip", options)
            yield str(output), facts, page, gr.update(visible=True)

    return run
