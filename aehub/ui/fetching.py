"""A model on its way from a hub, for people: how far it is, and stopped when nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from html import escape

from aehub import hub
from aehub.ui.words import bytes_text

_PAUSE = 0.1  # seconds between looks


class _Stopped(Exception):
    """Nobody waits for the download any more."""


def iter_download(name: str) -> Generator[tuple[int, int], None, None]:
    """Fetch a model, yielding (bytes done, bytes in all) as it comes; closing it cancels.

    Raises:
        AEHubError: it cannot be fetched, or is not what it should be.
    """
    reached, failures, stop = [(0, 0)], [], threading.Event()

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise _Stopped
        reached[0] = done, total

    def fetch() -> None:
        try:
            hub.download(name, progress=progress)
        except _Stopped:
            pass
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            yield reached[0]
            time.sleep(_PAUSE)
    finally:
        stop.set()
    if failures:
        raise failures[0]
    yield reached[0]


def html(name: str, done: int, total: int) -> str:
    """A card with a bar."""
    percent = round(100 * done / total) if total else 0
    told = f"{bytes_text(done)} of {bytes_text(total)}" if total else "asking the hub"
    return (f'<div class="ae-running" role="status"><h3>Fetching {escape(name)}</h3>'
            f'<div class="ae-track" role="progressbar" aria-valuenow="{percent}" '
            f'aria-valuemin="0" aria-valuemax="100" aria-label="Progress">'
            f'<i style="width:{percent}%"></i></div>'
            f'<div class="ae-left"><span>{percent} %</span><span>{told}</span></div></div>')
