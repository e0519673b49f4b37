"""Memory is bounded by a group, never by the clip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from material import moving_picture, write_clip

FPS = 10
# Loops do not matter here, and making 500 pictures would take longer than coding them.
PROGRAM = """
import resource, sys
import torch
torch.set_num_threads(1)
import aehub
clip, folder = sys.argv[1:]
result = aehub.compress(clip, folder + "/clip.aev", group=16, measure=True)
aehub.decompress_to(folder + "/clip.aev", folder + "/back.mkv")
print(result.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, seconds: int) -> int:
    """The most memory that a clip there and back takes, in kB."""
    pictures = moving_picture(50, 160, 96)
    clip = write_clip(folder / f"{seconds}.mp4", pictures * (seconds * FPS // 50), fps=FPS)
    place = folder / str(seconds)
    place.mkdir()
    done = subprocess.run([sys.executable, "-c", PROGRAM, clip, place], capture_output=True,
                          text=True, check=True)
    frames, kilobytes = map(int, done.stdout.split())
    assert frames == seconds * FPS
    return kilobytes


@pytest.mark.slow
def test_a_clip_ten_times_as_long_takes_no_more_memory(tmp_path: Path) -> None:
    short, long = peak(tmp_path, 5), peak(tmp_path, 50)
    assert long <= 1.1 * short
