"""Check what requests hold: files are uploads or results of this server, values are offered ones.

The kind of a file is told by its content, as everywhere: no input asks for suffixes.
"""

from __future__ import annotations

import shutil
from math import inf
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
    """A page that takes no file but its own uploads and results, and no value it does not offer.

    Gradio fetches what a request names by an address, whatever the input is meant for, and speaks
    of other wrong values in lists and types; here every input is looked at before.

    Args:
        jobs: holds the uploads.
        options: of `gr.Blocks`.
    """

    def __init__(self, jobs: Jobs, **options: Any) -> None:
        super().__init__(**options)
        self._jobs = jobs
        jobs.waiting = self._named

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, *others: Any, **options: Any
    ) -> Any:
        """Refuse what may not be sent, then do as any page does."""
        known = []
        for block, value in zip(block_fn.inputs, inputs, strict=False):
            known.append(checked(self._jobs, value, isinstance(block, _TAKES_FILES)))
            # What a control offers may have changed for this visitor.
            check_offered(state[block._id] if state and block._id in state else block, value)
        known += inputs[len(known):]
        return await super().preprocess_data(block_fn, known, state, *others, **options)

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
        raise _foreign(value)
    return value


def check_offered(block: Any, value: Any) -> None:
    """Hold a value to what its control offers.

    Raises:
        Refusal: naming the control, the value and what is offered.
    """
    offers = isinstance(block, (gr.Dropdown, gr.Radio)) and block.value is not None
    if value is None and not offers:
        return
    what = str(getattr(block, "label", "")).partition(",")[0]
    if isinstance(block, (gr.Dropdown, gr.Radio, gr.CheckboxGroup)):
        known = [choice for _, choice in block.choices]
        for one in value if isinstance(value, list) else [value]:
            if one not in known:
                raise _refusal(f"{what} {str(one)[:40]!r} is not offered; choose among "
                               f"{', '.join(map(str, known))}.")
    elif isinstance(block, (gr.Slider, gr.Number)):
        least, most = block.minimum or 0, inf if block.maximum is None else block.maximum
        if not isinstance(value, (int, float)) or not least <= value <= most:
            allowed = f"{least:g} or more" if most == inf else f"{least:g} to {most:g}"
            raise _refusal(f"{what} {str(value)[:40]!r} is not possible; give {allowed}.")


def _held(jobs: Jobs, path: Any) -> Path:
    file = jobs.upload(path)
    if file is None:
        raise _foreign(path)
    if not file.is_file():
        raise _refusal(f"{file.name} is not on this server any more: files are deleted after "
                       f"{jobs.keep_seconds / 60:g} minutes. Drop it again.")
    if not file.name.startswith("."):
        return file
    # Gradio takes and gives no hidden files where the temporary folder lies below its own.
    plain = file.with_name(file.name.lstrip(".") or "file")
    return plain if plain.exists() else Path(shutil.copyfile(file, plain))


def _foreign(path: Any) -> Refusal:
    return _refusal(f"{str(path)[:80]!r} is no upload of this server; upload the file, and name "
                    "the path that the upload answers with.")


def _refusal(sentence: str) -> Refusal:
    return Refusal(sentence, title="That did not work", print_exception=False)


def _paths(value: Any) -> list[str]:
    if isinstance(value, list):
        return [path for part in value for path in _paths(part)]
    path = value.get("path") if isinstance(value, dict) else None
    return [path] if isinstance(path, str) else []
