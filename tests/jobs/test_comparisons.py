"""Comparisons whose clips are measured by workers: the numbers and the order of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aehub.cli import main
from aehub.errors import InputError
from aehub.jobs.comparisons import clip_measurer
from aehub.jobs.task import Event, Lost, Task, Ticked
from aehub.measure.benchmark import compare
from material import moving_picture, write_clip


def numbers(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code, and all that is told but times."""
    # The number of threads changes the bytes of x264, not those of SVT-AV1.
    done = CliRunner().invoke(main, ["compare", *map(str, arguments), "--codecs",
                                     "svtav1-12,svtav1-13", "--json"])
    told = json.loads(done.stdout)
    for one in (*told["points"], *told["codecs"]):
        for name in [name for name in one if name.startswith(("encode_", "decode_"))]:
            del one[name]
    return done.exit_code, told


def test_workers_give_the_numbers_of_one_process(tmp_path: Path) -> None:
    """Of clips of one name and of one that cannot be read too."""
    clips = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        clips.append(write_clip(tmp_path / folder / "clip.mp4",
                                moving_picture(4, 64, 64, len(folder + folder[-1]))))
    (tmp_path / "broken.mp4").write_bytes(b"no film" * 99)
    alone = numbers(*clips, tmp_path / "broken.mp4")
    assert alone[0] == 1 and [clip["name"] for clip in alone[1]["clips"]] == ["clip", "clip-2"]
    assert len(alone[1]["failures"]) == 1
    assert numbers(*clips, tmp_path / "broken.mp4", "--workers", "2") == alone


class Dying:
    """An executor whose workers die."""

    slots = 1

    def submit(self, task: Task) -> None:
        self.task = task

    def wait(self) -> list[Event]:
        return [Ticked(self.task.number, 1, 0), Lost(self.task.number, "its worker was killed.")]

    def close(self) -> None:
        pass


def test_a_clip_whose_worker_dies_twice_is_a_failure_with_its_sentence(tmp_path: Path) -> None:
    clip, seen = write_clip(tmp_path / "clip.mp4", moving_picture(2, 64, 64)), []
    with pytest.raises(InputError, match="^its worker was killed.$"):
        compare([clip], "x264-ultrafast", measurer=clip_measurer(Dying(), "x264-ultrafast"),
                progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (1, 6)
