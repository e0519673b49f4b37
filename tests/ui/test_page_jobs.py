"""Jobs of several visitors over HTTP: turns, places, Stop, killed workers, memory, the end."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from aehub.jobs.run import iter_events
from aehub.jobs.task import Failed, Task
from aehub.ui.page_jobs import PageJobs, TurnByTurn
from jobs.test_processes import is_running, wait_for_end
from material import moving_picture, write_clip
from pageserver import PageServer, page_server

PLACE = re.compile(r"(\d+) jobs? before yours.*?about (a second|\d+ s|\d+ min)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("page"), AEHUB_MAX_JOBS="1") as running:
        yield running


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that takes more than ten seconds."""
    return write_clip(tmp_path_factory.mktemp("busy") / "busy.mp4", moving_picture(96, 448, 320),
                      fps=24)


class Visitor:
    """A client with a session of its own."""

    def __init__(self, server: PageServer, folder: Path) -> None:
        self.client = Client(server.url, verbose=False, download_files=str(folder))

    def compress(self, clip: Path, effort: int = 0) -> Any:
        return self.client.submit(handle_file(clip), neighbours=False, effort=effort,
                                  api_name="/compress")


def shown(job: Any) -> str:
    """The latest card of a compress job."""
    outputs = job.outputs()
    return str(outputs[-1][4]) if outputs else ""


def place(job: Any) -> int | None:
    """The latest place of a job; None if it does not wait (any more)."""
    found = PLACE.search(shown(job))
    return int(found[1]) if found else None


def is_working(job: Any) -> bool:
    return "ae-running" in shown(job) and place(job) is None


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_idle(server: PageServer) -> bool:
    before = server.cpu_seconds()
    time.sleep(1)
    return server.cpu_seconds() - before < 0.2


@pytest.mark.slow
def test_visitors_take_turns_and_light_work_does_not_wait(
    server: PageServer, busy: Path, clip: Path, tmp_path: Path
) -> None:
    pile, other = Visitor(server, tmp_path), Visitor(server, tmp_path)
    finished, lock = list[str](), threading.Lock()

    def noted(name: str, job: Any) -> Any:
        def note(_: Any) -> None:
            with lock:
                finished.append(name)

        job.add_done_callback(note)
        return job

    first = noted("a", pile.compress(busy, effort=9))
    until(lambda: is_working(first))
    jobs = [noted("a", pile.compress(clip)) for _ in range(10)]
    until(lambda: all(map(place, jobs)))
    jobs += [noted("b", other.compress(clip)) for _ in range(2)]
    began = time.monotonic()
    listed = other.client.predict(api_name="/models")
    assert listed and not first.done(), "the list of models waited for a job"
    assert time.monotonic() - began < 10
    for job in [first, *jobs]:
        assert job.result(120)[1]["frames"] > 0
    assert "".join(finished) == "abab" + 9 * "a"


@pytest.mark.slow
def test_the_place_counts_down_as_jobs_end_and_one_that_is_stopped_counts_no_more(
    server: PageServer, busy: Path, clip: Path, tmp_path: Path
) -> None:
    visitors = [Visitor(server, tmp_path) for _ in range(4)]
    running = visitors[0].compress(busy, effort=9)
    until(lambda: is_working(running))
    waiting = []
    for number, visitor in enumerate(visitors[1:], 1):
        waiting.append(visitor.compress(clip))
        until(lambda number=number: place(waiting[-1]) == number)
    first, stopped, last = waiting
    assert not running.done()
    # A program is told without reading the page, too.
    until(lambda: "3 jobs before yours, about" in str(last.status().progress_data), 10)
    stopped.cancel()
    until(lambda: place(last) == 2, 5)
    assert place(first) == 1 and not running.done()
    # The seconds are those of a measured machine: they shrink while the same job runs.
    running.cancel()
    until(lambda: place(last) in (1, None), 10)
    assert last.result(60)[1]["frames"] == first.result(60)[1]["frames"] == 16
    places = [int(found[1]) for output in last.outputs() if (found := PLACE.search(str(output)))]
    assert places == sorted(places, reverse=True) and {3, 2} <= {*places}


def test_stop_ends_the_work_and_gives_the_place_away_at_once(
    server: PageServer, busy: Path, clip: Path, tmp_path: Path
) -> None:
    (worker,) = server.workers()
    folders = server.log.parent / "tmp/gradio"
    before = {*folders.glob("*/*/busy.original.mkv")}
    one, other = Visitor(server, tmp_path), Visitor(server, tmp_path)
    running = one.compress(busy)
    until(lambda: "Compressing: frame" in shown(running))
    waiting = other.compress(busy)
    until(lambda: place(waiting) == 1)
    running.cancel()
    until(lambda: place(waiting) is None, 5)
    waiting.cancel()
    until(lambda: is_idle(server), 15)
    assert server.workers() == [worker], "the worker was not kept for the next job"
    assert {*folders.glob("*/*/busy.original.mkv")} == before
    assert one.compress(clip).result(60)[1]["frames"] == 16


def test_a_killed_worker_is_one_sentence_for_its_visitor_and_nothing_for_the_next(
    server: PageServer, busy: Path, clip: Path, tmp_path: Path
) -> None:
    one, other = Visitor(server, tmp_path), Visitor(server, tmp_path)
    running = one.compress(busy)
    until(lambda: "Compressing: frame" in shown(running))
    waiting = other.compress(clip)
    until(lambda: place(waiting) == 1)
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(Exception, match="The process of this job was killed, as happens where "
                                        "memory runs out; try it once more"):
        running.result(30)
    assert waiting.result(60)[1]["frames"] == 16
    assert not is_running(worker) and len(server.workers()) == 1
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_memory_is_refused_by_its_estimate_or_ended_by_its_measure_and_the_server_lives_on(
    clip: Path, tmp_path: Path
) -> None:
    large = write_clip(tmp_path / "large.mp4", moving_picture(8, 1920, 1080), fps=24)
    medium = write_clip(tmp_path / "medium.mp4", moving_picture(9, 640, 360), fps=24)
    with page_server(tmp_path, AEHUB_MAX_MEMORY_MB="450") as server:
        visitor = Visitor(server, tmp_path)
        with pytest.raises(Exception) as refused:
            visitor.client.predict(handle_file(large), size="as it is", neighbours=False,
                                   api_name="/compress")
        said = re.search(r"The job would take some (\d+) MB of memory, with pictures of 2\.1 "
                         r"megapixels, and this server gives one 450 MB; make the picture smaller",
                         str(refused.value))
        assert said and int(said[1]) > 450 and "AEHUB" not in str(refused.value)
        (worker,) = server.workers()
        # Below the limit by its estimate, which leaves the other codecs out.
        with pytest.raises(Exception) as ended:
            visitor.client.predict(handle_file(medium), size="as it is", api_name="/compress")
        said = re.search(r"The job took (\d+) MB of memory and this server gives one 450 MB; make "
                         r"the picture smaller, or take a shorter part\.", str(ended.value))
        assert said and 450 < int(said[1]) < 900
        assert not is_running(worker)
        assert Visitor(server, tmp_path).compress(clip).result(60)[1]["frames"] == 16
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("number", [
    signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_the_end_of_the_server_leaves_no_process(
    number: int, busy: Path, tmp_path: Path
) -> None:
    with page_server(tmp_path) as server:
        job = Visitor(server, tmp_path).compress(busy)
        until(lambda: is_working(job))
        children = server.children()
        assert server.workers() and {*server.workers()} <= {*children}
        os.kill(server.pid, number)
        wait_for_end([server.pid, *children])


@pytest.fixture
def jobs() -> Iterator[PageJobs]:
    one = PageJobs(slots=1, most_waiting=1)
    yield one
    one.close()


def test_a_file_of_the_library_that_breaks_off_unexpectedly_costs_itself_alone(
    jobs: PageJobs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    executor = TurnByTurn(jobs)
    (tmp_path / "a.aev").write_bytes(b"nothing")
    tasks = [Task(0, "verify", {"sauce": "a.aev"}), Task(1, "verify", {"source": "a.aev"}),
             Task(2, "verify", {"source": str(tmp_path / "a.aev")})]
    first, *others = iter_events(tasks, executor)
    assert isinstance(first, Failed) and "the server's log says why" in first.message
    assert "sauce" in capfd.readouterr().err
    assert ["a.aev" in one.message for one in others if isinstance(one, Failed)] == [True] * 2


def test_a_file_of_the_library_waits_where_there_is_no_room_in_the_queue(jobs: PageJobs) -> None:
    before = [jobs.scheduler.enter(visitor, 1) for visitor in ("running", "waiting")]
    executor = TurnByTurn(jobs)
    executor.submit(Task(1, "verify", {"source": "a.aev"}))
    ended = list[Any]()
    thread = threading.Thread(target=lambda: ended.extend(executor.wait()), daemon=True)
    thread.start()
    time.sleep(0.2)
    assert not ended
    for ticket in before:
        jobs.scheduler.leave(ticket)
    thread.join(30)
    assert "a.aev" in ended[0].message
