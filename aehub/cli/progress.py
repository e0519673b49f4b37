"""A progress bar on stderr, for people only: silent when stderr is not a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

WIDTH = 30
INTERVAL = 0.1  # seconds between drawings


class Progress:
    """A `progress(done, total)` callback that draws one line and removes it at the end."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._stream = sys.stderr
        self._shown = self._stream.isatty()
        self._drawn_at = 0.0
        self._length = 0

    def __call__(self, done: float, total: float | None) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn_at >= INTERVAL:
            self._drawn_at = now
            self._draw(line(self._label, done, total))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._length:
            self._draw("")

    def _draw(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._length) + ("" if text else "\r"))
        self._stream.flush()
        self._length = len(text)


def line(label: str, done: float, total: float | None) -> str:
    """One line of progress; without a total only the count is known."""
    if not total:
        return f"{label} {done:g}"
    filled = round(WIDTH * min(done / total, 1.0))
    return f"{label} [{'#' * filled}{'.' * (WIDTH - filled)}] {done:g}/{total:g}"
