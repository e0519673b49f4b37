"""Runs on a real Ray of two workers: the same bytes, workers and drivers that are killed, words.

Tests that need Ray are skipped where it is not installed: `pip install 'aehub[ray]'` runs them.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from aehub.cli import main
from aehub.errors import InputError
from aehub.jobs.ray_workers import RayWorkers, _Actor, _pieces, _Worker
from aehub.jobs.run import iter_events
from aehub.jobs.task import Failed, Finished, Task, Ticked
from jobs.conftest import (
    begin,
    contents,
    leftovers,
    results,
    run,
    small_clips,
    wait_for_results,
    with_a_long_one,
)
from jobs.ray_cluster import Cluster, cluster
from material import moving_picture, write_clip

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None or not sys.platform.startswith("linux"),
    reason="needs Ray on Linux: pip install 'aehub[ray]'")
COMPRESS = ("--effort", "0", "--no-measure")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


def task(number: int, source: Path, output: str | Path) -> Task:
    return Task(number, "compress", {"source": str(source), "output": str(output), "effort": 0,
                                     "measure": False})


@needs_ray
def test_ray_and_local_processes_give_the_same_bytes_and_words(
    ray_cluster: Cluster, clips: Path, compressed: Path, tmp_path: Path
) -> None:
    done = run("compress", "films", "-o", tmp_path / "out", "--effort", "0", "--ray",
               ray_cluster.address, cwd=clips.parent)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("aehub: films/reel0/broken.mp4 is not a clip")
    assert contents(tmp_path / "out") == contents(compressed) and not leftovers(tmp_path / "out")


@needs_ray
def test_one_clip_in_parts_on_ray_is_the_file_of_one_worker(
    ray_cluster: Cluster, tmp_path: Path
) -> None:
    write_clip(tmp_path / "long.mp4", moving_picture(24, 64, 64))
    for name, more in (("alone.aev", ()), ("ray.aev", ("--ray", ray_cluster.address))):
        done = run("compress", "long.mp4", name, "--effort", "0", "--group", "8", *more,
                   cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "alone.aev").read_bytes() == (tmp_path / "ray.aev").read_bytes()


@needs_ray
def test_a_driver_that_is_killed_goes_on_where_it_was(
    ray_cluster: Cluster, clips: Path, compressed: Path, tmp_path: Path
) -> None:
    arguments = ("compress", "films", "-o", tmp_path / "out", "--effort", "0", "--workers", "2",
                 "--ray", ray_cluster.address)
    running = begin(*arguments, cwd=clips.parent)
    wait_for_results(tmp_path / "out", 2, running)
    running.kill()
    running.communicate()
    done = run(*arguments, cwd=clips.parent)
    assert done.returncode == 1 and "skipped" in done.stdout, done.stderr
    assert contents(tmp_path / "out") == contents(compressed) and not leftovers(tmp_path / "out")


@needs_ray
def test_an_interruption_exits_with_130_and_leaves_nothing_half_written(
    ray_cluster: Cluster, clips: Path, tmp_path: Path
) -> None:
    running = begin("compress", with_a_long_one(clips, tmp_path), "-o", tmp_path / "out",
                    "--effort", "0", "--ray", ray_cluster.address, cwd=tmp_path)
    wait_for_results(tmp_path / "out", 1, running)
    workers = ray_cluster.workers()
    running.send_signal(signal.SIGINT)
    assert (*running.communicate(timeout=60), running.returncode) == ("", "", 130)
    deadline = time.monotonic() + 20
    while set(workers) & set(ray_cluster.workers()):
        assert time.monotonic() < deadline, "workers outlived their run"
        time.sleep(0.05)
    assert not leftovers(tmp_path / "out")


@needs_ray
def test_the_task_of_a_worker_that_is_killed_is_done_by_another_one_once(
    ray_cluster: Cluster, tmp_path: Path
) -> None:
    long = write_clip(tmp_path / "long.mp4", moving_picture(60, 64, 64))
    short = write_clip(tmp_path / "short.mp4", moving_picture(2, 64, 64))
    executor, killed, ended = RayWorkers(ray_cluster.address, 1), 0, {}
    tasks = [task(number, path, f"{path}.aev") for number, path in enumerate((long, short))]
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
    assert "its worker died on " in failed.message and "as happens where memory runs out" in (
        failed.message)


@needs_ray
def test_results_come_through_ray_where_workers_see_no_common_folder(
    ray_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is not absolute means another place to them, as a path of another machine."""
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(4, 64, 64))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    executor = RayWorkers(ray_cluster.address, 1)
    pictures = Task(1, "decompress", {"source": str(tmp_path / "same.aev"),
                                      "output": "here/pictures"})
    try:
        list(iter_events([task(0, clip, tmp_path / "same.aev")], executor))
        events = list(iter_events([task(0, clip, "here/clip.aev"), pictures], executor))
    finally:
        executor.close()
    assert sum(isinstance(event, Finished) for event in events) == 2, events
    assert (tmp_path / "here" / "clip.aev").read_bytes() == (tmp_path / "same.aev").read_bytes()
    assert len(list((tmp_path / "here" / "pictures").glob("*.png"))) == 4


@needs_ray
def test_a_worker_out_of_memory_is_one_sentence(tmp_path: Path) -> None:
    """Ray ends workers on a machine whose memory is short; here it is at one percent.

    That may happen before a worker takes the file, or twice when it works on it.
    """
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(400, 64, 64))
    settings = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    with cluster(**settings) as running:
        done = run("compress", clip, "-o", tmp_path / "out", "--ray", running.address,
                   cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert re.match(rf"aehub: ({re.escape(str(clip))}|no worker can start): memory ran out on "
                    r"[\d.]+; give the cluster fewer workers, .*\n\Z", done.stderr), done.stderr


@needs_ray
def test_a_cluster_without_room_for_a_worker_is_refused(ray_cluster: Cluster) -> None:
    with pytest.raises(InputError, match="it needs 3 cores, and it has 2 cores"):
        RayWorkers(ray_cluster.address, n_threads=3)
    with pytest.raises(InputError, match="needs 1 core and 1 GPU"):
        RayWorkers(ray_cluster.address, n_gpus=1)


@needs_ray
def test_a_worker_that_finds_no_input_says_on_which_machine(
    ray_cluster: Cluster, tmp_path: Path
) -> None:
    executor = RayWorkers(ray_cluster.address, 1)
    try:
        (failed,) = iter_events([task(0, tmp_path / "no.mp4", tmp_path / "no.aev")], executor)
    finally:
        executor.close()
    assert isinstance(failed, Failed)
    assert failed.message.startswith("no.mp4 is not found on ") and "s3://" in failed.message


@needs_ray
@pytest.mark.slow
def test_two_hundred_files_on_ray_are_those_of_local_processes_whoever_is_killed(
    ray_cluster: Cluster, tmp_path: Path
) -> None:
    films = small_clips(tmp_path / "films", 200)
    for number in range(1, 200, 40):
        (films / f"reel{number % 3}" / f"{number:03}.mp4").write_bytes(b"no film" * 99)
    arguments = ("compress", "films", "--workers", "2", *COMPRESS, "-o")
    assert run(*arguments, "local", cwd=tmp_path).returncode == 1
    seed = random.randrange(1 << 32)
    chance, out = random.Random(seed), tmp_path / "out"
    on_ray = (*arguments, "out", "--ray", ray_cluster.address)
    running = begin(*on_ray, cwd=tmp_path)
    wait_for_results(out, chance.randint(5, 80), running)
    running.kill()
    running.communicate()
    running = begin(*on_ray, cwd=tmp_path)
    wait_for_results(out, chance.randint(85, 150), running)
    os.kill(chance.choice(ray_cluster.workers()), signal.SIGKILL)
    stdout, stderr = running.communicate(timeout=300)
    assert running.returncode == 1 and "skipped" in stdout, stderr
    complaints = stderr.splitlines()
    assert len(complaints) == 5 and all("is not a clip" in line for line in complaints), stderr
    found = contents(out)
    assert len(found) == 195 and found == contents(tmp_path / "local"), f"seed {seed}"
    assert not leftovers(out)


def test_ray_that_is_not_installed_is_one_sentence(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(main, ["compress", str(clips), "-o", str(tmp_path / "out"), "--ray",
                                     "auto"])
    assert done.exit_code == 1
    assert done.stderr == "aehub: Ray is not installed; run: pip install 'aehub[ray]'\n"


@needs_ray
@pytest.mark.parametrize(("address", "sentence"), [
    ("nonsense", "nonsense is no address of a Ray cluster"),
    ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9 (Connection refused)"),
    ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999"),
])
def test_a_wrong_address_is_one_sentence_at_once(
    address: str, sentence: str, clips: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    done = run("compress", "films", "-o", tmp_path / "out", "--ray", address, cwd=clips.parent)
    assert done.returncode == 1 and done.stderr.startswith(f"aehub: {sentence}"), done.stderr
    assert done.stderr.count("\n") == 1 and time.monotonic() - began < 30


@needs_ray
def test_a_folder_that_cannot_be_made_is_one_sentence_before_any_worker(
    clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = run("compress", "films", "-o", tmp_path / "file" / "out", "--ray", "127.0.0.1:9",
               cwd=clips.parent)
    assert done.returncode == 1 and "cannot be written" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_ray_is_for_many_files() -> None:
    done = CliRunner().invoke(main, ["decompress", "in.aev", "out.mp4", "--ray", "auto"])
    assert done.exit_code == 2 and "--ray is for many files" in done.stderr


def test_a_worker_of_another_version_says_so() -> None:
    process, reason = _Actor().start("99.0", 1)
    assert process == os.getpid() and "is of 99.0; install the same on all machines" in reason


def test_pieces_of_a_result_make_it_again_and_a_second_attempt_replaces_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aehub.jobs.ray_workers._PIECE_BYTES", 3)
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "sub").mkdir(parents=True)
    for name, data in (("a", b"12345678"), ("sub/b", b""), ("c", b"123")):
        (there / name).write_bytes(data)
    worker = _Worker(None)
    worker.begin(task(7, there, here))
    here.mkdir()
    (here / "a").write_bytes(b"an attempt that was longer")
    for piece in _pieces(7, there):
        worker.write(piece)
    end = Finished(7, None)  # type: ignore[arg-type]
    assert worker.end(end) is end and contents(here) == contents(there)


def test_a_result_that_cannot_be_written_here_fails_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"result")
    (tmp_path / "file").write_bytes(b"")
    worker = _Worker(None)
    worker.begin(task(7, tmp_path / "there", tmp_path / "file" / "out"))
    for piece in _pieces(7, tmp_path / "there"):
        worker.write(piece)
    end = worker.end(Finished(7, None))  # type: ignore[arg-type]
    assert isinstance(end, Failed) and end.message.startswith("its result cannot be written: ")


def test_a_worker_writes_into_a_folder_that_it_sees_and_into_one_of_its_own_otherwise(
    compressed: Path, tmp_path: Path
) -> None:
    source = next(iter(results(compressed)))
    for output, has_pieces in ((tmp_path / "a.mp4", False), (tmp_path / "no" / "a.mp4", True)):
        work = Task(0, "decompress", {"source": str(source), "output": str(output)})
        events = list(_Actor().work(work, 1e9))
        assert isinstance(events[-1], Finished) and output.exists() is not has_pieces
        assert any(type(event).__name__ == "_Piece" for event in events) is has_pieces
