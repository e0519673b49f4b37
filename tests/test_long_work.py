"""Commands that work for long: what can be known is checked first, and no result is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aehub.cli import main
from material import moving_picture, write_clip

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "/proc/no-files-here"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(part) for part in arguments])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A clip that every codec takes, and one that x265 refuses."""
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(folder / f"{name}.mkv", moving_picture(2, width=width, height=height))
            for name, width, height in (("fit", 64, 48), ("tiny", 8, 4))]


def test_a_comparison_prints_its_results_and_then_what_failed(
    clips: list[Path], tmp_path: Path
) -> None:
    plot = tmp_path / "curves.png"
    codecs = ("--codecs", "x264-ultrafast,x265-ultrafast", "--plot", plot)
    done = run("compare", *clips, *codecs)
    assert done.exit_code == 1
    assert "fit: 64x48" in done.stdout and "not measured\n  tiny  x265-ultrafast" in done.stdout
    assert done.stderr.startswith("aehub: 1 measurement failed: tiny with x265-ultrafast")
    assert done.stderr.count("\n") == 1 and plot.stat().st_size
    told = run("compare", *clips, *codecs, "--force", "--json")
    assert told.exit_code == 1
    assert [one["codec"] for one in json.loads(told.stdout)["failures"]] == ["x265-ultrafast"]


def test_a_plot_is_drawn_when_nobody_reads_the_numbers_any_more(
    clips: list[Path], tmp_path: Path
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "aehub", "compare", str(clips[0]), "--codecs", "x264-ultrafast",
         "--json", "--plot", "curves.svg"], cwd=tmp_path, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    assert running.stdout and running.stderr
    running.stdout.close()
    with running.stderr as stderr:
        assert (running.wait(60), stderr.read()) == (1, b"")
    assert "<svg" in (tmp_path / "curves.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "{clip}", "--plot", f"{NOWHERE}/p.png"], "does not exist; create it first"),
        (["compare", "{clip}", "--plot", "/proc/p.png"], "/proc/p.png cannot be written"),
        (["compare", "{clip}", "--plot", "p.docx"], "end the name in .png, .svg or .pdf"),
        (["compare", "{clip}", "nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["compare", "{clip}", "--codecs", "x264-medium,no/model"], "no/model"),
        (["publish", "d4-codec", "--repo", "nonsense", "--measure", "{clip}"], "no name of a repo"),
        (["publish", "no-model", "--repo", "a/b", "--measure", "{clip}"], "no model 'no-model'"),
        (["publish", "d4-codec", "--repo", "a/b", "--measure", "{clip}"], "HF_HUB_OFFLINE"),
        (["animate", "walk.tiff", "--model", "no-model"], "cannot be written as .tiff"),
        (["animate", "walk.jpg", "--sheet", "--model", "no-model"], "a sheet is a PNG"),
        (["animate", "w.gif", "--contact", "c.jpg", "--model", "no-model"], "a contact sheet is a"),
        (["animate", "/proc/w.gif", "--model", "no-model"], "/proc/w.gif cannot be written"),
        (["download", "a/b", "--to", f"{NOWHERE}/a/b"], "/proc/config.json cannot be written"),
        (["download", "a/b", "--to", "{clip}/model"], "fit.mkv is not a folder"),
        (["train", "d4-codec", "--steps", "1", "--data", "{folder}", "--out", NOWHERE], NOWHERE),
        (["train", "d4-codec", "--steps", "1", "--data", "{folder}", "--out", "{clip}/run"],
         "cannot be a folder: Not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_would_fail_at_the_end_fails_before_the_work(
    arguments: list[str], words: str, clips: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object, **options: object) -> None:
        raise AssertionError("work was begun")

    # Sources and models are what all work begins with.
    monkeypatch.setattr(import_module("aehub.measure.benchmark"), "load", work)
    monkeypatch.setattr(import_module("aehub.training.run"), "Trainer", work)
    monkeypatch.chdir(tmp_path)
    names = {"clip": str(clips[0]), "folder": str(clips[0].parent)}
    done = run(*(argument.format(**names) for argument in arguments))
    assert (done.exit_code, done.stdout) == (1, "")
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
