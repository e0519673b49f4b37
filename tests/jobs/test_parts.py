"""One clip in parts: the file of one piece, coded by several workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import aehub
from aehub.codecs.gop import split_into_groups, split_into_mini_gops
from aehub.errors import AEHubError
from aehub.jobs.parts import part_coder
from aehub.jobs.processes import LocalProcesses
from aehub.jobs.task import Event, Failed, Finished, Task
from aehub.jobs.work import failure, perform
from aehub.media.clip import open_clip
from aehub.results import run_job
from jobs.conftest import check_speed, run
from material import moving_picture, write_clip


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of uneven times, with sound; quick motion in one of them."""
    scenes = [moving_picture(14, 64, 64, 1), moving_picture(40, 64, 64, 2)[::5],
              moving_picture(11, 64, 64, 3)]
    frames = [picture for scene in scenes for picture in scene]
    times = np.cumsum([40 + 7 * (n % 3) for n in range(len(frames))]).tolist()
    return write_clip(tmp_path_factory.mktemp("film") / "film.mkv", frames, vfr_pts=times,
                      audio=True)


class Here:
    """Runs tasks in this process, the last one that waits first."""

    slots = 3

    def __init__(self) -> None:
        self._waiting: list[Task] = []

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def wait(self) -> list[Event]:
        task = self._waiting.pop()
        try:
            return [Finished(task.number, run_job(perform(task), None))]
        except Exception as error:
            return [failure(task, error)]

    def close(self) -> None: ...


class Refusing(Here):
    def wait(self) -> list[Event]:
        return [Failed(self._waiting.pop().number, "the worker is tired.")]


def test_groups_are_those_of_the_mini_gops(film: Path) -> None:
    for size in (5, 100):
        with open_clip(film) as clip:
            groups = list(split_into_groups(clip, size))
        with open_clip(film) as clip:
            ends, counts = [], [0]
            for mini_gop in split_into_mini_gops(clip, size):
                counts[-1] += len(mini_gop.frames)
                if mini_gop.ends_group:
                    ends.append(mini_gop.following and mini_gop.following.time)
                    counts.append(0)
        assert [len(frames) for frames, _ in groups] == counts[:-1] and len(groups) > 2
        assert [after and after.time for _, after in groups] == ends


@pytest.mark.parametrize("options", [
    {"effort": 0}, {"effort": 5, "group": 6}, {"effort": 0, "trim": "0.1:1.1", "audio": False},
    {"effort": 0, "target_size": 30_000}, {"effort": 0, "measure": False, "quality": 80}], ids=str)
def test_a_clip_in_parts_is_the_file_of_one_piece_bit_for_bit(
    options: dict[str, object], film: Path, tmp_path: Path
) -> None:
    given: dict[str, object] = {"model": "d4-codec", **options}
    whole = aehub.compress(film, tmp_path / "whole.aev", **given)  # type: ignore[arg-type]
    job = aehub.iter_compress(film, tmp_path / "parts.aev", coder=part_coder(Here(), "d4-codec"),
                              **given)  # type: ignore[arg-type]
    parts = run_job(job, None)
    assert (tmp_path / "parts.aev").read_bytes() == (tmp_path / "whole.aev").read_bytes()
    assert {**whole.to_json(), "path": "", "elapsed": 0} == {
        **parts.to_json(), "path": "", "elapsed": 0}
    assert whole.frame_bytes == parts.frame_bytes


def test_a_failing_part_is_the_error_of_the_clip_and_leaves_no_file(
    film: Path, tmp_path: Path
) -> None:
    job = aehub.iter_compress(film, tmp_path / "a.aev", coder=part_coder(Refusing(), "d4-codec"))
    with pytest.raises(AEHubError, match="the worker is tired"):
        run_job(job, None)
    assert not list(tmp_path.iterdir())


def test_no_more_groups_are_decoded_than_workers_ask_for() -> None:
    read = []

    def frames() -> Iterator[np.ndarray]:
        for number, picture in enumerate(moving_picture(60, 32, 32)):
            read.append(number)
            yield picture

    class Stopped(Here):
        slots = 2

        def wait(self) -> list[Event]:
            raise KeyboardInterrupt

    job = aehub.iter_compress(frames(), Path(os.devnull), group=4, effort=0,
                              coder=part_coder(Stopped(), "d4-codec"))
    with pytest.raises(KeyboardInterrupt):
        run_job(job, None)
    assert len(read) <= 4 * 3 + 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="shares helpers that kill processes")
def test_the_command_codes_one_clip_with_two_workers(film: Path, tmp_path: Path) -> None:
    for workers, name in ((1, "one.aev"), (2, "two.aev")):
        done = run("compress", film, name, "--workers", workers, "--effort", "0", "--json",
                   cwd=tmp_path)
        assert done.returncode == 0 and json.loads(done.stdout)["frames"] == 33, done.stderr
    assert (tmp_path / "one.aev").read_bytes() == (tmp_path / "two.aev").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
def test_two_workers_code_a_long_clip_at_least_1_6_times_as_fast_as_one(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "long.mp4", moving_picture(240, 320, 192), fps=Fraction(24))

    def work(executor: LocalProcesses, turn: int) -> None:
        run_job(aehub.iter_compress(
            film, tmp_path / f"{turn}.aev", group=12, effort=0, measure=False,
            coder=part_coder(executor, "d4-codec")), None)

    check_speed(work, 1.6)
    assert len({(tmp_path / f"{turn}.aev").read_bytes() for turn in range(6)}) == 1
