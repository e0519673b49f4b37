"""`aehub index` and `aehub search`: streams, JSON and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import aehub
from aehub.cli import main
from material import write_clip
from pageserver import ROOT
from retrieval.conftest import FPS, Films, film, scene


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(part) for part in arguments])


@pytest.fixture
def query(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "query.mkv", film(1, 2, 3)[25:37], fps=FPS)


def test_matches_are_one_json_object(films: Films, query: Path) -> None:
    done = run("search", query, "--index", films.index, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert next(iter(found)) == "matches"
    first = found["matches"][0]
    assert list(first) == ["path", "start", "end", "orientation", "score"]
    assert first["path"] == str(films.folder / "three.mp4") and first["orientation"] == ""
    assert 2.2 < first["start"] < 2.8 < first["end"] and 0.5 <= first["score"] <= 1


def test_matches_are_lines_for_people(films: Films, query: Path) -> None:
    done = run("search", query, "--index", films.index, "--limit", "1")
    assert done.exit_code == 0
    (line,) = done.stdout.splitlines()
    assert line.endswith("three.mp4") and "00:02." in line


def test_no_match_is_an_empty_list_and_no_error(films: Films, tmp_path: Path) -> None:
    absent = write_clip(tmp_path / "absent.mkv", scene(20), fps=FPS)
    done = run("search", absent, "--index", films.index, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["matches"] == []
    done = run("search", absent, "--index", films.index)
    assert done.exit_code == 0 and done.stdout == "" and "no match" in done.stderr


def test_indexing_tells_states_and_fails_if_a_file_did(films: Films, tmp_path: Path) -> None:
    index = shutil.copytree(films.index, tmp_path / "index")
    done = run("index", films.folder, "--index", index, "--json")
    assert done.exit_code == 0 and done.stderr == ""
    result = json.loads(done.stdout)
    assert {file["state"] for file in result["files"]} == {"unchanged"} and result["failed"] == 0
    (tmp_path / "bad.mp4").write_bytes(b"no clip")
    done = run("index", films.folder, tmp_path / "bad.mp4", "--index", index)
    assert done.exit_code == 1
    assert "4 unchanged, 1 failed" in done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("aehub: ")


def test_damaged_files_count_and_damaged_queries_fail_after_their_matches(
    films: Films, tmp_path: Path
) -> None:
    whole, path = tmp_path / "whole.aev", tmp_path / "cut.aev"
    aehub.concat([films.folder / "six.aev"] * 3, whole)
    path.write_bytes(whole.read_bytes()[:whole.stat().st_size * 2 // 3])
    done = run("index", path, "--index", tmp_path / "index")
    assert done.exit_code == 1 and "1 added, 1 not whole;" in done.stdout
    done = run("search", path, "--index", films.index, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and found["matches"] and found["error"] in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_utf_8_are_printed(films: Films, tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.mkv")
    path = shutil.copy(films.folder / "two.mkv", tmp_path / name)
    (tmp_path / os.fsdecode(b"cut\xff.mkv")).write_bytes(b"no clip")
    code = [sys.executable, "-m", "aehub"]
    for arguments, status, printed in (
            (["index", tmp_path], 1, "1 added, 1 failed"),
            (["index", tmp_path, "--json"], 1, "bad\\udcff.mkv"),
            (["search", path], 0, "bad\N{REPLACEMENT CHARACTER}.mkv"),
            (["search", path, "--json"], 0, "bad\\udcff.mkv")):
        done = subprocess.run([*code, *arguments, "--index", tmp_path / "index"], cwd=ROOT,
                              capture_output=True, check=False, encoding="utf-8",
                              env={**os.environ, "PYTHONUTF8": "1"})
        assert done.returncode == status, done.stderr
        assert printed in done.stdout and "unexpected" not in done.stderr


def test_copies_are_listed_instead_of_matches(films: Films) -> None:
    done = run("search", "--duplicates", "--index", films.index, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["copies"] == json.loads(done.stdout)["shared"] == []
    done = run("search", "--duplicates", "--index", films.index)
    assert done.exit_code == 0 and "no copies" in done.stderr


@pytest.mark.parametrize("arguments", [
    ["index"], ["search"], ["search", "a.mp4", "--duplicates"], ["search", "a.mp4", "--limit", "0"],
    ["search", "a.mp4", "--threshold", "2"], ["search", "--duplicates", "--limit", "3"],
    ["search", "--duplicates", "--threshold", "0.5"]], ids=" ".join)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2 and "Error: " in done.stderr and done.stdout == ""


def test_bad_queries_and_indexes_exit_with_1_and_one_sentence(films: Films, tmp_path: Path) -> None:
    for arguments in (["search", tmp_path / "nowhere.mp4", "--index", films.index],
                      ["search", films.folder / "two.mkv", "--index", tmp_path / "nowhere"],
                      ["search", films.folder / "two.mkv", "--index", ""],
                      ["index", films.folder, "--index", ""]):
        done = run(*arguments)
        assert done.exit_code == 1 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("aehub: ")
