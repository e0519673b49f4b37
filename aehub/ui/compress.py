"""Compress: from a clip to an `.aev` file, with a wipe player and measured numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from aehub import hub
from aehub.config import DEFAULT_CODEC, DEFAULT_EFFORT, MAX_EFFORT, SMALLEST_CODEC
from aehub.errors import AEHubError, InputError
from aehub.media.clip import check_expected_length
from aehub.media.timestamps import TimeSpan
from aehub.report.records import CompressionReport
from aehub.ui import examples, job_progress, results, uploads
from aehub.ui.errors import errors_shown, page_message
from aehub.ui.formatting import stopped_state
from aehub.ui.limits import Context

TITLE = "Compress"
_FILES = {
    "Smallest file\nAV1 with a learned restorer": SMALLEST_CODEC,
    "Editable file\nturned, trimmed, walked and searched without decoding": DEFAULT_CODEC,
}
"""Choices of a newcomer, each with its reason on a second line, and their models."""


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    with gr.Row(equal_height=False, elem_classes="ae-bench"):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            clip, example_buttons = uploads.clip_input(context, "clip", "example")
            gr.HTML(f'<p class="ae-fine">{examples.HARD_EXAMPLE_NOTE}</p>')
            preview, part, start, length = _part(context)
            models = _models()
            kind = _file_choice(models)
            aim, quality, kilobytes = _aim()
            model, size, baselines, effort = _more(models)
            _connect(kind, model)
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Compress", variant="primary", elem_id="go", scale=3)
                stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=80)
            forecast = gr.HTML(elem_id="forecast", elem_classes="ae-forecast")
        with gr.Column(scale=8, min_width=320):
            outputs = _results()

    packed, *_, display, downloads, figures = outputs
    context.shared["packed"] = packed
    inputs = [clip, start, length, model, aim, quality, kilobytes, size, baselines,
              effort]
    run, options = _runner(context), job_progress.model_event(display)
    events: list[dict[str, Any]] = [
        go.click(run, inputs, outputs, api_name="compress", validator=_checker(context),
                 trigger_mode="once", **options)]
    for button, name in zip(example_buttons, examples.EXAMPLES, strict=True):
        # A click on an example also compresses it.
        ready = button.click(uploads.example_handler(context, name), None, [clip, display, go],
                             concurrency_limit=8, **job_progress.PRIVATE)
        events.append(ready.success(run, inputs, outputs, api_visibility="private", **options))
    job_progress.connect_stop(stop, events, display, stopped_state("compress again"), downloads,
                              figures)
    clip.change(uploads.upload_handler(context), [clip, size, baselines],
                [preview, part, start, length, forecast], **job_progress.PRIVATE)
    gr.on([start.release, length.release, size.change, baselines.change],
          uploads.forecast_handler(context), [clip, start, length, size, baselines], forecast,
          **job_progress.PRIVATE)


def _part(context: Context) -> tuple[gr.HTML, gr.Accordion, gr.Slider, gr.Slider]:
    """Build the preview of the clip and the sliders of the part to compress."""
    preview = gr.HTML(elem_id="seen", visible=False)
    with gr.Accordion("Part of the clip", open=False, visible=False, elem_id="trim") as part:
        # The page sets the maximum to the length of the clip; API calls may start within a day.
        start = gr.Slider(0, 86_400, 0, step=0.1, label="Start, s", buttons=[], elem_id="start")
        length = gr.Slider(0, context.limits.seconds, 0, step=0.1, label="Length, s (0 is all)",
                           buttons=[], elem_id="length")
    return preview, part, start, length


def _aim() -> tuple[gr.Radio, gr.Slider, gr.Number]:
    aim = gr.Radio([("Quality", "quality"), ("At most … kB", "size")], value="quality",
                   label="Aim for", elem_id="aim")
    quality = gr.Slider(0, 100, 50, step=1, label="Quality", elem_id="quality", buttons=[],
                        info="0 is the smallest file, 100 the closest picture")
    kilobytes = gr.Number(200, minimum=1, label="At most, kB", visible=False,
                          elem_id="kilobytes", info="1 kB is 1000 bytes")
    aim.change(lambda chosen: (gr.update(visible=chosen == "quality"),
                               gr.update(visible=chosen == "size")),
               aim, [quality, kilobytes], **job_progress.IMMEDIATE)
    return aim, quality, kilobytes


def _models() -> list[str]:
    """List the models that compress; the default one is the first."""
    # The task of a model that is not downloaded yet may be unknown.
    models = [entry.name for entry in hub.list_models() if entry.compresses
              or (entry.state == "remote" and not entry.task)]
    return sorted(models, key=lambda name: name != DEFAULT_CODEC)


def _file_choice(models: list[str]) -> gr.Radio | None:
    """Build the choice between the smallest file and one to edit; None where a model lacks."""
    if not set(_FILES.values()) <= set(models):
        return None
    return gr.Radio(list(_FILES.items()), value=DEFAULT_CODEC, label="Kind of file",
                    show_label=False, elem_id="kind")


def _connect(kind: gr.Radio | None, model: gr.Dropdown) -> None:
    """Let the choice of a file and that of a model follow each other, within the browser: a click
    on Compress right after takes the chosen one."""
    if kind is None:
        return
    kind.input(None, kind, model, js="chosen => chosen", **job_progress.IMMEDIATE)
    model.change(None, model, kind, **job_progress.IMMEDIATE,
                 js=f"chosen => {list(_FILES.values())}.includes(chosen) ? chosen : null")


def _more(models: list[str]) -> tuple[gr.Dropdown, gr.Dropdown, gr.Checkbox, gr.Slider]:
    with gr.Accordion("Model, size, effort, other codecs", open=False, elem_id="more"):
        model = gr.Dropdown(models, value=models[0], label="Model", elem_id="model")
        size = gr.Dropdown(uploads.SIZES, value="640", label="Longer side, px", elem_id="size",
                           info="Smaller is faster; nothing is enlarged")
        effort = gr.Slider(0, MAX_EFFORT, DEFAULT_EFFORT, step=1, label="Effort", buttons=[],
                           elem_id="effort", info="0 is the fastest; 9 takes the longest and makes "
                           "the smallest file of the same quality")
        baselines = gr.Checkbox(True, label="Also encode with x264 and AV1 at the same bytes",
                                elem_id="neighbours")
    return model, size, baselines, effort


def _results() -> list[Any]:
    """Build the outputs of a job, in their order."""
    display = gr.HTML(examples.opening_overview(), elem_id="stage")
    with gr.Row(visible=False, elem_id="downloads") as downloads:
        packed = gr.DownloadButton("Compressed .aev", variant="primary", elem_id="get-aev",
                                   min_width=100)
        decoded = gr.DownloadButton("Decoded .mp4", elem_id="get-mp4", min_width=100)
        original = gr.DownloadButton("Original .mkv", elem_id="get-original", min_width=100)
    figures = gr.HTML(examples.opening_figures(), elem_id="figures")
    facts = gr.JSON(visible=False, label="facts")
    return [packed, facts, decoded, original, display, downloads, figures]


def _checker(context: Context) -> Any:
    """Return a validator that refuses a clip before it enters the queue."""
    def check(clip: str | None, start: float = 0, length: float = 0, *others: Any
              ) -> list[dict[str, Any]]:
        problem = ""
        try:
            if clip is not None:
                info = uploads.probe(clip, context.limits.picture).info
                part = uploads.trim_of(start, length) or TimeSpan()
                check_expected_length(Path(clip).name, info, part, context.limits.clip)
        except AEHubError as error:
            problem = page_message(error)
        return [gr.validate(not problem, problem)] + [gr.validate(True, "")] * (2 + len(others))

    return check


def _runner(context: Context) -> Any:
    @errors_shown
    def run(clip: str | None, start: float = 0, length: float = 0, model: str = DEFAULT_CODEC,
            aim: str = "quality", quality: float = 50, kilobytes: float = 200,
            size: str = "640", neighbours: bool = True, effort: int = DEFAULT_EFFORT,
            request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Compress a clip, decode the file and measure the reconstruction.

        Args:
            clip: a video, or an animated GIF, WebP or PNG.
            start: seconds to leave out at the beginning.
            length: seconds to keep; 0 keeps all.
            model: name of a compression model.
            aim: "quality", or "size" to stay below `kilobytes`.
            quality: 0 (smallest file) to 100 (closest picture).
            kilobytes: limit of the file in kB of 1000 bytes, if `aim` is "size".
            size: limit of the longer side in pixels, or "as it is".
            neighbours: also encode with x264 and AV1 at the same number of bytes.
            effort: 0 (fastest) to 9 (smallest file at the same quality).

        Returns:
            The .aev file, the measurements, the decoded mp4, the working copy that the model got
            (lossless), and two pieces of the page.
        """
        if clip is None:
            raise InputError("there is no clip yet; drop one, or click an example.")
        longest, trim = uploads.longest_side(size), uploads.trim_of(start, length)
        work = uploads.job_size(context, clip, trim, longest)
        with context.folders.new() as folder, context.jobs.turn(
                request, "report", lambda card: [
                    *[gr.skip()] * 4, card, *[gr.update(visible=False)] * 2],
                size=work, progress=progress,
                seconds=context.throughput.expected(
                    work.pixels * work.frames, baselines=neighbours)) as turn:
            yield from turn.wait()
            began = time.monotonic()
            meter = job_progress.StageCards(context.throughput, progress, baselines=neighbours)
            outcome = yield from turn.run("report", {
                "source": clip, "folder": str(folder), "model": model, "quality": quality,
                "target_size": _target(kilobytes) if aim == "size" else None, "effort": effort,
                "longest": longest, "trim": trim, "baselines": neighbours,
                "limits": context.limits.clip}, meter.card, folder)
            report: CompressionReport = outcome.data
            if (effort, model) == (DEFAULT_EFFORT, DEFAULT_CODEC):  # Forecasts are for them.
                context.throughput.update(report)
            yield _finished(context, folder, report, time.monotonic() - began)

    return run


def _target(kilobytes: float | None) -> int:
    if kilobytes is None:
        raise InputError("no size is given; give the limit of the file in kB.")
    return round(1000 * kilobytes)


def _finished(
    context: Context, folder: Path, report: CompressionReport, elapsed: float
) -> list[Any]:
    packed = str(report.compressed.path)
    context.folders.save_facts(
        folder, {"prepared": report.prepared.name, "packed": Path(packed).name})
    return [packed, report.to_json(), str(report.decoded), str(report.prepared),
            results.overview(report, f"ae/jobs/{folder.name}", elapsed), gr.update(visible=True),
            gr.update(value=results.figures(report), visible=True)]
