"""Compare: rate-distortion curves of several codecs on the visitor's clip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import gradio as gr

from aehub import hub
from aehub.config import DEFAULT_CODEC
from aehub.errors import InputError
from aehub.measure import Comparison
from aehub.media.timestamps import TimeSpan
from aehub.results import Progress
from aehub.ui import formatting, job_progress, results, uploads
from aehub.ui.errors import errors_shown
from aehub.ui.formatting import bytes_text, empty_state, table
from aehub.ui.keyframes import LOCAL_STATES
from aehub.ui.limits import Context

TITLE = "Compare"
VIDEO_CODECS = ["x264-medium", "x265-medium", "svtav1-6", "vp9"]
_DEFAULT_BASELINES = ["x264-medium", "svtav1-6"]
MAX_FRAMES = 32
"""Frames of a clip to measure at most."""
MAX_SIDE = 480
"""Limit of the longer side in pixels."""
_EMPTY = empty_state("No curves yet", "Every codec codes the clip at six rates; the highest curve "
                     "is the best.")


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    models = [entry.name for entry in hub.list_models(states=LOCAL_STATES)
              if entry.compresses]
    models.sort(key=lambda name: name != DEFAULT_CODEC)
    default = models[:1] + _DEFAULT_BASELINES
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            clip = gr.File(label=f"Clip, up to {context.limits.upload_mb} MB", height=132,
                           elem_id="compared")
            codecs = gr.CheckboxGroup(models + VIDEO_CODECS, value=default, label="Codecs")
            frames = gr.Slider(1, MAX_FRAMES, 16, step=1, label="Frames", buttons=[],
                               info=f"From the start, at most {MAX_SIDE} px a side")
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Compare", variant="primary", elem_id="compare", scale=3)
                stop = gr.Button("Stop", scale=1, min_width=80)
        with gr.Column(scale=8, min_width=320):
            display = gr.HTML(_EMPTY, elem_id="curves")
            facts = gr.JSON(visible=False, label="facts")
    event = go.click(_runner(context, default), [clip, codecs, frames], [facts, display],
                     api_name="compare", trigger_mode="once", **job_progress.model_event(display))
    job_progress.connect_stop(stop, [event], display, _EMPTY)


def _runner(context: Context, default: list[str]) -> Any:
    @errors_shown
    def run(clip: str | None, codecs: list[str] = default, frames: float = 16,
            request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Measure rate and quality of several codecs on a clip.

        Args:
            clip: a video.
            codecs: names of codecs.
            frames: frames to use, from the start; at most 32.

        Returns:
            Every measured point, and a piece of the page.
        """
        if clip is None:
            raise InputError("there is no clip yet; drop one.")
        if not codecs:
            raise InputError("no codec is chosen; choose one or more.")
        began = time.monotonic()  # Again when it is the job's turn.

        def card(now: Progress) -> str:
            progress((now.done, now.total), desc="Comparing")
            elapsed, left = time.monotonic() - began, now.total - now.done
            return formatting.progress_card(
                f"Point {min(now.done + 1, now.total)} of {now.total}",
                f"{elapsed * left / now.done:.0f} s left" if now.done else "",
                share=now.done / now.total)

        part = TimeSpan(stop=Fraction(int(frames)), stop_in_frames=True)
        with context.folders.new() as folder, context.jobs.turn(
                request, "comparison", lambda card: (gr.skip(), card),
                size=uploads.job_size(context, clip, part, MAX_SIDE), progress=progress) as turn:
            yield from turn.wait()
            began = time.monotonic()
            outcome = yield from turn.run("comparison", {
                "source": clip, "folder": str(folder), "codecs": ",".join(codecs),
                "frames": int(frames), "longest": MAX_SIDE, "limits": context.limits.picture},
                card, folder)
            comparison: Comparison = outcome.data
        yield comparison.to_dict(), page(comparison)

    return run


def page(comparison: Comparison) -> str:
    """Return the curves, the verdict and the table of the measured points."""
    rows = []
    for codec in comparison.codecs:
        percent = comparison.mean_difference(codec)
        against = "–" if percent is None else f"{percent:+.0f} %"
        speed = comparison.speed(codec)
        points = comparison.curve(comparison.clips[0].name, codec)
        if speed is None:
            rows.append([codec, "–", "cannot code this clip", "–", "–"])
            continue
        encode, decode = speed
        rows.append([codec, against, f"{bytes_text(points[0].bytes)} – "
                     f"{bytes_text(points[-1].bytes)}", f"{encode:.0f}", f"{decode:.0f}"])
    head = ["Codec", f"Bits against {comparison.anchor}", "Files", "Encodes, frames/s",
            "Decodes, frames/s"]
    caption = ("Bits needed for the same PSNR, averaged over the range that all share "
               "(Bjøntegaard). Bytes without sound: whole .aev files against bare streams.")
    return (f'<div class="ae-results">{results.rd_curves(comparison)}'
            f"{results.comparison_verdict(comparison)}"
            f"{table(head, rows, caption=caption, mark=_model_row(comparison))}</div>")


def _model_row(comparison: Comparison) -> int:
    return next((row for row, codec in enumerate(comparison.codecs)
                 if codec in comparison.ours), -1)
