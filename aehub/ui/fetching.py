"""A model on its way from a hub, for people: how far it is, and stopped when nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

from aehub import hub
from aehub.ui.words import bytes_text, card

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
    note = f"{bytes_text(done)} of {bytes_text(total)}" if total else "asking the hub"
    return card(f"Fetching {name}", note, share=done / total if total else 0)
