"""Memory of a worker of the page at each command: where `aehub/ui/page_jobs.py` has its numbers.

    PYTHONPATH=.:tests python docs/measure/job_memory.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from aehub.config import DEFAULT_CODEC
from aehub.jobs.warm_workers import WarmWorkers
from aehub.results import run_job
from aehub.ui.page_jobs import Size, memory_estimate
from material import moving_picture, write_clip

SHAPES = [(9, 640, 360), (40, 640, 360), (9, 1280, 720), (9, 1920, 1080)]
"""Frames, width and height of the clips."""


def peak_bytes(command: str, **arguments: Any) -> int:
    """Most memory of a new worker at one task."""
    workers = WarmWorkers(1, 2, None, ("warm-up", {"model": DEFAULT_CODEC}))
    try:
        run_job(workers.run(command, arguments, lambda: None), None)
    finally:
        workers.close()
    return workers.peak_bytes


def main() -> None:
    """Print MB, measured and estimated."""
    with tempfile.TemporaryDirectory() as name:
        for number, (frames, width, height) in enumerate(SHAPES):
            folder = Path(name, str(number))
            folder.mkdir()
            clip = write_clip(folder / "clip.mkv", moving_picture(frames, width, height))
            packed, size = folder / "clip.aev", Size(width * height, frames)
            measured = {
                "report": peak_bytes("report", source=str(clip), folder=str(folder), longest=None,
                                     baselines=False, effort=0),
                "decompress": peak_bytes("decompress", source=str(packed),
                                         output=str(folder / "clip.mp4")),
                "edit": peak_bytes("edit", source=str(packed), output=str(folder / "turned.aev"),
                                   operations="rotate 90"),
            }
            for command, taken in measured.items():
                print(f"{frames} frames of {width}x{height}, {command}: {taken / 1e6:.0f} MB, "
                      f"estimated {memory_estimate(command, size) / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
