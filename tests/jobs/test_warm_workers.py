"""Workers of a server in real processes: cancelled, killed, out of memory, ended with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aehub.errors import AEHubError, LimitError
from aehub.jobs.task import Outcome, Ticked
from aehub.jobs.warm_workers import WarmWorkers, WorkerError
from aehub.report.compression import STAGES
from aehub.results import run_job
from jobs.conftest import ENVIRONMENT, processor_seconds
from jobs.test_processes import is_running, wait_for_end
from material import moving_picture, write_clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")
MEGABYTE = 1_000_000


@pytest.fixture
def workers() -> Iterator[WarmWorkers]:
    one = WarmWorkers(1, 2)
    one.start()
    yield one
    one.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", moving_picture(64, 320, 240))


def verified(workers: WarmWorkers, clip: Path) -> Outcome:
    """A task that takes no time; its file is none, which is an error of its own."""
    with pytest.raises(AEHubError, match=r"clip\.mkv"):
        run_job(workers.run("verify", {"source": str(clip)}, lambda: None), None)
    return Outcome()


def until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_cancelled_task_stops_and_its_worker_takes_the_next(
    workers: WarmWorkers, clip: Path, tmp_path: Path
) -> None:
    (before,) = workers.process_ids
    ended: list[float] = []
    out = tmp_path / "out.aev"
    job = workers.run("compress", {"source": str(clip), "output": str(out)},
                      lambda: ended.append(time.monotonic()))
    until(lambda: isinstance(next(job), Ticked), 60)
    assert not ended
    job.close()
    stopped = time.monotonic()
    until(lambda: ended)
    assert ended[0] - stopped < 3
    used = processor_seconds(before)
    time.sleep(0.5)
    assert processor_seconds(before) - used < 0.2
    assert not list(tmp_path.iterdir())
    verified(workers, clip)
    assert workers.process_ids == [before] and len(ended) == 1


def test_a_task_that_does_not_stop_loses_its_worker_and_the_next_works(
    workers: WarmWorkers, clip: Path, tmp_path: Path
) -> None:
    (before,) = workers.process_ids
    pipe, ended = tmp_path / "nobody-writes.aev", list[bool]()
    os.mkfifo(pipe)
    job = workers.run("verify", {"source": str(pipe)}, lambda: ended.append(is_running(before)))
    until(lambda: isinstance(next(job), Ticked))
    job.close()
    until(lambda: ended, 10)
    assert ended == [False], "the slot was given away while the process was at it"
    verified(workers, clip)
    assert len(workers.process_ids) == 1 and workers.process_ids != [before]


def test_a_killed_worker_is_one_sentence_and_the_next_task_works(
    workers: WarmWorkers, clip: Path, tmp_path: Path
) -> None:
    job = workers.run("compress", {"source": str(clip), "output": str(tmp_path / "out.aev")},
                      lambda: None)
    until(lambda: isinstance(next(job), Ticked), 60)
    (process,) = workers.process_ids
    os.kill(process, signal.SIGKILL)
    with pytest.raises(AEHubError, match="^the process of this job was killed, as happens where "
                                         "memory runs out; try it once more"):
        run_job(job, None)
    verified(workers, clip)


def test_a_worker_that_was_killed_while_it_waited_is_not_noticed(
    workers: WarmWorkers, clip: Path
) -> None:
    verified(workers, clip)
    (process,) = workers.process_ids
    os.kill(process, signal.SIGKILL)
    wait_for_end([process])
    verified(workers, clip)


def test_a_task_beyond_the_memory_limit_ends_with_both_numbers_and_the_next_works(
    clip: Path, tmp_path: Path
) -> None:
    large = write_clip(tmp_path / "large.mkv", moving_picture(8, 1280, 720))
    limit = 400
    workers = WarmWorkers(1, 2, limit * MEGABYTE)
    try:
        job = workers.run("compress", {"source": str(large), "output": str(tmp_path / "out.aev")},
                          lambda: None)
        with pytest.raises(LimitError) as caught:
            run_job(job, None)
        said = re.fullmatch(r"the job took (\d+) MB of memory and this server gives one 400 MB; "
                            r"make the picture smaller, or take a shorter part\.",
                            caught.value.message)
        assert said and limit < int(said[1]) < 2 * limit
        assert workers.peak_bytes == pytest.approx(int(said[1]) * MEGABYTE, rel=0.5)
        verified(workers, clip)
        # A job within the limit is left alone.
        small = write_clip(tmp_path / "small.mkv", moving_picture(2, 64, 48))
        done = run_job(workers.run("compress", {
            "source": str(small), "output": str(tmp_path / "small.aev"), "effort": 0},
            lambda: None), None)
        assert done.values["frames"] == 2
    finally:
        workers.close()


def test_progress_of_the_page_comes_with_its_own_record(
    workers: WarmWorkers, clip: Path, tmp_path: Path
) -> None:
    job = workers.run("report", {"source": str(clip), "folder": str(tmp_path), "effort": 0},
                      lambda: None)
    told = next(event for event in job if event is not None and event.record is not None)
    job.close()
    assert told.record.name in STAGES


def test_an_error_that_nobody_meant_is_no_sentence_for_visitors(workers: WarmWorkers) -> None:
    with pytest.raises(WorkerError, match="Traceback") as caught:
        run_job(workers.run("verify", {"sauce": "clip.aev"}, lambda: None), None)
    assert "sauce" in str(caught.value) and not isinstance(caught.value, AEHubError)


def test_an_argument_that_the_worker_cannot_read_ends_the_task(workers: WarmWorkers) -> None:
    with pytest.raises(AEHubError, match="^the process of this job ended with code 1"):
        run_job(workers.run("verify", {"source": Unreadable()}, lambda: None), None)


class Unreadable:
    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("no number",)


def test_closing_ends_the_processes(workers: WarmWorkers) -> None:
    processes = workers.process_ids
    assert processes
    workers.close()
    assert not any(map(is_running, processes))
    with pytest.raises(AEHubError, match="the server is ending"):
        run_job(workers.run("verify", {"source": "a"}, lambda: None), None)


SERVER = """
import time
from aehub.jobs.warm_workers import WarmWorkers
workers = WarmWorkers(2, 1)
workers.start()
print(*workers.process_ids, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_server_however_it_ends(number: int) -> None:
    with subprocess.Popen([sys.executable, "-P", "-c", SERVER], env=ENVIRONMENT, text=True,
                          stdout=subprocess.PIPE) as server:
        assert server.stdout
        processes = list(map(int, server.stdout.readline().split()))
        assert len(processes) == 2 and all(map(is_running, processes))
        server.send_signal(number)
        wait_for_end(processes)
