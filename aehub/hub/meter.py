"""Counts the bytes that huggingface_hub fetches, for a progress callback and against a limit."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from aehub.errors import WeightsError


class Meter:
    """Bytes of all files of one download together.

    Args:
        total: bytes announced for all files.
        progress: called as `progress(done, total)`; what it raises ends the download.
    """

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.total, self.done = total, 0
        self._progress = progress

    def add(self, count: int) -> None:
        """Count bytes; negative ones are fetched again."""
        self.done += count
        if self._progress is not None:
            self._progress(min(self.done, self.total), self.total)

    def finish(self) -> None:
        """All is there, whether fetched now or before."""
        self.add(self.total - self.done)

    def bar(self, size: int | None) -> Any:
        """What the client takes for its class of progress bars: one for a file of `size` bytes."""

        class FileBar(_Bar):
            meter, limit = self, size or 0

        return FileBar


class _Bar:
    """As much of a progress bar as the client uses."""

    meter: Meter
    limit: int

    def __init__(self, *args: Any, initial: int = 0, **options: Any) -> None:
        self.n = 0
        self.total = options.get("total")
        self.update(initial or 0)

    def update(self, count: int | float | None = 1) -> None:
        # A server may send more than it announced, without end.
        self.n += int(count or 0)
        if self.n > self.limit:
            raise WeightsError(f"the hub sends more than the {self.limit} bytes it announced; "
                               "what came is not used.")
        self.meter.add(int(count or 0))

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is drawn, so nothing is left to do."""

    refresh = set_description = set_description_str = set_postfix_str = (
        lambda self, *args, **options: None)
