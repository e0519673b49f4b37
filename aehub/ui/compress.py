"""Compress: a clip goes in; a file, a wipe player and honest numbers come out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from aehub import hub, review
from aehub.errors import AEHubError, InputError
from aehub.ui import examples, opening, preview, results, running
from aehub.ui.guard import gpu, sentence, told
from aehub.ui.pace import duration_text
from aehub.words import count_text

if TYPE_CHECKING:
    from aehub.ui.page import Context

TITLE = "Compress"
SIZES = ["256", "480", "640", "960", "1280", "as it is"]


def build(context: Context) -> None:
    """The panel, inside whatever block is open."""
    limits = context.limits
    with gr.Row(equal_height=False, elem_classes="ae-bench"):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            clip = gr.File(label=f"Clip, up to {limits.upload_mb} MB", height=132, elem_id="clip",
                           elem_classes="ae-drop")
            gr.HTML('<p class="ae-label">Or try one of these</p>')
            with gr.Row(elem_classes="ae-examples"):
                tried = [gr.Button(example.label, elem_id=f"example-{example.name}",
                                   elem_classes="ae-example")
                         for example in examples.EXAMPLES.values()]
            gr.HTML(f'<p class="ae-fine">{examples.HARD}</p>')
            seen = gr.HTML(elem_id="seen", visible=False)
            with gr.Accordion("Part of the clip", open=False, visible=False,
                              elem_id="trim") as part:
                # Ends where the clip does once there is one; programs begin anywhere in a day.
                start = gr.Slider(0, 86_400, 0, step=0.1, label="Start, s", buttons=[],
                                  elem_id="start")
                length = gr.Slider(0, limits.seconds, 0, step=0.1, label="Length, s (0 is all)",
                                   buttons=[], elem_id="length")
            aim = gr.Radio([("Quality", "quality"), ("At most … kB", "size")], value="quality",
                           label="Aim for", elem_id="aim")
            quality = gr.Slider(0, 100, 50, step=1, label="Quality", elem_id="quality", buttons=[],
                                info="0 is the smallest file, 100 the closest picture")
            kilobytes = gr.Number(200, minimum=1, label="At most, kB", visible=False,
                                  elem_id="kilobytes", info="1 kB is 1000 bytes")
            with gr.Accordion("Model, size, neighbours", open=False, elem_id="more"):
                model = gr.Dropdown(_models(), value=_models()[0], label="Model",
                                    elem_id="model")
                size = gr.Dropdown(SIZES, value="640", label="Longer side, px", elem_id="size",
                                   info="Smaller is faster; nothing is enlarged")
                neighbours = gr.Checkbox(True, elem_id="neighbours",
                                         label="Also encode with x264 and AV1 at the same bytes")
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Compress", variant="primary", elem_id="go", scale=3)
                stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=80)
            forecast = gr.HTML(elem_id="forecast", elem_classes="ae-forecast")
        with gr.Column(scale=8, min_width=320):
            stage = gr.HTML(opening.overview(), elem_id="stage")
            with gr.Row(visible=False, elem_id="downloads") as shelf:
                packed = gr.DownloadButton("Compressed .aev", variant="primary", elem_id="get-aev",
                                           min_width=100)
                decoded = gr.DownloadButton("Decoded .mp4", elem_id="get-mp4", min_width=100)
                original = gr.DownloadButton("Original .mkv", elem_id="get-original",
                                             min_width=100)
            figures = gr.HTML(opening.figures(), elem_id="figures")
            facts = gr.JSON(visible=False, label="facts")

    context.shared["packed"] = packed
    asked = [clip, start, length, model, aim, quality, kilobytes, size, neighbours]
    show, check, run = _handlers(context)
    given = [packed, facts, decoded, original, stage, shelf, figures]
    place: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1,
                             "show_progress": "minimal", "show_progress_on": stage}
    events: list[dict[str, Any]] = [
        go.click(run, asked, given, api_name="compress", validator=check, trigger_mode="once",
                 **place)]
    for button, name in zip(tried, examples.EXAMPLES, strict=True):
        # One click shows the result.
        drawn = button.click(_example(context, name), None, [clip, stage, go],
                             api_visibility="private", show_progress="hidden", concurrency_limit=8)
        events.append(drawn.success(run, asked, given, api_visibility="private", **place))
    gone = gr.update(visible=False)
    running.stops(stop, events, [stage, shelf, figures], [results.STOPPED, gone, gone])
    clip.change(
        show, [clip, size, neighbours], [seen, part, start, length, forecast],
        show_progress="hidden", api_visibility="private")
    gr.on([start.release, length.release, size.change, neighbours.change],
          _forecaster(context), [clip, start, length, size, neighbours], forecast,
          show_progress="hidden", api_visibility="private")
    aim.change(lambda chosen: (gr.update(visible=chosen == "quality"),
                               gr.update(visible=chosen == "size")),
               aim, [quality, kilobytes], queue=False, show_progress="hidden",
               api_visibility="private")


def _models() -> list[str]:
    # Of a model that is not fetched yet, the task may be unknown.
    return [entry.name for entry in hub.list_models() if entry.task == "video-compression" or (
        entry.state == "remote" and not entry.task)] or ["d4-codec"]


def _example(context: Context, name: str) -> Any:
    @told
    def use() -> Iterator[tuple[Any, Any, Any]]:
        # Whoever presses the button meanwhile would compress nothing, or what was there before.
        yield (gr.skip(), running.waiting("Drawing the example", "It is made once, at first use."),
               gr.update(interactive=False))
        ready = gr.update(interactive=True)
        with context.jobs.new() as folder:
            try:
                path = shutil.copyfile(examples.clip(name), folder / f"{name}.mkv")
            except AEHubError:
                yield gr.skip(), gr.skip(), ready
                raise
            yield (str(path), running.waiting("Waiting for a place", "Jobs run one after another."),
                   ready)

    return use


def trim_text(start: float | None, length: float | None) -> str | None:
    """The trim that two numbers mean; None for the whole clip."""
    start, length = start or 0, length or 0
    if start < 0 or length < 0:
        raise InputError(f"the part from {start:g} s of {length:g} s is not possible; give "
                         "numbers from 0 on.")
    if not start and not length:
        return None
    return f"{start:g}:" + (f"{start + length:g}" if length else "")


def longest_side(size: str) -> int | None:
    """What a choice of `SIZES` means."""
    if size not in SIZES:
        raise InputError(f"the size {size!r} is not offered; choose one of {', '.join(SIZES)}.")
    return None if size == SIZES[-1] else int(size)


def _handlers(context: Context) -> tuple[Any, Any, Any]:
    """(look at an upload, check before the queue, do the work)."""
    limits = context.limits

    def show(path: str | None, size: str, neighbours: bool) -> Iterator[tuple[Any, ...]]:
        yield from preview.shown(context, path, size, neighbours)

    def check(clip: str | None, start: float = 0, length: float = 0, model: str = "d4-codec",
              aim: str = "quality", quality: float = 50, kilobytes: float = 200,
              size: str = "640", neighbours: bool = True) -> list[dict[str, Any]]:
        problem = ""
        try:
            longest_side(size)
            part = trim_text(start, length)
            if clip is not None:
                review.look(clip, trim=preview.parsed(part), limits=limits.clip, with_sound=False)
        except AEHubError as error:
            problem = sentence(error)
        return [gr.validate(not problem, problem)] + [gr.validate(True, "")] * 8

    @told
    @gpu
    def run(clip: str | None, start: float = 0, length: float = 0, model: str = "d4-codec",
            aim: str = "quality", quality: float = 50, kilobytes: float = 200,
            size: str = "640", neighbours: bool = True,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Compress a clip, decode the file again and measure what came back.

        Args:
            clip: a video, or an animated GIF, WebP or PNG.
            start: seconds to leave out at the beginning.
            length: seconds to keep; 0 keeps all.
            model: name of a compression model.
            aim: "quality", or "size" to stay below `kilobytes`.
            quality: 0 (smallest file) to 100 (closest picture).
            kilobytes: most bytes of the file in thousands, where `aim` is "size".
            size: most pixels along the longer side, or "as it is".
            neighbours: also encode with x264 and AV1 at the same number of bytes.

        Returns:
            The .aev file, the measured facts, the decoded mp4, the original as the model saw it
            (lossless), and two pieces of the page.
        """
        if clip is None:
            raise InputError("there is no clip yet; drop one, or click an example.")
        began = time.monotonic()
        with context.jobs.new() as folder:
            job = review.iter_study(clip, folder, model=model, quality=quality,
                                    target_size=_target(aim, kilobytes),
                                    longest=longest_side(size), trim=trim_text(start, length),
                                    neighbours=neighbours, limits=limits.clip)
            meter = running.Meter(context.pace, neighbours=neighbours)

            def card(stage: review.Stage) -> str:
                state = meter.update(stage)
                progress(state.fraction, desc=state.label)
                return state.html()

            study = yield from running.watched(job, card, lambda card: [
                *[gr.skip()] * 4, card, *[gr.update(visible=False)] * 2])
            context.pace.note(study)
            yield _finished(context, folder, study, time.monotonic() - began)

    return show, check, run


def _target(aim: str, kilobytes: float | None) -> int | None:
    if aim == "quality":
        return None
    if aim != "size" or not kilobytes or kilobytes <= 0:
        raise InputError(f"the aim {aim!r} with {kilobytes} kB is not possible; choose quality, "
                         "or size with a number of kB above 0.")
    return round(1000 * kilobytes)


def _finished(context: Context, folder: Path, study: review.Study, elapsed: float) -> list[Any]:
    packed = str(study.compressed.path)
    context.jobs.remember(folder, {"prepared": study.prepared.name, "packed": Path(packed).name})
    return [packed, study.to_json(), str(study.decoded), str(study.prepared),
            results.overview(study, f"ae/jobs/{folder.name}", elapsed), gr.update(visible=True),
            gr.update(value=results.figures(study), visible=True)]


def _forecaster(context: Context) -> Any:
    def forecast(path: str | None, start: float, length: float, size: str,
                 neighbours: bool) -> str:
        if path is None:
            return ""
        try:
            part = trim_text(start, length)
            seen = review.look(path, trim=preview.parsed(part), limits=context.limits.picture,
                        with_sound=False)
            return forecast_text(context, seen, longest_side(size), neighbours)
        except AEHubError:
            # The same sentence comes, and is seen, when the job is started.
            return ""

    return forecast


def forecast_text(
    context: Context, seen: review.Look, longest: int | None, neighbours: bool
) -> str:
    """How long a job will take on this machine, in words; empty if the clip does not say."""
    if seen.n_frames is None:
        return ""
    width, height = review.fit(seen.width, seen.height, longest)
    frames = min(seen.n_frames, round(context.limits.seconds * seen.fps))
    seconds = context.pace.forecast(width * height * frames, neighbours=neighbours)
    size = f"{width}×{height}, {count_text(frames, 'frame')}"
    return f"{size}: {duration_text(seconds)} on this machine."
