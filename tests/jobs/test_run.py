"""The engine with an executor that runs tasks in this process: order, retries, resuming."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aehub.errors import BusyError, ExistsError, InputError
from aehub.jobs.manifest import OutputFolder, ResultFolder
from aehub.jobs.plan import Job, plan_files
from aehub.jobs.run import RunResult, iter_events, iter_files, plan_results
from aehub.jobs.task import Event, Failed, Finished, Lost, Outcome, Task, Ticked
from aehub.jobs.work import failure
from aehub.results import run_job
from jobs.conftest import leftovers


class Copier:
    """Copies files in upper case; an executor as simple as they can be.

    `dying` are names of files whose worker dies, each so many times.
    """

    def __init__(self, slots: int = 2, dying: dict[str, int] | None = None) -> None:
        self.slots, self.dying = slots, dict(dying or {})
        self.submitted: list[str] = []
        self.most, self.is_closed = 0, False
        self._queue: list[Task] = []

    def submit(self, task: Task) -> None:
        self.submitted.append(Path(str(task.arguments["source"])).name)
        self._queue.append(task)
        self.most = max(self.most, len(self._queue))

    def wait(self) -> list[Event]:
        return self.end(self._queue.pop(0))

    def end(self, task: Task) -> list[Event]:
        """Do a task, and tell what happened."""
        source = Path(str(task.arguments["source"]))
        if self.dying.get(source.name, 0):
            self.dying[source.name] -= 1
            return [Ticked(task.number, 1, 2), Lost(task.number, "its worker was killed.")]
        content = source.read_text()
        if "bad" in content:
            return [Failed(task.number, f"{source.name} is bad.", "Use --good.")]
        Path(str(task.arguments["output"])).write_text(content.upper())
        return [Ticked(task.number, 1, 2), Finished(task.number, Outcome(
            {"bytes": len(content)}, "half is lost." if "half" in content else ""))]

    def close(self) -> None:
        self.is_closed = True


class CopierAtOnce(Copier):
    """Tells of all tasks that are done together."""

    def wait(self) -> list[Event]:
        tasks, self._queue = self._queue, []
        return [event for task in tasks for event in self.end(task)]


JOB = Job("copy", {}, ".txt")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{name}.mp4" for name in ("one", "two", "three", "four")]
    for path in paths:
        path.write_text(path.stem)
    return [str(path) for path in paths]


def copy(files: list[str], out: Path, executor: Copier | None = None, *, force: bool = False,
         job: Job = JOB) -> RunResult:
    with OutputFolder(out, force=force) as folder:
        plan = plan_files(job, files, out, manifest=folder.manifest)
        return run_job(iter_files(job, plan, executor or Copier(), folder), None)


def states(result: RunResult) -> list[str]:
    return [file.state for file in result.files]


def test_results_come_with_progress_over_all_and_per_file(files: list[str], tmp_path: Path) -> None:
    out, executor = tmp_path / "out", Copier()
    with OutputFolder(out) as folder:
        plan = plan_files(JOB, files, out, manifest=folder.manifest)
        seen = list(iter_files(JOB, plan, executor, folder))
    assert [now.finished.source for now in seen if now.finished] == files
    assert [now.done for now in seen if now.finished] == [1, 2, 3, 4]
    assert all(a.share <= b.share for a, b in zip(seen, seen[1:]))
    assert max(one.share for now in seen for one in now.running) == 0.5
    assert (out / "one.txt").read_text() == "ONE" and executor.is_closed


def test_no_more_tasks_are_in_flight_than_the_executor_has_slots(
    files: list[str], tmp_path: Path
) -> None:
    executor = Copier(slots=3)
    copy(files, tmp_path / "out", executor)
    assert executor.most == 3


def test_tasks_are_made_as_they_are_asked_for_and_known_results_pass_through() -> None:
    made: list[int] = []

    def tasks() -> Iterator[Task | Event]:
        for number in range(9):
            made.append(number)
            yield Finished(number, Outcome()) if number % 2 else Task(number, "copy", {
                "source": "/dev/null", "output": "/dev/null"})

    events = iter_events(tasks(), Copier(slots=1))
    next(events)
    assert len(made) <= 2
    assert sum(isinstance(event, Finished) for event in events) == 9


def test_one_bad_file_does_not_stop_the_rest(files: list[str], tmp_path: Path) -> None:
    Path(files[1]).write_text("bad")
    result = copy(files, tmp_path / "out")
    assert states(result) == ["done", "failed", "done", "done"]
    assert result.files[1].message == f"{files[1]} is bad. Use --good."
    told = result.to_json()
    assert told["failed"] == 1 and [one["state"] for one in told["files"]] == states(result)
    json.dumps(told)


def test_the_task_of_a_worker_that_died_is_done_by_another_once(
    files: list[str], tmp_path: Path
) -> None:
    executor = Copier(dying={"two.mp4": 1, "three.mp4": 2})
    result = copy(files, tmp_path / "out", executor)
    assert states(result) == ["done", "done", "failed", "done"]
    assert result.files[2].message == f"{files[2]}: its worker was killed."
    assert executor.submitted.count("three.mp4") == 2


def test_what_is_done_is_skipped_and_only_that(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    Path(files[3]).write_text("bad")
    copy(files, out)
    Path(files[3]).write_text("good")
    executor = Copier()
    result = copy(files, out, executor)
    assert states(result) == ["skipped"] * 3 + ["done"] and executor.submitted == ["four.mp4"]
    assert result.files[0].values["bytes"] == 3, "with what it gave"


def test_an_input_that_changed_is_done_again_but_overwrites_only_by_force(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    copy(files, out)
    Path(files[0]).write_text("changed")
    result = copy(files, out)
    assert states(result)[0] == "failed"
    assert "already exists: an earlier run wrote it before" in result.files[0].message
    assert "--force" in result.files[0].option and (out / "one.txt").read_text() == "ONE"
    assert states(copy(files, out, force=True)) == ["done"] + ["skipped"] * 3
    assert (out / "one.txt").read_text() == "CHANGED"


def test_an_input_that_grew_before_its_turn_is_noted_as_it_was_read(
    files: list[str], tmp_path: Path
) -> None:
    class Growing(Copier):
        def end(self, task: Task) -> list[Event]:
            if task.number == 0:
                Path(files[3]).write_text("all of it")
            return super().end(task)

    out = tmp_path / "out"
    assert copy(files, out, Growing(slots=1)).files[3].bytes_in == 9
    assert states(copy(files, out)) == ["skipped"] * 4


def test_other_settings_do_not_overwrite_the_results_of_earlier_ones(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    copy(files, out)
    other = replace(JOB, options={"quality": 9})
    result = copy(files, out, job=other)
    assert states(result) == ["failed"] * 4
    assert "or with other options, another model or another" in result.files[0].message


def test_a_result_that_is_not_as_it_was_written_is_not_skipped(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    copy(files, out)
    (out / "one.txt").unlink()
    (out / "two.txt").write_text("TWx")
    result = copy(files, out)
    assert states(result) == ["done", "failed", "skipped", "skipped"]
    assert "not as this command wrote it from this input" in result.files[1].message
    assert (out / "two.txt").read_text() == "TWx", "it may be somebody's work"


def test_what_is_left_of_a_damaged_file_is_kept_and_not_done_again(
    files: list[str], tmp_path: Path
) -> None:
    out, executor = tmp_path / "out", Copier()
    Path(files[2]).write_text("half")
    first, second = copy(files, out), copy(files, out, executor)
    assert states(first)[2] == states(second)[2] == "failed" and not executor.submitted
    assert first.files[2].error == second.files[2].error == f"{files[2]}: half is lost."
    assert (out / "three.txt").read_text() == "HALF"


def test_a_dry_run_tells_what_would_be_done_and_writes_nothing(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    copy(files[:1], out)
    (out / "two.txt").write_text("other")
    before = sorted(tmp_path.rglob("*"))
    folder = ResultFolder(out)
    plan = plan_files(JOB, [*files, str(tmp_path / "no")], out, manifest=folder.manifest)
    result = plan_results(JOB, plan, folder)
    assert states(result) == ["skipped", "failed", "planned", "planned", "failed"]
    assert result.files[2].path == str(out / "three.txt")
    assert sorted(tmp_path.rglob("*")) == before
    assert not plan_results(JOB, plan, ResultFolder(tmp_path / "new")).count("skipped")
    assert not (tmp_path / "new").exists()


def test_closing_ends_the_executor_and_leaves_nothing_unfinished(
    files: list[str], tmp_path: Path
) -> None:
    out, executor = tmp_path / "out", Copier()
    with OutputFolder(out) as folder:
        plan = plan_files(JOB, files, out, manifest=folder.manifest)
        job = iter_files(JOB, plan, executor, folder)
        while (next(job)).finished is None:
            pass
        job.close()
    assert executor.is_closed and not list((out / ".aehub").glob("work/*"))
    assert states(copy(files, out)) == ["skipped", "done", "done", "done"]


def test_two_runs_do_not_write_one_folder_at_once(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out"), pytest.raises(BusyError, match="another run"):
        OutputFolder(tmp_path / "out")
    with OutputFolder(tmp_path / "out"):
        pass


@pytest.mark.parametrize("name", ["/proc/no-files-here", "file"])
def test_a_folder_that_cannot_be_written_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written: .*; choose another folder"):
        OutputFolder(tmp_path / name)


def test_a_lock_that_is_something_else_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".aehub").mkdir()
    (tmp_path / ".aehub" / "lock.sqlite").write_text("some text that is no database" * 9)
    with pytest.raises(InputError, match="cannot be written: file is not a database; choose"):
        OutputFolder(tmp_path)


def test_a_place_that_cannot_be_written_fails_one_file(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "two.txt").mkdir(parents=True)
    result = copy(files, out, force=True)
    assert states(result) == ["done", "failed", "done", "done"]
    assert "two.txt cannot be written: Is a directory." in result.files[1].message
    assert states(copy(files, out)) == ["skipped", "failed", "skipped", "skipped"]


def test_a_full_disk_is_one_sentence_that_says_which() -> None:
    failed = failure(Task(1, "compress", {}), OSError(errno.ENOSPC, "No space left on device"))
    assert failed.message.startswith("its result cannot be written: No space left on device; make")


def test_a_worker_out_of_memory_is_one_sentence() -> None:
    failed = failure(Task(1, "compress", {}), MemoryError())
    assert failed.message.startswith("there is not enough memory for this input")
    existing = failure(Task(1, "compress", {}), ExistsError("it exists.", "Or add --force."))
    assert (existing.message, existing.option) == ("it exists.", "Or add --force.")


def test_results_that_are_done_at_once_are_noted_together_and_one_by_one_if_one_is_wrong(
    files: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "two.txt").mkdir(parents=True)
    result = copy(files, out, CopierAtOnce(slots=4), force=True)
    assert states(result) == ["done", "failed", "done", "done"]
    assert "two.txt cannot be written: Is a directory." in result.files[1].message
    assert (out / "four.txt").read_text() == "FOUR"
    (out / "two.txt").rmdir()
    assert states(copy(files, out, CopierAtOnce(slots=4))) == ["skipped", "done", *2 * ["skipped"]]


def test_what_was_noted_and_did_not_come_to_its_place_is_done_again(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut between the two."""
    out = tmp_path / "out"
    put, done = os.replace, list[object]()

    def replace_once(source: Path, target: Path) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(put(source, target))

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", replace_once)
        with pytest.raises(KeyboardInterrupt):
            copy(files, out, CopierAtOnce(slots=4))
    assert len((out / ".aehub" / "manifest.jsonl").read_text().splitlines()) == 4
    assert states(copy(files, out)) == ["skipped", "done", "done", "done"]


def test_another_worker_finds_nothing_that_one_that_died_has_left(
    files: list[str], tmp_path: Path
) -> None:
    class Messy(Copier):
        def end(self, task: Task) -> list[Event]:
            output = Path(str(task.arguments["output"]))
            assert not list(output.parent.iterdir())
            output.write_text("half")
            return super().end(task)

    result = copy(files, tmp_path / "out", Messy(dying={"two.mp4": 1}))
    assert states(result) == ["done"] * 4


@pytest.mark.skipif(sys.platform == "win32", reason="limits files as POSIX does")
def test_a_manifest_that_the_disk_has_no_room_for_fails_files_and_not_the_run(
    files: list[str], tmp_path: Path
) -> None:
    import resource

    out = tmp_path / "out"
    copy(files[:1], out)
    manifest = out / ".aehub" / "manifest.jsonl"
    size, limits = manifest.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + 40, limits[1]))
    try:
        result = copy(files, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert states(result) == ["skipped", "done", "failed", "failed"]
    assert result.files[2].message.endswith("manifest.jsonl cannot be written: File too large.")
    assert not (out / "three.txt").exists() and not leftovers(out)
    assert states(copy(files, out)) == ["skipped", "skipped", "done", "done"]


def test_even_by_force_a_folder_of_other_files_is_kept(tmp_path: Path) -> None:
    class Sheets(Copier):
        def end(self, task: Task) -> list[Event]:
            sheet = Path(str(task.arguments["output"]))
            sheet.mkdir()
            (sheet / "1.txt").write_text(Path(str(task.arguments["source"])).read_text())
            return [Finished(task.number, Outcome())]

    source, out, job = tmp_path / "one.mp4", tmp_path / "out", Job("copy", {}, "")
    source.write_text("one")
    (out / "one").mkdir(parents=True)
    (out / "one" / "mine.txt").write_text("mine")
    result = copy([str(source)], out, Sheets(), force=True, job=job)
    assert "is a folder of other files than this command wrote" in result.files[0].message
    (out / "one" / "mine.txt").unlink()
    assert states(copy([str(source)], out, Sheets(), force=True, job=job)) == ["done"]
    source.write_text("another")
    assert states(copy([str(source)], out, Sheets(), force=True, job=job)) == ["done"]
    assert (out / "one" / "1.txt").read_text() == "another"
    (out / "one" / "mine.txt").write_text("mine")
    source.write_text("a third")
    assert states(copy([str(source)], out, Sheets(), force=True, job=job)) == ["failed"]
    assert (out / "one" / "mine.txt").exists()
