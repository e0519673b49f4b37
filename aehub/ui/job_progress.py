"""Long jobs on the page: options of their events, progress cards, Stop buttons and downloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, TypeVar, cast

import gradio as gr
from gradio.components import Component

from aehub import hub
from aehub.errors import AEHubError
from aehub.report.compression import STAGES, StageProgress
from aehub.results import Progress
from aehub.ui.formatting import bytes_text, progress_card, seconds_text
from aehub.ui.throughput import Throughput, time_left

_POLL_SECONDS = 0.1
"""Time between two progress reports of a download."""
_Progress = TypeVar("_Progress")
_Result = TypeVar("_Result")

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of events that are no part of the API and show no progress."""
IMMEDIATE: dict[str, Any] = {**PRIVATE, "queue": False}
"""Options of such events that finish at once and need no queue."""
STAGE_LABELS = {
    "prepare": "Reading the clip",
    "compress": "Compressing",
    "replay": "Decoding and measuring",
    "neighbours": "Encoding with x264 and AV1",
}
# Shares of the time, until this machine has been measured.
_SHARES = {"prepare": 0.05, "compress": 0.45, "replay": 0.3, "neighbours": 0.2}


def model_event(display: Component) -> dict[str, Any]:
    """Return options of an event that takes its turn among the jobs, with progress on `display`.

    Gradio starts all of them at once: who is next is up to `PageJobs`.
    """
    return {"concurrency_limit": None, "show_progress": "minimal", "show_progress_on": display}


def connect_stop(
    button: gr.Button, events: list[dict[str, Any]], display: Component, placeholder: str,
    *others: Component
) -> None:
    """Let a button cancel jobs; a finished result stays visible.

    Args:
        button: the Stop button.
        events: of the jobs.
        display: shows the progress of a job, then its result.
        placeholder: HTML that `display` shows after a cancelled job.
        others: components to hide after a cancelled job.
    """
    def stop(shown: str) -> list[Any]:
        # A job may run before it shows anything.
        if "ae-running" in shown or "ae-empty" in shown:
            return [placeholder, *(gr.update(visible=False) for _ in others)]
        return [gr.skip()] * (1 + len(others))

    # After the job has ended, or an update that is still in transit would be shown last.
    button.click(None, cancels=events, **IMMEDIATE).then(
        stop, display, [display, *others], **IMMEDIATE)


def run_job(job: Generator[_Progress, None, _Result], card: Callable[[_Progress], str],
            outputs: Callable[[str], Any]) -> Generator[Any, None, _Result]:
    """Run a job to its end, yielding outputs of the page meanwhile; return its result.

    Args:
        job: yields its progress; closed at the end.
        card: makes the HTML of a progress card.
        outputs: makes the outputs of the event from that HTML.
    """
    shown_at = 0.0
    with closing(job):
        while True:
            try:
                html = card(next(job))
            except StopIteration as end:
                return cast(_Result, end.value)
            # Ten updates a second look smooth; more would only load the connection.
            if time.monotonic() - shown_at > 0.1:
                shown_at = time.monotonic()
                yield outputs(html)


def frame_card(doing: str, progress: Any) -> Callable[[Progress], str]:
    """Return a function that makes a card of each coded frame and updates Gradio's `progress`."""
    def card(now: Progress) -> str:
        progress((now.done, now.total), desc=doing)
        return progress_card(f"{doing}: frame {now.done} of {now.total}",
                             share=now.done / now.total if now.total else 0)

    return card


class StageCards:
    """Progress cards of a report, with its stages and the time left; updates Gradio's `progress`.

    Args:
        throughput: of this machine; gives the share of the time of each stage.
        progress: of Gradio.
        baselines: whether the job encodes with other codecs, too.
    """

    def __init__(self, throughput: Throughput, progress: Any, *, baselines: bool) -> None:
        self._stages = [name for name in STAGES if baselines or name != "neighbours"]
        rates = {name: throughput.rate(name) for name in self._stages}
        shares = _SHARES if None in rates.values() else cast(dict[str, float], rates)
        total = sum(shares[name] for name in self._stages)
        self._shares = {name: shares[name] / total for name in self._stages}
        self._progress = progress
        self._began = time.monotonic()
        self._done = 0.0

    def card(self, progress: StageProgress) -> str:
        """Return the card for a progress; the finished share never decreases."""
        current = self._stages.index(progress.name)
        before = sum(self._shares[name] for name in self._stages[:current])
        within = progress.done / progress.total if progress.total else 0.0
        # The search for a target size encodes several times, each time from the first frame.
        self._done = max(self._done, before + self._shares[progress.name] * min(1.0, within))
        label = STAGE_LABELS[progress.name]
        if progress.name != "neighbours" and progress.total:
            label += f": frame {progress.done} of {progress.total}"
        self._progress(self._done, desc=label)
        left = time_left(self._began, self._done)
        items = "".join(
            f'<li class="{"done" if n < current else "now" if n == current else ""}">'
            f"{STAGE_LABELS[name]}</li>" for n, name in enumerate(self._stages))
        return progress_card(label, "" if left is None else f"{seconds_text(left)} left",
                             share=self._done, more=f"<ol>{items}</ol>")


class _Cancelled(Exception):
    """The download was cancelled."""


def _iter_download(name: str) -> Generator[tuple[int, int], None, None]:
    """Download a model, yielding (bytes done, bytes in all); closing this cancels it.

    Raises:
        AEHubError: the download fails, or a file does not have its checksum.
    """
    latest, failures, stop = [(0, 0)], [], threading.Event()

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise _Cancelled
        latest[0] = done, total

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
            yield latest[0]
            time.sleep(_POLL_SECONDS)
    finally:
        stop.set()
    if failures:
        raise failures[0]
    yield latest[0]


def _download_card(name: str, done: int, total: int) -> str:
    """Return the card of a download."""
    note = f"{bytes_text(done)} of {bytes_text(total)}" if total else "asking the hub"
    return progress_card(f"Downloading {name}", note, share=done / total if total else 0)


def download_updates(name: str) -> Generator[tuple[Any, Any], None, None]:
    """Download a model, yielding updates of its progress and of its button; closing cancels it.

    Raises:
        AEHubError: as `_iter_download`; the button can be pressed again.
    """
    with closing(_iter_download(name)) as job:
        try:
            for done, total in job:
                card = _download_card(name, done, total)
                yield gr.update(value=card, visible=True), gr.update(interactive=False)
        except AEHubError:
            yield gr.update(visible=False), gr.update(interactive=True)
            raise
