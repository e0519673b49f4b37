"""What the page shows of an upload before anything is done with it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from PIL import Image

from aehub import review
from aehub.clips import Trim
from aehub.config import too_long
from aehub.errors import AEHubError
from aehub.ui.guard import sentence
from aehub.ui.words import bytes_text, rate_text, seconds_text

if TYPE_CHECKING:
    from aehub.ui.page import Context


def shown(
    context: Context, path: str | None, size: str, neighbours: bool
) -> Iterator[tuple[Any, ...]]:
    """Updates for (the clip in words, the row of trim sliders, start, length, forecast)."""
    from aehub.ui.compress import forecast_text, longest_side

    nothing = gr.update(visible=False)
    if path is None:
        yield nothing, nothing, gr.update(value=0), gr.update(value=0), ""
        return
    try:
        seen = review.look(path, limits=context.limits.picture)
    except AEHubError as error:
        told = f'<p class="ae-hint" role="alert">{escape(sentence(error))}</p>'
        yield gr.update(value=told, visible=True), nothing, gr.skip(), gr.skip(), ""
        return
    most = context.limits.seconds
    is_long = seen.seconds is not None and too_long(seen.seconds, most)
    page = gr.update(value=_words(seen, Path(path).name, most if is_long else None), visible=True)
    offered = seen.seconds is not None and seen.seconds > 1
    # Of what is too short to be cut, such as a picture, no slider could show a part.
    seconds = seen.seconds if offered and seen.seconds else most
    start = gr.update(value=0, maximum=round(seconds, 1))
    length = gr.update(value=most if is_long else 0, maximum=min(most, seconds))
    yield page, gr.update(visible=offered, open=is_long), start, length, "Measuring this machine …"
    yield (*(gr.skip() for _ in range(4)),
           forecast_text(context, seen, longest_side(size), neighbours))


def parsed(part: str | None) -> Trim | None:
    """A trim out of its text."""
    return None if part is None else Trim.parse(part)


def _words(seen: review.Look, name: str, most: float | None) -> str:
    length = "of unknown length" if seen.seconds is None else seconds_text(seen.seconds)
    sound = "with sound" if seen.has_sound else "silent"
    hint = ""
    if most is not None:
        hint = (f'<p class="ae-hint" role="status">The clip is {length} long and this page takes '
                f"{most:g} s. Choose the part below; the first {most:g} s are set.</p>")
    remarks = "".join(f"<span>{escape(note)}</span>" for note in seen.notes)
    return (f'<div class="ae-clip"><img src="{_thumbnail(seen.picture)}" alt="First frame of '
            f'{escape(name)}"><div><b>{escape(name)}</b>'
            f"<span>{seen.width}×{seen.height}, {rate_text(seen.fps)} frames/s, {length}, {sound}, "
            f"{bytes_text(seen.bytes).replace(' ', '&nbsp;')}</span>{remarks}</div></div>{hint}")


def _thumbnail(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((192, 144))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
