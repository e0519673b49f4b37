"""How fast this machine is, learnt from a small trial first and from every job after it."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np

from aehub.report.records import Study
from aehub.results import finished
from aehub.ui.result_folders import Jobs

_TRIAL_FRAMES, _TRIAL_SHAPE = 9, (144, 192, 3)
# A new measurement counts this much: machines change their pace, single jobs lie.
_WEIGHT = 0.5


class Pace:
    """Seconds per million pixels of every stage; safe to use from several threads.

    Args:
        jobs: gives the trial a folder.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._rates: dict[str, float] = {}
        self._lock = threading.Lock()
        self._trial = threading.Lock()

    def note(self, study: Study) -> None:
        """Learn from a finished job."""
        replay = study.replay
        megapixels = replay.width * replay.height * len(replay.times) / 1e6
        with self._lock:
            for stage, seconds in study.seconds.items():
                rate = seconds / megapixels
                before = self._rates.get(stage, rate)
                self._rates[stage] = before + _WEIGHT * (rate - before)

    def rate(self, stage: str) -> float | None:
        """Seconds per million pixels of a stage; None if not measured yet."""
        with self._lock:
            return self._rates.get(stage)

    def forecast(self, pixels: float, *, neighbours: bool) -> float:
        """Seconds that a job of so many pixels in all frames will take."""
        self._measure_once()
        with self._lock:
            stages = [name for name in self._rates if neighbours or name != "neighbours"]
            return sum(self._rates[name] for name in stages) * pixels / 1e6

    def warm_up(self) -> None:
        """Load the model and measure this machine aside, so that no visitor has to wait."""
        threading.Thread(target=self._measure_once, name="aehub-warm-up", daemon=True).start()

    def _measure_once(self) -> None:
        """One tiny job; the first pays for loading the model, so it does not count."""
        with self._trial:
            if self._rates:
                return
            for _ in range(2):
                with self._jobs.new() as folder:
                    study = _tiny_study(folder)
                    shutil.rmtree(folder, ignore_errors=True)
                self._rates.clear()
                self.note(study)


def _tiny_study(folder: Path) -> Study:
    from aehub.media.clip import open_clip
    from aehub.media.writer import open_writer
    from aehub.report.compression import iter_study

    # A picture that moves: frames without anything in common would all be coded alone.
    still = np.random.default_rng(0).integers(90, 160, _TRIAL_SHAPE, dtype=np.uint8)
    pictures = np.stack([np.roll(still, 3 * t, axis=1) for t in range(_TRIAL_FRAMES)])
    source = folder / "trial.mkv"
    with open_clip(pictures) as clip, open_writer(source, info=clip.info) as writer:
        for frame in clip:
            writer.write(frame)
    return finished(iter_study(source, folder), None)


def duration_text(seconds: float) -> str:
    """Seconds in words, as roughly as a forecast is."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 90:
        return f"about {_rough(seconds)} s"
    return f"about {round(seconds / 60)} min"


def _rough(seconds: float) -> int:
    return round(seconds) if seconds < 10 else 5 * round(seconds / 5)


def time_left(began: float, done: float) -> float | None:
    """Seconds left at the pace so far; None while too little is known."""
    took = time.monotonic() - began
    return took * (1 - done) / done if done > 0.04 and took > 0.5 else None
