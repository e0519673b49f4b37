"""Threads: they sleep while they wait, and no more of them compute than the user allows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread
from threading import enumerate as enumerate_threads
from typing import Any

import numpy as np
import pytest
import torch

import aehub
from aehub import threads
from aehub.cli import main
from aehub.errors import DamagedError
from aehub.measure.video_codecs import encoder_threads
from aehub.media.clip import open_clip
from material import moving_picture, write_clip

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc and libgomp")


def fresh(code: str, *arguments: str, **settings: str) -> tuple[str, str]:
    """Output of a new interpreter on stdout and stderr, with only these settings of threads."""
    inherited = {name: value for name, value in os.environ.items()
                 if not name.startswith(("OMP_", "GOMP_", "AEHUB_THREADS"))}
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False,
                          capture_output=True, text=True, timeout=300,
                          env=inherited | {"PYTHONPATH": str(ROOT)} | settings)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@contextmanager
def busy(core: int) -> Iterator[None]:
    """A process that keeps one core busy."""
    loop = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", loop])
    try:
        yield
    finally:
        process.kill()
        process.wait()


WORK = """
import os, resource
os.sched_setaffinity(0, {cores})
import aehub, torch
from aehub.codecs.d4.codec import D4Codec
from aehub.hub import find
import numpy as np
model = D4Codec.from_pretrained(find("d4-codec"))
frames = [np.full((128, 128, 3), 9 * n, np.uint8) for n in range(3)]

def spent(n_threads):
    torch.set_num_threads(n_threads)
    model.encode(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for _ in range(3):
        model.encode(frames)
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - before

print(spent(2) / spent(1))
"""


@linux
def test_waiting_beside_a_busy_process_costs_no_time_of_the_processor() -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("one core has one thread")
    with busy(cores[0]):
        out, told = fresh(WORK.format(cores=set(cores)), OMP_DISPLAY_ENV="VERBOSE")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in told
    # Spinning, two threads spend ten times of what one does, and more.
    assert float(out) < 3


DECODE = """
import os, sys, time
os.sched_setaffinity(0, {cores})
import {first}
import aehub
for _ in aehub.decompress(sys.argv[1]): pass
spent = []
for _ in range(4):
    began = time.process_time()
    for _ in aehub.decompress(sys.argv[1]): pass
    spent.append(time.process_time() - began)
print(min(spent))
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("first", ["aehub", "torch"])
def test_decoding_beside_busy_processes_costs_little_more_time_of_the_processor(
    first: str, tmp_path: Path
) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("one core has one thread")
    file = str(tmp_path / "clip.aev")
    aehub.compress(moving_picture(17, 352, 288), file, measure=False)
    code = DECODE.format(cores=set(cores), first=first)
    alone = float(fresh(code, file)[0])
    with busy(cores[0]), busy(cores[1]):
        beside = float(fresh(code, file)[0])
    # A fifth more on an otherwise idle machine; spinning takes twice as much.
    assert beside < 1.5 * alone


@linux
def test_a_command_computes_with_as_many_threads_as_it_is_told(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(3, 64, 48))
    code = ("from aehub.cli import main\n"
            f"main(['compress', {str(clip)!r}, '--no-measure', '--threads', '1'], "
            "standalone_mode=False)\n"
            "import torch\nprint(torch.get_num_threads(), torch.get_num_interop_threads())")
    out, told = fresh(code, OMP_DISPLAY_ENV="VERBOSE", OMP_WAIT_POLICY="ACTIVE")
    assert out.splitlines()[-1] == "1 1"
    assert "OMP_NUM_THREADS = '1'" in told
    # What the user says of waiting stands.
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in told


CORES_USED = """
import sys, time
from aehub.cli import main
main(sys.argv[1:], standalone_mode=False)
wall, used = time.perf_counter(), time.process_time()
main(sys.argv[1:], standalone_mode=False)
print((time.process_time() - used) / (time.perf_counter() - wall))
"""


@linux
@pytest.mark.slow
def test_a_command_with_a_budget_of_one_thread_uses_one_core(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(17, 352, 288))
    file, back = str(tmp_path / "clip.aev"), str(tmp_path / "back.mp4")
    for command in (["compress", str(clip), file], ["decompress", file, back]):
        for option, settings in (([], {threads.VARIABLE: "1"}), (["--threads", "1"], {})):
            out, _ = fresh(CORES_USED, *command, *option, "--force", **settings)
            assert float(out.splitlines()[-1]) < 1.1, (command, option)


def test_the_budget_holds_where_torch_was_imported_first() -> None:
    code = "import torch, aehub; print(torch.get_num_threads(), torch.get_num_interop_threads())"
    assert fresh(code, AEHUB_THREADS="1")[0].split() == ["1", "1"]


SPIN = """
import os, time
import torch, aehub
from aehub import threads
print(torch.get_num_threads(), threads.workers())
picture, filters = torch.rand(1, 32, 96, 96), torch.rand(32, 32, 3, 3)

def work():
    for _ in range(60):
        torch.nn.functional.conv2d(picture, filters, padding=1)

def used(job):
    job()
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return (time.process_time() - cpu) / (time.perf_counter() - wall)

def alone():
    with threads.one_thread():
        work()

print(used(alone), used(lambda: threads.pool().submit(work).result()), torch.get_num_threads(),
      threads.pool().submit(torch.get_num_threads).result(), threads.free_workers(),
      threads.pool().submit(threads.free_workers).result())
from threading import Thread
Thread(target=lambda: print(torch.get_num_threads())).start()
"""


@linux
def test_a_thread_of_the_pool_computes_alone_and_changes_no_other_thread() -> None:
    """Nobody waits for it, so nobody spins, in whatever order torch was imported."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core has one thread")
    before, first, later = fresh(SPIN)[0].splitlines()
    count, workers = before.split()
    alone, pooled, *numbers = first.split()
    assert int(count) > 1 and float(alone) < 1.2 and float(pooled) < 1.2
    assert numbers == [count, "1", workers, "1"]
    assert later == count


def test_as_many_threads_compute_as_the_budget_and_the_container_allow(
    ours: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours.delenv(threads.VARIABLE)
    for quota, most in (("max 100000", 64), ("150000 100000", 2), ("5000 100000", 1), ("", 64)):
        (tmp_path / "cpu.max").write_text(quota)
        ours.setattr(threads, "_QUOTA", str(tmp_path / "cpu.max"))
        ours.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
        threads._quota.cache_clear()
        assert threads.cores() == threads.workers() == most
    (tmp_path / "cpu.max").write_text("150000 100000")
    threads._quota.cache_clear()
    ours.delenv("OMP_NUM_THREADS")
    threads.configure_openmp()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    ours.setenv(threads.VARIABLE, "1")
    assert threads.workers() == 1
    threads._quota.cache_clear()


@pytest.fixture
def ours() -> Iterator[pytest.MonkeyPatch]:
    """A place to change settings of threads that end with the test."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv(threads.VARIABLE, "1")
        yield patch
    torch.set_num_threads(before)


def n_threads() -> int:
    return len(os.listdir("/proc/self/task"))


@linux
def test_reading_and_writing_clips_start_no_threads_beyond_the_budget(
    tmp_path: Path, ours: pytest.MonkeyPatch
) -> None:
    frames = moving_picture(4, 64, 48)
    clip = write_clip(tmp_path / "clip.mp4", frames)
    packed = aehub.compress(clip, tmp_path / "clip.aev", measure=False)
    before = n_threads()
    for suffix in (".mp4", ".mkv", ".webm", ".png"):
        with open_clip(clip) as source:
            next(iter(source))
            assert n_threads() == before, suffix
        steps = aehub.iter_decompress_to(str(packed.path), tmp_path / f"back{suffix}")
        for _ in steps:
            assert n_threads() == before, suffix
    assert encoder_threads() == 1
    ours.setenv(threads.VARIABLE, "64")
    assert encoder_threads() == min(2, threads.cores())
    assert threads.budget() == min(64, threads.cores())


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "9" * 5000])
def test_a_budget_that_is_no_whole_number_is_refused_in_one_sentence(
    value: str, ours: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours.setenv(threads.VARIABLE, value)
    with pytest.raises(aehub.InputError, match="AEHUB_THREADS is .*whole number above zero"):
        aehub.load("d4-codec")
    with pytest.raises(aehub.InputError, match="AEHUB_THREADS"):
        aehub.compress([np.zeros((32, 32, 3), np.uint8)], tmp_path / "x.aev")


def test_a_budget_of_no_threads_is_wrong_usage(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compress", "clip.mp4", "--threads", "0"])
    assert ended.value.code == 2
    assert "--threads" in capsys.readouterr().err


def counted(log: list[str], error: Exception | None = None) -> Iterator[int]:
    """Numbers from 0, without end or until an error; the log says which thread closed it."""
    try:
        for number in range(10**9):
            if error is not None and number == 3:
                raise error
            yield number
    finally:
        log.append(current_thread().name)


@pytest.fixture
def two_threads(ours: pytest.MonkeyPatch) -> None:
    ours.setattr(threads, "cores", lambda: 2)
    ours.setenv(threads.VARIABLE, "2")


def test_items_are_made_ahead_up_to_a_bound_and_closed_where_they_were_made(
    two_threads: None
) -> None:
    log: list[str] = []
    made = []
    items = threads.ahead((made.append(n) or n for n in counted(log)), 3)
    assert [next(items) for _ in range(5)] == list(range(5))
    deadline = time.monotonic() + 10
    while len(made) < 8 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert made == list(range(8))
    items.close()
    assert log == ["aehub-ahead"]
    assert not [one for one in enumerate_threads() if one.name == "aehub-ahead"]


def test_an_error_of_an_item_made_ahead_comes_after_the_items_before_it(two_threads: None) -> None:
    log: list[str] = []
    items = threads.ahead(counted(log, DamagedError("a group is lost.")), 8)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DamagedError, match="a group is lost"):
        next(items)
    assert log == ["aehub-ahead"]


def test_an_iterator_that_is_left_open_does_not_keep_the_process_from_ending() -> None:
    code = ("from itertools import count\nfrom aehub import threads\nthreads.cores = lambda: 2\n"
            "items = threads.ahead(count(), 2)\nprint(next(items))")
    assert fresh(code)[0].split() == ["0"]


@pytest.mark.parametrize("step", ["decompress(sys.argv[1])",
                                  "iter_compress(sys.argv[2], sys.argv[1], force=True)"])
def test_a_process_ends_while_frames_are_on_their_way(step: str, tmp_path: Path) -> None:
    clip, packed = write_clip(tmp_path / "clip.mp4", moving_picture(40, 160, 128)), tmp_path / "a"
    aehub.compress(clip, packed, measure=False, effort=0)
    code = ("import sys, aehub\nfrom aehub import threads\nthreads.cores = lambda: 2\n"
            f"work = aehub.{step}\nnext(work)\nprint('begun')")
    assert fresh(code, str(packed), str(clip))[0] == "begun\n"


def test_a_budget_of_one_thread_makes_nothing_ahead(ours: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    items = threads.ahead(counted(log), 3)
    assert next(items) == 0
    items.close()
    assert log == [current_thread().name]


@linux
def test_cancelled_work_leaves_no_thread_and_no_file(two_threads: None, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(12, 64, 48))
    before = [one for one in enumerate_threads() if one.name == "aehub-ahead"]
    work = aehub.iter_compress(clip, tmp_path / "clip.aev", measure=False)
    next(work)
    work.close()
    assert os.listdir(tmp_path) == ["clip.mp4"]
    packed = aehub.compress(clip, tmp_path / "clip.aev", measure=False)
    back = aehub.iter_decompress_to(str(packed.path), tmp_path / "back.mp4")
    next(back)
    back.close()
    frames = aehub.decompress(str(packed.path))
    next(frames)
    frames.close()
    assert sorted(os.listdir(tmp_path)) == ["clip.aev", "clip.mp4"]
    assert [one for one in enumerate_threads() if one.name == "aehub-ahead"] == before
