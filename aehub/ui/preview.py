"""An upload before anything is done with it: what the page shows of it, and what it asks for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from aehub.clips.trim import Trim
from aehub.config import too_long
from aehub.errors import AEHubError
from aehub.review.glance import Look, look
from aehub.review.working import fit
from aehub.ui.guard import sentence
from aehub.ui.limits import Context
from aehub.ui.pace import duration_text
from aehub.ui.words import bytes_text, hint, rate_text, seconds_text
from aehub.words import count_text

SIZES = ["256", "480", "640", "960", "1280", "as it is"]


def shower(context: Context) -> Any:
    """A handler that shows a new upload, with the sliders that fit it and a forecast."""
    limits = context.limits

    def show(path: str | None, size: str, neighbours: bool) -> Iterator[tuple[Any, ...]]:
        nothing = gr.update(visible=False)
        if path is None:
            yield nothing, nothing, gr.update(value=0), gr.update(value=0), ""
            return
        try:
            seen = look(path, limits=limits.picture)
        except AEHubError as error:
            yield (gr.update(value=hint(sentence(error), "alert"), visible=True), nothing,
                   gr.skip(), gr.skip(), "")
            return
        most = limits.seconds
        is_long = seen.seconds is not None and too_long(seen.seconds, most)
        page = gr.update(value=_words(seen, Path(path).name, most if is_long else None),
                         visible=True)
        offered = seen.seconds is not None and seen.seconds > 1
        # Of what is too short to be cut, such as a picture, no slider could show a part.
        seconds = seen.seconds if offered and seen.seconds else most
        start = gr.update(value=0, maximum=round(seconds, 1))
        length = gr.update(value=most if is_long else 0, maximum=min(most, seconds))
        yield (page, gr.update(visible=offered, open=is_long), start, length,
               "Measuring this machine …")
        yield *(gr.skip() for _ in range(4)), _forecast(context, seen, size, neighbours)

    return show


def forecaster(context: Context) -> Any:
    """A handler that tells how long a job will take; nothing where it would be refused."""
    def forecast(path: str | None, start: float, length: float, size: str,
                 neighbours: bool) -> str:
        if path is None:
            return ""
        try:
            seen = look(path, trim=trim_of(start, length), limits=context.limits.picture,
                        with_sound=False)
            return _forecast(context, seen, size, neighbours)
        except AEHubError:
            # The same sentence comes, and is seen, when the job is started.
            return ""

    return forecast


def trim_of(start: float | None, length: float | None) -> Trim | None:
    """The part that two numbers mean; None for the whole clip."""
    begin, many = (Fraction(str(number or 0)) for number in (start, length))
    return Trim(begin, begin + many if many else None) if begin or many else None


def longest_side(size: str) -> int | None:
    """What a choice of `SIZES` means."""
    return None if size == SIZES[-1] else int(size)


def _forecast(context: Context, seen: Look, size: str, neighbours: bool) -> str:
    """How long a job will take on this machine, in words; empty if the clip does not say."""
    if seen.n_frames is None:
        return ""
    width, height = fit(seen.width, seen.height, longest_side(size))
    frames = min(seen.n_frames, round(context.limits.seconds * seen.fps))
    seconds = context.pace.forecast(width * height * frames, neighbours=neighbours)
    return (f"{width}×{height}, {count_text(frames, 'frame')}: {duration_text(seconds)} on this "
            "machine.")


def _words(seen: Look, name: str, most: float | None) -> str:
    length = "of unknown length" if seen.seconds is None else seconds_text(seen.seconds)
    sound = "with sound" if seen.has_sound else "silent"
    long = "" if most is None else hint(
        f"The clip is {length} long and this page takes {most:g} s. Choose the part below; the "
        f"first {most:g} s are set.", "status")
    remarks = "".join(f"<span>{escape(note)}</span>" for note in seen.notes)
    return (f'<div class="ae-clip"><img src="{_thumbnail(seen.picture)}" alt="First frame of '
            f'{escape(name)}"><div><b>{escape(name)}</b>'
            f"<span>{seen.width}×{seen.height}, {rate_text(seen.fps)} frames/s, {length}, {sound}, "
            f"{bytes_text(seen.bytes).replace(' ', '&nbsp;')}</span>{remarks}</div></div>{long}")


def _thumbnail(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((192, 144))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
