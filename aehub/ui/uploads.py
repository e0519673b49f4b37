"""Uploads: files and values of requests are checked; a new upload is described, with a forecast."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from html import escape
from math import inf
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from aehub.bitstream import is_aev_file, validation
from aehub.config import Limits, exceeds_duration
from aehub.errors import AEHubError, count_text
from aehub.media.clip import open_clip
from aehub.media.picture import ClipInfo
from aehub.media.timestamps import TimeSpan
from aehub.report.prepare import ClipProbe, fit_size, probe_clip
from aehub.ui import examples
from aehub.ui.errors import errors_shown, page_message
from aehub.ui.formatting import (
    bytes_text,
    duration_text,
    hint,
    progress_card,
    rate_text,
    seconds_text,
)
from aehub.ui.limits import Context, PageLimits
from aehub.ui.page_jobs import Size
from aehub.ui.result_folders import ResultFolders

_TAKES_FILES = (gr.File, gr.DownloadButton)
_THUMBNAIL_SIZE = 192, 144
SIZES = ["256", "480", "640", "960", "1280", "as it is"]
"""Choices of the longer side, in pixels."""


class Refusal(gr.Error):
    """An error message that stays plain where Gradio formats it with `str`."""

    def __str__(self) -> str:
        return str(self.message)


class CheckedBlocks(gr.Blocks):
    """Blocks that accept only files of this server and values that their controls offer.

    Gradio downloads any URL that a request holds, for inputs of every kind, and its messages on
    wrong values name lists and types; here every input is checked first.

    Args:
        folders: of the uploads and results.
        options: of `gr.Blocks`.
    """

    def __init__(self, folders: ResultFolders, **options: Any) -> None:
        super().__init__(**options)
        self._folders = folders
        folders.queued_paths = self._queued_paths

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, *others: Any, **options: Any
    ) -> Any:
        """Check the inputs, then preprocess them as Gradio does."""
        checked = []
        for block, value in zip(block_fn.inputs, inputs, strict=False):
            checked.append(check_files(self._folders, value, isinstance(block, _TAKES_FILES)))
            # The choices of a control may have changed for this visitor.
            check_value(state[block._id] if state and block._id in state else block, value)
        checked += inputs[len(checked):]
        return await super().preprocess_data(block_fn, checked, state, *others, **options)

    def _queued_paths(self) -> list[str]:
        """List the paths in the inputs of queued and running jobs."""
        events = list(self._queue.event_ids_to_events.values())
        return [path for event in events if event.data is not None
                for path in _paths(event.data.data)]


def check_files(folders: ResultFolders, value: Any, takes_files: bool) -> Any:
    """Return an input with files reduced to their paths.

    Args:
        folders: of the uploads and results.
        value: parsed from JSON.
        takes_files: whether every value must be a file.

    Raises:
        Refusal: a file is not of this server, or was deleted.
    """
    if isinstance(value, list):
        return [check_files(folders, part, takes_files) for part in value]
    if isinstance(value, dict):
        path = str(_uploaded_file(folders, value.get("path")))
        return {"path": path, "meta": {"_type": "gradio.FileData"}}
    if takes_files and value is not None:
        _uploaded_file(folders, value if isinstance(value, str) else None)
        raise _not_uploaded(value)
    return value


def check_value(block: Any, value: Any) -> None:
    """Check a value against the choices or the range of its control.

    Raises:
        Refusal: names the control, the value and the choices or the range.
    """
    offers = isinstance(block, (gr.Dropdown, gr.Radio)) and block.value is not None
    if value is None and not offers:
        return
    label = str(getattr(block, "label", "")).partition(",")[0]
    if isinstance(block, (gr.Dropdown, gr.Radio, gr.CheckboxGroup)):
        choices = [choice for _, choice in block.choices]
        for one in value if isinstance(value, list) else [value]:
            if one not in choices:
                raise _refusal(f"{label} {str(one)[:40]!r} is not offered; choose among "
                               f"{', '.join(map(str, choices))}.")
    elif isinstance(block, (gr.Slider, gr.Number)):
        least, most = block.minimum or 0, inf if block.maximum is None else block.maximum
        if not isinstance(value, (int, float)) or not least <= value <= most:
            allowed = f"{least:g} or more" if most == inf else f"{least:g} to {most:g}"
            raise _refusal(f"{label} {str(value)[:40]!r} is not possible; give {allowed}.")


def _uploaded_file(folders: ResultFolders, path: Any) -> Path:
    file = folders.upload(path)
    if file is None:
        raise _not_uploaded(path)
    if not file.is_file():
        raise _refusal(f"{file.name} is not on this server any more: files are deleted after "
                       f"{folders.keep_seconds / 60:g} minutes. Drop it again.")
    if not file.name.startswith("."):
        return file
    # Gradio accepts and serves no hidden files in a temporary folder below its own.
    plain = file.with_name(file.name.lstrip(".") or "file")
    return plain if plain.exists() else Path(shutil.copyfile(file, plain))


def _not_uploaded(path: Any) -> Refusal:
    return _refusal(f"{str(path)[:80]!r} is no upload of this server; upload the file, and send "
                    "the path that the upload returned.")


def _refusal(sentence: str) -> Refusal:
    return Refusal(sentence, title="That did not work", print_exception=False)


def _paths(value: Any) -> list[str]:
    if isinstance(value, list):
        return [path for part in value for path in _paths(part)]
    path = value.get("path") if isinstance(value, dict) else None
    return [path] if isinstance(path, str) else []


def probe(path: str, limits: Limits) -> ClipProbe:
    """Probe an upload; its picture is a thumbnail.

    The file is opened once for its preview, its forecasts and the check before a job.

    Raises:
        InputError: it is no clip.
        LimitError: its pictures are larger than `limits`.
    """
    try:
        status = os.stat(path)
    except OSError:
        return probe_clip(path, limits)
    return _probe(path, (status.st_mtime_ns, status.st_size), limits)


@lru_cache(maxsize=16)
def _probe(path: str, version: tuple[int, int], limits: Limits) -> ClipProbe:
    probed = probe_clip(path, limits)
    image = Image.fromarray(probed.picture)
    image.thumbnail(_THUMBNAIL_SIZE)
    return replace(probed, picture=np.asarray(image))


def check_upload(path: str, limits: PageLimits, does: str, command: str) -> None:
    """Refuse a clip, picture or `.aev` file above the limits before it is worked on.

    Args:
        path: of the upload.
        limits: of the page.
        does: verb for the message, such as "searches".
        command: the command that does the same without limits.

    Raises:
        InputError: it is no clip, too long, or its pictures are too large.
    """
    if is_aev_file(Path(path)):
        limits.check(validation.info(path), does, command)
        return
    probed = probe(path, limits.picture)
    seconds = probed.seconds
    if seconds is None:
        # Only its end tells the length: reading beyond the limit raises, and it is short otherwise.
        with open_clip(path, limits=limits.clip) as clip:
            for _ in clip:
                pass
        seconds = 0.0
    limits.check({"seconds": seconds, "width": probed.info.width, "height": probed.info.height},
                 does, command)


def clip_input(context: Context, elem_id: str, prefix: str) -> tuple[gr.File, list[gr.Button]]:
    """Build the upload of a clip, and the buttons of the examples.

    Args:
        context: of the page.
        elem_id: of the upload.
        prefix: of the elem_id of each button, before the name of its example.
    """
    clip = gr.File(label=f"Clip, up to {context.limits.upload_mb} MB", height=132, elem_id=elem_id)
    gr.HTML('<p class="ae-label">Or try one of these</p>')
    with gr.Row(elem_classes="ae-examples"):
        buttons = [gr.Button(example.label, elem_id=f"{prefix}-{name}",
                             elem_classes=["ae-example", f"ae-example-{name}"])
                   for name, example in examples.EXAMPLES.items()]
    return clip, buttons


def example_handler(context: Context, name: str) -> Any:
    """Return a handler that puts an example into the upload; yields (clip, display, button)."""
    @errors_shown
    def use() -> Iterator[tuple[Any, Any, Any]]:
        # Disabled meanwhile: the button would take the previous clip, or none.
        yield (gr.skip(), progress_card("Making the example", "It is made once, at first use."),
               gr.update(interactive=False))
        ready = gr.update(interactive=True)
        with context.folders.new() as folder:
            try:
                path = shutil.copyfile(examples.clip(name), folder / f"{name}.mkv")
            except AEHubError:
                yield gr.skip(), gr.skip(), ready
                raise
            yield (str(path), progress_card("Waiting in the queue", "Jobs run one after another."),
                   ready)

    return use


def upload_handler(context: Context) -> Any:
    """Return a handler that shows a new upload, with sliders in its range and a forecast."""
    limits = context.limits

    def show(path: str | None, size: str, baselines: bool) -> Iterator[tuple[Any, ...]]:
        nothing = gr.update(visible=False)
        if path is None:
            yield nothing, nothing, gr.update(value=0), gr.update(value=0), ""
            return
        try:
            probed = probe(path, limits.picture)
        except AEHubError as error:
            yield (gr.update(value=hint(page_message(error), "alert"), visible=True), nothing,
                   gr.skip(), gr.skip(), "")
            return
        most, length_of_clip = limits.seconds, probed.seconds
        is_long = length_of_clip is not None and exceeds_duration(length_of_clip, most)
        page = gr.update(value=_clip_html(probed, Path(path).name, most if is_long else None),
                         visible=True)
        can_trim = length_of_clip is not None and length_of_clip > 1
        # A clip too short to trim, such as a picture, keeps the range of the limits.
        seconds = length_of_clip if can_trim and length_of_clip else most
        start = gr.update(value=0, maximum=round(seconds, 1))
        length = gr.update(value=most if is_long else 0, maximum=min(most, seconds))
        yield (page, gr.update(visible=can_trim, open=is_long), start, length,
               "Measuring this machine …")
        try:
            forecast = _forecast(context, probed.info, None, size, baselines)
        except AEHubError:
            # The machine cannot be measured; the job itself tells why when it is started.
            forecast = ""
        yield *(gr.skip() for _ in range(4)), forecast

    return show


def forecast_handler(context: Context) -> Any:
    """Return a handler that predicts the time of a job; nothing if the job would be refused."""
    def forecast(path: str | None, start: float, length: float, size: str,
                 baselines: bool) -> str:
        if path is None:
            return ""
        try:
            info = probe(path, context.limits.picture).info
            return _forecast(context, info, trim_of(start, length), size, baselines)
        except AEHubError:
            # The job itself shows the error when it is started.
            return ""

    return forecast


def trim_of(start: float | None, length: float | None) -> TimeSpan | None:
    """Return the part of a clip from start and length in seconds; None for all of it."""
    begin, duration = (Fraction(str(number or 0)) for number in (start, length))
    return TimeSpan(begin, begin + duration if duration else None) if begin or duration else None


def longest_side(size: str) -> int | None:
    """Return the pixels of a choice of `SIZES`; None for no limit."""
    return None if size == SIZES[-1] else int(size)


def _forecast(context: Context, info: ClipInfo, trim: TimeSpan | None, size: str, baselines: bool
              ) -> str:
    """Return the predicted time of a job in words; empty if it is unknown, or nothing is kept."""
    part = trim or TimeSpan()
    if info.n_frames is None or part.start * info.fps >= info.n_frames:
        return ""
    width, height = fit_size(info.width, info.height, longest_side(size))
    frames = _frames(context, info, part)
    seconds = context.throughput.forecast(width * height * frames, baselines=baselines)
    return (f"{width}×{height}, {count_text(frames, 'frame')}: {duration_text(seconds)} on this "
            "machine.")


def job_size(context: Context, path: str, trim: TimeSpan | None = None,
             longest: int | None = None) -> Size:
    """Return the size of a job on an upload: a clip, trimmed and made smaller, or an .aev file.

    Raises:
        InputError: it is no clip.
        LimitError: its pictures are larger than this page takes.
    """
    if is_aev_file(Path(path)):
        facts = validation.info(path)
        return Size(facts["width"] * facts["height"], facts["frames"])
    info = probe(path, context.limits.picture).info
    width, height = fit_size(info.width, info.height, longest)
    return Size(width * height, _frames(context, info, trim or TimeSpan()))


def _frames(context: Context, info: ClipInfo, part: TimeSpan) -> int:
    """Frames that are kept of a clip; if its length is unknown, as many as the page takes."""
    most = round(context.limits.seconds * info.fps)
    if info.n_frames is None:
        return most
    return min(part.expected_frames(info.n_frames, info.fps), most)


def _clip_html(probe: ClipProbe, name: str, most: float | None) -> str:
    length = "of unknown length" if probe.seconds is None else seconds_text(probe.seconds)
    sound = "with sound" if probe.has_sound else "silent"
    long = "" if most is None else hint(
        f"The clip is {length} long and this page takes {most:g} s. Choose the part below; the "
        f"first {most:g} s are set.", "status")
    info = probe.info
    remarks = "".join(f"<span>{escape(note)}</span>" for note in info.notes)
    size = bytes_text(info.source_bytes or 0).replace(" ", "&nbsp;")
    return (f'<div class="ae-clip"><img src="{_thumbnail(probe.picture)}" alt="First frame of '
            f'{escape(name)}"><div><b>{escape(name)}</b>'
            f"<span>{info.width}×{info.height}, {rate_text(info.fps)} frames/s, {length}, "
            f"{sound}, {size}</span>{remarks}</div></div>{long}")


def _thumbnail(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
