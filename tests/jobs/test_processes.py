"""Runs over many files in real processes: killed, interrupted, resumed; one worker and two."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from aehub.jobs.plan import MEDIA, Job, plan_files
from aehub.jobs.processes import LocalProcesses
from aehub.jobs.run import iter_events
from aehub.jobs.task import Failed, Finished, Task, Ticked
from jobs.conftest import (
    begin,
    check_speed,
    contents,
    leftovers,
    run,
    small_clips,
    wait_for_results,
    with_a_long_one,
)
from material import moving_picture, write_clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")
COMPRESS = ("--effort", "0", "--no-measure")


def children_of(process: int) -> list[int]:
    """Running child processes on Linux."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for_end(processes: list[int]) -> None:
    """Wait until processes ended, which takes them a moment after their parent."""
    deadline = time.monotonic() + 10
    while processes:
        assert time.monotonic() < deadline, f"{processes} outlived their parent"
        time.sleep(0.02)
        processes = [process for process in processes if is_running(process)]


def is_running(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_many_files_are_compressed_as_each_alone_would_be(
    clips: Path, compressed: Path, tmp_path: Path
) -> None:
    found = contents(compressed)
    assert list(found) == [f"reel{n % 3}/{n:03}.aev" for n in (0, 3, 1, 4, 2, 5)]
    alone = run("compress", clips / "reel1" / "004.mp4", tmp_path / "a.aev", "--effort", "0",
                cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "a.aev").read_bytes() == (compressed / "reel1" / "004.aev").read_bytes()


def test_a_second_run_skips_what_is_done_and_tells_all_as_one_object(
    clips: Path, compressed: Path
) -> None:
    before = contents(compressed)
    done = run("compress", "films", "-o", compressed, "--effort", "0", "--json", cwd=clips.parent)
    told = json.loads(done.stdout)
    assert (done.returncode, told["failed"], len(told["files"])) == (1, 1, 7)
    states = {one["source"]: one["state"] for one in told["files"]}
    assert states.pop("films/reel0/broken.mp4") == "failed"
    assert set(states.values()) == {"skipped"} and contents(compressed) == before
    keys = {"source", "path", "state", "error", "bytes", "frames", "psnr"}
    assert told["files"][0].keys() >= keys
    assert done.stderr.startswith("aehub: films/reel0/broken.mp4 is not a clip")
    assert done.stderr.count("\n") == 1


def test_killed_and_resumed_it_gives_what_one_run_gives(
    clips: Path, compressed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = begin("compress", "films", "-o", out, "--effort", "0", "--workers", "2",
                    cwd=clips.parent)
    wait_for_results(out, 2, running)
    workers = children_of(running.pid)
    running.kill()
    running.communicate()
    wait_for_end(workers)
    done = run("compress", "films", "-o", out, "--effort", "0", "--workers", "2", cwd=clips.parent)
    assert done.returncode == 1 and "skipped" in done.stdout
    assert contents(out) == contents(compressed) and not leftovers(out)


def test_an_interruption_exits_with_130_and_leaves_nothing_half_written(
    clips: Path, compressed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = begin("compress", with_a_long_one(clips, tmp_path), "-o", out, "--effort", "0",
                    "--workers", "2", cwd=tmp_path, start_new_session=True)
    wait_for_results(out, 1, running)
    workers = children_of(running.pid)
    # As a terminal does: to the workers too.
    os.killpg(running.pid, signal.SIGINT)
    stdout, stderr = running.communicate(timeout=30)
    assert (running.returncode, stdout, stderr) == (130, "", "")
    wait_for_end(workers)
    assert not leftovers(out)
    whole = contents(compressed)
    assert all(whole[name] == digest for name, digest in contents(out).items())


@pytest.mark.slow
def test_a_worker_that_is_killed_twice_costs_one_file_and_one_sentence(tmp_path: Path) -> None:
    """The others are done, by workers that follow."""
    long = write_clip(tmp_path / "long.mp4", moving_picture(60, 64, 64))
    short = write_clip(tmp_path / "short.mp4", moving_picture(2, 64, 64))
    tasks = [Task(number, "compress", {"source": str(path), "output": str(path) + ".aev",
                                       "effort": 0, "measure": False})
             for number, path in enumerate((long, short))]
    executor, killed, ended = LocalProcesses(1), 0, {}
    try:
        for event in iter_events(tasks, executor):
            if isinstance(event, Ticked) and event.number == 0:
                (worker,) = executor.process_ids
                os.kill(worker, signal.SIGKILL)
                killed += 1
            elif not isinstance(event, Ticked):
                ended[event.number] = event
    finally:
        executor.close()
    failed, finished = ended[0], ended[1]
    assert killed >= 2 and isinstance(failed, Failed) and isinstance(finished, Finished)
    assert "was killed, as happens where memory runs out" in failed.message
    assert finished.outcome.values["frames"] == 2


def test_workers_share_the_threads_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aehub.threads.cores", lambda: 8)
    monkeypatch.delenv("AEHUB_THREADS", raising=False)
    for asked, workers, each in ((1, 1, 8), (3, 3, 2), (8, 8, 1), (20, 8, 1)):
        executor = LocalProcesses(asked)
        assert (executor.slots, executor.n_threads) == (workers, each)
    monkeypatch.setenv("AEHUB_THREADS", "4")
    assert (LocalProcesses(3).slots, LocalProcesses(3).n_threads) == (3, 1)


def test_a_dry_run_starts_no_worker_and_makes_no_folder(clips: Path, tmp_path: Path) -> None:
    done = run("compress", "films", "-o", tmp_path / "out", "--dry-run", cwd=clips.parent)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1].split()[:2] == ["planned", "7"]
    assert f"films/reel1/001.mp4 -> {tmp_path / 'out' / 'reel1' / '001.aev'}" in lines
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_hundred_files_killed_twice_at_random_are_those_of_one_run(tmp_path: Path) -> None:
    films = small_clips(tmp_path / "films", 200)
    for number in range(0, 200, 40):
        (films / f"reel{number % 3}" / f"{number:03}.mp4").write_bytes(b"no film" * 99)
    arguments = ("compress", "films", "--workers", "2", *COMPRESS, "-o")
    whole = run(*arguments, "whole", cwd=tmp_path)
    assert whole.returncode == 1
    seed = random.randrange(1 << 32)
    chance, out = random.Random(seed), tmp_path / "out"
    for least, most in ((5, 80), (85, 180)):
        running = begin(*arguments, "out", cwd=tmp_path)
        wait_for_results(out, chance.randint(least, most), running)
        running.kill()
        running.communicate()
    done = run(*arguments, "out", cwd=tmp_path)
    assert done.returncode == 1 and "failed" in done.stdout
    complaints = done.stderr.splitlines()
    assert len(complaints) == 5 and all("is not a clip" in line for line in complaints)
    found = contents(out)
    assert len(found) == 195 and found == contents(tmp_path / "whole"), f"seed {seed}"
    assert not leftovers(out)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
def test_two_workers_are_at_least_1_6_times_as_fast_as_one_with_one_thread(tmp_path: Path) -> None:
    files = sorted(small_clips(tmp_path / "films", 24, n_frames=64).rglob("*.mp4"))

    def work(executor: LocalProcesses, turn: int) -> None:
        tasks = [Task(number, "compress", {
            "source": str(path), "output": f"{path}.{turn}.aev", "effort": 0, "measure": False})
            for number, path in enumerate(files)]
        assert sum(isinstance(event, Finished) for event in iter_events(tasks, executor)) == 24

    check_speed(work, 1.6)


def test_the_plan_of_the_clips_names_every_clip(clips: Path, tmp_path: Path) -> None:
    plan = plan_files(Job("compress", {}, ".aev", MEDIA), [str(clips)], tmp_path)
    assert len(plan) == 7 and not any(file.error for file in plan)
