"""Errors as one sentence and an exit code, never a traceback; the progress bar.

The bar is drawn on stderr if that is a terminal, and nowhere otherwise.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from aehub import errors

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXTRAS = {"matplotlib": "plot", "gradio": "demo"}
"""Package that an option needs -> the extra of aehub that installs it."""

# Nothing is left to collect at the exit of the process; looking for it takes a third of a second.
atexit.register(gc.freeze)


class ErrorReportingGroup(click.Group):
    """A command group that reports every error of its commands in one sentence on stderr.

    Exit codes: 0 done, 1 bad input or data, 2 wrong usage (click's own), 130 interrupted, 128 and
    the number of a signal that ended it.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _exit_on_signals(), _collecting_rarely():
                result = super().invoke(ctx)
            # A closed pipe is noticed here, not at the interpreter's exit.
            sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            _redirect_stdout_to_null()
            raise click.exceptions.Exit(EXIT_FAILED) from None
        except Exception as error:
            if os.environ.get("AEHUB_DEBUG") == "1":
                traceback.print_exc()
            click.echo(f"aehub: {sentence(error)}", err=True)
            raise click.exceptions.Exit(EXIT_FAILED) from None


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Exit by an exception on signals that end a process, so that unfinished files are removed."""
    def end(number: int, frame: object) -> None:
        # A second signal must not interrupt the cleaning up.
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    numbers = []
    if threading.current_thread() is threading.main_thread():
        # Signals that are ignored, as SIGHUP is under nohup, stay ignored.
        numbers = [number for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None))
                   if number is not None and signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


_COLLECTION = gc.get_threshold()


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Look for cyclic garbage rarely until `collect_as_usual`.

    Imports allocate a million objects that stay; searching them takes a fifth of a short command.
    """
    gc.set_threshold(100_000, *_COLLECTION[1:])
    try:
        yield
    finally:
        collect_as_usual()


def collect_as_usual() -> None:
    """Collect garbage as often as Python does by default; called when long work begins."""
    gc.set_threshold(*_COLLECTION)


def sentence(error: Exception) -> str:
    """The message for an error, on one line."""
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        extra = EXTRAS[error.name]
        return f"{error.name} is not installed; run: pip install 'aehub[{extra}]'"
    return errors.sentence(error)


def _redirect_stdout_to_null() -> None:
    """Point stdout to the null device, so that the final flush does not fail on the closed pipe."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


_LINE = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a `progress(done, total)` callback that draws one line, and remove the line at the end.

    A total of 0 means that it is unknown; then only the count is drawn.
    """
    from tqdm import tqdm

    with tqdm(desc=label, bar_format=_LINE, leave=False, disable=None, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            collect_as_usual()
            bar.total = max(done, total) if total else None
            bar.update(done - bar.n)

        yield progress


_FILES_LINE = "{desc} {percentage:3.0f}% |{bar}| [{elapsed}<{remaining}]"
_NAME_WIDTH = 40
"""Characters of the text about the file that is worked on."""


@contextmanager
def files_bar(label: str) -> Iterator[Callable[..., None]]:
    """Yield a callback for `aehub.jobs.run.RunProgress` that draws one line over all files, with
    the first of those that are worked on; remove the line at the end."""
    from tqdm import tqdm

    with tqdm(desc=label, total=1.0, bar_format=_FILES_LINE, leave=False, disable=None,
              file=sys.stderr) as bar:
        failed = 0

        def progress(done: int, total: int, running: tuple[Any, ...], finished: Any) -> None:
            nonlocal failed
            collect_as_usual()
            failed += finished is not None and bool(finished.error)
            parts = sum(one.share for one in running)
            text = f"{label} {done}/{total}" + (f", {failed} failed" if failed else "")
            if running:
                text += f", {running[0].source[-_NAME_WIDTH:]} {100 * running[0].share:.0f} %"
            bar.set_description_str(text, refresh=False)
            bar.update(min(1.0, (done + parts) / max(1, total)) - bar.n)

        yield progress
