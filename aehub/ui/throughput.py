"""How fast this machine is, learnt from a small trial first and from every job after it."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np

from aehub.report.records import CompressionReport
from aehub.results import run_job
from aehub.ui.result_folders import ResultFolders

_CALIBRATION_FRAMES, _CALIBRATION_SHAPE = 9, (144, 192, 3)
# A new measurement counts this much: machines change their pace, single jobs lie.
_WEIGHT = 0.5


class Throughput:
    """Seconds per million pixels of every stage; safe to use from several threads.

    Args:
        folders: gives the trial a folder.
    """

    def __init__(self, folders: ResultFolders) -> None:
        self._folders = folders
        self._rates: dict[str, float] = {}
        self._lock = threading.Lock()
        self._calibration = threading.Lock()

    def update(self, report: CompressionReport) -> None:
        """Learn from a finished job."""
        playback = report.playback
        megapixels = playback.width * playback.height * len(playback.times) / 1e6
        with self._lock:
            for stage, seconds in report.seconds.items():
                rate = seconds / megapixels
                before = self._rates.get(stage, rate)
                self._rates[stage] = before + _WEIGHT * (rate - before)

    def rate(self, stage: str) -> float | None:
        """Seconds per million pixels of a stage; None if not measured yet."""
        with self._lock:
            return self._rates.get(stage)

    def forecast(self, pixels: float, *, baselines: bool) -> float:
        """Seconds that a job of so many pixels in all frames will take."""
        self._measure_once()
        with self._lock:
            stages = [name for name in self._rates if baselines or name != "neighbours"]
            return sum(self._rates[name] for name in stages) * pixels / 1e6

    def warm_up(self) -> None:
        """Load the model and measure this machine aside, so that no visitor has to wait."""
        threading.Thread(target=self._measure_once, name="aehub-warm-up", daemon=True).start()

    def _measure_once(self) -> None:
        """One tiny job; the first pays for loading the model, so it does not count."""
        with self._calibration:
            if self._rates:
                return
            for _ in range(2):
                with self._folders.new() as folder:
                    report = _calibration_report(folder)
                    shutil.rmtree(folder, ignore_errors=True)
                self._rates.clear()
                self.update(report)


def _calibration_report(folder: Path) -> CompressionReport:
    from aehub.media.clip import open_clip
    from aehub.media.writer import open_writer
    from aehub.report.compression import iter_report

    # A picture that moves: frames without anything in common would all be coded alone.
    still = np.random.default_rng(0).integers(90, 160, _CALIBRATION_SHAPE, dtype=np.uint8)
    pictures = np.stack([np.roll(still, 3 * t, axis=1) for t in range(_CALIBRATION_FRAMES)])
    source = folder / "trial.mkv"
    with open_clip(pictures) as clip, open_writer(source, info=clip.info) as writer:
        for frame in clip:
            writer.write(frame)
    return run_job(iter_report(source, folder), None)


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
