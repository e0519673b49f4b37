"""A long job on the page: its events, its cards while it runs, and the button that ends it.

A model on its way from a hub, for people: how far it is, and stopped when nobody waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar, cast

import gradio as gr
from gradio.components import Component

from aehub import hub
from aehub.report.compression import STAGES, StageProgress
from aehub.results import Progress
from aehub.ui.formatting import bytes_text, progress_card, seconds_text
from aehub.ui.throughput import Throughput, time_left

_Step = TypeVar("_Step")
_Result = TypeVar("_Result")

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of events that programs do not see and that show no progress."""
IMMEDIATE: dict[str, Any] = {**PRIVATE, "queue": False}
"""Options of such events that are over in no time."""
STAGE_LABELS = {
    "prepare": "Reading the clip",
    "compress": "Compressing",
    "replay": "Decoding and measuring",
    "neighbours": "Asking x264 and AV1",
}
# Shares of the time before this machine has been measured.
_SHARES = {"prepare": 0.05, "compress": 0.45, "replay": 0.3, "neighbours": 0.2}


def model_event(stage: Component) -> dict[str, Any]:
    """Options of an event that runs a model, one at a time, and shows progress on `stage`."""
    return {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal",
            "show_progress_on": stage}


def connect_stop(
    button: gr.Button, events: list[dict[str, Any]], stage: Component, instead: str,
    *others: Component
) -> None:
    """Let `button` end jobs; a finished result stays on show.

    Args:
        button: is pressed.
        events: of the jobs.
        stage: shows how far a job is, then its result.
        instead: HTML that it shows where a job was ended.
        others: what is hidden then.
    """
    def stop(shown: str) -> list[Any]:
        # A job may run before it shows anything.
        if "ae-running" in shown or "ae-empty" in shown:
            return [instead, *(gr.update(visible=False) for _ in others)]
        return [gr.skip()] * (1 + len(others))

    # After the end of a job, or one of its updates on the way would be shown last.
    button.click(None, cancels=events, **IMMEDIATE).then(stop, stage, [stage, *others], **IMMEDIATE)


def run_job(job: Generator[_Step, None, _Result], card: Callable[[_Step], str],
            outputs: Callable[[str], Any]) -> Generator[Any, None, _Result]:
    """Run a job to its end, yielding outputs of the page while it goes on; return its result.

    Args:
        job: is closed at the end.
        card: HTML for a step of it.
        outputs: for that HTML.
    """
    shown_at = 0.0
    with closing(job):
        while True:
            try:
                html = card(next(job))
            except StopIteration as end:
                return cast(_Result, end.value)
            # Ten pictures a second look smooth; more would only fill the wire.
            if time.monotonic() - shown_at > 0.1:
                shown_at = time.monotonic()
                yield outputs(html)


def frame_card(doing: str, progress: Any) -> Callable[[Progress], str]:
    """Return a function that makes a card of each frame done, and tells Gradio's `progress`."""
    def counted(step: Progress) -> str:
        progress((step.done, step.total), desc=doing)
        return progress_card(f"{doing}: frame {step.done} of {step.total}",
                    share=step.done / step.total if step.total else 0)

    return counted


class StageCards:
    """Makes a card of each step of a report, and tells Gradio's `progress` of it.

    Args:
        throughput: what is known of this machine; tells how much of the time a stage takes.
        progress: of Gradio.
        baselines: whether the job has that stage.
    """

    def __init__(self, throughput: Throughput, progress: Any, *, baselines: bool) -> None:
        self._stages = [name for name in STAGES if baselines or name != "neighbours"]
        rates = {name: throughput.rate(name) for name in self._stages}
        shares = _SHARES if None in rates.values() else cast(dict[str, float], rates)
        whole = sum(shares[name] for name in self._stages)
        self._shares = {name: shares[name] / whole for name in self._stages}
        self._progress = progress
        self._began = time.monotonic()
        self._done = 0.0

    def card(self, step: StageProgress) -> str:
        """The card of a step; the share done never goes back."""
        now = self._stages.index(step.name)
        before = sum(self._shares[name] for name in self._stages[:now])
        within = step.done / step.total if step.total else 0.0
        # A search for a size encodes several times and starts over each time.
        self._done = max(self._done, before + self._shares[step.name] * min(1.0, within))
        label = STAGE_LABELS[step.name]
        if step.name != "neighbours" and step.total:
            label += f": frame {step.done} of {step.total}"
        self._progress(self._done, desc=label)
        left = time_left(self._began, self._done)
        items = "".join(
            f'<li class="{"done" if n < now else "now" if n == now else ""}">'
            f"{STAGE_LABELS[name]}</li>" for n, name in enumerate(self._stages))
        return progress_card(label, "" if left is None else f"{seconds_text(left)} left",
                             share=self._done, more=f"<ol>{items}</ol>")


_POLL_SECONDS = 0.1  # seconds between looks


class _Cancelled(Exception):
    """Nobody waits for the download any more."""


def iter_download(name: str) -> Generator[tuple[int, int], None, None]:
    """Fetch a model, yielding (bytes done, bytes in all) as it comes; closing it cancels.

    Raises:
        AEHubError: it cannot be fetched, or is not what it should be.
    """
    reached, failures, stop = [(0, 0)], [], threading.Event()

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise _Cancelled
        reached[0] = done, total

    def fetch() -> None:
        try:
            hub.download(name, progress=progress)
        except _Cancelled:
            pass
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            yield reached[0]
            time.sleep(_POLL_SECONDS)
    finally:
        stop.set()
    if failures:
        raise failures[0]
    yield reached[0]


def download_card(name: str, done: int, total: int) -> str:
    """A card with a bar."""
    note = f"{bytes_text(done)} of {bytes_text(total)}" if total else "asking the hub"
    return progress_card(f"Fetching {name}", note, share=done / total if total else 0)
