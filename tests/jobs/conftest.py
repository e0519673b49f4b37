"""Small clips, the command in processes of its own, and what runs left."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aehub.jobs.processes import LocalProcesses
from material import moving_picture, write_clip

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
FRAMES, SIDE = 8, 64


def small_clips(folder: Path, count: int, n_frames: int = FRAMES) -> Path:
    """Write clips of 64x64 into three folders below one."""
    for number in range(count):
        place = folder / f"reel{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        write_clip(place / f"{number:03}.mp4", moving_picture(n_frames, SIDE, SIDE, number))
    return folder


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "aehub", *map(str, arguments)]


def run(*arguments: str | Path, cwd: Path, timeout: float = 300
        ) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(command(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True,
                          text=True, timeout=timeout, check=False)


def results(out: Path) -> list[Path]:
    """Files that are done, not those being written, whose folders come and go."""
    return sorted(out.glob("reel*/*.aev"))


def begin(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Start the command; what it prints is kept."""
    return subprocess.Popen(command(*arguments), cwd=cwd, env=ENVIRONMENT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def wait_for_results(out: Path, count: int, running: subprocess.Popen[str]) -> None:
    """Wait until so many files are done."""
    while len(results(out)) < count:
        assert running.poll() is None, running.communicate()
        time.sleep(0.005)


def with_a_long_one(clips: Path, folder: Path) -> Path:
    """Copy the clips and add a long one, which nobody compresses before he is interrupted."""
    films = shutil.copytree(clips, folder / clips.name)
    write_clip(films / "reel2" / "long.mp4", moving_picture(900, SIDE, SIDE))
    return films


def contents(folder: Path) -> dict[str, str]:
    """Visible files below a folder, and their checksums."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and ".aehub" not in path.parts}


def leftovers(folder: Path) -> list[str]:
    """Files that a run should not leave."""
    return [str(path) for path in folder.rglob("*")
            if path.name.endswith(".part") or "work" in path.parts]


def processor_seconds(process: int) -> float:
    """Of a process on Linux so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Processor time that all processes of the machine took so far, on Linux."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def check_speed(work: Callable[[LocalProcesses, int], None], least: float) -> None:
    """Check that two workers of one thread are `least` times as fast as one.

    Args:
        work: uses the executor; the number tells one turn from the others.
        least: ratio of the times. Where other processes take more than a tenth of the machine, the
            time is that of the processor, of the busiest worker, and the test counts as skipped.
    """
    executors = {count: LocalProcesses(count) for count in (1, 2)}
    wall, busiest, others = dict[int, float](), dict[int, float](), 0.0
    try:
        for turn, count in enumerate((1, 2, 1, 2, 2, 1)):
            executor = executors[count]
            executor.n_threads = 1
            began, machine = time.monotonic(), machine_seconds()
            before = {one: processor_seconds(one) for one in executor.process_ids}
            work(executor, turn)
            took = time.monotonic() - began
            each = [processor_seconds(one) - before.get(one, 0) for one in executor.process_ids]
            # The first turn of each starts its workers.
            if turn > 1:
                wall[count] = min(took, wall.get(count, took))
                busiest[count] = min(max(each), busiest.get(count, max(each)))
                strangers = machine_seconds() - machine - sum(each)
                others = max(others, strangers / took / (os.cpu_count() or 1))
    finally:
        for executor in executors.values():
            executor.close()
    told = f"wall {wall}, processor {busiest}, others {others:.0%}"
    print(told)
    assert busiest[1] / busiest[2] >= least, told
    if others > 0.1 and wall[1] / wall[2] < least:
        pytest.skip(f"other processes take the machine: {told}")
    assert wall[1] / wall[2] >= least, told


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips in three folders, and one that is none."""
    folder = small_clips(tmp_path_factory.mktemp("clips") / "films", 6)
    (folder / "reel0" / "broken.mp4").write_bytes(b"no film" * 99)
    return folder


@pytest.fixture(scope="session")
def compressed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, compressed in one run."""
    out = tmp_path_factory.mktemp("compressed") / "out"
    done = run("compress", "films", "-o", out, "--effort", "0", cwd=clips.parent)
    assert done.returncode == 1, done.stderr
    return out
