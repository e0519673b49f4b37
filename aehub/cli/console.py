"""The border where errors become one sentence and an exit code; no traceback passes it.

A progress bar on stderr, for people only: silent when stderr is not a terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from aehub.errors import AEHubError

FAILED = 1
INTERRUPTED = 130
EXTRAS = {"matplotlib": "plot", "gradio": "demo"}


class CommandGroup(click.Group):
    """A command group that reports every error of its commands in one sentence on stderr.

    Exit codes: 0 done, 1 bad input or data, 2 wrong usage (click's own), 130 interrupted, 128 and
    the number of a signal that ended it.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _unwinding():
                result = super().invoke(ctx)
            # A reader that went away is noticed here, not at the interpreter's exit.
            sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(FAILED) from None
        except Exception as error:
            if os.environ.get("AEHUB_DEBUG") == "1":
                traceback.print_exc()
            click.echo(f"aehub: {sentence(error)}", err=True)
            raise click.exceptions.Exit(FAILED) from None


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let signals that end a process unwind it, so that no unfinished file stays behind."""
    def end(number: int, frame: object) -> None:
        # Once is enough: a second one must not interrupt the cleaning up.
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    numbers = []
    if threading.current_thread() is threading.main_thread():
        # Under nohup a hang-up is ignored, and stays so.
        numbers = [number for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None))
                   if number is not None and signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def sentence(error: Exception) -> str:
    """What a user should read about `error`, on one line."""
    return " ".join(_words(error).split())


def _words(error: Exception) -> str:
    if isinstance(error, AEHubError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return f"{error.strerror}."
        return f"{click.format_filename(error.filename)}: {error.strerror}."
    if isinstance(error, MemoryError):
        return "there is not enough memory for this input; shorten it with --trim A:B."
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        extra = EXTRAS[error.name]
        return f"{error.name} is not installed; run: pip install 'aehub[{extra}]'"
    return (
        f"unexpected {type(error).__name__}: {error}; this is a bug, "
        "please report it with what AEHUB_DEBUG=1 prints."
    )


def _forget_stdout() -> None:
    """Point stdout nowhere, so that the final flush cannot meet the broken pipe again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


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
