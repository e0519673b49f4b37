"""What visitors may send as files: uploads and results of this server, and nothing else.

What kind a file is tells its content, as everywhere: no input asks for suffixes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from aehub.ui.jobs import Jobs

_TAKES_FILES = (gr.File, gr.DownloadButton)


class Refusal(gr.Error):
    """An error for visitors that reads the same where Gradio turns it into text."""

    def __str__(self) -> str:
        return str(self.message)


class Page(gr.Blocks):
    """A page that takes no file but its own uploads and results.

    Gradio fetches what a request names by an address, whatever the input is meant for; here every
    input is looked at before.

    Args:
        jobs: holds the uploads.
        options: of `gr.Blocks`.
    """

    def __init__(self, jobs: Jobs, **options: Any) -> None:
        super().__init__(**options)
        self._jobs = jobs
        jobs.waiting = self._named

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *others: Any, **options: Any
    ) -> Any:
        """Refuse files from elsewhere, then do as any page does."""
        pairs = zip(block_fn.inputs, inputs, strict=False)
        known = [checked(self._jobs, value, isinstance(block, _TAKES_FILES))
                 for block, value in pairs]
        known += inputs[len(known):]
        return await super().preprocess_data(block_fn, known, *others, **options)

    def _named(self) -> list[str]:
        """Paths that jobs in the queue name, those that run among them."""
        events = list(self._queue.event_ids_to_events.values())
        return [path for event in events if event.data is not None
                for path in _paths(event.data.data)]


def checked(jobs: Jobs, value: Any, takes_files: bool) -> Any:
    """An input with nothing left of what is said of files but their paths.

    Args:
        jobs: holds the uploads.
        value: as it came, parsed from JSON.
        takes_files: whether everything in it must be a file.

    Raises:
        Refusal: a file is none of this server, or not any more.
    """
    if isinstance(value, list):
        return [checked(jobs, part, takes_files) for part in value]
    if isinstance(value, dict):
        return {"path": str(_held(jobs, value.get("path"))), "meta": {"_type": "gradio.FileData"}}
    if takes_files and value is not None:
        _held(jobs, value if isinstance(value, str) else None)
        raise _refused(value)
    return value


def _held(jobs: Jobs, path: Any) -> Path:
    file = jobs.upload(path)
    if file is None:
        raise _refused(path)
    if not file.is_file():
        raise Refusal(f"{file.name} is not on this server any more: files are deleted after "
                      f"{jobs.keep_seconds / 60:g} minutes. Drop it again.", print_exception=False)
    return file


def _refused(path: Any) -> Refusal:
    return Refusal(f"{str(path)[:80]!r} is no upload of this server; upload the file, and name the "
                   "path that the upload answers with.", title="That did not work",
                   print_exception=False)


def _paths(value: Any) -> list[str]:
    if isinstance(value, list):
        return [path for part in value for path in _paths(part)]
    path = value.get("path") if isinstance(value, dict) else None
    return [path] if isinstance(path, str) else []
