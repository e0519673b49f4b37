"""Measured speed of this machine: from a calibration clip at first, then from every job."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from aehub.errors import AEHubError
from aehub.report.records import CompressionReport
from aehub.results import run_job
from aehub.ui.page_jobs import PageJobs
from aehub.ui.result_folders import ResultFolders

_CALIBRATION_FRAMES, _CALIBRATION_SHAPE = 9, (144, 192, 3)
"""Frames of the calibration clip, and (height, width, channels) of each."""
_WEIGHT = 0.5
"""Weight of a new measurement in the moving average: the load changes, single jobs vary."""


class Throughput:
    """Seconds per million pixels of every stage; safe to use from several threads.

    Args:
        folders: for the folder of the calibration clip.
        jobs: in which the calibration clip takes its turn; None compresses it in this process.
    """

    def __init__(self, folders: ResultFolders, jobs: PageJobs | None = None) -> None:
        self._folders, self._jobs = folders, jobs
        self._rates: dict[str, float] = {}
        self._lock = threading.Lock()
        self._calibration = threading.Lock()

    def update(self, report: CompressionReport) -> None:
        """Update the moving averages from a finished job."""
        playback = report.playback
        megapixels = playback.width * playback.height * len(playback.times) / 1e6
        with self._lock:
            for stage, seconds in report.seconds.items():
                rate = seconds / megapixels
                before = self._rates.get(stage, rate)
                self._rates[stage] = before + _WEIGHT * (rate - before)

    def rate(self, stage: str) -> float | None:
        """Return the seconds per million pixels of a stage; None if not measured yet."""
        with self._lock:
            return self._rates.get(stage)

    def forecast(self, pixels: float, *, baselines: bool) -> float:
        """Predict the seconds of a job from the pixels of all its frames."""
        self._measure_once()
        return self.expected(pixels, baselines=baselines) or 0.0

    def expected(self, pixels: float, *, baselines: bool) -> float | None:
        """Return the `forecast` if the machine has been measured, else None; waits for nothing."""
        with self._lock:
            stages = [name for name in self._rates if baselines or name != "neighbours"]
            seconds = sum(self._rates[name] for name in stages) * pixels / 1e6
        return seconds if stages else None

    def warm_up(self) -> None:
        """Load the model and calibrate in the background, so that no visitor has to wait."""
        def calibrate() -> None:
            # A server that ends takes its folders away, also those of a calibration.
            with suppress(AEHubError, OSError):
                self._measure_once()

        threading.Thread(target=calibrate, name="aehub-warm-up", daemon=True).start()

    def _measure_once(self) -> None:
        """Compress the calibration clip twice: the first run, which loads the model, is dropped."""
        with self._calibration:
            if self._rates:
                return
            for _ in range(2):
                with self._folders.new() as folder:
                    report = _calibration_report(folder, self._jobs)
                    shutil.rmtree(folder, ignore_errors=True)
            self.update(report)


def _calibration_report(folder: Path, jobs: PageJobs | None) -> CompressionReport:
    from aehub.media.clip import open_clip
    from aehub.media.writer import open_writer
    from aehub.report.compression import iter_report

    # Motion that prediction follows: frames with nothing in common would be coded like stills.
    still = np.random.default_rng(0).integers(90, 160, _CALIBRATION_SHAPE, dtype=np.uint8)
    pictures = np.stack([np.roll(still, 3 * t, axis=1) for t in range(_CALIBRATION_FRAMES)])
    source = folder / "calibration.mkv"
    with open_clip(pictures) as clip, open_writer(source, info=clip.info) as writer:
        for frame in clip:
            writer.write(frame)
    if jobs is None:
        return run_job(iter_report(source, folder), None)
    with jobs.turn(None, "report", lambda card: None) as turn:
        for _ in turn.wait():
            pass
        job = turn.run("report", {"source": str(source), "folder": str(folder)},
                       lambda _: "", folder)
        report: CompressionReport = run_job(job, None).data
        return report


def time_left(began: float, done: float) -> float | None:
    """Extrapolate the seconds left; None before 4 % and half a second are over."""
    elapsed = time.monotonic() - began
    return elapsed * (1 - done) / done if done > 0.04 and elapsed > 0.5 else None
