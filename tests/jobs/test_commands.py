"""Commands over many files: their forms, words and exit codes, on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import aehub
from aehub.cli import main
from jobs.conftest import FRAMES


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(part) for part in arguments])


@pytest.fixture(scope="module")
def library(compressed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two whole files, one that is cut off, and one that is none."""
    folder = tmp_path_factory.mktemp("library") / "aev"
    (folder / "sub").mkdir(parents=True)
    files = sorted(compressed.glob("reel*/*.aev"))
    (folder / "a.aev").write_bytes(files[0].read_bytes())
    (folder / "sub" / "b.aev").write_bytes(files[1].read_bytes())
    (folder / "cut.aev").write_bytes(files[2].read_bytes()[:-20])
    (folder / "none.aev").write_bytes(b"nothing")
    return folder


def states(done: Result) -> dict[str, str]:
    return {Path(one["source"]).name: one["state"] for one in json.loads(done.stdout)["files"]}


EXPECTED = {"a.aev": "done", "b.aev": "done", "cut.aev": "failed", "none.aev": "failed"}


def test_decompress_turns_a_folder_into_clips(library: Path, tmp_path: Path) -> None:
    done = run("decompress", library, "-o", tmp_path, "--format", "mkv", "--scale", "1/2", "--json")
    assert (done.exit_code, states(done)) == (1, EXPECTED), done.stderr
    assert json.loads(done.stdout)["files"][0]["width"] == 32
    assert (tmp_path / "a.mkv").exists() and (tmp_path / "sub" / "b.mkv").exists()
    assert (tmp_path / "cut.mkv").exists(), "what is intact is kept"
    again = run("decompress", library, "-o", tmp_path, "--format", "mkv", "--scale", "1/2")
    assert again.exit_code == 1 and again.stdout.startswith("done    0\nskipped 2")


def test_decompress_makes_folders_of_pictures(library: Path, tmp_path: Path) -> None:
    arguments = ("decompress", library / "a.aev", "-o", tmp_path, "--format", "pictures")
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    assert len(list((tmp_path / "a").glob("*.png"))) == FRAMES
    assert "skipped 1" in run(*arguments).stdout


def test_edit_turns_many_files_as_it_turns_one(library: Path, tmp_path: Path) -> None:
    edits = ("--rotate", "90", "--trim", "0f:5f")
    done = run("edit", library, "-o", tmp_path / "out", *edits, "--json", "--workers", "2")
    assert (done.exit_code, states(done)) == (1, EXPECTED), done.stderr
    assert run("edit", library / "sub" / "b.aev", tmp_path / "b.aev", *edits).exit_code == 0
    assert (tmp_path / "b.aev").read_bytes() == (tmp_path / "out" / "sub" / "b.aev").read_bytes()


def test_verify_checks_files_folders_and_patterns(library: Path) -> None:
    done = run("verify", library, "--json", "--workers", "2")
    assert (done.exit_code, states(done)) == (1, EXPECTED)
    told = {Path(one["source"]).name: one for one in json.loads(done.stdout)["files"]}
    assert told["a.aev"]["ok"] and told["cut.aev"]["problems"] and not told["cut.aev"]["ok"]
    assert "is damaged" in told["cut.aev"]["error"]
    two = run("verify", library / "a.aev", library / "sub" / "*.aev")
    assert (two.exit_code, two.stdout.split()[:2]) == (0, ["done", "2"])


def test_reconstruct_makes_a_folder_for_each_clip(clips: Path, tmp_path: Path) -> None:
    arguments = ("reconstruct", clips / "reel0", "-o", tmp_path, "--trim", "0f:3f", "--effort", "0",
                 "--one-quality", "--json")
    done = run(*arguments)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["failed"], len(told["files"])) == (1, 1, 3), done.stderr
    (model,) = told["files"][0]["models"]
    assert model["model"] == "d4-codec" and model["psnr"] > 20
    assert {path.name for path in (tmp_path / "000").iterdir()} == {
        "000.original.mkv", "000.d4-codec.aev", "000.arena.mp4", "000.arena.png", "report.json",
        "report.csv"}
    assert set(states(run(*arguments)).values()) == {"skipped", "failed"}
    (tmp_path / "000" / "000.d4-codec.aev").write_bytes(b"another")
    assert states(run(*arguments))["000.mp4"] == "failed", "it is not as it was written"


def test_an_index_made_by_workers_finds_the_same(clips: Path, tmp_path: Path) -> None:
    query, answers = clips / "reel1" / "004.mp4", []
    for workers in (1, 2):
        index = tmp_path / f"index{workers}"
        done = run("index", clips, "--index", index, "--workers", workers, "--json")
        told = json.loads(done.stdout)
        assert (done.exit_code, told["failed"], len(told["files"])) == (1, 1, 7), done.stderr
        assert [file["state"] for file in told["files"]].count("added") == 6
        matches = json.loads(run("search", query, "--index", index, "--json").stdout)["matches"]
        answers.append(matches)
        again = json.loads(run("index", clips, "--index", index, "--workers", workers,
                               "--json").stdout)
        assert [file["state"] for file in again["files"]].count("unchanged") == 6
    assert answers[0] == answers[1] and answers[0][0]["path"] == str(query)


def test_existing_forms_of_the_commands_stay(library: Path, tmp_path: Path) -> None:
    """A second operand without -o is the output, even where it exists."""
    first, second = tmp_path / "a.aev", tmp_path / "b.aev"
    first.write_bytes((library / "a.aev").read_bytes())
    assert run("edit", first, second, "--reverse").exit_code == 0 and second.exists()
    refused = run("edit", first, second, "--reverse")
    assert refused.exit_code == 1 and "b.aev already exists" in refused.stderr
    assert run("decompress", first).exit_code == 0 and (tmp_path / "a.mp4").exists()
    one = run("verify", first)
    assert (one.exit_code, one.stdout) == (0, f"{first}: 1 group, all intact\n")
    told = json.loads(run("decompress", first, tmp_path / "x.mkv", "--json").stdout)
    assert told["frames"] == FRAMES and "files" not in told


@pytest.mark.parametrize(("arguments", "words"), [
    (["compress", "a.mp4", "b.aev", "c.aev"], "several inputs with -o DIR"),
    (["compress", "*.mp4"], "*.mp4 stands for many files; name the folder for their results with "
     "-o DIR."),
    (["decompress", "."], ". stands for many files"),
    (["edit", "*.aev", "a.aev", "--reverse"], "*.aev stands for many files"),
    (["compress", "a.mp4", "--each"], "--each is for many files; give -o DIR"),
    (["compress", "a.mp4", "--dry-run"], "--dry-run is for many files"),
    (["compress", "-", "-o", "out"], "- has no name"),
    (["compress", "a.mp4", "-o", "out", "--quality", "5", "--target-size", "1kB"], "exclude"),
    (["decompress", "a.aev", "--format", "mkv"], "--format is for many files"),
    (["edit", "a.aev", "--reverse"], "give OUT.aev after IN.aev"),
    (["edit", "a.aev", "-o", "out"], "nothing to do"),
    (["reconstruct", "a.mp4"], "name the folder for the results with -o DIR"),
], ids=" ".join)
def test_wrong_usage_exits_with_2_and_says_why(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2 and words in done.stderr.replace("\n", " "), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "words"), [
    (["--model", "no-model"], "no model 'no-model'"),
    (["--model", "dense-28"], "dense-28 makes no compressed files; use d4-codec or sandwich-av1."),
], ids=" ".join)
def test_what_is_wrong_for_all_files_is_one_sentence_before_any_work(
    arguments: list[str], words: str, clips: Path, tmp_path: Path
) -> None:
    done = run("compress", clips, "-o", tmp_path / "out", *arguments)
    assert (done.exit_code, done.stdout) == (1, "") and words in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_folder_of_results_that_cannot_be_written_is_one_sentence(clips: Path) -> None:
    done = run("compress", clips, "-o", "/proc/no-files-here")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("aehub: /proc/no-files-here cannot be written: ")
    assert done.stderr.count("\n") == 1


def test_a_folder_of_results_without_a_name_is_one_sentence(clips: Path) -> None:
    done = run("compress", clips, "-o", "")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == ("aehub: the folder of results '' is not a valid file name; give one.\n")


def test_a_folder_of_clips_without_an_output_folder_names_it(clips: Path) -> None:
    done = run("compress", clips / "reel1")
    assert done.exit_code == 1 and "-o DIR" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_made_by_a_worker_decodes(compressed: Path) -> None:
    with aehub.open(compressed / "reel1" / "001.aev") as clip:
        assert clip[0].shape == (64, 64, 3)
