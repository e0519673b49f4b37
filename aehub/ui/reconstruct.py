"""Arena: the visitor's clip through several autoencoders, side by side and measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import gradio as gr

from aehub import hub
from aehub.config import DEFAULT_CODEC
from aehub.errors import AEHubError, InputError, count_text
from aehub.media.timestamps import TimeSpan
from aehub.report.arena import MAX_PASSES, ArenaProgress
from aehub.report.arena_records import ArenaReport
from aehub.report.prepare import fit_size
from aehub.ui import arena_results, examples, job_progress, uploads
from aehub.ui.errors import errors_shown, page_message
from aehub.ui.formatting import (
    bytes_text,
    duration_text,
    empty_state,
    hint,
    progress_card,
    seconds_text,
    stopped_state,
)
from aehub.ui.keyframes import LOCAL_STATES
from aehub.ui.limits import Context
from aehub.ui.throughput import time_left

TITLE = "Arena"
MAX_MODELS = 6
"""Models of one job at most: the server holds the decoded clip of each."""
MAX_FRAMES = 96
"""Frames of a clip at most; autoencoders without a codec of their own take seconds for each."""
SIZES = ["256", "480", "640"]
"""Choices of the longer side, in pixels."""
_TICKED = 4
"""Models that are ticked at first."""
_ENCODES = 4
"""Encodes that equal bytes usually take."""
_EMPTY = empty_state("No contest yet", "Every autoencoder compresses the same clip to a real file "
                     "of equal size. Wipe between any two of them, and see what each has lost.")
_STAGES = {
    "prepare": "Reading the clip", "encode": "Compressing", "match": "Matching the size",
    "decode": "Decoding and measuring", "drift": "Compressing it again and again",
    "show": "Drawing the result",
}


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    speeds = _Speeds(context)
    with gr.Row(equal_height=False, elem_classes="ae-bench"):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            clip, buttons = uploads.clip_input(context, "arena-clip", "arena-example")
            names = _local_models()
            models = gr.CheckboxGroup(names, value=names[:_TICKED], elem_id="arena-models",
                                      label="Autoencoders", info=f"At most {MAX_MODELS}")
            _hub_models(context, models)
            settings = _settings()
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Reconstruct", variant="primary", elem_id="reconstruct", scale=3)
                stop = gr.Button("Stop", elem_id="arena-stop", scale=1, min_width=80)
            forecast = gr.HTML(elem_id="arena-forecast", elem_classes="ae-forecast")
        with gr.Column(scale=8, min_width=320):
            display = gr.HTML(_EMPTY, elem_id="arena")
    outputs = _results(display)

    inputs = [clip, models, *settings]
    run, options = _runner(context, names[:_TICKED], speeds), job_progress.model_event(display)
    events: list[dict[str, Any]] = [
        go.click(run, inputs, outputs, api_name="reconstruct", validator=_checker(context),
                 trigger_mode="once", **options)]
    for button, name in zip(buttons, examples.EXAMPLES, strict=True):
        # A click on an example also starts the job.
        ready = button.click(uploads.example_handler(context, name), None, [clip, display, go],
                             concurrency_limit=8, **job_progress.PRIVATE)
        events.append(ready.success(run, inputs, outputs, api_visibility="private", **options))
    job_progress.connect_stop(stop, events, display, stopped_state("reconstruct again"),
                              *outputs[-2:])
    changes = [clip.change, models.change, *(
        one.release if isinstance(one, gr.Slider) else one.change for one in settings)]
    gr.on(changes, _forecaster(context, speeds), inputs, forecast, **job_progress.PRIVATE)


def _local_models() -> list[str]:
    names = [entry.name for entry in hub.list_models(states=LOCAL_STATES) if entry.compresses]
    return sorted(names, key=lambda name: name != DEFAULT_CODEC)


def _hub_models(context: Context, models: gr.CheckboxGroup) -> None:
    """Build the list of models that are on a hub and not here; one is downloaded and ticked."""
    with gr.Accordion("More on a hub", open=False, elem_classes="ae-fold"):
        name = gr.Dropdown(_remote_choices(), value=None, label="Fetch", elem_id="arena-hub",
                           info="Other models are fetched by aehub download org/name")
        progress = gr.HTML(visible=False)
        get = gr.Button("Download", size="md", elem_id="arena-get")
    get.click(_fetch, [name, models], [models, name, progress, get], api_visibility="private",
              concurrency_id="fetch", concurrency_limit=1, show_progress="hidden",
              trigger_mode="once")
    # Models may have been downloaded since the page was built.
    context.shared["tab"].select(
        lambda: (gr.update(choices=_local_models()), gr.update(choices=_remote_choices())), None,
        [models, name], **job_progress.IMMEDIATE)


def _remote_choices() -> list[tuple[str, str]]:
    """Return (label, name) of the models on a hub: those of the registry, and well-known ones."""
    here = _local_models()
    names = {entry.name: entry.name for entry in hub.list_models(states=["remote"])
             if entry.compresses or not entry.task}
    for known in hub.known_models():
        size = f", {bytes_text(known.bytes)}" if known.bytes else ""
        names.setdefault(known.repo, f"{known.repo}{size}")
    return [(label, name) for name, label in names.items() if name not in here]


@errors_shown
def _fetch(name: str | None, ticked: list[str]) -> Iterator[list[Any]]:
    if name not in [offered for _, offered in _remote_choices()]:
        raise InputError("no model of the list is named; choose one.")
    with closing(job_progress.download_updates(name)) as updates:
        for update in updates:
            yield [gr.skip(), gr.skip(), *update]
    names = _local_models()
    # It may turn out to be no codec.
    value = [*ticked, *({name} & {*names} - {*ticked})]
    yield [gr.update(choices=names, value=value), gr.update(choices=_remote_choices(), value=None),
           gr.update(visible=False), gr.update(interactive=True)]


def _settings() -> list[Any]:
    """Build the controls: aim, quality, kilobytes, frames, size, passes."""
    aim = gr.Radio([("Equal bytes", "size"), ("One quality", "quality")], value="size",
                   label="Compare at", elem_id="arena-aim")
    kilobytes = gr.Number(0, minimum=0, label="At most, kB", elem_id="arena-kilobytes",
                          info="0: a size that suits them all")
    quality = gr.Slider(0, 100, 50, step=1, label="Quality", visible=False, buttons=[],
                        elem_id="arena-quality", info="Of each model's own scale")
    frames = gr.Slider(1, MAX_FRAMES, 24, step=1, label="Frames", buttons=[],
                       elem_id="arena-frames", info="From the start")
    with gr.Accordion("Picture size, drift", open=False, elem_classes="ae-fold"):
        size = gr.Dropdown(SIZES, value="480", label="Longer side, px", elem_id="arena-size",
                           info="Nothing is enlarged")
        passes = gr.Slider(0, MAX_PASSES, 0, step=1, label="Encode-decode passes", buttons=[],
                           elem_id="arena-passes",
                           info="Compresses what came back, so often; 0 leaves it out")
    aim.change(lambda chosen: (gr.update(visible=chosen == "size"),
                               gr.update(visible=chosen == "quality")),
               aim, [kilobytes, quality], **job_progress.IMMEDIATE)
    return [aim, quality, kilobytes, frames, size, passes]


def _results(display: gr.HTML) -> list[Any]:
    """Build the outputs of a job, in their order."""
    figures = gr.HTML(visible=False, elem_id="arena-figures")
    with gr.Row(visible=False, elem_id="arena-downloads", elem_classes="ae-shelf") as downloads:
        table = gr.DownloadButton("CSV", elem_id="get-csv", min_width=90)
        numbers = gr.DownloadButton("JSON", elem_id="get-json", min_width=90)
        picture = gr.DownloadButton("Picture", elem_id="get-picture", variant="primary",
                                    min_width=90)
    facts = gr.JSON(visible=False, label="facts")
    return [facts, table, numbers, picture, display, figures, downloads]


class _Speeds:
    """Measured seconds per million pixels of every model; guessed for those that never ran here.

    Args:
        context: whose throughput is that of the default model.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._measured: dict[str, tuple[float, float]] = {}

    def update(self, report: ArenaReport) -> None:
        """Take the seconds of a finished job."""
        megapixels = report.width * report.height / 1e6
        for one in report.results:
            self._measured[one.model] = (one.encode_seconds / megapixels,
                                         one.decode_seconds / megapixels)

    def unknown(self, models: list[str]) -> list[str]:
        """Return the models that never ran here, other than the default."""
        return [name for name in models if name not in (DEFAULT_CODEC, *self._measured)]

    def forecast(self, models: list[str], pixels: float, encodes: int, passes: int) -> float:
        """Predict the seconds of a job from the pixels of all its frames."""
        usual = self._context.throughput.forecast(1e6, baselines=False) / 2
        pairs = [self._measured.get(name, (usual, usual)) for name in models]
        again = max(0, passes - 1)
        # Measuring, and writing the video, take about as long as an encode of the default model.
        return pixels / 1e6 * sum(usual + (encodes + again) * encode + (1 + again) * decode
                                  for encode, decode in pairs)


def _forecaster(context: Context, speeds: _Speeds) -> Any:
    """Return a handler that predicts the time of a job, or names the limit that it breaks."""
    def forecast(clip: str | None, models: list[str], aim: str, quality: float, kilobytes: float,
                 frames: float, size: str, passes: float) -> str:
        try:
            _check_models(models)
            if clip is None:
                return ""
            info = uploads.probe(clip, context.limits.picture).info
        except AEHubError as error:
            return hint(page_message(error), "alert")
        width, height = fit_size(info.width, info.height, int(size), info.pixel_aspect)
        count = min(int(frames), info.n_frames or MAX_FRAMES)
        seconds = speeds.forecast(models, width * height * count,
                                  _ENCODES if aim == "size" else 1, int(passes))
        new = speeds.unknown(models)
        unknown = f" Not run here yet, and perhaps slower: {', '.join(new)}." if new else ""
        return (f"{width}×{height}, {count_text(count, 'frame')}, "
                f"{count_text(len(models), 'model')}: {duration_text(seconds)} on this "
                f"machine.{unknown}")

    return forecast


def _check_models(models: list[str] | None) -> None:
    if not models:
        raise InputError("no autoencoder is ticked; tick one or more.")
    if len(models) > MAX_MODELS:
        raise InputError(f"{len(models)} autoencoders are ticked and this page takes at most "
                         f"{MAX_MODELS}; untick some.")


def _checker(context: Context) -> Any:
    """Return a validator that refuses a job before it enters the queue."""
    def check(clip: str | None, models: list[str], *others: Any) -> list[dict[str, Any]]:
        def problem_of(check: Callable[[], Any]) -> dict[str, Any]:
            try:
                check()
            except AEHubError as error:
                return gr.validate(False, page_message(error))
            return gr.validate(True, "")

        return [problem_of(lambda: clip and uploads.probe(clip, context.limits.picture)),
                problem_of(lambda: _check_models(models)),
                *(gr.validate(True, "") for _ in others)]

    return check


def _runner(context: Context, default: list[str], speeds: _Speeds) -> Any:
    @errors_shown
    def run(clip: str | None, models: list[str] = default, aim: str = "size",
            quality: float = 50, kilobytes: float = 0, frames: float = 24, size: str = "480",
            passes: float = 0, request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()  # noqa: B008
            ) -> Iterator[list[Any]]:
        """Compress a clip with several autoencoders and measure what each keeps of it.

        Args:
            clip: a video, or an animated GIF, WebP or PNG.
            models: names of autoencoders on this server, at most 6.
            aim: "size" for files of equal bytes, or "quality".
            quality: 0 (smallest file) to 100 (closest picture), if `aim` is "quality".
            kilobytes: limit of each file in kB of 1000 bytes, if `aim` is "size"; 0 finds a size
                that suits them all: the mean of those at quality 50.
            frames: frames to use, from the start; at most 96.
            size: limit of the longer side in pixels.
            passes: also compress what came back, so often, and measure the drift; at most 10.

        Returns:
            The measurements, the same as CSV and JSON, a picture to share, and pieces of the page.
        """
        if clip is None:
            raise InputError("there is no clip yet; drop one, or click an example.")
        _check_models(models)
        part = TimeSpan(stop=Fraction(int(frames)), stop_in_frames=True)
        with context.folders.new() as folder, context.jobs.turn(
                request, "arena", lambda card: [
                    *[gr.skip()] * 4, card, *[gr.update(visible=False)] * 2],
                size=uploads.job_size(context, clip, part, int(size)), progress=progress) as turn:
            yield from turn.wait()
            outcome = yield from turn.run("arena", {
                "source": clip, "folder": str(folder), "models": models,
                "quality": quality if aim == "quality" else 50,
                "target_size": round(1000 * kilobytes) if aim == "size" and kilobytes else None,
                "equal_bytes": aim == "size", "drift_passes": int(passes), "longest": int(size),
                "trim": part, "limits": context.limits.clip}, _card(progress), folder)
            report: ArenaReport = outcome.data
            speeds.update(report)
            yield _finished(folder, report)

    return run


def _card(progress: gr.Progress) -> Callable[[ArenaProgress], str]:
    began = time.monotonic()

    def card(now: ArenaProgress) -> str:
        activity = f"{_STAGES[now.stage]}{f': {now.model}' if now.model else ''}"
        frame = f"frame {now.done} of {now.total}" if now.total else ""
        progress(now.share, desc=activity)
        left = time_left(began, now.share)
        note = frame if left is None else f"{frame}, {seconds_text(left)} left".removeprefix(", ")
        return progress_card(activity, note, share=now.share)

    return card


def _finished(folder: Path, report: ArenaReport) -> list[Any]:
    facts, url = report.to_json(), f"ae/jobs/{folder.name}"
    table, numbers = (folder / f"{report.name}.arena.{suffix}" for suffix in ("csv", "json"))
    table.write_text(report.to_csv(), encoding="utf-8")
    numbers.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return [facts, str(table), str(numbers), str(report.picture),
            arena_results.overview(report, url),
            gr.update(value=arena_results.figures(report), visible=True),
            gr.update(visible=True)]
