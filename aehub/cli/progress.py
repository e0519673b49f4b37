"""A progress bar on stderr, for people only: silent when stderr is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LINE = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a `progress(done, total)` callback that draws one line, and remove the line at the end.

    Without a total, which is 0 then, only the count is known.
    """
    from tqdm import tqdm

    with tqdm(desc=label, bar_format=_LINE, leave=False, disable=None, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = max(done, total) if total else None
            bar.update(done - bar.n)

        yield progress
