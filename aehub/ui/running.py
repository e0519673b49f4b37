"""A job that runs, for people: what it does now, how far it is, how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any, TypeVar, cast

import gradio as gr
from gradio.components import Component

from aehub import review
from aehub.results import Step
from aehub.ui.pace import Pace, time_left
from aehub.ui.words import seconds_text

_Step = TypeVar("_Step")
_Result = TypeVar("_Result")

WORDS = {
    "prepare": "Reading the clip",
    "compress": "Compressing",
    "replay": "Decoding and measuring",
    "neighbours": "Asking x264 and AV1",
}
# Shares of the time before this machine has been measured.
_SHARES = {"prepare": 0.05, "compress": 0.45, "replay": 0.3, "neighbours": 0.2}


def waiting(title: str, sentence: str) -> str:
    """A card for the time before a job has begun."""
    return (f'<div class="ae-running" role="status"><h3>{escape(title)}</h3>'
            f'<div class="ae-left"><span>{escape(sentence)}</span></div></div>')


def counted(doing: str, done: int, total: int) -> str:
    """A card with a bar for a job that counts its frames."""
    percent = round(100 * done / total) if total else 0
    return (f'<div class="ae-running"><h3>{escape(doing)}: frame {done} of {total}</h3>'
            f'<div class="ae-track" role="progressbar" aria-valuenow="{percent}" '
            f'aria-valuemin="0" aria-valuemax="100" aria-label="Progress">'
            f'<i style="width:{percent}%"></i></div></div>')


def stops(button: gr.Button, events: list[dict[str, Any]], outputs: list[Component],
          instead: list[Any]) -> None:
    """Let `button` end jobs; a finished result stays on show.

    Args:
        button: is pressed.
        events: of the jobs.
        outputs: the stage, and what else shows something of a job.
        instead: what they show where a job was ended.
    """
    def stop(stage: str) -> list[Any]:
        # A job may run before it shows anything.
        unfinished = "ae-running" in stage or "ae-empty" in stage
        return instead if unfinished else [gr.skip() for _ in instead]

    quiet: dict[str, Any] = {
        "queue": False, "show_progress": "hidden", "api_visibility": "private"}
    # After the end of a job, or one of its updates on the way would be shown last.
    button.click(None, cancels=events, **quiet).then(stop, outputs[0], outputs, **quiet)


def watched(job: Generator[_Step, None, _Result], card: Callable[[_Step], str],
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


def counter(doing: str, progress: Any) -> Callable[[Step], str]:
    """Return a function that makes a card of each step, and tells Gradio's `progress` of it."""
    def card(step: Step) -> str:
        progress((step.done, step.total), desc=doing)
        return counted(doing, *step)

    return card


@dataclass(frozen=True)
class State:
    """A moment of a job: its stage, frames in it, the share done of all, seconds left."""

    stage: str
    stages: tuple[str, ...]
    done: int
    total: int
    fraction: float
    left: float | None

    @property
    def label(self) -> str:
        """One line of words."""
        if self.stage == "neighbours" or not self.total:
            return WORDS[self.stage]
        return f"{WORDS[self.stage]}: frame {self.done} of {self.total}"

    def html(self) -> str:
        """The same as a card with a bar."""
        now = self.stages.index(self.stage)
        items = "".join(
            f'<li class="{"done" if n < now else "now" if n == now else ""}">{WORDS[name]}</li>'
            for n, name in enumerate(self.stages))
        percent = round(100 * self.fraction)
        left = "" if self.left is None else f"{seconds_text(self.left)} left"
        return (f'<div class="ae-running"><h3>{escape(self.label)}</h3>'
                f'<div class="ae-track" role="progressbar" aria-valuenow="{percent}" '
                f'aria-valuemin="0" aria-valuemax="100" aria-label="Progress">'
                f'<i style="width:{percent}%"></i></div>'
                f'<div class="ae-left"><span>{percent} %</span><span>{left}</span></div>'
                f"<ol>{items}</ol></div>")


class Meter:
    """Turns the steps of a job into states.

    Args:
        pace: what is known of this machine; tells how much of the time a stage takes.
        neighbours: whether the job has that stage.
    """

    def __init__(self, pace: Pace, *, neighbours: bool) -> None:
        self._stages = tuple(name for name in review.STAGES if neighbours or name != "neighbours")
        shares = {name: pace.rate(name) or _SHARES[name] for name in self._stages}
        if any(pace.rate(name) is None for name in self._stages):
            shares = {name: _SHARES[name] for name in self._stages}
        whole = sum(shares.values())
        self._shares = {name: share / whole for name, share in shares.items()}
        self._began = time.monotonic()
        self._fraction = 0.0

    def update(self, step: review.Stage) -> State:
        """The state after a step; the share done never goes back."""
        before = sum(self._shares[name] for name in self._stages[:self._stages.index(step.name)])
        within = step.done / step.total if step.total else 0.0
        # A search for a size encodes several times and starts over each time.
        self._fraction = max(self._fraction, before + self._shares[step.name] * min(1.0, within))
        return State(step.name, self._stages, step.done, step.total, self._fraction,
                     time_left(self._began, self._fraction))
