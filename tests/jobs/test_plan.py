"""From operands to a plan: one input and many, mirrored folders, names of results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from aehub.errors import InputError
from aehub.jobs.manifest import Entry, Manifest
from aehub.jobs.plan import COMPRESSED, MEDIA, Job, find_sources, name_outputs, plan_files

CLIP = b"YUV4MPEG2 W16 H16 F25:1 C420jpeg\n"
JOB = Job("compress", {"quality": 50}, ".aev", MEDIA)


def clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CLIP)
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return path


def planned(operands: Sequence[Path | str], tmp_path: Path, job: Job = JOB, **options: bool
            ) -> dict[str, str]:
    """Path of each input from the temporary folder -> name of its result, or its error."""
    plan = plan_files(job, [str(operand) for operand in operands], tmp_path / "out", **options)
    return {Path(file.path).relative_to(tmp_path).as_posix(): file.error or file.output
            for file in plan}


def test_folders_are_mirrored_below_their_operand_and_files_lie_at_the_top(tmp_path: Path) -> None:
    for name in ("films/a.mp4", "films/deep/er/b.mkv", "elsewhere/c.y4m", "films/.hidden.mp4"):
        clip(tmp_path / name)
    (tmp_path / "films" / "notes.txt").write_text("no clip")
    assert planned([tmp_path / "films", tmp_path / "elsewhere" / "c.y4m"], tmp_path) == {
        "films/a.mp4": "a.aev", "films/deep/er/b.mkv": "deep/er/b.aev", "elsewhere/c.y4m": "c.aev"}


def test_a_folder_of_pictures_is_one_input_and_with_each_it_is_many(tmp_path: Path) -> None:
    for name in ("shots/1.png", "shots/2.png"):
        picture(tmp_path / name)
    assert planned([tmp_path / "shots"], tmp_path) == {"shots": "shots.aev"}
    assert planned([tmp_path / "shots"], tmp_path, each=True) == {
        "shots/1.png": "1.aev", "shots/2.png": "2.aev"}


def test_a_folder_of_pictures_and_clips_is_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    picture(tmp_path / "mixed" / "1.png")
    clip(tmp_path / "mixed" / "a.mp4")
    clip(tmp_path / "mixed" / "below" / "b.mp4")
    found = planned([tmp_path / "mixed"], tmp_path)
    assert "--each" in found.pop("mixed")
    assert found == {"mixed/below/b.mp4": "below/b.aev"}
    assert set(planned([tmp_path / "mixed"], tmp_path, each=True)) == {
        "mixed/1.png", "mixed/a.mp4", "mixed/below/b.mp4"}


def test_a_pattern_stands_for_files_and_is_mirrored_from_its_fixed_part(tmp_path: Path) -> None:
    for name in ("films/a.mp4", "films/x/b.mp4", "films/x/c.mkv"):
        clip(tmp_path / name)
    assert planned([tmp_path / "films" / "**" / "*.mp4"], tmp_path) == {
        "films/a.mp4": "a.aev", "films/x/b.mp4": "x/b.aev"}
    (error,) = planned([tmp_path / "films" / "*.webm"], tmp_path).values()
    assert error.endswith("*.webm does not exist; check the path.")
    odd = clip(tmp_path / "what[1].mp4")
    assert planned([odd], tmp_path) == {"what[1].mp4": "what[1].aev"}


def test_a_pattern_that_matches_folders_stands_for_what_is_in_them(tmp_path: Path) -> None:
    for name in ("films/x/a.mp4", "films/y/deep/b.mp4", "films/c.mp4"):
        clip(tmp_path / name)
    for name in ("films/shots/1.png", "films/shots/2.png"):
        picture(tmp_path / name)
    (tmp_path / "films" / "empty").mkdir()
    if hasattr(os, "mkfifo"):
        # It would be waited for.
        os.mkfifo(tmp_path / "films" / "pipe.mp4")
    expected = {"films/x/a.mp4": "x/a.aev", "films/y/deep/b.mp4": "y/deep/b.aev",
                "films/c.mp4": "c.aev", "films/shots": "shots.aev"}
    assert planned([tmp_path / "films" / "*"], tmp_path) == expected
    # Where files in them match, they match by themselves.
    found = planned([tmp_path / "films" / "**"], tmp_path)
    assert found.pop("films/shots/1.png") == "shots/1.aev" and found.pop("films/shots/2.png")
    assert found == {name: expected[name] for name in expected if name != "films/shots"}
    (error,) = planned([tmp_path / "films" / "e*"], tmp_path).values()
    assert error.endswith("e* holds nothing to work on; give another folder.")


def test_results_match_no_pattern_that_only_leads_by_their_folder(tmp_path: Path) -> None:
    job = Job("edit", {"operations": "reverse"}, ".aev", COMPRESSED)
    for name in ("films/a.aev", "films/out/a.aev"):
        clip(tmp_path / name)
    pattern, out = str(tmp_path / "films" / "**" / "*.aev"), tmp_path / "films" / "out"
    assert [file.output for file in plan_files(job, [pattern], out)] == ["a.aev"]
    (named,) = plan_files(job, [str(out / "*.aev")], out)
    assert "is both input and output" in named.error


def test_a_result_never_replaces_another_input(tmp_path: Path) -> None:
    job = Job("edit", {"operations": "reverse"}, ".aev", COMPRESSED)
    for name in ("films/sub/x.aev", "out/sub/x.aev"):
        clip(tmp_path / name).write_bytes(b"")
    found = planned([tmp_path / "films", tmp_path / "out" / "sub"], tmp_path, job)
    assert found["films/sub/x.aev"].endswith("out/sub/x.aev is both input and output; choose "
                                             "another folder.")
    assert found["out/sub/x.aev"] == "x.aev"


def test_results_may_lie_beside_inputs_that_are_reached_by_a_link(tmp_path: Path) -> None:
    clip(tmp_path / "films" / "a.mp4")
    (tmp_path / "out").symlink_to(tmp_path / "films")
    assert planned([tmp_path / "films"], tmp_path) == {"films/a.mp4": "a.aev"}


def test_a_name_that_begins_with_a_tilde_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(tmp_path / "~nobody.mp4")
    monkeypatch.chdir(tmp_path)
    assert planned(["~nobody.mp4", "~nob*"], tmp_path) == {"~nobody.mp4": "~nobody.aev"}


def test_compressed_files_are_found_where_only_they_are_wanted(tmp_path: Path) -> None:
    clip(tmp_path / "mixed" / "a.mp4")
    for name in ("damaged.aev", "whole.aev"):
        (tmp_path / "mixed" / name).write_bytes(b"\x89AEV\r\n\x1a\n" if name[0] == "w" else b"")
    job = Job("decompress", {}, ".mp4", COMPRESSED)
    assert planned([tmp_path / "mixed"], tmp_path, job) == {
        "mixed/damaged.aev": "damaged.mp4", "mixed/whole.aev": "whole.mp4"}
    assert planned([tmp_path / "mixed"], tmp_path) == {"mixed/a.mp4": "a.aev"}


def test_the_folder_of_results_is_no_input_even_below_one(tmp_path: Path) -> None:
    clip(tmp_path / "films" / "a.mp4")
    clip(tmp_path / "films" / "out" / "b.mp4")
    plan = plan_files(JOB, [str(tmp_path / "films")], tmp_path / "films" / "out")
    assert [file.output for file in plan] == ["a.aev"]


def test_results_may_lie_beside_their_inputs(tmp_path: Path) -> None:
    clip(tmp_path / "films" / "sub" / "a.mp4")
    (file,) = plan_files(JOB, [str(tmp_path / "films")], tmp_path / "films")
    assert (file.output, file.error) == ("sub/a.aev", "")


def test_a_missing_file_and_an_empty_folder_are_inputs_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    clip(tmp_path / "a.mp4")
    found = planned([tmp_path / "no.mp4", tmp_path / "empty", tmp_path / "a.mp4"], tmp_path)
    assert found["no.mp4"].endswith("no.mp4 does not exist; check the path.")
    assert found["empty"].endswith("empty holds nothing to work on; give another folder.")
    assert found["a.mp4"] == "a.aev"


def test_a_file_is_never_both_input_and_output(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.aev").write_bytes(b"x")
    job = Job("edit", {"operations": "reverse"}, ".aev", COMPRESSED)
    (error,) = planned([tmp_path / "out" / "a.aev"], tmp_path, job).values()
    assert "is both input and output" in error


def test_an_input_named_twice_is_worked_on_once(tmp_path: Path) -> None:
    path = clip(tmp_path / "films" / "a.mp4")
    assert list(planned([path, tmp_path / "films"], tmp_path)) == ["films/a.mp4"]


def test_no_operand_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        find_sources([], MEDIA)


def named(*names: str, suffix: str = ".aev", known: Sequence[str | None] = ()) -> list[str]:
    return name_outputs([PurePosixPath(name) for name in names], names, suffix, known)


def test_names_that_would_be_alike_keep_their_suffix_and_then_get_numbers() -> None:
    assert named("a.mp4", "a.mkv", "b.mp4") == ["a.mp4.aev", "a.mkv.aev", "b.aev"]
    assert named("A.mp4", "a.mkv") == ["A.mp4.aev", "a.mkv.aev"], "capitals do not count"
    assert named("x/a.mp4", "y/a.mp4") == ["x/a.aev", "y/a.aev"], "of other folders they differ"
    assert named("a.mp4", "a.mkv", "a.mp4.y4m") == ["a.mp4-2.aev", "a.mkv.aev", "a.mp4.aev"]
    assert named("v1.2.aev", suffix="") == ["v1_2"], "a folder's name has no dot"


def test_names_do_not_depend_on_the_order_of_the_operands() -> None:
    names = [PurePosixPath("a.mp4")] * 3
    first = name_outputs(names, ["x/a.mp4", "y/a.mp4", "z/a.mp4"], ".aev")
    other = name_outputs(names, ["z/a.mp4", "x/a.mp4", "y/a.mp4"], ".aev")
    assert first == ["a.mp4.aev", "a.mp4-2.aev", "a.mp4-3.aev"]
    assert other == [first[2], first[0], first[1]]


def test_a_name_that_a_manifest_knows_stays_when_another_file_would_share_it() -> None:
    assert named("a.mp4", "a.mkv", known=["a.aev", None]) == ["a.aev", "a.mkv.aev"]
    # The first was away when the second got its name.
    assert named("a.mp4", "a.mkv", known=["a.aev", "a.aev"]) == ["a.aev", "a.mkv.aev"]


def test_no_result_has_the_name_of_a_folder_that_holds_others() -> None:
    assert named("film.aev", "film/part.aev", suffix="") == ["film_aev", "film/part"]
    assert named("a.mp4", "a.aev/b.mp4") == ["a.mp4.aev", "a.aev/b.aev"]


def test_names_stay_below_the_folder_of_results() -> None:
    assert named("../../evil.mp4", "/x/../a.mp4") == ["evil.aev", "x/a.aev"]


def test_two_ways_to_write_an_accent_are_one_name() -> None:
    assert named("\u00e9.mp4", "e\u0301.mkv") == ["\u00e9.mp4.aev", "e\u0301.mkv.aev"]


def test_a_manifest_survives_a_line_cut_short_and_names_outside_of_the_folder(
    tmp_path: Path
) -> None:
    (tmp_path / ".aehub").mkdir()
    path = tmp_path / ".aehub" / "manifest.jsonl"
    line = ('{"source": "a", "size": 1, "mtime_ns": 2, "settings": "s", "output": "%s", '
            '"bytes": 3, "sha256": "x"}\n')
    path.write_text(line % "a.aev" + line % "../b.aev" + line % "/c.aev" + "[]\n" + line[:30])
    manifest = Manifest.read(tmp_path)
    whole = Entry("a", 1, 2, "s", "a.aev", 3, "x")
    assert manifest.find("a", "s") == manifest.last("a", ".aev") == whole


def test_a_manifest_survives_lines_of_a_stranger(tmp_path: Path) -> None:
    (tmp_path / ".aehub").mkdir()
    whole = {"source": "a", "size": 1, "mtime_ns": 2, "settings": "s", "output": "a.aev",
             "bytes": 3, "sha256": "x"}
    odd = [{"source": []}, {"output": 5}, {"output": ".aehub/manifest.jsonl"}, {"values": 1},
           {"output": "a\0.aev"}, {"error": 7}, {"settings": {}}, {"further": 1}]
    lines = [json.dumps(whole | one) for one in odd]
    (tmp_path / ".aehub" / "manifest.jsonl").write_text(
        "\n".join([*lines, "[" * 100_000, "\xff", json.dumps(whole)]))
    manifest = Manifest.read(tmp_path)
    assert manifest.last("a", ".aev") == Entry(**whole)


def test_results_of_another_version_of_aehub_are_not_those_of_this_one(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    before = JOB.settings
    monkeypatch.setattr("aehub.jobs.plan.__version__", "0.0.1")
    assert JOB.settings != before


def test_settings_that_change_no_result_do_not_make_it_outdated() -> None:
    assert Job("compress", {"quality": 50, "device": "cpu"}).settings == Job(
        "compress", {"quality": 50, "device": "auto"}).settings
    assert Job("compress", {"quality": 50}).settings != Job("compress", {"quality": 51}).settings
    assert Job("compress", {}, model_tag="a").settings != Job("compress", {}).settings


def test_twenty_thousand_files_of_one_name_are_named_in_a_moment() -> None:
    """Each must not try all the numbers before it."""
    names = [PurePosixPath("clip.mp4")] * 20_000
    began = time.monotonic()
    named = name_outputs(names, [f"{number:05}/clip.mp4" for number in range(20_000)], ".aev")
    assert time.monotonic() - began < 5
    assert named[:3] == ["clip.mp4.aev", "clip.mp4-2.aev", "clip.mp4-3.aev"]
    assert len(set(named)) == 20_000
